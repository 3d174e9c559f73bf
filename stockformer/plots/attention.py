"""Matplotlib figures of maps, rows, gates, pooling, layers and heads.

``attn`` is the dictionary of `AttentionExtractor.get_data`; `stockformer.charts.figures` has what the functions share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.charts import by_day
from stockformer.charts.draw import draw, draw_side_by_side
from stockformer.charts.figures import (
    Days,
    checked,
    closing_on_error,
    day_labels,
    day_names,
)
from stockformer.charts.heads_and_layers import head_specialization, layer_evolution
from stockformer.charts.maps import attention_map, day_map, gate_map, head_grid, head_maps, on_one_scale
from stockformer.explainability.attention.capture import kind_title
from stockformer.explainability.attention.statistics import head_statistics


@closing_on_error
def plot_attention_heatmap(
    weights: Tensor,
    *,
    title: str = "Attention",
    query_label: str = "query day",
    key_label: str = "key day",
    query_dates: Days = None,
    key_dates: Days = None,
    largest: float | None = None,
    value: str = "weight",
    mask: Tensor | None = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """One map [query, key], colours from 0 to `largest`, by default its largest value; masked cells and NaN are grey.

    `value` names the quantity. For weights, a line on the colour bar marks a uniform row, unless `mask`, bool
    [query, key], masks a key.
    """
    cells = day_map(
        weights,
        _names_of_days(weights, query_dates, key_dates),
        labels=(query_label, key_label),
        value=value,
        mask=mask,
        largest=largest,
    )
    return draw(attention_map(cells, title), ax=ax, save_path=save_path)


@closing_on_error
def plot_attention_all_heads(
    weights: Tensor,
    *,
    title: str = "Attention by head",
    query_label: str = "query day",
    key_label: str = "key day",
    query_dates: Days = None,
    key_dates: Days = None,
    mask: Tensor | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """All heads of one layer [heads, query, key], on one colour scale; masked cells are grey."""
    days = _names_of_days(weights, query_dates, key_dates)
    heads = on_one_scale(head_maps(weights, days, labels=(query_label, key_label), mask=mask))
    return draw_side_by_side({f"head {number}": head for number, head in enumerate(heads)}, title, save_path)


@closing_on_error
def plot_head_grid(
    layers: Sequence[Tensor],
    *,
    masks: Sequence[Tensor | None] | None = None,
    title: str = "Attention by layer and head",
    save_path: str | Path | None = None,
) -> Figure:
    """Every head's map, [heads, query, key] per layer, on one colour scale: layers down, heads across.

    Cells masked by `masks`, bool [heads or 1, query, key] per layer, are grey.
    """
    masks = masks or [None] * len(layers)
    maps = [
        head_maps(weights, _names_of_days(weights, None, None), mask=mask)
        for weights, mask in zip(layers, masks, strict=True)
    ]
    return draw(head_grid(maps, head_statistics(layers, masks), title), save_path=save_path)


@closing_on_error
def plot_map(
    attn: Mapping[str, Any],
    kind: str,
    layer: int = 0,
    head: int | None = None,
    *,
    sample: int = 0,
    title: str | None = None,
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """One map of a kind of attention; by default the mean of the heads."""
    maps = _layer(attn, kind, layer, sample)
    which = f"mean of {len(maps)} heads" if head is None else f"head {head}"
    query_label, key_label = day_labels(kind)
    mask = _mask(attn, kind, layer, sample)
    if mask is not None:
        mask = mask.all(dim=0) if head is None else mask.expand(maps.shape)[head]
    return plot_attention_heatmap(
        _head(maps, head),
        mask=mask,
        title=title or f"{kind_title(kind)}, layer {layer}, {which}",
        query_label=query_label,
        key_label=key_label,
        query_dates=dates,
        key_dates=dates,
        ax=ax,
        save_path=save_path,
    )


def plot_cross_attention(attn: Mapping[str, Any], layer: int = 0, head: int | None = None, **options: Any) -> Figure:
    """Attention of each stock day to the market days; options as of `plot_map`."""
    return plot_map(attn, "cross", layer, head, **options)


@closing_on_error
def plot_cross_attention_all_heads(
    attn: Mapping[str, Any],
    layer: int = 0,
    *,
    sample: int = 0,
    title: str | None = None,
    dates: Days = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Cross-attention of every head of a layer."""
    query_label, key_label = day_labels("cross")
    return plot_attention_all_heads(
        _layer(attn, "cross", layer, sample),
        title=title or f"{kind_title('cross')}, layer {layer}",
        query_label=query_label,
        key_label=key_label,
        query_dates=dates,
        key_dates=dates,
        mask=_mask(attn, "cross", layer, sample),
        save_path=save_path,
    )


def plot_self_attention(attn: Mapping[str, Any], layer: int = 0, head: int | None = None, **options: Any) -> Figure:
    """Attention of each stock day to the stock days; options as of `plot_map`."""
    return plot_map(attn, "self", layer, head, **options)


@closing_on_error
def plot_attention_row(
    row: Tensor,
    *,
    title: str = "Attention of one day",
    dates: Days = None,
    key: int | None = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Attention of one query [key], beside a uniform share; the day `key` is highlighted."""
    chart = by_day.attention_row(row, day_names(dates, len(row)), "one day")
    return draw(chart, {} if key is None else {"key": key}, title=title, ax=ax, save_path=save_path)


@closing_on_error
def plot_gate_activations(
    attn: Mapping[str, Any],
    layer: int = 0,
    *,
    sample: int = 0,
    top_k: int = 32,
    title: str | None = None,
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """The gate dimensions of a layer that vary most over the days, the most variable on top."""
    gate = _gates(attn, sample)[checked("layer", layer, len(attn["gate_values"]))]  # [T, d]
    chart = gate_map(gate, day_names(dates, len(gate)), layer, top_k)
    return draw(chart, title=title, ax=ax, save_path=save_path)


@closing_on_error
def plot_gate_timeseries(
    attn: Mapping[str, Any],
    *,
    sample: int = 0,
    layer: int | None = None,
    title: str = "Mean gate by day",
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Mean gate of every layer over the lookback; `layer` is highlighted, with the middle 80 % of its dimensions."""
    gates = _gates(attn, sample)
    chosen = None if layer is None else checked("layer", layer, len(gates))
    chart = by_day.gate_timeline(gates, day_names(dates, len(gates[0])), chosen)
    return draw(chart, title=title, ax=ax, save_path=save_path)


@closing_on_error
def plot_attention_pooling(
    attn: Mapping[str, Any],
    *,
    sample: int = 0,
    title: str = "Attention pooling",
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Weight of every day in the pooled vector, beside a uniform share."""
    if attn["pool_weights"] is None:
        raise ValueError("this model has no attention pooling")
    pooling = attn["pool_weights"][checked("sample", sample, len(attn["pool_weights"]))]
    return draw(by_day.pooling(pooling, day_names(dates, len(pooling))), title=title, ax=ax, save_path=save_path)


@closing_on_error
def plot_layer_evolution(
    attn: Mapping[str, Any],
    attention_type: str = "cross",
    *,
    sample: int = 0,
    title: str | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Diffuseness and sparsity by layer for every kind, mean of the heads; `attention_type` is highlighted."""
    _maps(attn, attention_type)
    kinds = {kind: _maps(attn, kind) for kind in attn["kinds"]}
    chosen = {kind: [maps[checked("sample", sample, len(maps))] for maps in layers] for kind, layers in kinds.items()}
    masks = {kind: [_mask(attn, kind, layer, sample) for layer in range(len(each))] for kind, each in kinds.items()}
    return draw(layer_evolution(chosen, masks, attention_type), title=title, save_path=save_path)


@closing_on_error
def plot_head_specialization(
    attn: Mapping[str, Any],
    layer: int = 0,
    attention_type: str = "cross",
    *,
    sample: int = 0,
    title: str | None = None,
    dates: Days = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Diffuseness, peak day, recency, distance and redundancy of every head of a layer."""
    maps, mask = _layer(attn, attention_type, layer, sample), _mask(attn, attention_type, layer, sample)
    title = title or f"{kind_title(attention_type)}, layer {layer}, by head"
    return draw(head_specialization(maps, mask, day_names(dates, maps.size(-1)), title), save_path=save_path)


def _names_of_days(weights: Tensor, queries: Days, keys: Days) -> tuple[list[str], list[str]]:
    return day_names(queries, weights.size(-2)), day_names(keys, weights.size(-1))


def _maps(attn: Mapping[str, Any], kind: str) -> list[Tensor]:
    kinds: Mapping[str, list[Tensor]] = attn["kinds"]
    if kind not in kinds:
        raise ValueError(f"this model has no {kind!r} attention, it has {', '.join(kinds)}")
    return [weights.float() for weights in kinds[kind]]


def _layer(attn: Mapping[str, Any], kind: str, layer: int, sample: int) -> Tensor:
    """[heads, query, key]."""
    maps = _maps(attn, kind)
    weights = maps[checked("layer", layer, len(maps))]
    return weights[checked("sample", sample, len(weights))]


def _mask(attn: Mapping[str, Any], kind: str, layer: int, sample: int) -> Tensor | None:
    """The mask of a layer, [heads or 1, query, key]."""
    masks: Mapping[str, list[Tensor | None]] = attn.get("masks", {})
    mask = masks[kind][layer] if kind in masks else None
    return None if mask is None else mask[sample]


def _head(maps: Tensor, head: int | None) -> Tensor:
    return maps.mean(dim=0) if head is None else maps[checked("head", head, len(maps))]


def _gates(attn: Mapping[str, Any], sample: int) -> list[Tensor]:
    """[T, d] by layer."""
    if not attn["gate_values"]:
        raise ValueError("this model has no gates")
    return [gate[checked("sample", sample, len(gate))].float() for gate in attn["gate_values"]]
