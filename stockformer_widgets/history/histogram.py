"""Histogram of a measure over the windows."""

from __future__ import annotations

import bqplot as bq
import numpy as np
from ipywidgets import Widget

from stockformer.charts.history import measure_histogram, scale_of
from stockformer.survey import history
from stockformer_widgets.components.drawing import (
    HIGHLIGHT,
    NEUTRAL,
    Titled,
    axis,
    figure,
    finite,
    set_range,
    set_traits,
    tick_range,
    tick_scale,
)
from stockformer_widgets.history.part import Part


class Histogram(Part):
    """A bar per range of the measure; a click opens the window with the nearest value, dragging filters by a range."""

    content = ("measure", "where")

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(min=0)}
        self.bars = bq.Bars(x=[0], y=[0], scales=self.scales, colors=[NEUTRAL], padding=0.0)
        upright = self.scales | {"y": bq.LinearScale(min=0, max=1)}
        self.here = bq.Lines(x=[0, 0], y=[0, 1], scales=upright, colors=[HIGHLIGHT])
        self._axes = axis(self.scales["x"], tick_format="~g"), axis(self.scales["y"], side="left")
        drawn = figure(self.scales, [self.bars, self.here], list(self._axes), 220)
        self.brush = bq.interacts.BrushIntervalSelector(scale=self.scales["x"], color=HIGHLIGHT, marks=[])
        self._on_brush(self.brush, self._brushed)
        self._listen(drawn, self._click, self.brush)
        self.plot = Titled(drawn)
        return (self.plot,)

    def _draw(self) -> None:
        measure, where = self.selection.measure, self.selection.where
        bins = history.histogram(self.survey, measure, where)
        self.chart = measure_histogram(bins, measure, where.words)
        self.plot.title = self.chart.title
        self.bars.visible = len(bins) > 0
        if len(bins):
            low, high = float(bins["low"].iloc[0]), float(bins["high"].iloc[-1])
            middles = (bins["low"] + bins["high"]).to_numpy() / 2
            set_traits(self.bars, x=middles, y=bins["count"].to_numpy(dtype=float))
            set_range(self.scales["x"], low, high)
            across, upwards = self._axes
            tick_scale(across, scale_of(measure, low, high))
            tick_range(upwards, 0, bins["count"].max())

    def _mark(self, window: int | None) -> None:
        self.here.visible = window is not None
        if window is not None:
            value = finite(history.window_row(self.survey, window)[self.selection.measure])
            self.here.x = [value] * 2

    def _brushed(self, x: np.ndarray) -> None:
        self._narrow([self.selection.measure], x)

    def _click(self, x: float, y: float) -> None:
        self._go_nearest(f'abs("{self.selection.measure}" - ?)', x)
