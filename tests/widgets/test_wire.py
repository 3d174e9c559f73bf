"""What the front-end is told of attention maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from stockformer.explainability import head_statistics
from stockformer_widgets.wire import describe_maps, encode_maps


def random_maps(layers: int, heads: int, queries: int, keys: int) -> list[torch.Tensor]:
    made = np.random.default_rng(0)
    return [torch.tensor(made.dirichlet(np.full(keys, 0.3), (heads, queries))) for _ in range(layers)]


def decode(data: bytes, codes: type, described: list[dict]) -> list[np.ndarray]:
    """By the words of `encode_maps`, one map after the other."""
    values = np.frombuffer(data, dtype=np.dtype(codes).newbyteorder("<")).astype(float)
    values[values == np.iinfo(codes).max] = np.nan
    maps = []
    for one in described:
        size = one["queries"] * one["keys"]
        part, values = values[:size], values[size:]
        maps.append(part.reshape(one["queries"], one["keys"]) / (np.iinfo(codes).max - 1) * one["largest"])
    assert not len(values)
    return maps


@pytest.mark.parametrize("codes", [np.uint8, np.uint16])
def test_weights_come_back_to_half_a_step(codes):
    layers = [*random_maps(2, 3, 5, 7), *random_maps(1, 2, 4, 6)]
    described = describe_maps(layers, head_statistics(layers))
    assert [(one["layer"], one["head"]) for one in described] == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
        (1, 1),
        (1, 2),
        (2, 0),
        (2, 1),
    ]
    data = encode_maps(layers, codes)
    assert len(data) == np.dtype(codes).itemsize * (6 * 35 + 2 * 24)
    originals = [head.numpy() for maps in layers for head in maps]
    for found, original in zip(decode(data, codes, described), originals, strict=True):
        assert np.abs(found - original).max() <= original.max() / (np.iinfo(codes).max - 1) / 2 * 1.001


def test_what_is_no_number_is_marked():
    maps = torch.tensor([[[0.5, math.nan], [math.inf, 0.25]], [[math.nan] * 2] * 2])
    described = describe_maps([maps], head_statistics([maps]))
    assert [one["largest"] for one in described] == [0.5, 0.0]
    first, second = decode(encode_maps([maps], np.uint8), np.uint8, described)
    np.testing.assert_allclose(first, [[0.5, np.nan], [np.nan, 0.25]], atol=0.001)
    assert np.isnan(second).all()
    assert described[1]["statistics"] == {"diffuseness": None, "recency": None, "redundancy": None}


def test_statistics_are_those_of_the_maps():
    (maps,) = random_maps(1, 3, 8, 8)
    own = maps.numpy()
    for head, one in enumerate(describe_maps([maps], head_statistics([maps]))):
        entropy = -(own[head] * np.log(own[head] + 1e-300)).sum(axis=1).mean()
        apart = [np.mean(jensenshannon(own[head], own[other], axis=1) ** 2) for other in range(3) if other != head]
        expected = {
            "diffuseness": entropy / np.log(8),
            "recency": own[head][:, -2:].sum(axis=1).mean(),
            "redundancy": 1 - min(apart) / np.log(2),
        }
        assert one["statistics"] == pytest.approx(expected, abs=1e-5)
