"""Attribution by feature and day."""

from __future__ import annotations

from stockformer.charts.chart import Chart
from stockformer.charts.maps import saliency_map
from stockformer_widgets.components.drawing import neighbour
from stockformer_widgets.state.explanations import EXPLAINS
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.attribution import AttributedView, attribution_summary
from stockformer_widgets.views.heatmap import HeatmapView


class SaliencyHeatmap(AttributedView, HeatmapView):
    """Signed attribution by feature and day, the features with the largest magnitudes on top.

    Red days push the explained output up, blue ones down. Where stock and market
    have different lengths their last days are aligned. A click selects feature
    and day.
    """

    label = "Attribution by feature and day"
    follows_explanations = EXPLAINS
    follows = ("feature", "query", "shown_queries")
    horizontal, vertical = "query", "feature"
    left = 150
    indent = 20
    most = 24

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        explanations = session.explanations
        parts = explanations.saliency()
        what = f"{explanations.method_name} for {explanations.target_name}"
        days = [session.reading.days(len(part)) for part in parts]
        summary = attribution_summary(session, parts)
        return saliency_map(parts, session.feature_names, days, what, most=cls.most, summary=summary)

    def _step(self, name: str, by: int) -> None:
        if name == "feature":
            self.selection.feature = neighbour(self._body.rows.names, self.selection.feature, by)
        else:
            super()._step(name, by)
