"""Statistics of dependent days: by brute force, against `arch`, and their level in small simulations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from scipy.stats import binom

from stockformer.explainability.groups.tests import Labels, group_table, paired_test, shift_test
from stockformer.uncertainty.dependence import block_length, cosine_sums


def overlapping(rng: np.random.Generator, days: int, tickers: int, lookback: int = 20) -> np.ndarray:
    """Means over windows of a market that all tickers share, and of their own noise: [days, tickers]."""
    daily = rng.normal(size=(days + lookback - 1, 1)) + 0.5 * rng.normal(size=(days + lookback - 1, tickers))
    sums = np.cumsum(np.vstack([np.zeros(tickers), daily]), axis=0)
    return (sums[lookback:] - sums[:-lookback]) / lookback


def labels_of(panel: np.ndarray) -> Labels:
    """Labels of a panel [days, tickers] whose rows are listed ticker by ticker, as in a dataset."""
    days, tickers = panel.shape
    return Labels(panel.T.ravel(), np.tile(np.arange(days), tickers), np.repeat(np.arange(tickers), days))


def volatile_quarters(rng: np.random.Generator, days: int, tickers: int) -> np.ndarray:
    """1 in the calmest quarter of windows, -1 in the most volatile."""
    spread = np.abs(overlapping(rng, days, tickers)) + np.abs(overlapping(rng, days, tickers))
    low, high = np.quantile(spread, (0.25, 0.75))
    return (spread <= low).astype(int) - (spread >= high)


def shifted_differences(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Difference of means for every shift of a panel's labels, by rolling them: [days]."""
    rolled = (np.roll(group, shift, axis=0) for shift in range(len(group)))
    return np.array([values[one == 1].mean() - values[one == -1].mean() for one in rolled])


@pytest.fixture
def panel():
    rng = np.random.default_rng(3)
    return overlapping(rng, 150, 3), volatile_quarters(rng, 150, 3)


def test_shifts_by_brute_force(panel):
    values, group = panel
    differences = shifted_differences(values, group)
    p, _, _, shifts = shift_test(values.T.reshape(-1, 1), labels_of(group), 10_000)
    assert shifts == 149
    assert p[0] == pytest.approx(np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12))


def test_the_interval_holds_the_effects_that_the_test_does_not_reject(panel):
    values, group = panel
    _, _, interval, _ = shift_test(values.T.reshape(-1, 1), labels_of(group), 10_000)
    step = 1e-4
    for end, inwards in zip(interval[:, 0], (step, -step), strict=True):
        for effect, rejected in ((end - inwards, True), (end + inwards, False)):
            differences = shifted_differences(values - effect * (1 + group) / 2, group)
            assert (np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12) <= 0.05) == rejected


def test_adjusted_p_values_by_brute_force(panel):
    values, group = panel
    rng = np.random.default_rng(5)
    measures = [values, 100 * overlapping(rng, 150, 3), overlapping(rng, 150, 3) - (1 + group) / 4]
    differences = np.stack([shifted_differences(one, group) for one in measures], axis=1)
    clarity = np.abs(differences) / np.sqrt((differences**2).mean(axis=0))
    expected = [np.mean(clarity.max(axis=1) >= one - 1e-12) for one in clarity[0]]
    columns = np.stack([one.T.ravel() for one in measures] + [np.ones(450)], axis=1)
    _, adjusted, _, _ = shift_test(columns, labels_of(group), 10_000)
    np.testing.assert_allclose(adjusted, [*expected, 1])


def test_days_without_a_window_have_no_part(panel):
    values, group = panel
    labels = labels_of(group)
    exists = np.random.default_rng(0).random(len(labels.group)) < 0.9
    some = Labels(labels.group[exists], labels.days[exists], labels.tickers[exists])
    p, _, _, shifts = shift_test(values.T.reshape(-1, 1)[exists], some, 10_000)
    present = exists.reshape(3, 150).T
    rolled = [np.roll(np.where(present, group, 0), shift, axis=0) * present for shift in range(150)]
    differences = np.array([values[one == 1].mean() - values[one == -1].mean() for one in rolled])
    assert shifts == 149
    assert p[0] == pytest.approx(np.mean(np.abs(differences) >= abs(differences[0]) - 1e-12))


def test_what_cannot_be_computed_is_nan_and_a_constant_is_no_difference(panel):
    values, group = panel
    columns = np.stack([values.T.ravel(), np.full(values.size, 0.3), values.T.ravel()], axis=1)
    columns[5, 2] = np.nan
    labels = labels_of(np.where(group == 0, 1, group))
    p, _, interval, _ = shift_test(columns, labels, 10_000)
    assert p[1] == 1
    np.testing.assert_allclose(interval[:, 1], 0, atol=1e-12)
    assert np.isnan(p[2])
    assert np.isnan(interval[:, 2]).all()
    tickers = np.repeat([[1, -1]], 300, axis=0)
    columns = np.stack([np.full(600, 0.3), np.r_[np.nan, np.ones(599)]], axis=1)
    p, interval = paired_test(columns, labels_of(tickers), 20)
    assert p[0] == 1
    assert np.isnan(p[1])


@pytest.mark.parametrize("days", [200, 203])
def test_groups_that_repeat_are_tested_where_shifts_give_other_ones(days):
    """Mondays against Fridays, without holidays: of whole weeks, shifts give four other groupings."""
    weekday = np.repeat(np.arange(days)[:, None] % 5, 3, axis=1)
    labels = labels_of((weekday == 0).astype(int) - (weekday == 4))
    values = pd.DataFrame({"value": np.random.default_rng(0).normal(size=len(labels.group)) + 9 * labels.group})
    table, shifts = group_table(values, labels, 20)
    if days % 5:
        assert shifts == days - 1
        assert table["p"][0] < 0.05
    else:
        assert shifts == 4
        assert table[["low", "high", "p", "p_adjusted"]].isna().all(axis=None)


def test_groups_that_every_shift_keeps_or_exchanges_are_not_tested():
    labels = labels_of(np.repeat(np.resize([1, -1], 200)[:, None], 2, axis=1))
    table, shifts = group_table(pd.DataFrame({"value": 1.0 * labels.group}), labels, 20)
    assert shifts == 1
    assert np.isnan(table["p"][0])


def test_tickers_that_share_a_market_keep_the_level():
    """With p < 0.05 in 22 % of data sets, as shifts of one ticker after the other had it, this fails surely."""
    rng = np.random.default_rng(0)
    sets = [(overlapping(rng, 600, 4), labels_of(volatile_quarters(rng, 600, 4))) for _ in range(150)]
    tests = [shift_test(values.T.reshape(-1, 1), labels, 10_000) for values, labels in sets]
    rejected = sum(p[0] < 0.05 for p, _, _, _ in tests)
    assert rejected <= binom.ppf(0.99, len(sets), 0.07)
    held = sum(low[0] <= 0 <= high[0] for _, _, (low, high), _ in tests)
    assert held >= binom.ppf(0.01, len(sets), 0.92)


def test_a_difference_of_one_standard_deviation_is_found():
    rng = np.random.default_rng(1)
    found = []
    for _ in range(60):
        values, group = overlapping(rng, 600, 4), volatile_quarters(rng, 600, 4)
        values = values / values.std() + (1 + group) / 2
        p, _, interval, _ = shift_test(values.T.reshape(-1, 1), labels_of(group), 10_000)
        found.append((p[0] < 0.05, interval[0, 0] <= 1 <= interval[1, 0]))
    power, held = np.mean(found, axis=0)
    assert power >= 0.8
    assert held >= binom.ppf(0.01, 60, 0.92) / 60


def test_two_tickers_keep_the_level():
    rng = np.random.default_rng(2)
    labels = labels_of(np.repeat([[1, -1]], 900, axis=0))
    tests = [paired_test(overlapping(rng, 900, 2).T.reshape(-1, 1), labels, 20) for _ in range(150)]
    assert sum(p[0] < 0.05 for p, _ in tests) <= binom.ppf(0.99, 150, 0.08)
    assert sum(low[0] <= 0 <= high[0] for _, (low, high) in tests) >= binom.ppf(0.01, 150, 0.92)


def test_stretches():
    def stretches(*rows):
        return labels_of(np.array(rows).T)

    assert stretches([1, 1, 0, -1, -1, 1]).stretches == 3
    assert stretches([1, -1, 1, -1], [0, 1, 1, 0]).stretches == 2.5
    assert stretches([1, 1, 1], [-1, -1, 0]).by_ticker
    assert not stretches([1, 1, 0, 0], [0, 0, -1, -1]).by_ticker
    assert not stretches([1, 1, -1, -1]).by_ticker


@pytest.mark.parametrize("correlation", [0.3, 0.6, 0.9])
def test_block_length_of_a_first_order_autoregression(correlation):
    """Politis and White (2004): (1.5 (G / g)^2 n)^(1/3), where G / g is 2 rho / (1 - rho^2) for this series."""
    noise = np.random.default_rng(0).normal(size=(50, 9000))
    series = lfilter([1], [1, -correlation], noise)[:, 1000:]
    ratio = 2 * correlation / (1 - correlation**2)
    expected = (1.5 * ratio**2 * 8000) ** (1 / 3)
    assert np.mean([block_length(one) for one in series]) == pytest.approx(expected, rel=0.1)


def test_a_series_that_is_too_short_to_tell_is_one_block():
    assert block_length(np.full(100, 0.1)) == 1
    assert block_length(np.arange(40.0)) > 40 / 5


def test_cosine_sums_by_hand():
    series = np.random.default_rng(0).normal(size=50)
    sums = cosine_sums(series, 5)
    days = np.arange(50) + 0.5
    expected = [np.sqrt(2) * np.sum(series * np.cos(np.pi * one * days / 50)) for one in range(1, 6)]
    np.testing.assert_allclose(sums, expected)
    assert len(cosine_sums(series, 10.1)) == 0
