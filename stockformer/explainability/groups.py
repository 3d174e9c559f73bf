"""Compare what a model does over two groups of windows: two hand-picked days prove nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from stockformer.dataset import StockDataset
from stockformer.explainability.capture import Capture, capture_attention
from stockformer.explainability.outputs import describe_outputs, output_batches
from stockformer.explainability.statistics import diffuseness, recency, recent_days
from stockformer.explainability.targets import targets_of
from stockformer.forward import in_eval_mode
from stockformer.model import CrossAttentionStockTransformer, StockTransformer

#: How `compare_groups` calls a measure -> its formula; those of attention are there for every kind of it.
MEASURES: Mapping[str, str] = {
    "gate layer N": "mean of the gate over days and dimensions",
    "diffuseness": "mean over queries, heads and layers of row entropy / log n",
    "recency": "mean share of the attention on the last quarter of the keys",
    "pooling recency": "share of the pooling on the last quarter of the days",
    "market share": "sum of |input x gradient| of the market / of all inputs, for what the explorer explains",
    "confidence": "probability of the most probable class",
    "relative entropy": "entropy of the class probabilities / log K",
    "value": "the output of a regression",
}
GROUPINGS = ("volatility", "correct", "ticker")
#: Blocks of days: with fewer no interval is given, and with fewer the verdict warns.
_FEWEST_BLOCKS, _FEW_BLOCKS = 5, 10
_LEVEL = 0.05
_CHUNK = 100


@dataclass(frozen=True, eq=False)
class GroupComparison:
    """What two groups of windows have in common, and what not.

    Attributes:
        names: of the groups.
        windows: one row a window: ``sample, group, date`` (its last day) and every measure.
        table: one row a measure: ``measure, mean_a, mean_b, std, difference, low, high, p``; `std` is over
            all windows, the difference is a - b, `low` and `high` are the ends of its interval, NaN where
            the windows are too few for one.
        maps: kind of attention -> the mean map of each layer and group, [layers, 2, query, key].
        block: how many windows in a row share days, the length of a block of the bootstrap.
        shifts: how many shifts the p-values come from; none is below ``1 / (1 + shifts)``.
    """

    names: tuple[str, str]
    windows: pd.DataFrame
    table: pd.DataFrame
    maps: Mapping[str, Tensor]
    block: int
    shifts: int

    @property
    def verdict(self) -> str:
        """The clearest difference in a sentence, or that there is none; and how much data there is."""
        clear = self.table[(self.table["p"] * len(self.table) < _LEVEL) & (self.table["low"] * self.table["high"] > 0)]
        one, other = self.names
        if len(self.table) / (1 + self.shifts) >= _LEVEL:
            said = (
                f"Too few shifts to tell {one} from {other}: with {self.shifts} of them no p-value is below "
                f"{1 / (1 + self.shifts):.2g}, and one of {len(self.table)} measures would have to be below "
                f"{_LEVEL / len(self.table):.2g}."
            )
        elif clear.empty:
            said = f"No measure tells {one} from {other}: what differs could be chance."
        else:
            row = clear.iloc[int((clear["difference"].abs() / clear["std"]).argmax())]
            more = "higher" if row["difference"] > 0 else "lower"
            said = (
                f"{len(clear)} of {len(self.table)} measures differ; clearest: {row['measure']} is {more} in {one} "
                f"({row['mean_a']:.3g}) than in {other} ({row['mean_b']:.3g}), p = {row['p']:.2g}."
            )
        days = self.windows.groupby("group")["date"].nunique()
        few = [f"{name} end on {days[name]} days" for name in self.names if days[name] < _FEW_BLOCKS * self.block]
        if few:
            said += f" Little data: the windows of {' and of '.join(few)}, and {self.block} in a row share days."
        return said


def compare_groups(
    model: CrossAttentionStockTransformer | StockTransformer,
    dataset: StockDataset,
    group_a: Sequence[int] | np.ndarray,
    group_b: Sequence[int] | np.ndarray,
    *,
    names: tuple[str, str] = ("a", "b"),
    batch_size: int = 32,
    resamples: int = 1000,
    seed: int = 0,
) -> GroupComparison:
    """Gates, attention, saliency and output over two groups of windows, with what chance alone could do.

    The model runs in batches, with a progress bar; of every window only its
    measures are kept (see `MEASURES`), of every group its mean maps.

    Windows that follow each other share all days but one, so they are no
    independent draws. The interval (95 %) is that of a circular block bootstrap
    (Politis and Romano 1992): blocks of `dataset.lookback` trading days, each with
    the windows of all tickers that end on them, drawn with their groups. With few
    blocks it is too narrow (in a simulation of averages over 60 days it covered the
    truth in 84 % of cases with 5 blocks, in 90 % with 10 and in 91 % with 30), so
    with fewer than 5 there is none. The p-value is two-sided, from circular shifts
    of the groups along the windows, which leave the dependence between neighbours
    and between tickers as it is:
    ``(1 + shifts with a difference as large) / (1 + shifts)``.

    Args:
        group_a, group_b: indices of windows, or a boolean for every window of the dataset.
        names: what the groups are called.
        resamples: of the bootstrap, and the largest number of shifts.
        seed: of the bootstrap.

    Raises:
        TypeError: the model is no stock transformer.
        ValueError: a group has fewer than two windows, the groups overlap or have one name,
            or `batch_size` or `resamples` is below 1.
        IndexError: there is no such window.
    """
    if len(names) != 2 or names[0] == names[1]:
        raise ValueError(f"names is {names!r}, expected two different ones")
    for name, number in (("batch_size", batch_size), ("resamples", resamples)):
        if number < 1:
            raise ValueError(f"{name} is {number}, expected at least 1")
    if not isinstance(model, CrossAttentionStockTransformer | StockTransformer):
        raise TypeError(f"expected a stock transformer, got {type(model).__name__}")
    groups = [_indices(dataset, group, name) for group, name in zip((group_a, group_b), names, strict=True)]
    both = np.intersect1d(groups[0], groups[1])
    if len(both):
        raise ValueError(f"{len(both)} windows are in both groups, {both[0]} for one")
    samples = np.sort(np.concatenate(groups))
    in_a = np.isin(samples, groups[0])
    values, maps = _measure_all(model, dataset, samples, in_a, batch_size)
    dates = dataset.end_dates[samples]
    windows = pd.DataFrame({"sample": samples, "group": np.where(in_a, *names), "date": dates, **values})
    days = np.searchsorted(np.unique(dataset.end_dates), dates)
    table = _table(pd.DataFrame(values), in_a, days, dataset.lookback, resamples, np.random.default_rng(seed))
    shifts = len(_shifts(len(samples), resamples))
    return GroupComparison(names, windows, table, maps, dataset.lookback, shifts)


def window_groups(
    model: CrossAttentionStockTransformer | StockTransformer, dataset: StockDataset, by: str
) -> dict[str, np.ndarray]:
    """Indices of windows by group, for `compare_groups`.

    Args:
        by: ``volatility``: ``calm`` and ``volatile``, the quarters with the least and the most of
            `StockDataset.volatility`; ``correct``: ``right`` and ``wrong`` predictions of the class;
            ``ticker``: one group a ticker.

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
    if model.label_mode == "regression":
        raise ValueError("a regression's values are not right or wrong")
    if dataset.horizon is None:
        raise ValueError("the dataset has no labels: its horizon is not known")
    outputs, labels = map(torch.cat, zip(*output_batches(model, dataset), strict=True))
    right = (describe_outputs(outputs, model).predictions == labels).numpy()
    return {"right": np.flatnonzero(right), "wrong": np.flatnonzero(~right)}


def measure_windows(model: CrossAttentionStockTransformer | StockTransformer, *inputs: Tensor) -> dict[str, Tensor]:
    """Every measure that the model has, one value a window: name -> [B]; see `MEASURES`."""
    return _measures(model, capture_attention(model, *inputs), inputs)


def _measures(model: nn.Module, shown: Capture, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    found = {f"gate layer {layer}": gate.mean(dim=(1, 2)) for layer, gate in enumerate(shown.gates.values())}
    for kind, layers in shown.kinds.items():
        for of in (diffuseness, recency):
            found[f"{kind} {of.__name__}"] = torch.stack([_of_heads(of, maps) for maps in layers]).nanmean(dim=0)
    assert shown.pooling is not None
    found["pooling recency"] = shown.pooling[:, -recent_days(shown.pooling.size(1)) :].sum(dim=1)
    if len(inputs) == 2:
        found["market share"] = _market_share(model, inputs)
    output = describe_outputs(shown.output.float(), model)  # type: ignore[arg-type]
    if output.probabilities is None:
        return found | {"value": output.outputs}
    classes = torch.tensor(float(output.probabilities.size(1)))
    return found | {"confidence": output.confidence, "relative entropy": output.entropy / classes.log()}


def _of_heads(of: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """A statistic averaged over the heads, [B, heads, query, key] -> [B]; heads that are switched off have none."""
    return torch.where(maps.any(dim=-1).any(dim=-1), of(maps), math.nan).nanmean(dim=1)


def _market_share(model: nn.Module, inputs: Sequence[Tensor]) -> Tensor:
    model = in_eval_mode(model)
    with torch.enable_grad():
        inputs = [part.detach().requires_grad_() for part in inputs]
        # The windows of a batch do not see each other, so the gradient of the sum is that of each.
        gradients = torch.autograd.grad(targets_of(model, model(*inputs)).sum(), inputs)
    stock, market = ((part * grad).abs().sum(dim=(1, 2)) for part, grad in zip(inputs, gradients, strict=True))
    return (market / (stock + market)).detach().cpu()


def _measure_all(
    model: CrossAttentionStockTransformer | StockTransformer,
    dataset: StockDataset,
    samples: np.ndarray,
    in_a: np.ndarray,
    batch_size: int,
) -> tuple[dict[str, np.ndarray], dict[str, Tensor]]:
    """Measures by window, and mean maps by kind."""
    values: dict[str, np.ndarray] = {}
    maps: dict[str, Tensor] = {}
    shares = torch.tensor(np.stack([in_a / in_a.sum(), ~in_a / (~in_a).sum()]))  # [2, n]
    start = 0
    total = -(-len(samples) // batch_size)
    for inputs in tqdm(_batches(model, dataset, samples, batch_size), desc="windows", total=total):
        shown = capture_attention(model, *inputs)
        stop = start + len(inputs[0])
        for name, found in _measures(model, shown, inputs).items():
            # Into an array that is there: small tensors that stay would keep the memory of the large ones around them.
            values.setdefault(name, np.empty(len(samples)))[start:stop] = found.double().numpy()
        for kind, layers in shown.kinds.items():
            means = torch.stack([weights.double().mean(dim=1) for weights in layers])  # [layers, B, query, key]
            share = torch.einsum("gb,lbqk->lgqk", shares[:, start:stop], means)
            maps.setdefault(kind, torch.zeros_like(share)).add_(share)
        start = stop
    return values, {kind: mean.float() for kind, mean in maps.items()}


def _batches(
    model: nn.Module, dataset: StockDataset, samples: np.ndarray, batch_size: int
) -> Iterator[tuple[Tensor, ...]]:
    like = next(model.parameters())
    for x, _, *market in DataLoader(Subset(dataset, samples.tolist()), batch_size, generator=torch.Generator()):
        yield tuple(part.to(like) for part in (x, *market))


def _table(
    values: pd.DataFrame, in_a: np.ndarray, days: np.ndarray, block: int, resamples: int, rng: np.random.Generator
) -> pd.DataFrame:
    numbers = values.to_numpy()
    difference = _difference(np.ones(len(in_a)), in_a, numbers)
    low, high = _interval(_bootstrap(numbers, in_a, days, block, resamples, rng))
    return pd.DataFrame(
        {
            "measure": values.columns,
            "mean_a": numbers[in_a].mean(axis=0),
            "mean_b": numbers[~in_a].mean(axis=0),
            "std": numbers.std(axis=0),
            "difference": difference,
            "low": low,
            "high": high,
            "p": _p_values(numbers, in_a, difference, resamples),
        }
    )


def _difference(weights: np.ndarray, in_a: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Weighted mean over a minus that over b: weights and groups [..., n], values [n, measures] -> [..., measures]."""
    a, b = weights * in_a, weights * ~in_a
    with np.errstate(invalid="ignore"):  # a draw without any window of a group
        means: np.ndarray = a @ values / a.sum(axis=-1)[..., None] - b @ values / b.sum(axis=-1)[..., None]
    return means


def _interval(drawn: np.ndarray) -> np.ndarray:
    """Both ends [2, measures] of what was drawn [draws, measures]."""
    ends: np.ndarray = (
        np.nanquantile(drawn, (0.025, 0.975), axis=0) if len(drawn) else np.full((2, drawn.shape[1]), np.nan)
    )
    return ends


def _bootstrap(
    values: np.ndarray, in_a: np.ndarray, days: np.ndarray, block: int, resamples: int, rng: np.random.Generator
) -> np.ndarray:
    """Differences in draws of blocks of days: [resamples, measures], none where the blocks are too few.

    Args:
        days: on which of the calendar's days each window ends, [n].
    """
    days = days - days.min()
    length = int(days.max()) + 1
    if length < _FEWEST_BLOCKS * block:
        return np.empty((0, values.shape[1]))
    parts = []
    for first in range(0, resamples, _CHUNK):
        number = min(_CHUNK, resamples - first)
        starts = rng.integers(length, size=(number, -(-length // block), 1))
        drawn = ((starts + np.arange(block)) % length).reshape(number, -1)[:, :length]
        counts = np.stack([np.bincount(one, minlength=length) for one in drawn])
        parts.append(_difference(counts[:, days], in_a, values))
    return np.concatenate(parts)


def _p_values(values: np.ndarray, in_a: np.ndarray, difference: np.ndarray, resamples: int) -> np.ndarray:
    """Two-sided, from circular shifts of the groups that are spread evenly: [measures]."""
    length = len(values)
    shifts = _shifts(length, resamples)
    as_large = np.zeros(values.shape[1])
    for chunk in np.array_split(shifts, -(-len(shifts) // _CHUNK)):
        shifted = np.stack([np.roll(in_a, shift) for shift in chunk])
        found = _difference(np.ones(length), shifted, values)
        as_large += (np.abs(found) >= np.abs(difference) * (1 - 1e-9)).sum(axis=0)
    p: np.ndarray = (1 + as_large) / (1 + len(shifts))
    return p


def _shifts(length: int, most: int) -> np.ndarray:
    """Up to so many shifts, spread evenly over those that there are."""
    return np.unique(np.linspace(1, length - 1, min(most, length - 1)).round().astype(int))


def _indices(dataset: StockDataset, group: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    """Sorted indices of windows, each once."""
    given = np.asarray(group)
    if given.dtype == bool:
        if given.shape != (len(dataset),):
            raise ValueError(f"group {name!r} has {given.size} booleans for {len(dataset)} windows")
        given = np.flatnonzero(given)
    if given.size and not np.issubdtype(given.dtype, np.integer):
        raise TypeError(f"group {name!r} holds {given.dtype}, expected indices of windows or booleans")
    outside = given[(given < -len(dataset)) | (given >= len(dataset))]
    if outside.size:
        raise IndexError(f"group {name!r} has window {outside[0]}, but the dataset has {len(dataset)}")
    found = np.unique(given % len(dataset)) if given.size else given
    if len(found) < 2:
        raise ValueError(f"group {name!r} has {len(found)} windows, expected at least 2")
    return found
