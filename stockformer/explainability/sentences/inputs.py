"""Sentences on attributions and prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.attention.statistics import (
    RECENCY_READING,
    Statistic,
    effective_number,
    recent_days,
    top_share,
)
from stockformer.explainability.sentences.summary import (
    Numbers,
    Summary,
    correlation,
    findings_of,
    percent,
    plain,
    summarize,
    values_of,
    without_numbers,
)

#: An input with at least this share of the attribution is called the main one.
MAIN_INPUT = 2 / 3
_TOP = 5
_MARKET_SHARE = Statistic(
    "market_share",
    lambda shares: shares[1].sum(),
    "sum |market| / sum |all|",
    "Share of the attribution that is on market features.",
)

_SALIENCY_RECENCY = Statistic(
    "recency",
    lambda shares: sum(part[-recent_days(len(part)) :].sum() for part in shares),
    "share of |attribution| on the last quarter of the days",
    RECENCY_READING,
)

_SALIENCY_STATISTICS = (
    Statistic(
        "effective_features",
        lambda shares: effective_number(_by_feature(shares)),
        "exp(entropy of the features' shares)",
        "Number of features that an even spread would cover.",
    ),
    Statistic(
        "top_five_share",
        lambda shares: top_share(_by_feature(shares), _TOP),
        "sum of the five largest shares of a feature",
        "1: five features hold all of it.",
    ),
)


def summarize_saliency(parts: Sequence[Tensor]) -> Summary:
    """What the attribution is on, from one [T, features] per input; signs are ignored.

    Two inputs are the stock and the market. For a single day there is no recency.
    """
    parts = [plain(part).abs() for part in parts]
    total = sum(float(part.sum()) for part in parts)
    shares = [part / total if total else torch.full_like(part, math.nan) for part in parts]
    statistics = list(_SALIENCY_STATISTICS)
    if max(map(len, parts)) > 1:
        statistics.insert(0, _SALIENCY_RECENCY)
    if len(parts) == 2:
        statistics.insert(0, _MARKET_SHARE)

    def verdict(numbers: Numbers) -> str:
        return _saliency_verdict(numbers, parts) if total else "Every attribution is 0."

    return summarize(statistics, (shares,), parts, verdict, "attributions", of="absolute attributions")


def _by_feature(shares: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.sum(dim=0) for part in shares])


def _saliency_verdict(numbers: Numbers, parts: Sequence[Tensor]) -> str:
    widths = [part.size(-1) for part in parts]
    features, days = sum(widths), max(map(len, parts))
    number = recent_days(days)
    last = "last" if number == 1 else f"last {number}"
    recent = f", the {last} of {days} days {percent(numbers['recency'])}" if "recency" in numbers else ""
    if features == 1:
        spread = f"One feature has all of it{recent}."
    elif max(widths) > 1 and all(torch.equal(part, part[:, :1].expand_as(part)) for part in parts):
        spread = f"Within a day all features of an input have the same value: they cannot be told apart{recent}."
    else:
        top = f"; the five strongest hold {percent(numbers['top_five_share'])}" if features > _TOP else ""
        equivalent = f"{numbers['effective_features']:.1f} of {features} features"
        spread = f"Spread over the equivalent of {equivalent}{top}{recent}."
    market = numbers.get("market_share")
    if market is None:
        return spread
    main = "Stock and market both count"
    if max(market, 1 - market) >= MAIN_INPUT:
        main = f"Mainly the {'market' if market > 0.5 else 'stock'}"
    held = f"the market, {widths[1]} of {features} features, holds {percent(market)}"
    return f"{main}: {held}. {spread}"


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
        "In percent per day. High: unsettled days.",
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
    lambda prices: correlation(_daily_returns(prices["adjusted_close"]), _daily_returns(prices["spy"])),
    "Pearson's r of the daily returns with SPY's",
    "1: it moves with the market; 0: on its own.",
)


def summarize_prices(prices: pd.DataFrame) -> Summary:
    """How the price moved, from ``date, adjusted_close`` and, if known, ``spy`` (a level)."""
    spy = "spy" in prices
    levels = prices[["date", "adjusted_close", *(["spy"] if spy else [])]].replace([np.inf, -np.inf], np.nan).dropna()
    statistics = _PRICE_STATISTICS + ((_SPY_CORRELATION,) if spy else ())
    if len(levels) < 2:
        known = "only one finite price" if len(levels) else "no finite price"
        return without_numbers(statistics, f"There is {known}: nothing to compute a return from.")
    numbers = values_of(statistics, levels)
    return Summary(_price_verdict(numbers, levels), findings_of(statistics, numbers))


def _price_verdict(numbers: Numbers, prices: pd.DataFrame) -> str:
    change, day = numbers["change_percent"], _largest_move(prices)[0]
    size = f"{abs(change):.1f}"
    moved = "Unchanged" if size == "0.0" else f"{'Down' if change < 0 else 'Up'} {size} %"
    largest = f"{numbers['largest_move_percent']:+.1f} % on {str(day)[:10]}"
    correlation = numbers.get("spy_correlation", math.nan)
    market = "" if math.isnan(correlation) else f"; correlation with SPY {correlation:.2f}"
    days = f"{moved} over {len(prices)} days of prices"
    return f"{days}, {numbers['daily_volatility_percent']:.1f} % volatility per day, largest move {largest}{market}."


def _daily_returns(level: pd.Series) -> np.ndarray:
    return level.pct_change().to_numpy()[1:]


def _largest_move(prices: pd.DataFrame) -> tuple[Any, float]:
    """The day of the largest move, and its return."""
    returns = _daily_returns(prices["adjusted_close"])
    step = int(np.abs(returns).argmax())
    return prices["date"].iloc[step + 1], float(returns[step])
