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
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stockformer.explainability.faithfulness.rankings import (
    CELL_RANKINGS,
    REFERENCES,
    LinearFormula,
    Ranking,
    rank_by_size,
)
from stockformer.explainability.faithfulness.result import (
    COARSE,
    FRACTIONS,
    LEVEL,
    Faithfulness,
    curve_table,
    faithfulness_table,
)
from stockformer.forward import in_eval_mode, without_gradients
from stockformer.inputs import Inputs
from stockformer.steps import Steps, part_of, run_to_end
from stockformer.targets import Target, explained
from stockformer.workers import Engine, chunk_steps

_ORDERS = 200
_PAIRS = 10  # of random orders in one batch


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
        curve_table(curves, random, scale),
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
    """The target's distance from its base along random orders and their reverses, at the inner fractions of `COARSE`.

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
        forwards = movable.read(model, target, orders[start : start + _PAIRS], COARSE[1:-1], draw) - bases[draw]
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
