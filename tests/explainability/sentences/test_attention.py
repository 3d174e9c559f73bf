"""Sentences about attention: each claim is computed again, from what its words mean, over many cases."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from claims import CASES, N, read, says
from random_maps import random_map
from scipy.special import rel_entr

from stockformer.explainability import (
    capture_attention,
    head_statistics,
    summarize_gate,
    summarize_head_grid,
    summarize_heads,
    summarize_layers,
    summarize_map,
    summarize_pooling,
    summarize_row,
)

pytestmark = pytest.mark.filterwarnings("error")


SPAN = rf"{N}(?: to {N})?"


KEYS = r"(\d+)(?: to (\d+))? (allowed )?steps?"


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
