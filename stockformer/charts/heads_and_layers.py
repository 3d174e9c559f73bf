"""Charts of attention by head and by layer, and of the target's dependence on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from stockformer.charts.chart import (
    GREY,
    NEUTRAL,
    STREAM_COLORS,
    Axis,
    Bars,
    Chart,
    Line,
    Lines,
    Note,
    Panels,
    Scale,
    finite_range,
    formatted,
    line_colors,
)
from stockformer.explainability.attention.capture import kind_title
from stockformer.explainability.attention.statistics import (
    diffuseness,
    distance,
    entropy,
    head_distances,
    peak,
    recency,
    redundancy,
    sparsity,
)
from stockformer.explainability.sentences.flow import summarize_effects, summarize_head_importance
from stockformer.explainability.sentences.heads_and_layers import summarize_distances, summarize_heads, summarize_layers

#: Title -> the statistic of a map, and what the scale holds besides the values.
_BY_HEAD = {
    "diffuseness": (diffuseness, 1.0),
    "peak key day": (peak, 0.0),
    "recency share": (recency, 1.0),
    "distance, days": (distance, 0.0),
    "redundancy": (redundancy, 1.0),
}
#: Of each head's own map, then averaged: the mean map of the heads has other numbers.
_BY_LAYER = {"mean diffuseness of the heads": diffuseness, "mean sparsity of the heads": sparsity}
_EFFECTS = {"change with flat attention": "flat", "change with shuffled attention": "permuted"}
_IMPORTANCE = {"importance by gradient": "gradient", "drop in target without the head": "ablation"}

#: What is masked in each layer, [heads or 1, query, key].
Masks = Sequence[Tensor | None]


def head_specialization(maps: Tensor, mask: Tensor | None, days: Sequence[str], title: str) -> Chart:
    """Statistics of the maps of a layer's heads, [heads, query, key].

    Args:
        mask: what is masked, [heads or 1, query, key].
        days: names of the keys.
    """
    numbers = {name: compute(maps, mask).numpy().astype(float) for name, (compute, _) in _BY_HEAD.items()}
    peaks = [days[int(day)] for day in numbers["peak key day"]]
    panels = {
        name: _by_head(values, formatted(values, ".3g"), _BY_HEAD[name][1]) for name, values in numbers.items()
    } | {"peak key day": _by_head(numbers["peak key day"], peaks, len(days) - 1, days)}
    columns = {compute.__name__: numbers[name] for name, (compute, _) in _BY_HEAD.items()}
    return Chart(
        title=title,
        body=Panels(tuple(panels.items())),
        make_table=lambda: pd.DataFrame({"head": range(len(maps)), **columns}),
        summary=summarize_heads(maps, mask),
        notes=(Note("peak days: " + ", ".join(f"head {head} {day}" for head, day in enumerate(peaks)), aside=True),),
    )


def layer_evolution(kinds: Mapping[str, Sequence[Tensor]], masks: Mapping[str, Masks], kind: str) -> Chart:
    """Diffuseness and sparsity of the maps by layer, each [heads, query, key], mean of the heads; `kind` is emphasised.

    Args:
        masks: by kind.
    """
    layers = {one: list(zip(maps, masks[one], strict=True)) for one, maps in kinds.items()}
    numbers = {
        name: {one: [float(compute(*each).mean()) for each in maps] for one, maps in layers.items()}
        for name, compute in _BY_LAYER.items()
    }
    return Chart(
        title=f"{kind_title(kind)} by layer",
        body=Panels(tuple((name, _by_layer(lines, kind, ".3f", 1.0)) for name, lines in numbers.items())),
        make_table=lambda: pd.concat(
            [
                pd.DataFrame(
                    {"kind": one, "layer": layer, "head": range(len(each[0]))}
                    | {compute.__name__: compute(*each).numpy() for compute in (entropy, diffuseness, sparsity)}
                )
                for one, maps in layers.items()
                for layer, each in enumerate(maps)
            ],
            ignore_index=True,
        ),
        summary=summarize_layers(kinds[kind], masks[kind]).about(kind_title(kind)),
    )


def attention_distance(layers: Sequence[Tensor], masks: Masks, title: str) -> Chart:
    """Distance in days over which heads attend, [heads, query, key] per layer (Raghu et al. 2021, figure 3).

    The heads of a layer are drawn from the nearest to the farthest: one line per rank, not per head.
    """
    table = head_distances(layers, masks)
    by_layer = table.groupby("layer")
    ranks = np.linspace(0, 1, int(by_layer.size().max()))
    heads = by_layer["distance"].quantile(ranks, interpolation="nearest").unstack().to_numpy().T  # [rank, layer]
    mean, even = (by_layer[column].mean().to_numpy() for column in ("distance", "even_distance"))
    ends = zip(mean, heads[0], heads[-1], strict=True)
    words = [f"{value:.3g} (heads {low:.3g} to {high:.3g})" for value, low, high in ends]
    name, color = "heads, nearest to farthest", STREAM_COLORS[1]
    lines = (
        *(Line(name, each, formatted(each, ".3g"), color, "dots", emphasis=False) for each in heads),
        Line("mean of the heads", mean, words, NEUTRAL, "dots"),
        Line("even attention", even, formatted(even, ".3g"), GREY, "dashed"),
    )
    places = Axis([str(layer) for layer in by_layer.groups], "layer", "layer")
    return Chart(
        title=title,
        body=Panels((("mean distance, days", Lines(lines, places, Scale(*finite_range([heads, even], 0.0)))),)),
        make_table=lambda: table,
        summary=summarize_distances(table),
    )


def attention_effects(table: pd.DataFrame, kind: str | None, target: str, value: float) -> Chart:
    """Change of the target when a layer's attention is flat or shuffled; see `explainability.attention_effects`.

    Args:
        kind: of attention, which is emphasised.
        target, value: name and value of what is explained.
    """
    return Chart(
        title="Effect of attention on the target by layer",
        body=effects_panels(table, kind),
        make_table=lambda: table,
        summary=summarize_effects(table, value),
        notes=(Note(f"target: {target} = {value:.4g}"),),
    )


def effects_panels(table: pd.DataFrame, kind: str | None = None) -> Panels:
    """One line per kind of attention."""
    by_kind = {str(one): rows.sort_values("layer") for one, rows in table.groupby("kind", sort=False)}
    return Panels(
        tuple(
            (name, _by_layer({one: list(rows[column]) for one, rows in by_kind.items()}, kind, "+.4g"))
            for name, column in _EFFECTS.items()
        )
    )


def head_importance(table: pd.DataFrame, kind: str, layer: int, target: str) -> Chart:
    """How much the target depends on each head of a layer; see `explainability.head_importance`.

    Args:
        table: of all heads, which the summary is about.
        target: name of what is explained.
    """
    return Chart(
        title=f"{kind_title(kind)}, layer {layer}: importance by head",
        body=importance_panels(table[(table["kind"] == kind) & (table["layer"] == layer)]),
        make_table=lambda: table,
        summary=summarize_head_importance(table),
        notes=(Note(f"target: {target}"),),
    )


def importance_panels(table: pd.DataFrame) -> Panels:
    """One bar per head, by gradient and by switching it off."""
    values = {name: table[column].to_numpy(dtype=float) for name, column in _IMPORTANCE.items()}
    return Panels(tuple((name, _by_head(each, formatted(each), 0.0)) for name, each in values.items()))


def _by_head(values: np.ndarray, words: Sequence[str], top: float, names: Sequence[str] = ()) -> Bars:
    heads = Axis([str(head) for head in range(len(values))], "head", "head")
    return Bars(values, words, [NEUTRAL] * len(values), heads, Scale(*finite_range([values], 0.0, top), names=names))


def _by_layer(lines: Mapping[str, Sequence[float]], kind: str | None, form: str, *ends: float) -> Lines:
    """Lines over the layers by kind of attention, of which one is emphasised."""
    layers = max(map(len, lines.values()))
    values = [np.append(line, [np.nan] * (layers - len(line))) for line in lines.values()]
    words = [formatted(line, form) + [""] * (layers - len(line)) for line in lines.values()]
    names, emphasis = map(kind_title, lines), [kind in (None, one) for one in lines]
    return Lines(
        tuple(map(Line, names, values, words, line_colors(len(lines)), ["dots"] * len(lines), emphasis)),
        Axis([str(layer) for layer in range(layers)], "layer", "layer"),
        Scale(*finite_range(values, 0.0, *ends)),
    )
