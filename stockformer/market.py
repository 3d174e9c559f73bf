"""Market features from the rows of ETFs in a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

#: The ETF of a ticker's ``sector``.
SECTOR_ETFS: dict[str, str] = {
    "TECHNOLOGY": "XLK",
    "COMMUNICATION SERVICES": "XLK",
    "HEALTHCARE": "XLV",
    "LIFE SCIENCES": "XLV",
    "FINANCIAL SERVICES": "XLF",
    "FINANCE": "XLF",
    "CONSUMER CYCLICAL": "XLY",
    "CONSUMER DEFENSIVE": "XLP",
    "INDUSTRIALS": "XLI",
    "ENERGY": "XLE",
    "ENERGY & TRANSPORTATION": "XLE",
    "UTILITIES": "XLU",
    "REAL ESTATE": "XLRE",
    "BASIC MATERIALS": "XLB",
}

#: Tickers whose rows describe the market and are not samples.
ETFS = frozenset({"SPY", "QQQ", *SECTOR_ETFS.values()})

_RETURNS = ("ret_1d", "ret_5d", "vol_5d")
_SOURCES = {f"{fund}_{name}": (fund, name) for fund in ("spy", "sector_etf") for name in _RETURNS}

#: Market features that can be computed from ETF rows.
ETF_FEATURE_COLUMNS: tuple[str, ...] = (*_SOURCES, "sector_rel_ret_1d")


def etf_returns(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns and volatility of the ETFs among the rows, by ticker and date.

    Args:
        rows: columns ``symbol``, ``date`` and ``adjusted_close``, dates ascending within each ticker.
    """
    funds = rows[rows["symbol"].isin(ETFS)]
    return pd.concat([_returns(group) for _, group in funds.groupby("symbol", sort=False)] or [_returns(funds)])


def add_market_features(rows: pd.DataFrame, columns: Sequence[str], returns: pd.DataFrame) -> pd.DataFrame:
    """Append the `columns` that `rows` lack and that can be computed from returns of ETFs, joined by date.

    ``sector_rel_ret_1d`` also needs a stock's return: `stockformer.features.add_derived_features` computes it.

    Args:
        rows: a column ``date`` and, for the sector's ETF, ``sector``.
        columns: feature names.
        returns: of `etf_returns`; where they are empty nothing is appended. Values are missing where the ETF has no
            row on that day.
    """
    needed = [*columns, *(("sector_etf_ret_1d",) if "sector_rel_ret_1d" in columns else ())]
    wanted = [name for name in _SOURCES if name in needed and name not in rows]
    if not wanted or returns.empty:
        return rows
    sector = rows["sector"] if "sector" in rows else pd.Series(None, index=rows.index, dtype=object)
    fund_of = {
        "spy": pd.Series("SPY", index=rows.index),
        "sector_etf": sector.astype(str).str.strip().str.upper().map(SECTOR_ETFS),
    }
    joined = {
        fund: returns.reindex(pd.MultiIndex.from_arrays([tickers, rows["date"]])) for fund, tickers in fund_of.items()
    }
    return rows.assign(**{name: joined[_SOURCES[name][0]][_SOURCES[name][1]].to_numpy() for name in wanted})


def etf_gaps(rows: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Which of `columns`, computed from ETF rows, have no value for a ticker or on some days, and why.

    Args:
        rows: columns ``symbol``, ``date`` and, for the sector's ETF, ``sector``, with at least one row of an ETF.
    """
    names = {fund: [n for n in columns if n.startswith(fund)] for fund in ("spy", "sector")}
    of_etf = rows["symbol"].isin(ETFS)
    dates = {str(fund): set(group) for fund, group in rows[of_etf].groupby("symbol")["date"]}
    samples = rows[~of_etf]
    reasons: dict[tuple[str, str], list[str]] = {}
    for ticker, group in samples.groupby("symbol", sort=False):
        reason = _gap("SPY", dates, group["date"])
        if reason:
            reasons.setdefault(("spy", reason), []).append(str(ticker))
        sectors: list[str] = list(group["sector"].dropna().unique()) if "sector" in group else []
        unknown = [name for name in sectors if str(name).strip().upper() not in SECTOR_ETFS]
        if not len(sectors):
            reason = "no sector" if "sector" in group else "no column sector"
        elif unknown:
            reason = f'no ETF for sector "{unknown[0]}"'
        else:
            reason = _gap(SECTOR_ETFS[str(sectors[0]).strip().upper()], dates, group["date"])
        if reason:
            reasons.setdefault(("sector", reason), []).append(str(ticker))
    return [
        f"{', '.join(names[fund])} of {', '.join(tickers)} ({reason})"
        for (fund, reason), tickers in reasons.items()
        if names[fund]
    ]


def _gap(fund: str, dates: dict[str, set[pd.Timestamp]], days: pd.Series) -> str:
    """Why a fund does not have a value on all of `days`; empty if it does."""
    if fund not in dates:
        return f"no {fund} rows"
    without = days[~days.isin(dates[fund])]
    if without.empty:
        return ""
    first, last = min(dates[fund]), max(dates[fund])
    return f"no {fund} rows on {len(without)} of {len(days)} days: they are from {first.date()} to {last.date()}"


def _returns(group: pd.DataFrame) -> pd.DataFrame:
    """One ETF's features by ticker and date."""
    price = group.set_index(["symbol", "date"])["adjusted_close"]
    daily = price / price.shift(1) - 1
    return pd.DataFrame({"ret_1d": daily, "ret_5d": price / price.shift(5) - 1, "vol_5d": daily.rolling(5).std()})
