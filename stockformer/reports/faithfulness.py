"""How far to trust the explanations of a model, as a page of tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockformer.dataset import StockDataset
from stockformer.explainability.attention.ablation import attention_effects
from stockformer.explainability.attribution.methods import METHODS
from stockformer.explainability.donors import OTHERS, other_windows
from stockformer.explainability.faithfulness.blocks import calendar_blocks
from stockformer.explainability.faithfulness.curves import measure_faithfulness
from stockformer.explainability.faithfulness.randomisation import MODELS, negative_control, randomisation_check
from stockformer.explainability.faithfulness.rankings import CELL_RANKINGS, DAY_RANKINGS, attribute_from_mean
from stockformer.explainability.faithfulness.result import REMOVALS, Faithfulness
from stockformer.explainability.faithfulness.windows import spread_indices, spread_windows, training_windows
from stockformer.files import check_writable, write_whole
from stockformer.inputs import Inputs
from stockformer.model import PooledTransformer
from stockformer.reports.markdown import markdown_table
from stockformer.targets import explained
from stockformer.workers import Engine

_FEW = 4  # windows of the checks that attribute with every method once more


def write_faithfulness(
    models: Mapping[str, tuple[StockDataset, PooledTransformer]],
    path: str | Path,
    *,
    windows: int = 64,
    table: str | Path | None = None,
    engine: Engine = None,
) -> pd.DataFrame:
    """Measure every ranking over windows spread over a dataset, for one or several models, and write a Markdown page.

    Args:
        models: name -> a model and its data.
        path: of the page.
        windows: how many.
        table: of a CSV file to write as well, with the numbers of the tables of rankings.
        engine: what measures the rankings, see `stockformer.workers.run_chunks`; the checks of few windows run here.

    Returns:
        Those numbers: ``model, unit, removal``, one of `REMOVALS`, and the columns of `Faithfulness.table`.

    Raises:
        ValueError: a dataset has fewer windows, or page and table are one file.
        OSError: a file cannot be written.
    """
    places = [Path(one) for one in (path, table) if one is not None]
    check_writable(places)
    for dataset, _ in models.values():
        spread_indices(dataset, windows)
    sections, tables, effects = [_HEAD.format(others=OTHERS)], [], []
    for name, (dataset, model) in models.items():
        samples, training = spread_windows(dataset, windows), training_windows(dataset)
        indices = spread_indices(dataset, windows)
        others, note = other_windows(dataset, indices)
        options: dict[str, Any] = {"training": training, "others": others, "engine": engine}
        options["blocks"] = calendar_blocks(dataset, indices)
        results = [measure_faithfulness(model, samples, each, **options) for each in (CELL_RANKINGS, DAY_RANKINGS)]
        few = spread_windows(dataset, min(windows, _FEW))
        measured = _MEASURED.format(model=name, windows=windows, blocks=results[0].blocks, training=len(training))
        sections += [f"{measured} {note}".strip(), *_ranked(results), *_checks(model, dataset, results[0], few)]
        tables += [
            each.table.assign(model=name, unit=each.unit, removal=removal)
            for result in results
            for removal, each in zip(REMOVALS, (result, result.second), strict=True)
            if each is not None
        ]
        effects.append(_effects(model, samples, name))
    side_by_side = reduce(partial(pd.merge, on=["kind", "layer"], how="outer", sort=False), effects)
    sections += [_EFFECTS, markdown_table(side_by_side)]
    numbers = pd.concat(tables, ignore_index=True)
    texts = ["\n\n".join(sections) + "\n", numbers.to_csv(index=False, float_format="%.6g")]
    write_whole({place: text.encode(errors="replace") for place, text in zip(places, texts, strict=False)})
    return numbers


def _ranked(results: Sequence[Faithfulness]) -> Iterator[str]:
    for title, result in zip(("Features by day", "Days"), results, strict=True):
        rows = result.table.rename(columns={"p_holm": "p (Holm)"}).assign(interval=_intervals(result.table))
        names = ["ranking", "deletion", "insertion", "gap", "interval", "p", "p (Holm)"]
        names += ["comprehensiveness", "sufficiency", "verdict"]
        if result.second is not None:
            second = result.second.table.set_index("ranking").loc[rows["ranking"]].reset_index()
            for name, values in second.assign(interval=_intervals(second))[["gap", "interval", "verdict"]].items():
                rows[f"{name}, other windows"] = values
                names.append(f"{name}, other windows")
        rows["ranking"] = rows["ranking"].str.replace("_", " ")
        yield f"### {title}\n\n{markdown_table(rows[names])}"


def _checks(model: PooledTransformer, dataset: StockDataset, cells: Faithfulness, few: list[Inputs]) -> Iterator[str]:
    random = randomisation_check(model, few)
    for name in ("signed", "absolute"):
        spread = random.pop(f"{name}_std")
        random[name] = [f"{mean:.2f} ± {std:.2f}" for mean, std in zip(random[name], spread, strict=True)]
    random["control"] = [_control(model, dataset, method, few) for method in METHODS]
    random["method"] = random["method"].str.replace("_", " ")
    words = _RANDOM.format(windows=len(few), models=MODELS, absent=len(dataset.unavailable))
    yield f"{words}\n\n{markdown_table(random)}"
    agreement = cells.agreement()
    agreement.index = agreement.columns = agreement.index.str.replace("_", " ")
    yield _AGREEMENT + "\n\n" + markdown_table(agreement.rename_axis("method").reset_index())


def _effects(model: PooledTransformer, samples: Sequence[Inputs], name: str) -> pd.DataFrame:
    """Shares of the target's standard deviation by layer, as text."""
    effects = pd.concat([attention_effects(model, *inputs) for inputs in samples])
    changes = effects.assign(**{how: effects[how].abs() for how in ("flat", "permuted")})
    size = float(np.std([explained(model, *inputs)[1] for inputs in samples]))
    mean = changes.groupby(["kind", "layer"], sort=False, as_index=False)[["flat", "permuted"]].mean()
    shares = {f"{name}, {how}": [f"{share:.1%}" for share in mean[how] / size] for how in ("flat", "permuted")}
    return mean[["kind", "layer"]].assign(**shares)


def _control(model: PooledTransformer, dataset: StockDataset, method: str, samples: list[Inputs]) -> float:
    names = [dataset.feature_cols, dataset.market_feature_cols or []]
    largest = [
        negative_control(attribute_from_mean(model, inputs, method), names[: len(inputs)], dataset.unavailable)
        for inputs in samples
    ]
    return float(np.max(largest))


def _intervals(table: pd.DataFrame) -> list[str]:
    return ["" if np.isnan(low) else f"{low:+.2f} to {high:+.2f}" for low, high in table[["low", "high"]].to_numpy()]


_HEAD = """\
# How far to trust the explanations

`make faithfulness` measures this on the shipped models and data and writes this page;
`python -m stockformer faithfulness CHECKPOINT CSV --out PAGE` does so for others. The windows are spread evenly over
the data; the target is the one that the explorer explains.

What a method ranks first is moved to the training mean (deletion: the target should fall at once, so a small area
is good), or is put back first (insertion: a large area is good). The curves are the target's distance from its value at
the training mean, summed over the windows, as a share of the whole distance. They leave the range 0 to 1 where evidence
against the prediction comes last. The gap is insertion - deletion.

Three references are measured beside the methods:

- random: the mean of 200 random orders, each the same for all windows;
- |input|: the size of the input, that is its distance from the training mean, which ignores the model;
- fixed linear: the target's mean gradient over training windows times that distance, one formula for all.

The training mean is 0 for normalised features. Features that a model reads raw keep theirs, by ticker, and input x
gradient multiplies by the distance from it.

An input at the training mean never occurs, and a model may return anything for it. So all is measured a second time,
with other windows: what is taken out gets the values of another window of the same ticker, in the same cells. {others}
are drawn per window, independently of the other windows measured, and the curves are means over them; each pair of a
random order and its reverse takes one of them, in turn. The target's distance is from its mean over the drawn windows,
and where it is below that, its negative is explained. The rankings are the same, and so are the tests. Two verdicts
agree where they name the same reference; a ranking that is better with one removal alone may owe that to the removal.

A third removal trains the model again without what is taken out (ROAR, Hooker et al. 2019). Without the half of the
cells that integrated gradients put first, the recipe of the shipped volatility model still has a test R2 of 0.49, the
mean of three trainings; it is 0.53 without as many random cells, 0.47 without the largest inputs, and 0.51 with all. So
by this measure they are better than random, and worse than |input|; without 90 % the trainings differ too much to tell.
`python benchmarks/roar.py` measures it, and `docs/roar.md` has the figures.

Windows that share days are not independent, so they are put into blocks of days, of at least two lookbacks,
with the windows of all tickers. The interval (95 %) is of the gap's distance from random, by Student's t over blocks;
each holds by itself and is not adjusted for the number of rankings. p is the share of random orders that do as well,
or the p-value of the t-test where that is larger; it cannot be below 1/201. It is corrected for the number of rankings
by Holm's method. A ranking is better than a reference where the corrected p is at most 0.05, against |input| and
fixed linear by the t-test of the difference. The verdict names the strongest reference that is beaten; a ranking that
does not beat one is not compared with a stronger one.

Where a window's target is below that of the training mean, its negative is explained: what ranks first should carry
the target away from the mean, whichever way that is. Gradient and SmoothGrad are ranked by magnitude, as they say how
much the target would change, not what contributed to it. Occlusion and Shapley sampling move a feature over all days.

## How often a verdict is wrong

`python benchmarks/faithfulness_level.py` measures this on 1000 simulated panels each, with other
windows on 300: 64 windows of 20 days of 4 tickers with a common market and persistent volatility, and a linear model
with random weights.

| ranking | verdict | 3 blocks | 14 blocks | 3 blocks, other windows |
| --- | --- | ---: | ---: | ---: |
| random in every window | better than anything | 0.1 % | 0.1 % | 0.0 % |
| one random order for all windows | better than anything | 1.8 % | 3.8 % | 1.0 % |
| as good as \\|input\\| | better than \\|input\\| | 4.4 % | 6.4 % | 1.7 % |
| gradient x input of another random model | better than anything | 20.1 % | 30.5 % | 11.7 % |
| the same | better than \\|input\\| | 7.4 % | 13.0 % | 6.7 % |

The first three are wrong verdicts; the aim is at most 5 %. The last two are not wrong by this definition, but warn: a
fixed formula with random weights has, over all windows, a gap that really differs from 0, for better or worse. On the
shipped model of direction, over 32 windows, gradient x input of 16 models with random weights has gaps with a standard
deviation of 0.42, and random orders of 0.03. So "better than random" alone says little of a method: the other
references and the random-weights check say more. The 95 % interval held the true gap of a noisy ranking in 98.5 % of
the panels with 3 blocks and in 97.8 % with 14; with other windows, in 96.7 % with 3."""

_MEASURED = """\
## Model: {model}

{windows} windows in {blocks} blocks of days; the fixed linear formula is of {training} training windows."""

_RANDOM = """\
### Random weights, and features without data

Over {windows} windows and {models} models with random weights. Spearman correlation with the same method on such a
model, mean ± standard deviation between the models: near 1, a method shows the input and not the model. Magnitudes stay
alike for every method that multiplies by the input or moves it away: a large input gets a large share from any weights,
so read their signs and order before their sizes. Control: the largest magnitude given to one of the {absent} features
without data. They are always at the training mean, so methods that multiply by the input or move it must give 0;
gradient and SmoothGrad give 0 where the model was trained to ignore such features, as `fit` does."""

_AGREEMENT = """\
### Agreement

Spearman correlation between the methods, mean over the windows."""

_EFFECTS = """\
## Effect of attention on the prediction

Mean magnitude of the target's change when a layer's attention is flat, and when its weights are shuffled within their
rows, as a share of the target's standard deviation over the windows."""
