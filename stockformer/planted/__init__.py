"""Small markets whose mechanism is known, models that have learned it, and whether explanations find it."""

from stockformer.planted.models import Planted, load_planted

__all__ = ["Planted", "load_planted"]
