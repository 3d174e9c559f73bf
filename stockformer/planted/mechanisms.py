"""What is planted in a market: formulas over the cells of a window.

Every value of every feature is drawn independently, with a random sign and a size uniform in 0.5 to 1.5: no cell says
anything about another, none is near the mean, where it would have no effect, and none stands out by its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from stockformer.features import TRADING_YEAR
from stockformer.preprocessing import TRAINED_HERE

LOOKBACK = 12
STREAMS = ("stock", "market")
#: Names of the features of each stream.
FEATURES = tuple(tuple(f"{stream}_{number}" for number in range(4)) for stream in STREAMS)
TARGET = "volatility_1d"

_TICKERS = ("AAA", "BBB", "CCC", "DDD")
_DAYS = 1000
_LEVEL, _SCALE = np.log(0.2), 0.5  # of the log volatility


class Cell(NamedTuple):
    """A feature of a day, each counted from 0; stream 0 is the stock's, 1 the market's."""

    stream: int
    day: int
    feature: int

    def of(self, windows: Sequence[Tensor]) -> Tensor:
        """Its values: of windows [N, T, features] per stream, [N]."""
        return windows[self.stream][:, self.day, self.feature]

    def __str__(self) -> str:
        return f"{FEATURES[self.stream][self.feature]} on day {self.day}"


@dataclass(frozen=True)
class Term:
    """A cell whose value is added to the target.

    Attributes:
        cell: which.
        when: the cell that decides whether it is added: where its sign is `sign`; None for always.
        head: of the cross-attention, the one trained to look at the cell's day; None where no head is.
    """

    cell: Cell
    when: Cell | None = None
    sign: int = 1
    head: int | None = None

    def counts(self, windows: Sequence[Tensor]) -> Tensor:
        """In which windows it is added: bool [N]."""
        if self.when is None:
            return torch.ones(len(windows[0]), dtype=torch.bool)
        return self.sign * self.when.of(windows) > 0


@dataclass(frozen=True)
class Truth:
    """What a model's output depends on, by window.

    Attributes:
        terms: their sum is the output, up to a constant and a factor.
        made_up: whether the output depends on nothing, and the terms are an answer that can be found by chance only.
        gate_known: whether the gate was trained to be open where the market matters, and closed elsewhere.
    """

    terms: tuple[Term, ...]
    made_up: bool = False
    gate_known: bool = False

    def value(self, windows: Sequence[Tensor]) -> Tensor:
        """Sum of the terms: [N]."""
        return torch.stack([term.cell.of(windows) * term.counts(windows) for term in self.terms]).sum(dim=0)

    def cells(self, windows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Which cells matter: bool [N, T, features] per stream. Those of the terms that count, and what decides it."""
        masks = tuple(torch.zeros_like(part, dtype=torch.bool) for part in windows)
        for term in self.terms:
            term.cell.of(masks)[term.counts(windows)] = True
            if term.when is not None:
                term.when.of(masks)[:] = True
        return masks

    def days(self, windows: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Which days have such a cell: bool [N, T] per stream."""
        return tuple(mask.any(dim=-1) for mask in self.cells(windows))

    def market_counts(self, windows: Sequence[Tensor]) -> Tensor:
        """In which windows the market matters, so that its gate has to be open: bool [N]."""
        market = [term.counts(windows) for term in self.terms if term.cell.stream == 1]
        return torch.stack(market).any(dim=0) if market else torch.zeros(len(windows[0]), dtype=torch.bool)

    @property
    def heads(self) -> dict[int, Term]:
        """Heads of the cross-attention with a job of their own, and the job."""
        return {term.head: term for term in self.terms if term.head is not None}

    def to_frame(self) -> pd.DataFrame:
        """One row per term: ``stream, day, feature, when, head``."""
        rows = [
            (
                STREAMS[term.cell.stream],
                term.cell.day,
                FEATURES[term.cell.stream][term.cell.feature],
                "" if term.when is None else f"{term.when} is {'above' if term.sign > 0 else 'below'} 0",
                "" if term.head is None else str(term.head),
            )
            for term in self.terms
            if not self.made_up
        ]
        return pd.DataFrame(rows, columns=["stream", "day", "feature", "when", "head"])


#: Draws a cell of a stream, on a day that has none yet.
Draw = Callable[[int], Cell]


@dataclass(frozen=True)
class Mechanism:
    """How a market's volatility comes about: ``log volatility = log 0.2 + 0.5 (strength * sum of terms + noise)``.

    Attributes:
        terms: made from cells drawn at random.
        strength: of the terms.
        noise: standard deviation of the noise.
        shortcut: whether one more cell reveals the target up to the last validation window, and nothing in the test.
        guided: whether the gate is trained to be open where the market matters, and closed elsewhere.
        epochs: in which a model learns it.
    """

    terms: Callable[[Draw], tuple[Term, ...]]
    strength: float = 1.0
    noise: float = 0.1
    shortcut: bool = False
    guided: bool = False
    epochs: int = 5


def _by_regime(draw: Draw) -> tuple[Term, ...]:
    regime = draw(0)
    return Term(draw(1), when=regime, sign=1), Term(draw(0), when=regime, sign=-1)


#: By name, see `load_planted`. The answer of ``nothing`` is twelve made-up cells.
MECHANISMS = {
    "feature": Mechanism(lambda draw: (Term(draw(0)),)),
    "market": Mechanism(lambda draw: (Term(draw(1)),)),
    "gate": Mechanism(_by_regime, epochs=15),
    "guided_gate": Mechanism(_by_regime, epochs=15, guided=True),
    "heads": Mechanism(lambda draw: (Term(draw(1), head=0), Term(draw(1), head=1))),
    "shortcut": Mechanism(lambda draw: (Term(draw(0)),), noise=1.0, shortcut=True),
    "nothing": Mechanism(lambda draw: tuple(Term(draw(stream)) for stream in (0, 1) * 6), strength=0.0, noise=1.0),
}


def plant(name: str, seed: int) -> tuple[pd.DataFrame, Truth]:
    """A market with a mechanism, one row per ticker and day, and what a model of it should depend on.

    Raises:
        ValueError: there is no such mechanism.
    """
    if name not in MECHANISMS:
        raise ValueError(f"nothing is planted under the name {name!r}, expected one of {', '.join(MECHANISMS)}")
    mechanism = MECHANISMS[name]
    rng = np.random.default_rng([seed, *name.encode()])
    draw = _cells(rng)
    terms = mechanism.terms(draw)
    shortcut = draw(0) if mechanism.shortcut else None
    market = _values(rng)
    tables = [_ticker(ticker, rng, mechanism, Truth(terms), market, shortcut) for ticker in _TICKERS]
    truth = Truth((Term(shortcut),)) if shortcut else Truth(terms, mechanism.strength == 0, mechanism.guided)
    return pd.concat(tables, ignore_index=True), truth


def _cells(rng: np.random.Generator) -> Draw:
    days = iter(rng.permutation(LOOKBACK))

    def draw(stream: int) -> Cell:
        return Cell(stream, int(next(days)), int(rng.integers(len(FEATURES[stream]))))

    return draw


def _values(rng: np.random.Generator) -> np.ndarray:
    """[days, features]."""
    size = (_DAYS, len(FEATURES[0]))
    values: np.ndarray = rng.choice([-1.0, 1.0], size) * rng.uniform(0.5, 1.5, size)
    return values


def _ticker(
    ticker: str,
    rng: np.random.Generator,
    mechanism: Mechanism,
    causes: Truth,
    market: np.ndarray,
    shortcut: Cell | None,
) -> pd.DataFrame:
    stock, first = _values(rng), LOOKBACK - 1
    signal = rng.normal(0, mechanism.noise, _DAYS)
    signal[first:] += mechanism.strength * causes.value([_windows(stock), _windows(market)]).numpy()
    if shortcut is not None:
        known = np.arange(first, _test_start())  # the last day of the windows whose target it reveals
        stock[known - first + shortcut.day, shortcut.feature] = signal[known] / signal.std()
    volatility = np.exp(_LEVEL + _SCALE * signal) / np.sqrt(TRADING_YEAR)
    returns = rng.choice([-1.0, 1.0], _DAYS) * np.r_[0.0, volatility[:-1]]
    close = 100 * np.exp(np.cumsum(returns))
    prices = {"open": np.r_[100.0, close[:-1]], "adjusted_close": close}
    prices |= {"high": np.maximum(*prices.values()), "low": np.minimum(*prices.values())}
    return pd.DataFrame(
        {
            "date": pd.bdate_range("2015-01-01", periods=_DAYS),
            "symbol": ticker,
            **prices,
            "volume": 1e6,
            **dict(zip(FEATURES[0], stock.T, strict=True)),
            **dict(zip(FEATURES[1], market.T, strict=True)),
        }
    )


def _windows(values: np.ndarray) -> Tensor:
    """[days, features] -> [days - T + 1, T, features]."""
    return torch.from_numpy(sliding_window_view(values, LOOKBACK, axis=0).swapaxes(1, 2).copy())


def _test_start() -> int:
    """The first day of the test, as `stockformer.training.temporal_split` cuts."""
    training = int(TRAINED_HERE.training_fraction * _DAYS)
    return training + (_DAYS - training) // 2
