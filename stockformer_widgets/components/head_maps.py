"""Encoding of a head grid for the front-end."""

from __future__ import annotations

from typing import Any

import numpy as np

from stockformer.charts.chart import Grid


def describe_maps(grid: Grid) -> list[dict[str, Any]]:
    """A ``HeadMap`` of ``js/src/maps.ts`` for each head of each layer: all but its weights."""
    described = []
    for numbers in grid.statistics.to_dict("records"):
        layer, head = int(numbers.pop("layer")), int(numbers.pop("head"))
        body = grid.maps[layer][head]
        queries, keys = body.cells.shape
        described.append(
            {
                "layer": layer,
                "head": head,
                "queries": queries,
                "keys": keys,
                "largest": _largest(body.cells),
                "grey": body.grey,
                "statistics": {str(name): float(one) if np.isfinite(one) else None for name, one in numbers.items()},
            }
        )
    return described


def display_maps(grid: Grid) -> bytes:
    """Every map, one after the other, row by row, one byte per weight: enough for a picture.

    0 to 254 is 0 to the map's largest weight, 255 is masked or not a number.
    """
    return b"".join(_levels(body.cells).tobytes() for heads in grid.maps for body in heads)


def _levels(cells: np.ndarray) -> np.ndarray:
    numbers = np.isfinite(cells)
    shares = np.where(numbers, cells, 0.0) / (_largest(cells) or 1.0)
    return np.where(numbers, np.rint(254 * shares), 255).astype(np.uint8)


def _largest(cells: np.ndarray) -> float:
    return float(np.nanmax(cells, initial=0.0))
