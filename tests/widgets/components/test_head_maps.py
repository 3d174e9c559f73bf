"""What the front-end is told of attention maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from stockformer.charts.chart import Grid
from stockformer.charts.maps import head_grid, head_maps
from stockformer.explainability import head_statistics
from stockformer_widgets.components.head_maps import describe_maps, display_maps


def random_maps(layers: int, heads: int, queries: int, keys: int) -> list[torch.Tensor]:
    made = np.random.default_rng(0)
    return [torch.tensor(made.dirichlet(np.full(keys, 0.3), (heads, queries))) for _ in range(layers)]


def grid(layers: list[torch.Tensor]) -> Grid:
    days = [[[str(day) for day in range(size)] for size in maps.shape[1:]] for maps in layers]
    heads = [head_maps(maps, names) for maps, names in zip(layers, days, strict=True)]
    return head_grid(heads, head_statistics(layers), "").body


def decode(data: bytes, described: list[dict]) -> list[np.ndarray]:
    """By the words of `display_maps`, one map after the other."""
    values = np.frombuffer(data, np.uint8).astype(float)
    values[values == 255] = np.nan
    maps = []
    for one in described:
        size = one["queries"] * one["keys"]
        part, values = values[:size], values[size:]
        maps.append(part.reshape(one["queries"], one["keys"]) / 254 * one["largest"])
    assert not len(values)
    return maps


LAYERS = [*random_maps(2, 3, 5, 7), *random_maps(1, 2, 4, 6)]
HEADS = [head.numpy() for maps in LAYERS for head in maps]


def test_every_map_is_described_in_order():
    described = describe_maps(grid(LAYERS))
    places = [(one["layer"], one["head"]) for one in described]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]
    assert [(one["queries"], one["keys"]) for one in described] == [head.shape for head in HEADS]
    assert [one["largest"] for one in described] == pytest.approx([head.max() for head in HEADS])


def test_displayed_weights_come_back_to_half_a_step():
    found = decode(display_maps(grid(LAYERS)), describe_maps(grid(LAYERS)))
    for one, original in zip(found, HEADS, strict=True):
        assert np.abs(one - original).max() <= original.max() / 254 / 2 * 1.001


def test_what_is_no_number_is_marked():
    maps = torch.tensor([[[0.5, math.nan], [math.inf, 0.25]], [[math.nan] * 2] * 2])
    described = describe_maps(grid([maps]))
    assert [one["largest"] for one in described] == [0.5, 0.0]
    first, second = decode(display_maps(grid([maps])), described)
    np.testing.assert_allclose(first, [[0.5, np.nan], [np.nan, 0.25]], atol=0.001)
    assert np.isnan(second).all()
    assert described[1]["statistics"] == {"diffuseness": None, "recency": None, "redundancy": None}


def test_statistics_are_those_of_the_maps():
    (maps,) = random_maps(1, 3, 8, 8)
    own = maps.numpy()
    for head, one in enumerate(describe_maps(grid([maps]))):
        entropy = -(own[head] * np.log(own[head] + 1e-300)).sum(axis=1).mean()
        apart = [np.mean(jensenshannon(own[head], own[other], axis=1) ** 2) for other in range(3) if other != head]
        expected = {
            "diffuseness": entropy / np.log(8),
            "recency": own[head][:, -2:].sum(axis=1).mean(),
            "redundancy": 1 - min(apart) / np.log(2),
        }
        assert one["statistics"] == pytest.approx(expected, abs=1e-5)
