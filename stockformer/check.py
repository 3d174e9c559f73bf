"""What a table of daily rows holds and lacks, before anything is run on it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockformer.checkpoint import read_checkpoint
from stockformer.config import BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset
from stockformer.features import PRICE_COLUMNS, add_derived_features
from stockformer.market import ETFS, add_market_features, etf_returns
from stockformer.opening import feature_columns, open_model
from stockformer.parquet import ArrowStream
from stockformer.preprocessing import TRAINED_ELSEWHERE, TRAINED_HERE, Preprocessing
from stockformer.table import check_sizes, counted, in_order, listed, read_table, renamed

#: More days between two rows of a ticker than any holiday takes.
_LONG_BREAK = 10
#: After this many days at the same price a stock is hardly traded.
_STILL = 5
#: A column with a larger share of gaps is odd.
_MANY_GAPS = 0.2
#: Range of a feature's median magnitude, in the unit that the models expect.
_USUAL = {
    "treasury_yield_10year": (0.2, 25.0, "percent"),
    "treasury_yield_2year": (0.05, 25.0, "percent"),
    "unemployment": (1.0, 40.0, "percent"),
    "nonfarm_payroll": (1e4, 1e6, "thousands of jobs"),
    "dividend_yield": (0.0, 0.2, "a fraction"),
    **dict.fromkeys(MARKET_FEATURE_COLUMNS[:7], (0.0, 0.1, "a fraction")),
}


@dataclass(frozen=True)
class TableCheck:
    """The result of `check_table`.

    Attributes:
        columns: one row per column: ``column``, ``state`` (``found``, ``computed``: from prices, volumes or ETF
            rows, ``empty``: absent or without a value), ``missing`` (the share of rows without a value in the table),
            ``odd`` (what to look at). With a checkpoint that has statistics also ``typical`` and ``largest``: the
            median and the largest distance from the training mean, in training standard deviations.
        rows: sentences on dates, tickers and prices.
        verdict: whether the data can be opened, and as what.
    """

    columns: pd.DataFrame
    rows: tuple[str, ...]
    verdict: str

    def __str__(self) -> str:
        table = self.columns.assign(missing=[f"{share:.1%}" for share in self.columns["missing"]])
        return "\n".join([table.to_string(index=False), "", *self.rows, self.verdict])


def check_table(
    data: str | Path | pd.DataFrame | ArrowStream, checkpoint: str | Path | None = None, **options: Any
) -> TableCheck:
    """Check a table in any form that `stockformer.open_model` takes, with a model or without.

    The whole table is read into memory, even from Parquet files.

    Args:
        options: of `stockformer.open_model`, with a checkpoint.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the table or the checkpoint cannot be read, or rows cannot be told apart: no date or ticker.
    """
    if checkpoint is None and options:
        raise ValueError(f"{', '.join(options)} has no effect without a model")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        table = read_table(data)
    file_notes = [f"{warning.message}." for warning in caught]
    preprocessing, columns = TRAINED_HERE, [*BASE_FEATURE_COLUMNS, *MARKET_FEATURE_COLUMNS]
    if checkpoint is not None:
        _, info = read_checkpoint(checkpoint)
        preprocessing = info.dataset_settings["preprocessing"] or TRAINED_ELSEWHERE
        stock, market = feature_columns(Path(checkpoint).name, info).values()
        columns = [*(stock or []), *(market or [])]
    named, notes = renamed(table, preprocessing)
    numbers = [name for name in (*PRICE_COLUMNS, *columns) if name in named]
    check_sizes(named[numbers])
    texts = {name: _texts(named[name]) for name in numbers}
    named = named.assign(**{name: pd.to_numeric(named[name], errors="coerce") for name in numbers})
    rows, sentences = _rows(named, notes, preprocessing)
    sentences += file_notes
    computed = _compute(rows, columns)
    dataset, verdict = _open(table, checkpoint, options)
    distances = {} if dataset is None or checkpoint is None else _distances(dataset, checkpoint)
    samples, lines = ~rows["symbol"].isin(ETFS), []
    for name in (*PRICE_COLUMNS, *columns):
        odd: list[str] = []
        from_prices = computed[samples].get(name)
        values = rows[samples].get(name)
        if from_prices is not None and (values is None or name in preprocessing.recomputed):
            state, values = "computed" if np.isfinite(from_prices).any() else "empty", from_prices
        elif values is None or not np.isfinite(values).any():
            state, values = "empty", pd.Series(np.nan, index=rows.index[samples])
        else:
            state, odd = "found", list(_oddities(name, values, texts.get(name, 0), from_prices))
        empty = (~np.isfinite(values)).groupby(rows.loc[samples, "symbol"]).all()
        if state != "empty" and empty.any():
            odd.append(f"empty for {listed(list(empty.index[empty]))}")
        typical, largest = distances.get(name, (np.nan, np.nan))
        if typical > 3:
            odd.append("far from what the model was trained on")
        lines.append(
            {
                "column": name,
                "state": state,
                "missing": float(values.isna().mean()),
                **({"typical": round(typical, 2), "largest": round(largest, 1)} if distances else {}),
                "odd": "; ".join(odd),
            }
        )
    return TableCheck(pd.DataFrame(lines), tuple(sentences), verdict)


def _texts(column: pd.Series) -> int:
    """How many values are text that is not a number."""
    return int(column.count() - pd.to_numeric(column, errors="coerce").count())


def _rows(named: pd.DataFrame, notes: list[str], preprocessing: Preprocessing) -> tuple[pd.DataFrame, list[str]]:
    """Rows in order, one per ticker and day, and sentences on what is odd about them."""
    keys = ["symbol", "date"]
    twice = int(named.duplicated([key for key in keys if key in named]).sum()) if "date" in named else 0
    first = named.drop_duplicates(keys) if twice else named
    absent = [name for name in PRICE_COLUMNS if name not in named]
    rows, order_notes = in_order(first.assign(**dict.fromkeys(absent, np.nan)), [], preprocessing)
    samples = rows[~rows["symbol"].isin(ETFS)]
    tickers, funds = samples["symbol"].unique(), rows.loc[rows["symbol"].isin(ETFS), "symbol"].unique()
    start = f"{counted(len(samples), 'row')} of {counted(len(tickers), 'ticker')} ({listed(list(tickers))})"
    sentences = [f"{start}, {rows['date'].min().date()} to {rows['date'].max().date()}."]
    if len(funds):
        sentences.append(f"ETF rows, used for market features and not as samples: {listed(list(funds), 12)}.")
    if absent:
        sentences.append(f"Required columns that are missing: {', '.join(absent)}.")
    if twice:
        sentences.append(f"Rows that repeat a ticker and day: {twice}; expected one row each.")
    sentences += [f"{note[0].upper()}{note[1:]}." for note in [*notes, *order_notes]]
    weekend = samples[samples["date"].dt.day_of_week >= 5]
    if len(weekend):
        sentences.append(f"{counted(len(weekend), 'row')} on a weekend, the first on {weekend['date'].iloc[0].date()}.")
    by_ticker = samples.groupby("symbol", sort=False)
    days = by_ticker["date"].diff().dt.days
    if (days > _LONG_BREAK).any():
        row = samples.loc[days.idxmax()]
        sentences.append(f"{row['symbol']} has no row for {int(days.max())} days before {row['date'].date()}.")
    halted = samples[samples["adjusted_close"].isna()]
    if len(halted):
        sentences.append(f"{counted(len(halted), 'row')} of {listed(list(halted['symbol'].unique()))} without a price.")
    still = by_ticker["adjusted_close"].transform(lambda price: price.diff().eq(0).rolling(_STILL).sum()) == _STILL
    if still.any():
        row = samples[still].iloc[0]
        until = row["date"].date()
        sentences.append(f"The price of {row['symbol']} does not change for {_STILL} days or more, up to {until}.")
    return rows, sentences


def _compute(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Those of `columns` that follow from prices, volumes and ETF rows, whether the table has them or not."""
    without = rows.drop(columns=list(columns), errors="ignore")
    market = add_market_features(without, columns, etf_returns(without))
    kept = {name: rows[name] for name in ("spy_ret_1d", "sector_etf_ret_1d") if name in rows and name not in market}
    try:
        computed = add_derived_features(market.assign(**kept), columns)
    except ImportError:  # without TA-Lib
        computed = market
    return computed[[name for name in columns if name in computed and name not in kept]]


def _oddities(name: str, values: pd.Series, texts: int, from_prices: pd.Series | None) -> Iterator[str]:
    finite = values[np.isfinite(values)]
    if texts:
        yield f"{counted(texts, 'text')} where numbers were expected"
    infinite = int(np.isinf(values).sum())
    if infinite:
        yield counted(infinite, "infinite value")
    if len(finite) and values.isna().mean() > _MANY_GAPS:
        yield "many gaps"
    if len(finite) and finite.nunique() == 1:
        yield f"always {finite.iloc[0]:g}"
    if len(finite) and name in PRICE_COLUMNS and (finite < 0).any():
        yield counted(int((finite < 0).sum()), "negative value")
    middle = float(finite.abs().median()) if len(finite) else np.nan
    low, high, unit = _USUAL.get(name, (0.0, np.inf, ""))
    if not np.isnan(middle) and not low <= middle <= high:
        yield f"typically {middle:g}, expected {low:g} to {high:g}: {unit}"
    if from_prices is not None:
        yield from _compared(values, from_prices)


def _compared(values: pd.Series, from_prices: pd.Series) -> Iterator[str]:
    """Whether a column agrees with what prices and volumes give, differs in its unit, or is something else."""
    both = pd.DataFrame({"table": values, "prices": from_prices}).replace([np.inf, -np.inf], np.nan).dropna()
    both = both[(both["prices"] != 0) & (both["table"] != 0)]
    if len(both) < 20:
        return
    factor = float((both["table"] / both["prices"]).median())
    if 50 < factor < 200:
        yield "100 times what the prices give: percent where a fraction is expected"
    elif 0.005 < factor < 0.02:
        yield "a hundredth of what the prices give: a fraction where percent is expected"
    elif not 0.9 < factor < 1.1:
        yield f"typically {factor:.3g} times what the prices give"


def _open(
    table: pd.DataFrame, checkpoint: str | Path | None, options: Mapping[str, Any]
) -> tuple[StockDataset | None, str]:
    """The dataset, or None where it cannot be made, and the verdict."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            dataset = StockDataset(table) if checkpoint is None else open_model(checkpoint, table, **options)[0]
    except (ValueError, ImportError) as error:
        return None, f"It does not open: {error}."
    sentences = [f"It opens: {counted(len(dataset), 'window')} of {counted(dataset.lookback, 'day')}."]
    # The dataset's own notes are among the sentences on the rows already.
    sentences += [f"{warning.message}." for warning in caught if str(warning.message) != "; ".join(dataset.notes)]
    return dataset, "\n".join(sentences)


def _distances(dataset: StockDataset, checkpoint: str | Path) -> dict[str, tuple[float, float]]:
    """Median and largest |z| of every feature, where the statistics are the checkpoint's."""
    _, info = read_checkpoint(checkpoint)
    if info.dataset_settings.get("normalization") is None:
        return {}
    streams = (dataset._x, dataset.feature_cols), (dataset._market_x, dataset.market_feature_cols or [])
    return {
        name: (float(values.abs().median()), float(values.abs().max()))
        for features, names in streams
        for name, values in zip(names, features.T, strict=True)
    }
