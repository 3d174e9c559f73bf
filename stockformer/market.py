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

#: Tickers whose rows describe the market and are no samples.
ETFS = frozenset({"SPY", "QQQ", *SECTOR_ETFS.values()})

_RETURNS = ("ret_1d", "ret_5d", "vol_5d")
_SOURCES = {f"{fund}_{name}": (fund, name) for fund in ("spy", "sector_etf") for name in _RETURNS}

#: Market features that ETF rows give.
ETF_FEATURE_COLUMNS: tuple[str, ...] = (*_SOURCES, "sector_rel_ret_1d")


def add_market_features(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Append those of `columns` that `rows` lack and that their ETF rows give, joined by date.

    ``sector_rel_ret_1d`` also needs a stock's return: `stockformer.features.add_derived_features` computes it.

    Args:
        rows: columns ``symbol``, ``date``, ``adjusted_close`` and, for the sector's ETF, ``sector``; dates
            ascending within each ticker. Values are missing where the ETF has no row on that day.
        columns: feature names; without any ETF row nothing is appended.
    """
    needed = [*columns, *(("sector_etf_ret_1d",) if "sector_rel_ret_1d" in columns else ())]
    wanted = [name for name in _SOURCES if name in needed and name not in rows]
    funds = rows[rows["symbol"].isin(ETFS)]
    if not wanted or funds.empty:
        return rows
    returns = pd.concat([_returns(group) for _, group in funds.groupby("symbol", sort=False)])
    sector = rows["sector"] if "sector" in rows else pd.Series(None, index=rows.index, dtype=object)
    fund_of = {
        "spy": pd.Series("SPY", index=rows.index),
        "sector_etf": sector.astype(str).str.strip().str.upper().map(SECTOR_ETFS),
    }
    joined = {
        fund: returns.reindex(pd.MultiIndex.from_arrays([tickers, rows["date"]])) for fund, tickers in fund_of.items()
    }
    return rows.assign(**{name: joined[_SOURCES[name][0]][_SOURCES[name][1]].to_numpy() for name in wanted})


def _returns(group: pd.DataFrame) -> pd.DataFrame:
    """One ETF's features by ticker and date."""
    price = group.set_index(["symbol", "date"])["adjusted_close"]
    daily = price / price.shift(1) - 1
    return pd.DataFrame({"ret_1d": daily, "ret_5d": price / price.shift(5) - 1, "vol_5d": daily.rolling(5).std()})
