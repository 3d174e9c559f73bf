"""Linked Jupyter views of what a stock transformer attends to."""

from stockformer_widgets.comparison import SampleComparison
from stockformer_widgets.explorer import AttentionExplorer
from stockformer_widgets.export import ExplorerPage
from stockformer_widgets.groups import GroupDifferences
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import LANDMARKS, ExtractorSession, Reading
from stockformer_widgets.views import (
    AttentionHeatmap,
    AttentionRow,
    GateHeatmap,
    GateTimeline,
    HeadGrid,
    HeadSpecialization,
    LayerEvolution,
    PoolingBars,
    Prediction,
    PriceStrip,
    SaliencyBars,
    SaliencyHeatmap,
    View,
)

__all__ = [
    "LANDMARKS",
    "AttentionExplorer",
    "AttentionHeatmap",
    "AttentionRow",
    "ExplorerPage",
    "ExtractorSession",
    "GateHeatmap",
    "GateTimeline",
    "GroupDifferences",
    "HeadGrid",
    "HeadSpecialization",
    "LayerEvolution",
    "PoolingBars",
    "Prediction",
    "PriceStrip",
    "Reading",
    "SaliencyBars",
    "SaliencyHeatmap",
    "SampleComparison",
    "Selection",
    "View",
]
