"""Charts as matplotlib figures, for files, reports and notebooks without widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from stockformer.charts.chart import (
    FAINT,
    GREY,
    HIGHLIGHT,
    Axis,
    Band,
    Bars,
    Chart,
    Grid,
    Heatmap,
    Line,
    Lines,
    Panels,
    Scale,
)
from stockformer.charts.figures import checked, closing_on_error, finish, name_days, name_ticks

_COLUMNS = 3  # panels beside each other, at most
_PER_ROW = 4  # maps of heads
_STYLES: dict[str, dict[str, Any]] = {"dots": {"marker": "o"}, "dashed": {"linestyle": "--"}}


@closing_on_error
def draw(
    chart: Chart,
    selected: Mapping[str, int] | None = None,
    *,
    spans: Mapping[str, tuple[int, int]] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """A chart as a pyplot figure; the caller closes it.

    Args:
        selected: field of the selection -> the place to mark on the axis that sets it.
        spans: field -> the first place to show on the axis that sets it, and the one after the last.
        title: replaces the chart's own.
        ax: to draw into, unless there are panels; a new figure by default.
        save_path: file to write the figure to as well.

    Raises:
        IndexError: a selected place is not on its axis.
    """
    body, title = chart.body, chart.title if title is None else title
    selected, spans = selected or {}, spans or {}
    if isinstance(body, Panels):
        return finish(_draw_panels(body, selected, title), save_path)
    axes = ax or plt.subplots(figsize=_size(body), layout="constrained")[1]
    if isinstance(body, Heatmap):
        _draw_heatmap(axes, body, selected, spans)
    elif isinstance(body, Grid):
        _draw_grid(axes, body, selected)
    elif isinstance(body, Bars):
        _draw_bars(axes, body, selected)
    else:
        _draw_lines(axes, body, selected, spans)
    _add_legend(axes)
    axes.set_title(title)
    return finish(axes, save_path)


@closing_on_error
def draw_side_by_side(heatmaps: Mapping[str, Heatmap], title: str, save_path: str | Path | None = None) -> Figure:
    """Heatmaps of the same axes and scale in rows of four, with one colour bar."""
    columns = min(_PER_ROW, len(heatmaps))
    rows = -(-len(heatmaps) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(3.1 * columns, 3.0 * rows), squeeze=False, layout="constrained")
    for axes in grid.flat[len(heatmaps) :]:
        axes.set_visible(False)
    for number, (axes, (name, body)) in enumerate(zip(grid.flat, heatmaps.items(), strict=False)):
        image = _draw_cells(axes, body, 3)
        axes.set_title(name, fontsize="medium")
        axes.tick_params(labelbottom=number + columns >= len(heatmaps), labelleft=number % columns == 0)
    figure.suptitle(title)
    figure.supxlabel(body.columns.label)
    figure.supylabel(body.rows.label)
    _draw_scale(figure, image, list(heatmaps.values()), ax=grid, shrink=0.8)
    return finish(figure, save_path)


def _size(body: Lines | Bars | Heatmap | Grid) -> tuple[float, float]:
    if isinstance(body, Grid):
        return 1.2 * max(map(len, body.maps)) + 1, 1.3 * len(body.maps) + 0.8
    if isinstance(body, Heatmap):
        return (6.4, 5.4) if body.rows.of_days else (8.5, 0.2 * len(body.rows.names) + 1.6)
    return (8, 3.2) if isinstance(body, Lines) else (6, 0.26 * len(body.values) + 1.4)


def _draw_panels(body: Panels, selected: Mapping[str, int], title: str) -> Figure:
    columns = max(1, min(len(body.panels), _COLUMNS))
    rows = max(1, -(-len(body.panels) // columns))
    size = (3.7 * columns, 2.8 * rows + 0.6)
    figure, grid = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes, (name, panel) in zip(grid.flat, body.panels, strict=False):
        if isinstance(panel, Lines):
            _draw_lines(axes, panel, selected, {})
        else:
            _draw_bars(axes, panel, selected, upright=True)
        axes.set_title(name, fontsize="medium")
    for axes in grid.flat[len(body.panels) :]:
        axes.remove()
    figure.suptitle(title)
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        if label in body.legend
    }
    if len(handles) > 1:
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, 2 * columns), fontsize="small"
        )
    return figure


def _draw_bars(axes: Axes, body: Bars, selected: Mapping[str, int], *, upright: bool = False) -> None:
    """Bars; where one is selected, the others are faint."""
    places = np.arange(len(body.values))
    drawn = (axes.bar if upright else axes.barh)(places, body.values, color=body.colors, label=body.bars_name or None)
    if body.names.sets in selected:
        for place, bar in enumerate(drawn.patches):
            bar.set_alpha(1.0 if place == selected[body.names.sets] else FAINT)
    if body.dots is not None:
        at = (places, body.dots) if upright else (body.dots, places)
        axes.plot(*at, "o", markerfacecolor="none", color=body.dots_color, markeredgewidth=2, label=body.dots_name)
    (axes.axhline if upright else axes.axvline)(0, color="gray", linewidth=0.8)
    limits = body.scale.roomy
    _name_shares(axes.yaxis if upright else axes.xaxis, body.scale)
    if upright:
        axes.set(xlabel=body.names.label, ylabel=body.scale.label, ylim=limits)
        name_days(axes, "x", len(places), body.names.names, number=12)
        if body.scale.names:
            name_days(axes, "y", len(body.scale.names), body.scale.names)
    else:
        axes.set(xlabel=body.scale.label, xlim=limits)
        axes.locator_params(axis="x", nbins=5)
        name_ticks(axes, "y", body.names.names, fontsize=8)
        axes.invert_yaxis()


def _name_shares(axis: Any, scale: Scale) -> None:
    """Name the ticks of shares in percent."""
    if scale.form:
        axis.set_major_formatter(lambda value, place: scale.name(value))


def _add_legend(axes: Axes) -> None:
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(ncols=4, fontsize="small")


def _draw_heatmap(axes: Axes, body: Heatmap, selected: Mapping[str, int], spans: Mapping[str, tuple[int, int]]) -> None:
    image = _draw_cells(axes, body)
    axes.set(xlabel=body.columns.label, ylabel=body.rows.label)
    for axis, mark in ((body.rows, axes.axhline), (body.columns, axes.axvline)):
        if axis.sets in selected:
            mark(checked(axis.sets, selected[axis.sets], len(axis.names)), color=HIGHLIGHT, linewidth=1)
    axes.set_xlim(_limits(body.columns, spans))
    axes.set_ylim(_limits(body.rows, spans)[::-1])
    _draw_scale(axes.figure, image, [body], ax=axes)


def _draw_cells(axes: Axes, body: Heatmap, days: int = 6) -> AxesImage:
    """Cells in colours, with the names of rows and columns, or of about `days` days."""
    _name_places(axes, "x", body.columns, days)
    _name_places(axes, "y", body.rows, days)
    colors, scale = plt.get_cmap(body.palette).with_extremes(bad=GREY), body.scale
    norm = (LogNorm if scale.log else Normalize)(scale.low, scale.high, clip=True)
    return axes.imshow(body.cells, aspect="auto", cmap=colors, norm=norm, interpolation="none")


def _name_places(axes: Axes, which: Literal["x", "y"], axis: Axis, days: int) -> None:
    if axis.of_days:
        name_days(axes, which, len(axis.names), axis.names, days)
    else:
        name_ticks(axes, which, axis.names, fontsize=7)


def _draw_grid(axes: Axes, body: Grid, selected: Mapping[str, int]) -> None:
    """All maps in one image, as a hundred axes would take seconds; selected ones are framed."""
    each = [(layer, head, one) for layer, heads in enumerate(body.maps) for head, one in enumerate(heads)]
    queries, keys = (max(one.values.shape[side] for *_, one in each) for side in (0, 1))
    down, across = round(1.2 * queries) + 1, round(1.1 * keys) + 1
    tiles = np.full((len(body.maps) * down, max(map(len, body.maps)) * across), np.nan)
    name = next(iter(body.statistics.columns[2:]), "")
    for (layer, head, one), statistics in zip(each, body.statistics.to_dict("records"), strict=True):
        height, width = one.values.shape
        top, left = (layer + 1) * down - height, head * across
        # Below the scale, so grey; the NaN between the maps is white.
        cells = np.where(np.isfinite(one.cells), one.cells, one.scale.low - 1)
        tiles[top : top + height, left : left + width] = cells
        words = f"L{layer} H{head}  {statistics[name]:.2f}"
        axes.text(left, top - 1, words, fontsize="xx-small", va="bottom")
        if layer == selected.get("layer") and selected.get("head", head) == head:
            style = "solid" if "head" in selected else "dashed"
            frame = Rectangle((left - 1, top - 1), width + 1, height + 1, fill=False, color=HIGHLIGHT, linestyle=style)
            axes.add_patch(frame)
    _, _, one = each[0]
    colors, scale = plt.get_cmap(one.palette).with_extremes(bad="white", under=GREY), one.scale
    image = axes.imshow(tiles, aspect="auto", cmap=colors, vmin=scale.low, vmax=scale.high)
    axes.set(xticks=[], yticks=[], xlabel=f"above each map: layer, head, {name}")
    axes.spines[:].set_visible(False)
    _draw_scale(axes.figure, image, [one for *_, one in each], ax=axes)


def _draw_scale(figure: Any, image: AxesImage, maps: Sequence[Heatmap], **place: Any) -> None:
    """The colour bar of maps on one scale, with the line of their reference and what grey is."""
    label, reference = maps[0].scale.label, maps[0].reference
    if maps[0].scale.log:
        label += f", logarithmic, the first colour for {maps[0].end(maps[0].scale.low)} or less"
    if reference is not None:
        label += f" (line: {reference[1]}, {reference[0]:.3g})"
    if grey := " or ".join(dict.fromkeys(words for one in maps for words in one.grey.split(" or ") if words)):
        label += f" (grey: {grey})"
    bar = figure.colorbar(image, label=label, **place)
    if reference is not None:
        bar.ax.axhline(reference[0], color=HIGHLIGHT)


def _limits(axis: Axis, spans: Mapping[str, tuple[int, int]]) -> tuple[float, float]:
    first, stop = spans.get(axis.sets, (0, len(axis.names)))
    return first - 0.5, stop - 0.5


def _draw_lines(axes: Axes, body: Lines, selected: Mapping[str, int], spans: Mapping[str, tuple[int, int]]) -> None:
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
            place = checked(field, selected[field], length)
            label = f"{field} day" if field in ("query", "key") else None
            axes.axvline(place, color=HIGHLIGHT, linestyle=style, label=label)
    _name_shares(axes.yaxis, body.y)
    axes.set(xlabel=body.x.label, ylabel=body.y.label, xlim=_limits(body.x, spans), ylim=body.y.roomy)
    name_days(axes, "x", length, body.x.names)


def _draw_line(axes: Axes, line: Line, length: int) -> None:
    places = np.arange(length - len(line.values), length)
    if not line.name:
        _recolor(axes, line)
        return
    look: dict[str, Any] = {"color": line.color, "label": line.name, "alpha": 1.0 if line.emphasis else FAINT}
    if line.shape == "area":
        axes.bar(places, line.values, width=0.9, **look)
    elif line.shape == "step":
        axes.step(places, line.values, where="mid", **look)
    else:
        axes.plot(places, line.values, **look, **_STYLES.get(line.shape, {}))


def _recolor(axes: Axes, line: Line) -> None:
    """Colour the bars at the places that an unnamed line marks."""
    bars = axes.containers[-1]
    for place in np.flatnonzero(np.isfinite(line.values)):
        bars[place].set_color(line.color)


def _draw_band(axes: Axes, band: Band, length: int) -> None:
    places = np.arange(length - len(band.low), length)
    axes.fill_between(places, band.low, band.high, color=band.color, alpha=0.2, linewidth=0)
