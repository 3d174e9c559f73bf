"""Windows by two measures: as points, or as a density."""

from __future__ import annotations

import io

import bqplot as bq
import numpy as np
from ipywidgets import Image, Widget
from matplotlib.colors import to_rgb
from PIL import Image as Picture

from stockformer.charts.history import scale_of
from stockformer.survey import history
from stockformer.survey.history import MOST_POINTS, Density
from stockformer.survey.words import named
from stockformer.table import counted
from stockformer_widgets.components.drawing import (
    HIGHLIGHT,
    NEUTRAL,
    Titled,
    axis,
    figure,
    finite,
    set_range,
    set_traits,
    tick_scale,
)
from stockformer_widgets.history.part import Part

_ROOM = 0.04  # around the points, as a share of their span
_PALEST = 0.15  # a cell with one window


class Scatter(Part):
    """A point per window, or the density of many; a click opens the nearest window, dragging filters by two ranges."""

    content = ("measure", "against", "where")

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale()}
        look = {"scales": self.scales, "default_size": 8}
        self.cells = bq.Image(image=Image(value=_png(np.zeros((1, 1)))), scales=self.scales, visible=False)
        self.points = bq.Scatter(x=[0, 0], y=[0, 0], colors=[NEUTRAL], opacities=[0.35], **look)
        self.here = bq.Scatter(x=[0, 0], y=[0, 0], colors=[HIGHLIGHT], marker="cross", **look | {"default_size": 90})
        self._axes = axis(self.scales["x"], tick_format="~g"), axis(self.scales["y"], side="left", tick_format="~g")
        drawn = figure(self.scales, [self.cells, self.points, self.here], list(self._axes), 220)
        self.brush = bq.interacts.BrushSelector(
            x_scale=self.scales["x"], y_scale=self.scales["y"], color=HIGHLIGHT, marks=[]
        )
        self._on_brush(self.brush, self._brushed)
        self._listen(drawn, self._click, self.brush)
        self.plot = Titled(drawn)
        return (self.plot,)

    def _draw(self) -> None:
        x, y, where = self.selection.against, self.selection.measure, self.selection.where
        density = history.density(self.survey, x, y, where)
        number = 0 if density is None else int(density.counts.sum())
        self.cells.visible, self.points.visible = number > MOST_POINTS, 0 < number <= MOST_POINTS
        if density is not None:
            self._frame(density)
            if number > MOST_POINTS:
                self._paint(density)
            else:
                frame = history.scatter(self.survey, x, y, where)
                set_traits(self.points, x=frame["x"].to_numpy(dtype=float), y=frame["y"].to_numpy(dtype=float))
        self.plot.title = f"{named(y).capitalize()} (upwards) against {named(x)}, {counted(number, 'window')}"

    def _frame(self, density: Density) -> None:
        columns = self.selection.against, self.selection.measure
        for name, column, one_axis, (low, high) in zip("xy", columns, self._axes, (density.x, density.y), strict=True):
            room = _ROOM * (high - low)
            set_range(self.scales[name], low - room, high + room)
            tick_scale(one_axis, scale_of(column, low, high))

    def _paint(self, density: Density) -> None:
        old = self.cells.image  # the mark redraws only when its image widget is replaced
        image = Image(value=_png(density.counts), layout=old.layout)
        set_traits(self.cells, image=image, x=list(density.x), y=list(density.y))
        old.close()

    def _mark(self, window: int | None) -> None:
        self.here.visible = window is not None
        if window is not None:
            row = history.window_row(self.survey, window)
            x, y = finite(row[[self.selection.against, self.selection.measure]].to_numpy(dtype=float))
            set_traits(self.here, x=[x] * 2, y=[y] * 2)

    def _brushed(self, x: np.ndarray, y: np.ndarray) -> None:
        self._narrow([self.selection.against, self.selection.measure], x, y)

    def _click(self, x: float, y: float) -> None:
        spans = [scale.max - scale.min for scale in self.scales.values()]
        distance = " + ".join(
            f'pow(("{name}" - ?) / ?, 2)' for name in (self.selection.against, self.selection.measure)
        )
        self._go_nearest(distance, x, spans[0], y, spans[1])


def _png(counts: np.ndarray) -> bytes:
    """Counts [cells upwards, cells across] as a PNG, stronger where there are more, by their logarithm."""
    shares = np.log1p(counts) / np.log1p(max(counts.max(), 1))
    pixels = np.empty((*counts.shape, 4), dtype=np.uint8)
    pixels[..., :3] = [round(255 * channel) for channel in to_rgb(NEUTRAL)]
    pixels[..., 3] = np.where(counts > 0, np.rint(255 * (_PALEST + (1 - _PALEST) * shares)), 0)
    buffer = io.BytesIO()
    Picture.fromarray(pixels[::-1]).save(buffer, format="PNG")
    return buffer.getvalue()
