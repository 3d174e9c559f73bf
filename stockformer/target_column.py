"""The quantity that a model predicts for the days after a window: a return or a volatility."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from stockformer.features import log_volatility, squared_returns

_NAMES = {"return": "close_{}d_fwd_return", "volatility": "volatility_{}d"}


@dataclass(frozen=True)
class TargetColumn:
    """A number about the next `horizon` rows of a ticker.

    Attributes:
        kind: ``return``, the relative change of the adjusted close P, ``P[t+h] / P[t] - 1``; or ``volatility``, the
            natural logarithm of the annualised realised volatility,
            ``log(sqrt(252 / h * sum over k = 1..h of log(P[t+k] / P[t+k-1])^2))`` (Andersen et al. 2003).
        horizon: h, in rows.
    """

    kind: Literal["return", "volatility"]
    horizon: int

    @classmethod
    def of_name(cls, name: str) -> TargetColumn:
        """The target that a column's name stands for.

        Raises:
            ValueError: the name has another form.
        """
        match = re.fullmatch(r"close_([1-9]\d*)d_fwd_return|volatility_([1-9]\d*)d", name)
        if match is None:
            raise ValueError(
                f"target_col is {name!r}, expected a name such as 'close_3d_fwd_return' or 'volatility_10d'"
            )
        return cls("return", int(match[1])) if match[1] else cls("volatility", int(match[2]))

    @property
    def name(self) -> str:
        """Its name in a table."""
        return _NAMES[self.kind].format(self.horizon)

    @property
    def unit(self) -> str:
        """Unit of its values, for an axis."""
        return "return, a fraction" if self.kind == "return" else "log of annualised volatility"

    @property
    def words(self) -> str:
        """Its values, in a sentence."""
        return "the return" if self.kind == "return" else "the log volatility"

    @property
    def quantity(self) -> str:
        """What `fraction` gives, for an axis."""
        return "return" if self.kind == "return" else "volatility per year"

    def of_horizon(self, horizon: int) -> TargetColumn:
        """The same target over another number of rows."""
        return replace(self, horizon=horizon)

    def compute(self, rows: pd.DataFrame) -> pd.Series:
        """Its value for every row.

        Args:
            rows: columns ``symbol`` and ``adjusted_close``, dates ascending within each ticker, gaps not filled.

        Returns:
            NaN where a price is missing (a return needs the first and the last, a volatility all h + 1), and where
            h + 1 prices are equal: the logarithm of a volatility of 0 does not exist.
        """
        tickers = rows["symbol"]
        price = rows["adjusted_close"].where(np.isfinite(rows["adjusted_close"]))
        if self.kind == "return":
            return price.groupby(tickers, sort=False).shift(-self.horizon) / price - 1
        of_ticker = price.where(price > 0).groupby(tickers, sort=False)
        return of_ticker.transform(lambda one: log_volatility(squared_returns(one), self.horizon).shift(-self.horizon))

    @property
    def title(self) -> str:
        """The quantity in words."""
        span = "day" if self.horizon == 1 else f"{self.horizon} days"
        return f"{self.kind} of the next {span}"

    def describe(self, value: float) -> str:
        """A value in words, for a headline."""
        return f"{self.title}: {self.in_percent(value)}"

    def in_percent(self, value: float) -> str:
        """A value in percent: a return, or a volatility without its logarithm."""
        percent = 100 * float(self.fraction(np.asarray(value)))
        return f"{percent:+.1f} %" if self.kind == "return" else f"{percent:.1f} % a year"

    def fraction(self, values: np.ndarray) -> np.ndarray:
        """Values as fractions: returns, or volatilities without their logarithm."""
        with np.errstate(over="ignore"):
            return values if self.kind == "return" else np.exp(values)
