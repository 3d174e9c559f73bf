"""Faithfulness: whether an explanation ranks first what the prediction depends on.

The cells that an explanation ranks first are removed from the input, or inserted alone into an
empty one, and the target is computed again. Empty is the training mean, and in a second measurement another window of
the same ticker, which, unlike the mean, is an input that occurs. References that do not explain the prediction are
measured too: random orders, the size of the input, and a fixed linear formula.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

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
from stockformer.steps import Steps, part_of, run_to_end
from stockformer.targets import Target, explained
from stockformer.workers import Engine, chunk_steps

#: Shares of the input that are moved, over which the areas under the curves are taken.
FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Shares that comprehensiveness and sufficiency are means over (DeYoung et al. 2020).
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
#: A ranking beats a reference where its corrected p is at most this.
LEVEL = 0.05
#: The verdicts on a ranking; ``BETTER.format(...)`` with one of the values of `REFERENCES`.
BETTER, NO_BETTER, UNMEASURED = "better than {}", "no better than random", "not measurable"

_ORDERS = 200
_TRAINING = 256
#: Shares at which random orders are read, whose curves are smooth; symmetric, see `_random_curves`.
_COARSE = (0.0, 0.2, 0.5, 0.8, 1.0)
_PAIRS = 10  # of random orders in one batch
#: Replacements for removed cells.
REMOVALS = ("training mean", "other windows")


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
        samples: number of samples.
        unit: ``cell`` or ``day``.
        blocks: number of blocks that the samples are in.
        second: the same with values of other windows in place of the training mean, the mean over the windows
            drawn for each sample; None where there were none.
        note: why there is no second measurement, in a sentence; else empty.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    scores: Mapping[str, list[np.ndarray]]
    samples: int
    unit: str
    blocks: int
    second: Faithfulness | None = None
    note: str = ""

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
        second = None if self.second is None else self.second.without(rankings)
        table, curves = (part.reset_index(drop=True) for part in (table, curves))
        return replace(self, table=table, curves=curves, scores=scores, second=second)


def faithfulness_verdict(table: pd.DataFrame, ranking: str, second: pd.DataFrame | None = None) -> str:
    """The faithfulness of a ranking of `Faithfulness.table`: a sentence with the areas.

    Args:
        second: the table of the second measurement, with other windows; then a further sentence says whether the two
            agree, which they do where they beat the same reference.

    Raises:
        KeyError: there is no such ranking.
    """
    rows = table.set_index("ranking")
    verdict, name = rows["verdict"][ranking], ranking.replace("_", " ")
    if verdict == UNMEASURED:
        sentence = f"{name} is {UNMEASURED}: {_NOTHING.format('the training mean')}."
    else:
        sentence = (
            f"{name} is {_placed(rows, ranking)}: "
            f"deletion {rows['deletion'][ranking]:.2f} (random {rows['deletion']['random']:.2f}), "
            f"insertion {rows['insertion'][ranking]:.2f} (random {rows['insertion']['random']:.2f}), "
            f"{_gaps(rows, ranking)}."
        )
    if second is None:
        return sentence
    others = second.set_index("ranking")
    other, words = others["verdict"][ranking], _placed(others, ranking)
    agree = "agree" if other == verdict else "disagree"
    numbers = "" if other == UNMEASURED else f", {_gaps(others, ranking)}"
    return f"{sentence} With other windows in place of the training mean it is {words}{numbers}: the two {agree}."


_NOTHING = "the target is not a number, or never differs from that of {}"


def _placed(rows: pd.DataFrame, ranking: str) -> str:
    """A verdict, and whether the gap is below that of random orders."""
    gaps = rows["gap"]
    return f"{rows['verdict'][ranking]}{', and not even as good' if gaps[ranking] < gaps['random'] else ''}"


def _gaps(rows: pd.DataFrame, ranking: str) -> str:
    """The gap of a ranking, and those of the references."""
    gaps = rows["gap"]
    names = [other for other in REFERENCES if other in rows.index and other != ranking]
    others = ", ".join(f"{other} {round(gaps[other], 2) + 0.0:.2f}" for other in names)  # + 0.0: no -0.00
    return f"gap {gaps[ranking]:.2f} ({others})"


def measure_faithfulness(
    model: nn.Module,
    samples: Sequence[Sequence[Tensor]],
    rankings: Mapping[str, Ranking] = CELL_RANKINGS,
    *,
    training: Sequence[Sequence[Tensor]] = (),
    others: Sequence[Sequence[Sequence[Tensor]]] = (),
    blocks: Sequence[int] | np.ndarray | None = None,
    column: int | None = None,
    orders: int | None = None,
    seed: int = 0,
    engine: Engine = None,
) -> Faithfulness:
    """Deletion and insertion curves of rankings and of what they should beat, with a progress bar.

    References are measured too: random orders; ``|input|``, which ignores the model; and, with training windows,
    ``fixed linear``, see `LinearFormula`. A ranking beats a reference where its gap is larger by a test over blocks of
    samples, and beats random where, in addition, few random orders have a gap as large. A random order is the same for
    every sample, so that a ranking that is the same for all of them is compared with its like. P-values are corrected
    for the number of rankings; a ranking that does not beat one reference is not compared with a stronger one.

    Cells that are at the training mean already, such as those of features without
    data, cannot be moved and have no rank. Where a sample's target is lower than that
    of the training mean, its negative is explained: high scores speak for the way from the mean to the sample.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        samples: each a sample's inputs, [1, T, features]; their training mean is 0 unless they are `Inputs` with
            another, as those of `spread_windows` are.
        rankings: name -> scores of a sample. All rank cells, or all rank days. None has the name of a reference.
        training: inputs of the training windows from which the fixed linear formula is made, all of one shape.
        others: for each sample, inputs of other windows, see `other_windows`, for a second measurement in which their
            values are put in place of what is taken out, in the same cells. Curves of rankings are means over
            them; each pair of a random order and its reverse is read with one of them, in turn, so that the gaps of
            random orders vary more than those of rankings do.
        blocks: the block of each sample, see `calendar_blocks`: samples that depend on each other are in
            one block. By default the samples are taken as independent.
        column: of the output, see `choose_target`.
        orders: how many random orders, rounded up to an even number; by default 200, or more where there are so
            many rankings that no corrected p-value could be below 0.05.
        seed: of the random orders and of the order of equal scores.
        engine: what measures the samples, each as one chunk, see `stockformer.workers.run_chunks`.

    Raises:
        ValueError: no samples or no rankings, not one block or list of other windows per sample, another window or
            scores of the wrong shape, too few orders for a corrected p-value below 0.05, or rankings of cells and of
            days together.
    """
    options: dict[str, Any] = {"training": training, "others": others, "blocks": blocks, "column": column}
    steps = faithfulness_steps(model, samples, rankings, **options, orders=orders, seed=seed, engine=engine)
    return run_to_end(steps, "faithfulness")


def faithfulness_steps(
    model: nn.Module,
    samples: Sequence[Sequence[Tensor]],
    rankings: Mapping[str, Ranking] = CELL_RANKINGS,
    *,
    training: Sequence[Sequence[Tensor]] = (),
    others: Sequence[Sequence[Sequence[Tensor]]] = (),
    blocks: Sequence[int] | np.ndarray | None = None,
    column: int | None = None,
    orders: int | None = None,
    seed: int = 0,
    engine: Engine = None,
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
    if len(others) not in (0, len(samples)):
        raise ValueError(f"there are other windows for {len(others)} of {len(samples)} samples, expected some for each")

    def sample_at(place: int) -> _Sample:
        inputs = Inputs(samples[place])
        second = [_checked(others[place], inputs, place)] if len(others) else []
        return _Sample(place, inputs, [[inputs.baseline], *second])

    reader = _Reader({**rankings, **references}, pairs, seed, column)
    read = yield from chunk_steps(reader, model, sample_at, len(samples), engine)
    first, *more = (_result(curves, blocks) for curves in zip(*read, strict=True))
    return replace(first, second=more[0] if more else None)


def _checked(others: Sequence[Sequence[Tensor]], inputs: Inputs, sample: int) -> Sequence[Sequence[Tensor]]:
    if not len(others):
        raise ValueError(f"there is no other window for sample {sample} of those to measure, expected at least one")
    for other in others:
        shapes, expected = ([list(part.shape) for part in each] for each in (other, inputs))
        if shapes != expected:
            raise ValueError(f"another window for sample {sample} has inputs {shapes}, expected {expected}")
    return others


class _Scores:
    """Scores of a sample by ranking, for a target and for its negative."""

    def __init__(self, model: nn.Module, inputs: Inputs, rankings: Mapping[str, Ranking]) -> None:
        self._model, self._inputs, self._rankings = model, inputs, rankings
        self._scores: dict[tuple[str, Target], Sequence[Tensor]] = {}

    def __call__(self, name: str, target: Target) -> Sequence[Tensor]:
        if (name, target) not in self._scores:
            self._scores[name, target] = self._rankings[name](self._model, self._inputs, target)
        return self._scores[name, target]


@dataclass(frozen=True, eq=False)
class _Sample:
    """One sample to measure.

    Attributes:
        place: its place among the samples.
        inputs: each [1, T, features].
        replacements: for each of `REMOVALS`, inputs whose values replace those of removed cells.
    """

    place: int
    inputs: Inputs
    replacements: Sequence[Sequence[Sequence[Tensor]]]


@dataclass(frozen=True, eq=False)
class _Curves:
    """Curves of a sample as the target's distance from its base, with one of `REMOVALS`.

    Attributes:
        by_ranking: [2, fractions].
        scores: by ranking, those of the units that can be moved.
        random: of random orders, [orders, 2, coarse fractions].
        scale: the distance of the whole input.
        unit: ``cell`` or ``day``.
    """

    by_ranking: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]
    random: np.ndarray
    scale: float
    unit: str


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads the curves of a sample, on any worker.

    Attributes:
        pairs: of random orders.
        seed, column: see `measure_faithfulness`.
    """

    rankings: Mapping[str, Ranking]
    pairs: int
    seed: int
    column: int | None

    def __call__(self, model: nn.Module, sample: _Sample) -> Steps[list[_Curves]]:
        """The curves for each kind of replacement."""
        scores = _Scores(model, sample.inputs, self.rankings)
        curves = []
        for kind, replacements in enumerate(sample.replacements):
            steps = self._read(model, sample, replacements, scores)
            curves.append((yield from part_of(steps, kind, len(sample.replacements))))
        return curves

    def _read(
        self, model: nn.Module, sample: _Sample, replacements: Sequence[Sequence[Tensor]], scores: _Scores
    ) -> Steps[_Curves]:
        """A step for each ranking and each batch of random orders."""
        steps = len(self.rankings) + math.ceil(self.pairs / _PAIRS)
        target, value, bases = _ends(model, sample.inputs, replacements, self.column)
        by_ranking, ranked, unit = {}, {}, ""
        for done, name in enumerate(self.rankings, 1):
            values = scores(name, target)
            if name in REFERENCES and unit == "day":
                values = [part.sum(dim=-1) for part in values]
            movable = _Movable(sample.inputs, replacements, by_day=values[0].dim() == 1)
            if unit not in ("", movable.unit):
                raise ValueError("some rankings are of cells and some of days: measure them separately")
            unit = movable.unit
            ranked[name] = movable.scores(name, values)
            ties = np.random.default_rng([self.seed, zlib.crc32(name.encode()), sample.place])
            order = np.lexsort((ties.permutation(movable.number), -ranked[name]))
            drawn = [movable.read(model, target, order[None], FRACTIONS, draw)[0] for draw in range(len(bases))]
            by_ranking[name] = np.mean(drawn, axis=0) - bases.mean()
            yield done / steps
        random, scale = [], value - bases.mean()
        for part in _random_curves(movable, model, target, self.pairs, self.seed, bases):
            random.append(part)
            yield (len(by_ranking) + len(random)) / steps
        return _Curves(by_ranking, ranked, _with_ends(np.concatenate(random), scale), scale, unit)


def _result(samples: Sequence[_Curves], blocks: np.ndarray) -> Faithfulness:
    names = list(samples[0].by_ranking)
    curves = {name: np.stack([one.by_ranking[name] for one in samples]) for name in names}  # [samples, 2, fractions]
    random = np.stack([one.random for one in samples])  # [samples, orders, 2, coarse fractions]
    scale = np.array([one.scale for one in samples])
    return Faithfulness(
        faithfulness_table(curves, random, scale, blocks),
        _curves(curves, random, scale),
        {name: [one.scores[name] for one in samples] for name in names},
        len(samples),
        samples[0].unit,
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
    """Indices of `number` windows of a dataset, evenly spaced from the first to the last.

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
    """The cells or days of a sample that can be replaced: those where any replacement differs from it."""

    def __init__(self, inputs: Inputs, replacements: Sequence[Sequence[Tensor]], by_day: bool) -> None:
        self.unit = "day" if by_day else "cell"
        self._shapes = [part.shape[1:] for part in inputs]
        self._values, *self._others = (
            torch.cat([part.detach().flatten() for part in parts]) for parts in (inputs, *replacements)
        )
        moved = (self._values != torch.stack(self._others)).any(dim=0)
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

    def scores(self, ranking: str, values: Sequence[Tensor]) -> np.ndarray:
        """Of the units that can be moved, [number]."""
        wanted = [list(shape[: values[0].dim()]) for shape in self._shapes]
        if (shapes := [list(part.shape) for part in values]) != wanted:
            raise ValueError(f"{ranking} gives scores of shapes {shapes}, expected {wanted}")
        flat = torch.cat([part.flatten() for part in values]).cpu()
        return flat[self._units.cpu()].double().numpy()

    def random_order(self, rng: np.random.Generator) -> np.ndarray:
        """Of the units that can be moved, by a random number for every unit: [number]."""
        order: np.ndarray = rng.random(len(self._place))[self._units.cpu()].argsort()
        return order

    def read(
        self, model: nn.Module, target: Target, orders: np.ndarray, fractions: Sequence[float], draw: int
    ) -> np.ndarray:
        """The target where the first units of an order are replaced, and where all others are.

        Args:
            orders: each all units that can be replaced, [orders, number].
            fractions: how many units are the first.
            draw: by which replacement.

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
        batch = torch.where(torch.stack([first, ~first], dim=1), self._others[draw], self._values).flatten(end_dim=2)
        widths = [days * features for days, features in self._shapes]
        parts = [
            part.reshape(len(batch), *shape)
            for part, shape in zip(torch.split(batch, widths, dim=1), self._shapes, strict=True)
        ]
        with without_gradients():
            values: np.ndarray = target(in_eval_mode(model)(*parts)).double().cpu().numpy()
        return values.reshape(len(orders), 2, len(fractions))


def _random_curves(
    movable: _Movable, model: nn.Module, target: Target, pairs: int, seed: int, bases: np.ndarray
) -> Iterator[np.ndarray]:
    """The target's distance from its base along random orders and their reverses, at the inner fractions of `_COARSE`.

    What is left when the first units of an order are taken out are the first ones of its reverse. So both orders are
    read from the same passes, and the gap of one is the negative of the other's: the mean of random gaps is 0.

    Args:
        bases: the target of each replacement; the pairs take them in turn.

    Yields:
        [orders, 2, fractions].
    """
    orders = np.stack([movable.random_order(np.random.default_rng([seed, pair])) for pair in range(pairs)])
    for start in range(0, pairs, _PAIRS):
        draw = start // _PAIRS % len(bases)
        forwards = movable.read(model, target, orders[start : start + _PAIRS], _COARSE[1:-1], draw) - bases[draw]
        yield np.stack([forwards, forwards[:, ::-1, ::-1]], axis=1).reshape(-1, *forwards.shape[1:])


def _with_ends(curves: np.ndarray, scale: float) -> np.ndarray:
    """Curves with nothing and with everything moved, [orders, 2, inner fractions] -> [orders, 2, fractions]."""
    start, end = (np.broadcast_to(ends, curves.shape[:2])[..., None] for ends in ([scale, 0.0], [0.0, scale]))
    whole: np.ndarray = np.concatenate([start, curves, end], axis=-1)
    return whole


def _ends(
    model: nn.Module, inputs: Inputs, replacements: Sequence[Sequence[Tensor]], column: int | None
) -> tuple[Target, float, np.ndarray]:
    """The target, or its negative if a sample's value is below the mean of its replacements', and all these values."""
    target, value = explained(model, *inputs, column=column)
    bases = np.array([explained(model, *other, target=target)[1] for other in replacements])
    return (target.turned(), -value, -bases) if value < bases.mean() else (target, value, bases)


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
        mean: np.ndarray = curves.sum(axis=0) / scale.sum()
    return mean


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
