"""The weights of one query over all key days."""

from __future__ import annotations

import bqplot as bq
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import Summary, plot_attention_row, summarize_row
from stockformer_widgets.views.day_maps import market_note
from stockformer_widgets.views.days import DayView
from stockformer_widgets.views.parts import NEUTRAL, finite, set_marks, step_outline, text

_NAMED = 3


class AttentionRow(DayView):
    """The selected query's row of the map, one step a key day; the selected key is marked.

    A click selects the key. The line below names the strongest keys with their
    weights and their share of the row.
    """

    label = "Attention of the selected day"
    attention = "layer"
    follows = ("kind", "layer", "head", "query", "key", "shown_keys")
    selects = horizontal = "key"
    height = 140

    def to_frame(self) -> pd.DataFrame:
        """Columns ``key, key_day, weight, share``, one row a key day."""
        row = self._row().numpy()
        days = self.session.reading.days(len(row))
        return pd.DataFrame({"key": range(len(row)), "key_day": days, "weight": row, "share": row / np.nansum(row)})

    def _marks(self) -> list[bq.Mark]:
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
        return [self.row]

    def _row(self) -> Tensor:
        """The selected row, [key]."""
        where = self.selection
        return self.session.reading.capture.map(where.kind, where.layer, where.head)[where.query]

    def _mask(self) -> Tensor | None:
        """Which keys the selected query may not attend to, [key]."""
        where = self.selection
        mask = self.session.reading.capture.mask(where.kind, where.layer, where.head)
        return None if mask is None else mask[where.query]

    def _draw(self) -> None:
        mask = self._mask()
        self._masked = np.zeros(len(self._row()), bool) if mask is None else mask.numpy()
        self._weights = self._row().numpy()
        heights = finite(self._weights)
        x, y = step_outline(heights)
        set_marks(self.row, x=x, y=y)
        self._frame(self._title(), self.session.reading.days(len(heights)), 0.0, float(heights.max()) or 1.0)

    def _describe(self, place: int) -> str:
        if self._masked[place]:
            return f"<b>{text(self.days[place])}</b> masked"
        weight, total = self._weights[place], float(finite(self._weights).sum())
        share = f" ({weight / total:.1%})" if np.isfinite(weight) and total else ""
        return f"<b>{text(self.days[place])}</b> {weight:.4g}{share}"

    def _notes(self) -> str:
        order = np.argsort(-finite(self._weights), kind="stable")
        strongest = [key for key in order if np.isfinite(self._weights[key]) and not self._masked[key]]
        named = [f'<span style="white-space: nowrap">{self._describe(key)}</span>' for key in strongest[:_NAMED]]
        lines = ["strongest: " + ", ".join(named) if named else "", market_note(self.session, self.selection.kind)]
        return "<br>".join(filter(None, lines))

    def _title(self) -> str:
        where = self.selection
        return f"What {self.session.reading.days(where.sizes()['query'])[where.query]} attends to"

    def _summary(self) -> Summary:
        row, mask = self._row(), self._mask()
        return summarize_row(row, mask, self.session.reading.dates_of(len(row)))

    def _plot(self) -> Figure:
        row = self._row()
        days = self.session.reading.days(len(row))
        return plot_attention_row(row, title=self._title(), dates=days, key=self.selection.key)
