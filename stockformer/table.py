"""Tables of daily rows: reading, checking and sorting them."""

from __future__ import annotations

import csv
import glob
import lzma
import sys
import warnings
import zipfile
import zlib
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockformer.features import PRICE_COLUMNS
from stockformer.market import ETFS
from stockformer.parquet import ArrowStream, frame_from_arrow, parquet_columns, read_parquet
from stockformer.preprocessing import Preprocessing

#: 05.01.07, whose day, month and year cannot be told apart.
_TWO_DIGIT_YEAR = r"\s*\d{1,2}[./-]\d{1,2}[./-]\d{2}(?!\d)"
#: 05/03/2021, whose day and month are told apart by other rows, if at all.
_YEAR_LAST = r"\s*(\d{1,2})([./-])(\d{1,2})[./-]\d{4}(?!\d)"
TICKER_COLUMNS = ("symbol", "ticker")
_SUFFIXES = ("", ".gz", ".bz2", ".xz", ".zip", ".zst")


def read_table(data: str | Path | pd.DataFrame | ArrowStream) -> pd.DataFrame:
    """The rows of files, of a pandas table, or of a table of another library that speaks Arrow, such as polars.

    Tickers in files are read as text, such as NA and 0700, and dates file by file. Memory holds the whole table:
    `stockformer.dataset.StockDataset.from_parquet` reads Parquet files that are too large for that.

    Args:
        data: a CSV or Parquet file; a folder, of which the ``all_data_*.csv`` are read, else all Parquet files in it
            and its subfolders, whose names may hold columns (``symbol=AAPL``); a glob; or a table.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        ImportError: Parquet files and tables other than of pandas need pyarrow, the extra ``history``.
        TypeError: it is not a table.
        ValueError: a file cannot be read, names a column more than once, or has rows without a date or ticker.
    """
    if isinstance(data, str | Path):
        return pd.concat([_read_file(path) for path in table_files(Path(data))], ignore_index=True)
    return as_frame(data)


def as_frame(table: pd.DataFrame | ArrowStream) -> pd.DataFrame:
    """A table as pandas has it.

    Raises:
        TypeError: it is not a table.
        ValueError: it cannot be read.
    """
    if isinstance(table, pd.DataFrame):
        return table
    if not hasattr(table, "__arrow_c_stream__"):
        raise TypeError(f"expected a pandas DataFrame or an Arrow table, such as of polars, got {type(table).__name__}")
    return frame_from_arrow(table)


def table_files(path: Path) -> list[Path]:
    """The CSV or Parquet files that `read_table` reads."""
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [file for suffix in _SUFFIXES for file in path.glob(f"all_data_*.csv{suffix}")]
        files = files or [file for file in path.rglob("*") if is_parquet(file) and not _is_hidden(file, path)]
        missing = f"the folder {path} holds no all_data_*.csv and no *.parquet"
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
        missing = f"there is no CSV or Parquet file {path}"
    if not files:
        raise FileNotFoundError(missing)
    return sorted(files)


def is_parquet(path: Path) -> bool:
    """Whether a file is a Parquet file, by its name."""
    return path.suffix.lower() == ".parquet" and path.is_file()


def _is_hidden(file: Path, folder: Path) -> bool:
    """Whether its name, or a folder's, marks it as unfinished or not to be read, as writers of Parquet do."""
    return any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def _read_file(path: Path) -> pd.DataFrame:
    return dated_parquet(path) if is_parquet(path) else _read_csv(path)


def dated_parquet(path: Path, columns: Container[str] | None = None) -> pd.DataFrame:
    """The rows of a Parquet file with dates that are read; of its columns those in `columns`, by default all.

    Raises:
        ValueError: it cannot be read, names a column more than once, or has rows without a date or ticker.
    """
    names = parquet_columns(path)
    try:
        check_unique(names, "the headers")
        _check_keys(names)
        wanted = [name for name in names if columns is None or name in columns]
        batches = list(read_parquet(path, wanted))
        if not batches:
            raise ValueError("it has no rows")
        rows, note = _with_dates(pd.concat(batches, ignore_index=True))
    except ValueError as error:
        message = str(error)
        raise error if message.startswith(str(path)) else ValueError(f"{path}: {message}") from None
    if note:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return rows


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        # pandas renames a repeated header, so a column would be dropped silently.
        header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna().tolist()
        check_unique(header, "the headers")
        _check_separator(header)
        names = [name for name in TICKER_COLUMNS if name in header]
        # NA is a ticker; in other columns it is a missing value.
        tickers = pd.read_csv(path, usecols=names, dtype=str, keep_default_na=False)
        tickers = tickers.where(tickers.map(str.strip) != "")
        rows, note = _with_dates(pd.read_csv(path, low_memory=False).assign(**tickers))
    except (ValueError, csv.Error, EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the file system, which names the file
        if isinstance(error, UnicodeDecodeError):
            raise ValueError(f"{path} is not text in UTF-8") from None
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
    if note:
        warnings.warn(f"{path}: {note}", stacklevel=4)
    return rows


def _check_separator(header: Sequence[str]) -> None:
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and separator in header[0]:
            raise ValueError(f"its columns are separated by {name}, expected commas")


def check_unique(names: Sequence[Any], whose: str) -> None:
    twice = sorted({str(name) for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{whose} name a column more than once: {', '.join(twice)}")


#: Columns that a table may name otherwise.
_OTHER_NAMES = {"symbol": "symbol (or ticker)", "adjusted_close": "adjusted_close (or close)"}


def in_order(df: pd.DataFrame, numbers: Sequence[str], preprocessing: Preprocessing) -> tuple[pd.DataFrame, list[str]]:
    """Rows sorted by ticker and date with ``symbol``, ``date`` and `PRICE_COLUMNS`, and notes on changes to the table.

    Args:
        df: one row per ticker and day.
        numbers: columns that are read as numbers where the table has them.

    Raises:
        ValueError: a column that is needed is missing or cannot be read, or a ticker has a day twice.
    """
    if df.empty:
        raise ValueError("the table has no rows")
    check_unique(list(df.columns), "the table's headers")
    rows, notes = renamed(df, preprocessing)
    missing = [name for name in ("date", "symbol", *PRICE_COLUMNS) if name not in rows]
    if missing:
        names = ", ".join(_OTHER_NAMES.get(name, name) for name in missing)
        raise ValueError(f"the table lacks {counted(len(missing), 'needed column')}: {names}")
    rows, note = _with_dates(rows)
    notes += [note] if note else []
    rows = rows.assign(symbol=_symbols(rows["symbol"]))
    rows = rows.sort_values("symbol", kind="stable", ignore_index=True)
    step = rows.groupby("symbol", sort=False)["date"].diff()
    if (step < pd.Timedelta(0)).any():
        tickers = rows.loc[step < pd.Timedelta(0), "symbol"].unique()
        notes.append(f"the dates of {listed(list(tickers))} were not ascending: rows are sorted")
        rows = rows.sort_values(["symbol", "date"], kind="stable", ignore_index=True)
    twice = rows.duplicated(["symbol", "date"])
    if twice.any():
        row = rows[twice].iloc[0]
        raise ValueError(f"{row['symbol']} has {row['date'].date()} twice: expected one row per ticker and day")
    numeric = [name for name in dict.fromkeys([*PRICE_COLUMNS, *numbers]) if name in rows]
    rows[numeric] = as_numbers(rows[numeric], rows["symbol"])
    return rows, notes


def _symbols(column: pd.Series) -> pd.Series:
    """Tickers as text; those of ETFs, which are looked up by name, in capitals."""
    symbols = column.astype(str).str.strip()
    capitals = symbols.str.upper()
    return symbols.where(~capitals.isin(ETFS), capitals)


def renamed(df: pd.DataFrame, preprocessing: Preprocessing) -> tuple[pd.DataFrame, list[str]]:
    """The table with its columns renamed to ``symbol`` and ``adjusted_close``, and notes on what was changed.

    Several files may name them differently. Where the table has both columns the preferred one is read; the other fills
    in for a row without a ticker, or for a ticker without any price in the preferred column.
    """
    first, other = sorted(TICKER_COLUMNS, key=lambda name: name != preprocessing.ticker_column)
    rows, notes = df.rename(columns={other: first}) if first not in df else df, []
    if other in rows:
        rows = rows.assign(**{first: rows[first].where(rows[first].notna(), rows[other])}).drop(columns=other)
    rows = rows.rename(columns={first: "symbol"})
    first, other = sorted(("adjusted_close", "close"), key=lambda name: name != preprocessing.price_column)
    if first in rows and other in rows:
        if "symbol" in rows:
            without = rows[first].isna().groupby(rows["symbol"]).transform("all") & rows[other].notna()
            if without.any():
                tickers = list(rows.loc[without, "symbol"].unique())
                notes.append(f"prices of {listed(tickers)} are read from {other}: they have no {first}")
                rows = rows.assign(**{first: rows[first].where(~without, rows[other])})
        rows = rows.drop(columns=other)
    return rows.rename(columns={first: "adjusted_close", other: "adjusted_close"}), notes


def counted(number: int, noun: str) -> str:
    """A number of things: 1 day, 2 days."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[Any], most: int = 5) -> str:
    """The first few of many names."""
    more = len(names) - most
    return ", ".join(str(name) for name in names[:most]) + (f" and {more} more" if more > 0 else "")


def _with_dates(df: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The table with its dates read, and a note on what was assumed about them.

    Raises:
        ValueError: a row has no date or no ticker, or the dates cannot be read.
    """
    _check_keys(list(df.columns))
    tickers = [name for name in TICKER_COLUMNS if name in df]
    for names, what in ((["date"], "date"), (tickers, "symbol")):
        empty = int(df[names].isna().all(axis=1).sum())
        if empty:
            raise ValueError(f"{empty} of {len(df)} rows have no {what}")
    dates, note = _dates(df["date"])
    return df.assign(date=dates), note


def _check_keys(columns: Sequence[str]) -> None:
    for names, what in ((("date",), "date"), (TICKER_COLUMNS, "symbol")):
        if not set(names) & set(columns):
            raise ValueError(f"there is no column {what}; the columns are {listed(columns, 8)}")


def _dates(column: pd.Series) -> tuple[pd.Series, str]:
    day_first, note = False, ""
    if column.dtype == object or pd.api.types.is_string_dtype(column):
        # The offset changes with daylight saving; the day is that of the exchange.
        column = column.astype(str).str.replace(r"(:\d\d(?:\.\d+)?)\s*(?:Z|[+-]\d\d:?\d\d)$", r"\1", regex=True)
        unclear = column[column.str.match(_TWO_DIGIT_YEAR)]
        if len(unclear):
            raise ValueError(
                f"the date column has {unclear.iloc[0]}, whose day, month and year cannot be told apart: expected "
                "dates such as 2008-10-15"
            )
        day_first, note = _order(column)
    try:
        # 20081015 is a day, not nanoseconds.
        text = column.astype(str) if pd.api.types.is_integer_dtype(column) else column
        dates = pd.to_datetime(text, dayfirst=day_first)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the date column cannot be read as dates: {str(error).splitlines()[0]}") from None
    if dates.isna().any():
        raise ValueError(f"{int(dates.isna().sum())} of {len(dates)} rows have no date")
    # In one unit, so that equal dates have equal bytes.
    return dates.dt.tz_localize(None).dt.normalize().dt.as_unit("us"), note


def _order(dates: pd.Series) -> tuple[bool, str]:
    """Whether dates such as 05/03/2021 have the day first, and a note where this is assumed: no number is above 12."""
    matches = dates.str.extract(_YEAR_LAST).dropna()
    if matches.empty:
        return False, ""
    first, second = matches[0].astype(int), matches[2].astype(int)
    days_first, months_first = (list(dates[first.index[place > 12]]) for place in (first, second))
    if days_first and months_first:
        two = f"{days_first[0]} and {months_first[0]}"
        raise ValueError(f"the date column has {two}: expected the day first in all, or the month")
    unclear = list(dates[first.index[first != second]])
    if days_first or months_first or not unclear:
        return bool(days_first), ""
    day_first = matches[1].iloc[0] == "."
    order = "day" if day_first else "month"
    return (
        day_first,
        f"dates such as {unclear[0].strip()} are read with the {order} first: they do not show which order is meant",
    )


def check_sizes(columns: pd.DataFrame) -> None:
    """Raise ValueError if an integer is too large for a float."""
    huge = [
        str(name)
        for name, column in columns.items()
        if column.dtype == object and any(isinstance(one, int) and abs(one) > sys.float_info.max for one in column)
    ]
    if huge:
        raise ValueError(f"columns with numbers too large to read: {', '.join(sorted(huge))}")


def as_numbers(columns: pd.DataFrame, tickers: pd.Series) -> pd.DataFrame:
    """Columns as floats.

    Args:
        tickers: of the rows, by the same index.

    Raises:
        ValueError: there is text, or a number that is too large for a float.
    """
    check_sizes(columns)
    try:
        return columns.astype(np.float64)
    except (ValueError, TypeError):
        numbers = columns.apply(pd.to_numeric, errors="coerce")
        texts = columns.notna() & numbers.isna()
        described = [
            f"{name} ({columns.loc[texts[name], name].iloc[0]!r} of {tickers[texts[name]].iloc[0]})"
            for name in sorted(texts.columns[texts.any()])
        ]
        raise ValueError(f"columns with text where numbers were expected: {', '.join(described)}") from None
