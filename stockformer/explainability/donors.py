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
    """Indices of other windows of a sample's ticker, each once, in random order; fewer where there are fewer.

    What is drawn for a sample does not depend on what is drawn for others.

    Args:
        index: of the sample.
        without: further windows that are not drawn.
        seed: of the draw.

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
