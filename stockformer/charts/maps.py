"""Charts of cells: maps of query by key, gates and attributions by day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.charts.chart import Axis, Chart, Grid, Heatmap, Scale
from stockformer.explainability.attribution.saliency import saliency_frame
from stockformer.explainability.sentences.attention import summarize_gate, summarize_map
from stockformer.explainability.sentences.flow import summarize_flow_map
from stockformer.explainability.sentences.heads_and_layers import summarize_head_grid
from stockformer.explainability.sentences.inputs import summarize_saliency
from stockformer.explainability.sentences.summary import Summary

#: Name of the values of an attention map.
WEIGHT = "weight"
#: Names of queries and keys if nothing else is known.
DAY_LABELS = "query day", "key day"
Pair = tuple[str, str]
Names = tuple[Sequence[str], Sequence[str]]


def day_map(
    values: Tensor,
    days: Names,
    *,
    labels: Pair = DAY_LABELS,
    value: str = WEIGHT,
    mask: Tensor | None = None,
    largest: float | None = None,
) -> Heatmap:
    """Cells of query by key, colours from 0 to `largest`, by default the largest value.

    Args:
        values: [query, key].
        days: names of queries and keys.
        labels: what queries and keys are.
        value: what a cell holds.
        mask: what a query may not attend to, bool [query, key].
    """
    rows, columns = map(Axis, days, labels, ("query", "key"))
    unmasked = values if mask is None else values.masked_fill(mask, 0.0)
    return Heatmap(
        values.float().numpy(),
        rows,
        columns,
        Scale(0.0, largest_value(unmasked) if largest is None else largest, value),
        f"query {{row}}, key {{column}}, {value} {{value}}",
        "%" if value == WEIGHT else ".4g",
        masked=None if mask is None else mask.numpy(),
        reference=(1 / values.size(1), "even") if value == WEIGHT and mask is None else None,
    )


def attention_map(cells: Heatmap, title: str, *, subject: str = "", dated: bool = True) -> Chart:
    """Attention weights, cells by `day_map`.

    Args:
        subject: what the numbers of the sentence are of.
        dated: whether the names of the days are dates; the sentence calls others steps.
    """
    summary = summarize_map(*_tensors(cells), cells.columns.names if dated else None)
    return Chart(title, cells, lambda: _map_table(cells), replace(summary, subject=subject))


def flow_map(cells: Heatmap, weights: Tensor, title: str) -> Chart:
    """Values that attention carries, cells by `day_map`, compared with its weights [query, key]."""
    values, mask = _tensors(cells)
    return Chart(title, cells, lambda: _map_table(cells), summarize_flow_map(values, weights, mask))


def head_maps(
    weights: Tensor, days: Names, *, labels: Pair = DAY_LABELS, mask: Tensor | None = None
) -> tuple[Heatmap, ...]:
    """The maps of a layer's heads [heads, query, key], each on its own scale.

    Args:
        mask: bool [heads or 1, query, key].
    """
    masks = [None] * len(weights) if mask is None else mask.expand(weights.shape)
    return tuple(day_map(head, days, labels=labels, mask=masks[number]) for number, head in enumerate(weights))


def on_one_scale(maps: Sequence[Heatmap]) -> tuple[Heatmap, ...]:
    """The same maps, with the colours of the one that reaches highest."""
    scale = max((one.scale for one in maps), key=lambda scale: scale.high)
    return tuple(replace(one, scale=scale) for one in maps)


def head_grid(layers: Sequence[tuple[Heatmap, ...]], statistics: pd.DataFrame, title: str) -> Chart:
    """Every head's map, by layer those of `head_maps`, beside its numbers, see `head_statistics`."""
    largest = [np.nanmax(one.cells, initial=0.0) for heads in layers for one in heads]
    each = iter(on_one_scale([one for heads in layers for one in heads]))
    grid = Grid(tuple(tuple(islice(each, len(heads))) for heads in layers), statistics)
    return Chart(title, grid, lambda: statistics.assign(largest=largest), summarize_head_grid(statistics))


def gate_map(gate: Tensor, days: Sequence[str], layer: int, most: int | None = None) -> Chart:
    """The `most` gate dimensions [T, d] that vary most over the days, by default all, the most variable first."""
    values = gate.float()
    order = values.std(dim=0, correction=0).argsort(descending=True)[:most]
    number = gate.size(1)
    some = f"the {len(order)} most variable of {number}" if len(order) < number else f"all {number}"
    which = "" if most is None else f", {some} dimensions"
    return Chart(
        title=f"Gate of layer {layer}{which}",
        body=Heatmap(
            values[:, order].T.numpy(),
            Axis([str(number) for number in order.tolist()], "gate dimension"),
            Axis(days, "stock day", "query"),
            Scale(0.0, 1.0, "gate (0 closed, 1 open)"),
            "dimension {row}, day {column}, gate {value}",
            ".3g",
        ),
        make_table=lambda: _gate_table(values.numpy(), days),
        summary=summarize_gate(gate),
    )


def saliency_map(
    parts: Sequence[Tensor],
    names: Sequence[Sequence[str]],
    days: Sequence[Sequence[str]],
    what: str,
    *,
    most: int | None = None,
    signed: bool = True,
    summary: Summary | None = None,
) -> Chart:
    """Attribution by feature and day of the features with the largest magnitudes, the strongest first.

    Args:
        parts: one [days, features] per input; their last days are the same.
        names: of each input's features.
        days: names of each input's days.
        what: the method and what it explains, in words.
        most: how many features, by default all.
        signed: with their sign, else their magnitude.
        summary: replaces that of `summarize_saliency`.
    """
    length = max(map(len, parts))
    padded = [torch.nn.functional.pad(part.float(), (0, 0, length - len(part), 0), value=torch.nan) for part in parts]
    values = torch.cat(padded, dim=1)  # [T, features]
    magnitudes = values.abs()
    order = magnitudes.nan_to_num(0.0).sum(dim=0).argsort(descending=True)[:most]
    largest = largest_value(magnitudes)
    features = [name for group in names for name in group]
    some = f"the {len(order)} strongest" if len(order) < len(features) else f"all {len(order)}"
    return Chart(
        title=what if most is None else f"{what}, {some} features",
        body=Heatmap(
            (values if signed else magnitudes)[:, order].T.numpy(),
            Axis([features[feature] for feature in order.tolist()], "feature", "feature"),
            Axis(max(days, key=len), "day", "query"),
            Scale(-largest if signed else 0.0, largest, "attribution" if signed else "|attribution|"),
            "{row}, {column}, attribution {value}",
            "+.4g" if signed else ".4g",
            "RdBu_r" if signed else "viridis",
        ),
        make_table=lambda: pd.concat(
            [
                saliency_frame([part], [names[number]], days[number]).assign(input=number)
                for number, part in enumerate(parts)
            ],
            ignore_index=True,
        ),
        summary=summarize_saliency(list(parts)) if summary is None else summary,
    )


def _tensors(cells: Heatmap) -> tuple[Tensor, Tensor | None]:
    """Values and mask."""
    return torch.from_numpy(cells.values), None if cells.masked is None else torch.from_numpy(cells.masked)


def _map_table(body: Heatmap) -> pd.DataFrame:
    queries, keys = (index.ravel() for index in np.indices(body.values.shape))
    values = body.values if body.masked is None else np.where(body.masked, np.nan, body.values)
    return pd.DataFrame(
        {
            "query": queries,
            "query_day": np.array(body.rows.names)[queries],
            "key": keys,
            "key_day": np.array(body.columns.names)[keys],
            body.scale.label: values.ravel(),
        }
    )


def _gate_table(gate: np.ndarray, days: Sequence[str]) -> pd.DataFrame:
    steps, dimensions = (index.ravel() for index in np.indices(gate.shape))
    return pd.DataFrame({"dimension": dimensions, "step": steps, "day": np.array(days)[steps], "gate": gate.ravel()})


def largest_value(*maps: Tensor) -> float:
    """The largest finite value above 0, or 1 where there is none: the end of a colour scale."""
    return max(float(values.float().nan_to_num(0.0, 0.0, 0.0).max()) for values in maps) or 1.0
