"""The weights of one query over all key days."""

from __future__ import annotations

import bqplot as bq
import numpy as np
from ipywidgets import Widget

from stockformer_widgets.views.base import (
    HIGHLIGHT,
    NEUTRAL,
    View,
    axis,
    caption,
    clicked_step,
    figure,
    label_steps,
    on_mouse,
    set_range,
    step_outline,
    text,
    tick_range,
)

_NAMED = 3
_ITEM = '<span style="white-space: nowrap">'


class AttentionRow(View):
    """The selected query's row of the map, one step a key day; the selected key is marked.

    A click selects the key. The line below names the strongest keys with their
    weights and their share of the row.
    """

    follows = ("kind", "layer", "head", "query", "key")

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(min=0)}
        # One path, however long the row: bars would be one SVG element a day.
        self.row = bq.Lines(
            x=[0, 1],
            y=[0, 0],
            scales=self.scales,
            interpolation="step-after",
            fill="bottom",
            fill_opacities=[0.45],
            colors=[NEUTRAL],
            stroke_width=1,
        )
        self.marker = bq.Lines(
            x=[0, 1],
            y=[0, 0],
            scales=self.scales,
            fill="bottom",
            fill_opacities=[0.9],
            colors=[HIGHLIGHT],
            fill_colors=[HIGHLIGHT],
        )
        self.x_axis = axis(self.scales["x"], grid_lines="none")
        self.y_axis = axis(self.scales["y"], "weight", side="left", tick_format="~g", label_offset="84px")
        self.figure = figure(self.scales, [self.row, self.marker], [self.x_axis, self.y_axis], height=190, bottom=30)
        on_mouse(self.figure, ["click"], self._on_click)
        self.strongest = caption()
        return self.figure, self.strongest

    def _draw(self) -> None:
        where, reading = self.selection, self.session.reading
        weights = reading.capture.map(where.kind, where.layer, where.head)
        row = weights[where.query].numpy()
        length = len(row)
        finite = np.where(np.isfinite(row), row, 0.0)
        x, y = step_outline(finite)
        set_range(self.scales["x"], 0, length)
        top = float(finite.max()) or 1.0
        set_range(self.scales["y"], 0, top)
        tick_range(self.y_axis, 0, top)
        with self.row.hold_sync():
            self.row.x, self.row.y = x, y
        with self.marker.hold_sync():
            self.marker.x, self.marker.y = [where.key, where.key + 1], [finite[where.key]] * 2
        days = [reading.day(step, length) for step in range(length)]
        label_steps(self.x_axis, days, 4)
        self.figure.title = f"What {reading.day(where.query, weights.size(0))} attends to"
        total = float(finite.sum()) or 1.0
        self.strongest.value = "strongest: " + ", ".join(
            f"{_ITEM}<b>{text(days[key])}</b> {finite[key]:.4g} ({finite[key] / total:.1%})</span>"
            for key in np.argsort(-finite, kind="stable")[:_NAMED]
        )

    def _on_click(self, event: str, x: float, y: float) -> None:
        self.selection.key = clicked_step(x, self.selection.sizes()["key"])
