"""How much market the gates let in, day by day."""

from __future__ import annotations

import bqplot as bq
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stockformer.explainability import Summary, market_entry, plot_market_entry, summarize_entry
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.days import DayView
from stockformer_widgets.views.parts import LINE_COLORS, points, set_marks, swatches, text


class MarketEntry(DayView):
    """The length of what each layer's gate lets in, as a part of the stream that it joins. A click selects the day."""

    label = "Market that enters by day"
    attention = "all"
    follows = ("layer", "query", "shown_queries")
    height = 170

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        shown = session.reading.capture
        return bool(shown.gates) and "cross" in shown.kinds and session.explains

    def to_frame(self) -> pd.DataFrame:
        """Columns ``layer, step, day, entering, gate``, one row a layer and day; gate is its mean."""
        entering, gates = self._entering(), self._gates()
        layers, steps = (index.ravel() for index in np.indices(entering.shape))
        days = np.array(self.session.reading.days(entering.shape[1]))
        numbers = {"entering": entering.ravel(), "gate": gates.ravel()}
        return pd.DataFrame({"layer": layers, "step": steps, "day": days[steps], **numbers})

    def _marks(self) -> list[bq.Mark]:
        self.lines = bq.Lines(x=[0, 1], y=[[0, 0]], scales=self.scales)
        return [self.lines]

    def _entering(self) -> np.ndarray:
        """[layers, T]."""
        return np.stack([entry.numpy() for entry in market_entry(self.session.trace())])

    def _gates(self) -> np.ndarray:
        """[layers, T]."""
        layers = self.session.trace().kinds["cross"]
        return np.stack([layer.gate.mean(dim=-1).numpy() for layer in layers if layer.gate is not None])

    def _draw(self) -> None:
        self._entries, self._means = self._entering(), self._gates()
        layers, length = self._entries.shape
        set_marks(
            self.lines,
            **points(np.arange(length) + 0.5, self._entries),
            colors=_colors(layers),
            opacities=[1.0 if number == self.selection.layer else 0.5 for number in range(layers)],
        )
        top = float(np.nan_to_num(self._entries, posinf=0.0).max()) or 1.0
        days = self.session.reading.days(length)
        self._frame("Market that enters, as a part of the stream", days, 0.0, top)

    def _describe(self, place: int) -> str:
        names = [f"layer {number}" for number in range(len(self._entries))]
        values = [
            f"{entry:.3f} (gate {gate:.2f})"
            for entry, gate in zip(self._entries[:, place], self._means[:, place], strict=True)
        ]
        return f"{text(self.days[place])}: {swatches(_colors(len(names)), names, values)}"

    def _summary(self) -> Summary:
        trace = self.session.trace()
        gates = [layer.gate for layer in trace.kinds["cross"] if layer.gate is not None]
        return summarize_entry(market_entry(trace), gates)

    def _plot(self) -> Figure:
        entries = market_entry(self.session.trace())
        return plot_market_entry(entries, title=self.plot.title, dates=self.days)


def _colors(layers: int) -> list[str]:
    return [LINE_COLORS[number % len(LINE_COLORS)] for number in range(layers)]
