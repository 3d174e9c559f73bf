"""Every derived feature against a loop that follows the table of the specification."""

from __future__ import annotations

import math
import sys

import numpy as np
import pandas as pd
import pytest

from stockformer.config import BASE_FEATURE_COLUMNS, FUNDAMENTAL_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset
from stockformer.features import add_derived_features, is_derivable

DAYS = 420
DERIVED = [name for name in BASE_FEATURE_COLUMNS if name not in [*FUNDAMENTAL_FEATURE_COLUMNS, "dividend_yield"]]
SIGNALS = [name for name in DERIVED if name.endswith("_signal")]
NAN = math.nan


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    """Two tickers day by day in turn: a calm one, and one whose days span about half its price."""
    rng = np.random.default_rng(5)
    spy = rng.normal(0, 0.01, DAYS)
    walks = [_walk(rng, spy, "CALM", 0.02, 0.03), _walk(rng, spy, "WILD", 0.05, 0.5)]
    return pd.concat(walks).sort_values(["date", "symbol"], ignore_index=True)


def _walk(rng, spy, symbol, volatility, spread):
    drift = np.repeat([0.006, -0.006, 0.0], DAYS // 3)
    close = 50 * np.exp(np.cumsum(drift + spy + rng.normal(0, volatility, DAYS)))
    return pd.DataFrame(
        {
            "date": pd.bdate_range("2019-06-03", periods=DAYS),
            "symbol": symbol,
            "open": close * rng.uniform(1 - spread / 4, 1 + spread / 4, DAYS),
            "high": close * (1 + spread * rng.uniform(0.3, 1, DAYS)),
            "low": close / (1 + spread * rng.uniform(0.3, 1, DAYS)),
            "adjusted_close": close,
            "volume": rng.uniform(1e5, 1e6, DAYS),
            "spy_ret_1d": spy,
        }
    )


@pytest.fixture(scope="module")
def derived(prices) -> pd.DataFrame:
    return add_derived_features(prices, DERIVED)


# The specification, one day at a time


def change(values, days):
    return [NAN if t < days else values[t] / values[t - days] - 1 for t in range(len(values))]


def window(values, days, function):
    return [NAN if t < days - 1 else function(values[t - days + 1 : t + 1]) for t in range(len(values))]


def mean(values):
    return sum(values) / len(values)


def deviation(values, ddof):
    centre = mean(values)
    return math.sqrt(sum((v - centre) ** 2 for v in values) / (len(values) - ddof))


def distance(close, level):
    return [(c - v) / v * 100 for c, v in zip(close, level, strict=True)]


def wilder(values, first, days):
    """Wilder's average: the plain mean of `days` values from `first` on, then 1/days of each new one."""
    result = [NAN] * len(values)
    average = mean(values[first : first + days])
    result[first + days - 1] = average
    for t in range(first + days, len(values)):
        average = (average * (days - 1) + values[t]) / days
        result[t] = average
    return result


def rsi(day):
    close = day["adjusted_close"]
    moves = [0.0] + [close[t] - close[t - 1] for t in range(1, len(close))]
    gain = wilder([max(m, 0) for m in moves], 1, 14)
    loss = wilder([max(-m, 0) for m in moves], 1, 14)
    return [100 * g / (g + v) for g, v in zip(gain, loss, strict=True)]


def true_range(day):
    high, low, close = day["high"], day["low"], day["adjusted_close"]
    return [0.0] + [max(high[t], close[t - 1]) - min(low[t], close[t - 1]) for t in range(1, len(close))]


def adx(day):
    """Wilder: sums of 13 days start the smoothing, ADX starts with the mean of 14 DX."""
    high, low = day["high"], day["low"]
    span = true_range(day)
    plus, minus = [0.0], [0.0]
    for t in range(1, len(high)):
        up, down = high[t] - high[t - 1], low[t - 1] - low[t]
        plus.append(up if up > down and up > 0 else 0.0)
        minus.append(down if down > up and down > 0 else 0.0)
    totals = [sum(series[1:14]) for series in (plus, minus, span)]
    dx = [0.0] * len(high)
    for t in range(14, len(high)):
        totals = [s - s / 14 + series[t] for s, series in zip(totals, (plus, minus, span), strict=True)]
        dx[t] = 100 * abs(totals[0] - totals[1]) / (totals[0] + totals[1])
    return wilder(dx, 14, 14)


def cci(day):
    typical = [mean(three) for three in zip(day["high"], day["low"], day["adjusted_close"], strict=True)]

    def last(values):
        centre = mean(values)
        return (values[-1] - centre) / (0.015 * mean([abs(v - centre) for v in values]))

    return window(typical, 14, last)


def ema(values, first, days):
    """Exponential average from the mean of the `days` values before and at `first`."""
    result = [NAN] * len(values)
    result[first] = mean(values[first - days + 1 : first + 1])
    for t in range(first + 1, len(values)):
        result[t] = result[t - 1] + (values[t] - result[t - 1]) * 2 / (days + 1)
    return result


def macd_signal(day):
    close = day["adjusted_close"]
    macd = [f - s for f, s in zip(ema(close, 25, 12), ema(close, 25, 26), strict=True)]
    average = ema(macd, 33, 9)
    return [sign(m > a, m < a) for m, a in zip(macd, average, strict=True)]


def sign(up, down):
    return 1 if up else -1 if down else 0


def bollinger(day):
    close = day["adjusted_close"]
    centre = window(close, 20, mean)
    width = [2 * d for d in window(close, 20, lambda v: deviation(v, 0))]
    return [sign(c < m - w, c > m + w) for c, m, w in zip(close, centre, width, strict=True)]


def beta(day):
    stock, market = change(day["adjusted_close"], 1), day["spy_ret_1d"]
    result = [NAN] * len(stock)
    for t in range(252, len(stock)):
        y, x = stock[t - 251 : t + 1], market[t - 251 : t + 1]
        xm, ym = mean(x), mean(y)
        result[t] = sum((a - xm) * (b - ym) for a, b in zip(x, y, strict=True)) / sum((a - xm) ** 2 for a in x)
    return result


def atr_signal(day):
    return [
        sign(c < 2 * a, c > 2 * a) for c, a in zip(day["adjusted_close"], wilder(true_range(day), 1, 14), strict=True)
    ]


def sma_cross(day):
    fast, slow = (window(day["adjusted_close"], days, mean) for days in (20, 50))
    return [sign(f > s, f < s) for f, s in zip(fast, slow, strict=True)]


SPECIFICATION = {
    "volume_pct": lambda day: change(day["volume"], 1),
    "close_1d_roc": lambda day: change(day["adjusted_close"], 1),
    "close_3d_roc": lambda day: change(day["adjusted_close"], 3),
    "close_10d_roc": lambda day: change(day["adjusted_close"], 10),
    "close_5d_vol": lambda day: window(change(day["adjusted_close"], 1), 5, lambda v: deviation(v, 1)),
    "vol_3d_mean": lambda day: window(day["volume"], 3, mean),
    "vol_10d_mean": lambda day: window(day["volume"], 10, mean),
    "sma_20_pct": lambda day: distance(day["adjusted_close"], window(day["adjusted_close"], 20, mean)),
    "sma_50_pct": lambda day: distance(day["adjusted_close"], window(day["adjusted_close"], 50, mean)),
    "sma_200_pct": lambda day: distance(day["adjusted_close"], window(day["adjusted_close"], 200, mean)),
    "rsi_14": rsi,
    "adx_14": adx,
    "cci_14": cci,
    "52_week_high_pct": lambda day: distance(day["adjusted_close"], window(day["high"], 252, max)),
    "52_week_low_pct": lambda day: distance(day["adjusted_close"], window(day["low"], 252, min)),
    "high_pct": lambda day: change(day["high"], 1),
    "low_pct": lambda day: change(day["low"], 1),
    "open_pct": lambda day: change(day["open"], 1),
    "adjusted_close_pct": lambda day: change(day["adjusted_close"], 1),
    "macd_signal": macd_signal,
    "rsi_signal": lambda day: [sign(r < 30, r > 70) for r in rsi(day)],
    "adx_signal": lambda day: [sign(a > 25, a < 20) for a in adx(day)],
    "atr_signal": atr_signal,
    "cci_signal": lambda day: [sign(c <= -100, c >= 100) for c in cci(day)],
    "bollinger_bands_signal": bollinger,
    "sma_cross_signal": sma_cross,
    "beta": beta,
    "day_of_week_num": lambda day: [float(date.weekday()) for date in day["date"]],
    "month": lambda day: [float(date.month) for date in day["date"]],
}


def by_day(prices, symbol):
    return {name: column.tolist() for name, column in prices[prices["symbol"] == symbol].items()}


@pytest.mark.parametrize("symbol", ["CALM", "WILD"])
@pytest.mark.parametrize("name", DERIVED)
def test_feature(prices, derived, name, symbol):
    expected = np.array(SPECIFICATION[name](by_day(prices, symbol)), dtype=float)
    actual = derived.loc[derived["symbol"] == symbol, name].to_numpy()
    rounded = name.endswith("_pct") and name.startswith(("sma", "52"))
    tolerance = 0.005 + 1e-9 if rounded else 1e-8 * max(1.0, np.nanmax(np.abs(expected)))
    assert np.isfinite(expected).sum() > 150
    np.testing.assert_allclose(actual, expected, atol=tolerance, rtol=0)
    if rounded:
        np.testing.assert_array_equal(actual, np.round(actual, 2))


def test_the_specification_is_complete():
    assert list(SPECIFICATION) == DERIVED
    assert all(is_derivable(name, ["spy_ret_1d"]) for name in DERIVED)


@pytest.mark.parametrize("name", SIGNALS)
def test_the_prices_above_show_every_signal(prices, name):
    seen = SPECIFICATION[name](by_day(prices, "WILD"))
    assert min(seen.count(value) for value in (-1, 0, 1)) > 5


@pytest.mark.parametrize("days", [30, 100, 333])
def test_no_value_looks_ahead(prices, derived, days):
    early = add_derived_features(prices.head(2 * days), DERIVED)
    pd.testing.assert_frame_equal(early, derived.head(2 * days), rtol=1e-12)


def test_tickers_do_not_leak(prices, derived):
    for symbol, rows in prices.groupby("symbol"):
        alone = add_derived_features(rows, DERIVED)
        pd.testing.assert_frame_equal(alone, derived[derived["symbol"] == symbol])


def test_given_columns_are_kept(prices):
    given = prices.assign(rsi_14=1.5, close_1d_roc=0.25)
    result = add_derived_features(given, ["rsi_14", "close_1d_roc", "close_5d_vol", "rsi_signal"])
    assert (result["rsi_14"] == 1.5).all()
    assert (result["rsi_signal"] == 1).all()  # what builds on a given column uses it
    assert (result["close_5d_vol"].dropna() == 0).all()
    assert list(result.columns) == [*given.columns, "close_5d_vol", "rsi_signal"]


def test_only_what_is_asked_for_is_added(prices):
    assert list(add_derived_features(prices, ["rsi_signal"]).columns) == [*prices.columns, "rsi_signal"]


def test_names_that_nothing_computes_are_left_out(prices):
    assert add_derived_features(prices, ["pe_ratio", "nonsense"]) is prices


@pytest.mark.parametrize("name", [*FUNDAMENTAL_FEATURE_COLUMNS, "dividend_yield", *MARKET_FEATURE_COLUMNS, "nonsense"])
def test_not_derivable(name):
    assert not is_derivable(name, ["spy_ret_1d"])


def test_beta_needs_the_market():
    assert not is_derivable("beta", ["adjusted_close"])


@pytest.mark.parametrize("name", ["rsi_14", "adx_14", "cci_14", "macd_signal", "atr_signal", "cci_signal"])
def test_without_talib(prices, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "talib", None)
    with pytest.raises(ImportError, match="needs TA-Lib: pip install"):
        add_derived_features(prices, [name])


@pytest.mark.parametrize("name", [*sorted({*DERIVED} - {"rsi_14", "adx_14", "cci_14", *SIGNALS}), "sma_cross_signal"])
def test_plain_features_need_no_talib(prices, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "talib", None)
    assert add_derived_features(prices, [name])[name].notna().any()


def test_a_few_days_and_missing_prices(prices):
    few = add_derived_features(prices.head(6), DERIVED)
    assert few["rsi_14"].isna().all()
    gone = add_derived_features(prices.assign(adjusted_close=NAN), ["rsi_14", "adx_14", "macd_signal"])
    assert gone["rsi_14"].isna().all()


# Names of the file format


def test_feature_names():
    assert (len(BASE_FEATURE_COLUMNS), len(MARKET_FEATURE_COLUMNS)) == (41, 11)
    assert len(FUNDAMENTAL_FEATURE_COLUMNS) == 11
    places = {0: "volume_pct", 4: "close_5d_vol", 12: "cci_14", 18: "adjusted_close_pct", 27: "bull_bear_delta"}
    places |= {30: "beta", 33: "surprise_percentage", 38: "analyst_rating_strong_sell", 40: "month"}
    assert {i: BASE_FEATURE_COLUMNS[i] for i in places} == places
    assert MARKET_FEATURE_COLUMNS[0] == "spy_ret_1d"
    assert MARKET_FEATURE_COLUMNS[6] == "sector_rel_ret_1d"
    assert MARKET_FEATURE_COLUMNS[10] == "nonfarm_payroll"


def test_a_dataset_computes_them_on_load(prices):
    dataset = StockDataset(prices, ["sma_20_pct", "month"], None, lookback=5)
    assert dataset.unavailable == []
    dates = dataset.window(0).dates
    spread = np.array(dataset.normalization.std["CALM"]) * 1.0
    x = dataset[0][0][:, 1].numpy() * spread[1] + dataset.normalization.mean["CALM"][1]
    np.testing.assert_allclose(x, dates.month, atol=1e-5)
