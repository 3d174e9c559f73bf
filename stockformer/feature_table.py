"""The features of a dataset's tickers, computed ticker by ticker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from stockformer.features import PRICE_COLUMNS, add_derived_features
from stockformer.market import ETF_FEATURE_COLUMNS, ETFS, add_market_features, etf_gaps, etf_returns
from stockformer.preprocessing import Preprocessing
from stockformer.source import Frame, ParquetFiles
from stockformer.table import TICKER_COLUMNS, as_numbers, counted, in_order, listed

#: Columns that are read for all rows at once: rows, prices, targets and the market are made from them.
_KEYS = (*TICKER_COLUMNS, "date", "sector", "close", *PRICE_COLUMNS)

#: The place of a row in its source; no table has a column of this name.
_PLACE = "\0place"


def rows_in_order(
    source: Frame | ParquetFiles, columns: Sequence[str], target_col: str | None, preprocessing: Preprocessing
) -> tuple[pd.DataFrame, list[str]]:
    """Rows by ticker and date, without the features that only samples need, and notes on changes to the table.

    Impossible prices, such as 0, count as missing.

    Raises:
        ValueError: as for `stockformer.table.in_order`.
    """
    rows = source.keys([name for name in source.columns if name in _KEYS or name == target_col])
    numbers = columns if target_col is None else [*columns, target_col]
    rows, notes = in_order(rows.assign(**{_PLACE: np.arange(len(rows))}), numbers, preprocessing)
    levels = rows[PRICE_COLUMNS[:-1]]
    odd = levels.notna() & ~((levels > 0) & np.isfinite(levels))
    if odd.any(axis=None):
        counts = ", ".join(f"{counted(number, 'row')} of {name}" for name, number in odd.sum().items() if number)
        notes.append(f"prices that are 0, negative or infinite count as missing: {counts}")
    return rows.assign(**levels.mask(odd)), notes


class FeatureTable:
    """The features of every sample's row.

    Args:
        rows: of `rows_in_order`.
        source: where they come from.
        columns: names of the features.
        preprocessing: how they are made.

    Attributes:
        samples: the rows that are samples, prices filled forward.
        spans: each ticker's rows among them.
        known: by ticker and feature, whether there is any value.
        spy: the column ``spy`` of the prices, SPY's level relative to the ticker's first row; empty where not known.
        notes: on features without values.

    Raises:
        ValueError: there are no samples, or text where a number was expected.
    """

    def __init__(
        self, rows: pd.DataFrame, source: Frame | ParquetFiles, columns: list[str], preprocessing: Preprocessing
    ) -> None:
        sample = ~rows["symbol"].isin(ETFS)
        if not sample.any():
            raise ValueError(f"all rows are of ETFs ({listed(list(rows['symbol'].unique()))}), which are not samples")
        prices = rows[PRICE_COLUMNS].replace([np.inf, -np.inf], np.nan).groupby(rows["symbol"], sort=False).ffill()
        filled = rows.assign(**prices)
        self.samples, unfilled = (each[sample].reset_index(drop=True) for each in (filled, rows))
        self.spans = _spans(self.samples["symbol"].to_numpy())
        self._columns, returns = columns, (etf_returns(rows), etf_returns(filled))
        own = [name for name in columns if name in source.columns and name not in (*_KEYS, *rows)]
        numbers, places = _numbers(rows, source, own), np.flatnonzero(sample)
        self._values = source.empty((len(self.samples), len(columns)), np.float64)
        known, spy, knows_spy = {}, np.full(len(self.samples), np.nan), False
        for ticker, span in self.spans.items():
            table = pd.DataFrame(numbers[places[span]], unfilled.index[span], own)
            values = _features(
                pd.concat([unfilled[span], table], axis=1),
                self.samples.loc[table.index, PRICE_COLUMNS],
                columns,
                preprocessing,
                returns,
            )
            absent = [name for name in columns if name not in values]
            values = values.reindex(columns=columns)
            known[ticker] = _known(values, preprocessing)
            if "spy_ret_1d" in values:
                spy[span] = _level(values["spy_ret_1d"])
                knows_spy |= bool(values["spy_ret_1d"].notna().any())
            self._values[span] = _fill(values, preprocessing)
        self.known = pd.DataFrame.from_dict(known, orient="index", columns=columns)
        self.spy = {"spy": spy} if knows_spy else {}
        computed = [name for name in columns if name not in (*own, *rows) or name in preprocessing.recomputed]
        self.notes = list(_notes(filled, self.known, absent, computed))

    def filled(self, ticker: str) -> pd.DataFrame:
        """The features of one ticker, gaps filled."""
        # By columns, so that sums over rows do not depend on where the numbers are kept.
        return pd.DataFrame(np.array(self._values[self.spans[ticker]], order="F"), columns=self._columns)


def _spans(tickers: np.ndarray) -> dict[str, slice]:
    starts = np.flatnonzero(np.r_[True, tickers[1:] != tickers[:-1]])
    stops = [*starts[1:], len(tickers)]
    return {str(tickers[start]): slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True)}


def _numbers(rows: pd.DataFrame, source: Frame | ParquetFiles, names: list[str]) -> np.ndarray:
    """Columns of the source in the order of the rows, [rows, names]."""
    numbers = source.empty((len(rows), len(names)), np.float64)
    place, start = np.argsort(rows[_PLACE].to_numpy()), 0
    tickers = rows["symbol"].iloc[place].reset_index(drop=True)
    for batch in source.batches(names) if names else ():
        stop = start + len(batch)
        numbers[place[start:stop]] = as_numbers(batch.set_axis(range(start, stop)), tickers)
        start = stop
    return numbers


def _features(
    rows: pd.DataFrame,
    prices: pd.DataFrame,
    columns: list[str],
    preprocessing: Preprocessing,
    returns: tuple[pd.DataFrame, pd.DataFrame],
) -> pd.DataFrame:
    """Features of one ticker, missing values as NaN, without those that are neither in the table nor computed.

    Args:
        rows: prices with gaps.
        prices: the same, filled forward.
        returns: of ETFs, from prices with gaps and from filled ones.
    """
    rows = _recompute(rows, preprocessing.recomputed, returns[0]).assign(**prices)
    rows = add_derived_features(add_market_features(rows, columns, returns[1]), columns)
    return rows[[name for name in columns if name in rows]]


def _recompute(rows: pd.DataFrame, names: Sequence[str], returns: pd.DataFrame) -> pd.DataFrame:
    """Replace the table's own features by those computed from prices as they are, gaps included."""
    without = rows.drop(columns=list(names), errors="ignore")
    computed = add_derived_features(add_market_features(without, names, returns), names, missing=0.0)
    new = [name for name in names if name in computed]
    kept = rows[[name for name in names if name in rows and name not in new]]
    return computed.assign(**computed[new].fillna(0.0), **kept)


def _known(values: pd.DataFrame, preprocessing: Preprocessing) -> pd.Series:
    """Which features have any value."""
    known = values.notna() & ~np.isinf(values)
    recomputed = [name for name in values if name in preprocessing.recomputed]  # with 0 for a missing value
    known[recomputed] &= values[recomputed] != 0
    return known.any()


def _level(daily: pd.Series) -> pd.Series:
    """From daily returns, relative to the day before the first."""
    return (1 + daily.where(np.isfinite(daily), 0.0)).cumprod()


def _fill(values: pd.DataFrame, preprocessing: Preprocessing) -> pd.DataFrame:
    if preprocessing.infinite_is_missing:
        values = values.replace([np.inf, -np.inf], np.nan)
    return values.ffill().fillna(0.0).replace([np.inf, -np.inf], 0.0)


def _notes(rows: pd.DataFrame, known: pd.DataFrame, absent: list[str], computed: list[str]) -> Iterator[str]:
    """Sentences on features without values.

    Args:
        rows: all rows, those of ETFs included, prices filled forward.
        known: as `FeatureTable.known`.
        absent: features that are neither in the table nor computed.
        computed: features that are not in the table, or replaced.
    """
    if absent:
        yield (
            f"{len(absent)} of {known.shape[1]} features are not in the data and are 0 everywhere, so they get no "
            f"attribution: {', '.join(absent)}"
        )
    sample = ~rows["symbol"].isin(ETFS)
    from_etfs = [] if sample.all() else [name for name in computed if name in ETF_FEATURE_COLUMNS]
    gaps = etf_gaps(rows, from_etfs) if from_etfs else []
    if gaps:
        yield f"features without a value are 0 or the last known one: {'; '.join(gaps)}"
    of_volume = [name for name in computed if name in ("volume_pct", "vol_3d_mean", "vol_10d_mean")]
    yield from _empty_by_ticker(rows[sample], known.drop(columns=from_etfs), of_volume)


def _empty_by_ticker(rows: pd.DataFrame, known: pd.DataFrame, of_volume: list[str]) -> Iterator[str]:
    """Sentences on tickers without any value of a feature that others have, or without a volume to compute one from."""
    volume = rows["volume"].notna().groupby(rows["symbol"]).any()
    without_volume = list(volume.index[~volume])
    if of_volume and without_volume:
        yield f"{', '.join(of_volume)} of {listed(without_volume)} are 0 everywhere: no row has a volume"
    tickers: dict[str, list[str]] = {}
    for ticker, has in known.loc[:, known.any()].iterrows():
        names = [n for n in has.index[~has] if not (n in of_volume and ticker in without_volume)]
        if names:
            tickers.setdefault(listed(names), []).append(str(ticker))
    for features, whose in tickers.items():
        yield f"{features} of {listed(whose)} are 0 everywhere: no row has a value"
