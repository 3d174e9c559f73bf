"""What a model attends to, what its output hangs on, and how sure it is."""

from stockformer.explainability.capture import (
    AttentionExtractor,
    Capture,
    attention_weights,
    capture_attention,
    evaluating,
    make_extractor,
)
from stockformer.explainability.outputs import (
    Calibration,
    OutputDistribution,
    analyze_output_distribution,
    calibrate,
    class_probabilities,
    describe_outputs,
)
from stockformer.explainability.plots import (
    plot_attention_all_heads,
    plot_attention_heatmap,
    plot_attention_pooling,
    plot_calibration,
    plot_cross_attention,
    plot_cross_attention_all_heads,
    plot_gate_activations,
    plot_gate_timeseries,
    plot_head_specialization,
    plot_layer_evolution,
    plot_output_distribution,
    plot_saliency_map,
    plot_saliency_summary,
    plot_self_attention,
)
from stockformer.explainability.report import (
    generate_report,
)
from stockformer.explainability.saliency import (
    can_attribute,
    compute_input_saliency,
)
from stockformer.explainability.statistics import (
    MAP_STATISTICS,
    gate_statistics,
    map_statistics,
)

__all__ = [
    "MAP_STATISTICS",
    "AttentionExtractor",
    "Calibration",
    "Capture",
    "OutputDistribution",
    "analyze_output_distribution",
    "attention_weights",
    "calibrate",
    "can_attribute",
    "capture_attention",
    "class_probabilities",
    "compute_input_saliency",
    "describe_outputs",
    "evaluating",
    "gate_statistics",
    "generate_report",
    "make_extractor",
    "map_statistics",
    "plot_attention_all_heads",
    "plot_attention_heatmap",
    "plot_attention_pooling",
    "plot_calibration",
    "plot_cross_attention",
    "plot_cross_attention_all_heads",
    "plot_gate_activations",
    "plot_gate_timeseries",
    "plot_head_specialization",
    "plot_layer_evolution",
    "plot_output_distribution",
    "plot_saliency_map",
    "plot_saliency_summary",
    "plot_self_attention",
]
