"""Matplotlib figures of what attention carries, and of how far to trust an explanation.

See `stockformer.explainability.figures` for what the functions share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.charts import by_day
from stockformer.charts.chart import STREAM_COLORS, line_colors
from stockformer.charts.draw import draw
from stockformer.explainability.capture import kind_title
from stockformer.explainability.faithfulness import Faithfulness
from stockformer.explainability.figures import Days, closing_on_error, day_names, finish


@closing_on_error
def plot_day_scores(
    parts: Sequence[Tensor],
    *,
    title: str = "What reaches the prediction, by day",
    dates: Days = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Scores of the stock's days [T] and, where there is a second part, of the market's [S]; their last days align."""
    length = max(map(len, parts))
    days = day_names(dates, length)
    return draw(
        by_day.day_scores(parts, [days[-len(part) :] for part in parts], "day"), title=title, save_path=save_path
    )


@closing_on_error
def plot_market_entry(
    entries: Sequence[Tensor],
    gates: Sequence[Tensor],
    *,
    title: str = "How much market enters, by layer",
    dates: Days = None,
    save_path: str | Path | None = None,
) -> Figure:
    """``|g * c| / |stream|`` by day, one [T] per layer, of gates [T, d]."""
    chart = by_day.market_entry(entries, gates, day_names(dates, len(entries[0])))
    return draw(chart, title=title, save_path=save_path)


@closing_on_error
def plot_head_importance(
    table: pd.DataFrame, *, title: str = "What the target hangs on, by head", save_path: str | Path | None = None
) -> Figure:
    """By gradient and by switching off, from `head_importance` of one layer."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axes, column, name in zip(
        panels, ("gradient", "ablation"), ("|sum A dt/dA|", "fall without the head"), strict=True
    ):
        axes.bar(table["head"], table[column], color=STREAM_COLORS[0])
        axes.set(xlabel="head", ylabel=name, xticks=list(table["head"]))
    figure.suptitle(title)
    return finish(figure, save_path)


@closing_on_error
def plot_attention_effects(
    table: pd.DataFrame,
    *,
    title: str = "What attention does to the target, by layer",
    save_path: str | Path | None = None,
) -> Figure:
    """Changes of the target with flat and with shuffled attention, from `attention_effects`."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    kinds = list(dict.fromkeys(table["kind"]))
    for axes, column in zip(panels, ("flat", "permuted"), strict=True):
        for kind, color in zip(kinds, line_colors(len(kinds)), strict=False):
            rows = table[table["kind"] == kind]
            axes.plot(rows["layer"], rows[column], "o-", color=color, label=kind_title(kind))
        axes.axhline(0, color="gray", linewidth=1)
        axes.set(title=column, xlabel="layer", ylabel="change of the target", xticks=sorted(set(table["layer"])))
    panels[0].legend(fontsize="small")
    figure.suptitle(title)
    return finish(figure, save_path)


@closing_on_error
def plot_faithfulness(
    found: Faithfulness, *, title: str = "Deletion and insertion", save_path: str | Path | None = None
) -> Figure:
    """Both curves of every ranking, with those of random orders as a band."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    names = [name for name in found.table["ranking"] if name != "random"]
    for axes, kind in zip(panels, ("deletion", "insertion"), strict=True):
        curves = found.curves[found.curves["kind"] == kind].set_index("ranking")
        chance = curves.loc["random"]
        axes.fill_between(chance["fraction"], chance["low"], chance["high"], color="gray", alpha=0.3, linewidth=0)
        axes.plot(chance["fraction"], chance["value"], color="gray", linestyle="--", label="random")
        for number, name in enumerate(names):
            curve = curves.loc[name]
            axes.plot(curve["fraction"], curve["value"], color=f"C{number}", label=name.replace("_", " "))
        axes.axhline(0, color="gray", linewidth=0.5)
        axes.set(title=kind, xlabel=f"share of the {found.unit}s", xlim=(0, 1))
    panels[0].set_ylabel("target (1: whole input, 0: training mean)")
    panels[1].legend(fontsize="small")
    figure.suptitle(title)
    return finish(figure, save_path)
