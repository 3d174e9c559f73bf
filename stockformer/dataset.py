"""Windows over a table of daily rows: what a model reads, with its dates and prices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from stockformer.config import BASE_FEATURE_COLUMNS, LOOKBACK, MARKET_FEATURE_COLUMNS
from stockformer.features import PRICE_COLUMNS, add_derived_features, is_derivable
from stockformer.model import LABEL_MODES

TRAIN_FRACTION = 0.7
_ALIASES = {"ticker": "symbol", "close": "adjusted_close"}


@dataclass(frozen=True)
class Normalization:
    """z-score statistics per ticker, from training dates only.

    Attributes:
        columns: feature names, stock then market.
        mean, std: ticker -> one value a column; a standard deviation under
            1e-6 is stored as 1.
    """

    columns: list[str]
    mean: Mapping[str, list[float]]
    std: Mapping[str, list[float]]


@dataclass(frozen=True)
class Window:
    """One sample: the model's inputs and what a person reads beside them.

    Attributes:
        x: stock features [T, F], normalised.
        market_x: market features [T, M], normalised; None without market features.
        y: the label: a float for ``regression``, else the class number.
        ticker: whose days these are.
        prices: T rows of ``date, open, high, low, adjusted_close, volume``, gaps filled forward;
            where the data has ``spy_ret_1d`` also ``spy``, SPY's level relative to the ticker's first row.
        forward_return: relative change of the adjusted close after the last day, a fraction.
    """

    x: Tensor
    market_x: Tensor | None
    y: Tensor
    ticker: str
    prices: pd.DataFrame
    forward_return: float

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What a model is called with, each [1, T, features]."""
        return tuple(part[None] for part in (self.x, self.market_x) if part is not None)

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
        df: one row per ticker and day, dates ascending within a ticker. Needs
            ``date``, ``symbol`` (or ``ticker``), ``open, high, low,
            adjusted_close`` (or ``close``), ``volume``, and the features;
            those that follow from prices and volumes are computed where absent.
        feature_cols: stock features, in the model's order.
        market_feature_cols: market features, or None for a model without market.
        target_col: ``close_{h}d_fwd_return``, computed where absent.
        lookback: T, in trading days.
        label_mode: ``regression``, ``binary`` or ``buckets``.
        threshold: a ``binary`` label is 1 where the return is at least this fraction.
        bucket_edges: edges of ``buckets``, in percent.
        train_end: last date whose rows give the normalisation statistics;
            by default the first 70 % of the dates do.
        normalization: statistics that a model was trained with; they replace
            those of this data.

    Attributes:
        target_dates: the day on which each sample's return is known.
        unavailable: features without a single value in the data. They are 0
            everywhere, so they can explain nothing.

    Infinite values count as missing; missing values are filled forward inside a
    ticker, then with 0.

    Raises:
        ValueError: the table cannot give a single correct window; the message
            says what was found and what was expected.
    """

    def __init__(
        self,
        df: pd.DataFrame,
        feature_cols: Sequence[str] = BASE_FEATURE_COLUMNS,
        market_feature_cols: Sequence[str] | None = MARKET_FEATURE_COLUMNS,
        target_col: str = "close_3d_fwd_return",
        lookback: int = LOOKBACK,
        label_mode: str = "binary",
        *,
        threshold: float = 0.0,
        bucket_edges: Sequence[float] | None = None,
        train_end: str | pd.Timestamp | None = None,
        normalization: Normalization | None = None,
    ) -> None:
        if label_mode not in LABEL_MODES:
            raise ValueError(f"label_mode is {label_mode!r}, expected one of {', '.join(LABEL_MODES)}")
        edges = None if bucket_edges is None else [float(edge) for edge in bucket_edges]
        if label_mode == "buckets" and not edges:
            raise ValueError("label_mode 'buckets' needs at least one bucket edge, found none")
        if edges is not None and edges != sorted(set(edges)):
            raise ValueError(f"bucket_edges are {edges}, expected ascending percentages")
        if not isinstance(lookback, int) or lookback < 1:
            raise ValueError(f"lookback is {lookback!r}, expected at least 1 day")
        if not isinstance(df, pd.DataFrame):
            raise TypeError(f"expected a pandas DataFrame, got {type(df).__name__}")
        self.feature_cols = list(feature_cols)
        self.market_feature_cols = None if market_feature_cols is None else list(market_feature_cols)
        self.target_col = target_col
        self.lookback = lookback
        self.label_mode = label_mode
        self.threshold = float(threshold)
        self.bucket_edges = edges
        self.horizon = _horizon(target_col)

        columns = self.feature_cols + (self.market_feature_cols or [])
        _check_unique(columns, "the features asked for")
        rows = _prepare(df, columns, target_col, self.horizon)
        self.unavailable = [name for name in columns if rows[name].isna().all()]
        self.prices = rows[["date", *PRICE_COLUMNS]].assign(**_spy_level(rows, columns))
        self.tickers = rows["symbol"].to_numpy()
        self.returns = rows[target_col].to_numpy(dtype=np.float64)
        filled = rows.groupby("symbol", sort=False)[columns].ffill().fillna(0.0)
        self.train_end = _train_end(rows["date"], train_end)
        training = (rows["date"] <= self.train_end).to_numpy()
        self.normalization = normalization or _fit(filled, self.tickers, training)
        values = _normalise(filled, self.tickers, self.normalization)
        # Statistics from elsewhere would make numbers of what this data does not have.
        values[:, [name in self.unavailable for name in columns]] = 0.0
        self._x = values[:, : len(self.feature_cols)]
        self._market_x = values[:, len(self.feature_cols) :]
        self.ends = _window_ends(self.tickers, self.returns, lookback)
        self.labels = self._label(self.returns)
        self.target_dates = _target_dates(rows, self.horizon).iloc[self.ends]

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
            y=self.labels[last],
            ticker=str(self.tickers[last]),
            prices=self.prices.iloc[span].reset_index(drop=True),
            forward_return=float(self.returns[last]),
        )

    def _span(self, index: int) -> slice:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} does not exist: the dataset has {len(self)}, 0 to {len(self) - 1}")
        end = int(self.ends[index])
        return slice(end - self.lookback + 1, end + 1)

    def index_of(self, date: str | pd.Timestamp, ticker: str | None = None) -> int:
        """The sample whose last day is `date`, of `ticker` or of the first that has one.

        Raises:
            ValueError: no window ends on that day, or `date` is none.
        """
        try:
            day = pd.Timestamp(date)
        except ValueError:
            raise ValueError(f"{date!r} is no date, expected one such as '2008-10-15'") from None
        match = self.end_dates == day
        if ticker is not None:
            match &= self.end_tickers == ticker
        found = np.flatnonzero(match)
        if not len(found):
            whose = f" of {ticker}" if ticker is not None else ""
            first, last = self.end_dates.min().date(), self.end_dates.max().date()
            raise ValueError(f"no window{whose} ends on {day.date()}; windows end from {first} to {last}")
        return int(found[0])

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
        """Standard deviation of the daily returns inside every window: [n], a fraction a day; NaN without any."""
        daily = self.prices["adjusted_close"].groupby(self.tickers, sort=False).pct_change()
        # The first row of a window is the base of its first return.
        spread = daily.rolling(self.lookback - 1).std(ddof=0)
        at_ends: np.ndarray = spread.to_numpy()[self.ends]
        return at_ends

    @property
    def settings(self) -> dict[str, Any]:
        """Keyword arguments that make a dataset of another table in the same way."""
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
        }

    def _label(self, returns: np.ndarray) -> Tensor:
        if self.label_mode == "regression":
            return torch.tensor(returns).float()
        if self.label_mode == "binary":
            return torch.from_numpy(returns >= self.threshold).long()
        return torch.from_numpy(np.searchsorted(self.bucket_edges or [], returns * 100, side="right"))


def _spy_level(rows: pd.DataFrame, columns: Sequence[str]) -> dict[str, pd.Series]:
    if "spy_ret_1d" not in columns or rows["spy_ret_1d"].isna().all():
        return {}
    growth = 1 + rows["spy_ret_1d"].fillna(0.0)
    return {"spy": growth.groupby(rows["symbol"], sort=False).cumprod()}


def _horizon(target_col: str) -> int:
    match = re.fullmatch(r"close_([1-9]\d*)d_fwd_return", target_col)
    if match is None:
        raise ValueError(f"target_col is {target_col!r}, expected a name such as 'close_3d_fwd_return'")
    return int(match[1])


def _target_dates(rows: pd.DataFrame, horizon: int) -> pd.Series:
    """The day on which a row's forward return is known; after all days where the table ends before."""
    known = rows.groupby("symbol", sort=False)["date"].shift(-horizon)
    return known.fillna(rows["date"].max() + pd.Timedelta(days=1))


def _prepare(df: pd.DataFrame, columns: Sequence[str], target_col: str, horizon: int) -> pd.DataFrame:
    """Check the table; return it by ticker with all columns, missing values as NaN."""
    if df.empty:
        raise ValueError("the table has no rows")
    _check_unique(list(df.columns), "the table's headers")
    rows = df.rename(columns={k: v for k, v in _ALIASES.items() if k in df and v not in df})
    _check_columns(rows, columns)
    unnamed = int(rows["symbol"].isna().sum())
    if unnamed:
        raise ValueError(f"{unnamed} of {len(rows)} rows have no symbol")
    rows = rows.assign(date=_dates(rows["date"]), symbol=rows["symbol"].astype(str))
    rows = rows.sort_values("symbol", kind="stable", ignore_index=True)
    _check_order(rows)
    numbers = [name for name in {*PRICE_COLUMNS, *columns, target_col} if name in rows]
    rows[numbers] = _numeric(rows[numbers])
    by_ticker = rows.groupby("symbol", sort=False)
    rows[PRICE_COLUMNS] = by_ticker[PRICE_COLUMNS].ffill()
    rows = add_derived_features(rows, columns)
    rows[list(columns)] = rows[list(columns)].replace([np.inf, -np.inf], np.nan)
    if target_col not in rows:
        close = rows.groupby("symbol", sort=False)["adjusted_close"]
        rows = rows.assign(**{target_col: close.shift(-horizon) / rows["adjusted_close"] - 1})
    if rows[target_col].isna().all():
        raise ValueError(f"no row has a target: {target_col} is missing in all {len(rows)} rows")
    return rows


def _check_unique(names: Sequence[str], whose: str) -> None:
    twice = sorted({str(name) for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"{whose} name a column more than once: {', '.join(twice)}")


def _check_columns(rows: pd.DataFrame, columns: Sequence[str]) -> None:
    needed = [
        "date",
        "symbol",
        *PRICE_COLUMNS,
        *(name for name in columns if not is_derivable(name, list(rows.columns))),
    ]
    missing = [name for name in needed if name not in rows]
    if missing:
        raise ValueError(f"the table lacks {len(missing)} needed columns: {', '.join(missing)}")


def _dates(column: pd.Series) -> pd.Series:
    try:
        # 20081015 is a day, not nanoseconds.
        dates = pd.to_datetime(column.astype(str) if pd.api.types.is_integer_dtype(column) else column)
    except (ValueError, TypeError) as error:
        raise ValueError(f"the date column cannot be read as dates: {str(error).splitlines()[0]}") from None
    if dates.isna().any():
        raise ValueError(f"{int(dates.isna().sum())} of {len(dates)} rows have no date")
    return dates.dt.tz_localize(None).dt.normalize()


def _check_order(rows: pd.DataFrame) -> None:
    step = rows.groupby("symbol", sort=False)["date"].diff()
    for wrong, what in ((step == pd.Timedelta(0), "twice"), (step < pd.Timedelta(0), "after a later day")):
        if wrong.any():
            row = rows[wrong].iloc[0]
            raise ValueError(
                f"{row['symbol']} has {row['date'].date()} {what}: expected one row a day, dates ascending"
            )


def _numeric(columns: pd.DataFrame) -> pd.DataFrame:
    try:
        return columns.astype(np.float64).replace([np.inf, -np.inf], np.nan)
    except (ValueError, TypeError):
        texts = [
            str(name)
            for name, column in columns.items()
            if pd.to_numeric(column, errors="coerce").count() < column.count()
        ]
        raise ValueError(f"columns with text where numbers were expected: {', '.join(sorted(texts))}") from None


def _train_end(dates: pd.Series, given: str | pd.Timestamp | None) -> pd.Timestamp:
    if given is not None:
        return pd.Timestamp(given)
    days = np.sort(dates.unique())
    return pd.Timestamp(days[max(0, int(TRAIN_FRACTION * len(days)) - 1)])


def _fit(filled: pd.DataFrame, tickers: np.ndarray, training: np.ndarray) -> Normalization:
    mean: dict[str, list[float]] = {}
    std: dict[str, list[float]] = {}
    for ticker in dict.fromkeys(tickers):
        rows = filled[(tickers == ticker) & training]
        if rows.empty:
            raise ValueError(f"{ticker} has no rows in the training dates, so it cannot be normalised")
        spread = rows.std(ddof=0)
        # A constant is its own mean to the last bit, so that it normalises to exactly 0.
        mean[ticker] = rows.mean().where(rows.nunique() > 1, rows.iloc[0]).tolist()
        std[ticker] = spread.where(spread >= 1e-6, 1.0).tolist()
    return Normalization(list(filled.columns), mean, std)


def _normalise(filled: pd.DataFrame, tickers: np.ndarray, statistics: Normalization) -> Tensor:
    if list(filled.columns) != list(statistics.columns):
        raise ValueError(
            f"the normalisation statistics are for {len(statistics.columns)} columns that are not, in this order, "
            f"the {filled.shape[1]} features asked for"
        )
    unknown = sorted(set(tickers) - set(statistics.mean))
    if unknown:
        raise ValueError(
            f"no normalisation statistics for {', '.join(unknown)}; there are some for "
            f"{', '.join(sorted(statistics.mean))} (without normalization= they come from this data's training dates)"
        )
    mean = np.array([statistics.mean[ticker] for ticker in tickers])
    std = np.array([statistics.std[ticker] for ticker in tickers])
    return torch.from_numpy((filled.to_numpy() - mean) / std).float()


def _window_ends(tickers: np.ndarray, returns: np.ndarray, lookback: int) -> np.ndarray:
    """Row numbers that close a full window of one ticker and have a target."""
    first = np.r_[True, tickers[1:] != tickers[:-1]]
    starts = np.flatnonzero(first)
    position = np.arange(len(tickers)) - np.repeat(starts, np.diff(np.r_[starts, len(tickers)]))
    ends = np.flatnonzero((position >= lookback - 1) & np.isfinite(returns))
    if not len(ends):
        raise ValueError(
            f"no window fits: the longest ticker has {int(position.max()) + 1} rows, expected at least "
            f"{lookback} (lookback) and those that its target needs"
        )
    return ends
