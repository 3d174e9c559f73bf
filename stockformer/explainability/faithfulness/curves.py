"""Whether an explanation names what the prediction depends on.

What an explanation ranks first is taken out of the input, or is put alone into an
empty one, and the target is read again. Rankings that do not explain the prediction are measured beside it:
random orders, the size of the input, and a fixed linear formula.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.dataset import StockDataset
from stockformer.explainability.faithfulness.blocks import holm, ratio_test
from stockformer.explainability.faithfulness.rankings import (
    CELL_RANKINGS,
    REFERENCES,
    LinearFormula,
    Ranking,
    rank_by_size,
)
from stockformer.forward import in_eval_mode, without_gradients
from stockformer.inputs import Inputs
from stockformer.steps import Steps, run_to_end
from stockformer.targets import Target, explained

#: Shares of the input that are moved, of which the areas under the curves are taken.
FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Those that comprehensiveness and sufficiency are means over (DeYoung et al. 2020).
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
#: A ranking beats a reference where its corrected p is at most this.
LEVEL = 0.05
#: The verdicts on a ranking; ``BETTER.format(...)`` with one of the values of `REFERENCES`.
BETTER, NO_BETTER, UNMEASURED = "better than {}", "no better than random", "not measurable"

_ORDERS = 200
_TRAINING = 256
#: Those at which random orders are read, whose curves are smooth; symmetric, see `_random_curves`.
_COARSE = (0.0, 0.2, 0.5, 0.8, 1.0)
_PAIRS = 10  # of random orders in one batch


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How rankings compare with references that do not explain the prediction.

    The target's distance from its value at the training mean is 1 for the whole
    input and 0 for the mean, over all samples together: a sum over a sum, so that
    samples whose prediction hardly moves do not blow up.

    Attributes:
        table: one row per ranking and reference, the best first: ``ranking``; ``deletion``, the area under the curve
            while what ranks first is moved to the training mean (low is good);
            ``insertion``, the area while it is put back first (high is good);
            ``gap``, insertion - deletion; ``low, high``, the 95 % interval
            of the gap's distance from random's, see `ratio_test`, each by itself, NaN with fewer than two blocks;
            ``p``, of a gap no larger than random's: the share of random orders whose gap is as large, both from
            the five points at which these are read, at least ``1 / (1 + orders)``, or the p-value of `ratio_test`
            where that is larger;
            ``p_holm``, corrected for the number of rankings, see `holm`; ``comprehensiveness`` and
            ``sufficiency``, how far the target falls without what ranks
            first, and with it alone, means over `BINS`; ``verdict``, `BETTER` than the strongest of the references
            that it beats, `NO_BETTER` than random, or `UNMEASURED` where the target is not a number or never
            differs from that of the mean. With the same orders every column but ``p_holm`` and ``verdict`` is
            the same whichever other rankings are measured.
        curves: ``ranking, kind, fraction, value, low, high``; kind is ``deletion`` or
            ``insertion``. ``low`` and ``high`` are of the random orders, the middle 90 %.
        scores: ranking -> the scores of each sample, over the cells or days that can be moved, for the side of
            the training mean that its target is on.
        samples: how many.
        unit: ``cell`` or ``day``.
        blocks: how many blocks the samples are in.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    scores: Mapping[str, list[np.ndarray]]
    samples: int
    unit: str
    blocks: int

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
        mean: pd.DataFrame = sum(by_sample[1:], by_sample[0]) / len(by_sample)
        return mean

    def without(self, rankings: Sequence[str]) -> Faithfulness:
        """The same for the other rankings."""
        table, curves = (part[~part["ranking"].isin(rankings)] for part in (self.table, self.curves))
        scores = {name: each for name, each in self.scores.items() if name not in rankings}
        return replace(self, table=table.reset_index(drop=True), curves=curves.reset_index(drop=True), scores=scores)


def faithfulness_verdict(table: pd.DataFrame, ranking: str) -> str:
    """How far to trust a ranking of `Faithfulness.table`: a sentence with the areas.

    Raises:
        KeyError: there is no such ranking.
    """
    rows = table.set_index("ranking")
    row, chance = rows.loc[ranking], rows.loc["random"]
    name = ranking.replace("_", " ")
    if row["verdict"] == UNMEASURED:
        return f"{name} is {UNMEASURED}: the target is not a number, or never differs from that of the training mean."
    gaps = rows.loc[[other for other in REFERENCES if other in rows.index and other != ranking], "gap"]
    others = ", ".join(f"{other} {round(gap, 2) + 0.0:.2f}" for other, gap in gaps.items())  # + 0.0: no -0.00
    numbers = (
        f"deletion {row['deletion']:.2f} (random {chance['deletion']:.2f}), "
        f"insertion {row['insertion']:.2f} (random {chance['insertion']:.2f}), gap {row['gap']:.2f} ({others})"
    )
    worse = ", and not even as good" if row["gap"] < chance["gap"] else ""
    return f"{name} is {row['verdict']}{worse}: {numbers}."


def measure_faithfulness(
    model: nn.Module,
    samples: Sequence[Sequence[Tensor]],
    rankings: Mapping[str, Ranking] = CELL_RANKINGS,
    *,
    training: Sequence[Sequence[Tensor]] = (),
    blocks: Sequence[int] | np.ndarray | None = None,
    column: int | None = None,
    orders: int | None = None,
    seed: int = 0,
) -> Faithfulness:
    """Deletion and insertion curves of rankings and of what they should beat, with a progress bar.

    Beside the rankings are measured: random orders; ``|input|``, which does not ask the model; and, with training
    windows, ``fixed linear``, see `LinearFormula`. A ranking beats a reference where its gap is larger by a test
    over blocks of samples, and beats random where also few random orders have a gap as large. A random order is the
    same for every sample, so that a ranking that is fixed for all of them is judged beside its like. P-values
    are corrected for the number of rankings; a ranking that does not beat one reference is not compared with
    a stronger one.

    Cells that are at the training mean already, such as those of features without
    data, cannot be moved and have no rank. Where a sample's target is lower than that
    of the training mean, its negative is explained: high scores speak for the way from the mean to the sample.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        samples: each a sample's inputs, [1, T, features]; their training mean is 0 unless they are `Inputs` with
            another, as those of `spread_windows` are.
        rankings: name -> scores of a sample. All rank cells, or all rank days. None has the name of a reference.
        training: inputs of the training windows from which the fixed linear formula is made, all of one shape.
        blocks: the block of each sample, see `calendar_blocks`: samples that depend on each other are in
            one block. By default the samples are taken as independent.
        column: of the output, see `choose_target`.
        orders: how many random orders, rounded up to an even number; by default 200, or more where there are so
            many rankings that no corrected p-value could be below 0.05.
        seed: of the random orders and of the order of equal scores.

    Raises:
        ValueError: no samples or no rankings, another number of blocks than of samples, too few orders for a
            corrected p-value below 0.05, scores of another shape, or rankings of cells and of days together.
    """
    steps = faithfulness_steps(
        model, samples, rankings, training=training, blocks=blocks, column=column, orders=orders, seed=seed
    )
    return run_to_end(steps, "faithfulness")


def faithfulness_steps(
    model: nn.Module,
    samples: Sequence[Sequence[Tensor]],
    rankings: Mapping[str, Ranking] = CELL_RANKINGS,
    *,
    training: Sequence[Sequence[Tensor]] = (),
    blocks: Sequence[int] | np.ndarray | None = None,
    column: int | None = None,
    orders: int | None = None,
    seed: int = 0,
) -> Steps[Faithfulness]:
    """`measure_faithfulness` in steps."""
    if not len(samples):
        raise ValueError("there are no samples to measure on")
    if not rankings or not REFERENCES.keys().isdisjoint(rankings):
        names = ", ".join(REFERENCES)
        raise ValueError(f"expected rankings to measure, none of them called {names}; found {[*rankings]}")
    references: dict[str, Ranking] = {"|input|": rank_by_size}
    if len(training):
        references["fixed linear"] = LinearFormula(training)
    pairs = _pairs(orders, len(rankings) + len(references))
    blocks = np.arange(len(samples)) if blocks is None else np.asarray(blocks)
    if blocks.shape != (len(samples),):
        raise ValueError(f"there are {len(blocks)} blocks for {len(samples)} samples, expected one each")
    curves: dict[str, list[np.ndarray]] = {name: [] for name in (*rankings, *references)}  # each [2, fractions]
    scores: dict[str, list[np.ndarray]] = {name: [] for name in curves}
    random: list[np.ndarray] = []  # each [orders, 2, coarse fractions]
    scales: list[float] = []
    total, done = len(samples) * (len(curves) + math.ceil(pairs / _PAIRS)), 0
    unit = ""
    for sample, inputs in enumerate(map(Inputs, samples)):
        target, value, base = _ends(model, inputs, column)
        scales.append(value - base)
        for name, rank in (*rankings.items(), *references.items()):
            given = rank(model, inputs, target)
            if name in references and unit == "day":
                given = [part.sum(dim=-1) for part in given]
            movable = _Movable(inputs, by_day=given[0].dim() == 1)
            if unit not in ("", movable.unit):
                raise ValueError("some rankings are of cells and some of days: measure them apart")
            unit = movable.unit
            scores[name].append(movable.scores(name, given))
            ties = np.random.default_rng([seed, zlib.crc32(name.encode()), sample])
            ranked = np.lexsort((ties.permutation(movable.number), -scores[name][-1]))
            curves[name].append(movable.read(model, target, ranked[None], FRACTIONS)[0] - base)
            done += 1
            yield done / total
        drawn = []
        for part in _random_curves(movable, model, target, pairs, seed):
            drawn.append(part - base)
            done += 1
            yield done / total
        random.append(_with_ends(np.concatenate(drawn), value - base))
    by_name = {name: np.stack(each) for name, each in curves.items()}  # [samples, 2, fractions]
    together = np.stack(random)  # [samples, orders, 2, coarse fractions]
    scale = np.array(scales)
    return Faithfulness(
        faithfulness_table(by_name, together, scale, blocks),
        _curves(by_name, together, scale),
        scores,
        len(samples),
        unit,
        len(np.unique(blocks)),
    )


def _pairs(orders: int | None, rankings: int) -> int:
    """How many pairs of a random order and its reverse."""
    fewest = math.ceil(rankings / LEVEL) - 1
    if orders is None:
        orders = max(_ORDERS, fewest)
    elif orders < fewest:
        raise ValueError(f"orders is {orders}, expected at least {fewest} for {rankings} rankings with the references")
    return math.ceil(orders / 2)


def spread_windows(dataset: StockDataset, number: int) -> list[Inputs]:
    """Inputs of the windows of `spread_indices`."""
    return [dataset.window(index).inputs for index in spread_indices(dataset, number)]


def spread_indices(dataset: StockDataset, number: int) -> list[int]:
    """Indices of so many windows of a dataset, evenly spaced from the first to the last.

    Raises:
        ValueError: the dataset has fewer.
    """
    if not isinstance(number, Integral) or not 1 <= number <= len(dataset):
        raise ValueError(f"windows is {number!r}, expected 1 to {len(dataset)}")
    return _spread(np.arange(len(dataset)), int(number))


def training_windows(dataset: StockDataset) -> list[Inputs]:
    """Inputs of up to 256 windows that end in the training period, evenly spaced."""
    training = np.flatnonzero(dataset.end_dates <= dataset.train_end)
    return [dataset.window(index).inputs for index in _spread(training, min(_TRAINING, len(training)))]


def _spread(indices: np.ndarray, number: int) -> list[int]:
    return [int(index) for index in indices[np.linspace(0, len(indices) - 1, number).round().astype(int)]]


class _Movable:
    """The cells or days of a sample that are not at the training mean."""

    def __init__(self, inputs: Inputs, by_day: bool) -> None:
        self.unit = "day" if by_day else "cell"
        self._shapes = [part.shape[1:] for part in inputs]
        self._values, self._means = (
            torch.cat([part.detach().flatten() for part in parts]) for parts in (inputs, inputs.baseline)
        )
        moved = self._values != self._means
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

    def random_order(self, rng: np.random.Generator) -> np.ndarray:
        """Of the units that can be moved, by a random number for every unit: [number]."""
        order: np.ndarray = rng.random(len(self._place))[self._units.cpu()].argsort()
        return order

    def read(self, model: nn.Module, target: Target, orders: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
        """The target where the first units of an order are moved to the mean, and where all others are.

        Args:
            orders: each all units that can be moved, [orders, number].
            fractions: how many units are the first.

        Returns:
            [orders, 2, fractions].
        """
        device = self._unit.device
        # The last place is for units that cannot be moved.
        rank = torch.full((len(orders), self.number + 1), self.number, device=device)
        places = torch.arange(self.number, device=device).expand(len(orders), -1)
        rank[:, : self.number].scatter_(1, torch.as_tensor(orders, device=device), places)
        ranks = rank[:, self._place[self._unit]]
        counts = torch.tensor([round(fraction * self.number) for fraction in fractions], device=device)
        first = ranks[:, None, :] < counts[:, None]  # [orders, fractions, cells]
        batch = torch.where(torch.stack([first, ~first], dim=1), self._means, self._values).flatten(end_dim=2)
        widths = [days * features for days, features in self._shapes]
        parts = [
            part.reshape(len(batch), *shape)
            for part, shape in zip(torch.split(batch, widths, dim=1), self._shapes, strict=True)
        ]
        with without_gradients():
            values: np.ndarray = target(in_eval_mode(model)(*parts)).double().cpu().numpy()
        return values.reshape(len(orders), 2, len(fractions))


def _random_curves(movable: _Movable, model: nn.Module, target: Target, pairs: int, seed: int) -> Iterator[np.ndarray]:
    """The target along random orders and their reverses, at the inner fractions of `_COARSE`: [orders, 2, fractions].

    What is left when the first units of an order are taken out are the first ones of its reverse. So both orders are
    read from the same passes, and the gap of one is the negative of the other's: the mean of random gaps is 0.
    """
    orders = np.stack([movable.random_order(np.random.default_rng([seed, pair])) for pair in range(pairs)])
    for start in range(0, pairs, _PAIRS):
        forwards = movable.read(model, target, orders[start : start + _PAIRS], _COARSE[1:-1])
        yield np.stack([forwards, forwards[:, ::-1, ::-1]], axis=1).reshape(-1, *forwards.shape[1:])


def _with_ends(curves: np.ndarray, scale: float) -> np.ndarray:
    """Curves with nothing and with everything moved, [orders, 2, inner fractions] -> [orders, 2, fractions]."""
    start, end = (np.broadcast_to(ends, curves.shape[:2])[..., None] for ends in ([scale, 0.0], [0.0, scale]))
    whole: np.ndarray = np.concatenate([start, curves, end], axis=-1)
    return whole


def _ends(model: nn.Module, inputs: Inputs, column: int | None) -> tuple[Target, float, float]:
    """The target or its negative, its value for a sample, and at the training mean, which is not the larger one."""
    target, value = explained(model, *inputs, column=column)
    _, base = explained(model, *inputs.baseline, target=target)
    return (target.turned(), -value, -base) if value < base else (target, value, base)


def _areas(curves: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Areas under curves [..., fractions]."""
    areas: np.ndarray = np.trapezoid(curves, fractions, axis=-1)
    return areas


def _on_fractions(coarse: np.ndarray) -> np.ndarray:
    """Curves [..., coarse fractions] in straight lines between their points: [..., fractions]."""
    linear = np.stack([np.interp(FRACTIONS, _COARSE, one) for one in np.eye(len(_COARSE))])
    curves: np.ndarray = coarse @ linear
    return curves


def faithfulness_table(
    curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray, blocks: np.ndarray
) -> pd.DataFrame:
    """`Faithfulness.table` of curves as the target's distance from its value at the mean.

    Args:
        curves: name -> [samples, 2, fractions].
        random: of random orders, at fewer fractions, [samples, orders, 2, coarse fractions].
        scale: the distance of the whole input, [samples].
        blocks: of the samples, [samples].
    """
    orders = _gap(_over(random, scale), _COARSE)  # [orders]
    coarse, bins = ([FRACTIONS.index(one) for one in some] for some in (_COARSE, BINS))
    rows = []
    for name, each in {**curves, "random": _on_fractions(random.mean(axis=1))}.items():
        together = _over(each, scale)  # [2, fractions]
        deletion, insertion = _areas(together, FRACTIONS)
        low = high = p = np.nan
        if name != "random" and np.isfinite(together).all():
            low, high, by_block = ratio_test(_gap(each, FRACTIONS), scale, blocks)
            # An order that is the ranking's own is as good, whatever the last bits say.
            by_order = (1 + (orders > _gap(together[:, coarse], _COARSE) - 1e-6).sum()) / (1 + len(orders))
            p = np.fmax(by_order, by_block)
        comprehensiveness, sufficiency = 1 - together[:, bins].mean(axis=-1)
        gap = insertion - deletion
        if name == "random" and np.isfinite(gap):
            gap = 0.0  # of orders and their reverses: only rounding is left
        rows.append((name, deletion, insertion, gap, low, high, p, comprehensiveness, sufficiency))
    columns = ["ranking", "deletion", "insertion", "gap", "low", "high", "p", "comprehensiveness", "sufficiency"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(columns.index("p") + 1, "p_holm", holm(table["p"].to_numpy()))
    gaps = {name: _gap(each, FRACTIONS) for name, each in curves.items()}
    table["verdict"] = table["ranking"].map(_verdicts(table.set_index("ranking"), gaps, scale, blocks))
    return table.sort_values("gap", ascending=False, ignore_index=True)


def _verdicts(
    rows: pd.DataFrame, gaps: Mapping[str, np.ndarray], scale: np.ndarray, blocks: np.ndarray
) -> dict[str, str]:
    """The verdict of every row. References are compared with from the weakest, for as long as they are beaten."""
    verdicts = {str(name): UNMEASURED if np.isnan(p) else NO_BETTER for name, p in rows["p"].items()}
    corrected = rows["p_holm"].to_dict()
    better = [name for name in gaps if corrected[name] <= LEVEL]
    verdicts |= {name: BETTER.format("random") for name in better} | {"random": ""}
    references = rows.loc[rows.index.isin(REFERENCES), "gap"].sort_values()
    for reference in references.index[references > references["random"]]:
        p = [
            np.nan if name == reference else ratio_test(gap - gaps[reference], scale, blocks).p
            for name, gap in gaps.items()
        ]
        corrected = dict(zip(gaps, holm(np.array(p)), strict=True))
        better = [name for name in better if corrected[name] <= LEVEL]
        verdicts |= {name: BETTER.format(REFERENCES[reference]) for name in better}
    return verdicts


def _over(curves: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Curves [samples, ...] of all samples together, as a share; NaN or infinite where there is nothing to share."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = curves.sum(axis=0) / scale.sum()
    return found


def _gap(curves: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Area of the insertion minus that of the deletion, [..., 2, fractions] -> [...]."""
    areas = _areas(curves, fractions)
    gap: np.ndarray = areas[..., 1] - areas[..., 0]
    return gap


def _curves(curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray) -> pd.DataFrame:
    orders = _over(random, scale)  # [orders, 2, coarse fractions]
    low, high = _on_fractions(np.quantile(orders, (0.05, 0.95), axis=0))
    tables = []
    for name, each in {**curves, "random": _on_fractions(random.mean(axis=1))}.items():
        together = _over(each, scale)
        for number, kind in enumerate(("deletion", "insertion")):
            band = {"low": low[number], "high": high[number]} if name == "random" else {"low": np.nan, "high": np.nan}
            tables.append(
                pd.DataFrame({"ranking": name, "kind": kind, "fraction": FRACTIONS, "value": together[number], **band})
            )
    return pd.concat(tables, ignore_index=True)
