"""The chart of a prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from stockformer.charts.chart import (
    NEUTRAL,
    STREAM_COLORS,
    Axis,
    Bars,
    Chart,
    Scale,
    finite_range,
    formatted,
    share_words,
)
from stockformer.explainability.sentences.outputs import summarize_outputs
from stockformer.outputs import OutputDistribution


def prediction(
    outputs: OutputDistribution,
    class_names: Sequence[str] | None = None,
    thresholds: Sequence[str] | None = None,
    *,
    before: OutputDistribution | None = None,
    unit: str = "value",
) -> Chart:
    """Class probabilities of one sample, CORAL's P(class > k) below them, or the value; the truth where it is known.

    Args:
        outputs: of one sample.
        class_names, thresholds: in words; by default numbers.
        before: the outputs before a change, drawn as dots.
        unit: what the value of a regression is.

    Raises:
        ValueError: there are not as many names as classes.
        IndexError: the label is no class.
    """
    values = _values(outputs)
    names, truth = _names(outputs, class_names, thresholds)
    classes = 0 if outputs.probabilities is None else outputs.probabilities.size(1)
    earlier = None if before is None else _values(before)
    form = "%" if classes else ".4g"
    words = formatted(values, form)
    title = f"Prediction: {_verdict(outputs, names, values)}"
    if before is not None and earlier is not None:
        words = [f"{now} (before {then})" for now, then in zip(words, formatted(earlier, form), strict=True)]
        title += f" (before: {_verdict(before, names, earlier)})"
    ends = (0.0, 1.0) if classes else finite_range([values, *([] if earlier is None else [earlier])], 0.0)
    return Chart(
        title=title,
        body=Bars(
            values,
            words,
            [NEUTRAL] * (classes or len(values)) + [STREAM_COLORS[1]] * (len(values) - classes if classes else 0),
            Axis(
                [f"{name} (true)" if place == truth else name for place, name in enumerate(names)], "outcome", "target"
            ),
            Scale(*ends, "probability" if classes else unit, form="%" if classes else ""),
            bars_name="" if earlier is None else "after",
            dots=earlier,
            dots_name="" if earlier is None else "before",
        ),
        make_table=lambda: pd.DataFrame(
            {
                "outcome": names,
                "value": values,
                "before": values if earlier is None else earlier,
                "true": [place == truth for place in range(len(names))],
            }
        ),
        summary=summarize_outputs(outputs, class_names),
    )


def _values(outputs: OutputDistribution) -> np.ndarray:
    """The heights of the bars."""
    if outputs.probabilities is None:
        parts = [outputs.outputs] if outputs.labels is None else [outputs.outputs, outputs.labels]
    else:
        parts = [outputs.probabilities[0]] if outputs.above is None else [outputs.probabilities[0], outputs.above[0]]
    return np.concatenate([part.float().numpy() for part in parts])


def _names(
    outputs: OutputDistribution, class_names: Sequence[str] | None, thresholds: Sequence[str] | None
) -> tuple[list[str], int | None]:
    """What the bars are, and which of them is the true class."""
    if outputs.probabilities is None:
        return ["predicted", "true"][: 1 if outputs.labels is None else 2], None
    classes = outputs.probabilities.size(1)
    names = [f"class {k}" for k in range(classes)] if class_names is None else list(class_names)
    if len(names) != classes:
        raise ValueError(f"there are {len(names)} class names for {classes} classes")
    truth = None if outputs.labels is None else int(outputs.labels[0])
    if truth is not None and not 0 <= truth < classes:
        raise IndexError(f"label is {truth}, expected 0 to {classes - 1}")
    if outputs.above is not None:
        names += thresholds or [f"P(class > {k})" for k in range(classes - 1)]
    return names, truth


def _verdict(outputs: OutputDistribution, names: Sequence[str], values: np.ndarray) -> str:
    """The outcome in a few words: the predicted class, which of a CORAL model need not be the likeliest."""
    best = 0 if outputs.probabilities is None else int(outputs.predictions[0])
    if not np.isfinite(values[best]):
        return "not a number"
    return f"{values[0]:+.4g}" if outputs.probabilities is None else f"{names[best]} {share_words(values[best])}"
