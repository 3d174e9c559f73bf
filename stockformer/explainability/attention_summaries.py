"""What maps, rows, gates, pooling, layers and heads say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.statistics import (
    GATE_STATISTICS,
    MAP_STATISTICS,
    Statistic,
    diffuseness,
    effective_number,
    peak,
    recency,
    recent_days,
    redundancy,
    sparsity,
    top_share,
)
from stockformer.explainability.summary import Numbers, Summary, percent, plain, summarize, values_of, without_numbers

#: Attention whose diffuseness is at least this is called nearly uniform.
NEARLY_UNIFORM = 0.95
#: A map has a diagonal, stripes, or only the past where the share is at least this.
DIAGONAL, STRIPES, CAUSAL = 0.5, 0.5, 0.95
#: A map looks at near days where its distance is at most this part of a uniform map's.
NEAR = 0.25
#: A gate whose mean is under the first or over the second is called closed or open.
CLOSED_GATE, OPEN_GATE = 0.25, 0.75
#: A gate whose daily mean has less than this standard deviation hardly changes from day to day.
CONSTANT_GATE = 0.02
#: Layers or heads whose diffuseness differs by less than this are called alike.
ALIKE = 0.05
#: Heads that repeat their nearest fellow this much on average are called redundant.
REDUNDANT = 0.95
_OFF = "All weights are 0: this attention is switched off."
_ONE_DAY = "One day: there is no other to attend to."


def summarize_map(weights: Tensor) -> Summary:
    """The shape of an attention map [query, key], compared with a uniform one."""
    weights = plain(weights)
    if not weights.any():
        return without_numbers(MAP_STATISTICS, _OFF)
    if weights.size(-1) == 1:
        return summarize(MAP_STATISTICS, weights, [weights], lambda found: _ONE_DAY)
    uniform = values_of(MAP_STATISTICS, torch.full_like(weights, 1 / weights.size(-1)))
    return summarize(MAP_STATISTICS, weights, [weights], lambda found: _map_verdict(found, uniform))


def _map_verdict(found: Numbers, uniform: Numbers) -> str:
    if found["diffuseness"] >= NEARLY_UNIFORM:
        return f"Nearly uniform (diffuseness {found['diffuseness']:.2f} of 1): read no shapes into it."
    late = f"The last quarter of the days gets {_against(found, uniform, 'recency')}."
    shapes = _shapes(found, uniform)
    if shapes:
        return f"{'; '.join(shapes).capitalize()}. {late}"
    return (
        f"Mixed, no single shape: a day looks {found['distance']:.0f} days away on average "
        f"(uniform: {uniform['distance']:.0f}). {late}"
    )


def _shapes(found: Numbers, uniform: Numbers) -> list[str]:
    diagonal = found["diagonal_share"] >= DIAGONAL
    near = found["distance"] <= NEAR * uniform["distance"]
    shapes = []
    if diagonal:
        shapes.append(f"diagonal: {_against(found, uniform, 'diagonal_share')} is on the same day")
    elif near:
        shapes.append(f"a band around the diagonal: days look {found['distance']:.1f} days away on average")
    if found["stripe_share"] >= STRIPES:
        shapes.append(f"vertical stripes: all days share {percent(found['stripe_share'])} of their attention")
    if found["past_share"] >= CAUSAL and not diagonal:
        shapes.append(f"causal: {_against(found, uniform, 'past_share')} is on the same and earlier days")
    return shapes


_ROW_STATISTICS = (
    Statistic("effective_days", effective_number, "exp(-sum w log w)", "On how many days it is spread, as if evenly."),
    Statistic("diffuseness", lambda row: diffuseness(row[None]), "entropy / log n", "Near 1: no day stands out."),
    Statistic(
        "recency",
        lambda row: recency(row[None]),
        "attention on the last quarter",
        "Above 0.25: recent days get more than their share.",
    ),
    Statistic(
        "top_three_share", lambda row: top_share(row, 3), "sum of the three largest w", "Near 3 / n: no day stands out."
    ),
)


def summarize_row(row: Tensor) -> Summary:
    """On how many and on which days one query's attention [key] lies."""
    row = plain(row)
    if not row.any():
        return without_numbers(_ROW_STATISTICS, _OFF)
    return summarize(_ROW_STATISTICS, row, [row], lambda found: _row_verdict(found, len(row)))


def _row_verdict(found: Numbers, days: int) -> str:
    if days == 1:
        return _ONE_DAY
    if found["diffuseness"] >= NEARLY_UNIFORM:
        return f"Nearly uniform over {days} days (diffuseness {found['diffuseness']:.2f} of 1): no day stands out."
    return f"On about {found['effective_days']:.0f} of {days} days: {_strongest(found, days)}"


_POOLING_STATISTICS = (
    *_ROW_STATISTICS[1:3],
    Statistic(
        "days_from_peak",
        lambda weights: len(weights) - 1 - weights.argmax(),
        "last day - day of the largest w",
        "0: the last day counts most; high: an early day does.",
    ),
    _ROW_STATISTICS[3],
)


def summarize_pooling(weights: Tensor) -> Summary:
    """Which days count in the pooled vector, from the pooling weights [T]."""
    weights = plain(weights)
    return summarize(_POOLING_STATISTICS, weights, [weights], lambda found: _pooling_verdict(found, len(weights)))


def _pooling_verdict(found: Numbers, days: int) -> str:
    if days == 1:
        return _ONE_DAY
    if found["diffuseness"] >= NEARLY_UNIFORM:
        diffuse = f"Nearly uniform (diffuseness {found['diffuseness']:.2f} of 1)"
        return f"{diffuse}: no day stands out, pooling is close to the plain mean of the days."
    behind = found["days_from_peak"]
    which = "A late day counts most" if behind < recent_days(days) else "Long range, an early day counts most"
    when = "the last" if behind == 0 else f"{behind:.0f} before the last"
    return f"{which} ({when}): {_strongest(found, days)}"


def _strongest(found: Numbers, days: int) -> str:
    top, late = min(3, days) / days, recent_days(days) / days
    return (
        f"the three strongest hold {percent(found['top_three_share'])}, the last quarter "
        f"{percent(found['recency'])} (uniform: {percent(top)} and {percent(late)})."
    )


def summarize_gate(gate: Tensor) -> Summary:
    """How far a layer's gate [T, d] lets the market in."""
    gate = plain(gate)
    return summarize(GATE_STATISTICS, gate, [gate], _gate_verdict, "gate values")


def _gate_verdict(found: Numbers) -> str:
    mean, days = found["mean"], found["day_std"]
    if mean < CLOSED_GATE:
        state = "Mostly closed: the stock's own signal dominates"
    elif mean > OPEN_GATE:
        state = "Mostly open: the market's context dominates"
    else:
        state = "Partly open: stock and market both count"
    answer = "hardly changes from day to day" if days < CONSTANT_GATE else "changes from day to day"
    return f"{state} (mean {mean:.2f}). Its mean {answer} (standard deviation {days:.3f})."


_LAYERS_STATISTICS = (
    Statistic(
        "first_diffuseness",
        lambda by_layer: by_layer[0][0],
        "mean over heads of entropy / log n, first layer",
        "Near 1: unfocused.",
    ),
    Statistic(
        "last_diffuseness",
        lambda by_layer: by_layer[-1][0],
        "mean over heads of entropy / log n, last layer",
        "Near 1: no layer has learned to tell the days apart.",
    ),
    Statistic(
        "diffuseness_change",
        lambda by_layer: by_layer[-1][0] - by_layer[0][0],
        "last - first",
        "Below 0: the layers sharpen the attention.",
    ),
    Statistic(
        "sparsity_change",
        lambda by_layer: by_layer[-1][1] - by_layer[0][1],
        "mean Hoyer sparsity, last - first",
        "Above 0: deeper layers attend to fewer days.",
    ),
)


def summarize_layers(layers: Sequence[Tensor]) -> Summary:
    """How attention changes with depth: one [heads, query, key] a layer, means of the heads."""
    layers = [plain(layer) for layer in layers]
    by_layer = [(diffuseness(layer).mean(), sparsity(layer).mean()) for layer in layers]
    return summarize(_LAYERS_STATISTICS, by_layer, layers, lambda found: _layers_verdict(found, len(layers)))


def _layers_verdict(found: Numbers, layers: int) -> str:
    first, last = found["first_diffuseness"], found["last_diffuseness"]
    if layers == 1:
        return f"One layer, diffuseness {last:.2f} of 1: there is no depth to compare."
    course = f"the heads' mean diffuseness goes from {first:.2f} to {last:.2f}"
    if abs(last - first) < ALIKE:
        flat = "Flat and high: the layers have not learned to tell the days apart" if last >= NEARLY_UNIFORM else "Flat"
        return f"{flat}; {course}."
    return f"{'Sharpens' if last < first else 'Spreads out'} with depth: {course}."


_HEADS_STATISTICS = (
    Statistic(
        "lowest_diffuseness",
        lambda maps: diffuseness(maps).min(),
        "smallest entropy / log n of a head",
        "Of the most focused head. Near 1: none is focused.",
    ),
    Statistic(
        "diffuseness_range",
        lambda maps: diffuseness(maps).max() - diffuseness(maps).min(),
        "largest - smallest entropy / log n",
        "High: some heads are focused, others diffuse.",
    ),
    Statistic(
        "distinct_peaks",
        lambda maps: len(set(peak(maps).tolist())),
        "number of different days with a head's largest mean weight",
        "1: all heads look at the same day most.",
    ),
    Statistic(
        "mean_redundancy",
        lambda maps: redundancy(maps).mean(),
        "mean of 1 - min JSD / log 2",
        "1: every head has an equal; 0: no two share a day.",
    ),
)


def summarize_heads(maps: Tensor) -> Summary:
    """Whether the heads of a layer [heads, query, key] do different things."""
    maps = plain(maps)
    return summarize(_HEADS_STATISTICS, maps, [maps], lambda found: _heads_verdict(found, len(maps)))


def _heads_verdict(found: Numbers, heads: int) -> str:
    if heads == 1:
        return "One head: there is no other to compare it with."
    if found["lowest_diffuseness"] >= NEARLY_UNIFORM:
        return f"All {heads} heads are nearly uniform: they differ in nothing that matters, and their peaks say little."
    repeat = "repeat one another, which wastes capacity" if found["mean_redundancy"] >= REDUNDANT else "differ"
    lowest, spread = found["lowest_diffuseness"], found["diffuseness_range"]
    focus = "all are about as focused" if spread < ALIKE else "some are focused, others diffuse"
    return (
        f"The {heads} heads {repeat} (mean redundancy {found['mean_redundancy']:.2f} of 1). Diffuseness runs from "
        f"{lowest:.2f} to {lowest + spread:.2f}: {focus}. Different peak days: {found['distinct_peaks']:.0f}."
    )


_GRID_STATISTICS = (
    Statistic(
        "lowest_diffuseness",
        lambda heads: heads["diffuseness"].min(),
        "smallest entropy / log n of a head",
        "Of the most focused head. Near 1: none is focused.",
    ),
    Statistic(
        "mean_diffuseness",
        lambda heads: heads["diffuseness"].mean(),
        "mean over heads of entropy / log n",
        "Near 1: the heads hardly tell the days apart.",
    ),
    Statistic(
        "nearly_uniform_share",
        lambda heads: (heads["diffuseness"] >= NEARLY_UNIFORM).mean(),
        f"share of heads with entropy / log n of {NEARLY_UNIFORM} or more",
        "Maps of such heads have no shape to read.",
    ),
    Statistic(
        "mean_redundancy",
        lambda heads: heads["redundancy"].mean(),
        "mean of 1 - min JSD / log 2 within a layer",
        "1: every head has an equal in its layer; 0: no two share a day.",
    ),
)


def summarize_head_grid(heads: pd.DataFrame) -> Summary:
    """What all heads of a kind of attention do, from `stockformer.explainability.head_statistics`."""

    def verdict(found: Numbers) -> str:
        uniform = round(found["nearly_uniform_share"] * len(heads))
        flat = f"{uniform} of {len(heads)} heads {'is' if uniform == 1 else 'are'} nearly uniform"
        focused = heads.sort_values("diffuseness").to_dict("records")[0]
        which = f"layer {focused['layer']}, head {focused['head']}"
        return f"{flat}. The most focused is {which} (diffuseness {found['lowest_diffuseness']:.2f} of 1)."

    return summarize(_GRID_STATISTICS, heads, [torch.tensor(heads["diffuseness"].tolist())], verdict)


def _against(found: Numbers, uniform: Numbers, name: str) -> str:
    return f"{percent(found[name])} (uniform: {percent(uniform[name])})"
