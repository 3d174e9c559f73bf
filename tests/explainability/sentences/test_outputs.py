"""Sentences about predictions and prices: each claim is computed again, from what its words mean, over many cases."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from claims import CASES, N, read, says

from stockformer.explainability import (
    OutputDistribution,
    class_probabilities,
    summarize_change,
    summarize_outputs,
    summarize_prices,
)

pytestmark = pytest.mark.filterwarnings("error")


def random_classes(rng, samples):
    """Class probabilities in plain numpy, predictions, whether thresholds are out of order, and the outputs."""
    classes = int(rng.integers(2, 7))
    sharp = 10 ** rng.uniform(-1.5, 1.2)
    if rng.random() < 0.5:
        above = 1 / (1 + np.exp(-sharp * rng.normal(size=(samples, classes - 1)).astype(np.float32)))
        if rng.random() < 0.5:
            above = -np.sort(-above, axis=1)
        above = above.astype(np.float32).astype(float)
        ordered = -np.sort(-above, axis=1)
        shares = -np.diff(np.hstack([np.ones((samples, 1)), ordered, np.zeros((samples, 1))]), axis=1)
        logits = torch.from_numpy(np.log(above / np.maximum(1 - above, 1e-30))).double()
        return shares, (above > 0.5).sum(axis=1), (np.diff(above, axis=1) > 0).any(axis=1), logits, True
    logits = torch.from_numpy(sharp * rng.normal(size=(samples, classes))).double()
    shares = np.exp(logits.numpy())
    shares /= shares.sum(axis=1, keepdims=True)
    return shares, shares.argmax(axis=1), np.zeros(samples, bool), logits, False


def known_outputs(case, labels):
    """The outputs of a case, as a model's."""
    *_, logits, coral = case
    return OutputDistribution(
        logits, class_probabilities(logits, coral=coral), logits.sigmoid() if coral else None, labels
    )


ONE = {
    "class": rf"Class (\d+): (nearly sure, )?probability {N} % \(even over (\d+) classes: {N} %\)\.",
    "likeliest": rf"It is the class that the thresholds name; the most probable one is class (\d+), {N} %\.",
    "truth": r"The truth is class (\d+)\.",
    "order": r"The cumulative probabilities are out of order; those of the classes come from sorting them\.",
}


MANY = {
    "skill": rf"(About as confident as accurate: c|Overconfident: c|Underconfident: c|C)onfidence {N} "
    rf"%, right in {N} % of (\d+) samples( whose days are not known| of \d+ days?)?"
    rf"(\.|: too little to tell the two apart\.|: the difference could be chance\.) "
    rf"Always predicting the most common class is right in {N} %\.",
    "sure": rf"Mean confidence {N} % \(even: {N} %\); over 95 % in {N} % of the samples\.",
    "always": r"It always predicts class (\d+)\.",
    "order": rf"The cumulative probabilities are out of order in {N} % of the samples\.",
}


def test_one_prediction():
    rng = np.random.default_rng(50)
    for _ in range(CASES):
        case = shares, predicted, disordered, *_ = random_classes(rng, 1)
        label = int(rng.integers(shares.shape[1])) if rng.random() < 0.5 else None
        outputs = known_outputs(case, None if label is None else torch.tensor([label]))
        assert float(outputs.probabilities.sum()) == pytest.approx(1)
        assert float(outputs.probabilities.min()) >= 0
        parts = dict(read(summarize_outputs(outputs).verdict, ONE))
        said = parts["class"].groups()
        p = shares[0, predicted[0]]
        assert (int(said[0]), int(said[3])) == (predicted[0], shares.shape[1])
        assert says(said[2], 100 * p)
        assert says(said[4], 100 / shares.shape[1])
        assert (said[1] is not None) == (p > 0.95)
        if "likeliest" in parts:
            assert shares[0, int(parts["likeliest"][1])] == pytest.approx(shares[0].max())
            assert shares[0].max() > p
            assert says(parts["likeliest"][2], 100 * shares[0].max())
        else:
            assert p > shares[0].max() - 1e-9
        assert ("order" in parts) == disordered[0]
        assert (int(parts["truth"][1]) if "truth" in parts else None) == label


def test_many_predictions():
    rng = np.random.default_rng(51)
    for _ in range(CASES):
        samples = int(rng.choice([2, 3, 10, 300]))
        days = None if rng.random() < 0.3 else np.arange(samples) // rng.choice([1, samples])
        case = shares, predicted, disordered, *_ = random_classes(rng, samples)
        labels = np.where(rng.random(samples) < rng.random(), predicted, rng.integers(shares.shape[1], size=samples))
        known = rng.random() < 0.7
        outputs = known_outputs(case, torch.from_numpy(labels) if known else None)
        outputs = replace(outputs, dates=None if days is None else pd.DatetimeIndex(days * 10**15))
        confidence = shares[range(samples), predicted]
        parts = dict(read(summarize_outputs(outputs).verdict, MANY))
        assert ("skill" in parts) == known
        if known:
            said = parts["skill"].groups()
            right = (labels == predicted).mean()
            assert says(said[1], 100 * confidence.mean())
            assert says(said[2], 100 * right)
            assert int(said[3]) == samples
            assert says(said[6], 100 * np.bincount(labels).max() / samples)
            gap = confidence.mean() - right
            words = said[0].partition(":")[0] if ":" in said[0] else said[5]
            expected = "Overconfident" if gap > 0 else "Underconfident"
            if abs(gap) <= 0.05:
                expected = "About as confident as accurate"
            few = days is None or len(set(days)) < 250
            assert few == (words == ": too little to tell the two apart.")
            assert few or words in (expected, ": the difference could be chance.")
            whose = None if not few else " whose days are not known" if days is None else f" of {len(set(days))} day"
            assert said[4] == whose or said[4] in (f"{whose}s", whose)
        else:
            said = parts["sure"].groups()
            assert says(said[0], 100 * confidence.mean())
            assert says(said[1], 100 / shares.shape[1])
            assert says(said[2], 100 * (confidence > 0.95).mean())
        assert ("always" in parts) == (len(set(predicted)) == 1)
        assert "always" not in parts or int(parts["always"][1]) == predicted[0]
        assert ("order" in parts) == disordered.any()
        assert "order" not in parts or says(parts["order"][1], 100 * disordered.mean())


def test_changes():
    rng = np.random.default_rng(52)
    pattern = re.compile(
        rf"The probability of class (\d+) goes from {N} % to {N} %(?:, and the prediction to class (\d+))?\."
    )
    for _ in range(CASES):
        one = random_classes(rng, 1)
        moved = one[3] + torch.from_numpy(rng.normal(size=tuple(one[3].shape)) * rng.choice([0, 0.1, 3]))
        before, after = known_outputs(one, None), known_outputs((*one[:3], moved, one[4]), None)
        verdict = summarize_change(before, after).verdict
        if verdict == "The output is exactly what it was.":
            assert torch.equal(moved, one[3])
            continue
        said = pattern.fullmatch(verdict).groups()
        columns = moved.numpy()[0]
        later = (columns > 0).sum() if one[4] else columns.argmax()
        assert int(said[0]) == one[1][0]
        assert says(said[1], 100 * one[0][0, one[1][0]])
        if one[4]:
            ordered = sorted(1 / (1 + np.exp(-columns)), reverse=True)
            shares = -np.diff([1, *ordered, 0])
        else:
            shares = np.exp(columns) / np.exp(columns).sum()
        assert says(said[2], 100 * shares[one[1][0]])
        assert (one[1][0] if said[3] is None else int(said[3])) == later


def test_regressions():
    rng = np.random.default_rng(53)
    pattern = re.compile(
        r"Values are (\S+) on average, standard deviation (\S+)\. The error \(rmse "
        r"(\S+)\) is (below|not below) that of always "
        rf"predicting the mean of the truth \((\S+)\)(?:; the correlation with the truth is {N})?\."
    )
    for _ in range(CASES):
        samples = int(rng.integers(2, 30))
        truth = rng.normal(size=samples)
        values = (
            np.full(samples, 0.3) if rng.random() < 0.1 else rng.normal(size=samples) + truth * rng.choice([0, 1, 5])
        )
        outputs = OutputDistribution(torch.from_numpy(values), None, labels=torch.from_numpy(truth))
        said = pattern.fullmatch(summarize_outputs(outputs).verdict).groups()
        rmse = math.sqrt(((values - truth) ** 2).mean())
        assert [float(said[place]) for place in (0, 1, 2, 4)] == pytest.approx(
            [values.mean(), values.std(), rmse, truth.std()], rel=6e-4, abs=1e-12
        )
        assert (said[3] == "below") == (rmse < truth.std())
        assert (said[5] is None) == (np.ptp(values) == 0)
        assert said[5] is None or says(said[5], np.corrcoef(values, truth)[0, 1])


def test_one_value_has_no_spread():
    found = summarize_outputs(OutputDistribution(torch.tensor([0.25]), None))
    assert [(one.name, one.value) for one in found.findings] == [("value", 0.25)]
    assert found.verdict == "The value is 0.25."


def test_prices():
    rng = np.random.default_rng(54)
    pattern = re.compile(
        rf"(?:(Up|Down) {N} %|Unchanged) over (\d+) days of prices, {N} % volatility "
        rf"per day, largest move ([+-]?){N} % on "
        rf"(\S+?)(?:; correlation with SPY {N})?\."
    )
    for _ in range(CASES):
        days = int(rng.integers(2, 61))
        close, spy = (100 * np.exp(np.cumsum(rng.normal(0, rng.choice([0, 1e-5, 0.02]), days))) for _ in range(2))
        close = np.where(rng.random(days) < rng.choice([0, 0.2]), np.nan, close)
        dates = pd.date_range("2020-01-01", periods=days)
        table = pd.DataFrame({"date": dates, "adjusted_close": close, "spy": spy})
        verdict = summarize_prices(table).verdict
        kept = table.dropna()
        if len(kept) < 2:
            assert verdict.startswith("There is ")
            continue
        said = pattern.fullmatch(verdict).groups()
        level = kept["adjusted_close"].to_numpy()
        change, returns = 100 * (level[-1] / level[0] - 1), level[1:] / level[:-1] - 1
        assert int(said[2]) == len(kept)
        assert says(said[3], 100 * returns.std())
        assert (
            abs(change) < 0.05001
            if said[0] is None
            else (says(said[1], abs(change)) and (said[0] == "Up") == (change > 0))
        )
        move = kept["date"].astype(str).str[:10].tolist().index(said[6])
        assert abs(returns[move - 1]) == pytest.approx(abs(returns).max())
        assert says(said[5], 100 * abs(returns[move - 1]))
