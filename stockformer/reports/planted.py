"""Whether explanations find what is planted, as a page of tables."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pandas as pd

from stockformer.files import check_writable, write_whole
from stockformer.planted.mechanisms import MECHANISMS
from stockformer.planted.scores import ATTENTION, UNITS, WINDOWS, intervals, measure_planted
from stockformer.reports.markdown import markdown_table


def write_planted(
    path: str | Path, *, seeds: int = 10, windows: int = WINDOWS, table: str | Path | None = None
) -> pd.DataFrame:
    """Measure every ranking against every known answer, and write a Markdown page.

    Args:
        path: of the page.
        seeds, windows: see `measure_planted`.
        table: of a CSV file to write as well.

    Returns:
        What is in that file: one row per model, unit and ranking, see `measure_planted`.

    Raises:
        ValueError: fewer than two seeds, or page and table are one file.
        OSError: a file cannot be written.
    """
    places = [Path(one) for one in (path, table) if one is not None]
    check_writable(places)
    models, scores = measure_planted(seeds, windows)
    numbers = scores.to_csv(index=False, float_format="%.4g")
    scores = pd.read_csv(StringIO(numbers))  # the page is of what the file holds
    texts = ["\n\n".join(_sections(models, scores, windows)) + "\n", numbers]
    write_whole({place: text.encode() for place, text in zip(places, texts, strict=False)})
    return scores


def _sections(models: pd.DataFrame, scores: pd.DataFrame, windows: int) -> Iterator[str]:
    yield _HEAD.format(seeds=models["seed"].nunique(), windows=windows)
    yield _PLANTED
    yield f"{_MODELS}\n\n{markdown_table(_models(models))}"
    agreement = intervals(scores)
    yield f"{_READING}\n\n{_reading(scores, agreement)}"
    for unit, question in UNITS.items():
        of_unit = agreement[agreement["unit"] == unit]
        for measure, words in (("precision", "precision at k"), ("auc", "area under ROC")):
            if of_unit[measure].notna().any():
                yield f"## By {unit}, {words}: {question}\n\n{markdown_table(_matrix(of_unit, measure))}"
    yield _LIMITS


def _models(models: pd.DataFrame) -> pd.DataFrame:
    """Means over the seeds, and the worst of them."""
    rows = []
    for name, group in models.groupby("mechanism", sort=False):
        numbers = {column: group[column] for column in ("score", "test_score", "follows", "rest")}
        worst = {column: values.max() if column == "rest" else values.min() for column, values in numbers.items()}
        words = {column: f"{values.mean():.3f} ({worst[column]:.3f})" for column, values in numbers.items()}
        rows.append({"mechanism": name, "learned": f"{group['learned'].sum()} of {len(group)}", **words})
    names = {"score": "R2, validation", "test_score": "R2, test", "follows": "follows the cells", "rest": "other cells"}
    return pd.DataFrame(rows).rename(columns=names)


def _matrix(agreement: pd.DataFrame, measure: str) -> pd.DataFrame:
    """One row per ranking, one column per mechanism: mean and interval."""
    words = [
        f"{mean:.2f} ({low:.2f} to {high:.2f})"
        for mean, low, high in agreement[[measure, f"{measure}_low", f"{measure}_high"]].to_numpy()
    ]
    names = agreement["ranking"].str.replace("_", " ")
    cells = agreement.assign(words=words, ranking=names)
    table = cells.pivot(index="ranking", columns="mechanism", values="words")
    table = table.loc[names.unique(), [name for name in MECHANISMS if name in table]]
    return table.reset_index().rename_axis(columns=None)


def _reading(scores: pd.DataFrame, agreement: pd.DataFrame) -> str:
    """What the tables say, as a list."""
    real = [name for name, mechanism in MECHANISMS.items() if mechanism.strength]
    by_cell = scores[(scores["unit"] == "cell") & (scores["ranking"] == "integrated_gradients")]
    good = (by_cell["precision"] >= _GOOD).groupby(by_cell["mechanism"]).agg(["sum", "size"])
    seeds = ", ".join(f"{good['sum'][name]} of {good['size'][name]} of {name}" for name in real if name in good.index)
    lines = [f"Integrated gradients by cell: precision at k of {_GOOD} or more in these seeds: {seeds}."]
    by_day = agreement[agreement["unit"] == "day"]
    for ranking in ATTENTION:
        areas = by_day[by_day["ranking"] == ranking].set_index("mechanism")
        above, below = areas["auc_low"] > 0.5, areas["auc_high"] < 0.5
        parts = {"finds the days of": above, "is worse than chance for": below, "is chance for": ~(above | below)}
        clauses = [
            f"{verb} {', '.join(names)}"
            for verb, mask in parts.items()
            if (names := [f"{name} ({areas['auc'][name]:.2f})" for name in real if mask.get(name, False)])
        ]
        lines.append(f"{ranking.capitalize()} by day, area under ROC: {'; '.join(clauses)}.")
    nothing = agreement[~agreement["mechanism"].isin(real)]
    outside = nothing[(nothing["auc_low"] > 0.5) | (nothing["auc_high"] < 0.5)]
    which = ", ".join(f"{row.ranking} by {row.unit}".replace("_", " ") for row in outside.itertuples())
    lines.append(
        f"Of a model of nothing, the intervals of {len(outside)} of {len(nothing)} rankings leave out 0.5"
        f"{f' ({which})' if which else ''}; at 95 %, one in twenty is expected to."
    )
    return "\n".join(f"- {line}" for line in lines)


#: Of the precision at k that counts as found.
_GOOD = 0.9

_HEAD = """\
# Do explanations find what is there?

`make planted` measures this and writes this page. In small markets with a known mechanism, models are trained until
they have learned it. Then every explanation of this package, attention itself included, has to say what the mechanism
depends on, and is compared with the known answer: {seeds} seeds per mechanism, {windows} test windows of each model.
`load_planted("gate", seed=3)` gives one of these markets with its model and its truth, for an explorer or a test of
your own; `planted_scores()` gives the numbers of this page by seed. Both are in `stockformer.planted`."""

_PLANTED = """\
## What is planted

Four tickers over 1,000 days, four features of the stock and four of the market per day, windows of 12 days. Every
value is s u, with s = 1 or -1 and u uniform in 0.5 to 1.5, drawn independently: no cell (a feature on a day) says
anything about another, none is near the mean, where it would have no effect, and none stands out by its size. The
volatility of the day after a window is

    log volatility = log 0.2 + 0.5 (signal + e),    e normal with standard deviation 0.1

and prices follow it, with returns of random sign. x are cells of the stock, m of the market. Which days and features
they are is drawn by the seed; no two share a day.

| mechanism | signal | what matters |
| --- | --- | --- |
| feature | x | x |
| market | m, which reaches the output through cross-attention only | m |
| gate | m where a cell r of the stock is above 0, else x | r, and m or x by window |
| guided_gate | as gate | as gate, and the gate is open where m matters |
| heads | m1 + m2 | m1 and m2; head 0 of the cross-attention for m1, head 1 for m2 |
| shortcut | x, e has standard deviation 1; a stock cell z is signal + e up to the test, and like any other in it | z |
| nothing | 0, but e has standard deviation 1 | nothing; scored against twelve cells that are drawn, six per stream |"""

_MODELS = """\
## The models

Cross-attention models as elsewhere in this package, with one layer per stream, two heads, width 16 and no dropout,
trained by `stockformer.training.fit`. For "heads" and "guided_gate" the loss has a second part, times 0.1, without
which it would not be known what a head or a gate does: each head of the cross-attention is to look at the day of its
job (mean of -log weight), the gate to be open on every day where m matters and closed elsewhere (cross-entropy of
its mean). All others are trained on the squared error alone; in "gate", the gate need not be what switches.

That a model uses what is planted, and nothing else, is measured by swaps. As cells are independent, a window in which
some cells come from another window is as likely as any.

- follows the cells: cells that matter are those of another window. Squared correlation of the output with the signal
  of the new cells.
- other cells: all cells that should not matter are those of another window. Sobol's total index of these cells by
  Jansen's estimator (1999), half the mean square of the output's change over its variance: 0 where it ignores them, 1
  where they are all that counts.

A model has learned if its R2 in the validation windows is at least 0.9 and the other cells' index at most 0.1; the
model of nothing, if its R2 is below 0.1. The others are left out, with a warning. Means over the seeds, the worst
seed in brackets. The noise alone limits R2 to 0.99, for "heads" to 0.995. For "shortcut", R2 in the test is what the
shortcut costs."""

_READING = "## Reading"

_LIMITS = """\
## How it is scored, and what it does not say

- Precision at k: of the k cells that a method ranks first, the share that matters, where k is the number that do (equal
  scores count as the mean over their orders). Area under the ROC curve: how often a cell that matters is ranked
  above one that does not. Both per window, and averaged; intervals (95 %) are over seeds by Student's t, cut at 0 and
  1, and each holds by itself.
- Ranked by size: a sign says which way a cell moves the output. A day's share is the sum of its cells', of gradient
  and SmoothGrad the sum of their sizes. Occlusion and Shapley sampling move groups: for days a day, for cells a
  feature over five days, or over the two that are left, the smallest groups that they have here. Where one cell
  matters, their precision by cell is at most a fifth, or a half.
- Attention to a day is averaged over the queries with the pooling's weights. Gated attention: weights times the mean
  gate. Norms: the size of what a day adds through all heads (Kobayashi et al. 2020). Stock and market days are ranked
  together, although relevance has no common unit for the two, and pooling knows no market days.
- By job: whether the head whose cell is larger has the larger importance. By window: whether a number is larger where
  the market matters; its mean over days, or, where "pooled", weighted by the pooling.
- |input| and random ignore the model.
- Cells of real markets depend on each other; which of two similar ones a model uses is less clear there, and so is
  what an explanation should say. These models are small and have learned one simple thing: a method that finds it may
  still fail on larger ones."""
