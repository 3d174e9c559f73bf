"""Whether the heads of a layer do different things."""

from __future__ import annotations

import bqplot as bq
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import Summary, plot_head_specialization, summarize_heads
from stockformer.explainability.statistics import diffuseness, distance, peak, recency, redundancy
from stockformer_widgets.views.panels import PanelView
from stockformer_widgets.views.parts import NEUTRAL, set_marks, text

_NUMBERS = {
    "diffuseness": (diffuseness, 1.0),
    "peak key day": (peak, 0.0),
    "recency share": (recency, 1.0),
    "distance, days": (distance, 0.0),
    "redundancy": (redundancy, 1.0),
}


class HeadSpecialization(PanelView):
    """Diffuseness, peak day, recency, distance and redundancy of every head of the layer. A click selects the head."""

    label = "Attention by head"
    attention = "layer"
    follows = ("kind", "layer", "head")
    selects = horizontal = "head"
    mark, titles = bq.Bars, tuple(_NUMBERS)

    def to_frame(self) -> pd.DataFrame:
        """One row a head, columns ``head`` and the numbers of the panels by their names in `statistics`."""
        maps = self._maps()
        mask = self._mask()
        numbers = {compute.__name__: compute(maps, mask).numpy() for compute, _ in _NUMBERS.values()}
        return pd.DataFrame({"head": range(len(maps)), **numbers})

    def _maps(self) -> Tensor:
        """The layer's maps, [heads, query, key]."""
        where = self.selection
        return self.session.reading.capture.kinds[where.kind][where.layer][0].float()

    def _mask(self) -> Tensor | None:
        """What is masked, [heads or 1, query, key]."""
        return self.session.reading.capture.layer_mask(self.selection.kind, self.selection.layer)

    def _draw(self) -> None:
        maps, mask = self._maps(), self._mask()
        head = self.selection.head
        self._numbers = {title: compute(maps, mask).numpy().astype(float) for title, (compute, _) in _NUMBERS.items()}
        for panel, (title, (_, top)) in zip(self.panels, _NUMBERS.items(), strict=True):
            panel.draw(title, np.arange(len(maps)), self._numbers[title], len(maps), head, top)
            set_marks(panel.mark, colors=[NEUTRAL])

    def _describe(self, place: int | None) -> str:
        if place is None:
            return "mean of the heads"
        maps = self._maps()
        day = self.session.reading.days(maps.size(-1))[int(self._numbers["peak key day"][place])]
        numbers = ", ".join(f"{name} <b>{values[place]:.3g}</b>" for name, values in self._numbers.items())
        return f"head {place}: {numbers} (<b>{text(day)}</b>)"

    def _notes(self) -> str:
        days = self.session.reading.days(self._maps().size(-1))
        peaks = [days[int(day)] for day in self._numbers["peak key day"]]
        return "peak days: " + ", ".join(f"head {head} <b>{text(day)}</b>" for head, day in enumerate(peaks))

    def _summary(self) -> Summary:
        return summarize_heads(self._maps(), self._mask())

    def _plot(self) -> Figure:
        where = self.selection
        return plot_head_specialization(self.session.reading.capture.to_dict(), where.layer, where.kind)
