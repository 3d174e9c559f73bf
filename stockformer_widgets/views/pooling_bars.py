"""Which day the pooling trusts."""

from __future__ import annotations

import bqplot as bq
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import Summary, plot_attention_pooling, summarize_pooling
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.days import DayView
from stockformer_widgets.views.parts import NEUTRAL, STREAM_COLORS, finite, set_marks, step_outline, text
from stockformer_widgets.views.trust import trust_note

_NAMED = 3


class PoolingBars(DayView):
    """Pooling weight of every day, the three largest in a second colour. A click selects the day."""

    label = "Pooling weight by day"
    follows_session = ("reading", "faithfulness", "sample_faithfulness")
    follows = ("query", "shown_queries")
    height = 120

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.reading.capture.pooling is not None

    def to_frame(self) -> pd.DataFrame:
        """Columns ``step, day, weight``, one row a day."""
        weights = self._weights().numpy()
        days = self.session.reading.days(len(weights))
        return pd.DataFrame({"step": range(len(weights)), "day": days, "weight": weights})

    def _weights(self) -> Tensor:
        """[T]."""
        pooling = self.session.reading.capture.pooling
        assert pooling is not None
        return pooling[0].float()

    def _marks(self) -> list[bq.Mark]:
        look = {"fill": "bottom", "stroke_width": 1, "scales": self.scales}
        self.outline = bq.Lines(
            x=[0, 1], y=[0, 0], interpolation="step-after", colors=[NEUTRAL], fill_opacities=[0.45], **look
        )
        self.top = bq.Lines(
            x=[[0, 1]] * _NAMED,
            y=[[0, 0]] * _NAMED,
            colors=[STREAM_COLORS[1]],
            fill_colors=[STREAM_COLORS[1]] * _NAMED,
            fill_opacities=[0.9] * _NAMED,
            **look,
        )
        return [self.outline, self.top]

    def _draw(self) -> None:
        self._drawn_weights = self._weights().numpy()
        weights = finite(self._drawn_weights)
        days = self.session.reading.days(len(weights))
        x, y = step_outline(weights)
        set_marks(self.outline, x=x, y=y)
        top = np.argsort(-weights, kind="stable")[:_NAMED]
        set_marks(self.top, x=[[day, day + 1] for day in top], y=[[weights[day]] * 2 for day in top])
        self._frame("How much each day counts in the pooled vector", days, 0.0, float(weights.max()) or 1.0)

    def _describe(self, place: int) -> str:
        return f"<b>{text(self.days[place])}</b> {self._drawn_weights[place]:.4g}"

    def _notes(self) -> str:
        top = np.argsort(-finite(self._drawn_weights), kind="stable")[:_NAMED]
        largest = "largest: " + ", ".join(self._describe(day) for day in top)
        return f"{largest}<br>{trust_note(self.session, 'pooling', 'day')}"

    def _summary(self) -> Summary:
        weights = self._weights()
        return summarize_pooling(weights, self.session.reading.dates_of(len(weights)))

    def _plot(self) -> Figure:
        reading = self.session.reading
        days = reading.days(len(self._weights()))
        return plot_attention_pooling(reading.capture.to_dict(), dates=days)
