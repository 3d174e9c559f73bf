"""Mean gate of each layer, day by day."""

from __future__ import annotations

from stockformer.charts.by_day import gate_timeline
from stockformer.charts.chart import Chart
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.lines import LinesView


class GateTimeline(LinesView):
    """Mean gate of every layer over the lookback, with the middle 80 % of the selected one's dimensions.

    0 keeps the market out, 1 lets all of its context in. A click selects the day.
    """

    label = "Mean gate by day"
    content = ("layer",)
    follows = (*content, "query", "shown_queries")
    height = 170

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return bool(session.reading.capture.gates)

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        gates = [gate[0] for gate in session.reading.capture.gates.values()]
        return gate_timeline(gates, session.reading.days(len(gates[0])), min(where.layer, len(gates) - 1))
