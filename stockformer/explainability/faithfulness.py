"""Whether an explanation names what the prediction hangs on.

What an explanation ranks first is taken out of the input, or is put alone into an
empty one, and the target is read again. A ranking that knows nothing does as
well as a random one, which is measured beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from stockformer.dataset import StockDataset
from stockformer.explainability.attribution import METHODS, attribute
from stockformer.explainability.capture import capture_attention, evaluating
from stockformer.explainability.flow import joint_rollout, mean_attention, relevance
from stockformer.explainability.targets import Target, choose_target
from stockformer.explainability.trace import trace_attention
from stockformer.explainability.what_if import WhatIf, changed_model

Inputs = tuple[Tensor, ...]
#: Scores of a sample for a target: one [T, features] an input, or one [T] an input to rank days.
Ranking = Callable[[nn.Module, Inputs, Target], Sequence[Tensor]]

#: Shares of the input that are moved, of which the areas under the curves are taken.
FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Those that comprehensiveness and sufficiency are means over (DeYoung et al. 2020).
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
#: A ranking is better than random where at most this share of random orders does as well.
LEVEL = 0.05
#: The two verdicts on a ranking.
BETTER, NO_BETTER = "better than random", "no better than random"

#: Methods that say how much the target would change, not what it got from an input; ranked by magnitude.
_SENSITIVITIES = ("gradient", "smooth_grad")
_ORDERS = 20
_RESAMPLES = 2000


def rank_cells(method: str, model: nn.Module, inputs: Inputs, target: Target, **options: Any) -> list[Tensor]:
    """Scores of every feature of every day by one of `METHODS`; `options` are those of `attribute`."""
    parts = attribute(model, *inputs, method=method, target=target, **options).parts
    return [part.abs() if method in _SENSITIVITIES else part for part in parts]


def _rank_days(model: nn.Module, inputs: Inputs, target: Target, *, method: str, groups: str = "day") -> list[Tensor]:
    parts = attribute(model, *inputs, method=method, target=target, groups=groups).parts
    return [part.sum(dim=-1) for part in parts]


def _rank_by_pooling(model: nn.Module, inputs: Inputs, target: Target) -> list[Tensor]:
    pooling = capture_attention(model, *inputs).pooling
    assert pooling is not None
    return [pooling[0], *(torch.zeros(part.size(1)) for part in inputs[1:])]


#: Name -> ranking of every feature of every day.
CELL_RANKINGS: Mapping[str, Ranking] = {method: partial(rank_cells, method) for method in METHODS}
#: Name -> ranking of the days: what attention says, beside two methods that ask the model.
DAY_RANKINGS: Mapping[str, Ranking] = {
    "mean attention": lambda model, inputs, target: mean_attention(trace_attention(model, *inputs, target=target)),
    "rollout": lambda model, inputs, target: joint_rollout(trace_attention(model, *inputs, target=target)).days,
    "relevance": lambda model, inputs, target: relevance(trace_attention(model, *inputs, target=target)).days,
    "pooling": _rank_by_pooling,
    "integrated_gradients": partial(_rank_days, method="integrated_gradients"),
    "occlusion": partial(_rank_days, method="occlusion"),
}


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How rankings do against random orders.

    The target's distance from its value at the training mean is 1 for the whole
    input and 0 for the mean, over all samples together: a sum over a sum, so that
    samples whose prediction hardly moves do not blow up.

    Attributes:
        table: one row a ranking, the best first, and ``random``, the mean of the
            random orders, at its place: ``ranking``; ``deletion``, the area under the curve while
            what ranks first is moved to the training mean (low is good);
            ``insertion``, the area while it is put back first (high is good);
            ``gap``, insertion - deletion; ``low, high``, the 95 % interval
            of the gap's distance from random's, from a bootstrap over the samples,
            NaN for one sample; ``p``, the share of random orders whose gap is as
            large, at least ``1 / (1 + orders)``; ``comprehensiveness`` and
            ``sufficiency``, how far the target falls without what ranks
            first, and with it alone, means over `BINS`; ``verdict``, `BETTER` than random
            where p is at most `LEVEL` and the interval above 0, else `NO_BETTER`.
        curves: ``ranking, kind, fraction, value, low, high``; kind is ``deletion`` or
            ``insertion``. ``low`` and ``high`` are of the random orders, the middle 90 %.
        scores: ranking -> the scores of each sample, over the cells or days that can be moved.
        samples: how many.
        unit: ``cell`` or ``day``.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    scores: Mapping[str, list[np.ndarray]]
    samples: int
    unit: str

    @property
    def measured_on(self) -> str:
        """On how many samples, in words."""
        return "this sample" if self.samples == 1 else f"{self.samples} windows"

    def agreement(self) -> pd.DataFrame:
        """Spearman correlation between the rankings, mean over the samples: rankings x rankings."""
        by_sample = [
            _spearman(dict(zip(self.scores, each, strict=True))) for each in zip(*self.scores.values(), strict=True)
        ]
        found: pd.DataFrame = sum(by_sample[1:], by_sample[0]) / len(by_sample)
        return found


def faithfulness_verdict(table: pd.DataFrame, ranking: str) -> str:
    """Whether to believe a ranking of `Faithfulness.table`: a sentence with the areas.

    Raises:
        KeyError: there is no such ranking.
    """
    rows = table.set_index("ranking")
    row, chance = rows.loc[ranking], rows.loc["random"]
    name = ranking.replace("_", " ")
    numbers = (
        f"deletion {row['deletion']:.2f} (random {chance['deletion']:.2f}), "
        f"insertion {row['insertion']:.2f} (random {chance['insertion']:.2f})"
    )
    worse = ", and not even as good" if row["gap"] < chance["gap"] else ""
    return f"{name} is {row['verdict']}{worse}: {numbers}."


Result = TypeVar("Result")


def measure_faithfulness(
    model: nn.Module,
    samples: Sequence[Inputs],
    rankings: Mapping[str, Ranking] = CELL_RANKINGS,
    *,
    column: int | None = None,
    orders: int = _ORDERS,
    seed: int = 0,
) -> Faithfulness:
    """Deletion and insertion curves of rankings beside random orders, with a progress bar.

    Cells that are at the training mean already, such as those of features without
    data, cannot be moved and have no rank. A positive score speaks for the side of
    the training mean that the sample's target is on: scores are turned where that is the lower one.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        samples: each a sample's normalised inputs, [1, T, features].
        rankings: name -> scores of a sample. All rank cells, or all rank days.
        column: of the output, see `choose_target`.
        orders: how many random orders a sample.
        seed: of the random orders and of the bootstrap.

    Raises:
        ValueError: no samples, fewer than 19 orders (no p-value could be below 0.05), or rankings of cells and of days
            together.
    """
    steps = faithfulness_steps(model, samples, rankings, column=column, orders=orders, seed=seed)
    return run_to_end(steps, "faithfulness")


def faithfulness_steps(
    model: nn.Module,
    samples: Sequence[Inputs],
    rankings: Mapping[str, Ranking] = CELL_RANKINGS,
    *,
    column: int | None = None,
    orders: int = _ORDERS,
    seed: int = 0,
) -> Generator[float, None, Faithfulness]:
    """`measure_faithfulness` in steps: yields the share that is done, returns the result."""
    if not len(samples):
        raise ValueError("there are no samples to measure on")
    if orders < 1 / LEVEL - 1:
        raise ValueError(f"orders is {orders}, expected at least {1 / LEVEL - 1:.0f}")
    rng = np.random.default_rng(seed)
    curves: dict[str, list[np.ndarray]] = {name: [] for name in rankings}  # each [2, fractions]
    scores: dict[str, list[np.ndarray]] = {name: [] for name in rankings}
    chance: list[np.ndarray] = []  # each [orders, 2, fractions]
    scales, units = [], set()
    total, done = len(samples) * (len(rankings) + 1), 0
    for inputs in samples:
        target, value, base = _ends(model, inputs, column)
        sign = 1.0 if value >= base else -1.0
        scales.append(abs(value - base))
        movable = None
        for name, rank in rankings.items():
            given = rank(model, inputs, target)
            movable = _Movable(inputs, by_day=given[0].dim() == 1)
            units.add(movable.unit)
            scores[name].append(movable.scores(given))
            order = np.argsort(-sign * scores[name][-1], kind="stable")
            curves[name].append(sign * (movable.read(model, target, order) - base))
            done += 1
            yield done / total
        assert movable is not None
        if len(units) > 1:
            raise ValueError("some rankings are of cells and some of days: measure them apart")
        drawn = [movable.read(model, target, rng.permutation(movable.number)) for _ in range(orders)]
        chance.append(sign * (np.stack(drawn) - base))
        done += 1
        yield done / total
    by_name = {name: np.stack(each) for name, each in curves.items()}  # [samples, 2, fractions]
    random = np.stack(chance)  # [samples, orders, 2, fractions]
    scale = np.array(scales)
    return Faithfulness(
        _table(by_name, random, scale, np.random.default_rng(seed)),
        _curves(by_name, random, scale),
        scores,
        len(samples),
        units.pop(),
    )


def run_to_end(steps: Generator[float, None, Result], what: str) -> Result:
    """Run a computation that yields the share that is done, with a progress bar; returns its result."""
    with tqdm(total=100, desc=what, bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}") as bar:
        while True:
            try:
                bar.update(round(100 * next(steps)) - bar.n)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


def randomisation_check(
    model: nn.Module, samples: Sequence[Inputs], methods: Sequence[str] = METHODS, *, seed: int = 0
) -> pd.DataFrame:
    """How like an attribution is to that of a model with random weights (Adebayo et al. 2018), with a progress bar.

    A method whose picture stays the same shows the input, not the model.

    Returns:
        One row a method: ``method, signed, absolute``: Spearman correlation of the
        values and of their magnitudes, mean over the samples.
    """
    return run_to_end(randomisation_steps(model, samples, methods, seed=seed), "random weights")


def randomisation_steps(
    model: nn.Module, samples: Sequence[Inputs], methods: Sequence[str] = METHODS, *, seed: int = 0
) -> Generator[float, None, pd.DataFrame]:
    """`randomisation_check` in steps: yields the share that is done, returns the result."""
    random = _randomised(model, seed)
    rows = []
    for number, method in enumerate(methods):
        pairs = []
        for done, inputs in enumerate(samples):
            target, _, _ = _ends(model, inputs)
            movable = _Movable(inputs, by_day=False)
            both = [attribute(one, *inputs, method=method, target=target).parts for one in (model, random)]
            pairs.append([movable.scores(parts) for parts in both])
            yield (number + (done + 1) / len(samples)) / len(methods)
        signed, absolute = (
            float(np.mean([_spearman({"own": of(own), "random": of(other)}).iloc[0, 1] for own, other in pairs]))
            for of in (np.asarray, np.abs)
        )
        rows.append((method, signed, absolute))
    return pd.DataFrame(rows, columns=["method", "signed", "absolute"])


def attention_effects(model: nn.Module, *inputs: Tensor, target: Target | None = None) -> pd.DataFrame:
    """What the target does when one layer's attention is flat, or shuffled within its rows (Jain and Wallace 2019).

    Where it does nothing, the prediction does not use where that layer looks.

    Returns:
        One row a layer: ``kind, layer, flat, permuted``, changes of the target.
    """
    shown = capture_attention(model, *inputs)
    with evaluating(model), torch.no_grad():
        output = model(*inputs)
        target = choose_target(model, output) if target is None else target
        value = float(target(output)[0])
        rows = []
        for kind, layers in shown.kinds.items():
            for layer in range(len(layers)):
                place = [(kind, layer)]
                change = []
                for what_if in (WhatIf(flat=place), WhatIf(permuted=place)):
                    with changed_model(model, what_if, shown):
                        change.append(float(target(model(*inputs))[0]) - value)
                rows.append((kind, layer, *change))
    return pd.DataFrame(rows, columns=["kind", "layer", "flat", "permuted"])


def negative_control(
    parts: Sequence[Tensor], feature_names: Sequence[Sequence[str]], unavailable: Sequence[str]
) -> float:
    """The largest magnitude that an attribution gives to features without data: 0, or it is not to be believed.

    Args:
        parts: as from `attribute`, one [T, features] an input.
        feature_names: one list an input.
        unavailable: those without data, see `StockDataset`; NaN where there are none.
    """
    found = [
        float(part[:, number].abs().max())
        for part, names in zip(parts, feature_names, strict=True)
        for number, name in enumerate(names)
        if name in unavailable
    ]
    return max(found, default=np.nan)


def spread_windows(dataset: StockDataset, number: int) -> list[Inputs]:
    """Inputs of so many windows of a dataset, evenly spaced from the first to the last.

    Raises:
        ValueError: the dataset has fewer.
    """
    if not 1 <= number <= len(dataset):
        raise ValueError(f"windows is {number}, expected 1 to {len(dataset)}")
    windows = (dataset.window(int(index)) for index in np.linspace(0, len(dataset) - 1, number).round())
    return [tuple(part[None] for part in (one.x, one.market_x) if part is not None) for one in windows]


class _Movable:
    """The cells or days of a sample that are not at the training mean."""

    def __init__(self, inputs: Inputs, by_day: bool) -> None:
        self.unit = "day" if by_day else "cell"
        self._shapes = [part.shape[1:] for part in inputs]
        self._like = inputs[0]
        self._values = torch.cat([part.detach().flatten() for part in inputs])
        moved = self._values != 0
        if by_day:
            days = torch.cumsum(torch.tensor([0, *(part.size(1) for part in inputs)]), dim=0)
            unit = torch.cat(
                [
                    (start + torch.arange(part.size(1))).repeat_interleave(part.size(2))
                    for start, part in zip(days, inputs, strict=False)
                ]
            ).to(moved.device)
        else:
            unit = torch.arange(len(self._values), device=moved.device)
        self._units = torch.unique(unit[moved])
        self._place = torch.full((int(unit.max()) + 1,), len(self._units), device=moved.device)
        self._place[self._units] = torch.arange(len(self._units), device=moved.device)
        self._unit = unit
        self.number = len(self._units)

    def scores(self, given: Sequence[Tensor]) -> np.ndarray:
        """Of the units that can be moved, [number]."""
        flat = torch.cat([part.flatten() for part in given]).cpu()
        return flat[self._units.cpu()].double().numpy()

    def read(self, model: nn.Module, target: Target, order: np.ndarray) -> np.ndarray:
        """The target at every fraction, moved to the mean and put back in this order: [2, fractions]."""
        rank = torch.empty(self.number + 1, device=self._unit.device, dtype=torch.long)
        rank[torch.as_tensor(order, device=rank.device)] = torch.arange(self.number, device=rank.device)
        rank[self.number] = self.number  # units that cannot be moved
        ranks = rank[self._place[self._unit]]
        counts = torch.tensor([round(fraction * self.number) for fraction in FRACTIONS], device=rank.device)
        first = ranks < counts[:, None]  # [fractions, cells]
        batch = torch.cat([torch.where(part, 0.0, self._values) for part in (first, ~first)])
        widths = [days * features for days, features in self._shapes]
        parts = [
            part.reshape(len(batch), *shape)
            for part, shape in zip(torch.split(batch, widths, dim=1), self._shapes, strict=True)
        ]
        with evaluating(model), torch.no_grad():
            found: np.ndarray = target(model(*parts)).double().cpu().numpy().reshape(2, len(FRACTIONS))
        return found


def _ends(model: nn.Module, inputs: Inputs, column: int | None = None) -> tuple[Target, float, float]:
    """The target, its value for a sample, and at the training mean."""
    with evaluating(model), torch.no_grad():
        output = model(*inputs)
        target = choose_target(model, output, column)
        base = target(model(*(torch.zeros_like(part) for part in inputs)))
        return target, float(target(output)[0]), float(base[0])


def _areas(curves: np.ndarray) -> np.ndarray:
    """Areas under curves [..., fractions]."""
    found: np.ndarray = np.trapezoid(curves, FRACTIONS, axis=-1)
    return found


def _table(
    curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    orders = _gap(random).sum(axis=0) / scale.sum()  # [orders]
    chance = random.mean(axis=1)  # [samples, 2, fractions]
    draws = rng.multinomial(len(scale), np.full(len(scale), 1 / len(scale)), size=_RESAMPLES)  # [draws, samples]
    rows = []
    for name, each in {**curves, "random": chance}.items():
        together = each.sum(axis=0) / scale.sum()  # [2, fractions]
        deletion, insertion = _areas(together)
        low = high = p = np.nan
        if name != "random":
            p = (1 + (orders >= insertion - deletion).sum()) / (1 + len(orders))
            if len(scale) > 1:
                low, high = np.quantile(draws @ (_gap(each) - _gap(chance)) / (draws @ scale), (0.025, 0.975))
        at = [FRACTIONS.index(one) for one in BINS]
        comprehensiveness, sufficiency = 1 - together[:, at].mean(axis=-1)
        verdict = "" if name == "random" else BETTER if p <= LEVEL and not low <= 0 else NO_BETTER
        numbers = (deletion, insertion, insertion - deletion, low, high, p, comprehensiveness, sufficiency)
        rows.append((name, *numbers, verdict))
    columns = ["ranking", "deletion", "insertion", "gap", "low", "high", "p", "comprehensiveness", "sufficiency"]
    return pd.DataFrame(rows, columns=[*columns, "verdict"]).sort_values("gap", ascending=False, ignore_index=True)


def _gap(curves: np.ndarray) -> np.ndarray:
    """Area of the insertion minus that of the deletion, [..., 2, fractions] -> [...]."""
    areas = _areas(curves)
    gap: np.ndarray = areas[..., 1] - areas[..., 0]
    return gap


def _curves(curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray) -> pd.DataFrame:
    orders = random.sum(axis=0) / scale.sum()  # [orders, 2, fractions]
    low, high = np.quantile(orders, (0.05, 0.95), axis=0)
    tables = []
    for name, each in {**curves, "random": random.mean(axis=1)}.items():
        together = each.sum(axis=0) / scale.sum()
        for number, kind in enumerate(("deletion", "insertion")):
            band = {"low": low[number], "high": high[number]} if name == "random" else {"low": np.nan, "high": np.nan}
            tables.append(
                pd.DataFrame({"ranking": name, "kind": kind, "fraction": FRACTIONS, "value": together[number], **band})
            )
    return pd.concat(tables, ignore_index=True)


def _randomised(model: nn.Module, seed: int) -> nn.Module:
    """A copy with fresh weights."""
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for module in fresh.modules():
            for name in ("reset_parameters", "_reset_parameters"):
                if hasattr(module, name):
                    getattr(module, name)()
    return fresh


def _spearman(scores: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Rank correlations; 0 with what ranks nothing."""
    return pd.DataFrame(scores).corr(method="spearman").fillna(0.0)
