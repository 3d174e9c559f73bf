"""Whether the heads of a layer do different things."""

from __future__ import annotations

from stockformer.charts.chart import Chart
from stockformer.charts.heads_and_layers import head_specialization
from stockformer.explainability import kind_title
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.panels import PanelsView


class HeadSpecialization(PanelsView):
    """Diffuseness, peak day, recency, distance and redundancy of every head of the layer. A click selects the head."""

    label = "Attention by head"
    attention = "layer"
    content = ("kind", "layer")
    follows = (*content, "head")
    horizontal = "head"
    without_head = "mean of the heads"

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        kind, layer, capture = where.kind, where.layer, session.reading.capture
        maps = capture.kinds[kind][layer][0].float()
        title = f"{kind_title(kind)}, layer {layer}, by head"
        return head_specialization(maps, capture.layer_mask(kind, layer), session.reading.days(maps.size(-1)), title)
