"""Attention maps as the front-end takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from stockformer.charts.chart import grey_words

Masks = Sequence[Tensor | None]


def describe_maps(
    layers: Sequence[Tensor], statistics: pd.DataFrame, masks: Masks | None = None
) -> list[dict[str, Any]]:
    """What the front-end is told of every map beside its weights.

    Args:
        layers: one [heads, query, key] per layer.
        masks: what is masked in each, bool [heads or 1, query, key] or None.
        statistics: what is said of each, by `stockformer.explainability.head_statistics`.

    Returns:
        A ``HeadMap`` of ``js/src/maps.ts`` for each head of each layer.
    """
    described = []
    for one in statistics.to_dict("records"):
        layer, head = int(one.pop("layer")), int(one.pop("head"))
        weights, masked = _head(layers, masks, layer, head)
        queries, keys = weights.shape
        numbers = {str(name): float(value) if np.isfinite(value) else None for name, value in one.items()}
        place = {"layer": layer, "head": head, "queries": queries, "keys": keys}
        described.append(
            place | {"largest": _largest(weights), "grey": grey_words(weights, masked), "statistics": numbers}
        )
    return described


def display_maps(layers: Sequence[Tensor], masks: Masks | None = None) -> bytes:
    """Every map, one after the other, row by row, a byte per weight: enough for a picture.

    0 to 254 is 0 to the map's largest weight, 255 is masked or no number.
    """
    return b"".join(_levels(weights).tobytes() for weights in _heads(layers, masks))


def _heads(layers: Sequence[Tensor], masks: Masks | None) -> Iterator[np.ndarray]:
    places = ((layer, head) for layer, maps in enumerate(layers) for head in range(len(maps)))
    return (_head(layers, masks, *place)[0] for place in places)


def _head(layers: Sequence[Tensor], masks: Masks | None, layer: int, head: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A head's weights, NaN where masked, and what is masked."""
    weights, mask = layers[layer][head].float(), None if masks is None else masks[layer]
    if mask is None:
        return weights.numpy(), None
    masked = mask.expand(layers[layer].shape)[head]
    return weights.masked_fill(masked, float("nan")).numpy(), masked.numpy()


def _levels(weights: np.ndarray) -> np.ndarray:
    numbers = np.isfinite(weights)
    shares = np.where(numbers, weights, 0.0) / (_largest(weights) or 1.0)
    return np.where(numbers, np.rint(254 * shares), 255).astype(np.uint8)


def _largest(weights: np.ndarray) -> float:
    return float(np.max(weights, where=np.isfinite(weights), initial=0.0))
