"""Sentences about what reaches the prediction: each claim is computed again from its words, over many cases."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from claims import CASES, N, says
from random_maps import random_map
from scipy.stats import spearmanr

from stockformer.explainability import (
    Patching,
    Target,
    summarize_effects,
    summarize_entry,
    summarize_flow_map,
    summarize_head_importance,
    summarize_patching,
)

pytestmark = pytest.mark.filterwarnings("error")


def order_is(words, correlation):
    if words == "much the same":
        return correlation > 0.8 - 1e-6
    return correlation < 0.5 + 1e-6 if words == "different" else 0.5 - 1e-6 < correlation < 0.8 + 1e-6


ORDER = rf"(much the same|partly the same|a different) order \(rank correlation {N}\)"


def test_flow_maps():
    rng = np.random.default_rng(42)
    pattern = re.compile(rf"Compared with the attention weights: {ORDER}\.")
    for _ in range(CASES):
        weights, mask = random_map(rng)
        if weights.size(1) > 60:
            continue
        values = (
            weights.nan_to_num(0.0)
            * torch.from_numpy(rng.gamma(10 ** rng.uniform(-1, 2), size=tuple(weights.shape))).float()
        )
        weights = weights.nan_to_num(0.0)
        verdict = summarize_flow_map(values, weights, mask).verdict
        allowed = np.ones(values.shape, bool) if mask is None else ~mask.numpy()
        one, other = values.numpy()[allowed], weights.numpy()[allowed]
        if match := pattern.fullmatch(verdict):
            correlation = spearmanr(one, other)[0]
            assert says(match[2], correlation)
            assert order_is(match[1].removeprefix("a "), correlation)
        elif "equal" in verdict:
            assert len(set(one)) < 2 or len(set(other)) < 2
        else:
            assert verdict == "Every value is 0: nothing comes in here."
            assert not one.any()


def test_market_entry():
    rng = np.random.default_rng(43)
    pattern = re.compile(
        rf"The market contributes most at layer (\d+)(?:, along with \d+ other layers?)?: "
        rf"{N} % of the residual norm, with a mean gate of {N}\."
        rf"(?: The most open gate, {N}, is in layer (\d+), where the market contributes {N} %\.)?"
    )
    for _ in range(CASES):
        layers, days = int(rng.integers(1, 6)), int(rng.choice([1, 3, 60]))
        entries = [torch.from_numpy(rng.gamma(0.5, size=days) * (rng.random() > 0.2)).float() for _ in range(layers)]
        gates = [torch.from_numpy(rng.beta(1, 1, size=(days, 4))).float() for _ in range(layers)]
        entering, means = ([float(np.mean(one.numpy().astype(float))) for one in ones] for ones in (entries, gates))
        verdict = summarize_entry(entries, gates).verdict
        if verdict == "No market enters any layer.":
            assert not any(entering)
            continue
        said = pattern.fullmatch(verdict).groups()
        most = int(said[0])
        assert entering[most] == pytest.approx(max(entering))
        assert says(said[1], 100 * entering[most])
        assert says(said[2], means[most])
        widest = most if said[3] is None else int(said[4])
        assert means[widest] == pytest.approx(max(means))
        assert said[3] is None or (says(said[3], means[widest]) and says(said[5], 100 * entering[widest]))


def test_head_importance():
    rng = np.random.default_rng(44)
    pattern = re.compile(
        rf"The target depends most on stock self-attention, layer (\d+), head (\d+)"
        rf"(?:, along with \d+ other heads?)?: without it, the target (drops|rises) by (\S+)\."
        rf"(?: Gradient and switching off put the heads in {ORDER}\.)?"
    )
    for _ in range(CASES):
        heads = int(rng.integers(1, 9))
        ablation = np.where(rng.random(heads) < 0.3, 0, rng.normal(size=heads) * 10 ** rng.uniform(-6, 3))
        gradient = np.where(rng.random() < 0.5, abs(ablation), 1) * rng.gamma(1, size=heads).round(1)
        table = pd.DataFrame(
            {"kind": "self", "layer": 2, "head": range(heads), "gradient": gradient, "ablation": ablation}
        )
        verdict = summarize_head_importance(table).verdict
        if verdict == "Switching any of these heads off changes nothing.":
            assert not ablation.any()
            continue
        said = pattern.fullmatch(verdict).groups()
        assert said[0] == "2"
        assert abs(ablation[int(said[1])]) == abs(ablation).max()
        drop = float(said[3]) * (1 if said[2] == "drops" else -1)
        assert drop == pytest.approx(ablation[int(said[1])], rel=0.006)
        flat = len(set(gradient)) < 2 or len(set(abs(ablation))) < 2
        assert (said[4] is None) == flat
        if not flat:
            correlation = spearmanr(gradient, abs(ablation))[0]
            assert says(said[5], correlation)
            assert order_is(said[4].removeprefix("a "), correlation)


def test_effects():
    rng = np.random.default_rng(45)
    pattern = re.compile(
        r"(Flat|Shuffled) weights in stock self-attention, layer (\d+) change the target "
        r"most: by (\S+), from (\S+) to (\S+)\. "
        r"Layers that change it by less than 10 % of that, flat or shuffled: (\d+) of (\d+)\."
    )
    for _ in range(CASES):
        layers = int(rng.integers(1, 9))
        changes = np.where(
            rng.random((layers, 2)) < 0.2, 0, rng.normal(size=(layers, 2)) * 10 ** rng.uniform(-6, 3, (layers, 1))
        )
        value = float(rng.choice([0.0, 1e-9, 0.2, -3.0]) * rng.normal())
        table = pd.DataFrame({"kind": "self", "layer": range(layers), "flat": changes[:, 0], "permuted": changes[:, 1]})
        verdict = summarize_effects(table, value).verdict
        if verdict.startswith("Neither"):
            assert not changes.any()
            continue
        said = pattern.fullmatch(verdict).groups()
        change = changes[int(said[1]), ("Flat", "Shuffled").index(said[0])]
        assert abs(change) == abs(changes).max()
        assert [float(number) for number in said[2:5]] == pytest.approx([change, value, value + change], rel=0.006)
        assert int(said[5]) == (abs(changes).max(axis=1) < 0.1 * abs(changes).max()).sum()
        assert int(said[6]) == layers


@pytest.mark.parametrize(
    ("effect", "donors", "words"),
    [
        (0.5, [0.1, 0.2], "by +0.5, 25 % of the whole difference of +2. Of 2 random windows of the ticker, none moves"),
        (5.0, [0.1, 0.2], "by +5, 2.5 times the whole difference of +2. Of 2 random windows"),
        (
            -3.0,
            [4.0, 0.2],
            "by -3, against the whole difference of +2. That is not unusual: of 2 random windows of the",
        ),
        (-3.0, [4.0, *[0.2] * 19], "+2. Of 20 random windows of the ticker, 1 moves it as far"),
    ],
)
def test_a_patch_against_the_whole_difference_and_other_windows(effect, donors, words):
    table = pd.DataFrame({"stream": "stock", "layer": [0, 1], "day": 0, "effect": [0.01, effect]})
    table["share"] = table["effect"] / 2.0
    result = Patching(table, 1.0, 3.0, np.array(donors), Target("value"))
    assert words in summarize_patching(result, {"stock": ["2020-01-01"]}).verdict
