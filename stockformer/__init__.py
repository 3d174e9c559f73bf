"""A cross-attention stock transformer, its data, and what can be read out of it."""

__version__ = "0.1.0"
