"""Compare a model's behaviour over two groups of windows: two hand-picked days prove nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from stockformer.dataset import StockDataset
from stockformer.explainability.groups.tests import (
    FEWEST_STRETCHES,
    FEWEST_WINDOWS,
    LEVEL,
    Labels,
    group_table,
    smallest_p,
)
from stockformer.explainability.measures import Chunk, MeasuredChunk, measure_chunk
from stockformer.explainability.sentences.summary import p_value, percent
from stockformer.model import as_forecaster
from stockformer.outputs import describe_outputs, output_batches
from stockformer.table import counted
from stockformer.uncertainty.dependence import FEWEST_BLOCKS
from stockformer.workers import Engine, run_in_order

GROUPINGS = ("volatility", "correct", "ticker")
#: The verdict names tickers if at least this share of a group's windows would have to change ticker for both groups to
#: have the same mix.
_OTHER_TICKERS = 0.1
#: With fewer blocks of days than this the verdict warns.
_FEW_BLOCKS = 10


@dataclass(frozen=True, eq=False)
class GroupComparison:
    """The result of `compare_groups`.

    Attributes:
        names: names of the groups.
        windows: one row per window of the groups: ``sample, group, date`` (its last day) and every measure.
        table: one row per measure: ``measure, mean_a, mean_b, std, difference, low, high, p, p_adjusted``; `std` is
            over all windows, the difference is a - b, `low` and `high` are the ends of its 95 % interval,
            which is not adjusted for the number of measures; `p_adjusted` is. NaN where the
            data allow no p-value and no interval.
        maps: kind of attention -> the mean map of each layer and group, [layers, 2, query, key].
        block: how many consecutive windows share days.
        shifts: how many shifts of the calendar give other groups, so that no p-value is below ``1 / (1 + shifts)``;
            0 if none was made: p-values come from daily differences, or there are none.
        tickers: number of windows by ticker (rows) and group (columns).
    """

    names: tuple[str, str]
    windows: pd.DataFrame
    table: pd.DataFrame
    maps: Mapping[str, Tensor]
    block: int
    shifts: int
    tickers: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def differs(self) -> np.ndarray:
        """Which measures differ by more than chance, after adjustment for their number: [measures], booleans."""
        clear: np.ndarray = (self.table["p_adjusted"] < LEVEL).to_numpy()
        return clear

    @property
    def verdict(self) -> str:
        """The clearest difference in a sentence, or that there is none; and a warning if there is little data."""
        one, other = self.names
        sizes = self.windows["group"].value_counts()
        small = [f"{sizes[name]} in {name}" for name in self.names if sizes[name] < FEWEST_WINDOWS]
        if small:
            sentence = (
                f"Not tested: too few windows ({', '.join(small)}); p-values need {FEWEST_WINDOWS} per group or more."
            )
        elif self.shifts and smallest_p(self.shifts) >= LEVEL:
            sentence = (
                f"Not tested: shifts of the calendar give too few groups other than {one} and {other} ({self.shifts}), "
                f"so no p-value could be below {smallest_p(self.shifts):.2g}."
            )
        elif self.table["p"].isna().all():
            sentence = (
                f"Too few changes between {one} and {other} to tell a difference from a trend: p-values need tickers "
                f"whose windows change between the groups {FEWEST_STRETCHES - 1} times or more, or groups of different "
                f"tickers over the same {FEWEST_BLOCKS * self.block} days or more."
            )
        elif not self.differs.any():
            sentence = f"No measure tells {one} from {other}: the differences could be chance{self._other_tickers}."
        else:
            sentence = self._clearest
        days = self.windows.groupby("group")["date"].nunique()
        few = [f"{name} end on {days[name]} days" for name in self.names if days[name] < _FEW_BLOCKS * self.block]
        if few:
            sentence += f" Little data: the windows of {' and of '.join(few)}; {self.block} in a row share days."
        return sentence

    @property
    def _clearest(self) -> str:
        """The measure with the smallest p-value; of several, the one that differs by most standard deviations."""
        one, other = self.names
        rows = self.table[self.differs]
        first = rows[rows["p_adjusted"] == rows["p_adjusted"].min()]
        row = first.iloc[int((first["difference"].abs() / first["std"]).argmax())]
        more = "higher" if row["difference"] > 0 else "lower"
        which = "clearest" if len(first) == 1 else f"of {len(first)} with the smallest p, the largest in deviations"
        p = p_value(row["p_adjusted"], smallest_p(self.shifts) if self.shifts else 0.0)
        return (
            f"{len(rows)} of {counted(len(self.table), 'measure')} differ{'s' if len(rows) == 1 else ''}; {which}: "
            f"{row['measure']} is {more} in {one} ({row['mean_a']:.3g}) than in {other} ({row['mean_b']:.3g}), {p} "
            f"after adjustment for {counted(len(self.table), 'measure')}."
        )

    @property
    def _other_tickers(self) -> str:
        """The ticker whose share differs most between the groups, which no shift of the calendar corrects for."""
        shares = self.tickers / self.tickers.sum()
        if not self.shifts or (shares.iloc[:, 0] - shares.iloc[:, 1]).abs().sum() < 2 * _OTHER_TICKERS:
            return ""
        most = int((shares.iloc[:, 0] - shares.iloc[:, 1]).abs().argmax())
        percents = " and ".join(f"{percent(shares[name].iloc[most])} of {name}" for name in self.names)
        return f", or due to the tickers, whose shares of the groups differ ({shares.index[most]}: {percents})"

    @property
    def note(self) -> str:
        """How the intervals and p-values of the table were computed; empty if there are none."""
        if self.table["p"].isna().all():
            return ""
        measures = len(self.table)
        origin, adjustment = "daily differences between the tickers", f"p times {measures} (Bonferroni)"
        if self.shifts:
            origin = f"{self.shifts} shifts of the calendar"
            adjustment = f"share of shifts at which any of {measures} measures differs as clearly (Westfall and Young)"
        return (
            f"Intervals: 95 % for each measure alone, not adjusted for {measures} measures. p: from {origin}. "
            f"Adjusted p: {adjustment}. Highlighted: adjusted p below {LEVEL}."
        )


def compare_groups(
    model: nn.Module,
    dataset: StockDataset,
    group_a: Sequence[int] | np.ndarray,
    group_b: Sequence[int] | np.ndarray,
    *,
    names: tuple[str, str] = ("a", "b"),
    batch_size: int = 32,
    resamples: int = 10_000,
    engine: Engine = None,
) -> GroupComparison:
    """Compare gates, attention, saliency and output over two groups of windows, with p-values and intervals.

    The model runs in batches, with a progress bar; only the measures of every
    window (see `MEASURES`) and the mean maps of every group are kept.

    Consecutive windows share all days but one, and tickers move together, so
    windows are not independent. p-values and intervals come from shifts of both
    groups along the calendar, all tickers by the same number of days, see `shift_test`.
    Shifted groups fall on other windows, so all windows of the same tickers are measured too.

    If the groups are different tickers, a shift changes nothing, and p-values and
    intervals come from the daily differences, see `paired_test`. There are neither if the groups alternate
    fewer than three times per ticker, such as one year against the next, if a group has fewer than 20
    windows, or if shifts give too few other groups.

    In simulated data sets without a difference, p was below 0.05 in 4 to 6 %, and the 95 %
    intervals held the truth in 94 to 96 %; for tickers, whose intervals need more days, in
    86 to 96 %. docs/statistics.md has the tables.

    Args:
        group_a, group_b: indices of windows, or a boolean for every window of the dataset.
        names: names of the groups.
        resamples: the largest number of shifts; there are one fewer than days with windows of these tickers.
        engine: what runs the model, see `stockformer.workers.run_chunks`.

    Raises:
        TypeError: the model is not a `stockformer.model.Forecaster`.
        ValueError: a group has fewer than two windows, the groups overlap or have the same name,
            or `batch_size` or `resamples` is below 1.
        IndexError: there is no such window.
    """
    check_names(names)
    for name, number in (("batch_size", batch_size), ("resamples", resamples)):
        if number < 1:
            raise ValueError(f"{name} is {number}, expected at least 1")
    as_forecaster(model)
    groups = [window_indices(len(dataset), group, name) for group, name in zip((group_a, group_b), names, strict=True)]
    panel = Panel(dataset.end_dates, dataset.end_tickers, dataset.lookback)
    return compare_measures(
        panel,
        groups,
        names,
        lambda samples, group: _measure_all(model, dataset, samples, group, batch_size, engine),
        resamples,
    )


@dataclass(frozen=True)
class Panel:
    """Where windows are in the calendar: the last day and the ticker of each, and how many days it has."""

    dates: pd.DatetimeIndex
    tickers: np.ndarray
    lookback: int


def compare_measures(
    panel: Panel,
    groups: Sequence[np.ndarray],
    names: tuple[str, str],
    measure: Callable[[np.ndarray, np.ndarray], tuple[pd.DataFrame, dict[str, Tensor]]],
    resamples: int,
) -> GroupComparison:
    """`compare_groups` with any function that measures windows.

    Args:
        groups: sorted indices of the windows of both groups.
        measure: from indices of windows [n], and 1, -1 or 0 for the group of each [n], to a table with a row per
            window and a column per measure, and the mean maps of the groups 1 and -1.
    """
    both = np.intersect1d(groups[0], groups[1])
    if len(both):
        raise ValueError(f"{len(both)} windows are in both groups, {both[0]} for one")
    samples = np.sort(np.concatenate(groups))
    labels = _labels(panel, samples, groups)
    if labels.enough and labels.alternate:
        samples = np.flatnonzero(np.isin(panel.tickers, panel.tickers[samples]))
        labels = _labels(panel, samples, groups)
    values, maps = measure(samples, labels.group)
    table, shifts = group_table(values, labels, panel.lookback, resamples)
    inside = labels.group != 0
    group = np.where(labels.group > 0, *names)
    windows = pd.DataFrame({"sample": samples, "group": group, "date": panel.dates[samples]}).join(values)
    tickers = pd.crosstab(panel.tickers[samples[inside]], group[inside])[list(names)]
    windows = windows[inside].reset_index(drop=True)
    return GroupComparison(names, windows, table, maps, panel.lookback, shifts, tickers)


def window_groups(model: nn.Module, dataset: StockDataset, by: str, *, engine: Engine = None) -> dict[str, np.ndarray]:
    """Indices of windows by group, for `compare_groups`.

    Args:
        by: ``volatility``: ``calm`` and ``volatile``, the quarters with the least and the most of
            `StockDataset.volatility`; ``correct``: ``right`` and ``wrong`` predictions of the class;
            ``ticker``: one group per ticker.
        engine: what runs the model for ``correct``, see `stockformer.workers.run_chunks`.

    Raises:
        ValueError: another `by`, or ``correct`` for a regression.
    """
    if by == "ticker":
        return {str(name): np.flatnonzero(dataset.end_tickers == name) for name in np.unique(dataset.end_tickers)}
    if by == "volatility":
        low, high = np.nanquantile(dataset.volatility, (0.25, 0.75))
        calm, volatile = dataset.volatility <= low, dataset.volatility >= high
        return {"calm": np.flatnonzero(calm), "volatile": np.flatnonzero(volatile)}
    if by != "correct":
        raise ValueError(f"by is {by!r}, expected one of {', '.join(GROUPINGS)}")
    if as_forecaster(model).label_mode == "regression":
        raise ValueError("a regression's values are not right or wrong")
    if dataset.horizon is None:
        raise ValueError("the dataset has no labels: its horizon is not known")
    outputs, labels = map(torch.cat, zip(*output_batches(model, dataset, engine=engine), strict=True))
    right = (describe_outputs(outputs, model).predictions == labels).numpy()
    return {"right": np.flatnonzero(right), "wrong": np.flatnonzero(~right)}


def _measure_all(
    model: nn.Module, dataset: StockDataset, samples: np.ndarray, group: np.ndarray, batch_size: int, engine: Engine
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Measures by window, and by kind the mean maps of the groups 1 and -1 in `group`."""
    signs = group.astype(str)
    chunks = [slice(start, start + batch_size) for start in range(0, len(samples), batch_size)]

    def chunk_of(place: int) -> Chunk:
        part = chunks[place]
        return Chunk(dataset.inputs(samples[part]), {"group": signs[part]})

    done = run_in_order(measure_chunk, model, chunk_of, len(chunks), engine)
    in_order = list(tqdm(done, desc="windows", total=len(chunks)))
    values = {name: np.concatenate([one.values[name] for one in in_order]) for name in in_order[0].values}
    kinds = dict.fromkeys(kind for _, _, kind in in_order[0].maps)
    maps = {kind: torch.stack([_mean_map(in_order, group, sign, kind) for sign in (1, -1)], dim=1) for kind in kinds}
    return pd.DataFrame(values).astype(np.float64), maps


def _mean_map(chunks: Sequence[MeasuredChunk], group: np.ndarray, sign: int, kind: str) -> Tensor:
    """The mean map of a group, [layers, query, key]."""
    key = "group", str(sign), kind
    total = np.sum([chunk.maps[key] for chunk in chunks if key in chunk.maps], axis=0)
    return torch.from_numpy(total / (group == sign).sum()).float()


def check_names(names: Sequence[str]) -> None:
    if len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"names is {names!r}, expected two different ones")


def _labels(panel: Panel, samples: np.ndarray, groups: Sequence[np.ndarray]) -> Labels:
    """The groups of windows and their places in the calendar."""
    group = np.isin(samples, groups[0]).astype(int) - np.isin(samples, groups[1])
    days = np.searchsorted(np.unique(panel.dates), panel.dates[samples])
    return Labels(group, days - days.min(), np.unique(panel.tickers[samples], return_inverse=True)[1])


def window_indices(windows: int, group: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    """Sorted indices of the windows of a group, each once, from indices or from a boolean for every window."""
    indices = np.asarray(group)
    if indices.dtype == bool:
        if indices.shape != (windows,):
            raise ValueError(f"group {name!r} has {indices.size} booleans for {windows} windows")
        indices = np.flatnonzero(indices)
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"group {name!r} holds {indices.dtype}, expected indices of windows or booleans")
    outside = indices[(indices < -windows) | (indices >= windows)]
    if outside.size:
        raise IndexError(f"group {name!r} has window {outside[0]}, but the dataset has {windows}")
    indices = np.unique(indices % windows) if indices.size else indices
    if len(indices) < 2:
        raise ValueError(f"group {name!r} has {len(indices)} windows, expected at least 2")
    return indices
