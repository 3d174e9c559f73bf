"""The weights of one query over all key days."""

from __future__ import annotations

from stockformer.charts.by_day import attention_row
from stockformer.charts.chart import Chart
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.day_maps import market_note
from stockformer_widgets.views.lines import LinesView


class AttentionRow(LinesView):
    """The selected query's row of the map, one step per key day; the selected key is marked.

    A click selects the key. The line below names the strongest keys with their
    weights.
    """

    label = "Attention of the selected day"
    attention = "layer"
    content = ("kind", "layer", "head", "query")
    follows = (*content, "key", "shown_keys")
    horizontal = "key"
    height = 140

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        reading, chosen = session.reading, (where.kind, where.layer, where.head)
        weights, mask = reading.capture.map(*chosen), reading.capture.mask(*chosen)
        query, (queries, keys) = where.place("query", len(weights)), weights.shape
        chart = attention_row(
            weights[query],
            reading.days(keys),
            reading.days(queries)[query],
            None if mask is None else mask[query],
            dated=reading.dates_of(keys) is not None,
        )
        return chart.noting(market_note(session, where.kind))
