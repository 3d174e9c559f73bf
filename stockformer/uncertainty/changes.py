"""Where the level of a series changes, with a test for days that depend on each other."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

#: Largest adjusted p-value of a change.
LEVEL = 0.05
#: Correlation of consecutive days in the simulated null, before windows average them.
DEPENDENCE = 0.98
#: The smallest p-value is 2 in one more than this.
SIMULATIONS = 2000
_MOST_BLOCKS = 120
_BATCH = 100
_WARM_UP = 400


class Change(NamedTuple):
    """The first place of a new level, and the adjusted p-value of the change."""

    place: int
    p: float


def find_changes(series: np.ndarray, lookback: int) -> list[Change]:
    """Changes of a series' level that are more than chance, by place; none if it has fewer than 4 lookbacks.

    A segment, at first the whole series, is split by a *step* (two levels) or a *stretch* (from the second change on,
    the level is what it was), whichever has the smaller p-value. Binary segmentation by steps alone misses stretches
    (Olshen et al. 2004, *Biostatistics* 5). The test is self-normalised (Shao and Zhang 2010, *JASA* 105): with the
    partial sums S of n blocks and a stretch from i to j, w = j - i, it is the largest

        (S_j - S_i - w / n * S_n)^2 * n^3 / (w (n - w)) / V,

    V being the squares of the partial sums of the deviations from the mean of each part, so that no variance and no
    bandwidth are estimated. A step is a stretch that ends with the segment. Blocks have half a lookback; no part is
    shorter than two.

    p-values come from `SIMULATIONS` series of the same length without a change: AR(1) with `DEPENDENCE`, averaged over
    `lookback` days. With the Brownian motion of the asymptotic theory, 10 to 13 % of such series have p < 0.05. The
    smaller p is doubled, and multiplied by the number of parts of every split above it. The places are those of least
    squares, which are closer than the statistic's maximum. `docs/statistics.md` has the levels.

    Args:
        series: one value per day, [n].
        lookback: days that a value is made of.
    """
    return [change for change in _find(np.asarray(series, dtype=float), lookback, 1) if change.p <= LEVEL]


def clearest_p(series: np.ndarray, lookback: int) -> float:
    """p-value of the first split of a series, significant or not; NaN if there are too few days to split."""
    values = np.asarray(series, dtype=float)
    return _split(values, lookback)[1] if _long_enough(values, lookback) else np.nan


def split_statistics(series: np.ndarray, block: int, least: int) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of `find_changes` of the best step and of the best stretch.

    Args:
        series: one per row, [series, days].
        block: days of a block.
        least: blocks of the shortest part.

    Returns:
        Steps, [series], and stretches, [series]; 0 where there is no room.
    """
    rows, days = series.shape
    blocks = days // block
    means = series[:, days - blocks * block :].reshape(rows, blocks, block).mean(axis=2)
    sums = _Sums(means.T)
    step, stretch = np.zeros((2, rows))
    ends = np.arange(blocks + 1)
    before, after = sums.spread(0 * ends, ends), sums.spread(ends, 0 * ends + blocks)
    for width in range(least, blocks - least + 1):
        starts = np.arange(least, blocks - width - least + 1)
        for first, best in ((starts, stretch), (np.array([blocks - width]), step)):
            if len(first):
                last = first + width
                spread = before[first] + sums.spread(first, last) + after[last]
                move = np.square(sums.total[last] - sums.total[first])  # S_n is 0
                scale = blocks**3 / (width * (blocks - width))
                np.maximum(best, (move * scale / np.maximum(spread, 1e-300)).max(axis=0), out=best)
    return step, stretch


def dependent_series(rng: np.random.Generator, number: int, days: int, lookback: int, correlation: float) -> np.ndarray:
    """AR(1) of variance 1, averaged over `lookback` days: [number, days]."""
    from scipy.signal import lfilter  # a sixth of the time that it takes to import the widgets

    noise = rng.normal(size=(number, days + lookback - 1 + _WARM_UP)) * np.sqrt(1 - correlation**2)
    daily = lfilter([1], [1, -correlation], noise, axis=1)[:, _WARM_UP:]
    sums = np.cumsum(np.pad(daily, ((0, 0), (1, 0))), axis=1)
    averages: np.ndarray = (sums[:, lookback:] - sums[:, :-lookback]) / lookback
    return averages


class _Sums:
    """Partial sums of columns, [blocks + 1, columns], from which the spread of any part follows at once."""

    def __init__(self, values: np.ndarray) -> None:
        self.total = _cumulative(values - values.mean(axis=0))
        sums = self.total[1:]
        self._sum, self._square = _cumulative(sums), _cumulative(sums**2)
        self._moment = _cumulative(sums * np.arange(1, len(values) + 1)[:, None])

    def spread(self, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Sum of the squared partial sums of the deviations from the mean of each part, [parts, columns]."""
        width, start = (last - first)[:, None], self.total[first]
        slope = (self.total[last] - start) / np.maximum(width, 1)
        added = self._sum[last] - self._sum[first]
        squares = self._square[last] - self._square[first] - 2 * start * added + width * start**2
        moment = self._moment[last] - self._moment[first] - first[:, None] * added - start * width * (width + 1) / 2
        spread: np.ndarray = squares - 2 * slope * moment + slope**2 * width * (width + 1) * (2 * width + 1) / 6
        return spread


def _cumulative(values: np.ndarray) -> np.ndarray:
    return np.pad(values.cumsum(axis=0), ((1, 0), (0, 0)))


def _find(series: np.ndarray, lookback: int, looks: int) -> list[Change]:
    if not _long_enough(series, lookback):
        return []
    places, p = _split(series, lookback)
    if looks * p > LEVEL:
        return []
    changes = [Change(place, looks * p) for place in places]
    for first, last in pairwise([0, *places, len(series)]):
        inner = _find(series[first:last], lookback, looks * (len(places) + 1))
        changes += [Change(first + change.place, change.p) for change in inner]
    return sorted(changes)


def _long_enough(series: np.ndarray, lookback: int) -> bool:
    return len(series) >= 4 * lookback and np.ptp(series) > 0


def _split(series: np.ndarray, lookback: int) -> tuple[list[int], float]:
    """The best places to split a segment, and the p-value, not adjusted for other segments."""
    observed = split_statistics(series[None], *_grid(len(series), lookback))
    ps = [
        (1 + SIMULATIONS - np.searchsorted(null, value[0])) / (1 + SIMULATIONS)
        for null, value in zip(_null(len(series), lookback), observed, strict=True)
    ]
    places = _best_step(series, 2 * lookback) if ps[0] <= ps[1] else _best_stretch(series, 2 * lookback)
    return places, min(1.0, 2 * float(min(ps)))


def _grid(days: int, lookback: int) -> tuple[int, int]:
    """Days of a block, and blocks of the shortest part."""
    block = max(1, lookback // 2, -(-days // _MOST_BLOCKS))
    return block, max(2, 2 * lookback // block)


@cache
def _null(days: int, lookback: int) -> tuple[np.ndarray, np.ndarray]:
    """The statistics of steps and of stretches without a change, sorted, `SIMULATIONS` each."""
    rng = np.random.default_rng(0)
    parts = [
        split_statistics(dependent_series(rng, _BATCH, days, lookback, DEPENDENCE), *_grid(days, lookback))
        for _ in range(SIMULATIONS // _BATCH)
    ]
    step, stretch = (np.sort(np.concatenate(part)) for part in zip(*parts, strict=True))
    return step, stretch


def _best_step(series: np.ndarray, least: int) -> list[int]:
    """Least squares: where the means before and after explain most."""
    places = np.arange(least, len(series) - least + 1)
    sums = np.cumsum(series - series.mean())[places - 1]
    return [int(places[np.argmax(sums**2 / (places * (len(series) - places)))])]


def _best_stretch(series: np.ndarray, least: int) -> list[int]:
    """Least squares: the stretch whose mean, and that of the rest, explain most."""
    days, sums = len(series), np.concatenate([[0.0], np.cumsum(series - series.mean())])
    best, places = -1.0, [0, 0]
    for width in range(least, days - 2 * least + 1):
        moves = np.abs(sums[least + width : days - least + 1] - sums[least : days - least - width + 1])
        first = int(moves.argmax())
        explained = moves[first] ** 2 / (width * (days - width))
        if explained > best:
            best, places = explained, [least + first, least + first + width]
    return places
