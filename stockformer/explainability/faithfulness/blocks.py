"""Tests over windows that share days: windows are put into blocks of days, and the blocks are compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit

from stockformer.dataset import StockDataset

_LOOKBACKS = 2  # per block, so that few windows share days with the next block
_MOST_BLOCKS = 16


class RatioTest(NamedTuple):
    """A ratio of sums over blocks, tested against 0.

    Attributes:
        low, high: the 95 % interval; NaN with fewer than two blocks.
        p: one-sided, of a ratio above 0; NaN likewise.
    """

    low: float
    high: float
    p: float


def calendar_blocks(dataset: StockDataset, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """The block of days that each window of a dataset ends in.

    The dataset's days are cut into equal blocks of at least two lookbacks, and into at most 16. Windows of different
    tickers that end in the same block are in one block, since they share market days.

    Args:
        indices: of the windows.

    Returns:
        One number per window, from 0.
    """
    days = np.unique(dataset.end_dates)
    number = int(np.clip(len(days) // (_LOOKBACKS * dataset.lookback), 1, _MOST_BLOCKS))
    blocks: np.ndarray = np.searchsorted(days, dataset.end_dates[np.asarray(indices)]) * number // len(days)
    return blocks


def ratio_test(numerator: np.ndarray, denominator: np.ndarray, blocks: np.ndarray) -> RatioTest:
    """Student's t over blocks of a ratio of sums, with the standard error of the jackknife (Cochran 1977, 6.17).

    Its level holds for few blocks, and for unequal ones (Ibragimov and Mueller 2010).

    Args:
        numerator: one number per window.
        denominator: likewise; their sum is above 0.
        blocks: number of each window's block.
    """
    _, block = np.unique(blocks, return_inverse=True)
    above, below = (np.bincount(block, weights=part) for part in (numerator, denominator))
    ratio, degrees = above.sum() / below.sum(), len(above) - 1
    if degrees < 1:
        return RatioTest(np.nan, np.nan, np.nan)
    # Without a block the ratio moves by the residual over what is left: a large block pulls the ratio towards itself.
    with np.errstate(divide="ignore", invalid="ignore"):  # one block that holds the whole denominator: no test
        moves = (above - ratio * below) / (below.sum() - below)
    error = float(np.sqrt(degrees / (degrees + 1) * (moves**2).sum()))
    if error == 0.0:
        return RatioTest(ratio, ratio, 0.0 if ratio > 0 else 1.0)
    margin = stdtrit(degrees, 0.975) * error
    return RatioTest(ratio - margin, ratio + margin, float(stdtr(degrees, -ratio / error)))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm 1979): the chance of any false rejection stays below the level.

    Args:
        p: [tests]; NaN stays NaN and does not count.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN comes last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted
