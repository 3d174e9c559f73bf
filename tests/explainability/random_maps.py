"""Random attention maps of many shapes, with and without masks."""

from __future__ import annotations

import numpy as np
import torch


def random_map(rng, square=False):
    """Weights [query, key], and a mask or None."""
    keys = int(rng.choice([1, 2, 3, 4, 7, 12, 60, 252], p=[0.04, 0.1, 0.12, 0.14, 0.2, 0.2, 0.19, 0.01]))
    queries = keys if square or rng.random() < 0.7 else int(rng.integers(1, 13))
    steps = np.arange(keys)
    offsets = steps - np.arange(queries)[:, None]
    spike = np.zeros(keys)
    spike[rng.choice(keys, min(keys, int(rng.integers(1, 4))), replace=False)] = 1
    noise = rng.dirichlet(np.full(keys, 10 ** rng.uniform(-1.5, 3)), queries)
    shape = {
        "noise": np.ones((queries, keys)),
        "column": np.tile(spike, (queries, 1)) + 1e-12,
        "some rows": spike * (rng.random((queries, 1)) < 0.3) + 1e-9,
        "late": np.where(steps >= keys * 3 / 4, rng.uniform(1, 8), 1.0) * np.ones((queries, 1)),
        "diagonal": (offsets == 0) + 1e-6,
        "band": np.exp(-abs(offsets) / rng.uniform(0.3, 4)),
        "causal": (offsets <= 0) + 1e-9,
        "block": (steps // 3 == (np.arange(queries) // 3)[:, None]) + 1e-6,
        "flipped": (offsets[:, ::-1] == 0) + 1e-6,
        "ties": 1 + 1e-7 * rng.random((queries, keys)),
    }
    chosen = shape[rng.choice(list(shape))]
    weights = chosen / chosen.sum(axis=1, keepdims=True)
    weights = (1 - (mix := rng.choice([0, 1e-3, 0.3, 0.6, 0.9, 1]))) * weights + mix * noise
    masks = {
        "none": np.zeros((queries, keys), bool),
        "padding": np.tile(steps >= rng.integers(0, keys + 1), (queries, 1)),
        "causal": offsets > 0,
        "any": rng.random((queries, keys)) < rng.uniform(0, 1),
    }
    mask = masks[rng.choice(list(masks), p=[0.6, 0.15, 0.15, 0.1])]
    weights = np.where(mask, 0, weights)
    total = weights.sum(axis=1, keepdims=True)
    weights = np.where(
        total > 0, weights / np.where(total > 0, total, 1), np.where(mask.all(axis=1)[:, None], np.nan, 0)
    )
    tensor = torch.from_numpy(weights).float()
    return (tensor, torch.from_numpy(mask)) if mask.any() or rng.random() < 0.1 else (tensor, None)
