"""Scores of cells and days, on models whose answer is known."""

from __future__ import annotations

import pytest
import torch
from planted import DAY, FEATURE, planted_inputs, planted_model

from stockformer.explainability import DAY_RANKINGS, METHODS, Target, attribute, measure_faithfulness
from stockformer.explainability.faithfulness.rankings import LinearFormula


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_planted_cell(method):
    model, inputs = planted_model(), planted_inputs()
    parts = attribute(model, *inputs, method=method).parts
    stock, market = (part.abs() for part in parts)
    if method in ("occlusion", "shapley_sampling"):  # by feature over all days; only one of these is not at 0
        assert market[:, FEATURE].sum() > 0.99 * (stock.sum() + market.sum())
    assert market.argmax() == DAY * 3 + FEATURE
    assert stock.max() < 1e-6


def test_rankings_of_days_find_the_planted_day():
    found = measure_faithfulness(planted_model(), [planted_inputs()], DAY_RANKINGS)
    for name in ("mean attention", "rollout", "relevance", "integrated_gradients", "occlusion"):
        market = found.scores[name][0][6:]
        assert market.argmax() == DAY, name
    row = found.table.set_index("ranking").loc["occlusion"]
    assert row["deletion"] < 0.1  # the first day that goes takes all with it


def test_the_mean_gradient_is_that_of_every_training_window():
    model, (stock, market) = planted_model(), planted_inputs()
    training = [(stock * factor, market * factor) for factor in (0.5, 1.0, 2.0)]
    formula = LinearFormula(training)
    expected = [torch.zeros_like(part[0]) for part in (stock, market)]
    for window in training:
        leaves = [part.clone().requires_grad_() for part in window]
        gradients = torch.autograd.grad(model(*leaves).sum(), leaves)
        expected = [total + gradient[0] / 3 for total, gradient in zip(expected, gradients, strict=True)]
    for sign in (1, -1):
        scores = formula(model, (stock, market), Target("value", sign=sign))
        for part, gradient, each in zip((stock, market), expected, scores, strict=True):
            torch.testing.assert_close(each, sign * gradient * part[0])
