"""Parquet files and Arrow tables: the same dataset as from a CSV or a pandas table, in bounded memory."""

from __future__ import annotations

import datetime
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from stockformer import parquet
from stockformer.__main__ import main
from stockformer.check import check_table
from stockformer.dataset import StockDataset
from stockformer.features import PRICE_COLUMNS
from stockformer.opening import open_model
from stockformer.preprocessing import TRAINED_ELSEWHERE, TRAINED_HERE
from stockformer.table import read_table

FOLDER = Path(__file__).parent / "data" / "trained_elsewhere"
COLUMNS = {"feature_cols": ["f0", "f1"], "market_feature_cols": ["m0"], "lookback": 5}


@pytest.fixture(scope="module")
def panel():
    """Three stocks, two of them of one sector, SPY and the sector's ETF, with gaps, out of order."""
    rows = pd.read_csv(FOLDER / "all_data_0.csv.xz")
    rows = rows[rows["date"] <= sorted(rows["date"].unique())[130]].assign(date=pd.to_datetime(rows["date"]))
    other = rows[rows["symbol"] == "MSFT"].iloc[20:].assign(symbol="0700")
    other[["open", "high", "low", "adjusted_close"]] *= 1.5
    rows = pd.concat([rows, other]).drop(columns="ticker", errors="ignore")
    numbers = [name for name in rows.select_dtypes("float") if name not in PRICE_COLUMNS]
    gaps = np.random.default_rng(0).random((len(rows), len(numbers))) < 0.05
    return rows.assign(**rows[numbers].mask(gaps)).sample(frac=1, random_state=1, ignore_index=True)


@pytest.fixture
def write(tmp_path):
    """Write a table as Parquet files, in one of three ways."""

    def write(table, how):
        folder = tmp_path / how
        folder.mkdir()
        if how == "one file":
            table.to_parquet(folder / "all.parquet", index=False)
        elif how == "by ticker":
            for ticker, rows in table.groupby("symbol"):
                rows.to_parquet(folder / f"{ticker}.parquet", index=False)
        else:
            years = table["date"].dt.year.astype(str) + "-" + table["date"].dt.month.astype(str)
            table.assign(month_of=years).to_parquet(folder, partition_cols=["symbol", "month_of"], index=False)
        return folder

    return write


def quietly(make, *arguments, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return make(*arguments, **settings)


def assert_equal(dataset, expected):
    """Equal to the last bit, in inputs, labels, dates, tickers, prices and statistics."""
    assert len(dataset) == len(expected) > 0
    for mine, theirs in zip(dataset[len(dataset) // 2], expected[len(expected) // 2], strict=True):
        assert torch.equal(mine, theirs)
    pd.testing.assert_frame_equal(dataset.prices, expected.prices, check_exact=True)
    assert dataset.normalization == expected.normalization
    assert (dataset.notes, dataset.unavailable) == (expected.notes, expected.unavailable)
    assert dataset.fingerprint == expected.fingerprint


@pytest.mark.parametrize("how", ["one file", "by ticker", "partitioned"])
@pytest.mark.parametrize("preprocessing", [TRAINED_HERE, TRAINED_ELSEWHERE])
def test_parquet_gives_the_dataset_of_its_table(panel, write, monkeypatch, how, preprocessing):
    monkeypatch.setattr(parquet, "BATCH", 97)
    folder = write(panel, how)
    table = pd.read_parquet(folder)
    if how == "partitioned":  # pandas makes numbers of folders, and 700 of 0700
        table = panel
    settings = {"preprocessing": preprocessing, "lookback": 20, "label_mode": "buckets", "bucket_edges": 3}
    dataset = quietly(StockDataset.from_parquet, folder, **settings)
    assert list(dict.fromkeys(dataset.tickers)) == ["0700", "AAPL", "MSFT"]
    assert dataset._market_x.abs().sum(dim=0).all()  # SPY's and the sector's returns reach every ticker
    assert_equal(dataset, quietly(StockDataset, table, **settings))
    assert_equal(quietly(StockDataset, read_table(folder), **settings), dataset)


def test_statistics_of_another_dataset(panel, write):
    trained = quietly(StockDataset, panel, lookback=20)
    again = quietly(StockDataset.from_parquet, write(panel, "by ticker"), **trained.settings)
    assert_equal(again, quietly(StockDataset, panel, **trained.settings))


def peak_memory(tmp_path, make_table, tickers):
    names = [f"w{number}" for number in range(200)]
    folder = tmp_path / str(tickers)
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(tickers):
        table = make_table((f"T{number:02}",), days=300)
        wide = pd.DataFrame(rng.normal(size=(300, len(names))), columns=names)
        pd.concat([table, wide], axis=1).to_parquet(folder / f"{number}.parquet")
    tracemalloc.start()
    try:
        dataset = StockDataset.from_parquet(folder, feature_cols=names, market_feature_cols=None, lookback=5)
        _ = dataset.fingerprint
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_features_of_all_tickers(make_table, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "BATCH", 100)
    monkeypatch.setattr("stockformer.dataset._HASHED", 100)
    few, many = (peak_memory(tmp_path, make_table, tickers) for tickers in (2, 6))
    # 4 more tickers of 300 days with 200 features: 1.9 MB of numbers.
    assert many - few < 4 * 300 * 200 * 8 / 4


# Types


def decimals(table, places=4):
    """The prices with so many places, as text: what a CSV says."""
    names = ["open", "high", "low", "adjusted_close"]
    return table.assign(**{name: [f"{value:.{places}f}" for value in table[name]] for name in names})


def as_polars(table, dates):
    frame = pl.from_pandas(table.assign(date=table["date"].dt.strftime("%Y-%m-%d")))
    day = pl.col("date").str.to_date() if dates == pl.Date else pl.col("date").str.to_datetime()
    prices = [pl.col(name).cast(pl.Decimal(12, 4)) for name in ("open", "high", "low", "adjusted_close")]
    frame = frame.with_columns(day, pl.col("symbol").cast(pl.Categorical), *prices)
    return frame.with_columns(when_of=pl.lit(datetime.time(16)), list_of=pl.lit([1, 2]))


@pytest.mark.parametrize("dates", [pl.Date, pl.Datetime])
@pytest.mark.parametrize("library", ["polars", "pyarrow", "parquet"])
def test_arrow_tables_give_the_dataset_of_a_csv(table, tmp_path, dates, library):
    text = decimals(table)
    text.to_csv(tmp_path / "a.csv", index=False)
    frame = as_polars(text, dates)
    if library == "parquet":
        frame.write_parquet(tmp_path / "a.parquet")
        dataset = StockDataset.from_parquet(tmp_path / "a.parquet", **COLUMNS)
    else:
        dataset = StockDataset(frame if library == "polars" else frame.to_arrow(), **COLUMNS)
    assert_equal(dataset, StockDataset(read_table(tmp_path / "a.csv"), **COLUMNS))


def test_missing_decimals_and_flags(table, make_table):
    flag = [None, *(day % 2 == 0 for day in range(1, len(table)))]
    volume = [None if day == 7 else day for day in range(len(table))]
    plain = table.assign(f0=[np.nan, *map(float, flag[1:])], volume=[np.nan if v is None else float(v) for v in volume])
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    for name, column in (("f0", pa.array(flag)), ("volume", pa.array(volume).cast(pa.decimal128(22, 2)))):
        arrow = arrow.set_column(arrow.column_names.index(name), name, column)
    assert_equal(StockDataset(arrow, **COLUMNS), StockDataset(plain, **COLUMNS))


def test_days_are_those_of_the_exchange(table):
    late = table.assign(date=(table["date"] + pd.Timedelta(hours=20)).dt.tz_localize("America/New_York"))
    dataset = StockDataset(pa.Table.from_pandas(late), **COLUMNS)
    assert_equal(dataset, StockDataset(table, **COLUMNS))


def test_an_index_of_pandas_is_read_as_columns(table, tmp_path):
    table.set_index(["symbol", "date"]).to_parquet(tmp_path / "a.parquet")
    assert_equal(StockDataset.from_parquet(tmp_path / "a.parquet", **COLUMNS), StockDataset(table, **COLUMNS))


def test_files_may_name_columns_differently_and_lack_features(table, tmp_path):
    one, other = (table[table["symbol"] == ticker] for ticker in ("AAA", "BBB"))
    other = other.drop(columns="f1").rename(columns={"symbol": "ticker", "adjusted_close": "close"})
    one.to_parquet(tmp_path / "one.parquet")
    other.assign(date=other["date"].dt.strftime("%d/%m/%Y")).to_parquet(tmp_path / "other.parquet")
    expected = quietly(StockDataset, table.assign(f1=table["f1"].where(table["symbol"] == "AAA")), **COLUMNS)
    dataset = quietly(StockDataset.from_parquet, tmp_path, **COLUMNS)
    assert dataset.notes.pop(0) == "prices of BBB are read from close: they have no adjusted_close"
    assert_equal(dataset, expected)


def test_a_model_opens_on_any_of_them(panel, tmp_path):
    panel.to_parquet(tmp_path / "a.parquet")
    model = FOLDER / "cross_bin_3d.pt"
    expected, _ = quietly(open_model, model, panel, lookback=20)
    for data in (tmp_path, str(tmp_path / "*.parquet"), pl.from_pandas(panel), pa.Table.from_pandas(panel)):
        dataset, _ = quietly(open_model, model, data, lookback=20)
        assert_equal(dataset, expected)
    assert str(quietly(check_table, tmp_path)) == str(quietly(check_table, panel))


def test_a_model_opens_on_a_folder_that_memory_does_not_hold(panel, write, monkeypatch):
    folder, tickers = write(panel, "by ticker"), []

    def watched(path, columns):
        tickers.append(path.stem)
        return parquet.read_parquet(path, columns)

    monkeypatch.setattr("stockformer.source.read_parquet", watched)
    quietly(open_model, FOLDER / "cross_bin_3d.pt", folder, lookback=20)
    assert tickers == sorted(panel["symbol"].unique())  # one after the other


def test_the_command_line_trains_on_a_folder(table, tmp_path, capsys):
    table.to_parquet(tmp_path / "data.parquet", partition_cols=["symbol"])
    sizes = "--layers 1 --heads 1 --width 4 --epochs 1 --lookback 5"
    out = str(tmp_path / "a.pt")
    assert main(["train", str(tmp_path / "data.parquet"), "--out", out, *sizes.split()]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == out


# What cannot be read


@pytest.fixture
def broken(table, tmp_path):
    path = tmp_path / "data" / "b.parquet"
    path.parent.mkdir()
    table.to_parquet(path)
    return path


@pytest.mark.parametrize("read", [read_table, StockDataset.from_parquet])
@pytest.mark.parametrize("keep", [0, 3, 2000, -20])
def test_a_damaged_file_is_named(broken, read, keep):
    broken.write_bytes(broken.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"^.*b\.parquet is not a Parquet file, or damaged: [^\n]+$"):
        read(broken.parent)


@pytest.mark.parametrize("read", [read_table, StockDataset.from_parquet])
def test_damaged_pages_are_named(broken, read):
    content = bytearray(broken.read_bytes())
    content[4:4000] = bytes(3996)
    broken.write_bytes(content)
    with pytest.raises(ValueError, match=r"^.*b\.parquet is not a Parquet file, or damaged: [^\n]+$"):
        read(broken)


@pytest.mark.parametrize("read", [read_table, StockDataset.from_parquet])
def test_a_folder_without_a_table(tmp_path, read):
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "_temporary").mkdir()
    (tmp_path / "_temporary" / "a.parquet").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"^the folder .* holds no all_data_\*\.csv and no \*\.parquet$"):
        read(tmp_path)


@pytest.mark.parametrize("read", [read_table, StockDataset.from_parquet])
def test_a_file_without_a_needed_column_is_named(table, broken, read):
    table.rename(columns={"date": "Day"}).to_parquet(broken.parent / "c.parquet")
    with pytest.raises(ValueError, match=r"c\.parquet: there is no column date; the columns are Day, symbol, open, .*"):
        read(broken.parent)


def test_a_price_that_is_missing_is_named(table, broken):
    table.drop(columns="high").to_parquet(broken)
    with pytest.raises(ValueError, match=r"^the table lacks 1 needed column: high$"):
        StockDataset.from_parquet(broken, **COLUMNS)


def test_a_csv_is_not_a_parquet_file(table, tmp_path):
    table.to_csv(tmp_path / "a.csv")
    with pytest.raises(ValueError, match=r"a\.csv is not a Parquet file: expected \*\.parquet$"):
        StockDataset.from_parquet(tmp_path / "a.csv")


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"\xff"])
def test_features_that_are_not_numbers_are_named(table, value):
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    place = arrow.column_names.index("f1")
    arrow = arrow.set_column(place, "f1", pa.array([value] * len(table)))
    with pytest.raises(ValueError, match=r"^columns with text where numbers were expected: f1 \(.* of AAA\)$"):
        StockDataset(arrow, **COLUMNS)


def test_too_little_space_for_temporary_files(table, broken, monkeypatch):
    monkeypatch.setattr(parquet, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match=r"temporary files need .* GB, more than is free"):
        StockDataset.from_parquet(broken, **COLUMNS)


def test_without_pyarrow(broken, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"b\.parquet, a Parquet file, needs pyarrow: pip install '.*\[history\]'$"):
        read_table(broken)
    with pytest.raises(ImportError, match=r"a table that is not of pandas needs pyarrow: pip install '.*\[history\]'$"):
        StockDataset(pl.DataFrame({"a": [1]}))
