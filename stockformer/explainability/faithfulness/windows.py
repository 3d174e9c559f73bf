"""Windows of a dataset to measure on, and those that the training had."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from stockformer.dataset import StockDataset
from stockformer.inputs import Inputs

_TRAINING = 256


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
