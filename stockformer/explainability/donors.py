"""Windows that stand in for a sample: of the same ticker, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stockformer.dataset import StockDataset

#: How many are drawn for a sample.
DONORS = 10


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
        ValueError: its ticker has no other window.
    """
    ticker, index = dataset.window(index).ticker, index % len(dataset)
    others = np.setdiff1d(np.flatnonzero(dataset.end_tickers == ticker), [index, *without])
    if not len(others):
        raise ValueError(f"sample {index} is the only window of {ticker}, expected another one to draw")
    rng = np.random.default_rng([seed, index])
    return [int(other) for other in rng.choice(others, min(number, len(others)), replace=False)]
