"""Tables as people have them: tickers that look like other things, dates in any order, files that differ."""

from __future__ import annotations

import warnings

import pytest
import torch

from stockformer.check import check_table
from stockformer.dataset import StockDataset
from stockformer.table import read_table

COLUMNS = {"feature_cols": ["f0", "f1"], "market_feature_cols": ["m0"], "lookback": 5}


@pytest.mark.parametrize("column", ["symbol", "ticker"])
def test_tickers_are_text(make_table, tmp_path, column):
    tickers = ("0700", "1E5", "FALSE", "INF", "NA", "NULL", "NaN", "TRUE")
    make_table(tickers, days=12).rename(columns={"symbol": column}).to_csv(tmp_path / "a.csv", index=False)
    dataset = StockDataset(read_table(tmp_path / "a.csv"), **COLUMNS)
    assert tuple(dict.fromkeys(dataset.end_tickers)) == tickers


def test_a_row_without_ticker_is_refused_with_its_file(table, tmp_path):
    table.to_csv(tmp_path / "all_data_a.csv", index=False)
    table.assign(symbol=["", " ", *table["symbol"][2:]]).to_csv(tmp_path / "all_data_b.csv", index=False)
    with pytest.raises(ValueError, match=r"all_data_b\.csv: 2 of 80 rows have no symbol$"):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.drop(columns="date"),
            r"there is no column date; the columns are symbol, open, high, low, .* and 1 more",
        ),
        (lambda t: t.drop(columns="symbol"), "there is no column symbol; the columns are date, open"),
        (lambda t: t.assign(date=["soon", *t["date"].astype(str)[1:]]), "the date column cannot be read as dates"),
        (lambda t: t.assign(date=[None, *t["date"][1:]]), "1 of 80 rows have no date"),
    ],
)
def test_a_message_names_its_file(table, tmp_path, change, message):
    table.to_csv(tmp_path / "all_data_a.csv", index=False)
    change(table).to_csv(tmp_path / "all_data_b.csv", index=False)
    with pytest.raises(ValueError, match=rf"all_data_b\.csv: {message}"):
        read_table(tmp_path)


def test_text_among_numbers_is_quoted_with_its_ticker(table):
    text = table.astype({"volume": object})
    text.loc[45, "volume"] = "1,234"
    with pytest.raises(ValueError, match=r"text where numbers were expected: volume \('1,234' of BBB\)$"):
        StockDataset(text, **COLUMNS)


# Dates


def written(table, form, tmp_path):
    table.assign(date=table["date"].dt.strftime(form)).to_csv(tmp_path / "a.csv", index=False)
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    "form", ["%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%m-%d-%Y", "%d-%m-%Y 16:00", "%Y-%m-%d", "%Y%m%d"]
)
def test_a_day_above_12_tells_the_order(table, tmp_path, form):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = read_table(written(table, form, tmp_path))
    assert rows["date"].tolist() == table["date"].tolist()


def test_the_order_is_told_by_rows_and_not_by_the_first(table, tmp_path):
    late = table[table["date"] >= "2020-02-03"]  # from 03/02 on
    rows = read_table(written(late, "%d/%m/%Y", tmp_path))
    assert rows["date"].tolist() == late["date"].tolist()


@pytest.mark.parametrize(
    ("form", "note"),
    [
        ("%m/%d/%Y", "dates such as 01/02/2020 are read with the month first"),
        ("%d.%m.%Y", "dates such as 02.01.2020 are read with the day first"),
    ],
)
def test_an_order_that_nothing_tells_is_said(table, tmp_path, form, note):
    early = table[table["date"].dt.day <= 12]
    path = written(early, form, tmp_path)
    with pytest.warns(UserWarning, match=rf"a\.csv: {note}: they do not show which order is meant$"):
        rows = read_table(path)
    assert rows["date"].tolist() == early["date"].tolist()
    text = early.assign(date=early["date"].dt.strftime(form))
    with pytest.warns(UserWarning, match=note):
        StockDataset(text, **COLUMNS)
    for checked in (check_table(path), check_table(text)):
        assert sum(note[1:] in sentence for sentence in checked.rows) == 1


def test_both_orders_are_refused(table):
    mixed = ["13/01/2020", "01/14/2020", *table["date"].dt.strftime("%d/%m/%Y")[2:]]
    with pytest.raises(ValueError, match="13/01/2020 and 01/14/2020: expected the day first in all, or the month"):
        StockDataset(table.assign(date=mixed), **COLUMNS)


# Files that name or hold other columns


def test_files_that_name_their_columns_differently(table, tmp_path):
    other = table[table["symbol"] == "BBB"].rename(columns={"symbol": "ticker", "adjusted_close": "close"})
    table[table["symbol"] == "AAA"].to_csv(tmp_path / "all_data_a.csv", index=False)
    other.to_csv(tmp_path / "all_data_b.csv", index=False)
    with pytest.warns(UserWarning, match="^prices of BBB are read from close: they have no adjusted_close$"):
        dataset = StockDataset(read_table(tmp_path), **COLUMNS)
    expected = StockDataset(table, **COLUMNS)
    assert len(dataset) == len(expected)
    assert all(torch.allclose(a, b) for i in range(len(expected)) for a, b in zip(dataset[i], expected[i], strict=True))
    assert "Prices of BBB are read from close: they have no adjusted_close." in check_table(tmp_path).rows


def test_a_price_that_is_missing_now_and_then_stays_missing(table):
    both = table.assign(close=1.0)
    both.loc[7, "adjusted_close"] = None
    dataset = StockDataset(both, **COLUMNS)
    assert dataset.index_of(table["date"][8], "AAA") == dataset.index_of(table["date"][6], "AAA") + 1


def test_a_ticker_without_volume_or_without_a_feature_is_named(table):
    names = {"feature_cols": ["volume_pct", "f1"], "market_feature_cols": ["m0"], "lookback": 5}
    whole = StockDataset(table, **names)
    of_one = table["symbol"] == "AAA"
    partly = table.assign(volume=table["volume"].where(of_one), f1=table["f1"].where(of_one))
    notes = "volume_pct of BBB are 0 everywhere: no row has a volume; f1 of BBB are 0 everywhere: no row has a value"
    with pytest.warns(UserWarning, match=f"^{notes}$"):
        dataset = StockDataset(partly, **names, normalization=whole.normalization)
    x = dataset[-1][0]
    assert dataset.end_tickers[-1] == "BBB"
    assert not x.any()
    odd = check_table(partly).columns.set_index("column")["odd"]
    assert (odd["volume"], odd["volume_pct"]) == ("many gaps; empty for BBB", "empty for BBB")


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_named(table, tmp_path, separator, name):
    table.to_csv(tmp_path / "all.csv", index=False, sep=separator)
    with pytest.raises(ValueError, match=f"^{tmp_path}/all.csv: its columns are separated by {name}, expected commas$"):
        read_table(tmp_path / "all.csv")
