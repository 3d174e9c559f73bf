"""How attention changes from layer to layer."""

from __future__ import annotations

from stockformer.charts.chart import Chart
from stockformer.charts.heads_and_layers import layer_evolution
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.panels import PanelsView


class LayerEvolution(PanelsView):
    """Diffuseness and sparsity of every kind of attention by layer, mean of the heads. A click selects the layer."""

    label = "Attention by layer"
    attention = "kind"
    content = ("kind",)
    follows = (*content, "layer")
    horizontal = "layer"

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        capture = session.reading.capture
        maps = {kind: [layer[0].float() for layer in layers] for kind, layers in capture.kinds.items()}
        masks = {kind: [capture.layer_mask(kind, layer) for layer in range(len(each))] for kind, each in maps.items()}
        return layer_evolution(maps, masks, where.kind)
