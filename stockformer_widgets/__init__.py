"""Linked Jupyter views of what a stock transformer attends to."""

from stockformer_widgets.explorer import AttentionExplorer
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession, Reading
from stockformer_widgets.views import AttentionHeatmap, AttentionRow, GateTimeline, SaliencyBars, View

__all__ = [
    "AttentionExplorer",
    "AttentionHeatmap",
    "AttentionRow",
    "ExtractorSession",
    "GateTimeline",
    "Reading",
    "SaliencyBars",
    "Selection",
    "View",
]
