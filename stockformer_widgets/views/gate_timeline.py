"""How far each layer opens its gate to the market, day by day."""

from __future__ import annotations

import bqplot as bq
import numpy as np
from ipywidgets import Widget
from matplotlib import colormaps
from matplotlib.colors import to_hex

from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.base import (
    HIGHLIGHT,
    View,
    axis,
    caption,
    clicked_step,
    figure,
    label_steps,
    on_mouse,
    set_range,
    text,
    tick_range,
)


class GateTimeline(View):
    """Mean gate of every layer over the lookback, with the spread of the selected one.

    The band holds the middle 80 % of the selected layer's gate dimensions. 0 keeps
    the market out, 1 lets all of its context in. A click selects the day.
    """

    follows = ("kind", "layer", "query")

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return bool(session.reading.capture.gates)

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(min=0, max=1)}
        self.band = bq.Lines(
            x=[0, 1],
            y=[[0, 0], [0, 0]],
            scales=self.scales,
            fill="between",
            fill_opacities=[0.25],
            stroke_width=0,
            opacities=[0.0],
        )
        self.lines = bq.Lines(x=[0, 1], y=[[0, 0]], scales=self.scales)
        self.marker = bq.Lines(x=[0, 0], y=[0, 1], scales=self.scales, colors=[HIGHLIGHT], stroke_width=1.5)
        self.x_axis = axis(self.scales["x"], grid_lines="none")
        y_axis = axis(self.scales["y"], "mean gate", side="left", label_offset="45px")
        tick_range(y_axis, 0, 1)
        self.figure = figure(
            self.scales, [self.band, self.lines, self.marker], [self.x_axis, y_axis], height=250, bottom=30
        )
        on_mouse(self.figure, ["click"], self._on_click)
        self.numbers = caption()
        return self.figure, self.numbers

    def _draw(self) -> None:
        where, reading = self.selection, self.session.reading
        gates = np.stack([gate[0].float().numpy() for gate in reading.capture.gates.values()])  # [layers, T, d]
        layers, length, _ = gates.shape
        layer, query = min(where.layer, layers - 1), min(where.query, length - 1)
        steps = np.arange(length) + 0.5
        means = gates.mean(axis=-1)
        colors = [to_hex(color) for color in colormaps["viridis"](np.linspace(0.3, 0.85, layers))]
        set_range(self.scales["x"], 0, length)
        with self.lines.hold_sync():
            self.lines.x, self.lines.y = steps, means
            self.lines.colors = colors
            self.lines.opacities = [1.0 if number == layer else 0.6 for number in range(layers)]
        with self.band.hold_sync():
            self.band.x, self.band.y = steps, np.quantile(gates[layer], [0.1, 0.9], axis=-1)
            self.band.fill_colors = [colors[layer]]
        self.figure.title = f"Mean gate by layer (band: middle 80 % of layer {layer})"
        self.marker.x = [query + 0.5] * 2
        label_steps(self.x_axis, [reading.day(step, length) for step in range(length)], 4)
        by_layer = " &nbsp; ".join(
            f'<span style="white-space: nowrap"><span style="color: {color}">■</span> '
            f"layer {number} <b>{mean:.3f}</b></span>"
            for number, (color, mean) in enumerate(zip(colors, means[:, query], strict=True))
        )
        self.numbers.value = f"mean gate on {text(reading.day(query, length))}: {by_layer}"

    def _on_click(self, event: str, x: float, y: float) -> None:
        self.selection.query = clicked_step(x, self.selection.sizes()["query"])
