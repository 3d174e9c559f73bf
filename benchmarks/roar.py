"""Remove and retrain (ROAR, Hooker et al. 2019): does a model need what an explanation ranks first?

In every window of the volatility model's data, of training, validation and test, the cells that a ranking puts first
are moved to their training mean. Then a model is trained on what is left, as the shipped one was, and scored. It writes
`docs/roar.md`.

    python benchmarks/roar.py    # a quarter of an hour of one core
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from stockformer.dataset import StockDataset
from stockformer.model import PooledTransformer
from stockformer.reports.markdown import markdown_table
from stockformer.sample import load_sample
from stockformer.sample_data.volatility import SIZE, TRAINING, evaluated, r_squared
from stockformer.training import fit

PAGE = Path(__file__).parents[1] / "docs" / "roar.md"
SHARES, SEEDS = (0.5, 0.9), (0, 1, 2)
METHOD, REFERENCES = "integrated gradients", ("|input|", "random")
POINTS, BATCH = 16, 256  # of the path of integrated gradients; windows at once

Parts = tuple[Tensor, ...]  # one [windows, T, features] per input


def main() -> None:
    dataset, model = load_sample("volatility")
    windows = [dataset.window(index).inputs for index in range(len(dataset))]
    inputs, means = _together(windows), _together([each.baseline for each in windows])
    attribution = integrated_gradients(model, inputs, means)
    rows = []
    for seed in SEEDS:
        rows.append((0.0, "", seed, r2_after_training(dataset, seed)))
        scores = {
            METHOD: cells(attribution).abs(),
            REFERENCES[0]: (cells(inputs) - cells(means)).abs(),
            REFERENCES[1]: torch.rand(cells(inputs).shape, generator=torch.Generator().manual_seed(seed)),
        }
        for share in SHARES:
            for name, each in scores.items():
                without = Without(dataset, removed(inputs, means, each, share))
                rows.append((share, name, seed, r2_after_training(without, seed)))
                print(*rows[-1], file=sys.stderr, flush=True)
    PAGE.write_text(page(pd.DataFrame(rows, columns=["removed", "ranking", "seed", "R2"])), encoding="utf-8")


class Without(StockDataset):
    """A dataset with other inputs: its rows, targets and dates stay."""

    def __init__(self, dataset: StockDataset, inputs: Parts) -> None:
        vars(self).update(vars(dataset))
        self._inputs = inputs

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        x, market_x = (part[index] for part in self._inputs)
        return x, self.labels[self.ends[index]], market_x


def integrated_gradients(model: PooledTransformer, inputs: Parts, means: Parts) -> Parts:
    """Integrated gradients of every window's forecast, from its training mean.

    With 16 points the sums are off by 0.1 % of the target's change in half of the windows, and by 0.5 % in a tenth.
    """
    explainer = IntegratedGradients(model)
    batches = zip(*(zip(*(part.split(BATCH) for part in parts), strict=True) for parts in (inputs, means)), strict=True)
    return _together([explainer.attribute(*batch, n_steps=POINTS, internal_batch_size=1024) for batch in batches])


def _together(batches: Sequence[Sequence[Tensor]]) -> Parts:
    return tuple(torch.cat(parts).detach() for parts in zip(*batches, strict=True))


def cells(parts: Sequence[Tensor]) -> Tensor:
    """All cells of every window: [windows, cells]."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def removed(inputs: Parts, means: Parts, scores: Tensor, share: float) -> Parts:
    """The inputs with a share of the cells of every window, those of the highest scores, at their training mean."""
    first = scores.topk(round(share * scores.size(1)), dim=1).indices
    gone = torch.zeros(scores.shape, dtype=torch.bool).scatter_(1, first, True)
    masks = gone.split([part[0].numel() for part in inputs], dim=1)
    return tuple(
        torch.where(mask.view_as(part), mean, part) for mask, part, mean in zip(masks, inputs, means, strict=True)
    )


def r2_after_training(dataset: StockDataset, seed: int) -> float:
    """R2 of a model on the test period, against the training mean, after training as the shipped one was."""
    windows = evaluated(fit(dataset, SIZE, **TRAINING, seed=seed, progress=False).model, dataset)
    return r_squared(windows[windows["part"] == "test"], "training mean")


def page(rows: pd.DataFrame) -> str:
    """`docs/roar.md`, from ``removed, ranking, seed, R2``, one row per training."""
    by_seed = rows.pivot(index=["removed", "ranking"], columns="seed", values="R2")
    table = by_seed.add_prefix("seed ").assign(mean=by_seed.mean(axis=1)).reset_index()
    table["removed"] = table["removed"].map("{:.0%}".format)
    sentences = [_compared(by_seed, share, reference) for share in SHARES for reference in REFERENCES]
    return "\n\n".join([_HEAD.format(seeds=len(SEEDS)), markdown_table(table), "\n".join(sentences)]) + "\n"


def _compared(by_seed: pd.DataFrame, share: float, reference: str) -> str:
    """Whether the trainings without what the method ranks first end below those without what a reference does."""
    method, other = by_seed.loc[share, METHOD], by_seed.loc[share, reference]
    numbers = f"{method.min():.3f} to {method.max():.3f} against {other.min():.3f} to {other.max():.3f}"
    verdict = "overlap with" if method.max() >= other.min() and other.max() >= method.min() else ""
    verdict = verdict or ("are all below" if method.max() < other.min() else "are all above")
    return f"- {share:.0%} removed: the R2s of {METHOD} {verdict} those of {reference}, {numbers}."


_HEAD = """\
# Remove and retrain

`python benchmarks/roar.py` measures this and writes this page. [How far to trust the explanations](faithfulness.md)
takes cells away from a model that was trained with them. ROAR (Hooker et al. 2019) trains a new model without them:
where that forecasts as well as the first, what is left holds the same information.

In every window of the volatility model's data, of training, validation and test, a share of its cells (a feature on a
day) goes to its training mean: those that a ranking of this window puts first. Integrated gradients of the shipped
model are ranked by magnitude, as information counts whichever way it points. Then a model is trained as the shipped one
was. R2 is out of sample, over the test windows against the training mean, as in the model's card; each of the
{seeds} seeds is that of a training and of its random cells.

Two things keep R2 up, for every ranking: volatility persists, so the cells that are left say nearly the same; and the
new model sees which cells are at the mean, which says something about what was there. So compare a ranking with the
references and not with 0."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
