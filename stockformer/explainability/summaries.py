"""What the numbers of one picture mean: a sentence, and the numbers with how to read them.

Every function takes the tensors that the picture shows and returns a `Summary`.
Where a value is NaN or infinite there are no numbers, and the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.outputs import OutputDistribution, calibrate
from stockformer.explainability.statistics import (
    GATE_STATISTICS,
    MAP_STATISTICS,
    Statistic,
    diffuseness,
    effective_number,
    peak,
    recency,
    recent_days,
    redundancy,
    sparsity,
    top_share,
)

#: Attention whose diffuseness is at least this is called nearly uniform.
NEARLY_UNIFORM = 0.95
#: A map has a diagonal, stripes, or only the past where the share is at least this.
DIAGONAL, STRIPES, CAUSAL = 0.5, 0.5, 0.95
#: A map looks at near days where its distance is at most this part of a uniform map's.
NEAR = 0.25
#: A gate whose mean is under the first or over the second is called closed or open.
CLOSED_GATE, OPEN_GATE = 0.25, 0.75
#: A gate whose daily mean has less than this standard deviation hardly changes from day to day.
CONSTANT_GATE = 0.02
#: Layers or heads whose diffuseness differs by less than this are called alike.
ALIKE = 0.05
#: Heads that repeat their nearest fellow this much on average are called redundant.
REDUNDANT = 0.95
#: An input with at least this share of the attribution is called the main one.
MAIN_INPUT = 2 / 3
#: A prediction whose probability is over this is called nearly sure.
NEARLY_SURE = 0.95
#: Probabilities whose mean entropy / log K is at least this are called near uniform.
UNDECIDED = 0.95
#: A mean confidence further than this from the accuracy is called over- or underconfident.
CONFIDENCE_GAP = 0.05
#: An accuracy this many standard errors from the base rate is called different from it.
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Finding:
    """One number, its formula as text, and one sentence on how to read it."""

    name: str
    value: float
    formula: str
    reading: str


@dataclass(frozen=True)
class Summary:
    """What a picture says.

    Attributes:
        verdict: what the numbers mean here, in a sentence or two.
        findings: the numbers.
    """

    verdict: str
    findings: tuple[Finding, ...]

    def to_frame(self) -> pd.DataFrame:
        """One row a finding: ``name, value, formula, reading``."""
        return pd.DataFrame(self.findings, columns=["name", "value", "formula", "reading"])


_OFF = "All weights are 0: this attention is switched off."
_ONE_DAY = "One day: there is no other to attend to."

#: The values of the findings by name.
Numbers = dict[str, float]


def summarize_map(weights: Tensor) -> Summary:
    """The shape of an attention map [query, key], compared with a uniform one."""
    weights = _plain(weights)
    if not weights.any():
        return _without_numbers(MAP_STATISTICS, _OFF)
    if weights.size(-1) == 1:
        return _summary(MAP_STATISTICS, weights, [weights], lambda found: _ONE_DAY)
    uniform = _values(MAP_STATISTICS, torch.full_like(weights, 1 / weights.size(-1)))
    return _summary(MAP_STATISTICS, weights, [weights], lambda found: _map_verdict(found, uniform))


def _map_verdict(found: Numbers, uniform: Numbers) -> str:
    if found["diffuseness"] >= NEARLY_UNIFORM:
        return f"Nearly uniform (diffuseness {found['diffuseness']:.2f} of 1): read no shapes into it."
    late = f"The last quarter of the days gets {_against(found, uniform, 'recency')}."
    shapes = _shapes(found, uniform)
    if shapes:
        return f"{'; '.join(shapes).capitalize()}. {late}"
    return (
        f"Mixed, no single shape: a day looks {found['distance']:.0f} days away on average "
        f"(uniform: {uniform['distance']:.0f}). {late}"
    )


def _shapes(found: Numbers, uniform: Numbers) -> list[str]:
    diagonal = found["diagonal_share"] >= DIAGONAL
    near = found["distance"] <= NEAR * uniform["distance"]
    shapes = []
    if diagonal:
        shapes.append(f"diagonal: {_against(found, uniform, 'diagonal_share')} is on the same day")
    elif near:
        shapes.append(f"a band around the diagonal: days look {found['distance']:.1f} days away on average")
    if found["stripe_share"] >= STRIPES:
        shapes.append(f"vertical stripes: all days share {_percent(found['stripe_share'])} of their attention")
    if found["past_share"] >= CAUSAL and not diagonal:
        shapes.append(f"causal: {_against(found, uniform, 'past_share')} is on the same and earlier days")
    return shapes


_ROW_STATISTICS = (
    Statistic("effective_days", effective_number, "exp(-sum w log w)", "On how many days it is spread, as if evenly."),
    Statistic("diffuseness", lambda row: diffuseness(row[None]), "entropy / log n", "Near 1: no day stands out."),
    Statistic(
        "recency",
        lambda row: recency(row[None]),
        "attention on the last quarter",
        "Above 0.25: recent days get more than their share.",
    ),
    Statistic(
        "top_three_share", lambda row: top_share(row, 3), "sum of the three largest w", "Near 3 / n: no day stands out."
    ),
)


def summarize_row(row: Tensor) -> Summary:
    """On how many and on which days one query's attention [key] lies."""
    row = _plain(row)
    if not row.any():
        return _without_numbers(_ROW_STATISTICS, _OFF)
    return _summary(_ROW_STATISTICS, row, [row], lambda found: _row_verdict(found, len(row)))


def _row_verdict(found: Numbers, days: int) -> str:
    if days == 1:
        return _ONE_DAY
    if found["diffuseness"] >= NEARLY_UNIFORM:
        return f"Nearly uniform over {days} days (diffuseness {found['diffuseness']:.2f} of 1): no day stands out."
    return f"On about {found['effective_days']:.0f} of {days} days: {_strongest(found, days)}"


_POOLING_STATISTICS = (
    *_ROW_STATISTICS[1:3],
    Statistic(
        "days_from_peak",
        lambda weights: len(weights) - 1 - weights.argmax(),
        "last day - day of the largest w",
        "0: the last day counts most; high: an early day does.",
    ),
    _ROW_STATISTICS[3],
)


def summarize_pooling(weights: Tensor) -> Summary:
    """Which days count in the pooled vector, from the pooling weights [T]."""
    weights = _plain(weights)
    return _summary(_POOLING_STATISTICS, weights, [weights], lambda found: _pooling_verdict(found, len(weights)))


def _pooling_verdict(found: Numbers, days: int) -> str:
    if days == 1:
        return _ONE_DAY
    if found["diffuseness"] >= NEARLY_UNIFORM:
        diffuse = f"Nearly uniform (diffuseness {found['diffuseness']:.2f} of 1)"
        return f"{diffuse}: no day stands out, pooling is close to the plain mean of the days."
    behind = found["days_from_peak"]
    which = "A late day counts most" if behind < recent_days(days) else "Long range, an early day counts most"
    when = "the last" if behind == 0 else f"{behind:.0f} before the last"
    return f"{which} ({when}): {_strongest(found, days)}"


def _strongest(found: Numbers, days: int) -> str:
    top, late = min(3, days) / days, recent_days(days) / days
    return (
        f"the three strongest hold {_percent(found['top_three_share'])}, the last quarter "
        f"{_percent(found['recency'])} (uniform: {_percent(top)} and {_percent(late)})."
    )


def summarize_gate(gate: Tensor) -> Summary:
    """How far a layer's gate [T, d] lets the market in."""
    gate = _plain(gate)
    return _summary(GATE_STATISTICS, gate, [gate], _gate_verdict, "gate values")


def _gate_verdict(found: Numbers) -> str:
    mean, days = found["mean"], found["day_std"]
    if mean < CLOSED_GATE:
        state = "Mostly closed: the stock's own signal dominates"
    elif mean > OPEN_GATE:
        state = "Mostly open: the market's context dominates"
    else:
        state = "Partly open: stock and market both count"
    answer = "hardly changes from day to day" if days < CONSTANT_GATE else "changes from day to day"
    return f"{state} (mean {mean:.2f}). Its mean {answer} (standard deviation {days:.3f})."


_LAYERS_STATISTICS = (
    Statistic(
        "first_diffuseness",
        lambda by_layer: by_layer[0][0],
        "mean over heads of entropy / log n, first layer",
        "Near 1: unfocused.",
    ),
    Statistic(
        "last_diffuseness",
        lambda by_layer: by_layer[-1][0],
        "mean over heads of entropy / log n, last layer",
        "Near 1: no layer has learned to tell the days apart.",
    ),
    Statistic(
        "diffuseness_change",
        lambda by_layer: by_layer[-1][0] - by_layer[0][0],
        "last - first",
        "Below 0: the layers sharpen the attention.",
    ),
    Statistic(
        "sparsity_change",
        lambda by_layer: by_layer[-1][1] - by_layer[0][1],
        "mean Hoyer sparsity, last - first",
        "Above 0: deeper layers attend to fewer days.",
    ),
)


def summarize_layers(layers: Sequence[Tensor]) -> Summary:
    """How attention changes with depth: one [heads, query, key] a layer, means of the heads."""
    layers = [_plain(layer) for layer in layers]
    by_layer = [(diffuseness(layer).mean(), sparsity(layer).mean()) for layer in layers]
    return _summary(_LAYERS_STATISTICS, by_layer, layers, lambda found: _layers_verdict(found, len(layers)))


def _layers_verdict(found: Numbers, layers: int) -> str:
    first, last = found["first_diffuseness"], found["last_diffuseness"]
    if layers == 1:
        return f"One layer, diffuseness {last:.2f} of 1: there is no depth to compare."
    course = f"the heads' mean diffuseness goes from {first:.2f} to {last:.2f}"
    if abs(last - first) < ALIKE:
        flat = "Flat and high: the layers have not learned to tell the days apart" if last >= NEARLY_UNIFORM else "Flat"
        return f"{flat}; {course}."
    return f"{'Sharpens' if last < first else 'Spreads out'} with depth: {course}."


_HEADS_STATISTICS = (
    Statistic(
        "lowest_diffuseness",
        lambda maps: diffuseness(maps).min(),
        "smallest entropy / log n of a head",
        "Of the most focused head. Near 1: none is focused.",
    ),
    Statistic(
        "diffuseness_range",
        lambda maps: diffuseness(maps).max() - diffuseness(maps).min(),
        "largest - smallest entropy / log n",
        "High: some heads are focused, others diffuse.",
    ),
    Statistic(
        "distinct_peaks",
        lambda maps: len(set(peak(maps).tolist())),
        "number of different days with a head's largest mean weight",
        "1: all heads look at the same day most.",
    ),
    Statistic(
        "mean_redundancy",
        lambda maps: redundancy(maps).mean(),
        "mean of 1 - min JSD / log 2",
        "1: every head has an equal; 0: no two share a day.",
    ),
)


def summarize_heads(maps: Tensor) -> Summary:
    """Whether the heads of a layer [heads, query, key] do different things."""
    maps = _plain(maps)
    return _summary(_HEADS_STATISTICS, maps, [maps], lambda found: _heads_verdict(found, len(maps)))


def _heads_verdict(found: Numbers, heads: int) -> str:
    if heads == 1:
        return "One head: there is no other to compare it with."
    if found["lowest_diffuseness"] >= NEARLY_UNIFORM:
        return f"All {heads} heads are nearly uniform: they differ in nothing that matters, and their peaks say little."
    repeat = "repeat one another, which wastes capacity" if found["mean_redundancy"] >= REDUNDANT else "differ"
    lowest, spread = found["lowest_diffuseness"], found["diffuseness_range"]
    focus = "all are about as focused" if spread < ALIKE else "some are focused, others diffuse"
    return (
        f"The {heads} heads {repeat} (mean redundancy {found['mean_redundancy']:.2f} of 1). Diffuseness runs from "
        f"{lowest:.2f} to {lowest + spread:.2f}: {focus}. Different peak days: {found['distinct_peaks']:.0f}."
    )


_GRID_STATISTICS = (
    Statistic(
        "lowest_diffuseness",
        lambda heads: heads["diffuseness"].min(),
        "smallest entropy / log n of a head",
        "Of the most focused head. Near 1: none is focused.",
    ),
    Statistic(
        "mean_diffuseness",
        lambda heads: heads["diffuseness"].mean(),
        "mean over heads of entropy / log n",
        "Near 1: the heads hardly tell the days apart.",
    ),
    Statistic(
        "nearly_uniform_share",
        lambda heads: (heads["diffuseness"] >= NEARLY_UNIFORM).mean(),
        f"share of heads with entropy / log n of {NEARLY_UNIFORM} or more",
        "Maps of such heads have no shape to read.",
    ),
    Statistic(
        "mean_redundancy",
        lambda heads: heads["redundancy"].mean(),
        "mean of 1 - min JSD / log 2 within a layer",
        "1: every head has an equal in its layer; 0: no two share a day.",
    ),
)


def summarize_head_grid(heads: pd.DataFrame) -> Summary:
    """What all heads of a kind of attention do, from `stockformer.explainability.head_statistics`."""

    def verdict(found: Numbers) -> str:
        uniform = round(found["nearly_uniform_share"] * len(heads))
        flat = f"{uniform} of {len(heads)} heads {'is' if uniform == 1 else 'are'} nearly uniform"
        focused = heads.sort_values("diffuseness").to_dict("records")[0]
        which = f"layer {focused['layer']}, head {focused['head']}"
        return f"{flat}. The most focused is {which} (diffuseness {found['lowest_diffuseness']:.2f} of 1)."

    return _summary(_GRID_STATISTICS, heads, [torch.tensor(heads["diffuseness"].tolist())], verdict)


_MARKET_SHARE = Statistic(
    "market_share",
    lambda shares: shares[1].sum(),
    "sum |market| / sum |all|",
    "What part of the attribution lies on the market's features.",
)
_SALIENCY_RECENCY = Statistic(
    "recency",
    lambda shares: sum(part[-recent_days(len(part)) :].sum() for part in shares),
    "share of |attribution| on the last quarter of the days",
    "Above 0.25: recent days matter more than their number.",
)
_SALIENCY_STATISTICS = (
    Statistic(
        "effective_features",
        lambda shares: effective_number(_by_feature(shares)),
        "exp(entropy of the features' shares)",
        "Over how many features it is spread, as if evenly.",
    ),
    Statistic(
        "top_five_share",
        lambda shares: top_share(_by_feature(shares), 5),
        "sum of the five largest shares of a feature",
        "Near 1: the output hangs on five features.",
    ),
)


def summarize_saliency(parts: Sequence[Tensor]) -> Summary:
    """What the attribution lies on, from one [T, features] an input; signs are ignored.

    Two inputs are the stock and the market. Of a single day there is no recency.
    """
    parts = [_plain(part).abs() for part in parts]
    total = sum(float(part.sum()) for part in parts)
    shares = [part / total if total else torch.full_like(part, math.nan) for part in parts]
    statistics = list(_SALIENCY_STATISTICS)
    if max(map(len, parts)) > 1:
        statistics.insert(0, _SALIENCY_RECENCY)
    if len(parts) == 2:
        statistics.insert(0, _MARKET_SHARE)
    widths = [part.size(-1) for part in parts]

    def verdict(found: Numbers) -> str:
        return _saliency_verdict(found, widths) if total else "Every attribution is 0: the output hangs on no input."

    return _summary(statistics, shares, parts, verdict, "attributions")


def _by_feature(shares: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.sum(dim=0) for part in shares])


def _saliency_verdict(found: Numbers, widths: Sequence[int]) -> str:
    features = sum(widths)
    recent = f", the last quarter of the days {_percent(found['recency'])}" if "recency" in found else ""
    spread = (
        f"As spread out as over {found['effective_features']:.0f} of {features} features; the five strongest hold "
        f"{_percent(found['top_five_share'])}{recent}."
    )
    market = found.get("market_share")
    if market is None:
        return spread
    main = "on both stock and market"
    if max(market, 1 - market) >= MAIN_INPUT:
        main = f"mainly on the {'market' if market > 0.5 else 'stock'}"
    held = f"the market's {widths[1]} of {features} features hold {_percent(market)}"
    return f"The output hangs {main}: {held}. {spread}"


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
        "0: a stated 80 % is right in 80 % of the cases.",
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
        lambda shown: _correlation(shown.outputs.numpy(), shown.labels.numpy()),
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
    return _summary(statistics, shown, [shown.outputs], verdict, "outputs")


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
    return _summary(statistics, (before, after), [before.outputs, after.outputs], verdict, "outputs")


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
    truth = "" if shown.labels is None else f" The truth is {_class_name(int(shown.labels[0]), class_names)}."
    order = " The cumulative probabilities are out of order." if found.get("violations_share") else ""
    said = _class_name(int(shown.predictions[0]), class_names)
    said = said[0].upper() + said[1:]
    return f"{said}, confidence {_percent(found['mean_confidence'])}: {sure}.{truth}{order}"


def _class_verdict(shown: OutputDistribution, found: Numbers) -> str:
    sentences = [_skill(found, len(shown.outputs)) if "accuracy" in found else _sureness(found)]
    if found["top_class_share"] == 1:
        sentences.append(f"It always says class {int(shown.predictions[0])}.")
    if found.get("violations_share"):
        share = _percent(found["violations_share"])
        sentences.append(f"The cumulative probabilities are out of order in {share} of the samples.")
    return " ".join(sentences)


def _sureness(found: Numbers) -> str:
    confidence = f"mean confidence {_percent(found['mean_confidence'])}"
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
        f"{deserved}{nearly}: confidence {_percent(confidence)}, right in {_percent(accuracy)}. "
        f"That is {often} always saying the most common class would be ({_percent(base)})."
    )


def _regression_verdict(shown: OutputDistribution, found: Numbers) -> str:
    if len(shown.outputs) == 1:
        truth = "" if shown.labels is None else f" The true value is {float(shown.labels[0]):.4g}."
        return f"The value is {found['mean']:.4g}.{truth}"
    spread = f"Values are {found['mean']:.4g} on average, standard deviation {found['std']:.4g}."
    if "rmse" not in found:
        return spread
    better = "below" if found["rmse"] < found["label_std"] else "not below"
    return (
        f"{spread} The error (rmse {found['rmse']:.4g}) is {better} that of always saying the mean "
        f"({found['label_std']:.4g}); the correlation with the truth is {found['correlation']:.2f}."
    )


_PRICE_STATISTICS = (
    Statistic(
        "change_percent",
        lambda prices: 100 * (prices["adjusted_close"].iloc[-1] / prices["adjusted_close"].iloc[0] - 1),
        "100 (last close / first close - 1)",
        "In percent, over all the days.",
    ),
    Statistic(
        "daily_volatility_percent",
        lambda prices: 100 * _daily_returns(prices["adjusted_close"]).std(ddof=0),
        "100 x standard deviation of the daily returns",
        "In percent a day. High: unsettled days.",
    ),
    Statistic(
        "largest_move_percent",
        lambda prices: 100 * _largest_move(prices)[1],
        "100 x daily return that is largest in size",
        "In percent, with its sign.",
    ),
)
_SPY_CORRELATION = Statistic(
    "spy_correlation",
    lambda prices: _correlation(_daily_returns(prices["adjusted_close"]), _daily_returns(prices["spy"])),
    "Pearson's r of the daily returns with SPY's",
    "1: it moves with the market; 0: on its own.",
)


def summarize_prices(prices: pd.DataFrame) -> Summary:
    """What the price did, from ``date, adjusted_close`` and, where known, ``spy`` (a level)."""
    spy = "spy" in prices
    levels = prices[["date", "adjusted_close", *(["spy"] if spy else [])]].replace([np.inf, -np.inf], np.nan).dropna()
    statistics = _PRICE_STATISTICS + ((_SPY_CORRELATION,) if spy else ())
    if len(levels) < 2:
        known = "only one finite price" if len(levels) else "no finite price"
        return _without_numbers(statistics, f"There is {known}: nothing to compute a return from.")
    found = _values(statistics, levels)
    return Summary(_price_verdict(found, levels), _findings(statistics, found))


def _price_verdict(found: Numbers, prices: pd.DataFrame) -> str:
    change, day = found["change_percent"], _largest_move(prices)[0]
    moved = f"{'Down' if change < 0 else 'Up'} {abs(change):.1f} % in {len(prices)} days"
    largest = f"{found['largest_move_percent']:+.1f} % on {str(day)[:10]}"
    correlation = found.get("spy_correlation", math.nan)
    market = "" if math.isnan(correlation) else f"; correlation with SPY {correlation:.2f}"
    return f"{moved}, {found['daily_volatility_percent']:.1f} % volatility a day, largest move {largest}{market}."


def _daily_returns(level: pd.Series) -> np.ndarray:
    return level.pct_change().to_numpy()[1:]


def _largest_move(prices: pd.DataFrame) -> tuple[Any, float]:
    """Day and daily return of the largest move."""
    returns = _daily_returns(prices["adjusted_close"])
    step = int(np.abs(returns).argmax())
    return prices["date"].iloc[step + 1], float(returns[step])


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r, not a number where one of them is constant."""
    return float(np.corrcoef(one, other)[0, 1]) if one.std() and other.std() else math.nan


def _summary(
    statistics: Sequence[Statistic],
    subject: Any,
    tensors: Sequence[Tensor],
    verdict: Callable[[Numbers], str],
    what: str = "weights",
) -> Summary:
    """Compute `statistics` of `subject`, unless its `tensors` hold what is no number."""
    count = sum(tensor.numel() for tensor in tensors)
    finite = sum(int(tensor.isfinite().sum()) for tensor in tensors)
    if not finite:
        return _without_numbers(statistics, f"There are no finite {what}.")
    if finite < count:
        return _without_numbers(statistics, f"{count - finite} of {count} {what} are not finite: there are no numbers.")
    found = _values(statistics, subject)
    return Summary(verdict(found), _findings(statistics, found))


def _without_numbers(statistics: Sequence[Statistic], verdict: str) -> Summary:
    return Summary(verdict, _findings(statistics, dict.fromkeys((one.name for one in statistics), math.nan)))


def _values(statistics: Sequence[Statistic], subject: Any) -> Numbers:
    return {one.name: float(one.compute(subject)) for one in statistics}


def _findings(statistics: Sequence[Statistic], found: Numbers) -> tuple[Finding, ...]:
    return tuple(Finding(one.name, found[one.name], one.formula, one.reading) for one in statistics)


def _plain(values: Tensor) -> Tensor:
    """Float32 on the CPU, without gradient."""
    return torch.as_tensor(values).detach().cpu().float()


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _against(found: Numbers, uniform: Numbers, name: str) -> str:
    return f"{_percent(found[name])} (uniform: {_percent(uniform[name])})"
