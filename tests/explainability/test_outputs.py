"""Class probabilities by hand."""

from __future__ import annotations

import math

import pytest
import torch

from stockformer.explainability import class_probabilities


def logit(p):
    return math.log(p / (1 - p))


def test_softmax():
    logits = torch.tensor([[0.0, math.log(3.0)], [2.0, 2.0]])
    assert class_probabilities(logits).tolist() == [pytest.approx([0.25, 0.75]), pytest.approx([0.5, 0.5])]


def test_coral():
    logits = torch.tensor([[logit(0.9), logit(0.6), logit(0.1)]])
    assert class_probabilities(logits, coral=True)[0].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.1], abs=1e-6)


def test_coral_with_one_threshold():
    assert class_probabilities(torch.tensor([[logit(0.2)]]), coral=True)[0].tolist() == pytest.approx([0.8, 0.2])


def test_coral_with_unordered_thresholds():
    """P(class > 1) above P(class > 0): class 1 gets 0, not a negative share."""
    logits = torch.tensor([[logit(0.4), logit(0.7), logit(0.2)]])
    assert class_probabilities(logits, coral=True)[0].tolist() == pytest.approx([0.6, 0.0, 0.5, 0.2], abs=1e-6)
