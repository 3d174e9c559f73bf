"""Simulate the levels and coverages in docs/statistics.md: ``python benchmarks/levels.py``.

It writes the tables at the end of that page. It takes about five minutes on an idle core.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.signal import lfilter
from scipy.stats import norm
from tables import table

from stockformer.explainability.groups.comparison import GroupComparison, group_table
from stockformer.explainability.groups.tests import Labels
from stockformer.explainability.sentences.outputs import FEWEST_DAYS, summarize_outputs
from stockformer.outputs import OutputDistribution
from stockformer.survey.history import QUALITY_DAYS, mean_quality
from stockformer.uncertainty.calibration import calibrate

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
MARK = "<!-- written by benchmarks/levels.py -->"
TICKERS, LOOKBACK, MEASURES = 4, 60, 14
SETS = 200
#: How the values of days depend on each other, before windows of 60 days average them.
PROCESSES = {"independent": 0.0, "AR(1), 0.9": 0.9, "AR(1), 0.98": 0.98, "regimes of 120 days": "regimes"}
GROUPS = ("volatility", "regimes", "random")


def main() -> None:
    head = PAGE.read_text(encoding="utf-8").split(MARK)[0]
    parts = [_GROUPS, shift_levels(), _POWER, power(), _TICKERS, ticker_levels(), _CALIBRATION, calibration_levels()]
    parts += [_VERDICT, verdict_levels(), _QUALITY, quality_coverage()]
    PAGE.write_text("\n\n".join([head + MARK, *parts]) + "\n", encoding="utf-8")


def quality_coverage() -> str:
    """How often the interval of a mean quality holds the truth, where outcomes of a horizon overlap."""
    rows, rng = [], np.random.default_rng(5)
    for days in (QUALITY_DAYS, 4 * QUALITY_DAYS):
        for horizon in (1, 3, 5, 10, 20):
            noise = rng.normal(size=(1500, days + horizon - 1))
            draws = np.stack([np.convolve(one, np.ones(horizon) / horizon, "valid") for one in noise])
            intervals = [mean_quality(pd.Series(draw), horizon) for draw in draws]
            rows.append([f"{days}", horizon, _percent(np.mean([low <= 0 <= high for _, low, high in intervals]))])
    return table(["days", "horizon, days", "coverage"], rows)


def shift_levels() -> str:
    cases = [
        (groups, days, process, 0.7)
        for groups in GROUPS
        for days in (600, 1713, 3600)
        for process in ("AR(1), 0.9", "regimes of 120 days")
    ]
    more = [("independent", 0.7), ("AR(1), 0.98", 0.7), ("AR(1), 0.9", 0.0)]
    cases += [("volatility", 1713, *one) for one in more]
    cases.append(("20 windows", 1713, "AR(1), 0.9", 0.7))
    rows = []
    for seed, case in enumerate(cases):
        groups, days, process, common = case
        rng = np.random.default_rng(seed)
        outcomes = [compare(rng, groups, days, process, common) for _ in range(SETS)]
        tests = [one for one in outcomes if one is not None]
        shares = [_percent(np.mean(part)) for part in zip(*tests, strict=True)] if 5 * len(tests) > SETS else [""] * 3
        rows.append([groups, f"{days:,}", process, f"{common:.0%}", _percent(1 - len(tests) / SETS), *shares])
        print(rows[-1], flush=True)
    head = ["groups", "days", "values of a day", "common", "not tested", "p < 0.05", "verdict claims", "coverage"]
    return table(head, rows)


def power() -> str:
    rows = []
    for days in (600, 1713, 3600):
        for effect in (0.5, 1.0):
            rng = np.random.default_rng(len(rows))
            outcomes = [compare(rng, "volatility", days, "AR(1), 0.9", 0.7, effect) for _ in range(SETS)]
            tests = [one for one in outcomes if one is not None]
            shares = [_percent(np.mean(part)) for part in zip(*tests, strict=True)]
            rows.append([f"{days:,}", effect, _percent(1 - len(tests) / SETS), *shares])
            print(rows[-1], flush=True)
    return table(["days", "difference, std", "not tested", "p < 0.05", "verdict claims", "coverage"], rows)


def ticker_levels() -> str:
    rows = []
    for days in (600, 1713, 3600):
        for name, process in PROCESSES.items():
            rng = np.random.default_rng(len(rows))
            labels = labels_of(np.repeat([[1, -1]], days, axis=0))
            comparisons = [tested(windows(rng, days, 2, process, 0.7), labels) for _ in range(SETS)]
            measures = pd.concat([one.table for one in comparisons])
            known = measures.dropna()
            rejected = (known["p"] < 0.05).mean()
            width = ((known["high"] - known["low"]) / known["std"]).mean()
            none = _percent(1 - len(known) / len(measures))
            claims = np.mean([one.differs.any() for one in comparisons])
            shares = [_percent(share) for share in (rejected, claims, 1 - rejected)]
            rows.append([f"{days:,}", name, none, *shares, f"{width:.2f}"])
            print(rows[-1], flush=True)
    head = ["days", "values of a day", "no interval", "p < 0.05", "verdict claims", "coverage", "mean width, std"]
    return table(head, rows)


def compare(
    rng: np.random.Generator, groups: str, days: int, process: str, common: float, effect: float = 0.0
) -> tuple[float, bool, float] | None:
    """Share of p < 0.05, whether the verdict claims a difference, and the coverage; None where it is not tested."""
    group = draw_groups(rng, groups, days)
    if not all((group == sign).any() for sign in (1, -1)):
        return None
    values = windows(rng, days, TICKERS, PROCESSES[process], common)
    values = values / values.std(axis=(0, 1)) + effect * (group == 1)[:, :, None]
    comparison = tested(values, labels_of(group))
    if comparison.shifts == 0:
        return None
    rows = comparison.table
    held = (rows["low"] <= effect) & (effect <= rows["high"])
    return float((rows["p"] < 0.05).mean()), bool(comparison.differs.any()), float(held.mean())


def tested(values: np.ndarray, labels: Labels) -> GroupComparison:
    """`compare_groups` without a model: measures [days, tickers, measures]."""
    columns = pd.DataFrame(values.transpose(1, 0, 2).reshape(len(labels.group), -1))
    rows, shifts = group_table(columns.rename(columns=str), labels, LOOKBACK)
    return GroupComparison(("a", "b"), pd.DataFrame(), rows, {}, LOOKBACK, shifts)


def labels_of(group: np.ndarray) -> Labels:
    """Of groups [days, tickers], listed ticker by ticker."""
    days, tickers = group.shape
    return Labels(group.T.ravel(), np.tile(np.arange(days), tickers), np.repeat(np.arange(tickers), days))


def draw_groups(rng: np.random.Generator, groups: str, days: int) -> np.ndarray:
    """1, -1 or 0 for every day and ticker: [days, tickers]."""
    if groups == "random":
        return rng.choice([1, -1], size=(days, TICKERS))
    if groups == "20 windows":
        group = np.zeros((days, TICKERS), dtype=int)
        group[rng.choice(days, 40, replace=False), 0] = np.repeat([1, -1], 20)
        return group
    if groups == "regimes":
        return np.repeat(np.sign(regimes(rng, days, 1)), TICKERS, axis=1).astype(int)
    length = days + LOOKBACK - 1
    level = 0.7 * autoregression(rng, length, 1, 0.985) + 0.4 * autoregression(rng, length, TICKERS, 0.97)
    returns = np.exp(level) * rng.normal(size=level.shape)
    volatility = averages(returns**2, LOOKBACK)
    low, high = np.quantile(volatility, (0.25, 0.75))
    return (volatility <= low).astype(int) - (volatility >= high)


def windows(
    rng: np.random.Generator, days: int, tickers: int, process: float | str, common: float, measures: int = MEASURES
) -> np.ndarray:
    """Measures of windows that share days, of tickers that share a part: [days, tickers, measures]."""

    def drawn(columns: int) -> np.ndarray:
        length = days + LOOKBACK - 1
        return regimes(rng, length, columns) if process == "regimes" else autoregression(rng, length, columns, process)

    panels = []
    shared = np.sqrt(common) * drawn(1) + np.sqrt(1 - common) * drawn(tickers)
    for _ in range(measures):  # half of each measure's variance is in all of them
        own = np.sqrt(common) * drawn(1) + np.sqrt(1 - common) * drawn(tickers)
        panels.append(averages((shared + own) / np.sqrt(2), LOOKBACK))
    return np.stack(panels, axis=2)


def averages(values: np.ndarray, days: int) -> np.ndarray:
    """Means over the last days: [n, columns] -> [n - days + 1, columns]."""
    sums = np.cumsum(np.vstack([np.zeros(values.shape[1]), values]), axis=0)
    return (sums[days:] - sums[:-days]) / days


def autoregression(rng: np.random.Generator, days: int, columns: int, correlation: float) -> np.ndarray:
    """AR(1) with variance 1: [days, columns]."""
    noise = rng.normal(size=(days + 400, columns)) * np.sqrt(1 - correlation**2)
    return lfilter([1], [1, -correlation], noise, axis=0)[400:]


def regimes(rng: np.random.Generator, days: int, columns: int, mean: int = 120) -> np.ndarray:
    """Normal values that change on a random day, after 120 days in the mean: [days, columns]."""
    parts = np.cumsum(rng.random((days, columns)) < 1 / mean, axis=0)
    return np.take_along_axis(rng.normal(size=(days + 1, columns)), parts, axis=0)


def calibration_levels() -> str:
    rows = []
    for days in (600, 1713):
        for correlation in (0.0, 0.9):
            for gap in (0.0, 0.02, 0.05, 0.1):
                rng = np.random.default_rng(len(rows))
                *errors, held, none = np.nanmean(list(calibrations(rng, days, correlation, gap)), axis=0)
                case = [f"{days:,}", f"{correlation:g}", f"{gap:.3f}"]
                rows.append([*case, *(f"{error:.3f}" for error in errors), _percent(none), _percent(held)])
                print(rows[-1], flush=True)
    head = ["days", "AR(1) of returns", "true error", "measured", "corrected", "no interval", "coverage"]
    return table(head, rows)


def calibrations(
    rng: np.random.Generator, days: int, correlation: float, gap: float
) -> Iterator[tuple[float, float, float, bool]]:
    """Raw and corrected error, whether the interval holds the true one, and whether there is none."""
    for _ in range(SETS):
        stated, right, when = predictions(rng, days, correlation, gap)
        result = calibrate(stated, right, days=when, binning="equal_mass", resamples=400)
        low, high = result.ece_interval
        none = np.isnan(low)
        yield result.ece, result.ece_corrected, np.nan if none else float(low <= gap <= high), none


def verdict_levels() -> str:
    rows = []
    for days in (FEWEST_DAYS, 600, 1713):
        for horizon, correlation in ((3, 0.0), (10, 0.0), (3, 0.9)):
            shares = [np.mean(list(verdicts(rng, days, correlation, gap, horizon))) for rng, gap in _seeded((0.0, 0.1))]
            rows.append([f"{days:,}", horizon, f"{correlation:g}", *map(_percent, shares)])
            print(rows[-1], flush=True)
    return table(["days", "days ahead", "AR(1) of returns", "calibrated", "10 % too confident"], rows)


def verdicts(rng: np.random.Generator, days: int, correlation: float, gap: float, horizon: int) -> Iterator[bool]:
    """Whether the verdict calls a model over- or underconfident."""
    for _ in range(SETS):
        stated, right, when = predictions(rng, days, correlation, gap, horizon)
        outputs = OutputDistribution(stated, stated, labels=right, dates=pd.DatetimeIndex(when * 10**14))
        yield "confident:" in summarize_outputs(outputs).verdict


def _seeded(gaps: Sequence[float]) -> Iterator[tuple[np.random.Generator, float]]:
    return ((np.random.default_rng(seed), gap) for seed, gap in enumerate(gaps))


def predictions(
    rng: np.random.Generator, days: int, correlation: float, gap: float, horizon: int = 3
) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Probabilities [n, 2] of a model that always says 1, whether that is right, and on which day.

    The confidence is a mean over 60 days, the truth that of a return over `horizon` days that tickers share to 65 %;
    the model is overconfident by `gap` everywhere.
    """
    lags = np.abs(np.subtract.outer(range(horizon), range(horizon)))
    spread = np.sqrt((correlation**lags).sum()) / horizon
    confidence = 0.62 + 0.05 * windows(rng, days, TICKERS, 0.9, 0.7, 1)[:, :, 0].clip(-1.6, 3.6)
    daily = np.sqrt(0.65) * autoregression(rng, days + horizon - 1, 1, correlation)
    daily = daily + np.sqrt(0.35) * autoregression(rng, days + horizon - 1, TICKERS, correlation)
    right = norm.cdf(averages(daily, horizon) / spread) < confidence - gap
    stated = torch.tensor(np.stack([1 - confidence, confidence], axis=-1).reshape(-1, 2))
    return stated, torch.tensor(right.ravel().astype(int)), np.repeat(np.arange(days), TICKERS)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


_GROUPS = f"""\
## Groups of windows: without a difference

Each row is {SETS} data sets of {TICKERS} tickers, with windows of {LOOKBACK} days and {MEASURES} measures, which share
half of their variance; the tickers share `common` of theirs. Volatility: the calmest and the most volatile quarter of
windows; tickers share part of their volatility. Regimes: one group or the other for 120 days on average, for all
tickers. Random: any window in either group, which is nearly true of right and wrong predictions. 20 windows: 20 random
windows of one ticker in each group. Not tested: data sets whose groups alternate too seldom. p < 0.05: share of
measures; aim 4 to 7 %. Verdict claims: data sets whose verdict names a difference; aim at most 7 %. Coverage: share of
the 95 % intervals that hold the truth; aim at least 92 %."""

_POWER = """\
## Groups of windows: with a difference

The same for volatility, AR(1) of 0.9 and 70 % in common. The windows of one group are higher by that many standard
deviations of all windows; those in neither group are not, which the interval cannot know."""

_TICKERS = """\
## Two tickers

70 % of the variance in common, no difference. Width: of the 95 % interval, in standard deviations of all windows."""

_CALIBRATION = f"""\
## Calibration error in simulations

Each row is {SETS} data sets of {TICKERS} tickers, with ten bins of equal mass. The confidence is a mean over {LOOKBACK}
days; right or wrong depends on a return over three days, of which the tickers share 65 %. The model is overconfident by
the true error everywhere."""

_QUALITY = """\
## Quality of the predictions over time

The mean quality over days (`stockformer.survey.history.mean_quality`), whose outcomes are means of as many independent
days as the horizon has, so that the days overlap: how often the 95 % interval holds the truth, of 1,500 draws."""

_VERDICT = f"""\
## Overconfident, underconfident: how often it is said

{SETS} data sets per row as above, also with returns over more days. Aim: at most 7 % for a calibrated model."""


if __name__ == "__main__":
    main()
