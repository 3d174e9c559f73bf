"""Inputs made as another trainer makes them, against loops over the rows of rough tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stockformer.config import BASE_FEATURE_COLUMNS, ENCODER_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset
from stockformer.market import ETFS
from stockformer.preprocessing import TRAINED_ELSEWHERE

NAN = math.nan
SECTORS = {"AAA": "TECHNOLOGY", "BBB": "ENERGY & TRANSPORTATION", "CCC": None, "LATE": "UTILITIES", "NEW": "FINANCE"}
FUNDS = {"TECHNOLOGY": "XLK", "ENERGY & TRANSPORTATION": "XLE", "UTILITIES": "XLU", "FINANCE": "XLF"}
MACRO = ["treasury_yield_10year", "treasury_yield_2year", "unemployment", "nonfarm_payroll"]
COMPUTED = ["close_1d_roc", "close_3d_roc", "close_10d_roc", "vol_3d_mean", "vol_10d_mean", "close_5d_vol"]
DAYS = 130


def way_of(settings):
    share = 1 - settings["validation_fraction"]
    return replace(TRAINED_ELSEWHERE, min_return=settings["min_return"], training_fraction=share)


def rough_panel(seed):
    """Five tickers and four ETFs with gaps, infinities and shuffled rows; XLU has no rows, XLE lacks some days.

    LATE and NEW start so late that their statistics have one row and none.
    """
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2021-01-01", periods=DAYS)
    tables = []
    for ticker in [*SECTORS, "SPY", "QQQ", "XLK", "XLE", "XLF"]:
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, DAYS)))
        rows = pd.DataFrame({"date": dates.strftime("%Y-%m-%d"), "symbol": ticker, "close": close})
        rows["adjusted_close"] = close * rng.uniform(0.5, 1.5, DAYS)  # close wins
        for name in ("open", "high", "low", "volume"):
            rows[name] = rng.uniform(1, 2, DAYS) * (1e6 if name == "volume" else close)
        names = [*BASE_FEATURE_COLUMNS, *MACRO, "spy_ret_1d"]  # columns that ETF rows replace
        rows = pd.concat([rows, pd.DataFrame(rng.normal(3, 2, (DAYS, len(names))), columns=names)], axis=1)
        rows["nonfarm_payroll"] += 135000
        rows["sector"] = SECTORS.get(ticker)
        numbers = rows.columns.drop(["date", "symbol", "sector"])
        rows[numbers] = rows[numbers].mask(rng.random((DAYS, len(numbers))) < 0.05)
        ratios = [*BASE_FEATURE_COLUMNS, "unemployment", "volume"]
        rows[ratios] = rows[ratios].mask(rng.random((DAYS, len(ratios))) < 0.02, np.inf)
        rows["pe_ratio"] = rows["pe_ratio"].mask(rng.random(DAYS) < 0.05, -np.inf)
        tables.append(rows.iloc[{"LATE": 107, "NEW": 108, "XLE": 3}.get(ticker, 0) :])
    panel = pd.concat(tables, ignore_index=True)
    panel.loc[(panel["symbol"] == "XLE") & (rng.random(len(panel)) < 0.1), "date"] = None
    panel.loc[(panel["symbol"] == "AAA") & (rng.random(len(panel)) < 0.1), "sector"] = None
    return panel.dropna(subset="date").sample(frac=1, random_state=seed)


def clean(values):
    return [value if math.isfinite(value) else 0.0 for value in values]


def change(values, days):
    return [NAN if t < days else values[t] / values[t - days] - 1 for t in range(len(values))]


def rolling(values, days, function):
    full = [t >= days - 1 and all(map(math.isfinite, values[t - days + 1 : t + 1])) for t in range(len(values))]
    return [function(values[t - days + 1 : t + 1]) if full[t] else NAN for t in range(len(values))]


def mean(values):
    return math.fsum(values) / len(values)


def deviation(values, ddof):
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - ddof))


def fund_returns(panel):
    """ticker -> date -> (one-day change, five-day change, deviation)."""
    returns = {}
    for ticker, rows in panel[panel["symbol"].isin(ETFS)].groupby("symbol"):
        rows = rows.sort_values("date")
        price = rows["close"].tolist()
        daily = change(price, 1)
        spread = rolling(daily, 5, lambda values: deviation(values, 1))
        returns[ticker] = dict(zip(rows["date"], zip(daily, change(price, 5), spread, strict=True), strict=True))
    return returns


def by_the_page(panel, horizon, mode, columns, raw, lookback, min_return, validation_fraction):
    """What the other trainer makes of a panel: ticker, dates, closes, inputs, targets, window ends, cutoff."""
    funds, tickers = fund_returns(panel), {}
    for ticker in sorted(set(panel["symbol"]) - ETFS):
        rows = panel[panel["symbol"] == ticker].sort_values("date")
        close, volume = rows["close"].tolist(), rows["volume"].tolist()
        made = {f"close_{days}d_roc": clean(change(close, days)) for days in (1, 3, 10)}
        made |= {f"vol_{days}d_mean": clean(rolling(volume, days, mean)) for days in (3, 10)}
        made["close_5d_vol"] = clean(rolling(made["close_1d_roc"], 5, lambda values: deviation(values, 1)))
        days = list(zip(rows["date"], rows["sector"], strict=True))
        nothing = (NAN, NAN, NAN)
        spy = [funds["SPY"].get(day, nothing) for day, _ in days]
        sector = [funds.get(FUNDS.get(name, ""), {}).get(day, nothing) for day, name in days]
        for k, name in enumerate(("ret_1d", "ret_5d", "vol_5d")):
            made[f"spy_{name}"] = clean([values[k] for values in spy])
            made[f"sector_etf_{name}"] = clean([values[k] for values in sector])
        made["sector_rel_ret_1d"] = clean([r - s[0] for r, s in zip(made["close_1d_roc"], sector, strict=True)])
        inputs = []
        for name in columns:
            values, last = [], 0.0
            for value in made.get(name) or rows[name].tolist():
                last = last if math.isnan(value) else value
                values.append(last)
            inputs.append(clean(values))
        ahead = [*close, *[NAN] * horizon][horizon:]
        targets = [b / a - 1 for a, b in zip(close, ahead, strict=True)]
        tickers[ticker] = rows["date"].tolist(), np.array(inputs).T, targets
    small = 0 if mode == "regression" else min_return
    ends = [
        (ticker, t)
        for ticker, (_, _, targets) in tickers.items()
        for t in range(lookback - 1, len(targets))
        if abs(targets[t]) >= small
    ]
    days = sorted({tickers[ticker][0][t] for ticker, t in ends})
    cutoff = days[int((1 - validation_fraction) * len(days))]
    for dates, inputs, _ in tickers.values():
        training = [t for t, day in enumerate(dates) if day < cutoff]
        for k, name in enumerate(columns):
            if len(training) < 2 or name in raw:
                continue
            values = inputs[training, k].tolist()
            spread = deviation(values, 0)
            inputs[:, k] = (inputs[:, k] - mean(values)) / (spread if spread >= 1e-6 else 1)
    return tickers, ends, cutoff


CASES = [
    (0, 3, "binary", True, {}),
    (1, 10, "binary", False, {}),
    (2, 5, "regression", True, {"validation_fraction": 0.3}),
    (3, 1, "buckets", False, {"min_return": 0.01, "lookback": 20}),
    (4, 30, "binary", True, {"min_return": 0.0, "lookback": 33}),
]


@pytest.mark.parametrize(("seed", "horizon", "mode", "cross", "options"), CASES)
def test_a_rough_panel(seed, horizon, mode, cross, options):
    panel = rough_panel(seed)
    settings = {"lookback": 25, "min_return": 0.0025, "validation_fraction": 0.2} | options
    columns = [*BASE_FEATURE_COLUMNS, *MARKET_FEATURE_COLUMNS] if cross else ENCODER_FEATURE_COLUMNS
    raw = MARKET_FEATURE_COLUMNS if cross else []
    tickers, ends, cutoff = by_the_page(panel, horizon, mode, columns, raw, **settings)
    with pytest.warns(UserWarning, match="rows are sorted"):
        dataset = StockDataset(
            panel,
            BASE_FEATURE_COLUMNS if cross else ENCODER_FEATURE_COLUMNS,
            MARKET_FEATURE_COLUMNS if cross else None,
            f"close_{horizon}d_fwd_return",
            settings["lookback"],
            mode,
            bucket_edges=4,
            preprocessing=way_of(settings),
        )
    assert len(dataset) == len(ends)
    if settings["lookback"] == 20:
        early = {ticker: sum(day < cutoff for day in tickers[ticker][0]) for ticker in dataset.end_tickers}
        assert (early["LATE"], early["NEW"]) == (1, 0)
    assert str(dataset.first_validation_date.date()) == cutoff
    every = [target for _, _, targets in tickers.values() for target in targets if math.isfinite(target)]
    if mode == "buckets":
        assert dataset.bucket_edges == pytest.approx([100 * np.quantile(every, q) for q in (0.25, 0.5, 0.75)])
    for i, (ticker, t) in enumerate(ends):
        dates, inputs, targets = tickers[ticker]
        window, span = dataset.window(i), slice(t - settings["lookback"] + 1, t + 1)
        assert (window.ticker, [str(day.date()) for day in window.dates]) == (ticker, dates[span])
        found = np.hstack([part[0].numpy() for part in window.inputs])
        np.testing.assert_allclose(found, inputs[span].astype(np.float32), rtol=1e-5, atol=1e-5)
        assert window.forward_return == pytest.approx(targets[t], rel=1e-12)
        expected = {"regression": targets[t], "binary": float(targets[t] >= 0.015)}
        edges = dataset.bucket_edges or []
        assert window.y.item() == pytest.approx(expected.get(mode, sum(100 * targets[t] >= edge for edge in edges)))
