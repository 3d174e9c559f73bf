"""Distance of attention in days, by layer."""

from __future__ import annotations

from stockformer.charts.chart import Chart
from stockformer.charts.heads_and_layers import attention_distance
from stockformer.explainability import kind_title
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.panels import PanelsView


class AttentionDistance(PanelsView):
    """Mean distance in days between a query and what it attends to, by layer. A click selects the layer.

    For every head, for their mean, and for equal attention to all days.
    """

    label = "Attention distance by layer"
    attention = "kind"
    content = ("kind",)
    follows = (*content, "layer")
    horizontal = "layer"

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        kind, capture = where.kind, session.reading.capture
        layers = [maps[0].float() for maps in capture.kinds[kind]]
        masks = [capture.layer_mask(kind, layer) for layer in range(len(layers))]
        return attention_distance(layers, masks, f"{kind_title(kind)}: distance by layer")
