"""Lines over shared places, drawn by bqplot in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import bqplot as bq
import numpy as np
from ipywidgets import Widget

from stockformer.charts.chart import FAINT, Axis, Bars, Line, Lines
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import (
    HIGHLIGHT,
    MARGIN,
    Titled,
    axis,
    clicked_step,
    figure,
    finite,
    label_steps,
    set_range,
    set_traits,
    tick_scale,
)
from stockformer_widgets.views.base import View

#: Marks from back to front.
_LOOKS: dict[str, dict[str, Any]] = {
    "band": {"fill": "between", "fill_opacities": [0.2], "stroke_width": 0, "opacities": [0.0]},
    "area": {"interpolation": "step-after", "fill": "bottom", "stroke_width": 1},
    "step": {"interpolation": "step-after", "stroke_width": 1.5},
    "line": {},
    "dots": {"marker": "circle", "marker_size": 40},
    "dashed": {"line_style": "dashed"},
    "reference": {"colors": ["gray"], "line_style": "dashed", "stroke_width": 1.5},
}
_SHAPES = ("area", "step", "line", "dots", "dashed")


class LinesPicture:
    """Lines in a bqplot figure, the selected places marked by upright lines.

    Args:
        height: pixels.
        left: pixels left of the plot.
        ticks: largest number of places named below the plot.
    """

    def __init__(self, height: int, left: int = MARGIN, *, ticks: int = 3) -> None:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale()}
        #: The marks that were needed so far, by what they draw.
        self.lines: dict[str, bq.Lines] = {}
        upright = self.scales | {"y": bq.LinearScale(min=0, max=1)}
        self.markers = [
            bq.Lines(x=[0, 0], y=[0, 1], scales=upright, colors=[HIGHLIGHT], stroke_width=1.5, line_style=style)
            for style in ("solid", "dashed")
        ]
        self.x_axis = axis(self.scales["x"], grid_lines="none")
        self.y_axis = axis(self.scales["y"], side="left", tick_format="~g")
        self.figure = figure(self.scales, self.markers, [self.x_axis, self.y_axis], height, left=left)
        self.plot = Titled(self.figure)
        self._ticks = ticks

    def draw(self, title: str, body: Lines, marked: Mapping[str, int], span: tuple[int, int] | None = None) -> None:
        """Draw lines over the places of a span, all by default, with the places `marked` by field."""
        self.plot.title = title
        needed = dict(self._needed(body))
        for name, mark in self.lines.items():
            mark.visible = name in needed
        for name, traits in needed.items():
            self._put(name, traits)
        span = span or (0, len(body.x.names))
        set_range(self.scales["x"], *span)
        label_steps(self.x_axis, body.x.names, self._ticks, span)
        set_range(self.scales["y"], body.y.low, body.y.high)
        tick_scale(self.y_axis, body.y)
        self.mark(body, marked)

    def mark(self, body: Lines, marked: Mapping[str, int]) -> None:
        """Mark places of a body that is drawn, by field."""
        for marker, field in zip(self.markers, (body.x.sets, body.x.also), strict=True):
            marker.visible = field in marked
            if field in marked:
                marker.x = [marked[field] + 0.5] * 2

    def _put(self, name: str, traits: dict[str, Any]) -> None:
        """Draw with the mark of this name, which is made when it is first needed."""
        if name in self.lines:
            set_traits(self.lines[name], **traits)
        else:
            self.lines[name] = bq.Lines(scales=self.scales, **_LOOKS[name], **traits)
            self.figure.marks = [*(self.lines[name] for name in _LOOKS if name in self.lines), *self.markers]

    def _needed(self, body: Lines) -> Iterator[tuple[str, dict[str, Any]]]:
        """What a body is drawn with: names of `_LOOKS`, and the traits of their marks."""
        length = len(body.x.names)
        if body.band is not None:
            x, y = _points([body.band.low, body.band.high], length, stepped=False)
            yield "band", {"x": x[0], "y": y, "fill_colors": [body.band.color]}
        for shape in _SHAPES:
            lines = [line for line in body.lines if line.shape == shape]
            if lines:
                yield shape, _traits(lines, length)
        if body.reference is not None:
            yield "reference", {"x": [0, length], "y": [body.reference[0]] * 2}


class PlacesView(View):
    """A view of values along one axis of places, across or with bars down: a click selects a place."""

    @property
    def _places(self) -> Axis:
        axis: Axis = self._body.axes[0]
        return axis

    def _selected(self) -> int | None:
        return self._marked().get(self._places.sets)

    def _place(self, x: float, y: float) -> int:
        return clicked_step(y if isinstance(self._body, Bars) else x, len(self._places.names))

    def _select(self, place: int) -> None:
        self._select_on(self._places, place)


class LinesView(PlacesView):
    """A view of lines over days, the selected one marked by an upright line."""

    horizontal = "query"
    height: ClassVar[int]

    def _build(self) -> tuple[Widget, ...]:
        self.picture = LinesPicture(self.height)
        self.figure, self.plot = self.picture.figure, self.picture.plot
        self._listen(self.figure)
        return (self.plot,)

    def _draw(self) -> None:
        body = self._body
        self.picture.draw(self.chart.title, body, self._marked(), self._spans()[body.x.sets])

    def _describe(self, place: int) -> list[Phrase]:
        body = self._body
        day, words = body.x.names[place], body.words(place)
        if sum(bool(line.name) for line in body.lines) == 1:
            return [Phrase(day), *(Phrase(line.name, value) for line, value in words)]
        return [Phrase(day), *(Phrase(line.name, value, line.color) for line, value in words)]


def _traits(lines: Sequence[Line], places: int) -> dict[str, Any]:
    """Traits of the mark that draws lines of one shape."""
    x, y = _points([line.values for line in lines], places, stepped=lines[0].shape in ("area", "step"))
    colors = [line.color for line in lines]
    look = {"colors": colors, "opacities": [(1.0 if line.emphasis else FAINT) if line.name else 0.0 for line in lines]}
    if lines[0].shape == "area":
        look |= {"fill_colors": colors, "fill_opacities": [0.45 if line.name else 0.9 for line in lines]}
    return {"x": x, "y": y, **look}


def _points(series: Sequence[np.ndarray], places: int, *, stepped: bool) -> tuple[np.ndarray, np.ndarray]:
    """x and y [series, points] of series that all end at the last place.

    A step holds its value from its place to the next; other lines stay at their last number. A shorter series begins
    with its first point several times, and none has fewer than two: bqplot drops dimensions of length 1.
    """
    x, y = [], []
    for values in series:
        at = np.arange(places - len(values), places + stepped) + (0.0 if stepped else 0.5)
        heights = np.append(values, values[-1:]) if stepped else np.array(values)
        for last in [] if stepped else np.flatnonzero(np.isfinite(heights))[-1:]:
            at[last:], heights[last:] = at[last], heights[last]
        missing = max(2, places + stepped) - len(heights)
        x.append(np.concatenate([at[:1].repeat(missing), at]))
        y.append(finite(np.concatenate([heights[:1].repeat(missing), heights])))
    return np.stack(x), np.stack(y)
