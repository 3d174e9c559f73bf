"""Charts as matplotlib figures, for files, reports and notebooks without widgets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stockformer.charts.chart import HIGHLIGHT, Band, Chart, Line, Lines
from stockformer.explainability.figures import closing_on_error, day_span, finish, name_days

_FAINT = 0.5


@closing_on_error
def draw(
    chart: Chart,
    selected: Mapping[str, int] | None = None,
    *,
    span: tuple[int, int] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """A chart as a pyplot figure; the caller closes it.

    Args:
        selected: field of the selection -> the place to mark on the axis that sets it.
        span: first place to show, and the one after the last; all by default.
        title: in the place of the chart's own.
        ax: to draw into; a new figure by default.
        save_path: where to write the figure to as well.

    Raises:
        IndexError: a selected place is not on its axis.
    """
    axes = ax or plt.subplots(figsize=(8, 3.2), layout="constrained")[1]
    _draw_lines(axes, chart.body, selected or {})
    axes.set_title(chart.title if title is None else title)
    if span is not None:
        axes.set_xlim(span[0] - 0.5, span[1] - 0.5)
    return finish(axes, save_path)


def _draw_lines(axes: Axes, body: Lines, selected: Mapping[str, int]) -> None:
    length = len(body.x.names)
    for line in body.lines:
        _draw_line(axes, line, length)
    if body.band is not None:
        _draw_band(axes, body.band, length)
    if body.reference is not None:
        value, name = body.reference
        axes.axhline(value, color="gray", linestyle="--", label=name)
    if body.y.low < 0 < body.y.high:
        axes.axhline(0, color="gray", linewidth=0.8)
    for field, style in ((body.x.sets, "-"), (body.x.also, "--")):
        if field in selected:
            place = selected[field]
            if not 0 <= place < length:
                raise IndexError(f"{field} is {place}, expected 0 to {length - 1}")
            axes.axvline(place, color=HIGHLIGHT, linestyle=style, label=f"{field} day")
    axes.set(xlabel=body.x.label, ylabel=body.y.label, xlim=day_span(length))
    room = (body.y.high - body.y.low) * 0.05
    axes.set_ylim(body.y.low - (room if body.y.low < 0 else 0), body.y.high + room)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(ncols=4, fontsize="small")
    name_days(axes, "x", length, body.x.names)


def _draw_line(axes: Axes, line: Line, length: int) -> None:
    places = np.arange(length - len(line.values), length)
    if not line.name:
        _recolor(axes, line)
        return
    look: dict[str, Any] = {"color": line.color, "label": line.name, "alpha": 1.0 if line.emphasis else _FAINT}
    if line.shape == "area":
        axes.bar(places, line.values, width=0.9, **look)
    elif line.shape == "step":
        axes.step(places, line.values, where="mid", **look)
    else:
        axes.plot(places, line.values, **look)


def _recolor(axes: Axes, line: Line) -> None:
    """Mark the places of a line without a name on the bars that stand there."""
    bars = axes.containers[-1]
    for place in np.flatnonzero(np.isfinite(line.values)):
        bars[place].set_color(line.color)


def _draw_band(axes: Axes, band: Band, length: int) -> None:
    places = np.arange(length - len(band.low), length)
    axes.fill_between(places, band.low, band.high, color=band.color, alpha=0.2, linewidth=0)
