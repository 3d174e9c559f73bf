"""The views. Each draws a session and a selection and knows of no other."""

from stockformer_widgets.views.attention_heatmap import AttentionHeatmap
from stockformer_widgets.views.attention_row import AttentionRow
from stockformer_widgets.views.base import View
from stockformer_widgets.views.gate_timeline import GateTimeline
from stockformer_widgets.views.saliency_bars import SaliencyBars

__all__ = ["AttentionHeatmap", "AttentionRow", "GateTimeline", "SaliencyBars", "View"]
