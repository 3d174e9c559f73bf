"""Sentences about inputs: each claim is computed again, from what its words mean, over many cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from claims import CASES, N, read, says

from stockformer.explainability import summarize_days, summarize_saliency

pytestmark = pytest.mark.filterwarnings("error")


SALIENCY = {
    "none": r"Every attribution is 0\.",
    "main": rf"(Mainly the stock|Mainly the market|Stock and market both count): the market, "
    rf"(\d+) of (\d+) features, holds {N} %\.",
    "spread": rf"Spread over the equivalent of {N} of (\d+) features(?:; the five strongest hold {N} %)?(?:, "
    rf"the last (\d+ )?of (\d+) days {N} %)?\.",
    "same": rf"Within a day all features of an input have the same value: they cannot be told "
    rf"apart(?:, the last (\d+ )?of (\d+) days {N} %)?\.",
    "one": rf"One feature has all of it(?:, the last (\d+ )?of (\d+) days {N} %)?\.",
}


def random_part(rng, days):
    features = int(rng.integers(1, 12))
    part = rng.normal(size=(days, features)) * rng.gamma(0.3, size=features) * rng.gamma(0.5, size=(days, 1))
    kind = rng.random()
    if kind < 0.1:
        part[:] = 0
    elif kind < 0.2:
        part[:] = part[:, :1]
    return torch.from_numpy(part.astype(np.float32) * 10 ** rng.uniform(-6, 3))


def test_saliency():
    rng = np.random.default_rng(40)
    for _ in range(CASES):
        days = int(rng.choice([1, 2, 3, 8, 60]))
        parts = [random_part(rng, days) for _ in range(int(rng.integers(1, 3)))]
        sizes = [np.abs(part.numpy().astype(float)) for part in parts]
        total = sum(size.sum() for size in sizes)
        for name, match in read(summarize_saliency(parts).verdict, SALIENCY):
            said = match.groups()
            if name == "none":
                assert total == 0
                continue
            share = sizes[-1].sum() / total
            features = np.concatenate([size.sum(axis=0) for size in sizes]) / total
            if name == "main":
                assert (int(said[1]), int(said[2])) == (parts[1].size(1), len(features))
                assert says(said[3], 100 * share)
                main = {"Mainly the stock": 1 - share, "Mainly the market": share}.get(said[0])
                assert (1 / 3 - 1e-6 < share < 2 / 3 + 1e-6) if main is None else main > 2 / 3 - 1e-6
            elif name == "spread":
                spread = math.exp(-sum(f * math.log(f) for f in features if f > 0))
                assert says(said[0], spread)
                assert int(said[1]) == len(features)
                assert (said[2] is None) == (len(features) <= 5)
                assert said[2] is None or says(said[2], 100 * sum(sorted(features)[-5:]))
                said = said[3:]
            elif name == "one":
                assert len(features) == 1
            else:
                assert all(np.ptp(part.numpy(), axis=1).max() == 0 for part in parts)
            if name != "main" and said[1] is not None:
                last = sum(size[-int(said[0] or 1) :].sum() for size in sizes) / total
                assert int(said[1]) == days
                assert says(said[2], 100 * last)


DAYS = {
    "none": r"Every day's score is 0\.",
    "market": rf"{N} % of what is passed on comes from the market\.",
    "last": rf"(?:The|the) (?:last (\d+) of (\d+) days have|last of (\d+) days has|only day has) {N} % of the "
    rf"(stock|market)'s scores[.;]",
    "zero": r"(?:Every|every) score of the (stock|market) is 0[.;]",
}


def test_days():
    rng = np.random.default_rng(41)
    for _ in range(CASES):
        parts = [
            rng.normal(size=int(rng.choice([1, 2, 5, 60]))) * (rng.random() > 0.1)
            for _ in range(int(rng.integers(1, 3)))
        ]
        if rng.random() < 0.6:
            parts = [abs(part) for part in parts]
        if rng.random() < 0.6:
            parts = [part / (sum(one.sum() for one in parts) or 1.0) for part in parts]
        tensors = [torch.from_numpy(part).float() for part in parts]
        by_name = dict(zip(("stock", "market"), (abs(t.numpy().astype(float)) for t in tensors), strict=False))
        for name, match in read(summarize_days(tensors).verdict, DAYS):
            said = match.groups()
            if name == "none":
                assert not any(size.any() for size in by_name.values())
            elif name == "zero":
                assert not by_name[said[0]].any()
            elif name == "last":
                size, number = by_name[said[4]], int(said[0] or 1)
                assert len(size) == int(said[1] or said[2] or 1)
                assert says(said[3], 100 * size[-number:].sum() / size.sum())
            else:
                assert all((part >= 0).all() for part in parts)
                assert sum(map(np.sum, parts)) == pytest.approx(1, rel=2e-3)
                assert says(said[0], 100 * parts[1].sum())
