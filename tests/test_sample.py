"""The shipped sample: its windows, and facts about its prices that others have written down."""

from __future__ import annotations

import copy

import pandas as pd
import pytest
import torch

from stockformer.config import BASE_FEATURE_COLUMNS, FUNDAMENTAL_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.explainability import compute_input_saliency
from stockformer.sample import MODELS, load_sample, sample_table, shipped_name


def test_the_shipped_windows(sample):
    dataset, model = sample
    assert len(dataset) == 6852
    assert sorted(set(dataset.end_tickers)) == ["AAPL", "GOOG", "IBM", "MSFT"]
    assert (dataset.feature_cols, dataset.market_feature_cols) == (BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS)
    assert (len(model.stock_layers), model.stock_layers[0].self_attn.num_heads) == (4, 8)
    assert not model.training


def test_windows_of_the_sample_counted_by_hand(sample):
    rows = sample_table().groupby("symbol").size()
    assert len(sample[0]) == sum(n - 59 - 3 for n in rows)


@pytest.mark.parametrize("name", MODELS)
def test_a_shipped_model_is_known_by_its_weights(name):
    model = load_sample(name)[1]
    assert shipped_name(copy.deepcopy(model)) == name
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-6
    assert shipped_name(model) is None


def test_weights_of_another_size_are_not_read():
    assert shipped_name(torch.nn.Linear(100_000, 100_000, device="meta")) is None


def test_unavailable_features_of_the_sample(sample):
    assert sample[0].unavailable == FUNDAMENTAL_FEATURE_COLUMNS
    assert len(sample[0].unavailable) == 11


@pytest.mark.parametrize("method", ["gradient", "input_x_gradient"])
@pytest.mark.parametrize("day", ["2006-11-21", "2008-12-08", "2012-06-01"])
def test_unavailable_features_explain_nothing(sample, day, method):
    dataset, model = sample
    table = sample_table()
    constant = [name for name in table.columns if table[name].nunique() == 1]
    assert constant == ["atr_signal"]  # no close is near twice its daily range
    x, _, market_x = dataset[dataset.index_of(day)]
    stock, market = compute_input_saliency(model, x[None], market_x[None], method=method)
    gone = [BASE_FEATURE_COLUMNS.index(name) for name in FUNDAMENTAL_FEATURE_COLUMNS]
    same = [i for i, name in enumerate(BASE_FEATURE_COLUMNS) if name in constant]
    real = [i for i in range(41) if i not in gone + same]
    assert not stock[:, gone + same].any()
    assert market.any(dim=0).all()
    if method == "gradient":  # an input may be 0, such as the dividends of a stock that pays none
        assert stock[:, real].any(dim=0).all()


@pytest.mark.parametrize(("day", "volatility"), [("2006-11-21", 6.6), ("2008-12-08", 75.8)])
def test_a_calm_market_and_a_crash(day, volatility):
    table = sample_table()
    spy = table[table["symbol"] == "AAPL"].set_index("date")["spy_ret_1d"].loc[:day].tail(60)
    mean = sum(spy) / 60
    yearly = (sum((r - mean) ** 2 for r in spy) / 59 * 252) ** 0.5
    assert round(100 * yearly, 1) == volatility


def test_real_prices():
    """Facts that anyone can look up: AAPL's closes around the release of the first iPhone and of Lehman's end."""
    table = sample_table().set_index(["symbol", "date"])
    assert table.index.is_unique
    fall = table.loc[("AAPL", "2008-09-29")]
    assert fall["adjusted_close_pct"] == pytest.approx(105.26 / 128.24 - 1, abs=1e-3)
    assert fall["spy_ret_1d"] < -0.07
    assert table.loc[("AAPL", "2008-09-29"), "treasury_yield_10year"] == pytest.approx(3.61, abs=0.02)


@pytest.mark.parametrize(("month", "rate"), [("2008-09", 6.0), ("2010-01", 10.6)])
def test_unemployment_counts_from_its_release(month, rate):
    """A month's rate (not seasonally adjusted) comes out early in the next month, never before."""
    table = sample_table().query("symbol == 'AAPL'").set_index("date")["unemployment"]
    after = pd.Period(month) + 1
    assert table.loc[f"{after}-16" : f"{after}-28"].eq(rate).all()
    assert not table.loc[f"{month}-01" : f"{month}-28"].eq(rate).all()
