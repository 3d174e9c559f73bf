"""What a query may not attend to is grey, named, and no small weight, in every view."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from cases import lines, mouse, told
from PIL import Image
from torch import nn

from stockformer_widgets import (
    AttentionHeatmap,
    AttentionRow,
    ExtractorSession,
    HeadGrid,
    HeadSpecialization,
    LayerEvolution,
    Selection,
)
from stockformer_widgets.export import pack_samples

STEPS, ALLOWED = 10, 8
MASK = torch.zeros(STEPS, STEPS, dtype=torch.bool)
MASK[:, ALLOWED:] = True
MASK[0] = True  # a query without any key


class Padded(nn.Module):
    """Even attention over the first eight of ten steps; the first query may attend to none."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        nn.init.zeros_(self.attention.in_proj_weight)

    def forward(self, x):
        return self.attention(x, x, x, attn_mask=MASK, need_weights=False)[0]


@pytest.fixture
def session():
    with ExtractorSession(Padded().eval(), torch.randn(1, STEPS, 8)) as one:
        yield one


def words(view):
    return told(view)


def test_the_map(session):
    view = AttentionHeatmap(session)
    values = view.to_frame()["weight"].to_numpy().reshape(STEPS, STEPS)
    np.testing.assert_array_equal(np.isnan(values), MASK.numpy())
    np.testing.assert_allclose(values[~MASK.numpy()], 1 / ALLOWED, rtol=1e-5)
    pixels = np.array(Image.open(io.BytesIO(view.image.image.value)))
    np.testing.assert_array_equal(pixels == 255, MASK.numpy())
    assert "■</span> masked" in view.color_bar.value
    mouse(view.figure, "mousemove", ALLOWED + 0.5, 4.5)
    assert lines(view)[0].endswith("weight masked")
    mouse(view.figure, "mousemove", 2.5, 4.5)
    assert lines(view)[0].endswith("weight 12.5 %")
    assert "Nearly uniform over 8 allowed steps: every weight is 1.00 times its even share" in words(view)
    assert "mean map of the heads" in words(view)
    assert view._plot().axes[1].get_ylabel() == "weight (grey: masked)"


def test_the_row(session):
    view = AttentionRow(session, Selection(session, query=3))
    assert "Nearly uniform over 8 allowed steps" in words(view)
    mouse(view.figure, "mousemove", ALLOWED + 0.5, 0.0)
    assert "step 8, weight masked" in lines(view)
    view.selection.query = 0
    assert "Every key is masked: there is nothing to attend to." in words(view)
    assert "strongest" not in "\n".join(lines(view))


def test_heads_and_layers(session):
    grid = HeadGrid(session, Selection(session, key=ALLOWED))
    assert [one["grey"] for one in grid.grid.maps] == ["masked"] * 2
    codes = np.frombuffer(grid.grid.codes, np.uint8).reshape(2, STEPS, STEPS)
    np.testing.assert_array_equal(codes == 255, MASK.expand(2, -1, -1).numpy())
    assert "weight masked" in lines(grid)[0]
    assert grid.to_frame()["diffuseness"].tolist() == pytest.approx([1, 1])
    assert grid.to_frame()["recency"].tolist() == pytest.approx([0.25, 0.25])
    table = LayerEvolution(session).to_frame()
    assert table["diffuseness"].tolist() == pytest.approx([1, 1])
    assert table["entropy"].tolist() == pytest.approx([math.log(ALLOWED)] * 2)
    assert "All 2 heads are nearly uniform" in words(HeadSpecialization(session))


def test_the_exported_page(session):
    bundle, data = pack_samples(session, Selection(session), None)
    body = bundle["samples"][0]["views"]["AttentionHeatmap"]["charts"]["attention 0 0"]["body"]
    first, size = body["masked"]["array"]
    masked = np.frombuffer(data, "<f4")[first : first + size].reshape(STEPS, STEPS)
    np.testing.assert_array_equal(masked, MASK)
