"""Which features drive the prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from stockformer.charts.attribution import saliency_bars
from stockformer.charts.chart import Chart
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import neighbour
from stockformer_widgets.state.explanations import EXPLAINS
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.attribution import AttributedView, attribution_summary
from stockformer_widgets.views.bars import BarsView
from stockformer_widgets.views.doubts import completeness_note, control_note, faithfulness_doubt

_ALL = "all days"


class SaliencyBars(AttributedView, BarsView):
    """The session's attribution by feature: the strongest of stock and market together.

    Absolute or signed values, summed over all days or of the selected query day alone. A click selects the feature.
    Features without data are named below.
    """

    label = "Attribution by feature"
    follows_explanations = (*EXPLAINS, "faithfulness", "sample_faithfulness")
    content = ("query",)
    follows = (*content, "feature")
    vertical = "feature"
    row_height, left = 19, 150
    most = 14

    @classmethod
    def choices(cls, session: ExtractorSession) -> Mapping[str, Sequence[str]]:
        return {"over": [_ALL, "selected day"], "values": ["absolute", "signed"]}

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection, over: str, values: str) -> Chart:
        explanations, when = session.explanations, _ALL
        parts = explanations.saliency()
        if over != _ALL:
            days = [where.place("query", len(part)) for part in parts]
            when = session.reading.days(len(parts[0]))[days[0]]
            parts = tuple(part[day : day + 1] for part, day in zip(parts, days, strict=True))
        chart = saliency_bars(
            parts,
            session.feature_names,
            explanations.method_name,
            f"{explanations.target_name}, {when}",
            signed=values == "signed",
            most=cls.most,
            summary=attribution_summary(session, parts),
        )
        doubt = faithfulness_doubt(session, explanations.method, "cell")
        return replace(chart, doubt=doubt).noting(completeness_note(session), control_note(session))

    def _select(self, place: int) -> None:
        if place == self._selected():
            self.selection.feature = None
        else:
            super()._select(place)

    def _step(self, name: str, by: int) -> None:
        if name == "feature":
            self.selection.feature = neighbour(self._body.names.names, self.selection.feature, by)
        else:
            super()._step(name, by)

    def _describe(self, place: int | None) -> list[Phrase]:
        feature = self.selection.feature
        if place is None and feature is not None:  # selected, but not among the strongest
            row = self.chart.table.set_index("feature").loc[feature]
            numbers = [(feature, "value")] if "value" in row else [(f"{feature} A", "a"), ("B", "b")]
            return [Phrase(words, f"{row[column]:.4g}") for words, column in numbers]
        return [Phrase("no feature is selected")] if place is None else super()._describe(place)
