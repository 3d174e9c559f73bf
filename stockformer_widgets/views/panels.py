"""Views of several numbers by layer or by head, one small figure a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import bqplot as bq
import numpy as np
from ipywidgets import GridBox, Layout, Widget

from stockformer_widgets.views.base import View
from stockformer_widgets.views.parts import (
    HIGHLIGHT,
    Titled,
    axis,
    clicked_step,
    figure,
    finite,
    set_marks,
    set_range,
    tick_range,
)

_NARROWEST = 200  # pixels of a panel


class Panel:
    """One small figure: lines or bars over 0, 1, 2..., the selected place marked."""

    def __init__(self, mark: type[bq.Mark]) -> None:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale()}
        self.mark = mark(x=[0], y=[0], scales=self.scales)
        self.marker = bq.Lines(
            x=[0, 0],
            y=[0, 1],
            scales={"x": self.scales["x"], "y": bq.LinearScale(min=0, max=1)},
            colors=[HIGHLIGHT],
            stroke_width=1.5,
        )
        self.x_axis = axis(self.scales["x"], grid_lines="none", tick_format="d")
        self.y_axis = axis(self.scales["y"], side="left", tick_format="~g")
        self.figure = figure(self.scales, [self.mark, self.marker], [self.x_axis, self.y_axis], 150, left=48)
        self.figure.layout.min_width = f"{_NARROWEST}px"
        self.plot = Titled(self.figure, left=48)

    def draw(
        self, title: str, x: np.ndarray, values: np.ndarray, places: int, selected: int | None, top: float
    ) -> None:
        """Show values at places x of so many, both [n] or [lines, n]; the axis ends at `top` or the largest value."""
        values = finite(values)
        low, high = min(0.0, float(values.min())), max(top, float(values.max()))
        high = high if high > low else low + 1.0
        set_range(self.scales["x"], -0.5, places - 0.5)
        self.x_axis.tick_values = np.arange(0, places, max(1, places // 12))
        set_range(self.scales["y"], low, high)
        tick_range(self.y_axis, low, high)
        set_marks(self.mark, x=x, y=values)
        set_marks(self.marker, x=[selected or 0] * 2, opacities=[0.0 if selected is None else 1.0])
        self.plot.title = title


class PanelView(View):
    """A view of panels over the layers or the heads; a click selects one, a click on the selected head the mean."""

    #: What a click selects, ``layer`` or ``head``.
    selects: ClassVar[str]
    indent = 48
    mark: ClassVar[type[bq.Mark]]
    titles: ClassVar[Sequence[str]]

    def _build(self) -> tuple[Widget, ...]:
        self.panels = [Panel(self.mark) for _ in self.titles]
        for panel in self.panels:
            self._listen(panel.figure)
        columns = f"repeat(auto-fit, minmax({_NARROWEST}px, 1fr))"
        return (GridBox([panel.plot for panel in self.panels], layout=Layout(grid_template_columns=columns)),)

    def _selected(self) -> int | None:
        step: int | None = getattr(self.selection, self.selects)
        return step

    def _place(self, x: float, y: float) -> int:
        return clicked_step(x + 0.5, self.selection.sizes()[self.selects])

    def _select(self, place: int) -> None:
        again = self.selects == "head" and place == self.selection.head
        setattr(self.selection, self.selects, None if again else place)


def equal_lengths(lines: list[list[float]]) -> np.ndarray:
    """[lines, longest]: a shorter line ends with its last point several times, and none has fewer than two."""
    longest = max(2, max(map(len, lines)))
    return np.array([line + line[-1:] * (longest - len(line)) for line in lines])
