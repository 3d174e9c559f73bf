"""The attention of one query against the captured weights: bars, marks, clicks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cases import drawn, in_percent, lines, marker, mouse, told
from expected import cross

from stockformer_widgets import AttentionRow, Selection


@pytest.mark.parametrize("head", [None, 1])
def test_row_frame(unequal, head):
    unequal.reading.capture.attention["cross_attn_layers.1.cross_attn"][:] *= 0.5  # rows that do not sum to 1
    view = AttentionRow(unequal, Selection(unequal, layer=1, head=head, query=3))
    weights = cross(unequal, 1)[:, 3]
    row = weights.mean(axis=0) if head is None else weights[head]
    frame = view.to_frame()
    assert list(frame) == ["key", "key_day", "weight", "share"]
    assert frame["key"].tolist() == list(range(9))
    assert frame["key_day"].tolist() == [f"step {key}" for key in range(9)]
    np.testing.assert_allclose(frame["weight"], row, rtol=1e-6)
    np.testing.assert_allclose(frame["share"], row / row.sum(), rtol=1e-6)


def test_row_marks(unequal):
    view = AttentionRow(unequal)
    for query, key, layer in ((0, 0, 0), (3, 7, 1), (5, 8, 1)):
        view.selection.layer, view.selection.query, view.selection.key = layer, query, key
        row = cross(unequal, layer).mean(axis=0)[query]
        # A step line: as high as each weight until the next day begins.
        x, y = drawn(view, "area")
        np.testing.assert_array_equal(x, [range(10)])
        np.testing.assert_allclose(y, [[*row, row[-1]]], rtol=1e-6)
        assert view.picture.lines["area"].interpolation == "step-after"
        assert list(view.picture.lines["reference"].y) == [1 / 9] * 2
        assert marker(view) == [key + 0.5] * 2
        assert (view.picture.scales["x"].min, view.picture.scales["x"].max) == (0, 9)
        assert (view.picture.scales["y"].min, view.picture.scales["y"].max) == (0, pytest.approx(row.max()))
        day = pd.bdate_range("2020-01-01", periods=6)[query].date()
        assert view.plot.title == f"Attention of {day}"


def test_row_names_a_key_and_the_three_strongest(unequal):
    view = AttentionRow(unequal, Selection(unequal, query=2, key=4))
    row = cross(unequal, 0).mean(axis=0)[2]

    def named(key):
        return f"step {key}, weight {in_percent(row[key], 9)}"

    order = sorted(range(9), key=lambda key: -row[key])
    strongest = "strongest: " + ", ".join(f"step {key} {in_percent(row[key])}" for key in order[:3])
    assert lines(view) == [named(4), strongest]
    assert view.keyboard.announcement == named(4)
    for x, key in ((0.5, 0), (8.99, 8), (9.0, 8), (-1.0, 0)):
        mouse(view.figure, "mousemove", x, 0.1)
        assert lines(view) == [named(key), strongest]
    assert view.selection.key == 4
    mouse(view.figure, "mouseleave")
    assert lines(view) == [named(4), strongest]


def test_a_row_without_numbers(unequal):
    unequal.reading.capture.attention["cross_attn_layers.0.cross_attn"][:] = float("nan")
    view = AttentionRow(unequal)
    assert np.isfinite(drawn(view, "area")[1]).all()
    assert "%" not in lines(view)[0]
    assert "no finite weights" in told(view)
    assert view.keyboard.announcement == "step 8, weight not a number"
    assert view.to_frame()[["weight", "share"]].isna().all(axis=None)


@pytest.mark.parametrize(("x", "key"), [(2.5, 2), (0.0, 0), (8.999, 8), (9.0, 8), (-4.0, 0), (100.0, 8)])
def test_a_click_on_the_row_selects_the_key(unequal, x, key):
    view = AttentionRow(unequal, Selection(unequal, query=1, key=4))
    mouse(view.figure, "click", x, 0.0)
    assert (view.selection.query, view.selection.key) == (1, key)
    assert marker(view) == [key + 0.5] * 2


def test_shares_are_named_in_percent(unequal):
    axis = AttentionRow(unequal).picture.y_axis
    assert len(axis.tick_values) > 2
    for value in axis.tick_values:
        assert axis.tick_labels[f"{value:g}"] == f"{100 * value:g} %"
