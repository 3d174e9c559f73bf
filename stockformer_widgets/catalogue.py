"""The catalogue of views: their public names, and which are in which tab."""

from collections.abc import Mapping, Sequence

from stockformer_widgets.views.activation_patching import ActivationPatching
from stockformer_widgets.views.attention_distance import AttentionDistance
from stockformer_widgets.views.attention_effects import AttentionEffects
from stockformer_widgets.views.attention_heatmap import AttentionHeatmap
from stockformer_widgets.views.attention_row import AttentionRow
from stockformer_widgets.views.base import View
from stockformer_widgets.views.day_scores import DayScores
from stockformer_widgets.views.faithfulness_check import FaithfulnessCheck
from stockformer_widgets.views.flow_heatmap import FlowHeatmap
from stockformer_widgets.views.gate_heatmap import GateHeatmap
from stockformer_widgets.views.gate_timeline import GateTimeline
from stockformer_widgets.views.head_grid import HeadGrid
from stockformer_widgets.views.head_importance import HeadImportance
from stockformer_widgets.views.head_specialization import HeadSpecialization
from stockformer_widgets.views.layer_evolution import LayerEvolution
from stockformer_widgets.views.market_entry import MarketEntry
from stockformer_widgets.views.pooling_bars import PoolingBars
from stockformer_widgets.views.prediction import Prediction
from stockformer_widgets.views.price_strip import PriceStrip
from stockformer_widgets.views.saliency_bars import SaliencyBars
from stockformer_widgets.views.saliency_heatmap import SaliencyHeatmap

__all__ = [
    "ActivationPatching",
    "AttentionDistance",
    "AttentionEffects",
    "AttentionHeatmap",
    "AttentionRow",
    "DayScores",
    "FaithfulnessCheck",
    "FlowHeatmap",
    "GateHeatmap",
    "GateTimeline",
    "HeadGrid",
    "HeadImportance",
    "HeadSpecialization",
    "LayerEvolution",
    "MarketEntry",
    "PoolingBars",
    "Prediction",
    "PriceStrip",
    "SaliencyBars",
    "SaliencyHeatmap",
    "View",
]

#: Title of a tab -> its views by column.
PAGES: Mapping[str, Sequence[Sequence[type[View]]]] = {
    "Overview": (
        (AttentionHeatmap,),
        (AttentionRow, GateTimeline, PoolingBars),
        (SaliencyBars, Prediction, PriceStrip),
    ),
    "Layers and heads": ((LayerEvolution, AttentionDistance, HeadSpecialization),),
    "Head grid": ((HeadGrid,),),
    "Gates": ((GateHeatmap, MarketEntry),),
    "Features": ((SaliencyHeatmap,),),
    "Flow": ((FlowHeatmap,), (DayScores, HeadImportance)),
    "Patching": ((ActivationPatching,),),
    "Faithfulness": ((FaithfulnessCheck, AttentionEffects),),
}
