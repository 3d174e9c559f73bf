"""Standard errors over days that depend on each other."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import dct
from scipy.special import stdtrit

#: A calendar with fewer blocks than this is too short for a standard error.
FEWEST_BLOCKS = 5
#: More cosines than this no longer change the quantiles of t.
_MOST_COSINES = 400


def block_length(series: np.ndarray) -> float:
    """Number of days over which a series depends on itself: the optimal block of the circular block bootstrap.

    Politis and White (2004), with the correction of Patton, Politis and White (2009). It is 1 for independent
    days and for a constant series, and the whole length of a series that is too short to tell.

    Args:
        series: one value per day, [n].
    """
    length = len(series)
    padded = np.fft.rfft(series - series.mean(), 2 * length)
    covariance = np.fft.irfft(np.abs(padded) ** 2)[:length] / length
    if covariance[0] <= 1e-24 * np.square(series).mean():
        return 1.0
    # The correlation ends before the first five consecutive lags that are within the noise.
    small = np.abs(covariance[1:]) < 2 * np.sqrt(np.log10(length) / length) * covariance[0]
    runs = sliding_window_view(small, 5).all(axis=1) if len(small) >= 5 else small[:0]
    window = min(2 * max(int(runs.argmax()), 1) if runs.any() else length, length - 1)
    lags = np.arange(1, window + 1)
    weights = np.minimum(1, 2 * (1 - lags / window)) * covariance[1 : window + 1]
    spectrum = covariance[0] + 2 * weights.sum()
    if spectrum <= 0:
        return float(length)
    slope = 2 * (lags * weights).sum()
    return float(max(1, (1.5 * (slope / spectrum) ** 2 * length) ** (1 / 3)))


def cosine_sums(series: np.ndarray, block: float) -> np.ndarray:
    """Draws of the error of a sum over days, one per cosine: [cosines] or [cosines, measures].

    The mean of their outer products estimates the covariance of ``series.sum(axis=0)``: the equal-weighted
    cosine estimator (Müller 2004; Lazarus, Lewis, Stock and Watson 2018). A sum over its standard error
    then follows t with as many degrees of freedom as there are cosines, one per two blocks.

    Args:
        series: one value per day, [n], or several, [n, measures].
        block: how many days depend on each other, see `block_length`.

    Returns:
        No cosine if the calendar has fewer than `FEWEST_BLOCKS` blocks.
    """
    blocks = len(series) / block
    cosines = min(int(blocks / 2), _MOST_COSINES) if blocks >= FEWEST_BLOCKS else 0
    waves: np.ndarray = dct(series, axis=0)[1 : cosines + 1] / np.sqrt(2)
    return waves


def standard_error(series: np.ndarray, block: float) -> tuple[float, int]:
    """Standard error of a sum over days, and its degrees of freedom; NaN and 0 if there are too few days.

    Args:
        series, block: as for `cosine_sums`.
    """
    sums = cosine_sums(series, block)
    return (float(np.sqrt(np.square(sums).mean())), len(sums)) if len(sums) else (np.nan, 0)


def mean_margin(values: np.ndarray, days: np.ndarray) -> float:
    """Half of the 95 % interval of a mean over samples of days that depend on each other; NaN if they are too few.

    Args:
        values: one per sample, [n].
        days: number of each sample's day, from 0.
    """
    daily = np.bincount(days, weights=(values - values.mean()) / len(values))
    error, degrees = standard_error(daily, block_length(daily))
    return float(error * stdtrit(degrees, 0.975)) if degrees else np.nan
