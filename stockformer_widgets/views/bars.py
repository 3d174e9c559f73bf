"""Bars of named places, drawn by bqplot in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import bqplot as bq
import numpy as np
from ipywidgets import Widget

from stockformer.charts.chart import FAINT, Bars
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import (
    MARGIN,
    Titled,
    axis,
    figure,
    finite,
    label_steps,
    name_ticks,
    points,
    set_range,
    set_traits,
    tick_scale,
)
from stockformer_widgets.views.lines import PlacesView


class BarsPicture:
    """Bars in a bqplot figure, from the top down or upright; where one is selected, the others pale.

    Args:
        upright: whether the bars are vertical, with about a dozen names below them.
        height: pixels; of one bar, unless upright.
        left: pixels left of the bars.
    """

    def __init__(self, height: int, left: int = MARGIN, *, upright: bool = False) -> None:
        self._upright, self._height = upright, height
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(reverse=not upright)}
        along, across = ("x", "y") if upright else ("y", "x")
        self._along, self._across = self.scales[along], self.scales[across]
        self.bars = bq.Bars(
            x=[0],
            y=[0],
            scales={"x": self._along, "y": self._across},
            orientation="vertical" if upright else "horizontal",
            padding=0.25,
        )
        #: Circles for second values, made when they are first needed.
        self.dots: bq.Scatter | None = None
        self.x_axis = axis(self.scales["x"], **({"grid_lines": "none"} if upright else {"tick_format": "~g"}))
        self.y_axis = axis(
            self.scales["y"], side="left", **({"tick_format": "~g"} if upright else {"grid_lines": "none"})
        )
        self.figure = figure(self.scales, [self.bars], [self.x_axis, self.y_axis], height, left=left)
        self.plot = Titled(self.figure)

    def draw(self, title: str, body: Bars, marked: Mapping[str, int]) -> None:
        """Show bars, the one that is `marked` by its field at full strength."""
        self.plot.title = title
        number = len(body.values)
        places, chosen = np.arange(number) + 0.5, marked.get(body.names.sets)
        opacities = [1.0 if chosen in (None, place) else FAINT for place in range(number)]
        look: dict[str, list[Any]] = {"colors": list(body.colors), "opacities": opacities}
        if number > 1:
            set_traits(self.bars, x=places, y=finite(body.values), **look)
            set_range(self._along, 0.5, number - 0.5)  # bqplot adds half a bar at both ends
        else:  # bqplot draws bars as wide as they are apart: a single one is between two of no height, out of sight
            set_traits(
                self.bars,
                x=[0, 0.5, 1],
                y=[0, *finite(body.values), 0],
                **{name: 3 * one for name, one in look.items()},
            )
            set_range(self._along, 0.38, 0.62)
        self._draw_dots(body)
        set_range(self._across, *body.scale.roomy)
        if self._upright:
            label_steps(self.x_axis, body.names.names, 12, (0, number))
            if body.scale.names:
                label_steps(self.y_axis, body.scale.names, 4, (0, len(body.scale.names)), middle=0)
            else:
                tick_scale(self.y_axis, body.scale)
        else:
            name_ticks(self.y_axis, dict(zip(places.tolist(), body.names.names, strict=True)))
            tick_scale(self.x_axis, body.scale)
            self.figure.layout.height = f"{self._height * number + 36}px"

    def _draw_dots(self, body: Bars) -> None:
        if body.dots is not None:
            at: dict[str, Any] = points(np.arange(len(body.dots)) + 0.5, body.dots)
            traits = (at if self._upright else {"x": at["y"], "y": at["x"]}) | {"colors": [body.dots_color]}
            if self.dots is None:
                self.dots = bq.Scatter(scales=self.scales, fill=False, default_size=50, stroke_width=2, **traits)
                self.figure.marks = [self.bars, self.dots]
            else:
                set_traits(self.dots, **traits)
        if self.dots is not None:
            self.dots.visible = body.dots is not None


class BarsView(PlacesView):
    """A view of bars from the top down, the others paler than the selected one."""

    #: Pixels.
    row_height: ClassVar[int]
    left: ClassVar[int]
    indent = 20
    horizontal = "query"

    def _build(self) -> tuple[Widget, ...]:
        self.picture = BarsPicture(self.row_height, self.left)
        self.figure, self.plot = self.picture.figure, self.picture.plot
        self._listen(self.figure)
        return (self.plot,)

    def _draw(self) -> None:
        self.picture.draw(self.chart.title, self._body, self._marked())

    def _describe(self, place: int | None) -> list[Phrase]:
        body = self._body
        return [] if place is None else [Phrase(body.names.names[place], body.words[place])]
