"""Linked Jupyter views of what a stock transformer attends to."""

from stockformer_widgets.comparison import SampleComparison
from stockformer_widgets.explorer import AttentionExplorer
from stockformer_widgets.export import ExplorerPage
from stockformer_widgets.group_differences import GroupDifferences
from stockformer_widgets.state.explanations import BASELINES
from stockformer_widgets.state.reading import Reading
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import LANDMARKS, ExtractorSession
from stockformer_widgets.views import (
    AttentionEffects,
    AttentionHeatmap,
    AttentionRow,
    DayScores,
    FaithfulnessCheck,
    FlowHeatmap,
    GateHeatmap,
    GateTimeline,
    HeadGrid,
    HeadImportance,
    HeadSpecialization,
    LayerEvolution,
    MarketEntry,
    PoolingBars,
    Prediction,
    PriceStrip,
    SaliencyBars,
    SaliencyHeatmap,
    View,
)

__all__ = [
    "BASELINES",
    "LANDMARKS",
    "AttentionEffects",
    "AttentionExplorer",
    "AttentionHeatmap",
    "AttentionRow",
    "DayScores",
    "ExplorerPage",
    "ExtractorSession",
    "FaithfulnessCheck",
    "FlowHeatmap",
    "GateHeatmap",
    "GateTimeline",
    "GroupDifferences",
    "HeadGrid",
    "HeadImportance",
    "HeadSpecialization",
    "LayerEvolution",
    "MarketEntry",
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
