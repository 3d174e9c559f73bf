"""Attention maps as the front-end takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor


def describe_maps(layers: Sequence[Tensor], statistics: pd.DataFrame) -> list[dict[str, Any]]:
    """What the front-end is told of every map beside its weights.

    Args:
        layers: one [heads, query, key] a layer.
        statistics: what is said of each, by `stockformer.explainability.head_statistics`.

    Returns:
        A ``HeadMap`` of ``js/src/maps.ts`` for each head of each layer.
    """
    described = []
    for one in statistics.to_dict("records"):
        layer, head = int(one.pop("layer")), int(one.pop("head"))
        weights = layers[layer][head].float().numpy()
        queries, keys = weights.shape
        numbers = {str(name): float(value) if np.isfinite(value) else None for name, value in one.items()}
        place = {"layer": layer, "head": head, "queries": queries, "keys": keys}
        described.append(place | {"largest": _largest(weights), "statistics": numbers})
    return described


def display_maps(layers: Sequence[Tensor]) -> bytes:
    """Every map, one after the other, row by row, a byte a weight: enough for a picture.

    0 to 254 is 0 to the map's largest weight, 255 is no number.
    """
    return b"".join(_levels(weights).tobytes() for weights in _heads(layers))


#: Weights of 1 and less leave the upper half of the exponents of half precision unused; this moves them there.
HALF_SCALE = 2.0**15


def half_maps(layers: Sequence[Tensor]) -> bytes:
    """Every map, one after the other, row by row, times `HALF_SCALE` in half precision.

    Weights from 2e-9 to 1 keep three significant digits; below 1e-12 they are 0.
    """
    return b"".join((weights * HALF_SCALE).astype("<f2").tobytes() for weights in _heads(layers))


def _heads(layers: Sequence[Tensor]) -> Iterator[np.ndarray]:
    return (weights.float().numpy() for maps in layers for weights in maps)


def _levels(weights: np.ndarray) -> np.ndarray:
    numbers = np.isfinite(weights)
    shares = np.where(numbers, weights, 0.0) / (_largest(weights) or 1.0)
    return np.where(numbers, np.rint(254 * shares), 255).astype(np.uint8)


def _largest(weights: np.ndarray) -> float:
    return float(np.max(weights, where=np.isfinite(weights), initial=0.0))
