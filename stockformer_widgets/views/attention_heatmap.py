"""One attention map, query by key."""

from __future__ import annotations

from torch import Tensor

from stockformer.charts.chart import Chart
from stockformer.charts.maps import attention_map
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.day_maps import DayMapView, map_title, market_note


class AttentionHeatmap(DayMapView):
    """The selected attention map. A click selects query and key; dragging a box zooms in."""

    label = "Attention map"

    @classmethod
    def map_of(cls, session: ExtractorSession, where: Selection) -> Tensor:
        return session.reading.capture.map(where.kind, where.layer, where.head)

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        reading = session.reading
        cells = cls.cells_of(session, where, reading.capture.mask(where.kind, where.layer, where.head))
        subject = "mean map of the heads" if where.head is None else f"map of head {where.head}"
        dated = reading.dates_of(len(cells.columns.names)) is not None
        chart = attention_map(cells, map_title(where), subject=subject, dated=dated)
        return chart.noting(market_note(session, where.kind))
