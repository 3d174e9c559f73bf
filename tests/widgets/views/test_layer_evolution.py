"""Attention by layer against the captured weights: lines, marks, clicks."""

from __future__ import annotations

import numpy as np
import pytest
from cases import lines, make_session, mouse
from expected import entropy, maps_by_kind

from stockformer_widgets import HeadSpecialization, LayerEvolution, Selection


def sparsity(maps: np.ndarray) -> np.ndarray:
    n = maps.shape[-1]
    return ((np.sqrt(n) - 1 / np.sqrt((maps**2).sum(axis=-1))) / (np.sqrt(n) - 1)).mean(axis=-1)


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
        return f"layer {layer}, mean diffuseness of the heads {diffuse:.3f}, mean sparsity of the heads {sparse:.3f}"

    assert lines(view)[0] == view.keyboard.announcement == f"Stock self-attention, {numbers(1)}"
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


@pytest.mark.parametrize("name", ["one day", "one day, layer, head"])
def test_scales_of_panels_have_a_width(name):
    for panel in HeadSpecialization(make_session(name)).picture.pictures:
        assert panel.scales["y"].min < panel.scales["y"].max
