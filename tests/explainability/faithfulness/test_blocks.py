"""Blocks of days, the test over them, and the correction of its p-values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stockformer.dataset import StockDataset
from stockformer.explainability import calendar_blocks
from stockformer.explainability.faithfulness.blocks import holm, ratio_test


def test_windows_of_all_tickers_that_end_in_the_same_days_are_one_block(make_table):
    dataset = StockDataset(make_table(days=100), ["f0", "f1"], ["m0"], lookback=8)
    blocks = calendar_blocks(dataset, range(len(dataset)))
    days = np.unique(dataset.end_dates)
    assert blocks.min() == 0
    assert blocks.max() + 1 == len(days) // 16
    for day in days:
        assert len(set(blocks[dataset.end_dates == day])) == 1
    lengths = [len(np.unique(dataset.end_dates[blocks == block])) for block in range(blocks.max() + 1)]
    assert min(lengths) >= 16


def test_the_ratio_test_of_equal_blocks_is_students_t():
    rng = np.random.default_rng(0)
    means = rng.normal(0.4, 1.0, 9)
    test = ratio_test(means.repeat(2), np.ones(18), np.arange(9).repeat(2))
    expected = stats.ttest_1samp(means, 0.0, alternative="greater")
    assert test.p == pytest.approx(expected.pvalue)
    interval = stats.ttest_1samp(means, 0.0).confidence_interval(0.95)
    assert (test.low, test.high) == pytest.approx((interval.low, interval.high))


def test_holm_is_that_of_the_textbook():
    """Holm 1979: the smallest p times m, the next times m - 1, and so on, never falling."""
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.9])
    np.testing.assert_allclose(holm(p), [0.04, np.nan, 0.09, 0.09, 0.9])
    assert holm(np.array([0.3, 0.6])).tolist() == [0.6, 0.6]
