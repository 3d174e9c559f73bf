"""A cross-attention stock transformer, its data, and what can be read out of it."""

from stockformer.opening import open_model

__all__ = ["open_model"]
__version__ = "0.1.0"
