"""What stock and market did over the lookback."""

from __future__ import annotations

from stockformer.charts.by_day import price_strip
from stockformer.charts.chart import Chart
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.lines import LinesView


class PriceStrip(LinesView):
    """Close and SPY over the lookback, in percent of change since its first day.

    The solid line marks the selected query, the dashed one the selected key. A
    click selects the query.
    """

    label = "Prices"
    follows = ("query", "key", "shown_queries")
    height = 140

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.reading.window is not None

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        window = session.reading.window
        assert window is not None
        return price_strip(window.prices, session.reading.days(len(window.dates)), window.ticker)
