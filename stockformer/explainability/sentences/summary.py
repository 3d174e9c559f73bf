"""Summaries of a picture's numbers: a sentence on what they mean, and each number with how to read it.

Every ``summarize_`` function takes the tensors that the picture shows and returns a `Summary`.
If a value is NaN or infinite nothing is computed, and the sentence says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.attention.statistics import Statistic
from stockformer.table import counted


@dataclass(frozen=True)
class Finding:
    """One number, its formula as text, and one sentence on how to read it."""

    name: str
    value: float
    formula: str
    reading: str


@dataclass(frozen=True)
class Summary:
    """The summary of a picture.

    Attributes:
        verdict: what the numbers mean here, in a sentence or two.
        findings: the numbers.
        subject: what the numbers describe, where one name could mean several: the diffuseness of a mean map is not the
            mean of its heads' diffuseness.
    """

    verdict: str
    findings: tuple[Finding, ...]
    subject: str = ""

    def about(self, name: str) -> Summary:
        """The same of one of several things in a picture, which the verdict then names first."""
        return replace(self, verdict=f"{name}, {self.verdict[0].lower()}{self.verdict[1:]}") if self.verdict else self

    def to_frame(self) -> pd.DataFrame:
        """One row per finding: ``name, value, formula, reading``."""
        return pd.DataFrame(self.findings, columns=["name", "value", "formula", "reading"])


#: The values of the findings by name.
Numbers = dict[str, float]


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's r, NaN if one of them is constant."""
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) and np.ptp(other) else math.nan


def summarize(
    statistics: Sequence[Statistic],
    subject: Sequence[Any],
    tensors: Sequence[Tensor],
    verdict: Callable[[Numbers], str],
    what: str = "weights",
    of: str = "",
) -> Summary:
    """Compute `statistics` of `subject`, the arguments of each, unless `tensors` hold values that are not finite.

    Args:
        what: a name for the values of the tensors.
        of: see `Summary.subject`.
    """
    count = sum(tensor.numel() for tensor in tensors)
    finite = sum(int(tensor.isfinite().sum()) for tensor in tensors)
    if not finite:
        return without_numbers(statistics, f"There are no finite {what}.", of)
    if finite < count:
        return without_numbers(
            statistics, f"{count - finite} of {count} {what} are not finite: nothing is computed.", of
        )
    numbers = values_of(statistics, *subject)
    return Summary(verdict(numbers), findings_of(statistics, numbers), of)


def without_numbers(statistics: Sequence[Statistic], verdict: str, of: str = "") -> Summary:
    """A summary whose numbers are all NaN."""
    numbers = dict.fromkeys((statistic.name for statistic in statistics), math.nan)
    return Summary(verdict, findings_of(statistics, numbers), of)


def values_of(statistics: Sequence[Statistic], *subject: Any) -> Numbers:
    """Each statistic of a subject, by its name."""
    return {statistic.name: float(statistic.compute(*subject)) for statistic in statistics}


def findings_of(statistics: Sequence[Statistic], numbers: Numbers) -> tuple[Finding, ...]:
    return tuple(
        Finding(statistic.name, numbers[statistic.name], statistic.formula, statistic.reading)
        for statistic in statistics
    )


def plain(values: Tensor) -> Tensor:
    """Float32 on the CPU, without gradient."""
    return torch.as_tensor(values).detach().cpu().float()


def span(low: float, high: float) -> str:
    """A range with two digits, or one number if both ends are the same."""
    ends = f"{low:.2f}", f"{high:.2f}"
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def ties(values: Iterable[float], value: float, noun: str) -> str:
    """How many others have the same value to three digits, to append to a name; empty if none has."""
    others = sum(f"{one:.2e}" == f"{value:.2e}" for one in values) - 1
    return f", along with {counted(others, f'other {noun}')}" if others > 0 else ""


def p_value(p: float, smallest: float = 0.0) -> str:
    """A p-value in words, as a bound if it is below what the test can resolve.

    Args:
        smallest: the smallest p-value that the test can give.
    """
    if p > max(1e-3, smallest * (1 + 1e-9)):
        return f"p = {p:.2g}"
    unit = 10.0 ** math.floor(math.log10(max(p, 1e-3)))
    return f"p < {(math.floor(max(p, 1e-3) / unit + 1e-9) + 1) * unit:.0g}" if p >= 1e-3 else "p < 0.001"


def percent(share: float) -> str:
    """A share in percent, with two digits where it is small."""
    number = 100 * share
    return f"{number:.2g} %" if abs(number) < 9.95 else f"{number:.0f} %"


def share_words(share: float, even: float | None = None) -> str:
    """A share in percent with three digits and, beside an even share, how many times that."""
    if not np.isfinite(share):
        return "not a number"
    number = "<0.001 %" if 0 < share < 1e-5 else f"{100 * share:#.3g}".removesuffix(".") + " %"
    return number if even is None else f"{number} ({times(share / even)} x even)"


def times(ratio: float) -> str:
    """A ratio of two shares; below 2 it never reads as 2."""
    if ratio < 2:
        return f"{min(ratio, 1.99):.2f}"
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"
