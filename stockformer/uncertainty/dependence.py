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
    """Number of days over which a series depends on itself: `block_lengths` of one series, [n]."""
    return float(block_lengths(series[None])[0])


def block_lengths(series: np.ndarray) -> np.ndarray:
    """Numbers of days over which series depend on themselves: the optimal blocks of the circular block bootstrap.

    Politis and White (2004), with the correction of Patton, Politis and White (2009). It is 1 for independent
    days and for a constant series, and the whole length of a series that is too short to tell.

    Args:
        series: one value per day, [series, n].

    Returns:
        [series].
    """
    length = series.shape[1]
    padded = np.fft.rfft(series - series.mean(axis=1, keepdims=True), 2 * length)
    covariance = np.fft.irfft(np.abs(padded) ** 2)[:, :length] / length
    variance, lagged = covariance[:, :1], covariance[:, 1:]
    # The correlation ends before the first five consecutive lags that are within the noise.
    small = np.abs(lagged) < 2 * np.sqrt(np.log10(length) / length) * variance
    runs = np.all(sliding_window_view(small, 5, axis=1), axis=2) if length > 5 else small[:, :0]
    first = runs.argmax(axis=1) if runs.size else np.zeros(len(series), dtype=int)
    window = np.where(runs.any(axis=1), 2 * np.maximum(first, 1), length)[:, None]
    lags = np.arange(1, length)
    # Weights fall from half of the window to its end, and are 0 beyond it.
    weighted = np.clip(2 * (1 - lags / np.minimum(window, length - 1)), 0, 1) * lagged if length > 1 else lagged
    spectrum = variance[:, 0] + 2 * weighted.sum(axis=1)
    slope = 2 * (lags * weighted).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.maximum(1, np.cbrt(1.5 * (slope / spectrum) ** 2 * length))
    lengths = np.where(spectrum > 0, lengths, length)
    return np.where(variance[:, 0] <= 1e-24 * np.square(series).mean(axis=1), 1.0, lengths)


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
    waves: np.ndarray = dct(series, axis=0)[1 : int(_cosines(len(series), np.array(block))) + 1] / np.sqrt(2)
    return waves


def _cosines(days: int, blocks: np.ndarray) -> np.ndarray:
    """How many cosines there are for each length of a block."""
    number = days / blocks
    return np.where(number >= FEWEST_BLOCKS, np.minimum(number // 2, _MOST_COSINES), 0).astype(int)


def standard_error(series: np.ndarray, block: float) -> tuple[float, int]:
    """Standard error of a sum over days, and its degrees of freedom; NaN and 0 if there are too few days.

    Args:
        series, block: as for `cosine_sums`.
    """
    errors, degrees = standard_errors(series[None], np.array([block]))
    return float(errors[0]), int(degrees[0])


def standard_errors(series: np.ndarray, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`standard_error` of several series.

    Args:
        series: one value per day, [series, n].
        blocks: how many days depend on each other, [series].
    """
    length = series.shape[1]
    cosines = _cosines(length, blocks)
    squares = np.square(dct(series, axis=1)[:, 1:]) / 2
    total = np.where(np.arange(length - 1) < cosines[:, None], squares, 0.0).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return np.sqrt(total / cosines), cosines


def mean_margin(values: np.ndarray, days: np.ndarray) -> float:
    """Half of the 95 % interval of a mean over samples of days that depend on each other; NaN if they are too few.

    Args:
        values: one per sample, [n].
        days: number of each sample's day, from 0.
    """
    daily = np.bincount(days, weights=(values - values.mean()) / len(values))
    error, degrees = standard_error(daily, block_length(daily))
    return float(error * stdtrit(degrees, 0.975)) if degrees else np.nan
