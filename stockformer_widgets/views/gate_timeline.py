"""How far each layer opens its gate to the market, day by day."""

from __future__ import annotations

import bqplot as bq
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from stockformer.explainability import Summary, plot_gate_timeseries, summarize_gate
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.days import DayView
from stockformer_widgets.views.parts import LINE_COLORS, points, set_marks, swatches, text

_BAND = (0.1, 0.9)


class GateTimeline(DayView):
    """Mean gate of every layer over the lookback, with the spread of the selected one.

    The band holds the middle 80 % of the selected layer's gate dimensions. 0 keeps
    the market out, 1 lets all of its context in. A click selects the day.
    """

    label = "Mean gate by day"
    follows = ("layer", "query", "shown_queries")
    height = 170

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return bool(session.reading.capture.gates)

    def to_frame(self) -> pd.DataFrame:
        """Columns ``layer, step, day, mean, p10, p90`` over the gate dimensions, one row a layer and day."""
        gates = self._gates()
        layers, steps = (index.ravel() for index in np.indices(gates.shape[:2]))
        days = np.array(self.session.reading.days(gates.shape[1]))
        low, high = np.quantile(gates, _BAND, axis=-1)
        numbers = {"mean": gates.mean(axis=-1).ravel(), "p10": low.ravel(), "p90": high.ravel()}
        return pd.DataFrame({"layer": layers, "step": steps, "day": days[steps], **numbers})

    def _marks(self) -> list[bq.Mark]:
        self.band = bq.Lines(
            x=[0, 1],
            y=[[0, 0], [0, 0]],
            scales=self.scales,
            fill="between",
            fill_opacities=[0.2],
            stroke_width=0,
            opacities=[0.0],
        )
        self.lines = bq.Lines(x=[0, 1], y=[[0, 0]], scales=self.scales)
        return [self.band, self.lines]

    def _gates(self) -> np.ndarray:
        """[layers, T, d]."""
        return np.stack([gate[0].float().numpy() for gate in self.session.reading.capture.gates.values()])

    def _draw(self) -> None:
        gates = self._gates()
        layers, length, _ = gates.shape
        layer = self._layer(layers)
        steps, means = np.arange(length) + 0.5, gates.mean(axis=-1)
        colors = [LINE_COLORS[number % len(LINE_COLORS)] for number in range(layers)]
        set_marks(
            self.lines,
            **points(steps, means),
            colors=colors,
            opacities=[1.0 if number == layer else 0.5 for number in range(layers)],
        )
        band = points(steps, np.quantile(gates[layer], _BAND, axis=-1))
        set_marks(self.band, **band, fill_colors=[colors[layer]])
        days = self.session.reading.days(length)
        self._frame(f"Mean gate by layer (band: middle 80 % of layer {layer})", days, 0.0, 1.0)
        self._means = means

    def _describe(self, place: int) -> str:
        colors = [LINE_COLORS[number % len(LINE_COLORS)] for number in range(len(self._means))]
        names = [f"layer {number}" for number in range(len(self._means))]
        values = [f"{mean:.3f}" for mean in self._means[:, place]]
        return f"{text(self.days[place])}: {swatches(colors, names, values)}"

    def _layer(self, layers: int) -> int:
        return min(self.selection.layer, layers - 1)

    def _summary(self) -> Summary:
        gates = self._gates()
        return summarize_gate(torch.from_numpy(gates[self._layer(len(gates))]))

    def _plot(self) -> Figure:
        reading = self.session.reading
        layers, length, _ = self._gates().shape
        return plot_gate_timeseries(reading.capture.to_dict(), dates=reading.days(length), layer=self._layer(layers))
