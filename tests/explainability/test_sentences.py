"""No sentence is false: each of its claims is computed again, from what its words mean, over many cases.

A sentence is read from its start to its end; what no pattern below reads fails. ``SENTENCES=10000`` runs as many cases.
"""

from __future__ import annotations

import itertools
import math
import os
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import rel_entr
from scipy.stats import spearmanr

from stockformer.explainability import (
    OutputDistribution,
    capture_attention,
    class_probabilities,
    head_statistics,
    summarize_change,
    summarize_days,
    summarize_effects,
    summarize_entry,
    summarize_flow_map,
    summarize_gate,
    summarize_head_grid,
    summarize_head_importance,
    summarize_heads,
    summarize_layers,
    summarize_map,
    summarize_outputs,
    summarize_pooling,
    summarize_prices,
    summarize_row,
    summarize_saliency,
)

CASES = int(os.environ.get("SENTENCES", "200"))

pytestmark = pytest.mark.filterwarnings("error")


def says(printed, value):
    """Whether a printed number is a value, rounded."""
    number = float(printed)
    if "e" in printed:
        return number == pytest.approx(value, rel=0.06)
    digits = len(printed.partition(".")[2])
    return abs(number - value) <= 0.5 * 10.0**-digits + 1e-5 * max(1.0, abs(value))


def read(verdict, patterns):
    """Each part of a sentence by the pattern that reads it, in turn: a list of (name, match)."""
    found, rest = [], verdict
    while rest:
        hits = [(name, match) for name, pattern in patterns.items() if (match := re.match(pattern, rest))]
        assert len(hits) == 1, f"{len(hits)} patterns read {rest!r}"
        found += hits
        rest = rest[hits[0][1].end() :].lstrip()
    return found


N = r"(-?[\d.]+(?:e-?\d+)?)"
SPAN = rf"{N}(?: to {N})?"
KEYS = r"(\d+)(?: to (\d+))? (allowed )?steps?"

# Attention: maps, rows, pooling


def random_map(rng, square=False):
    """Weights [query, key], and a mask or None."""
    keys = int(rng.choice([1, 2, 3, 4, 7, 12, 60, 252], p=[0.04, 0.1, 0.12, 0.14, 0.2, 0.2, 0.19, 0.01]))
    queries = keys if square or rng.random() < 0.7 else int(rng.integers(1, 13))
    steps = np.arange(keys)
    offsets = steps - np.arange(queries)[:, None]
    spike = np.zeros(keys)
    spike[rng.choice(keys, min(keys, int(rng.integers(1, 4))), replace=False)] = 1
    noise = rng.dirichlet(np.full(keys, 10 ** rng.uniform(-1.5, 3)), queries)
    shape = {
        "noise": np.ones((queries, keys)),
        "column": np.tile(spike, (queries, 1)) + 1e-12,
        "some rows": spike * (rng.random((queries, 1)) < 0.3) + 1e-9,
        "late": np.where(steps >= keys * 3 / 4, rng.uniform(1, 8), 1.0) * np.ones((queries, 1)),
        "diagonal": (offsets == 0) + 1e-6,
        "band": np.exp(-abs(offsets) / rng.uniform(0.3, 4)),
        "causal": (offsets <= 0) + 1e-9,
        "block": (steps // 3 == (np.arange(queries) // 3)[:, None]) + 1e-6,
        "flipped": (offsets[:, ::-1] == 0) + 1e-6,
        "ties": 1 + 1e-7 * rng.random((queries, keys)),
    }
    chosen = shape[rng.choice(list(shape))]
    weights = chosen / chosen.sum(axis=1, keepdims=True)
    weights = (1 - (mix := rng.choice([0, 1e-3, 0.3, 0.6, 0.9, 1]))) * weights + mix * noise
    masks = {
        "none": np.zeros((queries, keys), bool),
        "padding": np.tile(steps >= rng.integers(0, keys + 1), (queries, 1)),
        "causal": offsets > 0,
        "any": rng.random((queries, keys)) < rng.uniform(0, 1),
    }
    mask = masks[rng.choice(list(masks), p=[0.6, 0.15, 0.15, 0.1])]
    weights = np.where(mask, 0, weights)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(
        total > 0, weights / np.where(total > 0, total, 1), np.where(mask.all(axis=1)[:, None], np.nan, 0)
    )
    tensor = torch.from_numpy(weights).float()
    return (tensor, torch.from_numpy(mask)) if mask.any() or rng.random() < 0.1 else (tensor, None)


class Shares:
    """Weights over allowed keys as shares of each query's whole, in plain numpy."""

    def __init__(self, weights, mask):
        weights = np.asarray(weights, dtype=float)
        allowed = np.ones(weights.shape, bool) if mask is None else ~np.asarray(mask)
        self.dead = not allowed.any()
        self.off = not self.dead and not weights[allowed].any()
        self.masked = not allowed.all()
        weights = np.where(allowed, weights, 0)
        rows = weights.sum(axis=1) > 0
        self.allowed = allowed[rows]
        self.shares = weights[rows] / weights[rows].sum(axis=1, keepdims=True)
        self.counts = self.allowed.sum(axis=1)
        self.even = self.allowed / np.maximum(self.counts, 1)[:, None]
        if len(self.shares):
            self.key, self.even_key = self.shares.mean(axis=0), self.even.mean(axis=0)
            self.times = np.array([k / e if e else 0.0 for k, e in zip(self.key, self.even_key, strict=True)])
            self.usable = np.flatnonzero(self.even_key)

    def ratios(self, without=None):
        """Every allowed weight over its even share, of all keys or of all but one."""
        found = []
        for shares, allowed in zip(self.shares, self.allowed, strict=True):
            keys = [key for key in np.flatnonzero(allowed) if key != without]
            if keys and shares[keys].sum() > 0:
                found += list(shares[keys] / shares[keys].sum() * len(keys))
        return np.array(found)

    def spread(self):
        return float(np.mean([math.exp(-sum(s * math.log(s) for s in row if s > 0)) for row in self.shares]))

    def words(self, few, many, allowed):
        return int(few) == self.counts.min() and int(many or few) == self.counts.max() and bool(allowed) == self.masked

    def at_least_twice(self):
        return np.flatnonzero(self.times >= 2 - 1e-6), np.flatnonzero(self.times >= 2 + 1e-6)


ATTENTION = {
    "off": r"All weights are 0: this attention is switched off\.",
    "dead": r"Every key is masked: there is nothing to attend to\.",
    "one": r"One step: there is no other to attend to\.",
    "uniform": rf"Nearly uniform over {KEYS}: every weight is {SPAN} times its even share[.;]",
    "no shapes": r"Read no shapes into it\.",
    "plain mean": r"pooling is close to the plain mean of the steps\.",
    "diagonal": rf"Diagonal: {N} % \(even: {N} %\) is on the same step\.",
    "band": rf"A band around the diagonal: what a query attends to is {N} steps away on average \(even: {N}\)\.",
    "past": rf"Looks back: {N} % \(even: {N} %\) is on the same and earlier steps\.",
    "nobody": rf"No step gets twice its even share; the most, {N} times, is on step (\d+) \({N} %\)\.",
    "single": rf"(Vertical stripe: o|O)ne step, step (\d+), gets {N} %, {N} times its even share; "
    r"(the rest is even|no other gets twice its own)\.",
    "several": rf"(Vertical stripes: )?(\d+) steps get at least twice their even share, {N} % together; the largest: "
    r"(.*?%.*? times\))\.",
    "spread": rf"(?:On average a query attends to|Spread over) the equivalent of {N} of {KEYS}\.",
    "late": rf"The last (?:(\d+) steps get|step gets) {N} % \(even: {N} %\)\.",
}


def check_attention(verdict, weights, mask):
    """Every claim about attention [query, key], by what its words mean."""
    it = Shares(weights, mask)
    parts = read(verdict, ATTENTION)
    names = {name for name, _ in parts}
    assert ("dead" in names, "off" in names) == (it.dead, it.off)
    if it.dead or it.off:
        return
    assert ("one" in names) == (it.counts.max() == 1)
    if "one" in names:
        return
    assert names & {"uniform", "late"}
    offsets = np.arange(it.shares.shape[1]) - np.arange(len(it.shares))[:, None]
    square = len(it.shares) == it.shares.shape[1]
    for name, match in parts:
        said = match.groups()
        if name == "uniform":
            ratios = it.ratios()
            assert it.words(*said[:3])
            assert says(said[3], ratios.min())
            assert says(said[4] or said[3], ratios.max())
            assert ratios.min() > 0.75 - 1e-6
            assert ratios.max() < 1.25 + 1e-6
            # So nothing has more than a quarter above its share: no day, no quarter of the days.
            assert (it.times[it.usable] < 1.25 + 1e-6).all()
            for quarter in np.array_split(it.usable, min(4, len(it.usable))):
                assert 0.74 < it.key[quarter].sum() / it.even_key[quarter].sum() < 1.26
        elif name == "diagonal":
            held, even = ((part * (offsets == 0)).sum() / len(part) for part in (it.shares, it.even))
            assert square
            assert says(said[0], 100 * held)
            assert says(said[1], 100 * even)
            assert held > 0.5 - 1e-6
            assert held > 2 * even - 1e-6
        elif name == "band":
            far, even = ((part * abs(offsets)).sum() / len(part) for part in (it.shares, it.even))
            assert square
            assert float(said[0]) == pytest.approx(far, rel=0.06, abs=1e-9)
            assert float(said[1]) == pytest.approx(even, rel=0.06)
            # Half of the attention is at most half as far away as even attention is on average.
            near = (it.shares * (abs(offsets) <= even / 2 + 1e-9)).sum() / len(it.shares)
            assert near > 0.5 - 1e-6
        elif name == "past":
            held, even = ((part * (offsets <= 0)).sum() / len(part) for part in (it.shares, it.even))
            assert square
            assert says(said[0], 100 * held)
            assert says(said[1], 100 * even)
            assert held > 0.95 - 1e-6
            assert 0 < 1 - even > 2 * (1 - held) - 1e-6
        elif name == "nobody":
            most = it.times.max()
            assert most < 2 + 1e-6
            assert float(said[0]) == pytest.approx(most, abs=0.0101)
            assert it.times[int(said[1])] == pytest.approx(most)
            assert says(said[2], 100 * it.key[int(said[1])])
        elif name == "single":
            key = int(said[1])
            assert it.times[key] == it.times.max() > 2 - 1e-6
            assert says(said[2], 100 * it.key[key])
            assert says(said[3], it.times[key])
            others = np.delete(it.times, key)
            ratios = it.ratios(without=key)
            if said[4] == "the rest is even":
                assert 0.75 - 1e-6 < ratios.min() <= ratios.max() < 1.25 + 1e-6
            else:
                assert (others < 2 + 1e-6).all()
            check_stripes(it, [key], said[0].startswith("Vertical"))
        elif name == "several":
            loose, strict = it.at_least_twice()
            assert len(strict) <= int(said[1]) <= len(loose)
            if len(strict) == len(loose):
                assert says(said[2], 100 * it.key[loose].sum())
                check_stripes(it, list(loose), said[0] is not None)
            largest = re.findall(rf"step (\d+) {N} % \({N} times\)", said[3])
            assert len(largest) == min(3, int(said[1]))
            smallest = min(it.key[int(key)] for key, *_ in largest)
            others = set(strict) - {int(key) for key, *_ in largest}
            assert all(it.key[key] <= smallest + 1e-9 for key in others)
            for key, share, times in largest:
                assert says(share, 100 * it.key[int(key)])
                assert float(times) == pytest.approx(
                    it.times[int(key)], abs=0.501 if it.times[int(key)] > 9.9 else 0.051
                )
        elif name == "spread":
            assert says(said[0], it.spread())
            assert it.words(*said[1:])
        elif name == "late":
            number = int(said[0] or 1)
            last = it.usable[-number:]
            assert abs(number - len(it.usable) / 4) <= max(0.5, 1 - len(it.usable) / 4)
            assert says(said[1], 100 * it.key[last].sum())
            assert says(said[2], 100 * it.even_key[last].sum())


def check_stripes(it, keys, claimed):
    """Stripes: half of the queries give these days twice their even share."""
    excess = it.shares[:, keys].sum(axis=1) - 2 * it.even[:, keys].sum(axis=1)
    excess[it.even[:, keys].sum(axis=1) == 0] = -1  # a query that may not attend to them gives them nothing
    if claimed:
        assert len(it.shares) > 1
        assert (excess > -1e-6).mean() >= 0.5
    else:
        assert len(it.shares) == 1 or (excess > 1e-6).mean() < 0.5


@pytest.mark.parametrize("part", range(4))
def test_maps(part):
    rng = np.random.default_rng(part)
    for _ in range(CASES // 4):
        weights, mask = random_map(rng)
        check_attention(summarize_map(weights, mask).verdict, weights, mask)


def test_rows():
    rng = np.random.default_rng(10)
    for _ in range(CASES):
        weights, mask = random_map(rng)
        row = int(rng.integers(len(weights)))
        mask = None if mask is None else mask[row]
        if mask is not None and mask.all():
            mask = None if not weights[row].isfinite().all() else mask
        if not weights[row].isfinite().all():
            continue
        verdict = summarize_row(weights[row], mask).verdict
        check_attention(verdict, weights[row][None], None if mask is None else mask[None])


def test_pooling():
    rng = np.random.default_rng(11)
    for _ in range(CASES):
        weights = random_map(rng)[0][0].nan_to_num(0.0)
        check_attention(summarize_pooling(weights).verdict, weights[None], None)


def test_a_mask_leaves_what_it_hides_out():
    """Even attention over 40 of 50 days, the first query masked as a whole."""
    mask = torch.zeros(50, 50, dtype=torch.bool)
    mask[:, 40:] = mask[0] = True
    weights = torch.full((50, 50), 1 / 40).masked_fill(mask, 0.0)
    weights[0] = math.nan
    summary = summarize_map(weights, mask)
    assert summary.verdict.startswith("Nearly uniform over 40 allowed steps: every weight is 1.00 times")
    found = {one.name: one.value for one in summary.findings}
    assert (found["diffuseness"], found["sparsity"], found["peak_times"]) == pytest.approx((1, 0, 1), abs=1e-5)
    assert (found["recency"], found["stripe_share"]) == pytest.approx((0.25, 1), abs=1e-5)
    assert summarize_row(weights[1], mask[1]).verdict.startswith("Nearly uniform over 40 allowed steps")


# Layers and heads


def plain_diffuseness(weights, mask):
    """Mean over the queries with a choice of entropy / log n; NaN where none has one."""
    weights = np.asarray(weights, dtype=float)
    allowed = np.ones(weights.shape, bool) if mask is None else ~np.asarray(mask)
    found = [
        -sum(w * math.log(w) for w in row[some] if w > 0) / math.log(some.sum())
        for row, some in zip(weights, allowed, strict=True)
        if some.sum() > 1
    ]
    return float(np.mean(found)) if found else math.nan


def random_heads(rng, heads):
    """Maps of one shape [heads, query, key], all with one mask or none."""
    while True:
        first, mask = random_map(rng, square=True)
        if len(first) < 61 and (mask is None or not mask.all()) and first.size(1) > 1:
            break
    maps = [first]
    while len(maps) < heads:
        if rng.random() < 0.3:
            maps.append(maps[-1].clone())
            continue
        weights = torch.from_numpy(rng.dirichlet(np.full(len(first), 10 ** rng.uniform(-1.5, 3.5)), len(first))).float()
        if mask is not None:
            weights = (weights + 1e-9).masked_fill(mask, 0.0)  # a draw may be 0 on the only key that is allowed
            weights = weights / weights.sum(dim=1, keepdim=True)
            weights = weights.masked_fill(mask.all(dim=1, keepdim=True), math.nan)
        maps.append(weights)
    return torch.stack(maps), None if mask is None else mask[None]


LAYERS = {
    "one": rf"One layer: the heads' mean diffuseness is {N} of 1\.",
    "alike": rf"Alike in every layer: the heads' mean diffuseness is {SPAN} of 1\.",
    "trend": rf"(Sharpens|Spreads out) with depth: the heads' mean diffuseness goes from {N} to {N} of 1, never back\.",
    "up and down": rf"Up and down with depth: the heads' mean diffuseness goes from {N} to {N} of 1, "
    rf"with the lowest, {N}, "
    rf"in layer (\d+) and the highest, {N}, in layer (\d+)\.",
}


def check_layers(verdict, course):
    [(name, match)] = read(verdict, LAYERS)
    said, steps = match.groups(), np.diff(course)
    if name == "one":
        assert len(course) == 1
        assert says(said[0], course[0])
    elif name == "alike":
        assert says(said[0], min(course))
        assert says(said[1] or said[0], max(course))
        assert np.ptp(course) < 0.06
    elif name == "trend":
        assert says(said[1], course[0])
        assert says(said[2], course[-1])
        towards = -steps if said[0] == "Sharpens" else steps
        assert (towards > -0.0101).all()
        assert towards.sum() > 0.0399
    else:
        assert says(said[0], course[0])
        assert says(said[1], course[-1])
        assert says(said[2], min(course))
        assert says(said[4], max(course))
        assert course[int(said[3])] < min(course) + 0.0101
        assert course[int(said[5])] > max(course) - 0.0101
        assert steps.min() < 0 < steps.max()


def test_layers():
    rng = np.random.default_rng(20)
    for case in range(CASES):
        if case % 4:  # planted courses
            keys, course = 40, []
            layers = []
            for focus in np.cumsum(rng.normal(0, rng.choice([0.005, 0.05, 0.3]), int(rng.integers(1, 7)))):
                weights = torch.softmax(torch.from_numpy(np.linspace(0, 6 * abs(focus), keys)).float(), dim=0)
                layers.append(weights.expand(2, keys, keys).clone())
            masks = [None] * len(layers)
        else:
            pairs = [random_heads(rng, 2) for _ in range(int(rng.integers(1, 4)))]
            layers, masks = map(list, zip(*pairs, strict=True))
        course = [
            np.mean([plain_diffuseness(one, None if mask is None else mask[0]) for one in maps])
            for maps, mask in zip(layers, masks, strict=True)
        ]
        if np.isfinite(course).all():
            check_layers(summarize_layers(layers, masks).verdict, course)


HEADS = {
    "off": r"Switched off: heads? ([\d, ]+)\.",
    "one": r"One head: there is no other to compare it with\.",
    "uniform": rf"All (\d+) heads are nearly uniform: every weight is {SPAN} times its even share\.",
    "alike": rf"All (\d+) heads are about equally diffuse: {SPAN} of 1\.",
    "range": rf"Diffuseness of the (\d+) heads runs from {N} \(head (\d+)\) to {N} of 1 \(head (\d+)\)\.",
    "repeated": rf"Every head is much like another: the redundancy is {N} of 1 or more\.",
    "least": rf"Least like any other is head (\d+)(?:, along with (\d+) other heads?)?: its redundancy is {N} of 1\.",
}


def plain_redundancy(maps, mask):
    """1 - the smallest Jensen-Shannon divergence to another head / log 2."""
    rows = np.arange(maps.shape[1]) if mask is None else np.flatnonzero(~np.asarray(mask).all(axis=1))
    found = []
    for one in range(len(maps)):
        apart = []
        for other in range(len(maps)):
            if other != one:
                middle = (maps[one] + maps[other]) / 2
                both = rel_entr(maps[one], middle)[rows].sum(axis=1) + rel_entr(maps[other], middle)[rows].sum(axis=1)
                apart.append(both.mean() / 2)
        found.append(1 - min(apart) / math.log(2))
    return np.array(found)


def test_heads():
    rng = np.random.default_rng(21)
    for _ in range(CASES):
        heads = int(rng.integers(1, 5))
        maps, mask = random_heads(rng, heads)
        if mask is not None and (~mask).sum(dim=-1).max() < 2:
            continue
        if rng.random() < 0.1:
            maps[int(rng.integers(heads))] = 0.0
        plane = None if mask is None else mask[0]
        on = [head for head in range(heads) if maps[head].nan_to_num(0.0).any()]
        parts = read(summarize_heads(maps, mask).verdict, HEADS) if on else []
        plain = maps.nan_to_num(0.0).numpy()[on].astype(float)
        each = [plain_diffuseness(one, plane) for one in plain]
        for name, match in parts:
            said = match.groups()
            if name == "off":
                assert sorted({*range(heads)} - {*on}) == [int(head) for head in said[0].split(", ")]
            elif name == "one":
                assert len(on) == 1
            elif name == "uniform":
                ratios = np.concatenate([Shares(one, plane).ratios() for one in plain])
                assert int(said[0]) == len(on)
                assert says(said[1], ratios.min())
                assert says(said[2] or said[1], ratios.max())
                assert ratios.min() > 0.75 - 1e-6
                assert ratios.max() < 1.25 + 1e-6
            elif name == "alike":
                assert int(said[0]) == len(on)
                assert says(said[1], min(each))
                assert says(said[2] or said[1], max(each))
                assert np.ptp(each) < 0.0601
            elif name == "range":
                assert int(said[0]) == len(on)
                assert says(said[1], min(each))
                assert says(said[3], max(each))
                assert each[on.index(int(said[2]))] < min(each) + 1e-4
                assert each[on.index(int(said[4]))] > max(each) - 1e-4
            elif name == "repeated":
                assert says(said[0], plain_redundancy(plain, plane).min())
                assert float(said[0]) >= 0.95
            elif name == "least":
                repeats = plain_redundancy(plain, plane)
                assert says(said[2], repeats.min())
                alike = (abs(repeats - repeats.min()) < 0.006 * max(repeats.min(), 1e-4)).sum() - 1
                assert int(said[1] or 0) <= alike
                assert said[1] is not None or len(on) > 2 or alike == 0
                assert repeats[on.index(int(said[0]))] < repeats.min() + 1e-4


def test_head_grids():
    rng = np.random.default_rng(22)
    pattern = re.compile(
        rf"The most focused of (\d+) heads by diffuseness is layer (\d+), head (\d+) \({N} of 1\)"
        rf"(?:, along with (\d+) other heads?)?; the most diffuse is layer (\d+), head (\d+) \({N} of 1\)"
        rf"(?:, along with \d+ other heads?)?; the median is {N}\."
    )
    for _ in range(CASES // 2):
        layers, masks = zip(
            *[random_heads(rng, int(rng.integers(1, 4))) for _ in range(int(rng.integers(1, 4)))], strict=True
        )
        each = {
            (layer, head): plain_diffuseness(one, None if mask is None else mask[0])
            for layer, (maps, mask) in enumerate(zip(layers, masks, strict=True))
            for head, one in enumerate(maps)
        }
        if not np.isfinite([*each.values()]).all():
            continue
        verdict = summarize_head_grid(head_statistics(layers, masks)).verdict
        if len(each) == 1:
            assert verdict == f"The only head by diffuseness is layer 0, head 0 ({each[0, 0]:.2f} of 1)."
            continue
        said = pattern.fullmatch(verdict).groups()
        most, least = each[int(said[1]), int(said[2])], each[int(said[5]), int(said[6])]
        assert int(said[4] or 0) <= sum(abs(one - most) <= 0.006 * most for one in each.values()) - 1
        assert int(said[0]) == len(each)
        assert most < min(each.values()) + 1e-4
        assert least > max(each.values()) - 1e-4
        assert says(said[3], most)
        assert says(said[7], least)
        assert says(said[8], np.median([*each.values()]))


# Gates


def test_gates():
    rng = np.random.default_rng(30)
    pattern = re.compile(
        rf"(Mostly closed|Mostly open|Partly open): the mean gate is {N}\. The daily mean (?:is|runs from) {SPAN}\."
    )
    for _ in range(CASES):
        days, width = int(rng.choice([1, 2, 3, 60])), int(rng.integers(1, 9))
        gate = rng.beta(*10 ** rng.uniform(-1.5, 1.5, 2), (days, width))
        if rng.random() < 0.2:
            gate = np.where(rng.random((days, 1)) < 0.1, 1 - gate, gate)
        gate = gate.astype(np.float32)
        said = pattern.fullmatch(summarize_gate(torch.from_numpy(gate)).verdict).groups()
        daily = gate.astype(float).mean(axis=1)
        assert says(said[1], daily.mean())
        assert says(said[2], daily.min())
        assert says(said[3] or said[2], daily.max())
        closed, opened = (gate < 0.5).mean(), (gate > 0.5).mean()
        assert {"Mostly closed": closed > 0.5, "Mostly open": opened > 0.5}.get(
            said[0], 0.25 <= daily.mean() + 1e-6 <= 0.75 + 2e-6
        )


# Attribution and what reaches the prediction


SALIENCY = {
    "none": r"Every attribution is 0\.",
    "main": rf"The attribution is (mainly on the stock|mainly on the market|on stock and "
    rf"market): the market, (\d+) of (\d+) features, holds {N} %\.",
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
                main = {"mainly on the stock": 1 - share, "mainly on the market": share}.get(said[0])
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


def order_is(words, correlation):
    if words == "much the same":
        return correlation > 0.8 - 1e-6
    return correlation < 0.5 + 1e-6 if words == "different" else 0.5 - 1e-6 < correlation < 0.8 + 1e-6


ORDER = rf"(much the same|partly the same|a different) order \(rank correlation {N}\)"


def test_flow_maps():
    rng = np.random.default_rng(42)
    pattern = re.compile(rf"Beside the attention weights: {ORDER}\.")
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
        rf"(?: The widest gate, {N}, is that of layer (\d+), where the market contributes {N} %\.)?"
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
        rf"The target depends most on Stock self-attention, layer (\d+), head (\d+)"
        rf"(?:, along with \d+ other heads?)?: without it, the target changes by (\S+)\."
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
        assert float(said[2]) == pytest.approx(-ablation[int(said[1])], rel=0.006)
        flat = len(set(gradient)) < 2 or len(set(abs(ablation))) < 2
        assert (said[3] is None) == flat
        if not flat:
            correlation = spearmanr(gradient, abs(ablation))[0]
            assert says(said[4], correlation)
            assert order_is(said[3].removeprefix("a "), correlation)


def test_effects():
    rng = np.random.default_rng(45)
    pattern = re.compile(
        r"(Flat|Shuffled) weights in Stock self-attention, layer (\d+) change the target "
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


# Predictions


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


def test_prices():
    rng = np.random.default_rng(54)
    pattern = re.compile(
        rf"(?:(Up|Down) {N} %|Unchanged) over (\d+) days with a price, {N} % volatility "
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


# The shipped model


def test_real_maps(sample):
    dataset, model = sample
    for index in np.linspace(0, len(dataset) - 1, max(2, min(CASES // 100, 40))).astype(int):
        x, _, market_x = dataset[int(index)]
        capture = capture_attention(model, x[None], market_x[None])
        for layers in capture.kinds.values():
            for maps in layers:
                for weights in (maps[0].mean(dim=0), *maps[0, :3]):
                    check_attention(summarize_map(weights).verdict, weights, None)
                    check_attention(summarize_row(weights[-1]).verdict, weights[-1:], None)
            course = [np.mean([plain_diffuseness(one, None) for one in maps[0]]) for maps in layers]
            check_layers(summarize_layers([maps[0] for maps in layers]).verdict, course)
        check_attention(summarize_pooling(capture.pooling[0]).verdict, capture.pooling, None)


# Counts of one, two and more


ONE_OF_THEM = re.compile(
    r"(?<![\d.,])1 (?:other )?(?!classes|less|samples of)[a-z]+s\b(?<!has)(?<!is)(?<!gets)"  # 1 days
    r"|\bof 1 [a-z]+s\b"  # of 1 days
    r"|\blast 1\b"
    r"|(?<!layer )\b(?:[2-9]|\d\d+) (?:day|step|head|layer|feature|sample)\b"  # 2 day
    r"|(?<![\d.,])1 [a-z]+ (?:have|get|are|do)\b|\b1 of \d+ \w+ (?:have|get|hold|are|do|change)\b"
    r"|(\d\.\d\d) to \1\b(?! of 1, with)"  # 0.50 to 0.50
)


def small_verdicts(rng):
    """Sentences about 1, 2, 3 and 9 of everything."""

    def soft(*shape):
        return torch.softmax(3 * torch.from_numpy(rng.normal(size=shape)).float(), dim=-1)

    for days, some in itertools.product((1, 2, 3, 9), (1, 2, 3)):
        names = [f"2020-01-{day + 1:02d}" for day in range(days)]
        causal = torch.ones(days, days, dtype=torch.bool).triu(1)
        heads, off = soft(some, days, days), soft(some, days, days)
        off[0] = 0.0
        yield summarize_map(soft(some, days), None, names)
        yield summarize_map(soft(days, days).masked_fill(causal, 0.0), causal)
        yield summarize_row(soft(days))
        yield summarize_pooling(soft(days), names)
        yield summarize_gate(torch.from_numpy(rng.random((days, some))))
        for maps in (heads, off):
            yield summarize_heads(maps)
            for layers in ([maps], [maps, soft(some, days, days)], [maps] * some):
                yield summarize_layers(layers)
                if days > 1:
                    yield summarize_head_grid(head_statistics(layers, [None] * len(layers)))
        gates = list(torch.from_numpy(rng.random((some, days, 2))))
        yield summarize_entry([gate.mean(dim=1) for gate in gates], gates)
        yield summarize_entry([gates[0].mean(dim=1)] * some, gates)
        parts = [torch.from_numpy(rng.normal(size=(days, features))) for features in (some, 1)]
        yield summarize_saliency(parts[:1])
        yield summarize_saliency(parts)
        yield summarize_days([part.abs().sum(dim=1) for part in parts])
        table = pd.DataFrame({"kind": "self", "layer": range(some), "head": 0})
        yield summarize_head_importance(table.assign(gradient=1.0, ablation=rng.choice([1.0, 2.0], some)))
        yield summarize_effects(table.assign(flat=rng.choice([1.0, 0.01], some), permuted=0.0), 0.5)
        shares = soft(days, some + 1)
        for labels, dates in ((None, None), (shares.argmin(dim=1), pd.date_range("2020-01-01", periods=days))):
            yield summarize_outputs(OutputDistribution(shares, shares, labels=labels, dates=dates))
        yield summarize_prices(pd.DataFrame({"date": names, "adjusted_close": rng.random(days)}))


def test_one_is_singular_and_more_are_plural():
    rng = np.random.default_rng(60)
    for _ in range(5):
        for summary in small_verdicts(rng):
            assert summary.verdict
            assert not ONE_OF_THEM.search(summary.verdict), summary.verdict
