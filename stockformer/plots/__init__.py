"""Functions that draw the charts in matplotlib."""

from stockformer.plots.attention import (
    plot_attention_all_heads,
    plot_attention_heatmap,
    plot_attention_pooling,
    plot_attention_row,
    plot_cross_attention,
    plot_cross_attention_all_heads,
    plot_gate_activations,
    plot_gate_timeseries,
    plot_head_grid,
    plot_head_specialization,
    plot_layer_evolution,
    plot_self_attention,
)
from stockformer.plots.flow import (
    plot_attention_effects,
    plot_day_scores,
    plot_faithfulness,
    plot_head_importance,
    plot_market_entry,
)
from stockformer.plots.inputs import (
    plot_feature_bars,
    plot_prices,
    plot_saliency_map,
    plot_saliency_summary,
)
from stockformer.plots.outputs import (
    plot_calibration,
    plot_group_differences,
    plot_output_distribution,
    plot_prediction,
)

__all__ = [
    "plot_attention_all_heads",
    "plot_attention_effects",
    "plot_attention_heatmap",
    "plot_attention_pooling",
    "plot_attention_row",
    "plot_calibration",
    "plot_cross_attention",
    "plot_cross_attention_all_heads",
    "plot_day_scores",
    "plot_faithfulness",
    "plot_feature_bars",
    "plot_gate_activations",
    "plot_gate_timeseries",
    "plot_group_differences",
    "plot_head_grid",
    "plot_head_importance",
    "plot_head_specialization",
    "plot_layer_evolution",
    "plot_market_entry",
    "plot_output_distribution",
    "plot_prediction",
    "plot_prices",
    "plot_saliency_map",
    "plot_saliency_summary",
    "plot_self_attention",
]
