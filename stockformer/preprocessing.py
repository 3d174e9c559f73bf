"""How a table of daily rows becomes a model's inputs, for two trainers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.market import ETF_FEATURE_COLUMNS

#: A smaller standard deviation counts as 1.
_SMALLEST_DEVIATION = 1e-6


@dataclass(frozen=True)
class Normalization:
    """z-score statistics per ticker, from training dates only.

    Attributes:
        columns: feature names, stock then market.
        mean, std: ticker -> one value per column; a standard deviation under
            1e-6 is stored as 1, and a feature that stays raw has mean 0 and standard deviation 1.
    """

    columns: list[str]
    mean: Mapping[str, list[float]]
    std: Mapping[str, list[float]]


@dataclass(frozen=True)
class Preprocessing:
    """How a trainer makes inputs, targets and statistics from a table.

    Attributes:
        ticker_column: ``symbol`` or ``ticker``, the one that is read where the table has both.
        price_column: ``adjusted_close`` or ``close``, the one that is read where the table has both.
        recomputed: features that are computed from prices, volumes and ETF rows as they are, gaps included,
            and replace the table's own; a missing or infinite value becomes 0 before the next feature is
            computed. If there are any, the target is recomputed too.
        infinite_is_missing: an infinite value is filled like a missing one; else it becomes 0 after filling.
        market_is_normalized: market features are z-scored like stock features; else they stay raw.
        split_by: the training dates are the first of the distinct dates of all ``rows``, or of the last
            days of all ``windows``.
        training_fraction: the share of those dates that is for training.
        raw: features that are not z-scored, since their level tells one ticker from another.
        fewest_training_rows: a ticker with fewer rows in the training dates stays raw.
        min_return: for classes, no window ends on a row whose target is smaller than this fraction in absolute value.
        threshold: by default a binary label is 1 where the target is at least this fraction.
        bucket_edges: default edges of three buckets, in percent.
    """

    ticker_column: Literal["symbol", "ticker"] = "symbol"
    price_column: Literal["adjusted_close", "close"] = "adjusted_close"
    recomputed: tuple[str, ...] = ()
    infinite_is_missing: bool = True
    market_is_normalized: bool = True
    split_by: Literal["rows", "windows"] = "rows"
    training_fraction: float = 0.7
    raw: tuple[str, ...] = ()
    fewest_training_rows: int = 0
    min_return: float = 0.0
    threshold: float = 0.0
    bucket_edges: tuple[float, ...] | None = None


#: As ``python -m stockformer train`` does: the statistics travel with the checkpoint.
TRAINED_HERE = Preprocessing()

#: As the trainer of checkpoints without statistics does, such as ``model_bin_3d.pt``.
TRAINED_ELSEWHERE = Preprocessing(
    ticker_column="ticker",
    price_column="close",
    recomputed=(
        "close_1d_roc",
        "close_3d_roc",
        "close_10d_roc",
        "vol_3d_mean",
        "vol_10d_mean",
        "close_5d_vol",
        *ETF_FEATURE_COLUMNS,
    ),
    infinite_is_missing=False,
    market_is_normalized=False,
    split_by="windows",
    training_fraction=0.8,
    fewest_training_rows=2,
    min_return=0.0025,
    threshold=0.015,
    bucket_edges=(-1.0, 1.0),
)


def fit_normalization(
    training: Iterable[tuple[str, pd.DataFrame]], columns: Sequence[str], raw: list[str], fewest_rows: int
) -> Normalization:
    """Mean and population standard deviation of the training rows of every ticker.

    Args:
        training: each ticker with its rows in the training dates: features without gaps.
        columns: names of the features.
        raw: features that stay as they are.
        fewest_rows: a ticker with fewer training rows stays as it is.

    Raises:
        ValueError: a ticker has no training rows, or values that are too large.
    """
    mean: dict[str, list[float]] = {}
    std: dict[str, list[float]] = {}
    for ticker, rows in training:
        if len(rows) < fewest_rows:
            mean[ticker], std[ticker] = [0.0] * len(columns), [1.0] * len(columns)
            continue
        if rows.empty:
            raise ValueError(f"{ticker} has no rows in the training dates, so it cannot be normalised")
        with np.errstate(over="ignore"):
            spread = rows.std(ddof=0)
        huge = spread[~np.isfinite(spread)]
        if len(huge):
            name = str(huge.index[0])
            raise ValueError(
                f"{name} of {ticker} has values up to {rows[name].abs().max():g}, too large to be normalised: expected "
                "smaller numbers"
            )
        # The mean of a constant is taken to be the constant, to the last bit, so that it normalises to exactly 0.
        centre = rows.mean().where(rows.nunique() > 1, rows.iloc[0])
        centre[raw], spread[raw] = 0.0, 1.0
        mean[ticker] = centre.tolist()
        std[ticker] = spread.where(spread >= _SMALLEST_DEVIATION, 1.0).tolist()
    return Normalization(list(columns), mean, std)


def check_statistics(statistics: Normalization, columns: Sequence[str], tickers: Iterable[str]) -> None:
    """Raise ValueError if the statistics are for other features, or lack a ticker."""
    if list(columns) != list(statistics.columns):
        raise ValueError(
            f"the normalisation statistics are for {len(statistics.columns)} columns, expected the "
            f"{len(columns)} features asked for, in the same order"
        )
    unknown = sorted(set(tickers) - set(statistics.mean))
    if unknown:
        raise ValueError(
            f"no normalisation statistics for {', '.join(unknown)}; there are some for "
            f"{', '.join(sorted(statistics.mean))} (without normalization= they are made from the training dates)"
        )


def normalize(filled: np.ndarray, ticker: str, statistics: Normalization) -> Tensor:
    """z-scores of one ticker's features in float32, [rows, features]."""
    mean, std = np.array(statistics.mean[ticker]), np.array(statistics.std[ticker])
    return torch.from_numpy((filled - mean) / std).float()
