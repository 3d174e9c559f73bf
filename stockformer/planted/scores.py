"""Whether explanations find what is planted: every ranking against the known answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import as_file, files

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from stockformer.explainability.attention.ablation import head_importance
from stockformer.explainability.attention.flow import (
    gated_map,
    joint_rollout,
    market_entry,
    mean_attention,
    mean_norm_map,
    relevance,
)
from stockformer.explainability.attention.trace import AttentionTrace, Trace, trace_attention
from stockformer.explainability.attribution.methods import BY_NAME, METHODS
from stockformer.explainability.faithfulness.rankings import attribute_from_mean, rank_by_size
from stockformer.inputs import Inputs
from stockformer.planted.mechanisms import MECHANISMS
from stockformer.planted.models import Planted, load_planted
from stockformer.targets import Target, explained

#: What is ranked or separated -> the question that this answers.
UNITS = {
    "cell": "which features on which days matter",
    "day": "which days of the stock and of the market matter",
    "head": "which heads have a job",
    "job": "which of two heads matters more in a window",
    "window": "in which windows the market matters",
}
WINDOWS = 8
_CONFIDENCE = 0.95


def precision_at_k(scores: np.ndarray, relevant: np.ndarray) -> float:
    """The part of the k highest scores that is relevant, k being how many are; of equal scores the mean over orders.

    Args:
        scores: [n].
        relevant: bool [n], at least one.
    """
    k = int(relevant.sum())
    last = np.sort(scores)[-k]
    above, equal = scores > last, scores == last
    share = (k - above.sum()) / equal.sum()
    return float((relevant[above].sum() + share * relevant[equal].sum()) / k)


def auc(scores: np.ndarray, relevant: np.ndarray) -> float:
    """Area under the ROC curve: how often a relevant one scores above another one, equal ones counted as half.

    Args:
        scores: [n].
        relevant: bool [n]; NaN where all are, or none.
    """
    positive = int(relevant.sum())
    negative = len(relevant) - positive
    if not positive or not negative:
        return np.nan
    ranks = stats.rankdata(scores)[relevant].sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def _by_day(layer_map: Callable[[AttentionTrace], Tensor]) -> Callable[[Trace], tuple[Tensor, ...]]:
    """What a map [query, key] of stock and of market attention gives each day, queries weighted by the pooling."""

    def days(trace: Trace) -> tuple[Tensor, ...]:
        assert trace.pooling is not None
        maps = (
            torch.stack([layer_map(layer) for layer in trace.kinds[kind]]).mean(dim=0) for kind in ("self", "cross")
        )
        return tuple(trace.pooling @ one for one in maps)

    return days


def _pooling(trace: Trace) -> tuple[Tensor, ...]:
    assert trace.pooling is not None
    return trace.pooling, torch.zeros(trace.kinds["cross"][0].weights.size(-1))


#: Name -> scores of every day by attention, [T] and [T], from a `Trace`.
ATTENTION: Mapping[str, Callable[[Trace], tuple[Tensor, ...]]] = {
    "mean attention": mean_attention,
    "gated attention": _by_day(lambda layer: gated_map(layer).mean(dim=0)),
    "norms": _by_day(mean_norm_map),
    "rollout": lambda trace: joint_rollout(trace).days,
    "relevance": lambda trace: relevance(trace).days,
    "pooling": _pooling,
}

#: A unit of a window: its name, the scores by ranking [n], and which of the n matter, bool [n].
Answers = tuple[str, dict[str, np.ndarray], np.ndarray]


def score_planted(planted: Planted, windows: int = WINDOWS) -> pd.DataFrame:
    """How well every ranking agrees with the known answer, in test windows of one model.

    Args:
        windows: number of windows, evenly spread.

    Returns:
        One row per unit of `UNITS` that the mechanism has and ranking: ``unit, ranking``; ``precision``, at k, and
        ``auc``, means over the windows; ``chance``, the precision of a random ranking. Of jobs and windows the area
        is over windows, and there is no precision.

    Raises:
        ValueError: there are fewer test windows.
    """
    test = planted.test_windows
    if not 2 <= windows <= len(test):
        raise ValueError(f"windows is {windows}, expected 2 to {len(test)}")
    rng, within, between = np.random.default_rng(planted.seed), [], []
    for index in test[np.linspace(0, len(test) - 1, windows).round().astype(int)]:
        inputs = planted.dataset.window(int(index)).inputs
        trace = trace_attention(planted.model, *inputs, target=_target(planted, inputs))
        heads = head_importance(planted.model, *inputs, trace=trace) if planted.truth.heads else None
        for unit, rankings, relevant in _ranked(planted, inputs, trace, heads):
            rankings["random"] = rng.random(len(relevant))
            within += [
                (unit, name, precision_at_k(scores, relevant), auc(scores, relevant), relevant.mean())
                for name, scores in rankings.items()
            ]
        for unit, numbers, matters in _separating(planted, inputs, trace, heads):
            numbers["random"] = rng.random()
            between += [(unit, name, number, matters) for name, number in numbers.items()]
    ranked = pd.DataFrame(within, columns=["unit", "ranking", "precision", "auc", "chance"])
    means = ranked.groupby(["unit", "ranking"], sort=False, as_index=False).mean()
    separating = pd.DataFrame(between, columns=["unit", "ranking", "number", "matters"])
    areas = [
        (*names, auc(group["number"].to_numpy(), group["matters"].to_numpy(bool)))
        for names, group in separating.groupby(["unit", "ranking"], sort=False)
    ]
    of_windows = pd.DataFrame(areas, columns=["unit", "ranking", "auc"]).astype({"auc": float})
    return pd.concat([means, of_windows], ignore_index=True)


def _ranked(planted: Planted, inputs: Inputs, trace: Trace, heads: pd.DataFrame | None) -> Iterator[Answers]:
    """The scores of a window's cells, days and heads by its explanations."""
    truth, cells, days = planted.truth, {}, {}
    for method in METHODS:
        parts = attribute_from_mean(planted.model, inputs, method, groups="week x feature")
        cells[method] = [part.abs() for part in parts]
        if BY_NAME[method].by_group:
            parts = attribute_from_mean(planted.model, inputs, method, groups="day")
        days[method] = _sums(cells[method] if BY_NAME[method].sensitivity else parts)
    cells["|input|"] = rank_by_size(planted.model, inputs, trace.target)
    yield "cell", {name: _flat(parts) for name, parts in cells.items()}, _flat(truth.cells(inputs))
    days |= {name: list(score(trace)) for name, score in ATTENTION.items()} | {"|input|": _sums(cells["|input|"])}
    yield "day", {name: _flat(parts) for name, parts in days.items()}, _flat(truth.days(inputs))
    if heads is not None:
        with_job = (heads["kind"] == "cross") & heads["head"].isin(list(truth.heads))
        yield "head", {name: heads[name].abs().to_numpy() for name in IMPORTANCE}, with_job.to_numpy()


def _sums(parts: Sequence[Tensor]) -> list[Tensor]:
    """Magnitude of the sum over each day's cells."""
    return [part.sum(dim=-1).abs() for part in parts]


def _separating(
    planted: Planted, inputs: Inputs, trace: Trace, heads: pd.DataFrame | None
) -> Iterator[tuple[str, dict[str, float], bool]]:
    """Unit, numbers of a window that should be larger where a statement is true, and whether it is true there."""
    truth = planted.truth
    if heads is not None:
        importance = heads[heads["kind"] == "cross"].set_index("head")
        (first, job), (second, other) = truth.heads.items()
        larger = job.cell.of(inputs).abs() > other.cell.of(inputs).abs()
        sizes = {name: importance[name].abs() for name in IMPORTANCE}
        yield "job", {name: float(one[first] - one[second]) for name, one in sizes.items()}, bool(larger)
    if any(term.when is not None for term in truth.terms):
        assert trace.pooling is not None
        gate = trace.kinds["cross"][0].gate
        assert gate is not None
        by_day = {"mean gate": gate.mean(dim=-1), "market share": market_entry(trace)[0]}
        numbers = {name: float(values.mean()) for name, values in by_day.items()}
        numbers |= {f"{name}, pooled": float(trace.pooling @ values) for name, values in by_day.items()}
        yield "window", numbers, bool(truth.market_counts(inputs))


#: The columns of `head_importance` that are scored.
IMPORTANCE = ("gradient", "ablation")


def _target(planted: Planted, inputs: Inputs) -> Target:
    """The output or its negative: what is above its value at the training mean, as in `measure_faithfulness`."""
    target, value = explained(planted.model, *inputs)
    _, base = explained(planted.model, *inputs.baseline, target=target)
    return target.turned() if value < base else target


def _flat(parts: Sequence[Tensor]) -> np.ndarray:
    values: np.ndarray = torch.cat([part.flatten() for part in parts]).numpy()
    return values


def measure_planted(
    seeds: int, windows: int = WINDOWS, names: Sequence[str] = tuple(MECHANISMS), *, progress: bool = True
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every ranking against the known answer of every mechanism, over seeds.

    Args:
        seeds: number of seeds, from 0.
        windows: per model, see `score_planted`.
        names: of the mechanisms.
        progress: show a progress bar.

    Returns:
        The models, one row each: ``mechanism, seed, score, test_score, follows, rest, learned``, see `Planted`; and
        of those that have learned the rows of `score_planted`, with ``mechanism`` and ``seed``.

    Raises:
        ValueError: fewer than two seeds, which give no interval.
    """
    if seeds < 2:
        raise ValueError(f"seeds is {seeds}, expected at least 2: intervals are over seeds")
    models, scores = [], []
    for name, seed in tqdm([(name, seed) for name in names for seed in range(seeds)], disable=not progress):
        planted = load_planted(name, seed, progress=False)
        models.append((name, *(getattr(planted, column) for column in _MODEL)))
        if planted.learned:
            scores.append(score_planted(planted, windows).assign(mechanism=name, seed=seed))
    return pd.DataFrame(models, columns=["mechanism", *_MODEL]), pd.concat(scores, ignore_index=True)[COLUMNS]


#: Columns of the table by seed.
COLUMNS = ["mechanism", "seed", "unit", "ranking", "precision", "auc", "chance"]
_MODEL = ("seed", "score", "test_score", "follows", "rest", "learned")


def intervals(scores: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with 95 % intervals: Student's t over the seeds, cut at 0 and 1.

    Args:
        scores: as `measure_planted` gives them.

    Returns:
        One row per mechanism, unit and ranking: ``mechanism, unit, ranking, seeds``; ``precision, precision_low,
        precision_high, auc, auc_low, auc_high``; ``chance``, the precision of a random ranking. A seed without an
        area, as the market matters in all of its windows, is left out of that mean; NaN where no seed has a number.

    Raises:
        ValueError: a mechanism has a single seed.
    """
    rows = []
    for names, group in scores.groupby(["mechanism", "unit", "ranking"], sort=False):
        if len(group) < 2:
            raise ValueError(f"{names[0]!r} has {len(group)} seed, expected at least 2: intervals are over seeds")
        ends = [end for column in ("precision", "auc") for end in _interval(group[column].to_numpy())]
        rows.append((*names, len(group), *ends, group["chance"].mean()))
    parts = [f"{column}{end}" for column in ("precision", "auc") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["mechanism", "unit", "ranking", "seeds", *parts, "chance"])


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and the ends of its interval, over the numbers that are not NaN; NaN with fewer than two."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    margin = stats.t.ppf(0.5 + _CONFIDENCE / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    low, high = np.clip([mean - margin, mean + margin], 0, 1)
    return mean, float(low), float(high)


def planted_scores() -> pd.DataFrame:
    """The numbers of `docs/planted.md` by seed, as `measure_planted` gives them."""
    with as_file(files("stockformer") / "planted" / "scores.csv") as path:
        return pd.read_csv(path)
