"""Feature columns from daily prices and volumes.

The definitions are those of the checkpoints' training data. All are per ticker;
a value on day t uses days up to t only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

#: What every computation here starts from.
PRICE_COLUMNS: list[str] = ["open", "high", "low", "adjusted_close", "volume"]

TRADING_YEAR = 252


def squared_returns(price: pd.Series) -> pd.Series:
    """Squared daily log returns; NaN where a price is not above 0."""
    return _log(price).diff() ** 2


def log_volatility(variance: pd.Series, days: int) -> pd.Series:
    """Logarithm of the annualised volatility, ``log(sqrt(252 * mean of the last `days` variances))``.

    Args:
        variance: daily, as fractions, of one ticker.

    Returns:
        NaN where one of the days is missing, or all are 0.
    """
    # A rolling mean would leave rounding errors of earlier days where the variance is 0.
    means = np.full(len(variance), np.nan)
    if len(variance) >= days:
        means[days - 1 :] = sliding_window_view(variance.to_numpy(), days).mean(axis=1)
    return pd.Series(0.5 * np.log(TRADING_YEAR * np.where(means > 0, means, np.nan)), index=variance.index)


def add_derived_features(df: pd.DataFrame, columns: Sequence[str], *, missing: float | None = None) -> pd.DataFrame:
    """Append the `columns` that `df` lacks and that can be computed.

    Args:
        df: columns ``symbol``, ``date`` and `PRICE_COLUMNS`, dates ascending
            within each ticker. ``beta`` also needs ``spy_ret_1d``, and ``sector_rel_ret_1d`` needs
            ``sector_etf_ret_1d``.
        columns: feature names. Columns that `df` already has are kept as they are; names that cannot be computed are
            left out of the result.
        missing: replaces missing and infinite values of every feature before the next one is computed.

    Raises:
        ImportError: an indicator is asked for and TA-Lib is not installed.
    """
    wanted = [name for name in columns if name not in df and is_derivable(name, list(df.columns))]
    if not wanted:
        return df
    parts = [_derive(group, wanted, missing) for _, group in df.groupby("symbol", sort=False)]
    return pd.concat([df, pd.concat(parts).reindex(df.index)], axis=1)


def _derive(group: pd.DataFrame, wanted: Sequence[str], missing: float | None) -> pd.DataFrame:
    """Compute `wanted` for one ticker, each with the features that it builds on."""
    known = group.copy()

    def need(name: str) -> pd.Series:
        if name not in known:
            values = _DERIVED[name](known, need)
            known[name] = values if missing is None else values.where(np.isfinite(values), missing)
        return known[name]

    return pd.DataFrame({name: need(name) for name in wanted}, index=group.index)


Need = Callable[[str], pd.Series]
Feature = Callable[[pd.DataFrame, Need], pd.Series]


def _change(column: str, days: int = 1) -> Feature:
    return lambda df, need: df[column] / df[column].shift(days) - 1


def _rolling_mean(column: str, days: int) -> Feature:
    return lambda df, need: df[column].rolling(days).mean()


def _past_volatility(days: int) -> Feature:
    return lambda df, need: log_volatility(squared_returns(df["adjusted_close"]), days)


def _range_volatility(days: int) -> Feature:
    """From each day's high and low (Parkinson 1980)."""
    return lambda df, need: log_volatility(_log(df["high"] / df["low"]) ** 2 / (4 * np.log(2)), days)


def _log(values: pd.Series) -> pd.Series:
    logarithms: pd.Series = np.log(values.where(values > 0))
    return logarithms


def _distance_pct(level: pd.Series, close: pd.Series) -> pd.Series:
    return ((close - level) / level * 100).round(2)


def _sma_pct(days: int) -> Feature:
    return lambda df, need: _distance_pct(_sma(df, days), df["adjusted_close"])


def _year_high_pct(df: pd.DataFrame, need: Need) -> pd.Series:
    return _distance_pct(df["high"].rolling(TRADING_YEAR).max(), df["adjusted_close"])


def _year_low_pct(df: pd.DataFrame, need: Need) -> pd.Series:
    return _distance_pct(df["low"].rolling(TRADING_YEAR).min(), df["adjusted_close"])


def _sma(df: pd.DataFrame, days: int) -> pd.Series:
    return df["adjusted_close"].rolling(days).mean()


def _sign(up: pd.Series, down: pd.Series) -> pd.Series:
    """+1 where `up`, -1 where `down`, else 0 (also where either is unknown)."""
    return up.astype(float) - down.astype(float)


def _indicator(name: str, days: int) -> Feature:
    def compute(df: pd.DataFrame, need: Need) -> pd.Series:
        prices = [df["adjusted_close"]] if name == "RSI" else [df["high"], df["low"], df["adjusted_close"]]
        return _series(getattr(_talib(), name)(*_arrays(prices), timeperiod=days), df)

    return compute


def _macd_signal(df: pd.DataFrame, need: Need) -> pd.Series:
    macd, average, _ = _talib().MACD(*_arrays([df["adjusted_close"]]), 12, 26, 9)
    return _sign(_series(macd > average, df), _series(macd < average, df))


def _atr_signal(df: pd.DataFrame, need: Need) -> pd.Series:
    band = 2 * _indicator("ATR", 14)(df, need)
    return _sign(df["adjusted_close"] < band, df["adjusted_close"] > band)


def _bollinger_signal(df: pd.DataFrame, need: Need) -> pd.Series:
    close, middle = df["adjusted_close"], _sma(df, 20)
    width = 2 * close.rolling(20).std(ddof=0)
    return _sign(close < middle - width, close > middle + width)


def _beta(df: pd.DataFrame, need: Need) -> pd.Series:
    """Slope of the stock's daily return on SPY's over a trading year."""
    market = df["spy_ret_1d"]
    return need("close_1d_roc").rolling(TRADING_YEAR).cov(market) / market.rolling(TRADING_YEAR).var()


_DERIVED: dict[str, Feature] = {
    "volume_pct": _change("volume"),
    "close_1d_roc": _change("adjusted_close"),
    "close_3d_roc": _change("adjusted_close", 3),
    "close_10d_roc": _change("adjusted_close", 10),
    "close_5d_vol": lambda df, need: need("close_1d_roc").rolling(5).std(),
    "vol_3d_mean": _rolling_mean("volume", 3),
    "vol_10d_mean": _rolling_mean("volume", 10),
    "sma_20_pct": _sma_pct(20),
    "sma_50_pct": _sma_pct(50),
    "sma_200_pct": _sma_pct(200),
    "rsi_14": _indicator("RSI", 14),
    "adx_14": _indicator("ADX", 14),
    "cci_14": _indicator("CCI", 14),
    "52_week_high_pct": _year_high_pct,
    "52_week_low_pct": _year_low_pct,
    "high_pct": _change("high"),
    "low_pct": _change("low"),
    "open_pct": _change("open"),
    "adjusted_close_pct": _change("adjusted_close"),
    "macd_signal": _macd_signal,
    "rsi_signal": lambda df, need: _sign(need("rsi_14") < 30, need("rsi_14") > 70),
    "adx_signal": lambda df, need: _sign(need("adx_14") > 25, need("adx_14") < 20),
    "atr_signal": _atr_signal,
    "cci_signal": lambda df, need: _sign(need("cci_14") <= -100, need("cci_14") >= 100),
    "bollinger_bands_signal": _bollinger_signal,
    "sma_cross_signal": lambda df, need: _sign(_sma(df, 20) > _sma(df, 50), _sma(df, 20) < _sma(df, 50)),
    "beta": _beta,
    "sector_rel_ret_1d": lambda df, need: need("close_1d_roc") - df["sector_etf_ret_1d"],
    "day_of_week_num": lambda df, need: df["date"].dt.day_of_week.astype(float),
    "month": lambda df, need: df["date"].dt.month.astype(float),
    **{f"past_volatility_{days}d": _past_volatility(days) for days in (5, 10, 22, 66)},
    **{f"range_volatility_{days}d": _range_volatility(days) for days in (1, 5, 22)},
}


#: What a feature needs besides prices and volumes.
_NEEDS = {"beta": "spy_ret_1d", "sector_rel_ret_1d": "sector_etf_ret_1d"}


def is_derivable(name: str, available: Sequence[str]) -> bool:
    """Whether `add_derived_features` computes `name` from a file that has `available`."""
    return name in _DERIVED and (name not in _NEEDS or _NEEDS[name] in available)


def _talib() -> Any:
    try:
        import talib
    except ImportError:
        raise ImportError(
            "the indicator columns are not in the data and computing them needs TA-Lib: pip install TA-Lib"
        ) from None
    return talib


def _arrays(columns: Sequence[pd.Series]) -> list[np.ndarray]:
    return [column.to_numpy(dtype=np.float64) for column in columns]


def _series(values: np.ndarray, df: pd.DataFrame) -> pd.Series:
    return pd.Series(values, index=df.index)
