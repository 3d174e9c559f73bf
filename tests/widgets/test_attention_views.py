"""Views of attention maps against the captured weights: numbers, marks, clicks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cases import drawn, lines, make_session, marker, mouse, pixels, plain

from stockformer_widgets import (
    AttentionHeatmap,
    AttentionRow,
    ExtractorSession,
    HeadSpecialization,
    LayerEvolution,
    Selection,
)


@pytest.fixture
def unequal() -> ExtractorSession:
    """Six dated stock days and nine market days."""
    short = make_session("market longer")
    short.run(*(tensor[0] for tensor in short.reading.inputs), dates=pd.bdate_range("2020-01-01", periods=6))
    return short


def cross(session: ExtractorSession, layer: int) -> np.ndarray:
    """[heads, query, key]."""
    return session.reading.capture.attention[f"cross_attn_layers.{layer}.cross_attn"][0].numpy()


def maps_by_kind(session: ExtractorSession) -> dict[str, list[np.ndarray]]:
    paths = {
        "cross": ["cross_attn_layers.0.cross_attn", "cross_attn_layers.1.cross_attn"],
        "self": ["stock_layers.0.self_attn", "stock_layers.1.self_attn"],
        "market": ["market_encoder.encoder.layers.0.self_attn"],
    }
    weights = session.reading.capture.attention
    return {kind: [weights[path][0].numpy() for path in of_kind] for kind, of_kind in paths.items()}


def entropy(maps: np.ndarray) -> np.ndarray:
    return -(maps * np.log(maps)).sum(axis=-1).mean(axis=-1)


def sparsity(maps: np.ndarray) -> np.ndarray:
    n = maps.shape[-1]
    return ((np.sqrt(n) - 1 / np.sqrt((maps**2).sum(axis=-1))) / (np.sqrt(n) - 1)).mean(axis=-1)


# Heatmap


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
    assert f"{shown.max():.4g}" in plain(view.color_bar.value)
    labels = {"cross": ("stock", "market"), "self": ("stock", "stock"), "market": ("market", "market")}[kind]
    assert "{} day ↓ {} day →".format(*labels) in plain(view.color_bar.value)
    assert f"uniform {1 / keys:.3g}" in plain(view.color_bar.value)


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
    assert plain(view.readout.value).endswith("weight nan")
    mouse(view.figure, "mousemove", 0.5, 5.5)
    assert plain(view.readout.value).endswith("weight inf")


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
    assert view.x_axis.tick_labels == {str(step + 0.5): f"step {step}" for step in (0, 2, 4, 6, 8)}


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
        return f"query {days[query]}, key step {key}, weight {weights[query, key]!s}"

    assert lines(view) == [view.keyboard.says] == [named(4, 4)]
    mouse(view.figure, "mousemove", *place)
    assert lines(view) == [named(*cell)]
    assert view.keyboard.says == named(4, 4)
    assert (view.selection.query, view.selection.key) == (4, 4)
    mouse(view.figure, "mouseleave", *place)
    assert lines(view) == [named(4, 4)]


# Row


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
        assert view.plot.title == f"What {day} attends to"


def test_row_names_a_key_and_the_three_strongest(unequal):
    view = AttentionRow(unequal, Selection(unequal, query=2, key=4))
    row = cross(unequal, 0).mean(axis=0)[2]

    def named(key):
        return f"step {key} {row[key]:.4g}"

    strongest = "strongest: " + ", ".join(named(key) for key in sorted(range(9), key=lambda key: -row[key])[:3])
    assert lines(view) == [named(4), strongest]
    assert view.keyboard.says == named(4)
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
    assert "no finite weights" in plain(view.summary.value)
    assert view.keyboard.says == "step 8 nan"
    assert view.to_frame()[["weight", "share"]].isna().all(axis=None)


@pytest.mark.parametrize(("x", "key"), [(2.5, 2), (0.0, 0), (8.999, 8), (9.0, 8), (-4.0, 0), (100.0, 8)])
def test_a_click_on_the_row_selects_the_key(unequal, x, key):
    view = AttentionRow(unequal, Selection(unequal, query=1, key=4))
    mouse(view.figure, "click", x, 0.0)
    assert (view.selection.query, view.selection.key) == (1, key)
    assert marker(view) == [key + 0.5] * 2


# By layer


def test_layer_frame(unequal):
    frame = LayerEvolution(unequal).to_frame()
    assert list(frame) == ["kind", "layer", "head", "entropy", "diffuseness", "sparsity"]
    expected = [
        (kind, layer, head, entropy(maps)[head], entropy(maps)[head] / np.log(maps.shape[-1]), sparsity(maps)[head])
        for kind, layers in maps_by_kind(unequal).items()
        for layer, maps in enumerate(layers)
        for head in range(2)
    ]
    assert frame[["kind", "layer", "head"]].values.tolist() == [list(row[:3]) for row in expected]
    np.testing.assert_allclose(frame.iloc[:, 3:].to_numpy(), [row[3:] for row in expected], rtol=1e-5)


def test_layer_marks(unequal):
    view = LayerEvolution(unequal)
    by_kind = maps_by_kind(unequal).values()
    diffuse = [[(entropy(maps) / np.log(maps.shape[-1])).mean() for maps in layers] for layers in by_kind]
    sparse = [[sparsity(maps).mean() for maps in layers] for layers in by_kind]
    assert [panel.plot.title for panel in view.picture.pictures] == [
        "mean diffuseness of the heads",
        "mean sparsity of the heads",
    ]
    for panel, values in zip(view.picture.pictures, (diffuse, sparse), strict=True):
        mark = panel.lines["dots"]
        # The market encoder's only layer: a point, as a line that ends where it begins.
        np.testing.assert_array_equal(mark.x, [[0.5, 1.5], [0.5, 1.5], [0.5, 0.5]])
        np.testing.assert_allclose(mark.y, [*values[:2], values[2] * 2], rtol=1e-5)
        assert len(set(mark.colors)) == 3
        assert (panel.scales["x"].min, panel.scales["x"].max) == (0, 2)
        assert (panel.scales["y"].min, panel.scales["y"].max) == (0, 1)
    for layer in (1, 0):
        view.selection.layer = layer
        assert [list(panel.markers[0].x) for panel in view.picture.pictures] == [[layer + 0.5] * 2] * 2
    for kind in ("Stock to market attention", "Stock self-attention", "Market self-attention"):
        assert kind in lines(view)[1]


def test_layer_under_the_mouse(unequal):
    view = LayerEvolution(unequal, Selection(unequal, kind="self", layer=1))
    maps = maps_by_kind(unequal)["self"]

    def numbers(layer):
        diffuse = (entropy(maps[layer]) / np.log(6)).mean()
        sparse = sparsity(maps[layer]).mean()
        return f"layer {layer}: mean diffuseness of the heads {diffuse:.3f}, mean sparsity of the heads {sparse:.3f}"

    assert lines(view)[0] == view.keyboard.says == f"Stock self-attention, {numbers(1)}"
    mouse(view.picture.pictures[1].figure, "mousemove", 0.2, 0.5)
    assert lines(view)[0] == f"Stock self-attention, {numbers(0)}"
    assert view.selection.layer == 1
    mouse(view.picture.pictures[1].figure, "mouseleave")
    assert lines(view)[0] == f"Stock self-attention, {numbers(1)}"


@pytest.mark.parametrize("name", ["one layer, one head", "nn.TransformerEncoderLayer", "one of everything"])
def test_kinds_of_one_layer_are_a_point_each(name):
    session = make_session(name)
    view = LayerEvolution(session)
    for panel, column in zip(view.picture.pictures, ("diffuseness", "sparsity"), strict=True):
        expected = view.to_frame().groupby("kind", sort=False)[column].mean().fillna(0)  # of one key there is no choice
        mark = panel.lines["dots"]
        drawn = np.asarray(mark.y)
        if len(expected) > 1:  # else one line, [points]
            assert drawn.ndim == 2
        drawn = np.atleast_2d(drawn)
        assert len(drawn) == len(expected)
        np.testing.assert_allclose(drawn, np.repeat(expected.to_numpy()[:, None], drawn.shape[1], axis=1), rtol=1e-5)
        assert set(np.ravel(mark.x)) == {0.5}


@pytest.mark.parametrize("panel", [0, 1])
@pytest.mark.parametrize(("x", "layer"), [(0.9, 0), (1.1, 1), (1.5, 1), (0.0, 0), (-7.0, 0), (2.0, 1), (99.0, 1)])
def test_a_click_on_a_panel_selects_the_layer(unequal, panel, x, layer):
    view = LayerEvolution(unequal, Selection(unequal, layer=1 - layer))
    mouse(view.picture.pictures[panel].figure, "click", x, 0.5)
    assert view.selection.layer == layer
    mouse(view.picture.pictures[panel].figure, "click", x, 0.5)
    assert view.selection.layer == layer


# By head


def redundancy(maps: np.ndarray) -> np.ndarray:
    """1 - Jensen-Shannon divergence to the nearest other head / log 2."""

    def divergence(one, other):
        return entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2

    heads = range(len(maps))
    nearest = [min(divergence(maps[a], maps[b]) for b in heads if b != a) for a in heads]
    return 1 - np.array(nearest) / np.log(2)


def by_head(maps: np.ndarray) -> dict[str, np.ndarray]:
    queries, keys = maps.shape[1:]
    apart = np.abs(np.arange(keys) - np.arange(queries)[:, None] - (keys - queries))  # both end on one day
    return {
        "diffuseness": entropy(maps) / np.log(keys),
        "peak": maps.mean(axis=1).argmax(axis=-1),
        "recency": maps[:, :, -round(keys / 4) :].sum(axis=-1).mean(axis=-1),
        "distance": (maps * apart).sum(axis=-1).mean(axis=-1),
        "redundancy": redundancy(maps),
    }


def test_head_numbers(unequal, large):
    for session, kind, layer, path in (
        (unequal, "cross", 1, "cross_attn_layers.1.cross_attn"),
        (unequal, "market", 0, "market_encoder.encoder.layers.0.self_attn"),
        (large, "self", 2, "stock_layers.2.self_attn"),
    ):
        view = HeadSpecialization(session, Selection(session, kind=kind, layer=layer))
        expected = by_head(session.reading.capture.attention[path][0].numpy().astype(float))
        frame = view.to_frame()
        assert list(frame) == ["head", *expected]
        assert frame["head"].tolist() == list(range(len(frame)))
        titles = ["diffuseness", "peak key day", "recency share", "distance, days", "redundancy"]
        assert [panel.plot.title for panel in view.picture.pictures] == titles
        for panel, (name, values) in zip(view.picture.pictures, expected.items(), strict=True):
            np.testing.assert_allclose(frame[name], values, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(panel.bars.x, np.arange(len(values)) + 0.5)
            np.testing.assert_allclose(panel.bars.y, values, rtol=1e-4, atol=1e-5)


def test_head_marker_and_words(unequal):
    view = HeadSpecialization(unequal, Selection(unequal, kind="self"))
    numbers = by_head(unequal.reading.capture.attention["stock_layers.0.self_attn"][0].numpy())
    days = pd.bdate_range("2020-01-01", periods=6).strftime("%Y-%m-%d")

    def check(line, head):
        assert line.startswith(f"head {head}: diffuseness {numbers['diffuseness'][head]:.3g}")
        for name in ("recency", "distance", "redundancy"):
            assert f" {numbers[name][head]:.3g}" in line
        assert days[numbers["peak"][head]] in line

    assert lines(view)[0] == view.keyboard.says == "mean of the heads"
    assert [list(panel.bars.opacities) for panel in view.picture.pictures] == [[1.0, 1.0]] * 5
    mouse(view.picture.pictures[2].figure, "mousemove", 0.3, 0.1)
    check(lines(view)[0], 0)
    assert view.selection.head is None
    view.selection.head = 1
    assert [list(panel.bars.opacities) for panel in view.picture.pictures] == [[0.4, 1.0]] * 5
    check(lines(view)[0], 1)
    check(view.keyboard.says, 1)


@pytest.mark.parametrize("panel", range(5))
@pytest.mark.parametrize(("x", "head"), [(0.9, 0), (1.1, 1), (-9.0, 0), (1.5, 1), (99.0, 1)])
def test_a_click_on_a_panel_selects_the_head_and_a_second_one_the_mean(unequal, panel, x, head):
    view = HeadSpecialization(unequal)
    mouse(view.picture.pictures[panel].figure, "click", x, 0.5)
    assert view.selection.head == head
    mouse(view.picture.pictures[panel].figure, "click", x, 0.5)
    assert view.selection.head is None


def test_a_single_head_repeats_no_other():
    view = HeadSpecialization(make_session("one layer, one head"))
    assert view.to_frame()["redundancy"].isna().all()
    assert all(np.isfinite(panel.bars.y).all() for panel in view.picture.pictures)


@pytest.mark.parametrize("name", ["one day", "one day, layer, head"])
def test_scales_of_panels_have_a_width(name):
    for panel in HeadSpecialization(make_session(name)).picture.pictures:
        assert panel.scales["y"].min < panel.scales["y"].max
