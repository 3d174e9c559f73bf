"""Sentences on predictions and on their changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from stockformer.explainability.attention.statistics import (
    Statistic,
)
from stockformer.explainability.sentences.summary import Numbers, Summary, correlation, percent, summarize
from stockformer.outputs import OutputDistribution
from stockformer.table import counted
from stockformer.target_column import TargetColumn
from stockformer.uncertainty.dependence import mean_margin

#: A prediction whose probability is over this is called nearly sure.
NEARLY_SURE = 0.95
#: A mean confidence further than this from the accuracy is called over- or underconfident.
CONFIDENCE_GAP = 0.05
#: Over fewer days there is no sentence on whether confidence is deserved: their dependence cannot be measured.
FEWEST_DAYS = 250
_NOT_A_NUMBER = "not a number"
_ENTROPY = "1: all classes are equally probable; 0: one is certain."
_CLASS_STATISTICS = (
    Statistic(
        "mean_confidence",
        lambda outputs: outputs.confidence.mean(),
        "mean of p of the predicted class",
        "1: sure of every sample; 1 / K: all classes are equally probable.",
    ),
    Statistic("mean_normalised_entropy", lambda outputs: _entropy(outputs), "mean of -sum p log p / log K", _ENTROPY),
    Statistic(
        "nearly_sure_share",
        lambda outputs: (outputs.confidence > NEARLY_SURE).double().mean(),
        f"share of samples with p of the predicted class > {NEARLY_SURE}",
        "Near 1: overfit or collapsed, unless it is right as often.",
    ),
)

_ONE_SAMPLE = (
    Statistic(
        "confidence",
        lambda outputs: outputs.confidence[0],
        "p of the predicted class",
        "1 / K: all classes are equally probable.",
    ),
    Statistic("normalised_entropy", lambda outputs: _entropy(outputs), "-sum p log p / log K", _ENTROPY),
)


def _entropy(outputs: OutputDistribution) -> float:
    assert outputs.probabilities is not None
    return float(outputs.entropy.mean()) / math.log(max(outputs.probabilities.size(1), 2))


_TOP_CLASS = Statistic(
    "top_class_share",
    lambda outputs: outputs.predicted_counts.max() / len(outputs.outputs),
    "share of the class that is predicted most",
    "1: it always predicts the same class.",
)

_VIOLATIONS = Statistic(
    "violations_share",
    lambda outputs: outputs.monotonicity_violations.double().mean(),
    "share of samples where P(class > k) grows with k",
    "Above 0: the cumulative probabilities contradict each other.",
)

_CLASS_SCORES = (
    Statistic(
        "accuracy",
        lambda outputs: (outputs.predictions == outputs.labels).double().mean(),
        "share of samples whose predicted class is true",
        "Compare it with the base rate.",
    ),
    Statistic(
        "base_rate",
        lambda outputs: torch.bincount(outputs.labels.long()).max() / len(outputs.labels),
        "share of the most common true class",
        "The accuracy of always predicting that class.",
    ),
    Statistic(
        "calibration_error",
        lambda outputs: outputs.calibration(resamples=1).ece,
        "mean over samples of |accuracy - confidence| of their bin",
        "0: a stated 80 % is right in 80 % of the cases; chance alone makes it larger.",
    ),
)

_ONE_VALUE = (Statistic("value", lambda outputs: outputs.outputs[0], "the value", "The prediction."),)

_REGRESSION_STATISTICS = (
    Statistic("mean", lambda outputs: outputs.outputs.double().mean(), "mean of the values", "The average prediction."),
    Statistic(
        "std",
        lambda outputs: outputs.outputs.double().std(correction=0),
        "standard deviation of the values",
        "Near 0: it predicts the same for every sample.",
    ),
)

_REGRESSION_SCORES = (
    Statistic(
        "correlation",
        lambda outputs: correlation(outputs.outputs.numpy(), outputs.labels.numpy()),
        "Pearson's r of value and truth",
        "1: they rise and fall together; 0: no relation.",
    ),
    Statistic(
        "rmse",
        lambda outputs: outputs.errors.double().square().mean().sqrt(),
        "sqrt of mean (value - truth)^2",
        "0: exact.",
    ),
    Statistic(
        "label_std",
        lambda outputs: outputs.labels.double().std(correction=0),
        "standard deviation of the truth",
        "The rmse of always predicting the mean.",
    ),
)


def summarize_outputs(
    outputs: OutputDistribution, class_names: Sequence[str] | None = None, target: TargetColumn | None = None
) -> Summary:
    """How confident a model is over one or many samples and, with labels, whether that is deserved.

    Args:
        target: what a regression predicts, where that is known.
    """
    many = len(outputs.outputs) > 1
    known = many and outputs.labels is not None
    verdict: Callable[[Numbers], str]
    if outputs.probabilities is None:
        statistics = (_REGRESSION_STATISTICS if many else _ONE_VALUE) + (_REGRESSION_SCORES if known else ())
        verdict = partial(_regression_verdict, outputs, target)
    else:
        statistics = (*_CLASS_STATISTICS, _TOP_CLASS) if many else _ONE_SAMPLE
        statistics += () if outputs.above is None else (_VIOLATIONS,)
        statistics += _CLASS_SCORES if known else ()
        verdict = partial(_class_verdict if many else _single_verdict, outputs, class_names)
    return summarize(statistics, (outputs,), [outputs.outputs], verdict, "outputs")


_CHANGE_STATISTICS = (
    Statistic(
        "total_variation",
        lambda pair: 0.5 * (pair[1].probabilities - pair[0].probabilities).abs().sum(),
        "sum over classes of |p after - p before| / 2",
        "The probability that moved from one class to another: 0 is none, 1 is all of it.",
    ),
    Statistic(
        "probability_change",
        lambda pair: (pair[1].probabilities - pair[0].probabilities)[0, pair[0].predictions[0]],
        "p after - p before, of the class predicted before",
        "Below 0: what was changed had supported that class.",
    ),
)

_VALUE_CHANGE = Statistic(
    "value_change",
    lambda pair: (pair[1].outputs - pair[0].outputs)[0],
    "value after - value before",
    "Below 0: what was changed had raised the value.",
)


def summarize_change(
    before: OutputDistribution,
    after: OutputDistribution,
    class_names: Sequence[str] | None = None,
    target: TargetColumn | None = None,
) -> Summary:
    """The effect of a change on the output for one sample.

    Args:
        target: what a regression predicts, where that is known.
    """
    if before.probabilities is None:
        statistics: tuple[Statistic, ...] = (_VALUE_CHANGE,)
    else:
        statistics = _CHANGE_STATISTICS
    verdict = partial(_change_verdict, before, after, class_names, target)
    return summarize(statistics, ((before, after),), [before.outputs, after.outputs], verdict, "outputs")


def prediction_in_words(
    outputs: OutputDistribution,
    class_names: Sequence[str] | None = None,
    target: TargetColumn | None = None,
    before: OutputDistribution | None = None,
) -> str:
    """The prediction for one sample in a few words: "UP 55.0 %", or "69.2 % a year" where the unit is known.

    Args:
        target: what a regression predicts.
        before: the outputs before a change: "UP 55.0 % \N{RIGHTWARDS ARROW} 54.6 %".
    """
    now = _in_words(outputs, class_names, target)
    if before is None:
        return now
    then = _in_words(before, class_names, target)
    if outputs.probabilities is not None and int(outputs.predictions[0]) == int(before.predictions[0]):
        now = now.removeprefix(_predicted_name(outputs, class_names)).strip()
    return f"{then} \N{RIGHTWARDS ARROW} {now}"


def truth_in_words(
    outputs: OutputDistribution, class_names: Sequence[str] | None = None, target: TargetColumn | None = None
) -> str:
    """What came of one prediction in a few words: "came true", "actually DOWN", "actually 77.2 % a year"; or ""."""
    if outputs.labels is None:
        return ""
    if outputs.probabilities is None:
        return f"actually {_value_in_words(float(outputs.labels[0]), target)}"
    truth = int(outputs.labels[0])
    return "came true" if truth == int(outputs.predictions[0]) else f"actually {_class_name(truth, class_names)}"


def _in_words(outputs: OutputDistribution, class_names: Sequence[str] | None, target: TargetColumn | None) -> str:
    if outputs.probabilities is None:
        return _value_in_words(float(outputs.outputs[0]), target)
    if not math.isfinite(float(outputs.confidence[0])):
        return _NOT_A_NUMBER
    return f"{_predicted_name(outputs, class_names)} {100 * float(outputs.confidence[0]):.1f} %"


def _predicted_name(outputs: OutputDistribution, class_names: Sequence[str] | None) -> str:
    return _class_name(int(outputs.predictions[0]), class_names)


def _value_in_words(value: float, target: TargetColumn | None) -> str:
    if not math.isfinite(value):
        return _NOT_A_NUMBER
    return f"{value:+.4g}" if target is None else target.in_percent(value)


def _change_verdict(
    before: OutputDistribution,
    after: OutputDistribution,
    class_names: Sequence[str] | None,
    target: TargetColumn | None,
    numbers: Numbers,
) -> str:
    if torch.equal(before.outputs, after.outputs):
        return "The output is exactly what it was."
    if before.probabilities is None or after.probabilities is None:
        then, later = (_value_in_words(float(one.outputs[0]), target) for one in (before, after))
        return f"The {'value' if target is None else 'prediction'} goes from {then} to {later}."
    first, now = int(before.predictions[0]), int(after.predictions[0])
    name = _class_name(first, class_names)
    then, later = (f"{100 * float(shares[0, first]):.2f} %" for shares in (before.probabilities, after.probabilities))
    change = f"The probability of {name} goes from {then} to {later}"
    return f"{change}, and the prediction to {_class_name(now, class_names)}." if now != first else f"{change}."


def _class_name(number: int, class_names: Sequence[str] | None) -> str:
    return f"class {number}" if class_names is None else class_names[number]


def _single_verdict(outputs: OutputDistribution, class_names: Sequence[str] | None, numbers: Numbers) -> str:
    assert outputs.probabilities is not None
    shares, predicted = outputs.probabilities[0], int(outputs.predictions[0])
    name = _class_name(predicted, class_names)
    sure = "nearly sure, " if numbers["confidence"] > NEARLY_SURE else ""
    even = f"even over {len(shares)} classes: {percent(1 / len(shares))}"
    sentences = [f"{name[:1].upper()}{name[1:]}: {sure}probability {percent(numbers['confidence'])} ({even})."]
    likeliest = int(shares.argmax())
    if shares[likeliest] > shares[predicted]:
        more = f"{_class_name(likeliest, class_names)}, {percent(float(shares[likeliest]))}"
        sentences.append(f"It is the class that the thresholds name; the most probable one is {more}.")
    if outputs.labels is not None:
        sentences.append(f"The truth is {_class_name(int(outputs.labels[0]), class_names)}{_assumption(outputs)}.")
    if numbers.get("violations_share"):
        sentences.append("The cumulative probabilities are out of order; those of the classes come from sorting them.")
    return " ".join(sentences)


def _assumption(outputs: OutputDistribution) -> str:
    return f" ({outputs.assumption})" if outputs.assumption else ""


def _class_verdict(outputs: OutputDistribution, class_names: Sequence[str] | None, numbers: Numbers) -> str:
    assert outputs.probabilities is not None
    sentences = [_skill(outputs, numbers)] if "accuracy" in numbers else []
    if not sentences:
        even = percent(1 / outputs.probabilities.size(1))
        sure = percent(numbers["nearly_sure_share"])
        confidence = percent(numbers["mean_confidence"])
        sentences.append(
            f"Mean confidence {confidence} (even: {even}); over {percent(NEARLY_SURE)} in {sure} of the samples."
        )
    if numbers["top_class_share"] == 1:
        sentences.append(f"It always predicts {_class_name(int(outputs.predictions[0]), class_names)}.")
    if numbers.get("violations_share"):
        share = percent(numbers["violations_share"])
        sentences.append(f"The cumulative probabilities are out of order in {share} of the samples.")
    return " ".join(sentences)


def _skill(outputs: OutputDistribution, numbers: Numbers) -> str:
    accuracy, base, confidence = numbers["accuracy"], numbers["base_rate"], numbers["mean_confidence"]
    gap, samples = confidence - accuracy, len(outputs.outputs)
    scores = f"onfidence {percent(confidence)}, right in {percent(accuracy)} of {samples} samples"
    days = None if outputs.dates is None else outputs.dates.nunique()
    margin = confidence_margin(outputs)
    if math.isnan(margin):
        few = "whose days are not known" if days is None else f"of {counted(days, 'day')}"
        deserved = f"C{scores} {few}: too little to tell the two apart."
    elif abs(gap) <= CONFIDENCE_GAP:
        deserved = f"About as confident as accurate: c{scores}."
    elif abs(gap) <= margin:
        deserved = f"C{scores}: the difference could be chance."
    else:
        deserved = f"{'Overconfident' if gap > 0 else 'Underconfident'}: c{scores}."
    return f"{deserved} Always predicting the most common class is right in {percent(base)}."


def confidence_margin(outputs: OutputDistribution) -> float:
    """How far mean confidence and accuracy of a calibrated model can be apart by chance, in 95 of 100 data sets.

    Half of the 95 % interval of a mean over samples that depend on those of the same day and of nearby days, see
    `mean_margin`; at least that of as many independent days (Agresti and Coull 1998). NaN if the days are not known
    or fewer than `FEWEST_DAYS`. docs/statistics.md has the simulated levels.
    """
    assert outputs.labels is not None
    if outputs.dates is None or outputs.dates.nunique() < FEWEST_DAYS:
        return math.nan
    day = np.unique(outputs.dates, return_inverse=True)[1]
    right = (outputs.predictions == outputs.labels).double().numpy()
    number = day.max() + 1 + 4
    centre = (right.mean() * (number - 4) + 2) / number
    margin = mean_margin(outputs.confidence.double().numpy() - right, day)
    return float(np.maximum(margin, 1.96 * math.sqrt(centre * (1 - centre) / number)))


def _sentence_of(outputs: OutputDistribution, target: TargetColumn) -> str:
    predicted = _value_in_words(float(outputs.outputs[0]), target)
    predicted = f"{target.title[:1].upper()}{target.title[1:]}: predicted {predicted}"
    return f"{predicted}, {truth_in_words(outputs, target=target)}".removesuffix(", ")


def _regression_verdict(outputs: OutputDistribution, target: TargetColumn | None, numbers: Numbers) -> str:
    if len(outputs.outputs) == 1 and target is not None:
        return f"{_sentence_of(outputs, target)}{_assumption(outputs)}."
    if len(outputs.outputs) == 1:
        truth = ""
        if outputs.labels is not None:
            truth = f" The true value is {float(outputs.labels[0]):.4g}{_assumption(outputs)}."
        return f"The value is {numbers['value']:.4g}.{truth}"
    spread = f"Values are {numbers['mean']:.4g} on average, standard deviation {numbers['std']:.4g}."
    if "rmse" not in numbers:
        return spread
    alike = numbers["correlation"]
    related = "" if math.isnan(alike) else f"; the correlation with the truth is {alike:.2f}"
    better = "below" if numbers["rmse"] < numbers["label_std"] else "not below"
    return (
        f"{spread} The error (rmse {numbers['rmse']:.4g}) is {better} that of always predicting the mean of the truth "
        f"({numbers['label_std']:.4g}){related}."
    )
