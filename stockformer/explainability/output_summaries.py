"""What predictions say, and their change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch

from stockformer.explainability.calibration import calibrate
from stockformer.explainability.outputs import OutputDistribution
from stockformer.explainability.statistics import (
    Statistic,
)
from stockformer.explainability.summary import Numbers, Summary, correlation, percent, summarize

#: A prediction whose probability is over this is called nearly sure.
NEARLY_SURE = 0.95
#: Probabilities whose mean entropy / log K is at least this are called near uniform.
UNDECIDED = 0.95
#: A mean confidence further than this from the accuracy is called over- or underconfident.
CONFIDENCE_GAP = 0.05
#: An accuracy this many standard errors from the base rate is called different from it.
STANDARD_ERRORS = 2.0
_CLASS_STATISTICS = (
    Statistic(
        "mean_confidence",
        lambda shown: shown.confidence.mean(),
        "mean of max_k p_k",
        "Near 1: sure of every sample; near 1 / K: undecided.",
    ),
    Statistic(
        "relative_entropy",
        lambda shown: shown.entropy.mean() / math.log(max(shown.probabilities.size(1), 2)),
        "mean of -sum p log p / log K",
        "Near 1: all classes are about as probable.",
    ),
    Statistic(
        "nearly_sure_share",
        lambda shown: (shown.confidence > NEARLY_SURE).double().mean(),
        f"share of samples with max_k p_k > {NEARLY_SURE}",
        "Near 1: overfit or collapsed, unless it is right as often.",
    ),
)

_TOP_CLASS = Statistic(
    "top_class_share",
    lambda shown: shown.predicted_counts.max() / len(shown.outputs),
    "share of the class that is predicted most",
    "1: it always says the same.",
)

_VIOLATIONS = Statistic(
    "violations_share",
    lambda shown: shown.monotonicity_violations.double().mean(),
    "share of samples where P(class > k) grows with k",
    "Above 0: the cumulative probabilities contradict each other.",
)

_CLASS_SCORES = (
    Statistic(
        "accuracy",
        lambda shown: (shown.predictions == shown.labels).double().mean(),
        "share of samples whose predicted class is true",
        "Compare it with the base rate.",
    ),
    Statistic(
        "base_rate",
        lambda shown: torch.bincount(shown.labels.long()).max() / len(shown.labels),
        "share of the most common true class",
        "The accuracy of always saying that class.",
    ),
    Statistic(
        "calibration_error",
        lambda shown: calibrate(shown.probabilities, shown.labels.long(), resamples=1).ece,
        "mean over samples of |accuracy - confidence| of their bin",
        "0: a stated 80 % is right in 80 % of the cases; chance alone makes it larger.",
    ),
)

_REGRESSION_STATISTICS = (
    Statistic("mean", lambda shown: shown.outputs.double().mean(), "mean of the values", "What it says on average."),
    Statistic(
        "std",
        lambda shown: shown.outputs.double().std(correction=0),
        "standard deviation of the values",
        "Near 0: it says the same for every sample.",
    ),
)

_REGRESSION_SCORES = (
    Statistic(
        "correlation",
        lambda shown: correlation(shown.outputs.numpy(), shown.labels.numpy()),
        "Pearson's r of value and truth",
        "1: they rise and fall together; 0: no relation.",
    ),
    Statistic(
        "rmse",
        lambda shown: shown.errors.double().square().mean().sqrt(),
        "sqrt of mean (value - truth)^2",
        "0: exact.",
    ),
    Statistic(
        "label_std",
        lambda shown: shown.labels.double().std(correction=0),
        "standard deviation of the truth",
        "The rmse of always saying the mean.",
    ),
)


def summarize_outputs(shown: OutputDistribution, class_names: Sequence[str] | None = None) -> Summary:
    """How sure a model is over one or many samples and, with labels, whether that is deserved."""
    many = len(shown.outputs) > 1
    known = many and shown.labels is not None
    verdict: Callable[[Numbers], str]
    if shown.probabilities is None:
        statistics = _REGRESSION_STATISTICS + (_REGRESSION_SCORES if known else ())
        verdict = partial(_regression_verdict, shown)
    else:
        statistics = _CLASS_STATISTICS + ((_TOP_CLASS,) if many else ())
        statistics += () if shown.above is None else (_VIOLATIONS,)
        statistics += _CLASS_SCORES if known else ()
        verdict = partial(_class_verdict, shown) if many else partial(_single_verdict, shown, class_names)
    return summarize(statistics, shown, [shown.outputs], verdict, "outputs")


_CHANGE_STATISTICS = (
    Statistic(
        "total_variation",
        lambda pair: 0.5 * (pair[1].probabilities - pair[0].probabilities).abs().sum(),
        "sum over classes of |p after - p before| / 2",
        "The probability that moved from one class to another: 0 nothing, 1 all of it.",
    ),
    Statistic(
        "probability_change",
        lambda pair: (pair[1].probabilities - pair[0].probabilities)[0, pair[0].predictions[0]],
        "p after - p before, of the class predicted before",
        "Below 0: what was changed had spoken for that class.",
    ),
)

_VALUE_CHANGE = Statistic(
    "value_change",
    lambda pair: (pair[1].outputs - pair[0].outputs)[0],
    "value after - value before",
    "Below 0: what was changed had raised the value.",
)


def summarize_change(
    before: OutputDistribution, after: OutputDistribution, class_names: Sequence[str] | None = None
) -> Summary:
    """What a change did to the output for one sample."""
    if before.probabilities is None:
        statistics: tuple[Statistic, ...] = (_VALUE_CHANGE,)
    else:
        statistics = _CHANGE_STATISTICS
    verdict = partial(_change_verdict, before, after, class_names)
    return summarize(statistics, (before, after), [before.outputs, after.outputs], verdict, "outputs")


def _change_verdict(
    before: OutputDistribution, after: OutputDistribution, class_names: Sequence[str] | None, found: Numbers
) -> str:
    if torch.equal(before.outputs, after.outputs):
        return "The output is exactly what it was."
    if before.probabilities is None or after.probabilities is None:
        return f"The value goes from {float(before.outputs[0]):+.4g} to {float(after.outputs[0]):+.4g}."
    first, now = int(before.predictions[0]), int(after.predictions[0])
    name = _class_name(first, class_names)
    then, later = (f"{100 * float(shares[0, first]):.2f} %" for shares in (before.probabilities, after.probabilities))
    said = f"The probability of {name} goes from {then} to {later}"
    return f"{said}, and the prediction to {_class_name(now, class_names)}." if now != first else f"{said}."


def _class_name(number: int, class_names: Sequence[str] | None) -> str:
    return f"class {number}" if class_names is None else class_names[number]


def _single_verdict(shown: OutputDistribution, class_names: Sequence[str] | None, found: Numbers) -> str:
    sure = "fairly sure"
    if found["nearly_sure_share"]:
        sure = "nearly sure"
    elif found["relative_entropy"] >= UNDECIDED:
        sure = "near uniform"
    truth = ""
    if shown.labels is not None:
        truth = f" The truth is {_class_name(int(shown.labels[0]), class_names)}{_assumption(shown)}."
    order = " The cumulative probabilities are out of order." if found.get("violations_share") else ""
    said = _class_name(int(shown.predictions[0]), class_names)
    said = said[0].upper() + said[1:]
    return f"{said}, confidence {percent(found['mean_confidence'])}: {sure}.{truth}{order}"


def _assumption(shown: OutputDistribution) -> str:
    return f" ({shown.assumption})" if shown.assumption else ""


def _class_verdict(shown: OutputDistribution, found: Numbers) -> str:
    sentences = [_skill(found, len(shown.outputs)) if "accuracy" in found else _sureness(found)]
    if found["top_class_share"] == 1:
        sentences.append(f"It always says class {int(shown.predictions[0])}.")
    if found.get("violations_share"):
        share = percent(found["violations_share"])
        sentences.append(f"The cumulative probabilities are out of order in {share} of the samples.")
    return " ".join(sentences)


def _sureness(found: Numbers) -> str:
    confidence = f"mean confidence {percent(found['mean_confidence'])}"
    if found["relative_entropy"] >= UNDECIDED:
        return f"Near uniform: the model has learned little that tells the classes apart ({confidence})."
    if found["nearly_sure_share"] > 0.5:
        return f"Nearly sure of most samples: overfit or collapsed, unless it is right as often ({confidence})."
    return f"Neither undecided nor nearly sure ({confidence})."


def _skill(found: Numbers, samples: int) -> str:
    accuracy, base, confidence = found["accuracy"], found["base_rate"], found["mean_confidence"]
    deserved = "About as sure as right"
    if abs(confidence - accuracy) > CONFIDENCE_GAP:
        deserved = "Overconfident" if confidence > accuracy else "Underconfident"
    nearly = ", and near uniform" if found["relative_entropy"] >= UNDECIDED else ""
    often = "about as often as"
    if abs(accuracy - base) > STANDARD_ERRORS * math.sqrt(base * (1 - base) / samples):
        often = "more often than" if accuracy > base else "less often than"
    return (
        f"{deserved}{nearly}: confidence {percent(confidence)}, right in {percent(accuracy)}. "
        f"That is {often} always saying the most common class would be ({percent(base)})."
    )


def _regression_verdict(shown: OutputDistribution, found: Numbers) -> str:
    if len(shown.outputs) == 1:
        truth = ""
        if shown.labels is not None:
            truth = f" The true value is {float(shown.labels[0]):.4g}{_assumption(shown)}."
        return f"The value is {found['mean']:.4g}.{truth}"
    spread = f"Values are {found['mean']:.4g} on average, standard deviation {found['std']:.4g}."
    if "rmse" not in found:
        return spread
    better = "below" if found["rmse"] < found["label_std"] else "not below"
    return (
        f"{spread} The error (rmse {found['rmse']:.4g}) is {better} that of always saying the mean "
        f"({found['label_std']:.4g}); the correlation with the truth is {found['correlation']:.2f}."
    )
