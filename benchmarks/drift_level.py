"""Simulate the levels of `stockformer.survey.drift` in docs/statistics.md: ``python benchmarks/drift_level.py [sets]``.

It prints the two tables of the section "Changes of level".
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from tables import table

from stockformer.survey.drift import quarter_levels
from stockformer.uncertainty.changes import LEVEL, clearest_p, dependent_series, find_changes

DAYS, TICKERS, COMMON, NEAR = 1744, 4, 0.7, 5
CORRELATIONS = (0.0, 0.9, 0.98, 0.99)
PLANTED = {"step in the middle": (872,), "step after a quarter": (436,), "stretch of 250 days": (700, 950)}


def daily_means(rng: np.random.Generator, lookback: int, correlation: float) -> np.ndarray:
    """Mean over tickers that share part of their variance, [days], of variance about 1."""
    shared, *own = dependent_series(rng, TICKERS + 1, DAYS, lookback, correlation)
    mean = np.sqrt(COMMON) * shared + np.sqrt(1 - COMMON) * np.mean(own, axis=0)
    values: np.ndarray = mean / mean.std()
    return values


def levels(sets: int) -> str:
    rows = []
    dates = pd.bdate_range("2006-03-14", periods=DAYS)
    for lookback in (22, 60):
        for correlation in CORRELATIONS:
            rng = np.random.default_rng(len(rows))
            false, held = [], []
            for _ in range(sets):
                series = daily_means(rng, lookback, correlation)
                false.append(clearest_p(series, lookback) <= LEVEL)
            for series in dependent_series(rng, sets, DAYS, lookback, correlation):  # whose true level is 0
                quarters = quarter_levels(pd.Series(series, dates), series - series.mean(), lookback).dropna()
                held.append(((quarters["low"] <= 0) & (quarters["high"] >= 0)).mean())
            rows.append([lookback, f"{correlation:g}", _percent(np.mean(false)), _percent(np.nanmean(held))])
            print(rows[-1], file=sys.stderr, flush=True)
    return table(["lookback", "AR(1)", "a change is claimed", "quarters' intervals hold the level"], rows)


def power(sets: int) -> str:
    rows = []
    for correlation in (0.9, 0.98):
        for name, places in PLANTED.items():
            for size in (2, 4):
                rng, found, near, number = np.random.default_rng(len(rows)), [], [], []
                for _ in range(sets):
                    series = daily_means(rng, 22, correlation)
                    for place, sign in zip(places, (1, -1), strict=False):
                        series[place:] += sign * size
                    changes = [change.place for change in find_changes(series, 22)]
                    found.append(bool(changes))
                    number.append(len(changes))
                    near.append(all(any(abs(one - place) <= NEAR for one in changes) for place in places))
                shares = [_percent(np.mean(one)) for one in (found, near, np.greater(number, len(places)))]
                rows.append([name, f"{correlation:g}", size, *shares])
                print(rows[-1], file=sys.stderr, flush=True)
    head = ["planted", "AR(1)", "size, std", "found", f"all within {NEAR} days", "more changes than planted"]
    return table(head, rows)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(levels(number), power(max(1, number // 5)), sep="\n\n")
