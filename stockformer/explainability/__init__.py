"""What a model attends to, and what its output hangs on."""

from stockformer.explainability.capture import (
    AttentionExtractor,
    Capture,
    attention_weights,
    capture,
    evaluating,
    make_extractor,
)
from stockformer.explainability.outputs import class_probabilities
from stockformer.explainability.saliency import compute_input_saliency

__all__ = [
    "AttentionExtractor",
    "Capture",
    "attention_weights",
    "capture",
    "class_probabilities",
    "compute_input_saliency",
    "evaluating",
    "make_extractor",
]
