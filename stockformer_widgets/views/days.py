"""Views over the days of the lookback, which share one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import bqplot as bq
from ipywidgets import Widget

from stockformer_widgets.views.base import View
from stockformer_widgets.views.parts import (
    HIGHLIGHT,
    Titled,
    axis,
    clicked_step,
    figure,
    label_steps,
    set_range,
    tick_range,
)


class DayView(View):
    """A view of values by day: a click selects one, a vertical line marks it."""

    #: What a click selects, ``query`` or ``key``.
    selects: ClassVar[str] = "query"
    horizontal = "query"
    height: ClassVar[int]
    #: Names of the days.
    days: Sequence[str] = ()

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale()}
        self.marker = bq.Lines(
            x=[0, 0], y=[0, 1], scales={"x": self.scales["x"], "y": bq.LinearScale(min=0, max=1)}, **_MARKER
        )
        self.x_axis = axis(self.scales["x"], grid_lines="none")
        self.y_axis = axis(self.scales["y"], side="left", tick_format="~g")
        marks = [*self._marks(), self.marker]
        self.figure = figure(self.scales, marks, [self.x_axis, self.y_axis], self.height)
        self.plot = Titled(self.figure)
        self._listen(self.figure)
        return (self.plot,)

    def _marks(self) -> list[bq.Mark]:
        """The marks in the figure, made once."""
        raise NotImplementedError

    def _frame(self, title: str, days: Sequence[str], low: float, high: float) -> None:
        """Set title, axes and marker."""
        self.days = days
        self.plot.title = title
        span = self.selection.span(self.selects, len(days))
        set_range(self.scales["x"], *span)
        label_steps(self.x_axis, days, 4, span)
        set_range(self.scales["y"], low, high)
        tick_range(self.y_axis, low, high)
        self.marker.x = [self._selected() + 0.5] * 2

    def _selected(self) -> int:
        return self.selection.place(self.selects, len(self.days))

    def _place(self, x: float, y: float) -> int:
        return clicked_step(x, len(self.days))

    def _select(self, place: int) -> None:
        self.selection.select(self.selects, place, len(self.days))


_MARKER = {"colors": [HIGHLIGHT], "stroke_width": 1.5}
