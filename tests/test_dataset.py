"""Windows, labels and normalisation against loops over the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from stockformer.config import MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset
from stockformer.preprocessing import Normalization
from stockformer.table import read_table

FEATURES, MARKET = ["f0", "f1"], ["m0"]
COLUMNS = FEATURES + MARKET
T = 5


def identity(*tickers):
    """Statistics that leave every value as it is."""
    return Normalization(COLUMNS, {t: [0.0] * 3 for t in tickers}, {t: [1.0] * 3 for t in tickers})


def make(table, **options):
    return StockDataset(table, **({"feature_cols": FEATURES, "market_feature_cols": MARKET, "lookback": T} | options))


def plain(table, **options):
    """A dataset whose inputs are the table's own values."""
    return make(table, normalization=identity(*table["symbol"].unique()), **options)


def windows_by_loop(table, horizon=3, lookback=T):
    """(ticker, first row, last row, return) of every window, ticker by ticker."""
    found = []
    for ticker in sorted(table["symbol"].unique()):
        close = table.loc[table["symbol"] == ticker, "adjusted_close"].tolist()
        for last in range(lookback - 1, len(close) - horizon):
            found.append((ticker, last - lookback + 1, last, close[last + horizon] / close[last] - 1))
    return found


# Windows


@pytest.mark.parametrize("lookback", [1, 5, 37])
@pytest.mark.parametrize("horizon", [1, 3])
def test_every_window(table, lookback, horizon):
    dataset = plain(table, lookback=lookback, target_col=f"close_{horizon}d_fwd_return", label_mode="regression")
    expected = windows_by_loop(table, horizon, lookback)
    assert len(dataset) == len(expected) > 0
    for i, (ticker, first, last, forward) in enumerate(expected):
        rows = table[table["symbol"] == ticker].iloc[first : last + 1]
        x, y, market_x = dataset[i]
        np.testing.assert_array_equal(x.numpy(), rows[FEATURES].to_numpy(dtype=np.float32))
        np.testing.assert_array_equal(market_x.numpy(), rows[MARKET].to_numpy(dtype=np.float32))
        assert y.item() == pytest.approx(forward, rel=1e-5)
        shown = dataset.window(i)
        assert (shown.ticker, shown.forward_return) == (ticker, pytest.approx(forward))
        assert list(shown.dates) == rows["date"].tolist()
        assert dataset.end_dates[i] == rows["date"].iloc[-1]
        assert dataset.end_tickers[i] == ticker


@pytest.mark.parametrize("name", ["target", "forward return", "return"])
def test_a_feature_may_have_any_name(table, name):
    features = [name if feature == "f0" else feature for feature in FEATURES]
    dataset = make(table.rename(columns={"f0": name}), feature_cols=features)
    np.testing.assert_array_equal(dataset[0][0].numpy(), make(table)[0][0].numpy())


def test_window_shows_raw_prices_and_the_inputs(table):
    dataset = make(table)
    shown, (x, y, market_x) = dataset.window(-1), dataset[-1]
    assert list(shown.prices.columns) == ["date", "open", "high", "low", "adjusted_close", "volume"]
    rows = table.iloc[-3 - T : -3]
    pd.testing.assert_frame_equal(shown.prices, rows[shown.prices.columns].reset_index(drop=True))
    assert torch.equal(shown.x, x)
    assert torch.equal(shown.market_x, market_x)
    assert torch.equal(shown.y, y)


def test_shapes_as_in_the_seed_notebook(sample):
    x, y, market_x = sample[0][-1]
    assert (x.shape, y.shape, market_x.shape) == ((60, 41), (), (60, 11))


def test_without_market_features(table):
    dataset = make(table, market_feature_cols=None)
    x, y = dataset[0]
    assert (x.shape, y.shape) == ((T, 2), ())
    assert dataset.window(0).market_x is None


def test_negative_indices(table):
    dataset = make(table)
    for i in (1, 2, len(dataset)):
        assert torch.equal(dataset[-i][0], dataset[len(dataset) - i][0])
        assert dataset.window(-i).dates[0] == dataset.window(len(dataset) - i).dates[0]


@pytest.mark.parametrize("past", [0, 1, 1000])
def test_indices_out_of_range(table, past):
    dataset = make(table)
    for index in (len(dataset) + past, -len(dataset) - 1 - past):
        for read in (dataset.__getitem__, dataset.window):
            with pytest.raises(IndexError, match=f"sample {index} does not exist: the dataset has {len(dataset)}"):
                read(index)


def test_iteration_ends(table):
    dataset = make(table)
    assert sum(1 for _ in dataset) == len(dataset)


def test_index_of(table):
    dataset = make(table)
    for i in (0, 7, len(dataset) - 1):
        assert dataset.index_of(dataset.end_dates[i], dataset.end_tickers[i]) == i
    assert dataset.index_of("2020-01-07") == 0
    assert dataset.index_of("2020-01-07", "BBB") == len(dataset) // 2


@pytest.mark.parametrize(
    ("date", "ticker", "message"),
    [
        ("2020-01-06", None, "no window ends on 2020-01-06; windows end from 2020-01-07 to 2020-02-20"),
        ("2020-01-11", "AAA", "no window of AAA ends on 2020-01-11"),
        ("2020-01-07", "CCC", "there is no window of CCC; the tickers are AAA, BBB$"),
    ],
)
def test_index_of_a_day_without_window(table, date, ticker, message):
    with pytest.raises(ValueError, match=message):
        make(table).index_of(date, ticker)


def test_rows_of_tickers_may_be_mixed(table):
    expected, mixed = make(table), make(table.sort_values(["date", "symbol"], ascending=[True, False]))
    assert len(mixed) == len(expected)
    assert all(torch.equal(a, b) for i in range(len(mixed)) for a, b in zip(mixed[i], expected[i], strict=True))


def test_the_table_is_left_as_it_is(table):
    before = table.copy(deep=True)
    make(table)
    pd.testing.assert_frame_equal(table, before)


def test_the_index_of_the_table_does_not_matter(table):
    expected, odd = make(table), make(table.set_index(np.zeros(len(table), dtype=int)))
    assert torch.equal(odd[3][0], expected[3][0])


def test_aliases(table):
    expected = make(table)
    renamed = make(table.rename(columns={"symbol": "ticker", "adjusted_close": "close"}))
    assert torch.equal(renamed[-1][0], expected[-1][0])
    assert torch.equal(renamed.labels, expected.labels)


def test_an_alias_beside_the_name_is_another_column(table):
    raw = table.assign(close=2 * table["adjusted_close"] ** 2, ticker="X")
    dataset = make(raw)
    assert torch.equal(dataset.labels, make(table).labels)
    assert set(dataset.end_tickers) == {"AAA", "BBB"}


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%m/%d/%Y", "%Y-%m-%d 16:00:00", "%Y-%m-%dT16:00:00-05:00"])
def test_dates_as_text(table, form):
    dataset = make(table.assign(date=table["date"].dt.strftime(form)))
    assert list(dataset.end_dates) == list(make(table).end_dates)


def test_data_loader(table):
    dataset = make(table)
    batches = list(DataLoader(dataset, batch_size=4))
    assert [tuple(part.shape) for part in batches[0]] == [(4, T, 2), (4,), (4, T, 1)]
    assert torch.equal(torch.cat([y for _, y, _ in batches]), torch.stack([dataset[i][1] for i in range(len(dataset))]))


# Labels


def step_table(returns):
    """One ticker whose one-day forward returns are `returns` (and nothing after)."""
    close = np.cumprod(np.r_[1.0, 1 + np.array(returns)])
    n = len(close)
    columns = {name: np.ones(n) for name in ("open", "high", "low", "volume", *COLUMNS)}
    dates = pd.bdate_range("2020-01-01", periods=n)
    return pd.DataFrame({"date": dates, "symbol": "AAA", "adjusted_close": close, **columns})


def labels_of(table, **options):
    dataset = plain(table, lookback=1, target_col="close_1d_fwd_return", **options)
    return [dataset[i][1].item() for i in range(len(dataset))]


@pytest.mark.parametrize(("threshold", "expected"), [(0.0, [0, 1, 1, 0]), (0.25, [0, 1, 0, 0]), (-0.5, [1, 1, 1, 1])])
def test_binary_labels_are_1_from_the_threshold_on(threshold, expected):
    table = step_table([-0.5, 1.0, 0.0, -0.25])
    assert labels_of(table, threshold=threshold) == expected


def test_bucket_edges_are_percent_and_belong_to_the_right():
    table = step_table([-0.5, -0.25, 0.0, 0.25, 1.0])
    assert labels_of(table, label_mode="buckets", bucket_edges=[-25.0, 25.0]) == [0, 1, 1, 2, 2]


def test_regression_labels():
    assert labels_of(step_table([-0.5, 0.25]), label_mode="regression") == [-0.5, 0.25]


def test_label_types(table):
    assert make(table)[0][1].dtype == torch.int64
    assert make(table, label_mode="buckets", bucket_edges=[0.0])[0][1].dtype == torch.int64
    assert make(table, label_mode="regression")[0][1].dtype == torch.float32


def test_a_given_target_is_used(table):
    given = table.assign(close_3d_fwd_return=np.arange(len(table)) / 100)
    dataset = plain(given, label_mode="regression")
    assert dataset[0][1].item() == pytest.approx((T - 1) / 100)
    assert len(dataset) == 2 * (40 - T + 1)  # also of the last days: the file knows their returns


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_rows_without_a_target_end_no_window(table, missing):
    target = np.full(len(table), 0.1)
    target[10:20] = missing
    dataset = make(table.assign(close_3d_fwd_return=target))
    gone = set(table["date"].iloc[10:20])
    assert len(dataset) == 2 * (40 - T + 1) - 10
    assert gone.isdisjoint(dataset.end_dates[dataset.end_tickers == "AAA"])


# Missing values


@pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf])
def test_fill_rule(table, missing):
    holes = table.copy()
    column = holes.columns.get_loc("f0")
    holes.iloc[:3, column] = missing  # nothing before: 0
    holes.iloc[6:9, column] = missing  # the last known value
    holes.iloc[40:42, column] = missing  # a ticker's first days, after another ticker: 0
    dataset = plain(
        holes, lookback=40, target_col="close_3d_fwd_return", label_mode="regression", **given_target(holes)
    )
    known = table["f0"].to_numpy(dtype=np.float32)
    expected = known.copy()
    expected[[0, 1, 2, 40, 41]] = 0
    expected[6:9] = known[5]
    np.testing.assert_array_equal(dataset[0][0][:, 0].numpy(), expected[:40])
    np.testing.assert_array_equal(dataset[1][0][:, 0].numpy(), expected[40:])


def given_target(table):
    """Give every row a target, so that a window may be as long as a ticker."""
    table["close_3d_fwd_return"] = 0.1
    return {}


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_a_halted_ticker_has_no_target(table, missing):
    holes = table.copy()
    holes.loc[7:8, "adjusted_close"] = missing
    dataset = plain(holes, label_mode="regression", target_col="close_1d_fwd_return")
    ends = dataset.end_dates[dataset.end_tickers == "AAA"]
    assert set(table["date"][T - 1 : 39]) - set(ends) == set(table["date"][6:9])
    close = table["adjusted_close"]
    expected = close[10] / close[9] - 1
    assert dataset[dataset.index_of(table["date"][9], "AAA")][1].item() == pytest.approx(expected, rel=1e-5)
    shown = dataset.window(dataset.index_of(table["date"][9], "AAA")).prices["adjusted_close"]
    assert shown.tolist() == [close[5], close[6], close[6], close[6], close[9]]  # the last known price is drawn


def test_unavailable_features(table):
    dataset = make(table.assign(f1=np.nan, m0=np.inf))
    assert dataset.unavailable == ["f1", "m0"]
    assert not any(dataset[i][0][:, 1].any() or dataset[i][2].any() for i in range(len(dataset)))


def test_a_feature_of_one_ticker_is_available(table):
    partly = table.assign(f1=table["f1"].where(table["symbol"] == "AAA"))
    with pytest.warns(UserWarning, match="^f1 of BBB are 0 everywhere: no row has a value$"):
        assert make(partly).unavailable == []


@pytest.mark.parametrize("price", [-3.0, 0.0, np.inf])
def test_a_price_that_is_none_counts_as_missing_and_is_said_in_one_warning(table, price):
    columns, names = ["open", "high", "low", "adjusted_close"], ["f0", "range_volatility_1d", "close_1d_roc"]
    table.loc[7, columns] = np.nan
    missing = make(table.drop(columns="f1"), feature_cols=names)
    table.loc[7, columns] = price
    said = "prices that are 0, negative or infinite count as missing: 1 row of open, 1 row of high, 1 row of low"
    with pytest.warns(UserWarning, match=f"^{said}, 1 row of adjusted_close$") as issued:
        dataset = make(table.drop(columns="f1"), feature_cols=names)
    assert len(issued) == 1  # and none of numpy's
    assert len(dataset) == len(missing)
    for one, other in zip(dataset, missing, strict=True):
        assert all(map(torch.equal, one, other))


# Normalisation


def training_rows(table, ticker, last):
    return table[(table["symbol"] == ticker) & (table["date"] <= last)][COLUMNS]


@pytest.mark.parametrize("train_end", [None, "2020-01-31"])
def test_normalisation_is_a_standard_scaler_on_training_dates(table, train_end):
    dataset = make(table, train_end=train_end)
    last = pd.Timestamp(train_end or sorted(table["date"].unique())[27])  # 28 of 40 days are 70 %
    assert dataset.train_end == last
    for ticker, i in (("AAA", 3), ("BBB", len(dataset) - 1)):
        scaler = StandardScaler().fit(training_rows(table, ticker, last).to_numpy())
        np.testing.assert_allclose(dataset.normalization.mean[ticker], scaler.mean_)
        np.testing.assert_allclose(dataset.normalization.std[ticker], scaler.scale_)
        rows = table[(table["symbol"] == ticker) & table["date"].isin(dataset.window(i).dates)]
        x, _, market_x = dataset[i]
        expected = scaler.transform(rows[COLUMNS].to_numpy())
        np.testing.assert_allclose(np.hstack([x, market_x]), expected, atol=1e-6)


def test_later_rows_change_no_statistic(table):
    dataset = make(table)
    changed = table.copy()
    changed.loc[changed["date"] > dataset.train_end, COLUMNS] *= 1000
    assert make(changed, train_end=dataset.train_end).normalization == dataset.normalization
    earlier = table.copy()
    earlier.loc[earlier["date"] == dataset.train_end, COLUMNS] *= 1000
    assert make(earlier, train_end=dataset.train_end).normalization != dataset.normalization


@pytest.mark.parametrize("spread", [0.0, 1e-8])
def test_a_small_deviation_counts_as_1(table, spread):
    dataset = make(table.assign(f0=0.1 + spread * np.sign(table["f1"])))
    assert dataset.normalization.std["AAA"][0] == 1
    assert dataset[0][0][:, 0].abs().max() <= 2e-8


def test_a_deviation_above_the_limit_counts(table):
    dataset = make(table.assign(f0=2e-6 * np.sign(table["f1"])))
    assert dataset.normalization.std["AAA"][0] < 1e-5


def test_given_statistics_replace_those_of_the_data(table):
    first = make(table)
    assert make(table.assign(f0=2 * table["f0"])).normalization != first.normalization
    shifted = make(table.assign(f0=2 * table["f0"]), normalization=first.normalization)
    assert shifted.normalization == first.normalization
    mean, std = first.normalization.mean["AAA"][0], first.normalization.std["AAA"][0]
    expected = (2 * table["f0"].to_numpy()[:T] - mean) / std
    np.testing.assert_allclose(shifted[0][0][:, 0], expected, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_mode": "buckets", "bucket_edges": [-1.0, 1.0]},
        {"label_mode": "regression", "target_col": "close_10d_fwd_return", "market_feature_cols": None},
        {"threshold": 0.01, "lookback": 7},
    ],
)
def test_settings_round_trip(table, options):
    dataset = make(table, **options)
    again = StockDataset(table, **dataset.settings)
    assert again.settings == dataset.settings
    assert len(again) == len(dataset)
    assert all(torch.equal(a, b) for a, b in zip(again[7], dataset[7], strict=True))


# Bad input


def refuse(message, table, **options):
    with pytest.raises(ValueError, match=message) as error:
        make(table, **options)
    assert "\n" not in str(error.value)


def test_missing_columns_are_named(table):
    refuse("lacks 2 needed columns: high, volume$", table.drop(columns=["high", "volume", "m0"]))
    refuse("lacks 2 needed columns: date, symbol .or ticker.$", table.drop(columns=["date", "symbol"]))


def test_absent_features_are_empty_with_one_warning(table):
    with pytest.warns(UserWarning, match="features are not in the data") as warned:
        dataset = make(table.drop(columns="m0"), feature_cols=["f0", "beta", "pe_ratio"])
    (warning,) = warned
    assert str(warning.message) == (
        "3 of 4 features are not in the data and are 0 everywhere, so they get no attribution: beta, pe_ratio, m0"
    )
    assert dataset.unavailable == ["beta", "pe_ratio", "m0"]
    assert dataset.notes == [str(warning.message)]
    x, _, market_x = dataset[-1]
    assert not x[:, 1:].any()
    assert not market_x.any()
    assert torch.equal(x[:, 0], make(table)[-1][0][:, 0])


def test_an_empty_table(table):
    refuse("the table has no rows", table.head(0))
    refuse("the table has no rows", pd.DataFrame())


@pytest.mark.parametrize("rows", [T - 1, T, T + 2])
def test_fewer_rows_than_a_window_needs(table, rows):
    refuse(f"longest ticker has {rows} rows, expected at least {T}", table.head(rows))


def test_as_many_rows_as_a_window_needs(table):
    assert len(make(table.head(T + 3))) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_targets_all_missing(table, value):
    refuse("no row has a target: close_3d_fwd_return", table.assign(close_3d_fwd_return=value))


@pytest.mark.parametrize("features", [FEATURES, ["f0", "rsi_14", "macd_signal"]])
def test_prices_all_missing(table, features):
    refuse("no row has a target", table.assign(adjusted_close=np.nan), feature_cols=features)


@pytest.mark.parametrize("seed", range(3))
def test_unsorted_rows_are_sorted_with_a_note(table, seed):
    shuffled = table.sample(frac=1, random_state=seed)
    with pytest.warns(UserWarning, match="^the dates of AAA, BBB were not ascending: rows are sorted$"):
        dataset = make(shuffled)
    expected = make(table)
    assert dataset.normalization == expected.normalization
    assert list(dataset.end_dates) == list(expected.end_dates)
    assert all(torch.equal(a, b) for i in range(len(expected)) for a, b in zip(dataset[i], expected[i], strict=True))


def test_duplicate_dates(table):
    refuse("BBB has 2020-01-03 twice", pd.concat([table, table.iloc[[42]]]).sort_values(["symbol", "date"]))


@pytest.mark.parametrize("column", ["f0", "volume", "m0", "close_3d_fwd_return"])
def test_text_in_numbers(table, column):
    text = table.assign(close_3d_fwd_return=0.1)
    text[column] = text[column].astype(object)
    text.loc[3, column] = "n/a!"
    refuse(rf"columns with text where numbers were expected: {column} \('n/a!' of AAA\)$", text)


def test_numbers_as_text_are_numbers(table):
    assert torch.equal(make(table.assign(f0=table["f0"].astype(str)))[0][0], make(table)[0][0])


def test_dates_that_are_no_dates(table):
    refuse("date column cannot be read as dates", table.assign(date=["soon", *table["date"].astype(str)[1:]]))
    refuse("1 of 80 rows have no date", table.assign(date=[None, *table["date"][1:]]))


def test_a_row_without_ticker(table):
    refuse("1 of 80 rows have no symbol", table.assign(symbol=[None, *table["symbol"][1:]]))


def test_statistics_without_a_ticker(table):
    refuse("no normalisation statistics for BBB; there are some for AAA", table, normalization=identity("AAA"))


def test_statistics_of_other_features(table):
    refuse("statistics are for 3 columns", table, normalization=identity("AAA", "BBB"), feature_cols=["f1", "f0"])
    refuse("statistics are for 3 columns", table, normalization=identity("AAA", "BBB"), market_feature_cols=None)


def test_a_ticker_without_training_dates(table):
    late = table[(table["symbol"] == "AAA") | (table["date"] > "2020-02-11")]
    refuse("BBB has no rows in the training dates", late)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_mode": "ternary"}, "label_mode is 'ternary', expected one of regression, binary, buckets"),
        ({"label_mode": "buckets"}, "needs at least one bucket edge"),
        ({"label_mode": "buckets", "bucket_edges": []}, "needs at least one bucket edge"),
        ({"label_mode": "buckets", "bucket_edges": [1.0, -1.0]}, "ascending"),
        ({"target_col": "next_week"}, "target_col is 'next_week', expected a name such as"),
        ({"lookback": 0}, "lookback is 0, expected at least 1 day"),
    ],
)
def test_bad_options(table, options, message):
    refuse(message, table, **options)


def test_bucket_edges_may_be_an_array(table):
    edges = np.array([-1.0, 1.0])
    assert make(table, label_mode="buckets", bucket_edges=edges).bucket_edges == [-1.0, 1.0]


def test_an_unavailable_feature_is_zero_under_statistics_from_elsewhere(make_table):
    columns = {"feature_cols": ["f0", "f1"], "market_feature_cols": None, "lookback": 5}
    trained = StockDataset(make_table(), **columns)
    lacking = make_table().assign(f1=np.nan)
    dataset = StockDataset(lacking, **columns, normalization=trained.normalization)
    assert dataset.unavailable == ["f1"]
    assert all((dataset[i][0][:, 1] == 0).all() for i in range(len(dataset)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature_cols": ["f0", "f0"]}, "more than once: f0"),
        ({"lookback": 5.0}, "lookback is 5.0"),
        ({"target_col": "close_0d_fwd_return"}, "close_0d_fwd_return"),
    ],
)
def test_more_bad_options(table, options, message):
    with pytest.raises(ValueError, match=message):
        StockDataset(table, **({"feature_cols": ["f0"], "market_feature_cols": ["m0"], "lookback": 5} | options))


def test_no_table_and_doubled_headers(table):
    with pytest.raises(TypeError, match="expected a pandas DataFrame or an Arrow table, such as of polars, got list"):
        StockDataset([1, 2])
    with pytest.raises(ValueError, match="headers name a column more than once: open"):
        StockDataset(pd.concat([table, table[["open"]]], axis=1), ["f0"], None)


# Prices and their calm


@pytest.mark.parametrize("lookback", [2, 5, 20])
def test_volatility_is_that_of_the_returns_inside_each_window(table, lookback):
    dataset = make(table, lookback=lookback)
    expected = []
    for index in range(len(dataset)):
        close = dataset.window(index).prices["adjusted_close"].to_numpy()
        expected.append(np.std(close[1:] / close[:-1] - 1))
    assert dataset.volatility.shape == (len(dataset),)
    np.testing.assert_allclose(dataset.volatility, expected, atol=1e-12)


def test_windows_of_one_day_have_no_volatility(table):
    assert np.isnan(make(table, lookback=1).volatility).all()


def test_windows_that_lack_a_price_have_no_volatility(table):
    rows = table.copy()
    rows.loc[rows.index < 7, "adjusted_close"] = np.nan
    dataset = make(rows)
    lacking = [dataset.window(index).prices["adjusted_close"].isna().any() for index in range(len(dataset))]
    assert 0 < sum(lacking) < len(dataset)
    np.testing.assert_array_equal(np.isnan(dataset.volatility), lacking)


def test_volatility_of_a_price_that_stands_still(table):
    still = table.copy()
    still.loc[10:20, "adjusted_close"] = 7.0
    dataset = make(still)
    assert dataset.volatility[dataset.index_of(still["date"][20], "AAA")] == 0
    assert dataset.volatility.argmin() == dataset.index_of(still["date"][14], "AAA")


def test_the_level_of_spy(table):
    returns = np.random.default_rng(3).normal(0, 0.01, len(table))
    dataset = make(table.assign(spy_ret_1d=returns), market_feature_cols=["m0", "spy_ret_1d"])
    for index in (0, 7, len(dataset) // 2, len(dataset) - 1):
        prices = dataset.window(index).prices
        assert list(prices.columns) == ["date", "open", "high", "low", "adjusted_close", "volume", "spy"]
        rows = table[(table["symbol"] == dataset.end_tickers[index]) & table["date"].isin(prices["date"])]
        np.testing.assert_allclose(prices["spy"].pct_change()[1:], returns[rows.index[1:]], rtol=1e-9)


def test_a_missing_return_of_spy_leaves_its_level(table):
    rows = table.assign(spy_ret_1d=0.01)
    rows.loc[3, "spy_ret_1d"] = np.nan
    level = make(rows, market_feature_cols=["spy_ret_1d"]).window(0).prices["spy"]
    np.testing.assert_allclose(level.pct_change()[1:], [0.01, 0.01, 0.0, 0.01], atol=1e-12)


@pytest.mark.parametrize("market", [["m0"], None])
def test_no_spy_no_level(table, market):
    dataset = make(table.assign(spy_ret_1d=0.01), market_feature_cols=market)
    assert "spy" not in dataset.window(0).prices


def test_spy_without_a_value_has_no_level(table):
    dataset = make(table.assign(spy_ret_1d=np.nan), market_feature_cols=["m0", "spy_ret_1d"])
    assert "spy" not in dataset.window(0).prices


def test_the_index_of_what_is_no_date(table):
    with pytest.raises(ValueError, match="'foo' is not a date, expected one such as '2008-10-15'"):
        make(table).index_of("foo")


# Tables as people have them


def test_dates_with_offsets_that_change_with_daylight_saving(make_table):
    table = make_table(days=100)  # from January to May
    local = table["date"].dt.tz_localize("America/New_York")
    text = [f"{day.strftime('%Y-%m-%d %H:%M:%S')}{str(day)[-6:]}" for day in local]
    assert {one[-6:] for one in text} == {"-05:00", "-04:00"}
    expected = make(table)
    for dates in (text, local, [one[:-3] + one[-2:] for one in text], [one.replace(" ", "T") for one in text]):
        assert list(make(table.assign(date=dates)).end_dates) == list(expected.end_dates)
    late = [f"{day.date()} 23:30:00-0500" for day in table["date"]]  # the next day in UTC
    assert list(make(table.assign(date=late)).end_dates) == list(expected.end_dates)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [1e300, -1.7e308])
@pytest.mark.parametrize("rows", [slice(3, 4), slice(0, 20)])
def test_numbers_that_cannot_be_normalised(table, value, rows):
    huge = table.copy()
    huge.loc[huge.index[rows], "f0"] = value * np.linspace(0.9, 1, rows.stop - rows.start)
    refuse(r"^f0 of AAA has values up to \d.*e\+\d+, too large to be normalised: expected smaller numbers$", huge)


def test_numbers_that_only_a_later_day_has(table):
    table.loc[35, "f0"] = 1e300
    refuse(r"^f0 of AAA is 1e\+300 on 2020-02-19, and not finite once it is normalised", table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": np.nan}, "threshold is nan"),
        ({"threshold": np.inf}, "threshold is inf"),
        ({"label_mode": "buckets", "bucket_edges": [np.nan]}, r"bucket_edges are \[nan\]"),
        ({"label_mode": "buckets", "bucket_edges": [-1.0, np.nan, 1.0]}, "bucket_edges are"),
        ({"label_mode": "buckets", "bucket_edges": [0.0, np.inf]}, "bucket_edges are"),
        ({"label_mode": "buckets", "bucket_edges": 1}, "bucket_edges is 1, expected edges in percent or at least 2"),
    ],
)
def test_options_that_are_not_finite(table, options, message):
    refuse(message, table, **options)


def test_buckets_by_number_hold_as_many_targets_each(table):
    dataset = make(table, label_mode="buckets", bucket_edges=4, lookback=1)
    counts = torch.bincount(dataset.labels[dataset.ends])
    assert counts.tolist() == pytest.approx([len(dataset) / 4] * 4, abs=1)


def test_a_repeated_header_in_a_file(table, tmp_path):
    text = table.to_csv(index=False)
    head, rest = text.split("\n", 1)
    (tmp_path / "a.csv").write_text(head.replace("f1", "open") + "\n" + rest)
    with pytest.raises(ValueError, match=r"a\.csv: the headers name a column more than once: open$"):
        read_table(tmp_path / "a.csv")


def test_a_ticker_that_is_too_short_does_not_vanish_without_a_word(make_table):
    rows = pd.concat([make_table(("AAA", "BBB")), make_table(("NEW",), days=6)])
    with pytest.warns(UserWarning, match=r"^no window of 5 days with a target fits into NEW \(6 rows\)$"):
        dataset = make(rows)
    assert set(dataset.end_tickers) == {"AAA", "BBB"}


def test_etf_rows_are_no_samples_and_give_market_features(make_table):
    rows = make_table(("AAA", "SPY", "XLE", "QQQ")).assign(sector="Energy")
    dataset = StockDataset(rows, ["close_1d_roc"], MARKET_FEATURE_COLUMNS[:7], lookback=5)
    assert set(dataset.end_tickers) == {"AAA"}
    assert dataset.unavailable == []
    mean, std = (np.array(part["AAA"]) for part in (dataset.normalization.mean, dataset.normalization.std))
    window = dataset.window(-1)
    found = np.hstack([window.x, window.market_x]) * std + mean
    price = rows.pivot(index="date", columns="symbol", values="adjusted_close").loc[: window.dates[-1]]
    change = price.pct_change()
    expected = [change["AAA"]]
    for fund in ("SPY", "XLE"):
        expected += [change[fund], price[fund].pct_change(5), change[fund].rolling(5).std()]
    expected.append(change["AAA"] - change["XLE"])
    np.testing.assert_allclose(found, np.array(expected).T[-5:], rtol=1e-4, atol=1e-6)


def test_columns_of_our_format_win_over_etf_rows(make_table):
    rows = make_table(("AAA", "SPY")).assign(spy_ret_1d=0.5)
    dataset = StockDataset(rows, ["f0"], ["spy_ret_1d"], lookback=5)
    assert dataset.normalization.mean["AAA"][1] == 0.5


def test_nothing_but_etf_rows(make_table):
    refuse(r"all rows are of ETFs \(QQQ, SPY\), which are not samples", make_table(("SPY", "QQQ")))


@pytest.mark.parametrize("date", ["May", "soon", "", "15 Oct", "2008-13-45"])
def test_what_is_not_a_date(table, date):
    with pytest.raises(ValueError, match=f"^{date!r} is not a date, expected one such as '2008-10-15'$"):
        make(table).index_of(date)


def test_the_range_is_that_of_the_ticker(make_table):
    rows = pd.concat([make_table(("AAA",), days=40), make_table(("BBB",), days=30)])
    with pytest.raises(ValueError, match="of BBB ends on 2020-02-20; windows end from 2020-01-07 to 2020-02-06"):
        make(rows).index_of("2020-02-20", "BBB")
