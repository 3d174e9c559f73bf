"""The gate dimensions that vary most, day by day."""

from __future__ import annotations

from stockformer.charts.chart import Chart
from stockformer.charts.maps import gate_map
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.heatmap import HeatmapView


class GateHeatmap(HeatmapView):
    """The selected layer's most variable gate dimensions, the most variable on top.

    Colours run from 0, which keeps the market out, to 1, which lets all of its
    context in. A click selects the day.
    """

    label = "Gate by dimension and day"
    content = ("layer",)
    follows = (*content, "query", "shown_queries")
    horizontal = "query"
    most = 32

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return bool(session.reading.capture.gates)

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        gates = list(session.reading.capture.gates.values())
        layer = min(where.layer, len(gates) - 1)
        gate = gates[layer][0]
        return gate_map(gate, session.reading.days(len(gate)), layer, cls.most)
