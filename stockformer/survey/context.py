"""What prices did in and after every window, whatever a model made of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from stockformer.dataset import StockDataset

#: Regimes of the calendar from the quietest days to the most volatile: the lowest quarter, the middle half, the highest
#: quarter of days.
REGIMES = ("calm", "normal", "volatile")
#: In the place of a regime: the volatility of the day is not known.
UNKNOWN = "unknown"


def price_context(dataset: StockDataset) -> pd.DataFrame:
    """One row per window.

    Columns:
        ``volatility``: standard deviation of the daily returns in the window, a fraction per day.
        ``window_return``: relative change of the adjusted close from the first day to the last, a fraction.
        ``drawdown``: largest fall from an earlier high in the window, a fraction of that high.
        ``regime``: one of `REGIMES`, by the mean volatility over the tickers with a window that ends on that day; the
            same for every ticker of a day; `UNKNOWN` where none of them has a volatility.
        ``outcome``: the number that the label is made from; NaN where it is not known.
    """
    prices = dataset.prices["adjusted_close"].to_numpy(dtype=np.float64)
    window_return, drawdown = np.empty((2, len(dataset)))
    for ticker in np.unique(dataset.end_tickers):
        members = np.flatnonzero(dataset.end_tickers == ticker)
        rows = np.flatnonzero(dataset.tickers == ticker)
        windows = sliding_window_view(prices[rows], dataset.lookback)
        windows = windows[dataset.ends[members] - rows[0] - dataset.lookback + 1]
        window_return[members] = windows[:, -1] / windows[:, 0] - 1
        drawdown[members] = (1 - windows / np.maximum.accumulate(windows, axis=1)).max(axis=1)
    return pd.DataFrame(
        {
            "volatility": dataset.volatility,
            "window_return": window_return,
            "drawdown": drawdown,
            "regime": _regimes(dataset),
            "outcome": dataset.target_values[dataset.ends],
        }
    )


def index_of(dataset: StockDataset) -> str:
    """SHA-256 of the last day and the ticker of every window, which say what an index of a window stands for."""
    days = dataset.end_dates.strftime("%Y-%m-%d")
    return hashlib.sha256("\n".join(map(" ".join, zip(days, dataset.end_tickers, strict=True))).encode()).hexdigest()


def _regimes(dataset: StockDataset) -> np.ndarray:
    by_day = pd.Series(dataset.volatility).groupby(dataset.end_dates).mean().dropna()
    edges = by_day.quantile([0.25, 0.75])
    regime = np.array(REGIMES)[np.searchsorted(edges, by_day.to_numpy(), side="right")]
    names: np.ndarray = pd.Series(regime, by_day.index).reindex(dataset.end_dates, fill_value=UNKNOWN).to_numpy()
    return names
