"""Drift: planted changes are found, none is where there is none, and quarters are those of pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from small_market import make_dataset, make_model

from stockformer.charts.history import drift_history
from stockformer.survey import Survey, drift, history, sample_survey, survey
from stockformer.survey.drift import quarter_levels
from stockformer.survey.history import Filter
from stockformer.uncertainty.changes import clearest_p, dependent_series, find_changes, split_statistics

DAYS, LOOKBACK = 600, 22


def simulated(number: int, correlation: float, seed: int = 0) -> np.ndarray:
    values = dependent_series(np.random.default_rng(seed), number, DAYS, LOOKBACK, correlation)
    return values / values.std(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def shipped() -> Survey:
    return sample_survey()


def by_the_formula(values: np.ndarray, first: int, last: int) -> float:
    """The statistic of one stretch, from its parts one by one."""
    days, width = len(values), last - first
    sums = np.concatenate([[0], np.cumsum(values - values.mean())])
    parts = [values[:first], values[first:last], values[last:]]
    spread = sum(np.square(np.cumsum(part - part.mean())).sum() for part in parts if len(part))
    return (sums[last] - sums[first]) ** 2 * days**3 / (width * (days - width)) / spread


def test_the_statistic_is_the_largest_of_all_stretches():
    rows = np.random.default_rng(3).normal(size=(4, 30)).cumsum(axis=1)
    step, stretch = split_statistics(rows, 1, 3)
    for row, one, other in zip(rows, step, stretch, strict=True):
        assert one == pytest.approx(max(by_the_formula(row, place, 30) for place in range(3, 28)))
        inner = [(first, last) for first in range(3, 25) for last in range(first + 3, 28)]
        assert other == pytest.approx(max(by_the_formula(row, *places) for places in inner))
    assert split_statistics(rows.repeat(5, axis=1), 5, 3)[0] == pytest.approx(step)


@pytest.mark.parametrize("places", [(300,), (200, 350)])
def test_planted_changes_are_found_within_days(places):
    found = 0
    for series in simulated(100, 0.9):
        for place, sign in zip(places, (1, -1), strict=False):
            series[place:] += 8 * sign
        changes = [change.place for change in find_changes(series, LOOKBACK)]
        found += len(changes) == len(places) and np.abs(np.subtract(changes, places)).max() <= 5
    assert found >= 90


def test_level_without_a_change():
    # 5 % aimed at: 400 simulations give more than 9 % by chance in less than one of a thousand runs.
    ps = [clearest_p(series, LOOKBACK) for series in simulated(400, 0.98, seed=1)]
    assert 0.005 <= np.mean(np.array(ps) <= 0.05) <= 0.09


def test_too_short_and_constant_series_have_no_change():
    assert find_changes(np.arange(4 * LOOKBACK - 1.0), LOOKBACK) == []
    assert find_changes(np.ones(DAYS), LOOKBACK) == []
    assert np.isnan(clearest_p(np.ones(DAYS), LOOKBACK))
    assert np.isnan(clearest_p(np.array([]), LOOKBACK))


def test_quarters_are_those_of_pandas(shipped):
    frame = shipped.to_frame(["date", "market_share"])
    daily = frame.groupby("date")["market_share"].mean()
    expected = daily.resample("QS").agg(["size", "mean"])
    quarters = drift(shipped, "market_share").quarters
    assert list(quarters["quarter"]) == list(expected.index)
    assert list(quarters["days"]) == list(expected["size"])
    np.testing.assert_allclose(quarters["mean"], expected["mean"])
    assert (quarters["low"] < quarters["mean"]).all()
    assert (quarters["mean"] < quarters["high"]).all()


def test_intervals_hold_the_level():
    dates = pd.bdate_range("2010-01-01", periods=4 * DAYS)
    rows = dependent_series(np.random.default_rng(2), 60, 4 * DAYS, LOOKBACK, 0.9)
    tables = [quarter_levels(pd.Series(row, dates), row - row.mean(), LOOKBACK) for row in rows]
    held = [((table["low"] <= 0) & (table["high"] >= 0)).mean() for table in tables]
    assert 0.9 <= np.mean(held) <= 0.99


def test_changes_and_their_sentence(shipped):
    found = drift(shipped, "value")
    daily = shipped.to_frame(["date", "value"]).groupby("date")["value"].mean()
    first, last = found.changes["date"]
    means = [daily[:first].iloc[:-1].mean(), daily[first:last].iloc[:-1].mean(), daily[last:].mean()]
    np.testing.assert_allclose(found.changes["before"], means[:2])
    np.testing.assert_allclose(found.changes["after"], means[1:])
    assert found.summary.verdict.startswith(
        f"Changes of the value: {first.date()} ({means[0]:#.3g} → {means[1]:#.3g}, p"
    )
    # The level of the truth itself moved: what the model reads, not the model.
    assert abs((drift(shipped, "outcome").changes["date"] - found.changes["date"]).dt.days).max() < 60


def test_no_change_is_said(shipped):
    found = drift(shipped, "error")
    assert found.changes.empty
    assert found.summary.verdict.startswith("No change of the error beyond chance: the clearest has p = ")
    daily = shipped.to_frame(["date", "error"]).groupby("date")["error"].mean().dropna()
    np.testing.assert_allclose(found.levels, [daily.mean()])


def test_the_chart_has_the_quarters_and_the_level_of_every_date(shipped):
    found, calendar = drift(shipped, "value"), history.calendar(shipped)
    chart = drift_history(found, calendar)
    quarter, level = chart.body.lines
    dates = pd.DatetimeIndex(calendar["date"])
    means = found.quarters.set_index("quarter")["mean"]
    np.testing.assert_allclose(quarter.values, means[dates.to_period("Q").to_timestamp()])
    jumps = dates[1:][np.diff(level.values) != 0]
    assert list(jumps) == list(found.changes["date"])
    assert chart.body.band.low[0] == pytest.approx(found.quarters["low"][0])


def test_short_surveys_and_wrong_columns(tmp_path):
    small = survey(make_model(), make_dataset(lookback=30), tmp_path / "run", progress=False)
    found = drift(small, "market_share")
    assert found.summary.verdict == (
        "No test for changes of the market share: expected at least 120 days and two different values, found 58 days."
    )
    assert found.quarters["low"].isna().all()
    assert drift_history(found, history.calendar(small)).body.band is None
    empty = drift(small, "market_share", Filter(ticker="none"))
    assert empty.quarters.empty
    assert empty.changes.empty
    drift_history(empty, history.calendar(small))
    with pytest.raises(ValueError, match="there is no measure 'ticker', only gate_layer_0"):
        drift(small, "ticker")
