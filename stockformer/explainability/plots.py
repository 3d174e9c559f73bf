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
from typing import Any, Literal, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import statistics
from stockformer.explainability.capture import kind_title
from stockformer.explainability.groups import GroupComparison
from stockformer.explainability.outputs import Calibration, OutputDistribution

COLORMAP = "viridis"
DIVERGING_COLORMAP = "RdBu_r"
COLORS = ("#0072b2", "#e69f00")  # stock and market, from the palette of Okabe and Ito (2008)
_HIGHLIGHT = "#d55e00"  # what is marked, from the same palette, as the rest
_LAYER_COLORS = (*COLORS, "#009e73", "#cc79a7", "#56b4e9", "#999999")

Days = Sequence[Any] | None
P = ParamSpec("P")


def closing_on_error(plot: Callable[P, Figure]) -> Callable[P, Figure]:
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
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """One map [query, key], colours from 0 to `largest`, by default its largest value; grey is no number.

    `value` says what the cells hold; of weights, a line on the colour bar is that of a uniform row.
    """
    axes = ax or plt.subplots(figsize=(6.4, 5.4), layout="constrained")[1]
    image = _draw_map(axes, weights, title, largest)
    axes.set_xlabel(key_label)
    axes.set_ylabel(query_label)
    name_days(axes, "x", weights.size(1), key_dates)
    name_days(axes, "y", weights.size(0), query_dates)
    bar = axes.figure.colorbar(image, ax=axes, label=value)
    if value == "weight":
        uniform = 1 / weights.size(1)
        bar.set_label(f"weight (line: uniform, {uniform:.3g})")
        bar.ax.axhline(uniform, color=_HIGHLIGHT)
    return finish(axes, save_path)


@closing_on_error
def plot_attention_all_heads(
    weights: Tensor,
    *,
    title: str = "Attention by head",
    query_label: str = "query day",
    key_label: str = "key day",
    query_dates: Days = None,
    key_dates: Days = None,
    save_path: str | Path | None = None,
) -> Figure:
    """All heads of one layer [heads, query, key], on one colour scale."""
    heads, queries, keys = weights.shape
    columns = min(4, heads)
    rows = -(-heads // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.1 * columns, 3.0 * rows), squeeze=False, layout="constrained")
    largest = _largest(weights)
    for axes in grid.flat[heads:]:
        axes.set_visible(False)
    for head, axes in enumerate(grid.flat[:heads]):
        image = _draw_map(axes, weights[head], f"head {head}", largest)
        name_days(axes, "x", keys, key_dates, 3)
        name_days(axes, "y", queries, query_dates, 3)
        axes.tick_params(labelbottom=head + columns >= heads, labelleft=head % columns == 0)
    figure.suptitle(title)
    figure.supxlabel(key_label)
    figure.supylabel(query_label)
    figure.colorbar(image, ax=grid, label="weight", shrink=0.8)
    return finish(grid[0, 0], save_path)


@closing_on_error
def plot_head_grid(
    layers: Sequence[Tensor], *, title: str = "Attention by layer and head", save_path: str | Path | None = None
) -> Figure:
    """Every head's map, [heads, query, key] a layer, on one colour scale: layers down, heads across."""
    rows, columns = len(layers), max(map(len, layers))
    queries, keys = (max(maps.size(side) for maps in layers) for side in (1, 2))
    # One picture of all maps: a hundred axes would take seconds.
    down, across = round(1.15 * queries) + 1, round(1.05 * keys) + 1
    tiles = np.full((rows * down, columns * across), np.nan)
    figure, axes = plt.subplots(figsize=(1.2 * columns + 1, 1.3 * rows + 0.6), layout="constrained")
    for layer, maps in enumerate(layers):
        for head, weights in enumerate(maps):
            top, left = (layer + 1) * down - weights.size(0), head * across
            tiles[top : top + weights.size(0), left : left + weights.size(1)] = weights.float().numpy()
            axes.text(left, top - 1, f"layer {layer}, head {head}", fontsize="xx-small", va="bottom")
    colors = plt.get_cmap(COLORMAP).with_extremes(bad="white")
    image = axes.imshow(tiles, aspect="auto", cmap=colors, vmin=0, vmax=max(map(_largest, layers)))
    axes.axis("off")
    axes.set_title(title)
    figure.colorbar(image, ax=axes, label="weight")
    return finish(axes, save_path)


@closing_on_error
def plot_group_differences(comparison: GroupComparison, *, save_path: str | Path | None = None) -> Figure:
    """The difference between two groups of windows in every measure, with its interval, in standard deviations."""
    table = comparison.table.iloc[::-1]
    difference, low, high = (table[name] / table["std"] for name in ("difference", "low", "high"))
    clear = table["low"] * table["high"] > 0
    _, axes = plt.subplots(figsize=(7, 1.2 + 0.25 * len(table)), layout="constrained")
    axes.axvline(0, color="gray", linewidth=1)
    for place, measure in enumerate(table["measure"]):
        color = _HIGHLIGHT if clear.iloc[place] else COLORS[0]
        axes.plot([low.iloc[place], high.iloc[place]], [measure, measure], color=color)
        axes.plot(difference.iloc[place], measure, "o", color=color)
    axes.set(title=f"{' - '.join(comparison.names)}, in standard deviations of all windows")
    return finish(axes, save_path)


@closing_on_error
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
        save_path=save_path,
    )


@closing_on_error
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
    """What one query attends to [key], against a uniform share; the day `key` stands out."""
    axes = ax or plt.subplots(figsize=(8, 3.2), layout="constrained")[1]
    bars = _draw_shares(axes, row.float(), "weight", dates)
    if key is not None:
        bars[_checked("key", key, len(row))].set_color(_HIGHLIGHT)
    axes.set(title=title, xlabel="key day")
    return finish(axes, save_path)


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
    """The gate dimensions of a layer that vary most over the days, most variable on top."""
    gate = _gates(attn, sample)[_checked("layer", layer, len(attn["gate_values"]))]  # [T, d]
    dimensions = gate.std(dim=0, correction=0).argsort(descending=True)[:top_k]
    axes = ax or plt.subplots(figsize=(8, 5.4), layout="constrained")[1]
    image = _draw_cells(axes, gate[:, dimensions].T, 1.0)
    axes.set_title(title or f"Gate activations, layer {layer}: the {len(dimensions)} most variable dimensions")
    axes.set_xlabel("stock day")
    axes.set_ylabel("gate dimension")
    axes.set_yticks(range(len(dimensions)), [str(int(number)) for number in dimensions], fontsize=6)
    name_days(axes, "x", len(gate), dates)
    axes.figure.colorbar(image, ax=axes, label="gate (0 closed, 1 open)")
    return finish(axes, save_path)


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
    """Mean gate of every layer over the lookback; `layer` stands out, with the middle 80 % of its dimensions."""
    gates = _gates(attn, sample)
    chosen = None if layer is None else _checked("layer", layer, len(gates))
    axes = ax or plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
    for number, (gate, color) in enumerate(zip(gates, layer_colors(len(gates)), strict=False)):
        alpha = 1.0 if chosen in (None, number) else 0.5
        axes.plot(gate.mean(dim=-1).numpy(), color=color, alpha=alpha, label=f"layer {number}")
        if number == chosen:
            low, high = np.quantile(gate.numpy(), (0.1, 0.9), axis=-1)
            axes.fill_between(range(len(gate)), low, high, color=color, alpha=0.2, linewidth=0)
    axes.set(title=title, xlabel="stock day", ylabel="mean gate (0 closed, 1 open)", ylim=(0, 1))
    axes.set_xlim(day_span(len(gates[0])))
    axes.legend(ncols=4, fontsize="small")
    name_days(axes, "x", len(gates[0]), dates)
    return finish(axes, save_path)


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
    """How much every day counts in the pooled vector, against a uniform share."""
    if attn["pool_weights"] is None:
        raise ValueError("this model has no attention pooling")
    pooling = attn["pool_weights"][_checked("sample", sample, len(attn["pool_weights"]))]
    axes = ax or plt.subplots(figsize=(8, 3.2), layout="constrained")[1]
    _draw_shares(axes, pooling.float(), "pooling weight", dates)
    axes.set(title=title, xlabel="stock day")
    return finish(axes, save_path)


@closing_on_error
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
        panels,
        (statistics.diffuseness, statistics.sparsity),
        ("diffuseness (entropy / log n)", "sparsity (Hoyer)"),
        strict=True,
    ):
        by_head = [compute(maps) for maps in layers]  # layers may differ in heads
        for layer, values in enumerate(by_head):
            axes.plot([layer] * len(values), values.numpy(), ".", color="gray", alpha=0.6)
        axes.plot([float(values.mean()) for values in by_head], "o-", color=COLORS[0])
        axes.set(xlabel="layer", ylabel=name, xticks=range(len(layers)), ylim=(-0.05, 1.05), xlim=day_span(len(layers)))
    figure.suptitle(title or f"{kind_title(attention_type)} by layer (dots: heads, line: their mean)")
    return finish(panels[0], save_path)


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
    """Diffuseness, peak day and redundancy of every head of a layer."""
    maps = _layer(attn, attention_type, layer, sample)
    heads, _, keys = maps.shape
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
    focus, peaks, repetition = panels
    focus.bar(range(heads), statistics.diffuseness(maps).numpy(), color=COLORS[0])
    focus.set(ylabel="diffuseness (entropy / log n)", ylim=(0, 1.05))
    peaks.plot(range(heads), statistics.peak(maps).numpy(), "o", color=COLORS[0], clip_on=False)
    peaks.set(ylabel="day with the most attention", ylim=day_span(keys))
    name_days(peaks, "y", keys, dates)
    repetition.bar(range(heads), statistics.redundancy(maps).nan_to_num(0.0).numpy(), color=COLORS[0])
    repetition.set(ylabel="redundancy (1: equals another)", ylim=(0, 1.05))
    for axes in panels:
        axes.set(xlabel="head", xticks=range(heads), xlim=day_span(heads))
    figure.suptitle(title or f"{kind_title(attention_type)}, layer {layer}, by head")
    return finish(focus, save_path)


@closing_on_error
def plot_saliency_map(
    saliency: Tensor,
    feature_names: Sequence[str] | None = None,
    *,
    title: str = "Stock input saliency",
    top_k: int = 20,
    signed: bool = False,
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Attribution [T, features] of the `top_k` strongest features by day: its magnitude, or with its sign."""
    values, names, order = _by_strength(saliency, feature_names, top_k)
    axes = ax or plt.subplots(figsize=(8.5, 0.22 * len(order) + 1.6), layout="constrained")[1]
    cells = (saliency if signed else values)[:, order].T
    image = _draw_cells(axes, cells, _largest(values), signed)
    axes.set_title(title)
    axes.set_xlabel("day")
    axes.set_yticks(range(len(order)), [names[feature] for feature in order], fontsize=7)
    name_days(axes, "x", len(values), dates)
    axes.figure.colorbar(image, ax=axes, label="attribution" if signed else "|attribution|")
    return finish(axes, save_path)


@closing_on_error
def plot_feature_bars(
    values: pd.Series,
    *,
    colors: Sequence[str] | str = COLORS[0],
    title: str = "Saliency by feature",
    xlabel: str = "attribution",
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """One bar for each feature of the index, in its order, from the top."""
    axes = ax or plt.subplots(figsize=(6, 0.24 * len(values) + 1.4), layout="constrained")[1]
    axes.barh(range(len(values)), values.to_numpy(), color=colors)
    axes.set_yticks(range(len(values)), values.index.astype(str), fontsize=8)
    axes.invert_yaxis()
    axes.axvline(0, color="gray", linewidth=0.8)
    axes.set(title=title, xlabel=xlabel)
    axes.locator_params(axis="x", nbins=5)
    return finish(axes, save_path)


@closing_on_error
def plot_saliency_summary(
    stock_saliency: Tensor,
    market_saliency: Tensor | None = None,
    *,
    stock_feature_names: Sequence[str] | None = None,
    market_feature_names: Sequence[str] | None = None,
    title: str = "Saliency by feature, all days",
    stream_names: Sequence[str] = ("stock", "market"),
    top_k: int = 15,
    save_path: str | Path | None = None,
) -> Figure:
    """The strongest features of stock and market side by side, added up over the days, on one scale."""
    streams = zip(
        stream_names, (stock_saliency, market_saliency), (stock_feature_names, market_feature_names), strict=False
    )
    given = [(name, part, names) for name, part, names in streams if part is not None]
    figure, panels = plt.subplots(
        1, len(given), figsize=(5.6 * len(given), 4.6), squeeze=False, sharex=True, layout="constrained"
    )
    for axes, (stream, part, feature_names), color in zip(panels[0], given, COLORS, strict=False):
        values, names, order = _by_strength(part, feature_names, top_k)
        axes.barh(range(len(order)), values.sum(dim=0)[order].numpy(), color=color)
        axes.set_yticks(range(len(order)), [names[feature] for feature in order], fontsize=8)
        axes.invert_yaxis()
        axes.set(title=stream, xlabel="sum over days of |attribution|")
        axes.locator_params(axis="x", nbins=4)
    figure.suptitle(title)
    return finish(panels[0, 0], save_path)


@closing_on_error
def plot_prediction(
    shown: OutputDistribution,
    class_names: Sequence[str] | None = None,
    *,
    sample: int = 0,
    title: str = "Prediction",
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Class probabilities of one sample, CORAL's P(class > k) too, or its value; the truth where it is known."""
    sample = _checked("sample", sample, len(shown.outputs))
    truth = None if shown.labels is None else float(shown.labels[sample])
    axes = ax or plt.subplots(figsize=(6, 3.4), layout="constrained")[1]
    if shown.probabilities is None:
        _draw_value(axes, float(shown.outputs[sample]), truth)
    else:
        above = None if shown.above is None else shown.above[sample]
        _draw_classes(axes, shown.probabilities[sample], above, class_names, None if truth is None else int(truth))
    axes.set_title(title)
    return finish(axes, save_path)


def _draw_value(axes: Axes, value: float, truth: float | None) -> None:
    bars = {"predicted": value} | ({} if truth is None else {"true": truth})
    drawn = axes.bar(list(bars), list(bars.values()), width=0.5, color=COLORS[: len(bars)])
    axes.bar_label(drawn, fmt="%.4g", padding=2)
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.margins(y=0.15)
    axes.set(ylabel="value")


def _draw_classes(
    axes: Axes, probabilities: Tensor, above: Tensor | None, class_names: Sequence[str] | None, truth: int | None
) -> None:
    classes = len(probabilities)
    names = [str(k) for k in range(classes)] if class_names is None else class_names
    if len(names) != classes:
        raise ValueError(f"there are {len(names)} class names for {classes} classes")
    drawn = axes.bar(range(classes), probabilities.numpy(), width=0.6, color=COLORS[0], label="P(class)")
    axes.bar_label(drawn, fmt="%.3f", padding=2)
    if truth is not None:
        drawn[_checked("label", truth, classes)].set(edgecolor=_HIGHLIGHT, linewidth=2.5)
    axes.set_xticks(range(classes), [f"{name}\n(true)" if k == truth else name for k, name in enumerate(names)])
    axes.set(xlabel="class", ylabel="probability", ylim=(0, 1.1))
    if above is not None:
        thresholds = np.arange(len(above)) + 0.5
        axes.plot(thresholds, above.numpy(), "o--", color="gray", label="P(class > k), between k and k + 1")
        axes.set(ylim=(0, 1.3), yticks=np.linspace(0, 1, 6))  # room for the legend
        axes.legend(fontsize="small", loc="upper left", ncols=2)


@closing_on_error
def plot_prices(
    prices: pd.DataFrame,
    *,
    query: int | None = None,
    key: int | None = None,
    title: str = "Price",
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Close and, where known, SPY as change since the first day in percent, with the days `query` and `key` marked.

    Args:
        prices: rows of ``date, adjusted_close``, and ``spy`` (a level) where known, as of `Window.prices`.
        query, key: day numbers.
    """
    axes = ax or plt.subplots(figsize=(8, 3.2), layout="constrained")[1]
    for column, name, color in zip(("adjusted_close", "spy"), ("close", "SPY"), COLORS, strict=True):
        if column in prices:
            level = prices[column].replace([np.inf, -np.inf], np.nan).reset_index(drop=True)
            axes.plot(100 * (level / level.bfill().iloc[0] - 1), color=color, label=name)
    for name, day, line in (("query day", query, "-"), ("key day", key, "--")):
        if day is not None:
            axes.axvline(_checked(name, day, len(prices)), color=_HIGHLIGHT, linestyle=line, label=name)
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set(title=title, xlabel="day", ylabel="change since the first day [%]", xlim=day_span(len(prices)))
    axes.legend(fontsize="small")
    name_days(axes, "x", len(prices), list(prices["date"]))
    return finish(axes, save_path)


@closing_on_error
def plot_output_distribution(
    shown: OutputDistribution, *, title: str = "Outputs", save_path: str | Path | None = None
) -> Figure:
    """Predicted classes and confidence, or the values of a regression."""
    if shown.probabilities is None:
        figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
        axes.hist(shown.outputs.numpy(), bins=50, color=COLORS[0])
        axes.axvline(0, color="gray", linestyle="--")
        axes.set(title=f"{title}, {len(shown.outputs)} samples", xlabel="predicted value", ylabel="samples")
        return finish(axes, save_path)
    classes = shown.probabilities.size(1)
    figure, (counts, confidence) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    counts.bar(
        range(classes), shown.predicted_counts.numpy(), width=0.4, align="edge", color=COLORS[0], label="predicted"
    )
    if shown.labels is not None:
        true_counts = np.bincount(shown.labels.numpy(), minlength=classes)
        counts.bar(range(classes), true_counts, width=-0.4, align="edge", color=COLORS[1], label="true")
    counts.set(xlabel="class", ylabel="samples", xticks=range(classes))
    counts.margins(y=0.2)  # room for the legend
    counts.legend(fontsize="small", ncols=2, loc="upper left")
    confidence.hist(shown.confidence.numpy(), bins=40, color=COLORS[0])
    confidence.axvline(1 / classes, color="gray", linestyle="--", label="uniform")
    confidence.set(xlabel="confidence (largest class probability)", ylabel="samples")
    confidence.legend(fontsize="small")
    figure.suptitle(f"{title}, {len(shown.outputs)} samples")
    return finish(counts, save_path)


@closing_on_error
def plot_calibration(
    calibration: Calibration, *, title: str = "Calibration", ax: Axes | None = None, save_path: str | Path | None = None
) -> Figure:
    """Reliability curve with the number of samples in each bin."""
    axes = ax or plt.subplots(figsize=(5, 4.4), layout="constrained")[1]
    bins = calibration.bins
    axes.plot([0, 1], [0, 1], "--", color="gray", label="calibrated")
    axes.plot(bins["confidence"], bins["accuracy"], "o-", color=COLORS[0], label="model")
    for row in bins.itertuples():
        axes.annotate(
            str(row.count), (row.confidence, row.accuracy), xytext=(4, -10), textcoords="offset points", fontsize=7
        )
    low, high = calibration.ece_interval
    seen = bins[["confidence", "accuracy"]]
    span = max(0.0, seen.min().min() - 0.05), min(1.0, seen.max().max() + 0.05)
    axes.set(
        title=f"{title}: expected error {calibration.ece:.3f} (95 %: {low:.3f} to {high:.3f})",
        xlabel="confidence in the predicted class",
        ylabel="share that is right",
        xlim=span,
        ylim=span,
    )
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small")
    return finish(axes, save_path)


def day_labels(kind: str) -> tuple[str, str]:
    """What the queries and keys of a kind of attention are."""
    labels = {"cross": ("stock day", "market day"), "self": ("stock day",) * 2, "market": ("market day",) * 2}
    return labels.get(kind, ("query step", "key step"))


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
    query_label, key_label = day_labels(kind)
    return plot_attention_heatmap(
        _head(maps, head),
        title=title or f"{kind_title(kind)}, layer {layer}, {which}",
        query_label=query_label,
        key_label=key_label,
        query_dates=dates,
        key_dates=dates,
        ax=ax,
        save_path=save_path,
    )


def _draw_map(axes: Axes, weights: Tensor, title: str, largest: float | None = None) -> Any:
    axes.set_title(title, fontsize="medium")
    top = _largest(weights) if largest is None else largest
    return _draw_cells(axes, weights, top)


def _draw_cells(axes: Axes, values: Tensor, largest: float, signed: bool = False) -> Any:
    colors = plt.get_cmap(DIVERGING_COLORMAP if signed else COLORMAP).with_extremes(bad="gray")
    low = -largest if signed else 0
    return axes.imshow(values.numpy(), aspect="auto", cmap=colors, vmin=low, vmax=largest, interpolation="none")


def _draw_shares(axes: Axes, shares: Tensor, name: str, dates: Days) -> BarContainer:
    bars = axes.bar(range(len(shares)), shares.numpy(), color=COLORS[0], width=0.9)
    axes.axhline(1 / len(shares), color="gray", linestyle="--", label="uniform")
    axes.set(ylabel=name, xlim=day_span(len(shares)))
    axes.margins(y=0.25)  # room for the legend
    axes.legend(fontsize="small", loc="upper left")
    name_days(axes, "x", len(shares), dates)
    return bars


def day_span(days: int) -> tuple[float, float]:
    """Limits of an axis of days as a map has them, so that figures align."""
    return -0.5, days - 0.5


def _largest(weights: Tensor) -> float:
    """The largest finite value, or 1 where there is none above 0: the end of a colour scale."""
    return float(weights.nan_to_num(0.0, 0.0, 0.0).max()) or 1.0


def finish(axes: Axes, save_path: str | Path | None) -> Figure:
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


def layer_colors(layers: int) -> Any:
    """Distinct colours for a few layers, shades for many."""
    return _LAYER_COLORS if layers <= len(_LAYER_COLORS) else plt.get_cmap(COLORMAP)(np.linspace(0.0, 0.85, layers))


def name_days(axes: Axes, which: Literal["x", "y"], length: int, dates: Days, number: int = 6) -> None:
    """Put about `number` dates on an axis of day numbers, the last one always; without dates whole numbers."""
    if dates is None:
        axes.locator_params(axis=which, integer=True)
        return
    if len(dates) != length:
        raise ValueError(f"there are {len(dates)} dates for {length} days")
    steps = range(length - 1, -1, -max(1, round(length / number)))
    labels = [str(dates[step])[:10] for step in steps]
    if which == "x":
        axes.set_xticks(list(steps), labels, rotation=30, ha="right", fontsize="small")
    else:
        axes.set_yticks(list(steps), labels, fontsize="small")
