"""Windows over a table of daily rows: the inputs of a model, with their dates and prices."""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stockformer.config import BASE_FEATURE_COLUMNS, LOOKBACK, MARKET_FEATURE_COLUMNS
from stockformer.feature_table import FeatureTable, rows_in_order
from stockformer.features import PRICE_COLUMNS
from stockformer.inputs import Inputs
from stockformer.model import LABEL_MODES
from stockformer.parquet import ArrowStream
from stockformer.preprocessing import (
    TRAINED_HERE,
    Normalization,
    Preprocessing,
    check_statistics,
    fit_normalization,
    normalize,
)
from stockformer.source import Frame, ParquetFiles
from stockformer.table import as_frame, check_unique, listed
from stockformer.target_column import TargetColumn


@dataclass(frozen=True)
class Window:
    """One sample: the model's inputs, and what is shown beside them.

    Attributes:
        x: stock features [T, F], normalised.
        market_x: market features [T, M], normalised; None without market features.
        y: the label: a float for ``regression``, else the class number; None in a dataset without a target.
        ticker: the stock whose days these are.
        prices: T rows of ``date, open, high, low, adjusted_close, volume``, gaps filled forward;
            where the data has ``spy_ret_1d`` also ``spy``, SPY's level relative to the ticker's first row.
        forward_return: relative change of the adjusted close after the last day, over the horizon of the target, a
            fraction; NaN without a target.
        target_value: the number that the label is made from; NaN without a target.
        means: the ticker's training means of every input's features as the model reads them, [F] and [M]: 0 for
            normalised features.
    """

    x: Tensor
    market_x: Tensor | None
    y: Tensor | None
    ticker: str
    prices: pd.DataFrame
    forward_return: float
    target_value: float
    means: tuple[Tensor, ...]

    @property
    def inputs(self) -> Inputs:
        """The inputs of the model, each [1, T, features], with their training means."""
        return Inputs((part[None] for part in (self.x, self.market_x) if part is not None), self.means)

    @property
    def dates(self) -> pd.DatetimeIndex:
        """The T trading days, oldest first."""
        return pd.DatetimeIndex(self.prices["date"])


class StockDataset(Dataset[tuple[Tensor, ...]]):
    """Every window of `lookback` consecutive rows of one ticker that has a target.

    ``dataset[i]`` is ``(x [T, F], y, market_x [T, M])``, or ``(x, y)`` without
    market features. Negative indices count from the end; tickers come one after
    another, in the order of their names.

    Args:
        df: one row per ticker and day, in a table of pandas or of a library that speaks Arrow, such as polars. Needs
            ``date``, ``symbol`` (or ``ticker``), ``open, high, low, adjusted_close`` (or ``close``) and ``volume``. A
            missing feature is computed where it follows from prices, volumes or ETF rows (`stockformer.market.ETFS`;
            these rows are not samples), else it is empty. `from_parquet` reads files.
        feature_cols: stock features, in the model's order.
        market_feature_cols: market features, or None for a model without market.
        target_col: ``close_{h}d_fwd_return`` or, for a regression, ``volatility_{h}d``: see
            `stockformer.target_column.TargetColumn`. Computed from unfilled prices where absent. None where h is
            not known: then every window is a sample, and its ``y`` is NaN.
        lookback: T, in trading days.
        label_mode: ``regression``, ``binary`` or ``buckets``.
        threshold: a ``binary`` label is 1 where the return is at least this fraction; by default as
            `preprocessing` says.
        bucket_edges: edges of ``buckets``, in percent; or a number of buckets, whose edges are then quantiles of all
            targets in the data.
        train_end: last date whose rows give the normalisation statistics; by default as `preprocessing` says.
        normalization: statistics that a model was trained with; they replace
            those of this data.
        preprocessing: how inputs are made, `TRAINED_HERE` or `TRAINED_ELSEWHERE`. `load_checkpoint` sets it to
            None where a checkpoint does not say, and then the caller has to choose.
        assumed: the guesses behind the labels, in words; shown wherever the truth is.

    Attributes:
        target_column: the target that `target_col` names; None without one.
        horizon: the number of rows that the target looks ahead; None without one.
        target_values: the target of every row of the table, NaN where it is not known.
        target_dates: the day on which each sample's target becomes known.
        unavailable: features without a single value in the data. They are 0
            everywhere, so they cannot explain anything.
        notes: changes to the data that its owner should know about, also issued as one warning.

    Missing values are filled forward inside a ticker, then with 0.

    Raises:
        ValueError: no correct window can be made from the table; the message
            says what was found and what was expected.
    """

    def __init__(
        self,
        df: pd.DataFrame | ArrowStream | ParquetFiles,
        feature_cols: Sequence[str] = BASE_FEATURE_COLUMNS,
        market_feature_cols: Sequence[str] | None = MARKET_FEATURE_COLUMNS,
        target_col: str | None = "close_3d_fwd_return",
        lookback: int = LOOKBACK,
        label_mode: str = "binary",
        *,
        threshold: float | None = None,
        bucket_edges: Sequence[float] | int | None = None,
        train_end: str | pd.Timestamp | None = None,
        normalization: Normalization | None = None,
        preprocessing: Preprocessing | None = TRAINED_HERE,
        assumed: Sequence[str] = (),
    ) -> None:
        if preprocessing is None:
            raise ValueError(
                "the checkpoint has no normalisation statistics and does not say how its inputs were made: open it "
                "with stockformer.open_model, or pass preprocessing=TRAINED_ELSEWHERE or TRAINED_HERE of "
                "stockformer.preprocessing"
            )
        if label_mode not in LABEL_MODES:
            raise ValueError(f"label_mode is {label_mode!r}, expected one of {', '.join(LABEL_MODES)}")
        if not isinstance(lookback, int) or lookback < 1:
            raise ValueError(f"lookback is {lookback!r}, expected at least 1 day")
        source = df if isinstance(df, ParquetFiles) else Frame(as_frame(df))
        self.feature_cols = list(feature_cols)
        self.market_feature_cols = None if market_feature_cols is None else list(market_feature_cols)
        self.target_col = target_col
        self.lookback = lookback
        self.label_mode = label_mode
        self.threshold = _threshold(preprocessing.threshold if threshold is None else threshold)
        self.preprocessing = preprocessing
        self.assumed = tuple(assumed)
        self.target_column = None if target_col is None else TargetColumn.of_name(target_col)
        self.horizon = None if self.target_column is None else self.target_column.horizon
        if self.target_column is not None and self.target_column.kind == "volatility" and label_mode != "regression":
            raise ValueError(f"label_mode is {label_mode!r}, and {target_col} has no classes: expected 'regression'")

        columns = self.feature_cols + (self.market_feature_cols or [])
        check_unique(columns, "the features asked for")
        rows, self.notes = rows_in_order(source, columns, target_col, preprocessing)
        rows = rows.assign(**_targets(rows, self.target_column, preprocessing))
        features = FeatureTable(rows, source, columns, preprocessing)
        rows, spans = features.samples, features.spans
        self.notes += features.notes
        self.unavailable = list(features.known.columns[~features.known.any()])
        if self.horizon is not None and rows[_TARGET].isna().all():
            raise ValueError(f"no row has a target: {target_col} is missing in all {len(rows)} rows")
        self.prices = rows[["date", *PRICE_COLUMNS]].assign(**features.spy)
        self.tickers = rows["symbol"].to_numpy()
        self.target_values = rows[_TARGET].to_numpy(dtype=np.float64)
        self.returns = rows[_RETURN].to_numpy(dtype=np.float64)
        self.bucket_edges = _bucket_edges(bucket_edges, self.target_values) if label_mode == "buckets" else None
        smallest = 0.0 if label_mode == "regression" else preprocessing.min_return
        self.ends = _window_ends(self.tickers, self.target_values, lookback, smallest, self.horizon is not None)
        self._note_tickers_without_window()
        days = rows["date"] if preprocessing.split_by == "rows" else rows["date"].iloc[self.ends]
        self.train_end = _train_end(rows["date"], days, preprocessing.training_fraction, train_end)
        training = (rows["date"] <= self.train_end).to_numpy()
        raw = [name for name in columns if name in preprocessing.raw]
        raw += [] if preprocessing.market_is_normalized else self.market_feature_cols or []
        self.normalization = normalization or fit_normalization(
            ((ticker, features.filled(ticker)[training[span]]) for ticker, span in spans.items()),
            columns,
            raw,
            preprocessing.fewest_training_rows,
        )
        few = pd.Series(training).groupby(self.tickers, sort=False).sum() < preprocessing.fewest_training_rows
        if normalization is None and few.any():
            self.notes.append(
                f"features of {listed(list(few.index[few]))} stay as they are, not normalised: fewer than "
                f"{preprocessing.fewest_training_rows} rows in the training dates"
            )
        check_statistics(self.normalization, columns, spans)
        values = torch.from_numpy(source.empty((len(rows), len(columns)), np.float32))
        for ticker, span in spans.items():
            filled = features.filled(ticker)
            scores = normalize(filled.to_numpy(), ticker, self.normalization)
            # The statistics of other data would turn missing features into numbers other than 0.
            scores[:, torch.from_numpy(~features.known.loc[ticker].to_numpy())] = 0.0
            _check_finite(scores, filled, ticker, rows["date"].iloc[span])
            values[span] = scores
        self._x = values[:, : len(self.feature_cols)]
        self._market_x = values[:, len(self.feature_cols) :]
        self.labels = self._label(self.target_values)
        self._means_by_ticker: dict[str, tuple[Tensor, ...]] = {}
        self.target_dates = _target_dates(rows, self.horizon or 0).iloc[self.ends]
        if self.notes:
            warnings.warn("; ".join(self.notes), stacklevel=2)

    @classmethod
    def from_parquet(cls, path: str | Path, **settings: Any) -> StockDataset:
        """Every window of the rows in Parquet files, equal to that of their table in memory.

        Memory holds dates, tickers, prices and targets of all rows, and the features of one ticker or of one batch of
        rows at a time; all other features are in temporary files, which are gone with the dataset. Pickling a dataset
        reads them into memory.

        Args:
            path: a file; a folder, of which all files are read, also those in its subfolders, whose names may hold
                columns (``symbol=AAPL``); or a glob. Rows may be in any order, and a ticker in several files.
            settings: arguments of `StockDataset`, such as `settings` of another dataset.

        Raises:
            FileNotFoundError: there is no such file, or none in the folder.
            ImportError: pyarrow is not installed, the extra ``history``.
            OSError: the folder of temporary files has too little space.
            ValueError: a file is damaged, or as for `StockDataset`.

        Example:
            >>> dataset = StockDataset.from_parquet("parquet/", lookback=30)
        """
        return cls(ParquetFiles(path), **settings)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        span = self._span(index)
        x, y, market_x = self._x[span], self.labels[span.stop - 1], self._market_x[span]
        return (x, y) if self.market_feature_cols is None else (x, y, market_x)

    def window(self, index: int) -> Window:
        """The sample at `index` with its ticker, dates and prices.

        Raises:
            IndexError: there is no such sample.
        """
        span = self._span(index)
        last = span.stop - 1
        return Window(
            x=self._x[span],
            market_x=None if self.market_feature_cols is None else self._market_x[span],
            y=None if self.horizon is None else self.labels[last],
            ticker=str(self.tickers[last]),
            prices=self.prices.iloc[span].reset_index(drop=True),
            forward_return=float(self.returns[last]),
            target_value=float(self.target_values[last]),
            means=self._means(str(self.tickers[last])),
        )

    def inputs(self, indices: Sequence[int] | np.ndarray) -> Inputs:
        """The inputs of several samples, each [n, T, features], with their training means.

        Raises:
            IndexError: there is no such sample.
        """
        spans = [self._span(int(index)) for index in indices]
        streams = [self._x] if self.market_feature_cols is None else [self._x, self._market_x]
        means = zip(*(self._means(str(self.tickers[span.stop - 1])) for span in spans), strict=True)
        parts = [torch.stack([stream[span] for span in spans]) for stream in streams]
        return Inputs(parts, [torch.stack(each)[:, None] for each in means])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all windows: their inputs, labels, dates, tickers and prices."""
        digest = hashlib.sha256()
        for tensor in (self._x, self._market_x, self.labels):
            for start in range(0, len(tensor), _HASHED):
                digest.update(tensor[start : start + _HASHED].contiguous().numpy().tobytes())
        for column in (self.ends, self.target_values, *(self.prices[name].to_numpy() for name in self.prices)):
            digest.update(np.ascontiguousarray(column).tobytes())
        names = [*self.tickers, *self.feature_cols, *(self.market_feature_cols or []), self.target_col, self.train_end]
        digest.update("\n".join(map(str, names)).encode())
        return digest.hexdigest()

    def _means(self, ticker: str) -> tuple[Tensor, ...]:
        """Training means of a ticker's inputs: 0 for normalised features, by construction."""
        if ticker not in self._means_by_ticker:
            self._means_by_ticker[ticker] = self._mean_inputs(ticker)
        return self._means_by_ticker[ticker]

    def _mean_inputs(self, ticker: str) -> tuple[Tensor, ...]:
        first, stop = (int(np.searchsorted(self.tickers, ticker, side)) for side in ("left", "right"))
        training = (self.prices["date"].iloc[first:stop] <= self.train_end).to_numpy()
        rows = first + np.flatnonzero(training if training.any() else ~training)
        pairs = zip(self.normalization.mean[ticker], self.normalization.std[ticker], strict=True)
        raw = torch.tensor([(mean, std) == (0, 1) for mean, std in pairs])
        stock = len(self.feature_cols)
        streams = (self._x, raw[:stock]), (self._market_x, raw[stock:])
        means = [torch.where(flag, values[rows].double().mean(dim=0), 0.0).float() for values, flag in streams]
        return tuple(means if self.market_feature_cols is not None else means[:1])

    def _span(self, index: int) -> slice:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} does not exist: the dataset has {len(self)}, 0 to {len(self) - 1}")
        end = int(self.ends[index])
        return slice(end - self.lookback + 1, end + 1)

    def index_of(self, date: str | pd.Timestamp, ticker: str | None = None) -> int:
        """The sample whose last day is `date`, of `ticker` or else of the first ticker that has one.

        Raises:
            ValueError: no window ends on that day, there is no such ticker, or `date` is not a date.
        """
        day = _day(date)
        whose, of_ticker = "", np.ones(len(self), dtype=bool)
        if ticker is not None:
            whose, of_ticker = f" of {ticker}", self.end_tickers == ticker
            if not of_ticker.any():
                tickers = list(dict.fromkeys(self.end_tickers))
                raise ValueError(f"there is no window of {ticker}; the tickers are {listed(tickers, 20)}")
        match = np.flatnonzero(of_ticker & (self.end_dates == day))
        if not len(match):
            ends = self.end_dates[of_ticker]
            small = self.preprocessing.min_return if self.label_mode != "regression" else 0.0
            left_out = f" (days whose return is within {100 * small:g} % of 0 are left out)" if small else ""
            raise ValueError(
                f"no window{whose} ends on {day.date()}; windows end from {ends.min().date()} to {ends.max().date()}"
                f"{left_out}"
            )
        return int(match[0])

    def index_until(self, day: str | pd.Timestamp, ticker: str) -> int:
        """The last sample of `ticker` that ends on a day or before it.

        Raises:
            ValueError: none ends that early, there is no such ticker, or `day` is not a date.
        """
        of_ticker = np.flatnonzero(self.end_tickers == ticker)
        if not len(of_ticker):
            raise ValueError(f"there is no window of {ticker}")
        ends, until = self.end_dates[of_ticker], _day(day)
        place = int(ends.searchsorted(until, side="right")) - 1
        if place < 0:
            raise ValueError(f"no window of {ticker} ends by {until.date()}: the first ends on {ends[0].date()}")
        return int(of_ticker[place])

    @property
    def assumption(self) -> str:
        """The guesses behind the labels, in words to print beside a truth; empty if there are none."""
        return f"assumed: {'; '.join(self.assumed)}" if self.assumed else ""

    @property
    def first_validation_date(self) -> pd.Timestamp | None:
        """The first day after the training dates; None where there is no later row."""
        later = self.prices["date"][self.prices["date"] > self.train_end]
        return None if later.empty else later.min()

    @property
    def end_dates(self) -> pd.DatetimeIndex:
        """The last day of every sample, the day of its prediction."""
        return pd.DatetimeIndex(self.prices["date"].iloc[self.ends])

    @property
    def end_tickers(self) -> np.ndarray:
        """The ticker of every sample."""
        tickers: np.ndarray = self.tickers[self.ends]
        return tickers

    @property
    def volatility(self) -> np.ndarray:
        """Standard deviation of the daily returns inside every window: [n], a fraction per day; NaN without any."""
        daily = self.prices["adjusted_close"].groupby(self.tickers, sort=False).pct_change()
        # The first row of a window is the base of its first return.
        spread = daily.rolling(self.lookback - 1).std(ddof=0)
        at_ends: np.ndarray = spread.to_numpy()[self.ends]
        return at_ends

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments that make a dataset from another table in the same way."""
        return {
            "feature_cols": self.feature_cols,
            "market_feature_cols": self.market_feature_cols,
            "target_col": self.target_col,
            "lookback": self.lookback,
            "label_mode": self.label_mode,
            "threshold": self.threshold,
            "bucket_edges": self.bucket_edges,
            "train_end": str(self.train_end.date()),
            "normalization": self.normalization,
            "preprocessing": self.preprocessing,
            "assumed": list(self.assumed),
        }

    def _note_tickers_without_window(self) -> None:
        rows = pd.Series(self.tickers).value_counts(sort=False).drop(self.end_tickers, errors="ignore")
        if len(rows):
            counts = listed([f"{ticker} ({number} rows)" for ticker, number in rows.items()])
            self.notes.append(f"no window of {self.lookback} days with a target fits into {counts}")

    def _label(self, targets: np.ndarray) -> Tensor:
        if self.label_mode == "regression" or self.horizon is None:
            return torch.tensor(targets).float()
        if self.label_mode == "binary":
            return torch.from_numpy(targets >= self.threshold).long()
        return torch.from_numpy(np.searchsorted(self.bucket_edges or [], targets * 100, side="right"))


#: Rows hashed at once.
_HASHED = 1 << 16

#: Columns of the rows, under names that no column of a user's table has.
_TARGET = "\0target"
_RETURN = "\0return"


def _threshold(threshold: float) -> float:
    if not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}, expected a fraction such as 0.015")
    return float(threshold)


def _bucket_edges(edges: Sequence[float] | int | None, returns: np.ndarray) -> list[float]:
    """Edges in percent; for a number of buckets, the quantiles of all targets."""
    if isinstance(edges, int):
        if edges < 2:
            raise ValueError(f"bucket_edges is {edges}, expected edges in percent or at least 2 buckets")
        known = returns[np.isfinite(returns)]
        return [float(np.quantile(100 * known, k / edges)) for k in range(1, edges)]
    numbers = [float(edge) for edge in edges] if edges is not None else []
    if not numbers:
        raise ValueError("label_mode 'buckets' needs at least one bucket edge, found none")
    if numbers != sorted(set(numbers)) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"bucket_edges are {numbers}, expected ascending percentages")
    return numbers


def _day(date: str | pd.Timestamp) -> pd.Timestamp:
    # pandas reads "May" as the first of May in the year 1.
    if not isinstance(date, str) or re.search(r"\d{4}", date):
        try:
            day = pd.Timestamp(date)
        except ValueError:
            day = None
        if isinstance(day, pd.Timestamp):
            return day.tz_localize(None).normalize()
    raise ValueError(f"{date!r} is not a date, expected one such as '2008-10-15'")


def _target_dates(rows: pd.DataFrame, horizon: int) -> pd.Series:
    """The day on which a row's target becomes known; a day after all others where the table ends before that."""
    known = rows.groupby("symbol", sort=False)["date"].shift(-horizon)
    return known.fillna(rows["date"].max() + pd.Timedelta(days=1))


def _targets(rows: pd.DataFrame, target: TargetColumn | None, preprocessing: Preprocessing) -> dict[str, pd.Series]:
    """The target and the forward return of every row; NaN where a price is missing."""
    if target is None:
        return dict.fromkeys((_TARGET, _RETURN), pd.Series(np.nan, index=rows.index))
    stored = target.name in rows and not preprocessing.recomputed
    targets = rows[target.name] if stored else target.compute(rows)
    returns = targets if target.kind == "return" else TargetColumn("return", target.horizon).compute(rows)
    return {name: values.where(np.isfinite(values)) for name, values in ((_TARGET, targets), (_RETURN, returns))}


def _train_end(dates: pd.Series, split: pd.Series, fraction: float, chosen: str | pd.Timestamp | None) -> pd.Timestamp:
    """`chosen`, or the last of `dates` before the one that lies `fraction` into the distinct dates of `split`."""
    if chosen is not None:
        return pd.Timestamp(chosen)
    days = np.sort(split.unique())
    end: pd.Timestamp = dates[dates < days[int(fraction * len(days))]].max()
    return end


def _check_finite(values: Tensor, filled: pd.DataFrame, ticker: str, dates: pd.Series) -> None:
    bad = (~torch.isfinite(values)).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise ValueError(
            f"{filled.columns[column]} of {ticker} is {filled.to_numpy()[row, column]:g} on "
            f"{dates.iloc[row].date()}, and not finite once it is normalised: expected smaller numbers"
        )


def _window_ends(
    tickers: np.ndarray, returns: np.ndarray, lookback: int, smallest: float, needs_target: bool
) -> np.ndarray:
    """Rows that end a full window of one ticker and whose target is at least `smallest` in absolute value: indices."""
    first = np.r_[True, tickers[1:] != tickers[:-1]]
    starts = np.flatnonzero(first)
    position = np.arange(len(tickers)) - np.repeat(starts, np.diff(np.r_[starts, len(tickers)]))
    fits = position >= lookback - 1
    if needs_target:
        fits &= np.abs(returns) >= smallest  # False for NaN
    ends = np.flatnonzero(fits)
    if not len(ends):
        raise ValueError(
            f"no window fits: the longest ticker has {int(position.max()) + 1} rows, expected at least "
            f"{lookback} (lookback) plus those that the target needs"
        )
    return ends
