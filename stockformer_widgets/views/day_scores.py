"""What reaches the prediction from each day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import bqplot as bq
import pandas as pd
from ipywidgets import Dropdown, HBox, Layout, Widget
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import (
    DAY_RANKINGS,
    Summary,
    Trace,
    has_inflow,
    joint_rollout,
    mean_attention,
    plot_day_scores,
    relevance,
    summarize_days,
)
from stockformer_widgets.explaining import EXPLAINS
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.attributed import AttributedView
from stockformer_widgets.views.days import DayView
from stockformer_widgets.views.parts import STREAM_COLORS, finite, set_marks, step_outline, swatches, text
from stockformer_widgets.views.trust import trust_note

#: What attention says of the days, by name; `_ATTRIBUTION` asks the model instead.
_SCORES: Mapping[str, Callable[[Trace], Sequence[Tensor]]] = {
    "rollout": lambda trace: joint_rollout(trace).days,
    "relevance": lambda trace: relevance(trace).days,
    "mean attention": mean_attention,
}
_ATTRIBUTION = "attribution"
_NAMES = ("stock", "market")


class DayScores(AttributedView, DayView):
    """What reaches the prediction from each stock and market day.

    By the session's attribution, summed over the features and signed; or by what attention says: rollout,
    relevance, or the weights as they are. A click selects the day.
    """

    label = "What reaches the prediction by day"
    attention = "all"
    follows_session = ("reading", *EXPLAINS, "faithfulness", "sample_faithfulness")
    follows = ("query", "shown_queries")
    height = 190

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains and has_inflow(session.model)

    def to_frame(self) -> pd.DataFrame:
        """Columns ``input, step, day, score``, one row a day of each input."""
        tables = [
            pd.DataFrame(
                {
                    "input": number,
                    "step": range(len(part)),
                    "day": self.session.reading.days(len(part)),
                    "score": part.numpy(),
                }
            )
            for number, part in enumerate(self._scores())
        ]
        return pd.concat(tables, ignore_index=True)

    def _build(self) -> tuple[Widget, ...]:
        self.by = Dropdown(
            options=[_ATTRIBUTION, *_SCORES],
            description="by",
            style={"description_width": "auto"},
            layout=Layout(width="auto"),
        )
        self.by.observe(self._redraw, "value")
        return HBox([self.by], layout=Layout(margin=f"0 0 0 {self.indent}px")), *super()._build()

    def _marks(self) -> list[bq.Mark]:
        self.outlines = [
            bq.Lines(
                x=[0, 1],
                y=[0, 0],
                scales=self.scales,
                interpolation="step-after",
                colors=[color],
                stroke_width=1.5,
            )
            for color in STREAM_COLORS
        ]
        return self.outlines

    def _scores(self) -> Sequence[Tensor]:
        """One [T] an input."""
        if self.by.value == _ATTRIBUTION:
            return [part.sum(dim=-1) for part in self.session.saliency()]
        return _SCORES[self.by.value](self.session.trace())

    def _waits(self) -> bool:
        return self.by.value == _ATTRIBUTION and super()._waits()

    def _by(self) -> str:
        """What the days are ranked by, in words."""
        return self.session.method_name if self.by.value == _ATTRIBUTION else str(self.by.value)

    def _draw(self) -> None:
        self._parts = [part.numpy() for part in self._scores()]
        length = max(map(len, self._parts))
        for number, outline in enumerate(self.outlines):
            outline.visible = number < len(self._parts)
            if outline.visible:
                x, y = step_outline(finite(self._parts[number]))
                set_marks(outline, x=x + length - len(self._parts[number]), y=y)
        ends = [0.0, *(float(end) for part in self._parts for end in (finite(part).min(), finite(part).max()))]
        days = self.session.reading.days(length)
        self._frame(f"What reaches the prediction by {self._by()}", days, min(ends), max(ends) or 1.0)

    def _describe(self, place: int) -> str:
        values = []
        for part in self._parts:
            step = place - len(self.days) + len(part)
            values.append(f"{part[step]:.4g}" if step >= 0 else "")
        return (
            f"<b>{text(self.days[place])}</b> {swatches(STREAM_COLORS[: len(values)], _NAMES[: len(values)], values)}"
        )

    def _notes(self) -> str:
        explained = f"for {text(self.session.target_name)}" if self.by.value in (_ATTRIBUTION, "relevance") else ""
        ranking = self.session.method if self.by.value == _ATTRIBUTION else self.by.value
        trust = trust_note(self.session, ranking, "day") if ranking in DAY_RANKINGS else ""
        return "<br>".join(filter(None, (explained, trust)))

    def _summary(self) -> Summary:
        return summarize_days(self._scores())

    def _plot(self) -> Figure:
        return plot_day_scores(self._scores(), title=self.plot.title, dates=self.days)
