"""What `stockformer.explainability.flow` and tests of explanations say: a sentence, and numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.capture import kind_title
from stockformer.explainability.faithfulness import BETTER, UNMEASURED, Faithfulness
from stockformer.explainability.statistics import recent_days, spearman, top_share
from stockformer.explainability.summary import Finding, Summary

#: Rank correlation with the weights from which a map is called like them.
LIKE_ATTENTION = 0.8
#: A gate's mean and what really enters differ when their ratio is beyond this, either way.
MISLEADING = 1.5
#: A layer whose flat attention moves the target by less than this part of it is called without effect.
NO_EFFECT = 0.05
_TOP = 5


def summarize_flow_map(values: Tensor, weights: Tensor) -> Summary:
    """A map [query, key] beside the attention weights of the same map, or for all layers beside their mean."""
    if not values.isfinite().all():
        return _no_numbers("Some values are not finite: there are no numbers.")
    if not values.any():
        return _no_numbers("Every value is 0: nothing comes in here.")
    alike = spearman(values, weights)
    recent = float(values[:, -recent_days(values.size(1)) :].sum() / values.sum())
    if math.isnan(alike):
        verdict = "Attention is the same everywhere here: there is no order to compare with."
    elif alike >= LIKE_ATTENTION:
        verdict = f"Much like the attention weights (rank correlation {alike:.2f})."
    else:
        verdict = (
            f"Not what the attention weights show (rank correlation {alike:.2f}): where it looks is not what counts."
        )
    return Summary(
        verdict,
        (
            Finding("like_attention", alike, "Spearman, with the weights", "Near 1: the weights tell it all."),
            Finding("recency", recent, "share on the last quarter of the days", "Above 0.25: recent days count more."),
        ),
    )


def summarize_days(parts: Sequence[Tensor]) -> Summary:
    """What reaches the prediction from each day, from one [T] an input; two inputs are the stock and the market.

    How much is the market's is said of shares of one whole only: other scores of two inputs have no common unit.
    """
    total = float(sum(part.abs().sum() for part in parts))
    if not math.isfinite(total):
        return _no_numbers("Some values are not finite: there are no numbers.")
    if not total:
        return _no_numbers("No day has any.")
    findings = []
    verdict = ""
    if len(parts) == 2 and math.isclose(float(sum(part.sum() for part in parts)), 1.0, rel_tol=1e-3):
        market = parts[1]
        share, top = float(market.sum()), float(top_share(market, _TOP))
        verdict = f"{100 * share:.0f} % of what is passed on comes from the market. "
        findings = [
            Finding("market_share", share, "market / all", "How much comes from the market."),
            Finding("top_five_market", top, "the five largest market days / all", "Near market_share: few days count."),
        ]
    recency = {
        name: float(part.abs()[-recent_days(len(part)) :].sum() / (part.abs().sum() or 1.0))
        for name, part in zip(("stock", "market"), parts, strict=False)
    }
    said = " and ".join(f"{100 * share:.0f} % of the {name}'s" for name, share in recency.items())
    findings += [
        Finding(f"recency_{name}", share, "share of |score| on the last quarter", "Above 0.25: recent days count more.")
        for name, share in recency.items()
    ]
    return Summary(f"{verdict}The last quarter of the days has {said}.", tuple(findings))


def summarize_entry(entries: Sequence[Tensor], gates: Sequence[Tensor]) -> Summary:
    """How much market enters each layer, ``|g * c| / |stream|`` [T] a layer, beside its gate [T, d]."""
    entering = [float(one.mean()) for one in entries]
    means = [float(gate.mean()) for gate in gates]
    if not all(map(math.isfinite, entering + means)):
        return _no_numbers("Some values are not finite: there are no numbers.")
    layer = max(range(len(entering)), key=entering.__getitem__)
    widest = max(range(len(means)), key=means.__getitem__)
    verdict = f"Most market enters at layer {layer}: {100 * entering[layer]:.0f} % of the stream's length."
    if widest != layer:
        let_in = f"{100 * entering[widest]:.0f} %"
        verdict += f" The widest gate is that of layer {widest}, which lets in {let_in}: its mean misleads."
    elif not 1 / MISLEADING <= entering[layer] / max(means[layer], 1e-12) <= MISLEADING:
        verdict += f" Its gate's mean, {means[layer]:.2f}, says otherwise."
    ratio = "mean over days of |g * c| / |stream|"
    return Summary(
        verdict,
        tuple(
            Finding(f"layer_{number}", value, ratio, f"The mean of its gate is {mean:.2f}.")
            for number, (value, mean) in enumerate(zip(entering, means, strict=True))
        ),
    )


def summarize_head_importance(table: pd.DataFrame) -> Summary:
    """Which heads the target hangs on, from `head_importance` of all heads or of some."""
    if not table[["gradient", "ablation"]].notna().all(axis=None):
        return _no_numbers("Some values are not finite: there are no numbers.")
    size = table["ablation"].abs()
    first = table.iloc[int(size.argmax())]
    where = f"{kind_title(first['kind'])}, layer {first['layer']}, head {first['head']}"
    if not size.any():
        return _no_numbers("Switching any of these heads off changes nothing.")
    alike = spearman(*(torch.tensor(numbers.to_numpy()) for numbers in (table["gradient"], size)))
    top = float(size.nlargest(_TOP).sum() / size.sum())
    verdict = f"The target hangs most on {where}: without it, it changes by {-first['ablation']:+.3g}."
    if alike < LIKE_ATTENTION:
        verdict += (
            f" Gradient and switching off rank heads differently (rank correlation {alike:.2f}): trust the second."
        )
    return Summary(
        verdict,
        (
            Finding("rank_correlation", alike, "Spearman, gradient with |ablation|", "Near 1: the gradient will do."),
            Finding("top_five_share", top, "the five largest |ablation| / all", "Near 1: five heads do it all."),
        ),
    )


def summarize_effects(table: pd.DataFrame, value: float) -> Summary:
    """What flat and shuffled attention do to a target of this value, from `attention_effects`."""
    numbers = table[["flat", "permuted"]]
    if not numbers.notna().all(axis=None) or not math.isfinite(value):
        return _no_numbers("Some values are not finite: there are no numbers.")
    shares = numbers.abs() / (abs(value) or 1.0)
    largest = table.iloc[int(shares["flat"].argmax())]
    idle = shares[(shares < NO_EFFECT).all(axis=1)]
    place = f"{kind_title(largest['kind'])}, layer {largest['layer']}"
    verdict = (
        f"Flat weights in {place}, move the target by {100 * shares['flat'].max():.0f} %. "
        f"{len(idle)} of {len(table)} layers move it by less than {100 * NO_EFFECT:.0f} %, flat or shuffled"
    )
    verdict += ": the prediction hardly uses where they look." if len(idle) else "."
    return Summary(
        verdict,
        (
            Finding("largest_flat", float(shares["flat"].max()), "max |change| / |target|", "What the patterns do."),
            Finding("idle_share", len(idle) / len(table), "layers under 0.05", "Near 1: read nothing into the maps."),
        ),
    )


def summarize_faithfulness(found: Faithfulness) -> Summary:
    """How many rankings do better than random orders, and which one does best."""
    ranked = found.table[found.table["ranking"] != "random"]
    if (ranked["verdict"] == UNMEASURED).all():
        return _no_numbers(
            f"On {found.measured_on} there is nothing to measure: the target is no number, or never differs from that "
            "of the training mean."
        )
    better = int((ranked["verdict"] == BETTER).sum())
    best = f"; the best is {ranked['ranking'].iloc[0].replace('_', ' ')}" if better else ""
    return Summary(
        f"On {found.measured_on}, {better} of {len(ranked)} do better than random orders{best}.",
        tuple(
            Finding(
                str(row["ranking"]),
                float(row["gap"]),
                "area under insertion - area under deletion",
                str(row["verdict"]) or "What orders that know nothing reach.",
            )
            for row in found.table.to_dict("records")
        ),
    )


def _no_numbers(verdict: str) -> Summary:
    return Summary(verdict, ())
