"""Sentences on maps, rows, gates and pooling.

A sentence states what was computed, and a word that judges has one rule: the constants below. Shares are compared with
*even* ones, those of attention that is spread equally over the keys that a query may attend to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from stockformer.explainability.attention.statistics import (
    GATE_STATISTICS,
    MAP_STATISTICS,
    RECENCY_READING,
    Statistic,
    allowed_keys,
    diffuseness,
    effective_number,
    even_weights,
    peak_times,
    recency,
    recent_keys,
    top_share,
)
from stockformer.explainability.sentences.summary import (
    Numbers,
    Summary,
    percent,
    plain,
    span,
    summarize,
    times,
    without_numbers,
)

#: Attention is nearly uniform, and the rest of it even, if no weight is further than this part from its even share.
NEARLY_UNIFORM = 0.25
#: A day is named if it gets at least this many times its even share.
NAMED = 2.0
#: Named days are stripes of a map if at least this share of the queries gives them `NAMED` times their even share.
STRIPES = 0.5
#: A map has a diagonal if the diagonal holds at least this share, and `NAMED` times its even one.
DIAGONAL = 0.5
#: A map looks back if at least this share is on the same and earlier days, and later ones get at most a `NAMED`-th
#: of their even share.
BACK = 0.95
#: A map is a band around the diagonal if its mean distance is at most this part of an even map's.
NEAR = 0.25
#: A gate with a mean under the first or over the second is called mostly closed or open: most of its values are.
CLOSED_GATE, OPEN_GATE = 0.25, 0.75

_OFF = "All weights are 0: this attention is switched off."
_MASKED = "Every key is masked: there is nothing to attend to."
ALONE = "One {}: there is no other to attend to."
_MOST_NAMED = 3


@dataclass(frozen=True)
class _Shares:
    """Attention of the queries that have any, each as shares of its sum.

    Attributes:
        values: [query, key], rows sum to 1; 0 where masked.
        even: even attention, [query, key].
        names: names of the keys; None if their days are not known.
        masked: whether some keys are masked.
    """

    values: np.ndarray
    even: np.ndarray
    names: Sequence[str] | None
    masked: bool

    @property
    def unit(self) -> str:
        return "step" if self.names is None else "day"

    def name(self, key: int) -> str:
        return f"step {key}" if self.names is None else self.names[key]

    @cached_property
    def by_key(self) -> np.ndarray:
        """Share of each key over all queries, [key]."""
        return np.asarray(self.values.mean(axis=0))

    @cached_property
    def even_by_key(self) -> np.ndarray:
        return np.asarray(self.even.mean(axis=0))

    @property
    def usable(self) -> np.ndarray:
        """Keys that some query may attend to, [key]."""
        return self.even_by_key > 0

    @cached_property
    def times(self) -> np.ndarray:
        """How many times its even share each key gets, [key]; 0 for keys that are masked for all queries."""
        return self.by_key / np.where(self.usable, self.even_by_key, 1.0)

    @property
    def keys(self) -> str:
        """Number of keys that a query may attend to, in words."""
        numbers = (self.even > 0).sum(axis=1)
        fewest, most = int(numbers.min()), int(numbers.max())
        number = f"{most}" if fewest == most else f"{fewest} to {most}"
        return f"{number} {'allowed ' if self.masked else ''}{self.unit}{'s' * (most != 1)}"

    def spread(self, without: int | None = None) -> tuple[float, float]:
        """The smallest and the largest weight as multiples of their even shares, of all keys or of all but one."""
        keys = np.arange(self.values.shape[1]) != without
        values, even = self.values[:, keys], self.even[:, keys]
        left = values.sum(axis=1, keepdims=True) > 0
        values = values / np.where(left, values.sum(axis=1, keepdims=True), 1)
        even = even / np.where(even.sum(axis=1, keepdims=True) > 0, even.sum(axis=1, keepdims=True), 1)
        ratios = (values / np.where(even > 0, even, 1))[(even > 0) & left]
        return (float(ratios.min()), float(ratios.max())) if ratios.size else (math.nan, math.nan)


def shares_of(weights: Tensor, mask: Tensor | None, names: Sequence[str] | None) -> _Shares:
    allowed = allowed_keys(weights, mask)
    values = weights.double().masked_fill(~allowed, 0.0)
    total = values.sum(dim=-1, keepdim=True)
    some = total[:, 0] > 0
    return _Shares(
        (values / total)[some].numpy(),
        even_weights(weights.double(), mask)[some].numpy(),
        names,
        not bool(allowed.all()),
    )


def is_even(spread: tuple[float, float]) -> bool:
    return spread[0] >= 1 - NEARLY_UNIFORM and spread[1] <= 1 + NEARLY_UNIFORM


def _summarize_shares(
    statistics: Sequence[Statistic],
    weights: Tensor,
    mask: Tensor | None,
    names: Sequence[str] | None,
    verdict: Callable[[_Shares, Numbers], str],
    of: str,
) -> Summary:
    """Summary of attention weights [query, key], with a verdict on their shares."""
    allowed = weights[allowed_keys(weights, mask)]
    if not allowed.numel():
        return without_numbers(statistics, _MASKED, of)
    if not allowed.any():
        return without_numbers(statistics, _OFF, of)

    def words(numbers: Numbers) -> str:
        shares = shares_of(weights, mask, names)
        if (shares.even > 0).sum(axis=1).max() == 1:
            return ALONE.format(shares.unit)
        return verdict(shares, numbers)

    return summarize(statistics, (weights, mask), [allowed], words, of=of)


def _evenness(shares: _Shares) -> str | None:
    """The sentence on attention that is nearly uniform; None for any other."""
    low, high = spread = shares.spread()
    if not is_even(spread):
        return None
    return f"Nearly uniform over {shares.keys}: every weight is {span(low, high)} times its even share"


def _named(shares: _Shares) -> str:
    """A sentence on the days that get at least `NAMED` times their even share, or that none does."""
    order = np.argsort(-shares.by_key, kind="stable")
    named = [int(key) for key in order if shares.times[key] >= NAMED]
    first, unit = int(shares.times.argmax()), shares.unit
    if not named:
        most = f"{times(shares.times[first])} times, is on {shares.name(first)} ({percent(shares.by_key[first])})"
        return f"No {unit} gets twice its even share; the most, {most}."
    on_them, even = (part[:, named].sum(axis=1) for part in (shares.values, shares.even))
    stripes = len(shares.values) > 1 and ((on_them >= NAMED * even) & (even > 0)).mean() >= STRIPES
    if len(named) == 1:
        rest = "the rest is even" if is_even(shares.spread(without=first)) else "no other gets twice its own"
        gets = f"gets {percent(shares.by_key[first])}, {times(shares.times[first])} times its even share"
        return f"{'Vertical stripe: one' if stripes else 'One'} {unit}, {shares.name(first)}, {gets}; {rest}."
    together = percent(float(shares.by_key[named].sum()))
    largest = ", ".join(
        f"{shares.name(key)} {percent(shares.by_key[key])} ({times(shares.times[key])} times)"
        for key in named[:_MOST_NAMED]
    )
    get = f"{len(named)} {unit}s get at least twice their even share, {together} together"
    return f"{'Vertical stripes: ' if stripes else ''}{get}; the largest: {largest}."


def _late(shares: _Shares) -> str:
    """A sentence on the share of the last quarter of the days."""
    last = recent_keys(torch.from_numpy(shares.usable)).numpy()
    number = int(last.sum())
    which = f"last {shares.unit} gets" if number == 1 else f"last {number} {shares.unit}s get"
    held, even = shares.by_key[last].sum(), shares.even_by_key[last].sum()
    return f"The {which} {percent(float(held))} (even: {percent(float(even))})."


def summarize_map(weights: Tensor, mask: Tensor | None = None, days: Sequence[str] | None = None) -> Summary:
    """The shape of an attention map [query, key], compared with an even one.

    Args:
        mask: where a query may not attend to a key, bool [query, key].
        days: names of the keys.
    """
    return _summarize_shares(MAP_STATISTICS, plain(weights), mask, days, _map_verdict, "this map")


def _map_verdict(shares: _Shares, numbers: Numbers) -> str:
    even = _evenness(shares)
    if even is not None:
        return f"{even}. Read no shapes into it."
    spread = float(np.mean([float(effective_number(torch.from_numpy(row))) for row in shares.values]))
    focus = f"On average a query attends to the equivalent of {spread:.1f} of {shares.keys}."
    return " ".join([*_shapes(shares), _named(shares), focus, _late(shares)])


def _shapes(shares: _Shares) -> list[str]:
    """Sentences on shapes along the diagonal, for a map whose queries and keys are the same days."""
    if shares.values.shape[0] != shares.values.shape[1]:
        return []
    steps = np.arange(len(shares.values))
    offsets = steps - steps[:, None]
    same, distance, later = (
        [float((part * kind).sum(axis=1).mean()) for part in (shares.values, shares.even)]
        for kind in (offsets == 0, abs(offsets), offsets > 0)
    )
    diagonal = same[0] >= max(DIAGONAL, NAMED * same[1])
    sentences = []
    if diagonal:
        sentences.append(f"Diagonal: {percent(same[0])} (even: {percent(same[1])}) is on the same {shares.unit}.")
    elif distance[0] <= NEAR * distance[1]:
        near = f"{distance[0]:.2g} {shares.unit}s away on average (even: {distance[1]:.2g})"
        sentences.append(f"A band around the diagonal: what a query attends to is {near}.")
    if later[1] > 0 and later[0] <= min(1 - BACK, later[1] / NAMED) and not diagonal:
        held, even = (percent(1 - share) for share in later)
        sentences.append(f"Looks back: {held} (even: {even}) is on the same and earlier {shares.unit}s.")
    return sentences


_ROW_STATISTICS = (
    Statistic(
        "effective_days",
        lambda row, mask: effective_number(row[0] if mask is None else row[0].masked_fill(mask[0], 0.0)),
        "exp(-sum w log w)",
        "Number of days that an even spread would cover.",
    ),
    Statistic("diffuseness", diffuseness, "entropy / log n", "1: all days get the same; 0: one gets all."),
    Statistic("peak_times", peak_times, "max of w / even share", "1: every day gets its even share."),
    Statistic(
        "recency",
        recency,
        "attention on the last quarter",
        RECENCY_READING,
    ),
    Statistic(
        "top_three_share",
        lambda row, mask: top_share(row[0] if mask is None else row[0].masked_fill(mask[0], 0.0), 3),
        "sum of the three largest w",
        "3 / n: no day gets more than its even share.",
    ),
)


def summarize_row(row: Tensor, mask: Tensor | None = None, days: Sequence[str] | None = None) -> Summary:
    """How many days, and which, one query's attention [key] is on.

    Args:
        mask: which keys it may not attend to, bool [key].
        days: names of the keys.
    """
    mask = None if mask is None else mask[None]
    return _summarize_shares(_ROW_STATISTICS, plain(row)[None], mask, days, _row_verdict, "this row")


def _row_verdict(shares: _Shares, numbers: Numbers) -> str:
    even = _evenness(shares)
    if even is not None:
        return f"{even}."
    spread = float(effective_number(torch.from_numpy(shares.values[0])))
    return f"Spread over the equivalent of {spread:.1f} of {shares.keys}. {_named(shares)} {_late(shares)}"


_POOLING_STATISTICS = (
    *_ROW_STATISTICS[1:4],
    Statistic(
        "days_from_peak",
        lambda weights, mask: weights.size(1) - 1 - weights[0].argmax(),
        "last day - day of the largest w",
        "0: the last day has the largest weight; high: an early day has.",
    ),
    _ROW_STATISTICS[4],
)


def summarize_pooling(weights: Tensor, days: Sequence[str] | None = None) -> Summary:
    """Which days count in the pooled vector, from the pooling weights [T].

    Args:
        days: their names.
    """
    return _summarize_shares(
        _POOLING_STATISTICS, plain(weights)[None], None, days, _pooling_verdict, "the pooling weights"
    )


def _pooling_verdict(shares: _Shares, numbers: Numbers) -> str:
    even = _evenness(shares)
    if even is not None:
        return f"{even}; pooling is close to the plain mean of the {shares.unit}s."
    return _row_verdict(shares, numbers)


def summarize_gate(gate: Tensor) -> Summary:
    """How far a layer's gate [T, d] lets the market in."""
    gate = plain(gate)
    daily = gate.mean(dim=-1)
    return summarize(GATE_STATISTICS, (gate,), [gate], lambda numbers: _gate_verdict(numbers, daily), "gate values")


def _gate_verdict(numbers: Numbers, daily: Tensor) -> str:
    mean = numbers["mean"]
    state = "Mostly closed" if mean < CLOSED_GATE else "Mostly open" if mean > OPEN_GATE else "Partly open"
    days = span(float(daily.min()), float(daily.max()))
    course = f"The daily mean runs from {days}." if " to " in days else f"The daily mean is {days}."
    return f"{state}: the mean gate is {mean:.2f}. {course}"
