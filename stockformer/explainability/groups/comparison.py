"""Compare a model's behaviour over two groups of windows: two hand-picked days prove nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from stockformer.dataset import StockDataset
from stockformer.explainability.attention.capture import Capture, capture_attention
from stockformer.explainability.attention.statistics import diffuseness, recency, recent_days
from stockformer.explainability.groups.tests import (
    FEWEST_STRETCHES,
    FEWEST_WINDOWS,
    LEVEL,
    Labels,
    group_table,
    smallest_p,
)
from stockformer.explainability.sentences.summary import p_value, percent
from stockformer.forward import in_eval_mode, with_gradients
from stockformer.inputs import Inputs
from stockformer.model import as_forecaster
from stockformer.outputs import describe_outputs, output_batches
from stockformer.table import counted
from stockformer.targets import targets_of
from stockformer.threads import few_threads
from stockformer.uncertainty.dependence import FEWEST_BLOCKS

#: Measures of `compare_groups` and their formulas; those of attention are computed for every kind.
MEASURES: Mapping[str, str] = {
    "gate layer N": "mean of the gate over days and dimensions",
    "diffuseness": "mean over queries, heads and layers of row entropy / log n",
    "recency": "mean share of the attention on the last quarter of the keys",
    "pooling recency": "share of the pooling on the last quarter of the days",
    "market share": (
        "sum of |(input - training mean) x gradient| of the market / of all inputs, for what the explorer explains"
    ),
    "confidence": "probability of the most probable class",
    "relative entropy": "entropy of the class probabilities / log K",
    "value": "the output of a regression",
}
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
        resamples: the largest number of shifts; there are as many as days with windows of these tickers, less one.

    Raises:
        TypeError: the model is not a `stockformer.model.Forecaster`.
        ValueError: a group has fewer than two windows, the groups overlap or have the same name,
            or `batch_size` or `resamples` is below 1.
        IndexError: there is no such window.
    """
    if len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"names is {names!r}, expected two different ones")
    for name, number in (("batch_size", batch_size), ("resamples", resamples)):
        if number < 1:
            raise ValueError(f"{name} is {number}, expected at least 1")
    as_forecaster(model)
    groups = [_indices(dataset, group, name) for group, name in zip((group_a, group_b), names, strict=True)]
    both = np.intersect1d(groups[0], groups[1])
    if len(both):
        raise ValueError(f"{len(both)} windows are in both groups, {both[0]} for one")
    grouped = np.sort(np.concatenate(groups))
    labels, samples = _labels(dataset, grouped, groups), grouped
    if labels.enough and labels.alternate:
        samples = np.flatnonzero(np.isin(dataset.end_tickers, dataset.end_tickers[grouped]))
        labels = _labels(dataset, samples, groups)
    with few_threads(model):
        values, maps = _measure_all(model, dataset, samples, labels.group, batch_size)
    table, shifts = group_table(values, labels, dataset.lookback, resamples)
    inside = labels.group != 0
    group = np.where(labels.group > 0, *names)
    windows = pd.DataFrame({"sample": samples, "group": group, "date": dataset.end_dates[samples]}).join(values)
    tickers = pd.crosstab(dataset.end_tickers[samples[inside]], group[inside])[list(names)]
    windows = windows[inside].reset_index(drop=True)
    return GroupComparison(names, windows, table, maps, dataset.lookback, shifts, tickers)


def window_groups(model: nn.Module, dataset: StockDataset, by: str) -> dict[str, np.ndarray]:
    """Indices of windows by group, for `compare_groups`.

    Args:
        by: ``volatility``: ``calm`` and ``volatile``, the quarters with the least and the most of
            `StockDataset.volatility`; ``correct``: ``right`` and ``wrong`` predictions of the class;
            ``ticker``: one group per ticker.

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
    outputs, labels = map(torch.cat, zip(*output_batches(model, dataset), strict=True))
    right = (describe_outputs(outputs, model).predictions == labels).numpy()
    return {"right": np.flatnonzero(right), "wrong": np.flatnonzero(~right)}


def measure_windows(model: nn.Module, *inputs: Tensor) -> dict[str, Tensor]:
    """Every measure that the model has, one value per window: name -> [B]; see `MEASURES`.

    Args:
        inputs: each [B, T, features]. The market share is of distances from the training mean, which tensors of
            `Window.inputs` know; of others it is taken to be 0, as for normalised inputs.
    """
    return _measures(model, capture_attention(model, *inputs), inputs)


def _measures(model: nn.Module, capture: Capture, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    measures = {f"gate layer {layer}": gate.mean(dim=(1, 2)) for layer, gate in enumerate(capture.gates.values())}
    for kind, layers in capture.kinds.items():
        for statistic in (diffuseness, recency):
            by_layer = torch.stack([_mean_over_heads(statistic, maps) for maps in layers])
            measures[f"{kind} {statistic.__name__}"] = by_layer.nanmean(dim=0)
    if capture.pooling is not None:
        measures["pooling recency"] = capture.pooling[:, -recent_days(capture.pooling.size(1)) :].sum(dim=1)
    if len(inputs) == 2:
        measures["market share"] = _market_share(model, inputs)
    output = describe_outputs(capture.output.float(), model)
    if output.probabilities is None:
        return measures | {"value": output.outputs}
    classes = torch.tensor(float(output.probabilities.size(1)))
    return measures | {"confidence": output.confidence, "relative entropy": output.entropy / classes.log()}


def _mean_over_heads(statistic: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """A statistic averaged over the heads that are not switched off, [B, heads, query, key] -> [B]."""
    return torch.where(maps.any(dim=-1).any(dim=-1), statistic(maps), math.nan).nanmean(dim=1)


def _market_share(model: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    model, distances = in_eval_mode(model), Inputs(inputs).distance
    with with_gradients():
        inputs = [part.detach().clone().requires_grad_() for part in inputs]
        # The windows of a batch do not see each other, so the gradient of the sum is that of each.
        gradients = torch.autograd.grad(targets_of(model, model(*inputs)).sum(), inputs)
    stock, market = ((far * grad).abs().sum(dim=(1, 2)) for far, grad in zip(distances, gradients, strict=True))
    return (market / (stock + market)).detach().cpu()


def _measure_all(
    model: nn.Module,
    dataset: StockDataset,
    samples: np.ndarray,
    group: np.ndarray,
    batch_size: int,
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Measures by window, and by kind the mean maps of the groups 1 and -1 in `group`."""
    values: dict[str, np.ndarray] = {}
    maps: dict[str, Tensor] = {}
    shares = torch.tensor(np.stack([(group == sign) / (group == sign).sum() for sign in (1, -1)]))  # [2, n]
    start = 0
    total = -(-len(samples) // batch_size)
    for inputs in tqdm(_batches(model, dataset, samples, batch_size), desc="windows", total=total):
        capture = capture_attention(model, *inputs)
        stop = start + len(inputs[0])
        for name, measure in _measures(model, capture, inputs).items():
            # Copied into one array: small tensors that are kept would hold on to the memory of large ones around them.
            values.setdefault(name, np.empty(len(samples)))[start:stop] = measure.double().numpy()
        for kind, layers in capture.kinds.items():
            means = torch.stack([weights.double().mean(dim=1) for weights in layers])  # [layers, B, query, key]
            share = torch.einsum("gb,lbqk->lgqk", shares[:, start:stop], means)
            maps.setdefault(kind, torch.zeros_like(share)).add_(share)
        start = stop
    return pd.DataFrame(values), {kind: mean.float() for kind, mean in maps.items()}


def _batches(model: nn.Module, dataset: StockDataset, samples: np.ndarray, batch_size: int) -> Iterator[Inputs]:
    like, tickers = next(model.parameters()), dataset.end_tickers[samples]
    means = {
        str(tickers[place]): dataset.window(samples[place]).means for place in np.unique(tickers, return_index=True)[1]
    }
    start = 0
    for x, _, *market in DataLoader(Subset(dataset, samples.tolist()), batch_size, generator=torch.Generator()):
        of_each = zip(*(means[str(ticker)] for ticker in tickers[start : start + len(x)]), strict=True)
        yield Inputs((x, *market), [torch.stack(one)[:, None] for one in of_each]).to(like)
        start += len(x)


def _labels(dataset: StockDataset, samples: np.ndarray, groups: Sequence[np.ndarray]) -> Labels:
    """The groups of windows and their places in the calendar."""
    group = np.isin(samples, groups[0]).astype(int) - np.isin(samples, groups[1])
    days = np.searchsorted(np.unique(dataset.end_dates), dataset.end_dates[samples])
    return Labels(group, days - days.min(), np.unique(dataset.end_tickers[samples], return_inverse=True)[1])


def _indices(dataset: StockDataset, group: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    """Sorted indices of windows, each once."""
    indices = np.asarray(group)
    if indices.dtype == bool:
        if indices.shape != (len(dataset),):
            raise ValueError(f"group {name!r} has {indices.size} booleans for {len(dataset)} windows")
        indices = np.flatnonzero(indices)
    if indices.size and not np.issubdtype(indices.dtype, np.integer):
        raise TypeError(f"group {name!r} holds {indices.dtype}, expected indices of windows or booleans")
    outside = indices[(indices < -len(dataset)) | (indices >= len(dataset))]
    if outside.size:
        raise IndexError(f"group {name!r} has window {outside[0]}, but the dataset has {len(dataset)}")
    indices = np.unique(indices % len(dataset)) if indices.size else indices
    if len(indices) < 2:
        raise ValueError(f"group {name!r} has {len(indices)} windows, expected at least 2")
    return indices
