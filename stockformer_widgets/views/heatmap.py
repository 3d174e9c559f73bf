"""Heatmaps, drawn by bqplot in place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import bqplot as bq
from ipywidgets import HTML, HBox, Image, Layout, ToggleButton, Widget

from stockformer.charts.chart import Chart, Heatmap
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import (
    HIGHLIGHT,
    MARGIN,
    Titled,
    axis,
    clicked_step,
    figure,
    label_steps,
    set_range,
    set_traits,
)
from stockformer_widgets.components.heatmap_colors import palette_of
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import View

_NAMED_DAYS = {"x": 3, "y": 8}  # dates do not touch where a map is 170 pixels wide
#: A part of the sentence of a cell: words, and a field.
_PART = r"(?:, )?([^{]*)\{(\w+)\}"


class HeatmapView(View):
    """A view of a heatmap: a click selects, lines cross where the selected row and column meet.

    Where few cells have most of the colours, a button offers a logarithmic scale.
    """

    height: ClassVar[int] = 380
    #: Pixels left of the cells.
    left: ClassVar[int] = MARGIN

    _images: tuple[Image, ...] = ()
    #: The chart on the screen, and the rows and columns in view.
    _painted: Chart | None = None
    _framed: tuple[tuple[int, int], ...] = ()

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(reverse=True)}
        # The mark redraws when its image is replaced, not when the image's bytes change.
        self._images = tuple(Image(format="png", layout=self.layout) for _ in range(2))
        self.image = bq.Image(image=self._images[0], scales=self.scales)
        self.crosshair = bq.Lines(
            x=[[0, 1]] * 2, y=[[0, 1]] * 2, scales=self.scales, colors=[HIGHLIGHT], stroke_width=1.5, opacities=[0.9]
        )
        self.x_axis = axis(self.scales["x"], grid_lines="none")
        self.y_axis = axis(self.scales["y"], side="left", grid_lines="none")
        self.figure = figure(
            self.scales, [self.image, self.crosshair], [self.x_axis, self.y_axis], self.height, left=self.left
        )
        self.plot = Titled(self.figure)
        self._listen(self.figure)
        self.color_bar = HTML()
        self.log_button = ToggleButton(description="log colours", tooltip="equal ratios, equal steps of colour")
        self.log_button.add_class("stockformer-log")
        self.log_button.observe(self._color, "value")
        row = Layout(flex_flow="row wrap", margin=f"0 0 0 {self.indent}px")
        return self.plot, HBox([self.color_bar, self.log_button], layout=row)

    @classmethod
    def chart_for(cls, sessions: Sequence[ExtractorSession], where: Selection, options: Mapping[str, str]) -> Chart:
        chart = super().chart_for(sessions, where, options)
        body: Any = chart.body
        return replace(chart, body=body.on_log_scale()) if where.log_colors else chart

    def _state(self, of_selection: Sequence[str]) -> tuple[Any, ...]:
        return *super()._state(of_selection), self.selection.log_colors

    def _color(self, change: Any) -> None:
        self.selection.log_colors = change["new"]

    def close(self) -> None:
        for image in self._images:  # no other widget holds the spare one
            image.close()
        self._painted = None
        super().close()

    @property
    def _body(self) -> Any:
        # Of the chart on the screen: the next attribution may not be computed yet.
        return (self._painted or self.chart).body

    def _draw(self) -> None:
        if self.chart is not self._painted:
            self._painted, self._framed = self.chart, ()
            self._paint(self.chart)
        self._frame()
        row, column = self._selected()
        rows, columns = self._body.values.shape
        # No selected row: a line without a length. A path of NaN would be an error in the page.
        across, height = ([0, 0], 0) if row is None else ([0, columns], row + 0.5)
        set_traits(self.crosshair, x=[[column + 0.5] * 2, across], y=[[0, rows], [height] * 2])

    def _paint(self, chart: Chart) -> None:
        body, (rows, columns) = self._body, self._body.values.shape
        palette = palette_of(body.palette)
        spare = self._images[self.image.image is self._images[0]]
        spare.value = palette.encode(body)
        set_traits(self.image, image=spare, x=[0, columns], y=[rows, 0])
        self.color_bar.value = palette.legend(body)
        self.log_button.value = self.selection.log_colors
        self.log_button.layout.display = "none" if body.log_low is None and not body.scale.log else None
        self.plot.title = chart.title

    def _frame(self) -> None:
        """Set the axes to the rows and columns in view."""
        axes, spans = {"x": self._body.columns, "y": self._body.rows}, self._spans()
        framed = tuple(spans.get(one.sets, (0, len(one.names))) for one in axes.values())
        if framed == self._framed:
            return
        for (which, one), ticks, span in zip(axes.items(), (self.x_axis, self.y_axis), framed, strict=True):
            set_range(self.scales[which], *span)
            label_steps(ticks, one.names, _NAMED_DAYS[which] if one.of_days else len(one.names), span)
        self._framed = framed

    def _selected(self) -> tuple[int | None, int]:
        """The selected row, None where there is none, and column."""
        body, marked = self._body, self._marked()
        return marked.get(body.rows.sets), marked[body.columns.sets]

    def _place(self, x: float, y: float) -> tuple[int, int]:
        rows, columns = self._body.values.shape
        return clicked_step(y, rows), clicked_step(x, columns)

    def _select(self, place: tuple[int, int]) -> None:
        for one, step in zip(self._body.axes, place, strict=True):
            self._select_on(one, step)

    def _describe(self, place: tuple[int | None, int]) -> list[Phrase]:
        row, column = place
        if row is None:
            return [Phrase("selected day", self._body.columns.name(column))]
        return cell_phrases(self._body, row, column)


def cell_phrases(body: Heatmap, row: int, column: int) -> list[Phrase]:
    """A cell in words."""
    values = {"row": body.rows.name(row), "column": body.columns.name(column), "value": body.words(row, column)}
    return [Phrase(words.strip(), values.get(field, "")) for words, field in re.findall(_PART, body.sentence)]
