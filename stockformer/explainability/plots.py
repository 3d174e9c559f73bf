"""Matplotlib figures of captures and saliency.

Functions of ``attn`` take the dictionary of `AttentionExtractor.get_data`. Each
returns a pyplot `Figure`, so that ``plt.show()`` shows it; the caller closes it.
``ax`` draws into given axes, ``dates`` names the days, ``save_path`` also writes
the figure to a file, ``sample`` picks one of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import statistics
from stockformer.explainability.outputs import Calibration, OutputDistribution

COLORMAP = "viridis"
_COLORS = ("#0072b2", "#e69f00")  # stock and market, from the palette of Okabe and Ito (2008)

Days = Sequence[Any] | None
P = ParamSpec("P")


def _closing_on_error(plot: Callable[P, Figure]) -> Callable[P, Figure]:
    """A plot that fails leaves no figure open."""

    @wraps(plot)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Figure:
        before = set(plt.get_fignums())
        try:
            return plot(*args, **kwargs)
        except BaseException:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
            raise

    return guarded


@_closing_on_error
def plot_attention_heatmap(
    weights: Tensor,
    *,
    title: str = "Attention",
    query_label: str = "query day",
    key_label: str = "key day",
    query_dates: Days = None,
    key_dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """One map [query, key], colours from 0 to its largest weight."""
    axes = ax or plt.subplots(figsize=(6.4, 5.4), layout="constrained")[1]
    image = _draw_map(axes, weights, title)
    axes.set_xlabel(key_label)
    axes.set_ylabel(query_label)
    _name_days(axes, "x", weights.size(1), key_dates)
    _name_days(axes, "y", weights.size(0), query_dates)
    axes.figure.colorbar(image, ax=axes, label="weight")
    return _finish(axes, save_path)


@_closing_on_error
def plot_attention_all_heads(
    weights: Tensor,
    *,
    title: str = "Attention by head",
    query_label: str = "query day",
    key_label: str = "key day",
    save_path: str | Path | None = None,
) -> Figure:
    """All heads of one layer [heads, query, key], on one colour scale."""
    columns = min(4, len(weights))
    rows = -(-len(weights) // columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(3.1 * columns, 3.0 * rows),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    largest = _largest(weights)
    for axes in grid.flat[len(weights) :]:
        axes.set_visible(False)
    for head, axes in enumerate(grid.flat[: len(weights)]):
        image = _draw_map(axes, weights[head], f"head {head}", largest)
    figure.suptitle(title)
    figure.supxlabel(key_label)
    figure.supylabel(query_label)
    figure.colorbar(image, ax=grid, label="weight", shrink=0.8)
    return _finish(grid[0, 0], save_path)


@_closing_on_error
def plot_cross_attention(
    attn: Mapping[str, Any],
    layer: int = 0,
    head: int | None = None,
    *,
    sample: int = 0,
    title: str | None = None,
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Which market days each stock day attends to; the mean of the heads by default."""
    return _plot_map_of(attn, "cross", layer, head, sample, title, dates, ax, save_path)


@_closing_on_error
def plot_cross_attention_all_heads(
    attn: Mapping[str, Any],
    layer: int = 0,
    *,
    sample: int = 0,
    title: str | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Cross-attention of every head of a layer."""
    return plot_attention_all_heads(
        _layer(attn, "cross", layer, sample),
        title=title or f"Cross-attention, layer {layer}",
        query_label="stock day",
        key_label="market day",
        save_path=save_path,
    )


@_closing_on_error
def plot_self_attention(
    attn: Mapping[str, Any],
    layer: int = 0,
    head: int | None = None,
    *,
    sample: int = 0,
    title: str | None = None,
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Which stock days each stock day attends to; the mean of the heads by default."""
    return _plot_map_of(attn, "self", layer, head, sample, title, dates, ax, save_path)


@_closing_on_error
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
    """The gate dimensions of a layer that vary most over the days, most variable on top."""
    gate = _gates(attn, sample)[_checked("layer", layer, len(attn["gate_values"]))]  # [T, d]
    dimensions = gate.std(dim=0, correction=0).argsort(descending=True)[:top_k]
    axes = ax or plt.subplots(figsize=(8, 5.4), layout="constrained")[1]
    image = axes.imshow(
        gate[:, dimensions].T.numpy(), aspect="auto", cmap=COLORMAP, vmin=0, vmax=1, interpolation="none"
    )
    axes.set_title(title or f"Gate activations, layer {layer}: the {len(dimensions)} most variable dimensions")
    axes.set_xlabel("stock day")
    axes.set_ylabel("gate dimension")
    axes.set_yticks(range(len(dimensions)), [str(int(number)) for number in dimensions], fontsize=6)
    _name_days(axes, "x", len(gate), dates)
    axes.figure.colorbar(image, ax=axes, label="gate (0 closed, 1 open)")
    return _finish(axes, save_path)


@_closing_on_error
def plot_gate_timeseries(
    attn: Mapping[str, Any],
    *,
    sample: int = 0,
    title: str = "Mean gate by day",
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Mean gate of every layer over the lookback."""
    gates = _gates(attn, sample)
    axes = ax or plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
    for layer, (gate, color) in enumerate(zip(gates, _layer_colors(len(gates)), strict=True)):
        axes.plot(gate.mean(dim=-1).numpy(), color=color, label=f"layer {layer}")
    axes.set(title=title, xlabel="stock day", ylabel="mean gate (0 closed, 1 open)", ylim=(0, 1))
    axes.legend(ncols=4, fontsize="small")
    _name_days(axes, "x", len(gates[0]), dates)
    return _finish(axes, save_path)


@_closing_on_error
def plot_attention_pooling(
    attn: Mapping[str, Any],
    *,
    sample: int = 0,
    title: str = "Attention pooling",
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """How much every day counts in the pooled vector, against a uniform share."""
    if attn["pool_weights"] is None:
        raise ValueError("this model has no attention pooling")
    pooling = attn["pool_weights"][_checked("sample", sample, len(attn["pool_weights"]))]
    axes = ax or plt.subplots(figsize=(8, 3.2), layout="constrained")[1]
    axes.bar(range(len(pooling)), pooling.float().numpy(), color=_COLORS[0], width=0.9)
    axes.axhline(1 / len(pooling), color="gray", linestyle="--", label="uniform")
    axes.set(title=title, xlabel="stock day", ylabel="pooling weight")
    axes.legend(fontsize="small")
    _name_days(axes, "x", len(pooling), dates)
    return _finish(axes, save_path)


@_closing_on_error
def plot_layer_evolution(
    attn: Mapping[str, Any],
    attention_type: str = "cross",
    *,
    sample: int = 0,
    title: str | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Diffuseness and sparsity by layer: the mean of the heads, and each head as a dot."""
    layers = [weights[_checked("sample", sample, len(weights))] for weights in _maps(attn, attention_type)]
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, compute, name in zip(
        panels, (statistics.diffuseness, statistics.sparsity), ("entropy / log n", "sparsity (Hoyer)"), strict=True
    ):
        by_head = [compute(maps) for maps in layers]  # layers may differ in heads
        for layer, values in enumerate(by_head):
            axes.plot([layer] * len(values), values.numpy(), ".", color="gray", alpha=0.6)
        axes.plot([float(values.mean()) for values in by_head], "o-", color=_COLORS[0])
        axes.set(xlabel="layer", ylabel=name, xticks=range(len(layers)), ylim=(-0.05, 1.05))
    figure.suptitle(title or f"{kind_title(attention_type)} by layer (dots: heads, line: their mean)")
    return _finish(panels[0], save_path)


@_closing_on_error
def plot_head_specialization(
    attn: Mapping[str, Any],
    layer: int = 0,
    attention_type: str = "cross",
    *,
    sample: int = 0,
    title: str | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Diffuseness, peak day and redundancy of every head of a layer."""
    maps = _layer(attn, attention_type, layer, sample)
    panels_shown = (
        ("entropy / log n", statistics.diffuseness(maps), (0, 1.05)),
        ("peak key day", statistics.peak(maps), (0, maps.size(-1))),
        ("redundancy (1: equals another)", statistics.redundancy(maps).nan_to_num(0.0), (0, 1.05)),
    )
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    for axes, (name, values, limits) in zip(panels, panels_shown, strict=True):
        axes.bar(range(len(values)), values.numpy(), color=_COLORS[0])
        axes.set(xlabel="head", ylabel=name, xticks=range(len(values)), ylim=limits)
    figure.suptitle(title or f"{kind_title(attention_type)}, layer {layer}, by head")
    return _finish(panels[0], save_path)


@_closing_on_error
def plot_saliency_map(
    saliency: Tensor,
    feature_names: Sequence[str] | None = None,
    *,
    title: str = "Stock input saliency",
    top_k: int = 20,
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """|input x gradient| [T, features] of the `top_k` strongest features by day."""
    values, names, order = _by_strength(saliency, feature_names, top_k)
    axes = ax or plt.subplots(figsize=(8.5, 0.22 * len(order) + 1.6), layout="constrained")[1]
    image = axes.imshow(values[:, order].T.numpy(), aspect="auto", cmap=COLORMAP, interpolation="none")
    axes.set_title(title)
    axes.set_xlabel("day")
    axes.set_yticks(range(len(order)), [names[feature] for feature in order], fontsize=7)
    _name_days(axes, "x", len(values), dates)
    axes.figure.colorbar(image, ax=axes, label="|input x gradient|")
    return _finish(axes, save_path)


@_closing_on_error
def plot_saliency_summary(
    stock_saliency: Tensor,
    market_saliency: Tensor | None = None,
    *,
    stock_feature_names: Sequence[str] | None = None,
    market_feature_names: Sequence[str] | None = None,
    title: str = "Saliency by feature, all days",
    top_k: int = 15,
    save_path: str | Path | None = None,
) -> Figure:
    """The strongest features of stock and market side by side, added up over the days, on one scale."""
    streams = [("stock", stock_saliency, stock_feature_names), ("market", market_saliency, market_feature_names)]
    given = [(name, part, names) for name, part, names in streams if part is not None]
    figure, panels = plt.subplots(
        1, len(given), figsize=(5.6 * len(given), 4.6), squeeze=False, sharex=True, layout="constrained"
    )
    for axes, (stream, part, feature_names), color in zip(panels[0], given, _COLORS, strict=False):
        values, names, order = _by_strength(part, feature_names, top_k)
        axes.barh(range(len(order)), values.sum(dim=0)[order].numpy(), color=color)
        axes.set_yticks(range(len(order)), [names[feature] for feature in order], fontsize=8)
        axes.invert_yaxis()
        axes.set(title=stream, xlabel="sum over days of |input x gradient|")
    figure.suptitle(title)
    return _finish(panels[0, 0], save_path)


@_closing_on_error
def plot_output_distribution(
    shown: OutputDistribution, *, title: str = "Outputs", save_path: str | Path | None = None
) -> Figure:
    """Predicted classes and confidence, or the values of a regression."""
    if shown.probabilities is None:
        figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
        axes.hist(shown.outputs.numpy(), bins=50, color=_COLORS[0])
        axes.axvline(0, color="gray", linestyle="--")
        axes.set(title=f"{title}, {len(shown.outputs)} samples", xlabel="predicted value", ylabel="samples")
        return _finish(axes, save_path)
    classes = shown.probabilities.size(1)
    figure, (counts, confidence) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    counts.bar(
        range(classes), shown.predicted_counts.numpy(), width=0.4, align="edge", color=_COLORS[0], label="predicted"
    )
    if shown.labels is not None:
        true_counts = np.bincount(shown.labels.numpy(), minlength=classes)
        counts.bar(range(classes), true_counts, width=-0.4, align="edge", color=_COLORS[1], label="true")
    counts.set(xlabel="class", ylabel="samples", xticks=range(classes))
    counts.legend(fontsize="small")
    confidence.hist(shown.confidence.numpy(), bins=40, color=_COLORS[0])
    confidence.axvline(1 / classes, color="gray", linestyle="--", label="uniform")
    confidence.set(xlabel="probability of the predicted class", ylabel="samples")
    confidence.legend(fontsize="small")
    figure.suptitle(f"{title}, {len(shown.outputs)} samples")
    return _finish(counts, save_path)


@_closing_on_error
def plot_calibration(
    calibration: Calibration, *, title: str = "Calibration", ax: Axes | None = None, save_path: str | Path | None = None
) -> Figure:
    """Reliability curve with the number of samples in each bin."""
    axes = ax or plt.subplots(figsize=(5, 4.4), layout="constrained")[1]
    bins = calibration.bins
    axes.plot([0, 1], [0, 1], "--", color="gray", label="calibrated")
    axes.plot(bins["confidence"], bins["accuracy"], "o-", color=_COLORS[0], label="model")
    for row in bins.itertuples():
        axes.annotate(
            str(row.count), (row.confidence, row.accuracy), xytext=(4, -10), textcoords="offset points", fontsize=7
        )
    low, high = calibration.ece_interval
    axes.set(
        title=f"{title}: expected error {calibration.ece:.3f} (95 %: {low:.3f} to {high:.3f})",
        xlabel="confidence in the predicted class",
        ylabel="share that is right",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small")
    return _finish(axes, save_path)


def kind_title(kind: str) -> str:
    """A kind of attention in words."""
    names = {"cross": "Cross-attention", "self": "Self-attention", "market": "Market self-attention"}
    return names.get(kind, kind)


def _plot_map_of(
    attn: Mapping[str, Any],
    kind: str,
    layer: int,
    head: int | None,
    sample: int,
    title: str | None,
    dates: Days,
    ax: Axes | None,
    save_path: str | Path | None,
) -> Figure:
    maps = _layer(attn, kind, layer, sample)
    which = f"mean of {len(maps)} heads" if head is None else f"head {head}"
    return plot_attention_heatmap(
        _head(maps, head),
        title=title or f"{kind_title(kind)}, layer {layer}, {which}",
        query_label="stock day",
        key_label="market day" if kind == "cross" else "stock day",
        query_dates=dates,
        key_dates=dates,
        ax=ax,
        save_path=save_path,
    )


def _draw_map(axes: Axes, weights: Tensor, title: str, largest: float | None = None) -> Any:
    axes.set_title(title, fontsize="medium")
    top = _largest(weights) if largest is None else largest
    return axes.imshow(weights.numpy(), aspect="auto", cmap=COLORMAP, vmin=0, vmax=top, interpolation="none")


def _largest(weights: Tensor) -> float:
    return float(weights.nan_to_num(0.0, 0.0, 0.0).max())


def _finish(axes: Axes, save_path: str | Path | None) -> Figure:
    figure = axes.get_figure(root=True)
    assert figure is not None
    if save_path is not None:
        figure.savefig(save_path)
    return figure


def _maps(attn: Mapping[str, Any], kind: str) -> list[Tensor]:
    kinds: Mapping[str, list[Tensor]] = attn["kinds"]
    if kind not in kinds:
        raise ValueError(f"this model has no {kind!r} attention, it has {', '.join(kinds)}")
    return [weights.float() for weights in kinds[kind]]


def _layer(attn: Mapping[str, Any], kind: str, layer: int, sample: int) -> Tensor:
    """[heads, query, key]."""
    maps = _maps(attn, kind)
    weights = maps[_checked("layer", layer, len(maps))]
    return weights[_checked("sample", sample, len(weights))]


def _head(maps: Tensor, head: int | None) -> Tensor:
    return maps.mean(dim=0) if head is None else maps[_checked("head", head, len(maps))]


def _gates(attn: Mapping[str, Any], sample: int) -> list[Tensor]:
    """[T, d] by layer."""
    if not attn["gate_values"]:
        raise ValueError("this model has no gates")
    return [gate[_checked("sample", sample, len(gate))].float() for gate in attn["gate_values"]]


def _checked(name: str, index: int, number: int) -> int:
    if not 0 <= index < number:
        raise IndexError(f"{name} is {index}, expected 0 to {number - 1}")
    return index


def _by_strength(
    saliency: Tensor, feature_names: Sequence[str] | None, top_k: int
) -> tuple[Tensor, Sequence[str], list[int]]:
    """Magnitudes [T, features], all names, and the strongest features in order."""
    values = saliency.abs()
    features = values.size(1)
    names = [f"feature {number}" for number in range(features)] if feature_names is None else feature_names
    if len(names) != features:
        raise ValueError(f"there are {len(names)} feature names for {features} features")
    order: list[int] = values.sum(dim=0).argsort(descending=True)[:top_k].tolist()
    return values, names, order


def _layer_colors(layers: int) -> Any:
    return plt.get_cmap(COLORMAP)(np.linspace(0.0, 0.85, layers))


def _name_days(axes: Axes, which: str, length: int, dates: Days) -> None:
    """Put dates on an axis of day numbers, the last one always."""
    if dates is None:
        return
    if len(dates) != length:
        raise ValueError(f"there are {len(dates)} dates for {length} days")
    steps = range(length - 1, -1, -max(1, round(length / 6)))
    labels = [str(dates[step])[:10] for step in steps]
    if which == "x":
        axes.set_xticks(list(steps), labels, rotation=30, ha="right", fontsize="small")
    else:
        axes.set_yticks(list(steps), labels, fontsize="small")
