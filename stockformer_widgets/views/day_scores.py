"""Contribution of each day to the prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from stockformer.charts.by_day import day_scores
from stockformer.charts.chart import Chart, Note
from stockformer.explainability import (
    DAY_RANKINGS,
    Trace,
    has_inflow,
    joint_rollout,
    mean_attention,
    relevance,
)
from stockformer_widgets.state.explanations import EXPLAINS
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.attribution import AttributedView
from stockformer_widgets.views.doubts import faithfulness_doubt
from stockformer_widgets.views.lines import LinesView

#: Scores of days from attention alone, by name; `_ATTRIBUTION` uses the whole model instead.
_SCORES: Mapping[str, Callable[[Trace], Sequence[Tensor]]] = {
    "rollout": lambda trace: joint_rollout(trace).days,
    "relevance": lambda trace: relevance(trace).days,
    "mean attention": mean_attention,
}
_ATTRIBUTION = "attribution"


class DayScores(AttributedView, LinesView):
    """Contribution of each stock and market day to the prediction.

    By the session's attribution, summed over the features and signed; or by attention alone: rollout,
    relevance, or the weights as they are. A click selects the day.
    """

    label = "Contribution to the prediction by day"
    attention = "all"
    follows_explanations = (*EXPLAINS, "faithfulness", "sample_faithfulness")
    follows = ("query", "shown_queries")
    height = 190

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return super().shows(session) and has_inflow(session.model)

    @classmethod
    def choices(cls, session: ExtractorSession) -> Mapping[str, Sequence[str]]:
        return {"by": [_ATTRIBUTION, *_SCORES]}

    @classmethod
    def attributes(cls, **options: str) -> bool:
        return options["by"] == _ATTRIBUTION

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection, by: str) -> Chart:
        explanations = session.explanations
        if cls.attributes(by=by):
            ranking, name = explanations.method, explanations.method_name
            parts = [part.sum(dim=-1) for part in explanations.saliency()]
        else:
            ranking, name = by, by
            parts = list(_SCORES[by](explanations.trace()))
        chart = day_scores(parts, [session.reading.days(len(part)) for part in parts], name)
        doubt = faithfulness_doubt(session, ranking, "day") if ranking in DAY_RANKINGS else None
        of_target = Note(f"target: {explanations.target_name}" if by in (_ATTRIBUTION, "relevance") else "")
        return replace(chart, doubt=doubt).noting(of_target)
