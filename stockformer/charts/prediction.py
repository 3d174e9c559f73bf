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
)
from stockformer.explainability.sentences.outputs import summarize_outputs
from stockformer.outputs import OutputDistribution
from stockformer.target_column import TargetColumn


def prediction(
    outputs: OutputDistribution,
    class_names: Sequence[str] | None = None,
    thresholds: Sequence[str] | None = None,
    *,
    before: OutputDistribution | None = None,
    target: TargetColumn | None = None,
) -> Chart:
    """Class probabilities of one sample, CORAL's P(class > k) below them, or the value; the truth where it is known.

    Bars of a log volatility show the volatility: for its logarithm, which is negative, longer would mean lower.

    Args:
        outputs: of one sample.
        class_names, thresholds: in words; by default numbers.
        before: the outputs before a change, drawn as dots.
        target: what a regression predicts, where that is known.

    Raises:
        ValueError: the number of names is not that of classes.
        IndexError: the label is not a class.
    """
    raw = _values(outputs)
    names, truth = _names(outputs, class_names, thresholds)
    classes = 0 if outputs.probabilities is None else outputs.probabilities.size(1)
    target = None if classes else target
    raw_before = None if before is None else _values(before)
    values, earlier = _drawn(raw, target), None if raw_before is None else _drawn(raw_before, target)
    words = _words(raw, classes, target)
    title = f"Prediction: {_verdict(outputs, names, words)}"
    if before is not None and raw_before is not None:
        then = _words(raw_before, classes, target)
        title += f" (before: {_verdict(before, names, then)})"
        words = [f"{now} (before {earlier})" for now, earlier in zip(words, then, strict=True)]
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
            _scale(ends, classes, target),
            bars_name="" if earlier is None else "after",
            dots=earlier,
            dots_name="" if earlier is None else "before",
        ),
        make_table=lambda: pd.DataFrame(
            {
                "outcome": names,
                "value": raw,
                "before": raw if raw_before is None else raw_before,
                "true": [place == truth for place in range(len(names))],
            }
        ),
        summary=summarize_outputs(outputs, class_names, target),
    )


def _drawn(values: np.ndarray, target: TargetColumn | None) -> np.ndarray:
    """The lengths of the bars."""
    return values if target is None else target.fraction(values)


def _words(values: np.ndarray, classes: int, target: TargetColumn | None) -> list[str]:
    """The values of the bars in words."""
    return formatted(values, "%" if classes else "+.4g") if target is None else list(map(target.in_percent, values))


def _scale(ends: tuple[float, float], classes: int, target: TargetColumn | None) -> Scale:
    if classes:
        return Scale(*ends, "probability", form="%")
    return Scale(*ends, "value") if target is None else Scale(*ends, target.quantity, form="%")


def _values(outputs: OutputDistribution) -> np.ndarray:
    """What the model put out, and its truth where that is known."""
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


def _verdict(outputs: OutputDistribution, names: Sequence[str], words: Sequence[str]) -> str:
    """The outcome in a few words: the predicted class, which of a CORAL model need not be the likeliest."""
    best = 0 if outputs.probabilities is None else int(outputs.predictions[0])
    if not np.isfinite(_values(outputs)[best]):
        return "not a number"
    return words[0] if outputs.probabilities is None else f"{names[best]} {words[best]}"
