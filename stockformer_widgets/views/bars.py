"""Views of horizontal bars, one a named thing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

import bqplot as bq
import numpy as np
from ipywidgets import Widget

from stockformer_widgets.views.base import View
from stockformer_widgets.views.parts import (
    Titled,
    axis,
    clicked_step,
    figure,
    finite,
    name_ticks,
    set_marks,
    set_range,
    text,
    tick_range,
)


class BarsView(View):
    """A view of horizontal bars; a click selects one, and the others pale."""

    #: Pixels.
    row_height: ClassVar[int]
    left: ClassVar[int]
    indent = 20
    horizontal = "query"

    #: Names of the bars, from the top.
    names: Sequence[str] = ()

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(reverse=True)}
        self.bars = bq.Bars(
            x=[0], y=[0], scales={"x": self.scales["y"], "y": self.scales["x"]}, orientation="horizontal", padding=0.25
        )
        self.x_axis = axis(self.scales["x"], tick_format="~g")
        self.y_axis = axis(self.scales["y"], side="left", grid_lines="none")
        self.figure = figure(self.scales, [self.bars], [self.x_axis, self.y_axis], 100, left=self.left)
        self.plot = Titled(self.figure, self.indent)  # over the names too: a title is longer than the bars
        self._listen(self.figure)
        return *self._controls(), self.plot

    def _controls(self) -> tuple[Widget, ...]:
        """What stands above the figure."""
        return ()

    def _draw_bars(
        self,
        names: Sequence[str],
        values: np.ndarray,
        colors: Sequence[str],
        selected: str | None,
        title: str,
        top: float = 0.0,
        also: Iterable[float] = (),
    ) -> None:
        """Show bars from the top of the figure.

        The x axis has 0 on it, and holds `top`, all values and those of `also`.
        """
        self.names, self._values, self._marked = names, values, selected
        values = finite(values)
        places = np.arange(len(names)) + 0.5
        set_marks(
            self.bars,
            x=places,
            y=values,
            colors=list(colors),
            opacities=[1.0 if name == selected or selected not in names else 0.4 for name in names],
        )
        ends = finite(np.array([0.0, top, *values, *also]))
        low, high = float(ends.min()), float(ends.max())
        high = high if high > low else 1.0
        set_range(self.scales["x"], low, high)
        tick_range(self.x_axis, low, high)
        # bqplot adds half a bar at both ends.
        set_range(self.scales["y"], 0.5, max(len(names) - 0.5, 0.6))
        name_ticks(self.y_axis, dict(zip(places.tolist(), names, strict=True)))
        self.plot.title = title
        self.figure.layout.height = f"{self.row_height * len(names) + 36}px"

    def _place(self, x: float, y: float) -> int:
        return clicked_step(y, len(self.names))

    def _selected(self) -> int | None:
        return next((place for place, name in enumerate(self.names) if name == self._marked), None)

    def _describe(self, place: int | None) -> str:
        if place is None:
            return ""
        return f"{text(self.names[place])} <b>{self._values[place]:.4g}</b>"
