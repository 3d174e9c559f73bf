"""Attention maps as the front-end takes them: whole numbers, each map relative to its own largest weight."""

from __future__ import annotations

from collections.abc import Sequence
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


def encode_maps(layers: Sequence[Tensor], codes: type[np.unsignedinteger[Any]]) -> bytes:
    """The weights of every map, one after the other, row by row, little-endian.

    0 stays 0 and the map's largest weight becomes the last number but one; the last
    stands for what is no number.
    """
    return b"".join(
        _encode(maps[head].float().numpy(), codes).tobytes() for maps in layers for head in range(len(maps))
    )


def _encode(weights: np.ndarray, codes: type[np.unsignedinteger[Any]]) -> np.ndarray:
    missing = np.iinfo(codes).max
    numbers = np.isfinite(weights)
    shares = np.where(numbers, weights, 0.0) / (_largest(weights) or 1.0)
    return np.where(numbers, np.rint(shares * (missing - 1)), missing).astype(codes)


def _largest(weights: np.ndarray) -> float:
    return float(np.max(weights, where=np.isfinite(weights), initial=0.0))
