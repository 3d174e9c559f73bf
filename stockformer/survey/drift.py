"""The level of a measure by quarter, and the dates on which it changes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from stockformer.explainability.sentences.summary import Finding, Summary, p_value
from stockformer.survey.history import ALL, Filter, check_column
from stockformer.survey.table import Survey
from stockformer.survey.words import named, number_words
from stockformer.uncertainty.changes import DEPENDENCE, SIMULATIONS, clearest_p, find_changes
from stockformer.uncertainty.dependence import FEWEST_BLOCKS, block_length, standard_error

_FORMULA = "self-normalised test of Shao and Zhang (2010) for a step or a stretch, binary segmentation"


@dataclass(frozen=True, eq=False)
class Drift:
    """How the level of a measure moved over the calendar.

    Attributes:
        measure: the column.
        quarters: one row per calendar quarter: ``quarter`` (its first day), ``days``, ``mean`` over days of the mean
            over tickers, and ``low``, ``high`` of its 95 % interval, NaN where there are too few days.
        changes: one row per change: ``date`` (the first of the new level), the means ``before`` and ``after`` it up to
            the next change, and the adjusted ``p``.
        levels: the mean between the changes, by the first date of each level.
        summary: the changes in a sentence.
    """

    measure: str
    quarters: pd.DataFrame
    changes: pd.DataFrame
    levels: pd.Series
    summary: Summary


def drift(survey: Survey, measure: str, where: Filter = ALL) -> Drift:
    """The level of a measure by calendar quarter, and the dates on which it changes by more than chance.

    Both are of the mean over the tickers of a day: a ticker with another level that comes or goes looks like a change.
    A window holds `lookback` days, so that a sudden change of the market appears as a slope over as many days.

    `stockformer.uncertainty.changes.find_changes` is the test. It is for one measure: among twenty measures without
    a change, one has p < 0.05.

    The interval of a quarter of m days has the variance of the means over m days along the calendar, from the level
    between the changes, plus that level's own (`stockformer.uncertainty.dependence.standard_error`, with blocks of a
    lookback or more), and the quantile of Student's t with the latter's degrees of freedom. It is as wide in a crisis
    as in quiet years.

    Args:
        measure: a column of numbers, see `Survey.numeric`.
        where: which windows; the days that are left count as consecutive.

    Raises:
        ValueError: there is no such column.
    """
    check_column(survey, measure)
    daily = survey.query(
        f'SELECT date, avg("{measure}") AS value FROM windows '
        f'WHERE "{measure}" IS NOT NULL AND NOT isnan("{measure}") AND {where.sql} GROUP BY date ORDER BY date',
        where.parameters,
    )
    series = pd.Series(daily["value"].to_numpy(dtype=float), pd.DatetimeIndex(daily["date"]))
    lookback = survey.manifest["lookback"]
    changes = find_changes(series.to_numpy(), lookback)
    parts = [series.iloc[first:last] for first, last in pairwise([0, *(one.place for one in changes), len(series)])]
    parts = [part for part in parts if len(part)]
    starts = pd.DatetimeIndex([part.index[0] for part in parts])
    levels = pd.Series([part.mean() for part in parts], starts, dtype=float)
    changed = pd.DataFrame(
        {
            "date": starts[1:],
            "before": levels.to_numpy()[:-1],
            "after": levels.to_numpy()[1:],
            "p": [change.p for change in changes],
        }
    )
    deviations = series.to_numpy() - levels.reindex(series.index, method="ffill").to_numpy()
    quarters = quarter_levels(series, deviations, lookback)
    return Drift(measure, quarters, changed, levels, _summary(measure, series.to_numpy(), changed, lookback))


def quarter_levels(series: pd.Series, deviations: np.ndarray, lookback: int) -> pd.DataFrame:
    """`Drift.quarters` of a daily series.

    Args:
        series: by date.
        deviations: from the level between the changes, [days].
        lookback: days that a value is made of.
    """
    quarters = series.groupby(pd.DatetimeIndex(series.index).to_period("Q")).agg(["size", "mean"])
    margins = {days: _margin(deviations, days, lookback) for days in set(quarters["size"])}
    margin = quarters["size"].map(margins).to_numpy(dtype=float)
    mean = quarters["mean"].to_numpy()
    return pd.DataFrame(
        {
            "quarter": pd.PeriodIndex(quarters.index).to_timestamp(),
            "days": quarters["size"].to_numpy(),
            "mean": mean,
            "low": mean - margin,
            "high": mean + margin,
        }
    )


def _margin(deviations: np.ndarray, days: int, lookback: int) -> float:
    """Half of the 95 % interval of a mean over `days` consecutive days."""
    length = len(deviations)
    if length < FEWEST_BLOCKS * lookback:
        return np.nan
    block = max(min(block_length(deviations), length / FEWEST_BLOCKS), lookback)
    error, degrees = standard_error(deviations / length, block)
    if not degrees:
        return np.nan
    sums = np.cumsum(np.concatenate([[0.0], deviations]))
    means = (sums[days:] - sums[:-days]) / days
    return float(stdtrit(degrees, 0.975) * np.sqrt(np.square(means).mean() + error**2))


def _summary(measure: str, series: np.ndarray, changes: pd.DataFrame, lookback: int) -> Summary:
    name, smallest = named(measure), 2 / (SIMULATIONS + 1)
    if changes.empty:
        p = clearest_p(series, lookback)
        if np.isnan(p):
            verdict = (
                f"No test for changes of the {name}: expected at least {4 * lookback} days and two different values, "
                f"found {len(series)} days."
            )
        else:
            verdict = f"No change of the {name} beyond chance: the clearest has {p_value(p, smallest)}."
        return Summary(verdict, (Finding("p of the clearest change", p, _FORMULA, _reading(lookback)),))
    days = [str(date.date()) for date in changes["date"]]
    levels = zip(days, changes["before"], changes["after"], changes["p"], strict=True)
    parts = [
        f"{day} ({number_words(measure, before)} → {number_words(measure, after)}, {p_value(p, smallest)})"
        for day, before, after, p in levels
    ]
    findings = [
        Finding(f"p on {day}", p, _FORMULA, _reading(lookback)) for day, p in zip(days, changes["p"], strict=True)
    ]
    return Summary(f"Changes of the {name}: {', '.join(parts)}.", tuple(findings))


def _reading(lookback: int) -> str:
    return f"Against days without a change that follow an AR(1) of {DEPENDENCE} averaged over {lookback} days."
