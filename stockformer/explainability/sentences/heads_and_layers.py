"""Sentences on layers and heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.attention.statistics import (
    Statistic,
    allowed_keys,
    diffuseness,
    heads_on,
    peak,
    redundancy,
    sparsity,
)
from stockformer.explainability.sentences.attention import ALONE, NEAR, is_even, shares_of
from stockformer.explainability.sentences.summary import (
    Numbers,
    Summary,
    findings_of,
    plain,
    span,
    summarize,
    ties,
    values_of,
    without_numbers,
)
from stockformer.table import counted

#: Layers or heads whose diffuseness differs by less than this are called alike.
ALIKE = 0.05
#: Heads are called alike if the redundancy of each is at least this.
REDUNDANT = 0.95

_LAYERS_STATISTICS = (
    Statistic(
        "first_diffuseness",
        lambda by_layer: by_layer[0][0],
        "mean over heads of entropy / log n, first layer",
        "1: every head attends to all days equally.",
    ),
    Statistic(
        "last_diffuseness",
        lambda by_layer: by_layer[-1][0],
        "mean over heads of entropy / log n, last layer",
        "1: every head attends to all days equally.",
    ),
    Statistic(
        "diffuseness_change",
        lambda by_layer: by_layer[-1][0] - by_layer[0][0],
        "last - first",
        "Below 0: the last layer is sharper than the first.",
    ),
    Statistic(
        "sparsity_change",
        lambda by_layer: by_layer[-1][1] - by_layer[0][1],
        "mean Hoyer sparsity, last - first",
        "Above 0: the last layer attends to fewer days than the first.",
    ),
)


def summarize_layers(layers: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None) -> Summary:
    """How attention changes with depth: one [heads, query, key] per layer, means of the heads' own numbers.

    Args:
        masks: the mask of each layer, bool [heads or 1, query, key], or None.
    """
    layers, masks = [plain(layer) for layer in layers], list(masks or [None] * len(layers))
    pairs = list(zip(layers, masks, strict=True))
    by_layer = [tuple(float(of(*pair)[heads_on(pair[0])].mean()) for of in (diffuseness, sparsity)) for pair in pairs]
    off = [(layer, head) for layer, maps in enumerate(layers) for head, on in enumerate(heads_on(maps)) if not on]
    allowed = [layer[allowed_keys(layer, mask)] for layer, mask in pairs]
    course = {layer: numbers[0] for layer, numbers in enumerate(by_layer) if not math.isnan(numbers[0])}
    return summarize(
        _LAYERS_STATISTICS,
        (by_layer,),
        allowed,
        lambda numbers: _without(off, _layers_verdict(course) if course else "" if off else ALONE.format("step")),
        of="mean of the heads' own numbers",
    )


def _without(off: Sequence[tuple[int, int]], verdict: str) -> str:
    """A verdict on several layers, after the heads (layer, head) that are left out because they have no weights."""
    if not off:
        return verdict
    names = ", ".join(f"layer {layer} head {head}" for layer, head in off)
    return f"Left out, without a weight above 0: {names}. {verdict}".strip()


def _layers_verdict(course: Mapping[int, float]) -> str:
    """The course of the heads' mean diffuseness by layer; changes that two digits do not show are ignored."""
    places, digits = list(course), [round(value, 2) for value in course.values()]
    first, last, lowest, highest = digits[0], digits[-1], min(digits), max(digits)
    what = "the heads' mean diffuseness"
    if len(course) == 1:
        return f"One layer: {what} is {last:.2f} of 1."
    if highest - lowest < ALIKE:
        return f"Alike in every layer: {what} is {span(lowest, highest)} of 1."
    steps = np.diff(digits)
    if (steps <= 0).all() or (steps >= 0).all():
        trend = "Sharpens" if last < first else "Spreads out"
        return f"{trend} with depth: {what} goes from {first:.2f} to {last:.2f} of 1, never back."
    low, high = places[digits.index(lowest)], places[digits.index(highest)]
    return (
        f"Up and down with depth: {what} goes from {first:.2f} to {last:.2f} of 1, with the lowest, {lowest:.2f}, in "
        f"layer {low} and the highest, {highest:.2f}, in layer {high}."
    )


_DISTANCE_STATISTICS = (
    Statistic(
        "first_distance",
        lambda table: table["distance"][table["layer"] == table["layer"].min()].mean(),
        "mean over queries and heads of sum w |q - k|, first layer",
        "In days. 0: the same day.",
    ),
    Statistic(
        "last_distance",
        lambda table: table["distance"][table["layer"] == table["layer"].max()].mean(),
        "the same, last layer",
        "In days. 0: the same day.",
    ),
    Statistic(
        "even_distance",
        lambda table: table["even_distance"].mean(),
        "mean of |q - k|",
        "For attention to all days equally.",
    ),
    Statistic("nearest_head", lambda table: table["distance"].min(), "smallest distance of a head", "Low: local."),
    Statistic("farthest_head", lambda table: table["distance"].max(), "largest distance of a head", "High: global."),
)


def summarize_distances(table: pd.DataFrame) -> Summary:
    """How many days away attention looks with depth, from the table of `head_distances`."""
    some = table["distance"].notna()
    if not some.any():
        return without_numbers(_DISTANCE_STATISTICS, "No head has a weight above 0: there are no distances.")
    off = [(int(layer), int(head)) for layer, head in table.loc[~some, ["layer", "head"]].to_numpy()]
    numbers = values_of(_DISTANCE_STATISTICS, table[some])
    verdict = _without(off, _distances_verdict(table[some], numbers))
    return Summary(verdict, findings_of(_DISTANCE_STATISTICS, numbers))


def _distances_verdict(table: pd.DataFrame, numbers: Numbers) -> str:
    distances, evens = table["distance"], table["even_distance"]
    if not evens.any():
        return ALONE.format("day")
    first, last, *even = (
        f"{days:.3g}" for days in (numbers["first_distance"], numbers["last_distance"], evens.min(), evens.max())
    )
    depth = f" in the first layer and {last} in the last" if table["layer"].nunique() > 1 else ""
    local = int((distances <= NEAR * evens).sum())
    look = "looks" if local == 1 else "look"
    verdict = (
        f"The heads look {_days(first)} away on average{depth}; attention to all days equally would be "
        f"{' to '.join(dict.fromkeys(even))}. {local} of {counted(len(table), 'head')} {look} "
        "at most a quarter of that far."
    )
    if len(table) == 1:
        return verdict
    order = table.sort_values("distance", kind="stable")
    near, far = (
        f"layer {layer:.0f} head {head:.0f}{ties(distances, days, 'head')}, {_days(f'{days:.3g}')}"
        for layer, head, days in order[["layer", "head", "distance"]].iloc[[0, -1]].to_numpy()
    )
    return f"{verdict} Nearest: {near}. Farthest: {far}."


def _days(number: str) -> str:
    return f"{number} day{'s' * (number != '1')}"


_HEADS_STATISTICS = (
    Statistic(
        "lowest_diffuseness",
        lambda maps, mask: diffuseness(maps, mask).min(),
        "smallest entropy / log n of a head",
        "Of the most focused head.",
    ),
    Statistic(
        "diffuseness_range",
        lambda maps, mask: diffuseness(maps, mask).max() - diffuseness(maps, mask).min(),
        "largest - smallest entropy / log n",
        "High: some heads are focused, others diffuse.",
    ),
    Statistic(
        "distinct_peaks",
        lambda maps, mask: len(set(peak(maps, mask).tolist())),
        "number of different days with a head's largest mean weight",
        "1: all heads look at the same day most.",
    ),
    Statistic(
        "mean_redundancy",
        lambda maps, mask: redundancy(maps, mask).mean(),
        "mean of 1 - min JSD / log 2",
        "1: every head equals another; 0: no two share a day.",
    ),
)


def summarize_heads(maps: Tensor, mask: Tensor | None = None) -> Summary:
    """Whether the heads of a layer [heads, query, key] do different things.

    Args:
        mask: where a query may not attend to a key, bool [heads or 1, query, key].
    """
    maps = plain(maps)
    allowed = maps[allowed_keys(maps, mask)]
    return summarize(
        _HEADS_STATISTICS, (maps, mask), [allowed], lambda numbers: _heads_verdict(maps, mask), of="each head's own map"
    )


def _heads_verdict(maps: Tensor, mask: Tensor | None) -> str:
    on = heads_on(maps).nonzero().flatten().tolist()
    if len(on) < len(maps):
        off = [str(head) for head in range(len(maps)) if head not in on]
        names = f"head{'s' * (len(off) > 1)} {', '.join(off)}"
        return f"Switched off: {names}. {_on_heads_verdict(maps, mask, on) if on else ''}".strip()
    return _on_heads_verdict(maps, mask, on)


def _on_heads_verdict(maps: Tensor, mask: Tensor | None, on: Sequence[int]) -> str:
    if len(on) == 1:
        return "One head: there is no other to compare it with."
    masks = None if mask is None else mask.expand(len(maps), -1, -1)[on]
    maps, which = maps[on], f"{len(on)} heads"
    each, repeats = diffuseness(maps, masks), redundancy(maps, masks)
    spreads = [shares_of(one, None if masks is None else masks[place], None).spread() for place, one in enumerate(maps)]
    if all(map(is_even, spreads)):
        low, high = min(low for low, _ in spreads), max(high for _, high in spreads)
        return f"All {which} are nearly uniform: every weight is {span(low, high)} times its even share."
    lowest, highest = round(float(each.min()), 2), round(float(each.max()), 2)
    if highest - lowest < ALIKE:
        focus = f"All {which} are about equally diffuse: {span(lowest, highest)} of 1."
    else:
        focus = (
            f"Diffuseness of the {which} runs from {lowest:.2f} (head {on[int(each.argmin())]}) to {highest:.2f} of 1 "
            f"(head {on[int(each.argmax())]})."
        )
    least = round(float(repeats.min()), 2)
    if least >= REDUNDANT:
        return f"{focus} Every head is much like another: the redundancy is {least:.2f} of 1 or more."
    others = ties(repeats.tolist(), float(repeats.min()), "head")
    head = on[int(repeats.argmin())]
    return f"{focus} Least like any other is head {head}{others}: its redundancy is {least:.2f} of 1."


_GRID_STATISTICS = (
    Statistic(
        "lowest_diffuseness",
        lambda heads: heads["diffuseness"].min(),
        "smallest entropy / log n of a head",
        "Of the most focused head.",
    ),
    Statistic(
        "median_diffuseness",
        lambda heads: heads["diffuseness"].median(),
        "median over heads of entropy / log n",
        "Half of the heads are more focused.",
    ),
    Statistic(
        "mean_diffuseness",
        lambda heads: heads["diffuseness"].mean(),
        "mean over heads of entropy / log n",
        "1: every head attends to all days equally.",
    ),
    Statistic(
        "mean_redundancy",
        lambda heads: heads["redundancy"].mean(),
        "mean of 1 - min JSD / log 2 within a layer",
        "1: every head equals another of its layer; 0: no two share a day.",
    ),
)


def summarize_head_grid(heads: pd.DataFrame) -> Summary:
    """The most focused and the most diffuse head of a kind, from `stockformer.explainability.head_statistics`."""

    on = heads[heads["diffuseness"].notna()]
    left_out = list(heads.loc[heads["diffuseness"].isna(), ["layer", "head"]].itertuples(index=False, name=None))

    def place(head: Mapping[Any, Any]) -> str:
        value = float(head["diffuseness"])
        others = ties(on["diffuseness"], value, "head")
        return f"layer {head['layer']}, head {head['head']} ({value:.2f} of 1){others}"

    def verdict(numbers: Numbers) -> str:
        by_focus = on.sort_values("diffuseness", kind="stable").to_dict("records")
        most, least = map(place, (by_focus[0], by_focus[-1]))
        if len(by_focus) == 1:
            return _without(left_out, f"The only head by diffuseness is {most}.")
        return _without(
            left_out,
            f"The most focused of {len(on)} heads by diffuseness is {most}; the most diffuse is {least}; "
            f"the median is {numbers['median_diffuseness']:.2f}.",
        )

    tensor = torch.tensor(on["diffuseness"].tolist())
    return summarize(_GRID_STATISTICS, (on,), [tensor], verdict, of="each head's own map")
