"""Windows that stand in for a sample: others of its ticker, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stockformer.dataset import StockDataset
from stockformer.inputs import Inputs

#: How many are drawn for a sample, to put their activations and their values in its place.
DONORS, OTHERS = 10, 4


def draw_donors(
    dataset: StockDataset, index: int, number: int = DONORS, *, without: Sequence[int] = (), seed: int = 0
) -> list[int]:
    """Indices of `number` other windows of a sample's ticker, or of all if there are fewer, in random order.

    The draw for one sample does not depend on the draws for others.

    Args:
        index: index of the sample.
        without: further windows that are not drawn.
        seed: seed of the draw.

    Raises:
        IndexError: there is no such sample.
    """
    ticker, index = dataset.window(index).ticker, index % len(dataset)
    others = np.setdiff1d(np.flatnonzero(dataset.end_tickers == ticker), [index, *without])
    rng = np.random.default_rng([seed, index])
    return [int(other) for other in rng.choice(others, min(number, len(others)), replace=False)]


def other_windows(
    dataset: StockDataset, indices: Sequence[int], number: int = OTHERS, *, seed: int = 0
) -> tuple[list[list[Inputs]], str]:
    """Inputs of other windows for each sample, see `draw_donors`; or none at all, and a sentence that says why."""
    drawn = [draw_donors(dataset, index, number, seed=seed) for index in indices]
    for index, donors in zip(indices, drawn, strict=True):
        if not donors:
            ticker = dataset.window(index).ticker
            return [], f"Not measured with other windows: sample {index} is the only window of {ticker}."
    return [[dataset.window(donor).inputs for donor in donors] for donors in drawn], ""
