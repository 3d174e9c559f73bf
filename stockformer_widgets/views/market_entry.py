"""Market contribution by layer, day by day."""

from __future__ import annotations

from stockformer.charts import by_day
from stockformer.charts.chart import Chart
from stockformer.explainability import market_entry
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.lines import LinesView


class MarketEntry(LinesView):
    """Norm of what each layer's gate lets in, as a share of that of the stream it joins. A click selects the day."""

    label = "Market contribution by day"
    attention = "all"
    content = ("layer",)
    follows = (*content, "query", "shown_queries")
    height = 170

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        capture = session.reading.capture
        return bool(capture.gates) and "cross" in capture.kinds and session.explanations.available

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        trace = session.explanations.trace()
        entries = market_entry(trace)
        gates = [layer.gate for layer in trace.kinds["cross"] if layer.gate is not None]
        return by_day.market_entry(entries, gates, session.reading.days(len(entries[0])), where.layer)
