"""Targets of return and of volatility, and past volatilities, against plain computations from prices."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch

from stockformer.__main__ import main
from stockformer.checkpoint import save_checkpoint
from stockformer.dataset import StockDataset
from stockformer.features import add_derived_features
from stockformer.model import create_model
from stockformer.opening import open_model
from stockformer.preprocessing import TRAINED_HERE
from stockformer.target_column import TargetColumn

DAYS, LOOKBACK, HORIZON = 140, 30, 10
STOCK = ["close_1d_roc", "past_volatility_5d", "past_volatility_22d", "range_volatility_1d", "range_volatility_5d"]
RAW = ("past_volatility_5d", "range_volatility_1d")


@pytest.fixture
def prices():
    """Two tickers, one of them three times as volatile."""
    rng = np.random.default_rng(3)
    return pd.concat([_walk(rng, "CALM", 0.01), _walk(rng, "WILD", 0.03)], ignore_index=True)


def _walk(rng, symbol, volatility):
    close = 50 * np.exp(np.cumsum(rng.normal(0, volatility, DAYS)))
    spread = np.exp(volatility * rng.uniform(0.3, 1.5, (2, DAYS)))
    return pd.DataFrame(
        {
            "date": pd.bdate_range("2019-06-03", periods=DAYS),
            "symbol": symbol,
            "open": close,
            "high": close * spread[0],
            "low": close / spread[1],
            "adjusted_close": close,
            "volume": 1e6,
        }
    )


def dataset_of(prices, **options):
    columns = {"feature_cols": STOCK, "market_feature_cols": None, "lookback": LOOKBACK, "label_mode": "regression"}
    preprocessing = replace(TRAINED_HERE, raw=RAW)
    return StockDataset(prices, **{"target_col": "volatility_10d", "preprocessing": preprocessing} | columns | options)


def volatility_by_hand(close):
    """log of sqrt(252 / h * sum of squared log returns) over h + 1 prices."""
    squares = [math.log(b / a) ** 2 for a, b in pairwise(close)]
    return math.log(math.sqrt(252 / len(squares) * sum(squares)))


def test_every_target(prices):
    dataset = dataset_of(prices)
    assert len(dataset) == 2 * (DAYS - LOOKBACK + 1 - HORIZON)
    for i in range(len(dataset)):
        window = dataset.window(i)
        close = prices.loc[prices["symbol"] == window.ticker, "adjusted_close"].tolist()
        last = LOOKBACK - 1 + i % (len(dataset) // 2)
        expected = volatility_by_hand(close[last : last + HORIZON + 1])
        assert window.target_value == pytest.approx(expected, rel=1e-12)
        assert dataset[i][1].item() == pytest.approx(expected, rel=1e-6)
        assert window.forward_return == pytest.approx(close[last + HORIZON] / close[last] - 1, rel=1e-12)
    known = dataset.target_dates.to_numpy()
    assert (known == (dataset.end_dates + pd.offsets.BDay(HORIZON)).to_numpy()).all()


def test_a_target_of_the_table_is_kept(prices):
    dataset = dataset_of(prices.assign(volatility_10d=-1.25))
    assert set(dataset.labels[dataset.ends].tolist()) == {-1.25}


@pytest.mark.parametrize("column", ["adjusted_close", "high", "low", "volume"])
def test_prices_after_the_last_day_are_in_the_target_alone(prices, column):
    day = 60
    before = dataset_of(prices, train_end=prices["date"][day])
    index = before.index_of(prices["date"][day], "WILD")
    for ahead in range(1, HORIZON + 2):
        changed = prices.copy()
        changed.loc[DAYS + day + ahead, column] *= 1.1
        after = dataset_of(changed, train_end=prices["date"][day])
        assert torch.equal(before[index][0], after[index][0])
        moved = column == "adjusted_close" and ahead <= HORIZON
        assert (before[index][1] != after[index][1]).item() == moved


@pytest.mark.parametrize("missing", [np.nan, np.inf, 0.0])
def test_a_day_without_a_price_gives_no_target(prices, missing):
    halted = prices.copy()
    halted.loc[70, "adjusted_close"] = missing
    gone = prices["date"][70 - HORIZON : 71]
    dataset = dataset_of(halted, feature_cols=["volume_pct"])
    ends = dataset.end_dates[dataset.end_tickers == "CALM"]
    assert set(prices["date"][LOOKBACK - 1 : DAYS - HORIZON]) - set(ends) == set(gone)


def test_prices_that_stand_still_have_no_volatility(prices):
    """After a crash too, whose rest a running sum would keep."""
    still = prices.copy()
    still.loc[50, "adjusted_close"] = 1e-6
    still.loc[51 : 51 + HORIZON, "adjusted_close"] = 40.0
    assert np.flatnonzero(TargetColumn("volatility", HORIZON).compute(still).isna()[:DAYS]).tolist() == [
        51,
        *range(DAYS - HORIZON, DAYS),
    ]
    past = add_derived_features(still, ["past_volatility_10d"])["past_volatility_10d"]
    assert np.flatnonzero(past.isna()[:DAYS]).tolist() == [*range(HORIZON), 51 + HORIZON]


def test_past_volatilities(prices):
    names = [f"past_volatility_{n}d" for n in (5, 10, 22, 66)] + [f"range_volatility_{n}d" for n in (1, 5, 22)]
    made = add_derived_features(prices, names)
    for _, rows in made.groupby("symbol"):
        rows = rows.reset_index(drop=True)
        ranges = (np.log(rows["high"] / rows["low"]) ** 2 / (4 * math.log(2))).tolist()
        for name in names:
            kind, _, days = name.removesuffix("d").rpartition("_")
            n = int(days)
            first = n if kind == "past_volatility" else n - 1
            assert rows[name].isna().tolist() == [t < first for t in range(DAYS)]
            for t in range(first, DAYS):
                if kind == "past_volatility":
                    expected = volatility_by_hand(rows["adjusted_close"][t - n : t + 1].tolist())
                else:
                    expected = math.log(math.sqrt(252 * sum(ranges[t - n + 1 : t + 1]) / n))
                assert rows[name][t] == pytest.approx(expected, rel=1e-9)


def test_raw_features_keep_their_level(prices):
    dataset = dataset_of(prices)
    made = add_derived_features(prices, STOCK)
    for ticker in ("CALM", "WILD"):
        window = dataset.window(dataset.index_of(prices["date"][100], ticker))
        rows = made[made["symbol"] == ticker].reset_index(drop=True)
        training = rows[rows["date"] <= dataset.train_end]
        for place, name in enumerate(STOCK):
            values = rows[name][101 - LOOKBACK : 101].to_numpy()
            if name in RAW:
                np.testing.assert_allclose(window.x[:, place], values, rtol=1e-6)
                assert window.means[0][place].item() == pytest.approx(training[name].fillna(0).mean(), rel=1e-5)
            else:
                filled = training[name].fillna(0)
                np.testing.assert_allclose(window.x[:, place], (values - filled.mean()) / filled.std(ddof=0), rtol=1e-4)
                assert window.means[0][place] == 0


def test_a_checkpoint_carries_its_target(prices, tmp_path):
    dataset = dataset_of(prices, market_feature_cols=None)
    model = create_model(len(STOCK), "regression", None, {"d_model": 8, "nhead": 2, "num_layers": 1}, "encoder")
    path = save_checkpoint(tmp_path / "a.pt", model, dataset.settings)
    opened, _ = open_model(path, prices)
    assert opened.target_column == TargetColumn("volatility", HORIZON)
    assert opened.preprocessing.raw == RAW
    for ours, theirs in zip(dataset[20], opened[20], strict=True):
        assert torch.equal(ours, theirs)
    assert open_model(path, prices, horizon=5)[0].target_column == TargetColumn("volatility", 5)


def test_the_command_line_trains_on_it(prices, tmp_path, capsys):
    prices.to_csv(tmp_path / "prices.csv", index=False)
    sizes = "--lookback 20 --layers 1 --heads 2 --width 8 --epochs 1"
    target = "--target volatility_10d --label-mode regression"
    out = tmp_path / "a.pt"
    assert main(["train", str(tmp_path / "prices.csv"), "--out", str(out), *f"{target} {sizes}".split()]) == 0
    capsys.readouterr()
    dataset, model = open_model(out, tmp_path / "prices.csv")
    assert (dataset.target_column, dataset.lookback) == (TargetColumn("volatility", HORIZON), 20)
    window = dataset.window(3)
    before = [values[None] for values in (window.x, window.market_x)]
    with torch.no_grad():  # one epoch moves it little from the mean of the training labels, where it starts
        assert abs(model(*before).item() - dataset.labels[dataset.ends].mean().item()) < 0.5


@pytest.mark.parametrize("mode", ["binary", "buckets"])
def test_a_volatility_has_no_classes(prices, mode):
    with pytest.raises(ValueError, match=f"label_mode is '{mode}', and volatility_10d has no classes: expected 'regr"):
        dataset_of(prices, label_mode=mode, bucket_edges=[0.0])


def test_values_in_words():
    forward, volatility = map(TargetColumn.of_name, ("close_3d_fwd_return", "volatility_10d"))
    assert forward.describe(0.0123) == "return of the next 3 days: +1.2 %"
    assert forward.of_horizon(1).describe(0.0123) == "return of the next day: +1.2 %"
    assert volatility.describe(math.log(0.25)) == "volatility of the next 10 days: 25.0 % a year"
