"""A survey by date and value: the course of a measure, the quality of the predictions, and counts of windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view
from scipy.special import stdtrit

from stockformer.survey.context import UNKNOWN
from stockformer.survey.table import Survey
from stockformer.survey.words import named, number_words
from stockformer.table import counted
from stockformer.uncertainty.dependence import FEWEST_BLOCKS, block_lengths, standard_errors

#: Up to this many tickers have a line each; more are drawn as the median and a band.
MOST_LINES = 8
#: The band holds the middle 80 % of the windows of a date.
BAND = (0.1, 0.9)
#: Days over which the quality of predictions is averaged: half a year.
QUALITY_DAYS = 126
#: Days with fewer tickers have no rank correlation.
FEWEST_TICKERS = 3
#: A correlation closer to 0 is rounding error.
_ROUNDING = 1e-12
_MOST_DATES = 2000
#: More windows than this are drawn as a density.
MOST_POINTS = 2000
_BINS = 40
_CELLS = (96, 48)  # of a density, across and upwards


@dataclass(frozen=True)
class Range:
    """Values of a measure from `low` to `high`, both included; a missing value is in no range.

    Raises:
        ValueError: an end is not finite, or the ends are the wrong way round.
    """

    measure: str
    low: float
    high: float

    def __post_init__(self) -> None:
        numbers = all(isinstance(end, Real) for end in (self.low, self.high))
        if not numbers or not -np.inf < self.low <= self.high < np.inf:
            raise ValueError(
                f"the range of {self.measure} is {self.low} to {self.high}, expected finite numbers, the smaller first"
            )


@dataclass(frozen=True)
class Filter:
    """Which windows of a survey are looked at; None for all.

    Attributes:
        ticker, sector, regime: their names.
        correct: whether the predicted class came true.
        days: the first and the last date.
        ranges: of measures, at most one of each.

    Raises:
        ValueError: the days are the wrong way round, or a measure has two ranges.
    """

    ticker: str | None = None
    sector: str | None = None
    regime: str | None = None
    correct: bool | None = None
    days: tuple[pd.Timestamp, pd.Timestamp] | None = None
    ranges: tuple[Range, ...] = ()

    def __post_init__(self) -> None:
        if self.days is not None and not self.days[0] <= self.days[1]:
            first, last = (str(day)[:10] for day in self.days)
            raise ValueError(f"the days are {first} to {last}, expected the earlier one first")
        measures = [one.measure for one in self.ranges]
        if twice := [measure for measure in measures if measures.count(measure) > 1]:
            raise ValueError(f"{twice[0]} has {len(twice)} ranges, expected one per measure")

    @property
    def sql(self) -> str:
        """A condition for a query, whose parameters are `parameters`."""
        return " AND ".join(condition for condition, _ in self._conditions) or "true"

    @property
    def parameters(self) -> list[Any]:
        return [value for _, values in self._conditions for value in values]

    @property
    def words(self) -> str:
        """The filter in words; empty if it leaves out nothing. Values are in the units of the pictures."""
        correct = None if self.correct is None else "right predictions" if self.correct else "wrong predictions"
        days = None if self.days is None else f"{self.days[0].date()} to {self.days[1].date()}"
        regime = None if self.regime is None else f"{self.regime} days"
        ranges = [
            f"{named(one.measure)} {number_words(one.measure, one.low)} to {number_words(one.measure, one.high)}"
            for one in self.ranges
        ]
        return ", ".join(part for part in (self.ticker, self.sector, regime, correct, days, *ranges) if part)

    def limited(self, limits: Mapping[str, tuple[float, float] | None]) -> Filter:
        """The same filter with other ranges of some measures: measure -> both ends, None for any value."""
        ends = {one.measure: (one.low, one.high) for one in self.ranges} | dict(limits)
        return replace(self, ranges=tuple(Range(measure, *both) for measure, both in sorted(ends.items()) if both))

    @property
    def _conditions(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Conditions in SQL, each with the values of its parameters."""
        correct = None if self.correct is None else int(self.correct)
        names = {"ticker": self.ticker, "sector": self.sector, "regime": self.regime, "correct": correct}
        between: list[tuple[str, tuple[Any, Any]]] = [("date", self.days)] if self.days else []
        between += [(f'"{one.measure}"', (one.low, one.high)) for one in self.ranges]
        equal = [(f"{name} = ?", (value,)) for name, value in names.items() if value is not None]
        return equal + [(f"{column} BETWEEN ? AND ?", ends) for column, ends in between]


#: The filter that leaves out nothing.
ALL = Filter()


def date_unit(survey: Survey) -> str:
    """The finest unit of the calendar, ``day``, ``week`` or ``month``, of which all dates fit into a picture."""
    days = len(_distinct(survey, "date"))
    return "day" if days <= _MOST_DATES else "week" if days <= 5 * _MOST_DATES else "month"


def calendar(survey: Survey) -> pd.DataFrame:
    """One row per date of the picture: ``date``, ``volatility`` (mean over windows), and ``volatile``, the share of its
    windows in the volatile regime, among those that have one; NaN without any."""
    return survey.query(
        f"SELECT date_trunc('{date_unit(survey)}', date) AS date, avg(volatility) AS volatility, "
        f"avg(CAST(regime = 'volatile' AS DOUBLE)) FILTER (regime <> '{UNKNOWN}') AS volatile "
        "FROM windows GROUP BY ALL ORDER BY ALL"
    )


def measure_by_date(survey: Survey, column: str, where: Filter = ALL) -> pd.DataFrame:
    """A column by date of the picture: ``date``, and a mean per ticker, or ``median``, ``low`` and ``high``.

    With up to `MOST_LINES` tickers there is a column for each, of NaN for those that the filter leaves out. With more
    there are the median over the windows of a date and the quantiles `BAND`, or the filter's ticker alone. Dates
    without a window have no row.
    """
    check_column(survey, column)
    date = f"date_trunc('{date_unit(survey)}', date) AS date"
    tickers = _distinct(survey, "ticker")
    if len(tickers) > MOST_LINES and where.ticker is not None:
        tickers = (where.ticker,)
    if len(tickers) <= MOST_LINES:
        sql = (
            f'SELECT {date}, ticker, avg("{column}") AS value FROM windows WHERE {where.sql} GROUP BY ALL ORDER BY ALL'
        )
        by_ticker = survey.query(sql, where.parameters).pivot(index="date", columns="ticker", values="value")
        return by_ticker.reindex(columns=pd.Index(tickers, name="ticker")).reset_index()
    quantiles = f'quantile_cont("{column}", [0.5, {BAND[0]}, {BAND[1]}])'
    sql = f"SELECT {date}, {quantiles} AS q FROM windows WHERE {where.sql} GROUP BY ALL ORDER BY ALL"
    frame = survey.query(sql, where.parameters)
    levels = np.array(frame["q"].tolist(), dtype=float).reshape(len(frame), 3)
    return pd.DataFrame({"date": frame["date"], "median": levels[:, 0], "low": levels[:, 1], "high": levels[:, 2]})


def quality_name(survey: Survey) -> str:
    """What the quality of this survey's predictions is called."""
    return "hit rate" if survey.manifest["classes"] else "rank information coefficient"


def daily_quality(survey: Survey, where: Filter = ALL) -> pd.Series:
    """The quality of the predictions of every day, by date.

    For classes the hit rate, the share of right predictions. For a regression the rank information coefficient: the
    Spearman correlation over tickers of the score with the outcome, as alphalens defines it
    (``factor_information_coefficient``). Both are of the windows that the filter leaves; days with fewer than
    `FEWEST_TICKERS` of them have no correlation.
    """
    if survey.manifest["classes"]:
        sql = f"SELECT date, avg(correct) AS value FROM windows WHERE NOT isnan(correct) AND {where.sql} GROUP BY date"
        frame = survey.query(f"{sql} ORDER BY date", where.parameters)
        return pd.Series(frame["value"].to_numpy(), pd.DatetimeIndex(frame["date"]))
    return _rank_correlations(survey, where)


def why_no_quality(survey: Survey, where: Filter = ALL) -> str:
    """Why `daily_quality` has no day, in words that follow "because"."""
    if not count(survey, where):
        return "the filter leaves no window"
    known = "correct" if survey.manifest["classes"] else "outcome"
    sql = f"SELECT count(*) AS n FROM windows WHERE NOT isnan({known}) AND {where.sql}"
    if not survey.query(sql, where.parameters)["n"][0]:
        return "no window has a known outcome"
    return f"it ranks the tickers of a day, and needs at least {FEWEST_TICKERS} whose predictions and outcomes differ"


@lru_cache(maxsize=8)
def _rank_correlations(survey: Survey, where: Filter) -> pd.Series:
    """The rank information coefficient of every day, over the windows that a filter leaves."""
    ranks = ", ".join(
        f"rank() OVER (PARTITION BY date ORDER BY {name}) "
        f"+ (count(*) OVER (PARTITION BY date, {name}) - 1) / 2 AS rank_of_{name}"
        for name in ("score", "outcome")
    )
    frame = survey.query(
        f"WITH ranked AS (SELECT date, {ranks} FROM windows WHERE NOT isnan(outcome) AND {where.sql}) "
        "SELECT date, corr(rank_of_score, rank_of_outcome) AS value FROM ranked GROUP BY date "
        f"HAVING count(*) >= {FEWEST_TICKERS} ORDER BY date",
        where.parameters,
    )
    daily = pd.Series(frame["value"].to_numpy(dtype=float), pd.DatetimeIndex(frame["date"])).dropna()
    return daily.mask(daily.abs() < _ROUNDING, 0.0)


@lru_cache(maxsize=64)
def _distinct(survey: Survey, column: str) -> tuple[Any, ...]:
    """The values of a column in order."""
    return tuple(survey.query(f"SELECT DISTINCT {column} AS value FROM windows ORDER BY value")["value"])


def split_at_training(survey: Survey, daily: pd.Series) -> dict[str, pd.Series]:
    """`daily_quality` up to the last training date, whose windows the model may have learned by heart, and after it."""
    end = pd.Timestamp(survey.manifest["train_end"])
    return {
        f"until {end.date()}, on training dates": daily[:end],
        f"after {end.date()}": daily[end + pd.Timedelta(days=1) :],
    }


def rolling_quality(periods: Mapping[str, pd.Series], horizon: int, points: int = 120) -> pd.DataFrame:
    """`mean_quality` over the last `QUALITY_DAYS` days of a period, which none shares with another.

    Args:
        periods: of `split_at_training`.
        horizon: days that an outcome is made of.
        points: about how many dates per period.

    Returns:
        One row per date: ``period, date, value, low, high``; the ends are NaN where too few days are independent.
        A period of fewer days has no row.
    """
    parts = [
        _rolling(daily, horizon, points).assign(period=period)
        for period, daily in periods.items()
        if len(daily) >= QUALITY_DAYS
    ]
    columns = ["period", "date", "value", "low", "high"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _rolling(daily: pd.Series, horizon: int, points: int) -> pd.DataFrame:
    starts = np.unique(np.linspace(0, len(daily) - QUALITY_DAYS, points).round().astype(int))
    value, low, high = _means(sliding_window_view(daily.to_numpy(), QUALITY_DAYS)[starts], horizon)
    return pd.DataFrame({"date": daily.index[starts + QUALITY_DAYS - 1], "value": value, "low": low, "high": high})


def mean_quality(daily: pd.Series, horizon: int) -> tuple[float, float, float]:
    """The mean of `daily_quality` and both ends of its 95 % interval; NaN where there are too few days.

    Days depend on each other, those of one horizon share what their outcomes are made of: see
    `stockformer.uncertainty.dependence.standard_error`, with blocks of a horizon or more. In simulations of
    overlapping outcomes the intervals held the truth in 94 to 96 %.
    """
    if daily.empty:
        return np.nan, np.nan, np.nan
    (mean,), (low,), (high,) = _means(daily.to_numpy()[None], horizon)
    return float(mean), float(low), float(high)


def _means(values: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means of series of days, [series, days], and both ends of their intervals, [series] each."""
    days, mean = values.shape[1], values.mean(axis=1)
    deviations = (values - mean[:, None]) / days
    blocks = np.maximum(np.minimum(block_lengths(deviations), days / FEWEST_BLOCKS), horizon)
    errors, degrees = standard_errors(deviations, blocks)
    margin = errors * stdtrit(degrees, 0.975)
    return mean, mean - margin, mean + margin


def quality_by_period(survey: Survey, daily: pd.Series) -> dict[str, tuple[float, float, float]]:
    """`mean_quality` of each period of `split_at_training` that has days."""
    periods = split_at_training(survey, daily)
    return {name: mean_quality(part, survey.manifest["horizon"]) for name, part in periods.items() if len(part)}


def histogram(survey: Survey, column: str, where: Filter = ALL) -> pd.DataFrame:
    """Windows by value: ``low, high`` edge and ``count`` of bins of equal width."""
    ends = _ends(survey, [column], where)
    if not ends:
        return pd.DataFrame({"low": [], "high": [], "count": []})
    ((low, high),) = ends
    bins = _bins(survey, [(column, low, high, _BINS)], where)
    counts = bins.set_index("bin_0")["n"].reindex(range(_BINS), fill_value=0)
    edges = np.linspace(low, high, _BINS + 1)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts.to_numpy()})


def scatter(survey: Survey, x: str, y: str, where: Filter = ALL) -> pd.DataFrame:
    """The windows as points: ``x, y``, those that have both as finite numbers."""
    check_column(survey, x)
    check_column(survey, y)
    return survey.query(
        f'SELECT "{x}" AS x, "{y}" AS y FROM windows WHERE {_finite([x, y])} AND {where.sql} ORDER BY "window"',
        where.parameters,
    )


@dataclass(frozen=True, eq=False)
class Density:
    """Number of windows per cell of a plane of two measures.

    Attributes:
        counts: [cells upwards, cells across].
        x, y: the ends of both ranges.
    """

    counts: np.ndarray
    x: tuple[float, float]
    y: tuple[float, float]


def density(survey: Survey, x: str, y: str, where: Filter = ALL) -> Density | None:
    """The windows of `scatter`, counted in cells; None where there is no such window."""
    ends = _ends(survey, [x, y], where)
    if not ends:
        return None
    across, up = _CELLS
    bins = _bins(survey, [(x, *ends[0], across), (y, *ends[1], up)], where)
    counts = np.zeros((up, across), dtype=int)
    counts[bins["bin_1"], bins["bin_0"]] = bins["n"]
    return Density(counts, *ends)


@lru_cache(maxsize=64)
def span(survey: Survey, column: str) -> tuple[float, float] | None:
    """The smallest and the largest value of a column; None if it has no finite one."""
    ends = _ends(survey, [column], ALL)
    return ends[0] if ends else None


def _finite(columns: Sequence[str]) -> str:
    return " AND ".join(f'isfinite("{column}")' for column in columns)


def _ends(survey: Survey, columns: Sequence[str], where: Filter) -> list[tuple[float, float]]:
    """The smallest and the largest value of each column; nothing if no window has all of them."""
    for column in columns:
        check_column(survey, column)
    chosen = ", ".join(f'min("{column}"), max("{column}")' for column in columns)
    sql = f"SELECT {chosen} FROM windows WHERE {_finite(columns)} AND {where.sql}"
    values = survey.query(sql, where.parameters).to_numpy(dtype=float)[0]
    if np.isnan(values[0]):
        return []
    return [(low, high if high > low else low + 1.0) for low, high in values.reshape(-1, 2).tolist()]


def _bins(survey: Survey, bins: Sequence[tuple[str, float, float, int]], where: Filter) -> pd.DataFrame:
    """Windows by bin: ``bin_0``, ``bin_1``... and their number ``n``.

    Args:
        bins: column, smallest and largest value, and number of bins.
    """
    # Parameters are doubles; literals would be decimals, whose arithmetic takes five times as long.
    places = [
        f'CAST(least(floor(("{column}" - ?) / ?), {number - 1}) AS INTEGER) AS bin_{place}'
        for place, (column, _, _, number) in enumerate(bins)
    ]
    scales = [value for _, low, high, number in bins for value in (low, (high - low) / number)]
    known = _finite([column for column, *_ in bins])
    sql = f"SELECT {', '.join(places)}, count(*) AS n FROM windows WHERE {known} AND {where.sql} GROUP BY ALL"
    return survey.query(sql, [*scales, *where.parameters])


@lru_cache(maxsize=8)
def window_row(survey: Survey, window: int) -> pd.Series:
    """Every column of one window.

    Raises:
        IndexError: there is no such window.
    """
    rows = survey.query('SELECT * FROM windows WHERE "window" = ?', [window])
    if rows.empty:
        raise IndexError(f"window {window} does not exist: the survey has {len(survey)}")
    return rows.iloc[0]


def window_table(
    survey: Survey,
    columns: Sequence[str],
    where: Filter = ALL,
    *,
    order: str = "date",
    descending: bool = False,
    rows: int = 200,
    skip: int = 0,
) -> pd.DataFrame:
    """Some rows of the windows in an order, without the first `skip`: ``window, date, ticker`` and `columns`."""
    names = list(dict.fromkeys(["window", "date", "ticker", *columns]))
    for column in [order, *names]:
        if column not in survey.columns:
            raise ValueError(f"there is no column {column!r}")
    chosen = ", ".join(f'"{name}"' for name in names)
    by = f'"{order}" {"DESC" if descending else "ASC"}, "window"'
    sql = f"SELECT {chosen} FROM windows WHERE {where.sql} ORDER BY {by} LIMIT {int(rows)} OFFSET {int(skip)}"
    return survey.query(sql, where.parameters)


def place_in_order(
    survey: Survey, window: int, where: Filter = ALL, *, order: str = "date", descending: bool = False
) -> int | None:
    """How many rows are before a window's in the order of `window_table`; None where the filter leaves it out."""
    here = survey.query(
        f'SELECT "{order}" AS value FROM windows WHERE "window" = ? AND {where.sql}', [window, *where.parameters]
    )["value"]
    if here.empty:
        return None
    value = here.tolist()[0]
    before = f'("{order}" {">" if descending else "<"} ? OR "{order}" = ? AND "window" < ?)'
    sql = f"SELECT count(*) AS n FROM windows WHERE {before} AND {where.sql}"
    return int(survey.query(sql, [value, value, window, *where.parameters])["n"][0])


def windows_where(survey: Survey, where: Filter) -> np.ndarray:
    """Indices of the windows that a filter leaves."""
    sql = f'SELECT "window" FROM windows WHERE {where.sql} ORDER BY "window"'
    indices: np.ndarray = survey.query(sql, where.parameters)["window"].to_numpy()
    return indices


@lru_cache(maxsize=8)
def count(survey: Survey, where: Filter) -> int:
    """How many windows a filter leaves."""
    return int(survey.query(f"SELECT count(*) AS n FROM windows WHERE {where.sql}", where.parameters)["n"][0])


def count_words(survey: Survey, where: Filter) -> str:
    """How many windows a filter leaves, in words."""
    number = count(survey, where)
    return counted(number, "window") if number == len(survey) else f"{number:,} of {counted(len(survey), 'window')}"


def check_column(survey: Survey, column: str) -> None:
    """Raise ValueError unless a survey has a column of numbers."""
    if column not in survey.numeric:
        raise ValueError(f"there is no measure {column!r}, only {', '.join(survey.numeric)}")
