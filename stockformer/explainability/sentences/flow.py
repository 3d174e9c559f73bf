"""Sentences on what attention carries, on what the target depends on, and on the faithfulness of explanations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.attention.capture import kind_name
from stockformer.explainability.attention.patching import Patching
from stockformer.explainability.attention.statistics import (
    RECENCY_READING,
    allowed_keys,
    recent_days,
    recent_keys,
    spearman,
    top_share,
)
from stockformer.explainability.faithfulness.rankings import REFERENCES
from stockformer.explainability.faithfulness.result import NO_BETTER, UNMEASURED, Faithfulness
from stockformer.explainability.sentences.summary import Finding, Summary, percent, ties
from stockformer.table import counted

#: Rank correlations from which two orders are called much the same, and below which they are called different.
SAME_ORDER, OTHER_ORDER = 0.8, 0.5
#: The attention of a layer does little if, flat or shuffled, it moves the target by less than this part of the largest
#: move.
LITTLE = 0.1
#: A patch is not unusual if more than this part of random donors move the target as far.
USUAL = 0.05
_TOP = 5


def _order(correlation: float) -> str:
    """Two orders compared, in words."""
    alike = "much the same order" if correlation >= SAME_ORDER else "partly the same order"
    return f"{'a different order' if correlation < OTHER_ORDER else alike} (rank correlation {correlation:.2f})"


def summarize_flow_map(values: Tensor, weights: Tensor, mask: Tensor | None = None) -> Summary:
    """A map [query, key] compared with the attention weights of the same map, or for all layers with their mean.

    Args:
        mask: where a query may not attend to a key, bool [query, key].
    """
    allowed = allowed_keys(values, mask)
    if not values[allowed].isfinite().all():
        return _no_numbers("Some values are not finite: nothing is computed.")
    if not values[allowed].any():
        return _no_numbers("Every value is 0: nothing comes in here.")
    alike = spearman(values[allowed], weights[allowed])
    held = values.masked_fill(~allowed, 0.0).sum(dim=0)
    last = recent_keys(allowed.any(dim=0))
    recent = float(held[last].sum() / held.sum())
    if math.isnan(alike):
        verdict = "All weights or all values are equal here: there is no order to compare."
    else:
        verdict = f"Compared with the attention weights: {_order(alike)}."
    return Summary(
        verdict,
        (
            Finding("rank_correlation", alike, "Spearman, with the weights", "1: the weights have the same order."),
            Finding(
                "recency",
                recent,
                "share on the last quarter of the days",
                RECENCY_READING,
            ),
        ),
    )


def summarize_days(parts: Sequence[Tensor]) -> Summary:
    """How much each day contributes to the prediction, one [T] per input; two inputs are the stock and the market.

    The market's share is reported only for shares of one whole: other scores of two inputs have no common unit.
    """
    total = float(sum(part.abs().sum() for part in parts))
    if not math.isfinite(total):
        return _no_numbers("Some values are not finite: nothing is computed.")
    if not total:
        return _no_numbers("Every day's score is 0.")
    findings = []
    verdict = ""
    whole = all((part >= 0).all() for part in parts) and math.isclose(total, 1.0, rel_tol=1e-3)
    if len(parts) == 2 and whole:
        market = parts[1]
        share, top = float(market.sum()), float(top_share(market, _TOP))
        verdict = f"{percent(share)} of what is passed on comes from the market. "
        findings = [
            Finding("market_share", share, "market / all", "How much comes from the market."),
            Finding("top_five_market", top, "the five largest market days / all", "Near market_share: few days count."),
        ]
    clauses = []
    for name, part in zip(("stock", "market"), parts, strict=False):
        number, size = recent_days(len(part)), float(part.abs().sum())
        if not size:
            clauses.append(f"every score of the {name} is 0")
            continue
        share = float(part.abs()[-number:].sum()) / size
        last = f"the last of {len(part)} days has" if number == 1 else f"the last {number} of {len(part)} days have"
        last = "the only day has" if len(part) == 1 else last
        clauses.append(f"{last} {percent(share)} of the {name}'s scores")
        findings.append(
            Finding(
                f"recency_{name}",
                share,
                "share of |score| on the last quarter",
                RECENCY_READING,
            )
        )
    sentence = "; ".join(clauses)
    return Summary(f"{verdict}{sentence[0].upper()}{sentence[1:]}.", tuple(findings))


def summarize_entry(entries: Sequence[Tensor], gates: Sequence[Tensor]) -> Summary:
    """How much the market contributes to each layer, ``|g * c| / |stream|`` [T] per layer, beside its gate [T, d]."""
    entering = [float(one.mean()) for one in entries]
    means = [float(gate.mean()) for gate in gates]
    if not all(map(math.isfinite, entering + means)):
        return _no_numbers("Some values are not finite: nothing is computed.")
    layer = max(range(len(entering)), key=entering.__getitem__)
    widest = max(range(len(means)), key=means.__getitem__)
    others = ties(entering, entering[layer], "layer")
    if not entering[layer]:
        verdict = "No market enters any layer."
    else:
        verdict = (
            f"The market contributes most at layer {layer}{others}: {percent(entering[layer])} of the residual norm, "
            f"with a mean gate of {means[layer]:.2f}."
        )
        if widest != layer:
            verdict += (
                f" The most open gate, {means[widest]:.2f}, is in layer {widest}, where the market contributes "
                f"{percent(entering[widest])}."
            )
    ratio = "mean over days of |g * c| / |stream|"
    return Summary(
        verdict,
        tuple(
            Finding(f"layer_{number}", value, ratio, f"The mean of its gate is {mean:.2f}.")
            for number, (value, mean) in enumerate(zip(entering, means, strict=True))
        ),
    )


def summarize_head_importance(table: pd.DataFrame) -> Summary:
    """Which heads the target depends on, from `head_importance` of all heads or of some."""
    if not np.isfinite(table[["gradient", "ablation"]].to_numpy(dtype=float)).all():
        return _no_numbers("Some values are not finite: nothing is computed.")
    size = table["ablation"].abs()
    first = table.iloc[int(size.argmax())]
    where = f"{kind_name(first['kind'])}, layer {first['layer']}, head {first['head']}"
    if not size.any():
        return _no_numbers("Switching any of these heads off changes nothing.")
    alike = spearman(*(torch.tensor(numbers.to_numpy()) for numbers in (table["gradient"], size)))
    top = float(size.nlargest(_TOP).sum() / size.sum())
    where += ties(size, size.max(), "head")
    drop = float(first["ablation"])
    moves = f"{'drops' if drop > 0 else 'rises'} by {abs(drop):.3g}"
    verdict = f"The target depends most on {where}: without it, the target {moves}."
    if not math.isnan(alike):
        verdict += f" Gradient and switching off put the heads in {_order(alike)}."
    return Summary(
        verdict,
        (
            Finding("rank_correlation", alike, "Spearman, gradient with |ablation|", "1: the same order."),
            Finding("top_five_share", top, "the five largest |ablation| / all", "1: no other head changes anything."),
        ),
    )


def summarize_effects(table: pd.DataFrame, value: float) -> Summary:
    """How flat and shuffled attention change a target from `value`, in its units, from `attention_effects`."""
    changes = table[["flat", "permuted"]].to_numpy(dtype=float)
    if not np.isfinite(changes).all() or not math.isfinite(value):
        return _no_numbers("Some values are not finite: nothing is computed.")
    sizes = np.abs(changes)
    largest = sizes.max(axis=1)
    row = int(largest.argmax())
    if not largest[row]:
        return _no_numbers("Neither flat nor shuffled attention changes the target, in any layer.")
    column = int(sizes[row].argmax())
    place = f"{kind_name(table['kind'].iloc[row])}, layer {table['layer'].iloc[row]}"
    idle = int((largest < LITTLE * largest[row]).sum())
    changed = changes[row, column]
    change = f"by {changed:+.3g}, from {value:.3g} to {value + changed:.3g}"
    verdict = (
        f"{('Flat', 'Shuffled')[column]} weights in {place} change the target most: {change}. "
        f"Layers that change it by less than {percent(LITTLE)} of that, flat or shuffled: {idle} of {len(table)}."
    )
    return Summary(
        verdict,
        (
            Finding("largest_flat", float(sizes[:, 0].max()), "max |change|, flat", "In the target's units."),
            Finding("largest_shuffled", float(sizes[:, 1].max()), "max |change|, shuffled", "In the target's units."),
            Finding(
                "idle_share",
                idle / len(table),
                f"layers whose larger |change| is under {LITTLE:g} of the largest",
                "Near 1: only where few layers look matters.",
            ),
        ),
    )


def summarize_faithfulness(result: Faithfulness) -> Summary:
    """How many rankings beat random orders, which has the largest gap, and whether other windows say the same."""
    ranked = result.table[~result.table["ranking"].isin(REFERENCES)]
    if (ranked["verdict"] == UNMEASURED).all():
        return _no_numbers(
            f"On {result.measured_on} there is nothing to measure: the target is NaN, or never differs from "
            "that of the training mean."
        )
    one_block = " All are in one block of days, so there is no interval." if result.blocks == 1 < result.samples else ""
    better = int((ranked["verdict"] != NO_BETTER).sum())
    best = f"; the largest gap is that of {_best(ranked)}" if better else ""
    return Summary(
        f"On {result.measured_on}, better than random orders: {better} of {counted(len(ranked), 'explanation')}{best}."
        f"{one_block}{_second_removal(result, ranked)}",
        tuple(
            Finding(
                str(row["ranking"]),
                float(row["gap"]),
                "area under insertion - area under deletion",
                str(row["verdict"]) or "The gap that random orders reach.",
            )
            for row in result.table.to_dict("records")
        ),
    )


def _best(ranked: pd.DataFrame) -> str:
    """The rankings whose gap, in two digits, is the largest, each with its verdict."""
    gaps = ranked["gap"].round(2)
    first = ranked[gaps == gaps.max()]
    return " and ".join(f"{row.ranking.replace('_', ' ')} ({row.verdict})" for row in first.itertuples())


def summarize_patching(result: Patching, days: Mapping[str, Sequence[str]]) -> Summary:
    """Which activation of the donor moves the target most, and whether random donors do as much.

    Args:
        days: stream -> names of its days.
    """
    effects = result.table["effect"]
    if not np.isfinite([*effects, result.difference]).all():
        return _no_numbers("Some effects are not finite: nothing is computed.")
    if not effects.any():
        return _no_numbers("No activation of the donor, at one layer and day, changes the target.")
    largest, donors = result.largest, len(result.random_largest)
    effect, share = float(largest["effect"]), float(largest["share"])
    part = "" if math.isnan(share) else f", {_part(share)} the whole difference of {result.difference:+.3g}"
    findings = [
        Finding(
            "largest_effect", effect, "target with the activation of the donor - target of the sample", "0: nothing."
        ),
        Finding("difference", result.difference, "target of the donor - target of the sample", "With all patched."),
    ]
    beyond = ""
    if donors:
        as_many = result.random_as_large
        many = f"{as_many or 'none'} {'moves' if as_many < 2 else 'move'} it as far, from some layer and day"
        usual = " That is not unusual: of" if as_many > USUAL * donors else " Of"
        beyond = f"{usual} {donors} random windows of the ticker, {many}."
        findings.append(
            Finding(
                "random_largest",
                float(np.mean(result.random_largest)),
                "mean over random donors of their largest |effect|",
                f"From {result.random_largest.min():.3g} to {result.random_largest.max():.3g}.",
            )
        )
    where = (
        f"the {largest['stream']} stream after layer {largest['layer']} on {days[largest['stream']][largest['day']]}"
    )
    return Summary(f"Patching {where} moves the target most, by {effect:+.3g}{part}.{beyond}", tuple(findings))


def _part(share: float) -> str:
    """A share of a difference in words, which may be larger than the difference, or against it."""
    if share < 0:
        return "against"
    return f"{percent(share)} of" if share <= 1 else f"{share:.2g} times"


def _second_removal(result: Faithfulness, ranked: pd.DataFrame) -> str:
    """How far verdicts are the same with other windows in place of the training mean."""
    if result.second is None:
        return f" {result.note}" if result.note else ""
    others = result.second.table.set_index("ranking").loc[ranked["ranking"]]
    same = int((others["verdict"].to_numpy() == ranked["verdict"].to_numpy()).sum())
    better = int((~others["verdict"].isin([NO_BETTER, UNMEASURED])).sum())
    return (
        f" With other windows in place of the training mean: {better} of {len(ranked)}; the verdicts on {same} are "
        f"the same, and the largest gap is {others['gap'].max():.2f} instead of {ranked['gap'].max():.2f}."
    )


def _no_numbers(verdict: str) -> Summary:
    return Summary(verdict, ())
