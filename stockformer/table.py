"""Tables of daily rows, as people have them: read, checked and put in order."""

from __future__ import annotations

import csv
import glob
import lzma
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockformer.features import PRICE_COLUMNS
from stockformer.market import ETFS
from stockformer.preprocessing import Preprocessing

#: 05.01.07, whose day, month and year cannot be told apart.
_TWO_DIGIT_YEAR = r"\s*\d{1,2}[./-]\d{1,2}[./-]\d{2}(?!\d)"
_SUFFIXES = ("", ".gz", ".bz2", ".xz", ".zip", ".zst")


def read_table(data: str | Path | pd.DataFrame) -> pd.DataFrame:
    """The rows of a CSV, of the ``all_data_*.csv`` in a folder, of all files of a glob, or a table itself.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        ValueError: a file is no CSV, or names a column more than once.
    """
    if isinstance(data, pd.DataFrame):
        return data
    return pd.concat([_read_csv(path) for path in table_files(Path(data))], ignore_index=True)


def table_files(path: Path) -> list[Path]:
    """The CSV files that `read_table` reads."""
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [file for suffix in _SUFFIXES for file in path.glob(f"all_data_*.csv{suffix}")]
        missing = f"the folder {path} holds no all_data_*.csv"
    else:
        files = [Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file()]
        missing = f"there is no CSV file {path}"
    if not files:
        raise FileNotFoundError(missing)
    return sorted(files)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        # pandas renames a repeated header, and so would drop a column without a word.
        header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna().tolist()
        check_unique(header, "the headers")
        return pd.read_csv(path, low_memory=False)
    except (ValueError, csv.Error, EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system, and names the file
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from None


def check_unique(names: Sequence[Any], whose: str) -> None:
    twice = sorted({str(name) for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{whose} name a column more than once: {', '.join(twice)}")


def in_order(df: pd.DataFrame, numbers: Sequence[str], preprocessing: Preprocessing) -> tuple[pd.DataFrame, list[str]]:
    """Rows by ticker and date with ``symbol``, ``date`` and `PRICE_COLUMNS`, and what was done to the table.

    Args:
        df: one row per ticker and day.
        numbers: columns that are read as numbers where the table has them.

    Raises:
        ValueError: a column that is needed is missing or cannot be read, or a ticker has a day twice.
    """
    if df.empty:
        raise ValueError("the table has no rows")
    check_unique(list(df.columns), "the table's headers")
    rows = renamed(df, preprocessing)
    missing = [name for name in ("date", "symbol", *PRICE_COLUMNS) if name not in rows]
    if missing:
        raise ValueError(f"the table lacks {len(missing)} needed columns: {', '.join(missing)}")
    unnamed = int(rows["symbol"].isna().sum())
    if unnamed:
        raise ValueError(f"{unnamed} of {len(rows)} rows have no symbol")
    rows = rows.assign(date=_dates(rows["date"]), symbol=_symbols(rows["symbol"]))
    rows = rows.sort_values("symbol", kind="stable", ignore_index=True)
    step = rows.groupby("symbol", sort=False)["date"].diff()
    notes = []
    if (step < pd.Timedelta(0)).any():
        tickers = rows.loc[step < pd.Timedelta(0), "symbol"].unique()
        notes.append(f"the dates of {listed(list(tickers))} were not ascending: rows are sorted")
        rows = rows.sort_values(["symbol", "date"], kind="stable", ignore_index=True)
    twice = rows.duplicated(["symbol", "date"])
    if twice.any():
        row = rows[twice].iloc[0]
        raise ValueError(f"{row['symbol']} has {row['date'].date()} twice: expected one row per ticker and day")
    numeric = [name for name in dict.fromkeys([*PRICE_COLUMNS, *numbers]) if name in rows]
    rows[numeric] = _numeric(rows[numeric])
    return rows, notes


def _symbols(column: pd.Series) -> pd.Series:
    """Tickers as text; those of ETFs, which have a meaning, in capitals."""
    symbols = column.astype(str).str.strip()
    capitals = symbols.str.upper()
    return symbols.where(~capitals.isin(ETFS), capitals)


def renamed(df: pd.DataFrame, preprocessing: Preprocessing) -> pd.DataFrame:
    """The table with ``symbol`` and ``adjusted_close``, whichever names it has."""
    rows = _rename(df, "symbol", "ticker", preprocessing.ticker_column)
    return _rename(rows, "adjusted_close", "close", preprocessing.price_column)


def listed(names: Sequence[Any], most: int = 5) -> str:
    """The first few of many names."""
    more = len(names) - most
    return ", ".join(str(name) for name in names[:most]) + (f" and {more} more" if more > 0 else "")


def _rename(df: pd.DataFrame, name: str, alias: str, preferred: str) -> pd.DataFrame:
    if alias not in df or (name in df and preferred == name):
        return df
    return df.drop(columns=name, errors="ignore").rename(columns={alias: name})


def _dates(column: pd.Series) -> pd.Series:
    if column.dtype == object or pd.api.types.is_string_dtype(column):
        # The offset changes with daylight saving; the day is that of the exchange.
        text = column.where(column.isna(), column.astype(str))
        column = text.str.replace(r"(:\d\d(?:\.\d+)?)\s*(?:Z|[+-]\d\d:?\d\d)$", r"\1", regex=True)
        unclear = column[column.str.match(_TWO_DIGIT_YEAR, na=False).astype(bool)]
        if len(unclear):
            raise ValueError(
                f"the date column has {unclear.iloc[0]}, whose day, month and year cannot be told apart: expected "
                "dates such as 2008-10-15"
            )
    try:
        # 20081015 is a day, not nanoseconds.
        dates = pd.to_datetime(column.astype(str) if pd.api.types.is_integer_dtype(column) else column)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the date column cannot be read as dates: {str(error).splitlines()[0]}") from None
    if dates.isna().any():
        raise ValueError(f"{int(dates.isna().sum())} of {len(dates)} rows have no date")
    return dates.dt.tz_localize(None).dt.normalize()


def check_sizes(columns: pd.DataFrame) -> None:
    """Raise ValueError where an integer is beyond what a float holds."""
    huge = [
        str(name)
        for name, column in columns.items()
        if column.dtype == object and any(isinstance(one, int) and abs(one) > sys.float_info.max for one in column)
    ]
    if huge:
        raise ValueError(f"columns with numbers too large to read: {', '.join(sorted(huge))}")


def _numeric(columns: pd.DataFrame) -> pd.DataFrame:
    check_sizes(columns)
    try:
        return columns.astype(np.float64)
    except (ValueError, TypeError):
        texts = [
            str(name)
            for name, column in columns.items()
            if pd.to_numeric(column, errors="coerce").count() < column.count()
        ]
        raise ValueError(f"columns with text where numbers were expected: {', '.join(sorted(texts))}") from None
