"""Whether an explanation names what the prediction hangs on.

What an explanation ranks first is taken out of the input, or is put alone into an
empty one, and the target is read again. A ranking that knows nothing does as
well as a random one, which is measured beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.dataset import StockDataset
from stockformer.explainability.rankings import CELL_RANKINGS, Inputs, Ranking
from stockformer.explainability.steps import Steps, run_to_end
from stockformer.explainability.targets import Target, explained
from stockformer.forward import in_eval_mode

#: Shares of the input that are moved, of which the areas under the curves are taken.
FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Those that comprehensiveness and sufficiency are means over (DeYoung et al. 2020).
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
#: A ranking is better than random where at most this share of random orders does as well.
LEVEL = 0.05
#: The verdicts on a ranking.
BETTER, NO_BETTER, UNMEASURED = "better than random", "no better than random", "not measurable"

_ORDERS = 20
_RESAMPLES = 2000


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
            where p is at most `LEVEL` and the interval above 0, else `NO_BETTER`; `UNMEASURED`
            where the target is no number or never differs from that of the mean.
        curves: ``ranking, kind, fraction, value, low, high``; kind is ``deletion`` or
            ``insertion``. ``low`` and ``high`` are of the random orders, the middle 90 %.
        scores: ranking -> the scores of each sample, over the cells or days that can be moved, for the side of
            the training mean that its target is on.
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
        """Spearman correlation between the rankings, 0 with one that ranks nothing; mean over the samples."""
        by_sample = [
            pd.DataFrame(dict(zip(self.scores, each, strict=True))).corr(method="spearman").fillna(0.0)
            for each in zip(*self.scores.values(), strict=True)
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
    if row["verdict"] == UNMEASURED:
        return f"{name} is {UNMEASURED}: the target is no number, or never differs from that of the training mean."
    numbers = (
        f"deletion {row['deletion']:.2f} (random {chance['deletion']:.2f}), "
        f"insertion {row['insertion']:.2f} (random {chance['insertion']:.2f})"
    )
    worse = ", and not even as good" if row["gap"] < chance["gap"] else ""
    return f"{name} is {row['verdict']}{worse}: {numbers}."


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
    data, cannot be moved and have no rank. Where a sample's target is lower than that
    of the training mean, its negative is explained: high scores speak for the way from the mean to the sample.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        samples: each a sample's normalised inputs, [1, T, features].
        rankings: name -> scores of a sample. All rank cells, or all rank days. None is called random.
        column: of the output, see `choose_target`.
        orders: how many random orders a sample.
        seed: of the random orders, of the order of equal scores and of the bootstrap.

    Raises:
        ValueError: no samples or no rankings, fewer than 19 orders (no p-value could be below 0.05), scores of
            another shape, or rankings of cells and of days together.
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
) -> Steps[Faithfulness]:
    """`measure_faithfulness` in steps."""
    if not len(samples):
        raise ValueError("there are no samples to measure on")
    if not rankings or "random" in rankings:
        raise ValueError(f"expected rankings to measure, none of them called random, found {[*rankings]}")
    if orders < 1 / LEVEL - 1:
        raise ValueError(f"orders is {orders}, expected at least {1 / LEVEL - 1:.0f}")
    rng, ties = (np.random.default_rng([seed, number]) for number in range(2))
    curves: dict[str, list[np.ndarray]] = {name: [] for name in rankings}  # each [2, fractions]
    scores: dict[str, list[np.ndarray]] = {name: [] for name in rankings}
    chance: list[np.ndarray] = []  # each [orders, 2, fractions]
    scales: list[float] = []
    unit: set[str] = set()
    total, done = len(samples) * (len(rankings) + 1), 0
    for inputs in samples:
        target, value, base = _ends(model, inputs, column)
        scales.append(value - base)
        for name, rank in rankings.items():
            given = rank(model, inputs, target)
            movable = _Movable(inputs, by_day=given[0].dim() == 1)
            unit.add(movable.unit)
            if len(unit) > 1:
                raise ValueError("some rankings are of cells and some of days: measure them apart")
            scores[name].append(movable.scores(name, given))
            ranked = np.lexsort((ties.permutation(movable.number), -scores[name][-1]))
            curves[name].append(movable.read(model, target, ranked) - base)
            done += 1
            yield done / total
        drawn = [movable.read(model, target, rng.permutation(movable.number)) for _ in range(orders)]
        chance.append(np.stack(drawn) - base)
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
        unit.pop(),
    )


def spread_windows(dataset: StockDataset, number: int) -> list[Inputs]:
    """Inputs of so many windows of a dataset, evenly spaced from the first to the last.

    Raises:
        ValueError: the dataset has fewer.
    """
    if not isinstance(number, Integral) or not 1 <= number <= len(dataset):
        raise ValueError(f"windows is {number!r}, expected 1 to {len(dataset)}")
    indices = np.linspace(0, len(dataset) - 1, int(number)).round()
    return [dataset.window(int(index)).inputs for index in indices]


class _Movable:
    """The cells or days of a sample that are not at the training mean."""

    def __init__(self, inputs: Inputs, by_day: bool) -> None:
        self.unit = "day" if by_day else "cell"
        self._shapes = [part.shape[1:] for part in inputs]
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

    def scores(self, ranking: str, given: Sequence[Tensor]) -> np.ndarray:
        """Of the units that can be moved, [number]."""
        wanted = [list(shape[: given[0].dim()]) for shape in self._shapes]
        if (found := [list(part.shape) for part in given]) != wanted:
            raise ValueError(f"{ranking} gives scores of shapes {found}, expected {wanted}")
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
        with torch.no_grad():
            found: np.ndarray = target(in_eval_mode(model)(*parts)).double().cpu().numpy().reshape(2, len(FRACTIONS))
        return found


def _ends(model: nn.Module, inputs: Inputs, column: int | None) -> tuple[Target, float, float]:
    """The target or its negative, its value for a sample, and at the training mean, which is not the larger one."""
    target, value = explained(model, *inputs, column=column)
    _, base = explained(model, *(torch.zeros_like(part) for part in inputs), target=target)
    return (target.turned(), -value, -base) if value < base else (target, value, base)


def _areas(curves: np.ndarray) -> np.ndarray:
    """Areas under curves [..., fractions]."""
    found: np.ndarray = np.trapezoid(curves, FRACTIONS, axis=-1)
    return found


def _table(
    curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    orders = _gap(_over(random, scale))  # [orders]
    chance = random.mean(axis=1)  # [samples, 2, fractions]
    draws = rng.multinomial(len(scale), np.full(len(scale), 1 / len(scale)), size=_RESAMPLES)  # [draws, samples]
    rows = []
    for name, each in {**curves, "random": chance}.items():
        together = _over(each, scale)  # [2, fractions]
        deletion, insertion = _areas(together)
        low = high = p = np.nan
        verdict = "" if name == "random" else UNMEASURED
        if name != "random" and np.isfinite(together).all():
            # An order that is the ranking's own is as good, whatever the last bits say.
            p = (1 + (orders > insertion - deletion - 1e-6).sum()) / (1 + len(orders))
            if len(scale) > 1:
                low, high = np.quantile(draws @ (_gap(each) - _gap(chance)) / (draws @ scale), (0.025, 0.975))
            verdict = BETTER if p <= LEVEL and (len(scale) == 1 or low > 0) else NO_BETTER
        at = [FRACTIONS.index(one) for one in BINS]
        comprehensiveness, sufficiency = 1 - together[:, at].mean(axis=-1)
        numbers = (deletion, insertion, insertion - deletion, low, high, p, comprehensiveness, sufficiency)
        rows.append((name, *numbers, verdict))
    columns = ["ranking", "deletion", "insertion", "gap", "low", "high", "p", "comprehensiveness", "sufficiency"]
    return pd.DataFrame(rows, columns=[*columns, "verdict"]).sort_values("gap", ascending=False, ignore_index=True)


def _over(curves: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Curves [samples, ...] of all samples together, as a share; NaN or infinite where there is nothing to share."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = curves.sum(axis=0) / scale.sum()
    return found


def _gap(curves: np.ndarray) -> np.ndarray:
    """Area of the insertion minus that of the deletion, [..., 2, fractions] -> [...]."""
    areas = _areas(curves)
    gap: np.ndarray = areas[..., 1] - areas[..., 0]
    return gap


def _curves(curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray) -> pd.DataFrame:
    orders = _over(random, scale)  # [orders, 2, fractions]
    low, high = np.quantile(orders, (0.05, 0.95), axis=0)
    tables = []
    for name, each in {**curves, "random": random.mean(axis=1)}.items():
        together = _over(each, scale)
        for number, kind in enumerate(("deletion", "insertion")):
            band = {"low": low[number], "high": high[number]} if name == "random" else {"low": np.nan, "high": np.nan}
            tables.append(
                pd.DataFrame({"ranking": name, "kind": kind, "fraction": FRACTIONS, "value": together[number], **band})
            )
    return pd.concat(tables, ignore_index=True)
