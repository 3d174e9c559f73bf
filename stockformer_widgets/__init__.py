"""Linked Jupyter views of what a stock transformer attends to."""

from stockformer_widgets.catalogue import *  # noqa: F403
from stockformer_widgets.catalogue import __all__ as _views
from stockformer_widgets.comparison import SampleComparison
from stockformer_widgets.explorer import AttentionExplorer
from stockformer_widgets.export import ExplorerPage
from stockformer_widgets.history import HistoryView
from stockformer_widgets.state.explanations import BASELINES
from stockformer_widgets.state.reading import Reading
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import LANDMARKS, ExtractorSession
from stockformer_widgets.views.group_differences import GroupDifferences

__all__ = [
    "BASELINES",
    "LANDMARKS",
    "AttentionExplorer",
    "ExplorerPage",
    "ExtractorSession",
    "GroupDifferences",
    "HistoryView",
    "Reading",
    "SampleComparison",
    "Selection",
]
__all__ += _views
