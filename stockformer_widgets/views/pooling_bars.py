"""Pooling weight of each day."""

from __future__ import annotations

from dataclasses import replace

from stockformer.charts.by_day import pooling
from stockformer.charts.chart import Chart
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.doubts import faithfulness_doubt
from stockformer_widgets.views.lines import LinesView


class PoolingBars(LinesView):
    """Pooling weight of every day, the three largest in a second colour. A click selects the day."""

    label = "Pooling weight by day"
    follows_explanations = ("faithfulness", "sample_faithfulness")
    follows = ("query", "shown_queries")
    height = 120

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.reading.capture.pooling is not None

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        reading = session.reading
        assert reading.capture.pooling is not None
        weights = reading.capture.pooling[0]
        length = len(weights)
        chart = pooling(weights, reading.days(length), dated=reading.dates_of(length) is not None)
        return replace(chart, doubt=faithfulness_doubt(session, "pooling", "day"))
