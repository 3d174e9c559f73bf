"""What a model attends to, what its output depends on, and how confident it is."""

from importlib import import_module
from typing import Any

from stockformer.explainability.attention.ablation import (
    attention_effects,
    head_importance,
)
from stockformer.explainability.attention.activations import (
    record_activations,
    stream_paths,
)
from stockformer.explainability.attention.capture import (
    AttentionExtractor,
    Capture,
    capture_attention,
    kind_title,
    make_extractor,
)
from stockformer.explainability.attention.flow import (
    LAYER_MAPS,
    Inflow,
    gated_map,
    gradient_map,
    has_inflow,
    joint_rollout,
    market_entry,
    mean_attention,
    mean_norm_map,
    norm_map,
    relevance,
    rollout,
)
from stockformer.explainability.attention.patching import (
    Patching,
    activation_patching,
    patching_steps,
)
from stockformer.explainability.attention.statistics import (
    MAP_STATISTICS,
    gate_statistics,
    head_statistics,
    map_statistics,
)
from stockformer.explainability.attention.trace import (
    AttentionTrace,
    Trace,
    trace_attention,
)
from stockformer.explainability.attention.weights import (
    AttentionOutput,
    attention_weights,
    mix_values,
)
from stockformer.explainability.attention.what_if import (
    WhatIf,
    change_inputs,
    changed_model,
    donor_activations,
)
from stockformer.explainability.attribution.attribute import (
    GROUPS,
    Attribution,
    attribute,
    attribution_runs,
    attribution_steps,
    can_attribute,
)
from stockformer.explainability.attribution.methods import METHODS
from stockformer.explainability.attribution.saliency import (
    compute_input_saliency,
    saliency_frame,
)
from stockformer.explainability.donors import draw_donors, other_windows
from stockformer.explainability.faithfulness.blocks import calendar_blocks
from stockformer.explainability.faithfulness.curves import faithfulness_steps, measure_faithfulness
from stockformer.explainability.faithfulness.randomisation import (
    negative_control,
    randomisation_check,
    randomisation_steps,
)
from stockformer.explainability.faithfulness.rankings import (
    CELL_RANKINGS,
    DAY_RANKINGS,
    REFERENCES,
)
from stockformer.explainability.faithfulness.result import (
    BETTER,
    NO_BETTER,
    UNMEASURED,
    Faithfulness,
    faithfulness_verdict,
)
from stockformer.explainability.faithfulness.windows import spread_indices, spread_windows, training_windows
from stockformer.explainability.groups.comparison import (
    GroupComparison,
    compare_groups,
    window_groups,
)
from stockformer.explainability.measures import (
    MEASURES,
    measure_windows,
)
from stockformer.explainability.sentences.attention import (
    summarize_gate,
    summarize_map,
    summarize_pooling,
    summarize_row,
)
from stockformer.explainability.sentences.flow import (
    summarize_days,
    summarize_effects,
    summarize_entry,
    summarize_faithfulness,
    summarize_flow_map,
    summarize_head_importance,
    summarize_patching,
)
from stockformer.explainability.sentences.heads_and_layers import summarize_head_grid, summarize_heads, summarize_layers
from stockformer.explainability.sentences.inputs import (
    summarize_prices,
    summarize_saliency,
)
from stockformer.explainability.sentences.outputs import (
    summarize_change,
    summarize_outputs,
)
from stockformer.explainability.sentences.summary import (
    Finding,
    Summary,
)
from stockformer.forward import (
    evaluating,
    in_eval_mode,
)
from stockformer.outputs import (
    OutputDistribution,
    analyze_output_distribution,
    class_names,
    class_probabilities,
    describe_outputs,
    output_batches,
)
from stockformer.targets import (
    Target,
    choose_target,
)
from stockformer.uncertainty.calibration import Calibration, calibrate

__all__ = [
    "BETTER",
    "CELL_RANKINGS",
    "DAY_RANKINGS",
    "GROUPS",
    "LAYER_MAPS",
    "MAP_STATISTICS",
    "MEASURES",
    "METHODS",
    "NO_BETTER",
    "REFERENCES",
    "UNMEASURED",
    "AttentionExtractor",
    "AttentionOutput",
    "AttentionTrace",
    "Attribution",
    "Calibration",
    "Capture",
    "Faithfulness",
    "Finding",
    "GroupComparison",
    "Inflow",
    "OutputDistribution",
    "Patching",
    "Summary",
    "Target",
    "Trace",
    "WhatIf",
    "activation_patching",
    "analyze_output_distribution",
    "attention_effects",
    "attention_weights",
    "attribute",
    "attribution_runs",
    "attribution_steps",
    "calendar_blocks",
    "calibrate",
    "can_attribute",
    "capture_attention",
    "change_inputs",
    "changed_model",
    "choose_target",
    "class_names",
    "class_probabilities",
    "compare_groups",
    "compute_input_saliency",
    "describe_outputs",
    "donor_activations",
    "draw_donors",
    "evaluating",
    "faithfulness_steps",
    "faithfulness_verdict",
    "gate_statistics",
    "gated_map",
    "generate_report",
    "gradient_map",
    "has_inflow",
    "head_importance",
    "head_statistics",
    "in_eval_mode",
    "joint_rollout",
    "kind_title",
    "make_extractor",
    "map_statistics",
    "market_entry",
    "mean_attention",
    "mean_norm_map",
    "measure_faithfulness",
    "measure_windows",
    "mix_values",
    "negative_control",
    "norm_map",
    "other_windows",
    "output_batches",
    "patching_steps",
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
    "randomisation_check",
    "randomisation_steps",
    "record_activations",
    "relevance",
    "report_windows",
    "rollout",
    "saliency_frame",
    "spread_indices",
    "spread_windows",
    "stream_paths",
    "summarize_change",
    "summarize_days",
    "summarize_effects",
    "summarize_entry",
    "summarize_faithfulness",
    "summarize_flow_map",
    "summarize_gate",
    "summarize_head_grid",
    "summarize_head_importance",
    "summarize_heads",
    "summarize_layers",
    "summarize_map",
    "summarize_outputs",
    "summarize_patching",
    "summarize_pooling",
    "summarize_prices",
    "summarize_row",
    "summarize_saliency",
    "trace_attention",
    "training_windows",
    "window_groups",
]

#: They load matplotlib: imported when one of their names is first used.
_DRAWING = ("stockformer.plots", "stockformer.reports")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _DRAWING:
            loaded = import_module(module)
            if hasattr(loaded, name):
                return getattr(loaded, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
