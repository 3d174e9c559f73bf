"""Small markets whose mechanism is known, models that have learned it, and whether explanations find it."""

from stockformer.planted.models import Planted, load_planted
from stockformer.planted.scores import intervals, planted_scores

__all__ = ["Planted", "intervals", "load_planted", "planted_scores"]
