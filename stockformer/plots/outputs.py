"""Matplotlib figures of predictions, calibration and groups of windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stockformer.charts.chart import HIGHLIGHT, STREAM_COLORS
from stockformer.charts.draw import draw
from stockformer.charts.figures import checked, closing_on_error, finish
from stockformer.charts.prediction import prediction
from stockformer.explainability.groups.comparison import GroupComparison
from stockformer.outputs import OutputDistribution
from stockformer.target_column import TargetColumn
from stockformer.uncertainty.calibration import Calibration


@closing_on_error
def plot_group_differences(comparison: GroupComparison, *, save_path: str | Path | None = None) -> Figure:
    """The difference between two groups of windows in every measure, with its interval, in standard deviations.

    Measures that differ by more than chance are highlighted.
    """
    table = comparison.table.iloc[::-1]
    difference, low, high = (table[name] / table["std"] for name in ("difference", "low", "high"))
    _, axes = plt.subplots(figsize=(7, 1.2 + 0.25 * len(table)), layout="constrained")
    axes.axvline(0, color="gray", linewidth=1)
    for place, (measure, differs) in enumerate(zip(table["measure"], comparison.differs[::-1], strict=True)):
        color = HIGHLIGHT if differs else STREAM_COLORS[0]
        axes.plot([low.iloc[place], high.iloc[place]], [measure, measure], color=color)
        axes.plot(difference.iloc[place], measure, "o", color=color)
    axes.set(title=f"{' - '.join(comparison.names)}, in standard deviations of all windows")
    return finish(axes, save_path)


@closing_on_error
def plot_prediction(
    distribution: OutputDistribution,
    class_names: Sequence[str] | None = None,
    *,
    sample: int = 0,
    target: TargetColumn | None = None,
    title: str | None = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Class probabilities of one sample with CORAL's P(class > k), or its value; and the truth if it is known."""
    chosen = slice(checked("sample", sample, len(distribution.outputs)), sample + 1)
    probabilities, above, labels = (
        None if column is None else column[chosen]
        for column in (distribution.probabilities, distribution.above, distribution.labels)
    )
    outputs = OutputDistribution(distribution.outputs[chosen], probabilities, above, labels, distribution.assumption)
    chart = prediction(outputs, class_names, target=target)
    title = chart.title if title is None else title
    if outputs.labels is not None and outputs.assumption:
        title += f"\ntruth {outputs.assumption}"
    return draw(chart, title=title, ax=ax, save_path=save_path)


@closing_on_error
def plot_output_distribution(
    distribution: OutputDistribution, *, title: str = "Outputs", save_path: str | Path | None = None
) -> Figure:
    """Predicted classes and confidence, or the values of a regression."""
    if distribution.probabilities is None:
        figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
        axes.hist(distribution.outputs.numpy(), bins=50, color=STREAM_COLORS[0])
        axes.axvline(0, color="gray", linestyle="--")
        axes.set(title=f"{title}, {len(distribution.outputs)} samples", xlabel="predicted value", ylabel="samples")
        return finish(axes, save_path)
    classes = distribution.probabilities.size(1)
    figure, (counts, confidence) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    counts.bar(
        range(classes),
        distribution.predicted_counts.numpy(),
        width=0.4,
        align="edge",
        color=STREAM_COLORS[0],
        label="predicted",
    )
    if distribution.labels is not None:
        true_counts = np.bincount(distribution.labels.numpy(), minlength=classes)
        counts.bar(range(classes), true_counts, width=-0.4, align="edge", color=STREAM_COLORS[1], label="true")
    counts.set(xlabel="class", ylabel="samples", xticks=range(classes))
    counts.margins(y=0.2)  # room for the legend
    counts.legend(fontsize="small", ncols=2, loc="upper left")
    confidence.hist(distribution.confidence.numpy(), bins=40, color=STREAM_COLORS[0])
    confidence.axvline(1 / classes, color="gray", linestyle="--", label="uniform")
    confidence.set(xlabel="confidence (largest class probability)", ylabel="samples")
    confidence.legend(fontsize="small")
    figure.suptitle(f"{title}, {len(distribution.outputs)} samples")
    return finish(figure, save_path)


@closing_on_error
def plot_calibration(
    calibration: Calibration, *, title: str = "Calibration", ax: Axes | None = None, save_path: str | Path | None = None
) -> Figure:
    """Reliability curve with the number of samples in each bin."""
    axes = ax or plt.subplots(figsize=(5, 4.4), layout="constrained")[1]
    bins = calibration.bins
    axes.plot([0, 1], [0, 1], "--", color="gray", label="calibrated")
    axes.plot(bins["confidence"], bins["accuracy"], "o-", color=STREAM_COLORS[0], label="model")
    for row in bins.itertuples():
        axes.annotate(
            str(row.count), (row.confidence, row.accuracy), xytext=(4, -10), textcoords="offset points", fontsize=7
        )
    low, high = calibration.ece_interval
    corrected = f"corrected for chance {calibration.ece_corrected:.3f} (95 %: {low:.3f} to {high:.3f})"
    if np.isnan(low):
        corrected = "too few days for an interval"
    seen = bins[["confidence", "accuracy"]]
    span = max(0.0, seen.min().min() - 0.05), min(1.0, seen.max().max() + 0.05)
    axes.set(
        title=f"{title}: expected error {calibration.ece:.3f}\n{corrected}",
        xlabel="confidence in the predicted class",
        ylabel="share that is right",
        xlim=span,
        ylim=span,
    )
    axes.title.set_fontsize("medium")
    axes.legend(fontsize="small")
    return finish(axes, save_path)
