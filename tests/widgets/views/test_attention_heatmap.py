"""The attention heatmap against the captured weights: cells, marks, clicks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cases import in_percent, lines, make_session, mouse, pixels, plain
from expected import cross, maps_by_kind

from stockformer_widgets import AttentionHeatmap, Selection


@pytest.mark.parametrize("head", [None, 0, 1])
def test_heatmap_frame(unequal, head):
    view = AttentionHeatmap(unequal, Selection(unequal, layer=1, head=head))
    weights = cross(unequal, 1)
    shown = weights.mean(axis=0) if head is None else weights[head]
    frame = view.to_frame()
    assert list(frame) == ["query", "query_day", "key", "key_day", "weight"]
    assert frame[["query", "key"]].values.tolist() == [[query, key] for query in range(6) for key in range(9)]
    np.testing.assert_allclose(frame["weight"], shown.ravel(), rtol=1e-6)
    days = pd.bdate_range("2020-01-01", periods=6).strftime("%Y-%m-%d")
    assert frame["query_day"].tolist() == list(np.repeat(days, 9))
    assert frame["key_day"].tolist() == [f"step {key}" for key in range(9)] * 6


@pytest.mark.parametrize("kind", ["cross", "self", "market"])
@pytest.mark.parametrize("head", [None, 1])
def test_heatmap_pixels(unequal, kind, head):
    view = AttentionHeatmap(unequal, Selection(unequal, kind=kind, head=head))
    maps = maps_by_kind(unequal)[kind][0]
    shown = maps.mean(axis=0) if head is None else maps[head]
    drawn = pixels(view, "viridis", 0.0, shown.max())
    assert drawn.shape == shown.shape
    np.testing.assert_allclose(drawn, shown, atol=shown.max() / 500)
    queries, keys = shown.shape
    assert (list(view.image.x), list(view.image.y)) == ([0, keys], [queries, 0])
    assert (view.scales["x"].min, view.scales["x"].max) == (0, keys)
    assert (view.scales["y"].min, view.scales["y"].max, view.scales["y"].reverse) == (0, queries, True)
    assert in_percent(shown.max()) in plain(view.color_bar.value)
    labels = {"cross": ("stock", "market"), "self": ("stock", "stock"), "market": ("market", "market")}[kind]
    assert "{} day ↓ {} day →".format(*labels) in plain(view.color_bar.value)
    assert f"even {in_percent(1 / keys)}" in plain(view.color_bar.value)


def test_heatmap_cells_without_a_number_are_grey(unequal):
    weights = unequal.reading.capture.attention["cross_attn_layers.0.cross_attn"]
    weights[0, :, 2, 3], weights[0, :, 5, 0], weights[0, :, 0, 8] = np.nan, np.inf, -np.inf
    expected = cross(unequal, 0)[0]
    view = AttentionHeatmap(unequal, Selection(unequal, head=0))
    finite = np.isfinite(expected)
    drawn = pixels(view, "viridis", 0.0, expected[finite].max())
    np.testing.assert_array_equal(np.isnan(drawn), ~finite)
    np.testing.assert_allclose(drawn[finite], expected[finite], atol=expected[finite].max() / 500)
    mouse(view.figure, "mousemove", 3.5, 2.5)
    assert "\n".join(lines(view)).endswith("weight not a number")
    mouse(view.figure, "mousemove", 0.5, 5.5)
    assert "\n".join(lines(view)).endswith("weight not a number")


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (120, 30)])
def test_heatmaps_of_any_shape(shape):
    session = make_session("by hand")
    x, market_x = (tensor[0] for tensor in session.reading.inputs)
    session.run(x[:1].repeat(shape[0], 1), market_x[:1].repeat(shape[1], 1))
    shown = cross(session, 0).mean(axis=0)
    assert shown.shape == shape
    np.testing.assert_allclose(
        pixels(AttentionHeatmap(session), "viridis", 0.0, shown.max()), shown, atol=shown.max() / 500
    )


def test_heatmap_follows_the_selection_with_another_image(unequal):
    view = AttentionHeatmap(unequal)
    for layer, head in ((1, None), (1, 1), (1, 0)):
        before = view.image.image
        view.selection.layer, view.selection.head = layer, head
        # The mark draws when it gets another image, not when its image gets other bytes.
        assert view.image.image is not before
        maps = cross(unequal, layer)
        shown = maps.mean(axis=0) if head is None else maps[head]
        np.testing.assert_allclose(pixels(view, "viridis", 0.0, shown.max()), shown, atol=shown.max() / 500)
        where = "mean of 2 heads" if head is None else f"head {head}"
        assert view.plot.title == f"Stock to market attention, layer {layer}, {where}"


def test_a_moved_crosshair_sends_no_picture(unequal):
    view = AttentionHeatmap(unequal)
    picture, value = view.image.image, view.image.image.value
    view.selection.query, view.selection.key = 1, 2
    assert view.image.image is picture
    assert picture.value is value
    np.testing.assert_array_equal(view.crosshair.x, [[2.5, 2.5], [0, 9]])
    np.testing.assert_array_equal(view.crosshair.y, [[0, 6], [1.5, 1.5]])


def test_heatmap_axes_name_the_days(unequal):
    view = AttentionHeatmap(unequal)
    days = pd.bdate_range("2020-01-01", periods=6).strftime("%Y-%m-%d")
    assert view.y_axis.tick_labels == {str(step + 0.5): days[step] for step in range(6)}
    assert set(view.y_axis.tick_values) == {step + 0.5 for step in range(6)}
    assert view.x_axis.tick_labels == {str(step + 0.5): f"step {step}" for step in (2, 5, 8)}


def test_long_axes_name_some_days_and_always_the_last(large):
    view = AttentionHeatmap(large)
    days = large.reading.days(60)
    for axis, most in ((view.x_axis, 5), (view.y_axis, 9)):
        assert axis.tick_labels["59.5"] == days[59]
        assert 3 <= len(axis.tick_labels) <= most
        assert all(days[int(float(place))] == name for place, name in axis.tick_labels.items())


#: A place on the map of 6 queries and 9 keys, and the cell there: at the edges, and beyond them the nearest.
PLACES = [
    ((2.5, 1.5), (1, 2)),
    ((0.0, 0.0), (0, 0)),
    ((2.999, 3.0), (3, 2)),
    ((9.0, 6.0), (5, 8)),
    ((-0.2, 6.3), (5, 0)),
    ((1e9, -1e9), (0, 8)),
]


@pytest.mark.parametrize(("place", "cell"), PLACES)
def test_a_click_on_the_heatmap_selects_query_and_key(unequal, place, cell):
    view = AttentionHeatmap(unequal, Selection(unequal, query=4, key=4))
    mouse(view.figure, "click", *place)
    query, key = cell
    assert (view.selection.query, view.selection.key) == (query, key)
    np.testing.assert_array_equal(view.crosshair.x, [[key + 0.5, key + 0.5], [0, 9]])
    np.testing.assert_array_equal(view.crosshair.y, [[0, 6], [query + 0.5, query + 0.5]])


@pytest.mark.parametrize(("place", "cell"), PLACES)
def test_the_line_below_names_the_cell_under_the_mouse_and_then_the_selected_one(unequal, place, cell):
    view = AttentionHeatmap(unequal, Selection(unequal, query=4, key=4))
    weights = cross(unequal, 0).mean(axis=0)
    days = pd.bdate_range("2020-01-01", periods=6).strftime("%Y-%m-%d")

    def named(query, key):
        return f"query {days[query]}, key step {key}, weight {in_percent(weights[query, key], 9)}"

    assert lines(view) == [view.keyboard.announcement] == [named(4, 4)]
    mouse(view.figure, "mousemove", *place)
    assert lines(view) == [named(*cell)]
    assert view.keyboard.announcement == named(4, 4)
    assert (view.selection.query, view.selection.key) == (4, 4)
    mouse(view.figure, "mouseleave", *place)
    assert lines(view) == [named(4, 4)]
