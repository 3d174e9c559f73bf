"""Windows as points of two measures."""

from __future__ import annotations

import bqplot as bq
from ipywidgets import Widget

from stockformer.survey import history
from stockformer_widgets.components.drawing import (
    HIGHLIGHT,
    NEUTRAL,
    Titled,
    axis,
    figure,
    finite,
    set_marks,
    set_range,
    tick_range,
)
from stockformer_widgets.history.part import Part, named

_ROOM = 0.04  # around the points, as a share of their span


class Scatter(Part):
    """A point per window, of many windows of every second, third...; a click goes to the nearest."""

    content = ("measure", "against", "where")

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale()}
        look = {"scales": self.scales, "default_size": 8}
        self.points = bq.Scatter(x=[0, 0], y=[0, 0], colors=[NEUTRAL], opacities=[0.35], **look)
        self.here = bq.Scatter(x=[0, 0], y=[0, 0], colors=[HIGHLIGHT], marker="cross", **look | {"default_size": 90})
        self._axes = axis(self.scales["x"], tick_format="~g"), axis(self.scales["y"], side="left", tick_format="~g")
        drawn = figure(self.scales, [self.points, self.here], list(self._axes), 220)
        self._listen(drawn, self._click)
        self.plot = Titled(drawn)
        return (self.plot,)

    def _draw(self) -> None:
        where = self.selection
        frame = history.scatter(self.survey, where.against, where.measure, where.where).dropna()
        self._points = frame
        for name, one_axis in zip("xy", self._axes, strict=True):
            values = frame[name].to_numpy(dtype=float)
            low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
            room = _ROOM * (high - low or 1.0)
            set_range(self.scales[name], low - room, high + room)
            tick_range(one_axis, low, high)
        if len(frame):
            set_marks(self.points, x=frame["x"].to_numpy(dtype=float), y=frame["y"].to_numpy(dtype=float), visible=True)
        else:
            self.points.visible = False
        self.plot.title = f"{named(where.measure)} (upwards) against {named(where.against)}, {len(frame):,} windows"

    def _mark(self, window: int | None) -> None:
        self.here.visible = window is not None
        if window is not None:
            row = history.window_row(self.survey, window)
            x, y = finite(row[[self.selection.against, self.selection.measure]].to_numpy(dtype=float))
            set_marks(self.here, x=[x] * 2, y=[y] * 2)

    def _click(self, x: float, y: float) -> None:
        spans = [scale.max - scale.min for scale in (self.scales["x"], self.scales["y"])]
        away = ((self._points["x"] - x) / spans[0]) ** 2 + ((self._points["y"] - y) / spans[1]) ** 2
        if len(away):
            self.session.sample = int(self._points["window"].iloc[int(away.argmin())])
