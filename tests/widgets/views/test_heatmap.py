"""A heatmap as both renderers draw it, and the difference of two."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from cases import PAIRS, SESSIONS, in_percent, lines, make_session, pixels, plain
from matplotlib.colors import to_hex
from PIL import Image

from stockformer.charts.chart import GREY, HIGHLIGHT, Axis, Chart, Heatmap, Scale
from stockformer.charts.difference import difference
from stockformer.charts.draw import draw
from stockformer_widgets import AttentionHeatmap, HeadGrid, SaliencyHeatmap, Selection
from stockformer_widgets.views.heatmap import HeatmapView

MAPS = [(name, kind) for name, kind in PAIRS if issubclass(kind, HeatmapView)]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.mark.parametrize(("name", "kind"), MAPS, ids=[f"{name}-{kind.__name__}" for name, kind in MAPS])
def test_both_renderers_draw_the_cells(name, kind):
    # Integrated gradients take long where they do not converge.
    with make_session(name, "input_x_gradient" if "method" in kind.follows_explanations else None) as session:
        view = kind(session, Selection(session, query=0))
        chart, body = view.chart, view.chart.body
        low, high = body.scale.low, body.scale.high
        figure = draw(chart, view._marked(), spans=view._spans())
        cells, bar = figure.axes
        (image,) = cells.images
        # Values and colours
        paper = np.ma.filled(np.ma.masked_invalid(image.get_array()), np.nan)
        hidden = np.zeros(body.values.shape, bool) if body.masked is None else body.masked
        expected = np.where(np.isfinite(body.values) & ~hidden, body.values, np.nan)
        np.testing.assert_array_equal(paper, expected)
        screen = pixels(view, body.palette, low, high)
        np.testing.assert_allclose(screen, np.clip(expected, low, high), atol=(high - low) / 500)
        assert (image.get_cmap().name, image.get_clim()) == (body.palette, (low, high))
        assert to_hex(image.get_cmap().get_bad()) == GREY
        # Names, title, and what grey and the line are
        for axis, ticks, labels in (
            (body.columns, view.x_axis, [(int(at), label.get_text()) for at, label in ticks_of(cells.xaxis)]),
            (body.rows, view.y_axis, [(int(at), label.get_text()) for at, label in ticks_of(cells.yaxis)]),
        ):
            assert all(axis.names[at] == label for at, label in labels)
            assert all(axis.names[int(at)] == ticks.tick_labels[str(at)] for at in ticks.tick_values)
            named = {at for at, _ in labels}
            assert len(axis.names) - 1 in named
            assert len(axis.names) - 0.5 in ticks.tick_values
            assert axis.label in plain(view.color_bar.value)
        assert (cells.get_xlabel(), cells.get_ylabel()) == (body.columns.label, body.rows.label)
        assert view.plot.title == cells.get_title() == chart.title
        assert f"{low:.4g}" in plain(view.color_bar.value)
        assert (in_percent(high) if body.scale.label == "weight" else f"{high:.4g}") in plain(view.color_bar.value)
        for words in (body.grey, *(body.reference or ())[1:]):
            assert words in plain(view.color_bar.value)
            assert words in bar.get_ylabel()
        # What is selected
        row, column = view._selected()
        across = [line.get_ydata()[0] for line in cells.lines if len(set(line.get_ydata())) == 1]
        down = [line.get_xdata()[0] for line in cells.lines if len(set(line.get_xdata())) == 1]
        assert (across, down) == ([] if row is None else [row], [column])
        assert {to_hex(line.get_color()) for line in cells.lines} == {HIGHLIGHT} == set(view.crosshair.colors)
        assert view.crosshair.x[0][0] == column + 0.5
        assert view.crosshair.x[1][1] == (0 if row is None else len(body.columns.names))
        for note in chart.notes:
            assert note.text in "\n".join(lines(view))
        assert view.to_frame().equals(chart.table)


def ticks_of(axis):
    return zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)


@pytest.mark.parametrize("name", SESSIONS)
def test_both_renderers_draw_every_head(name):
    with make_session(name) as session:
        view = HeadGrid(session, Selection(session, head=0))
        chart = view.chart
        axes, bar = draw(chart, view._marked()).axes
        tiles = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
        codes = np.frombuffer(view.grid.codes, np.uint8)
        largest = max(one["largest"] for one in view.grid.maps) or 1.0
        places = [(layer, head) for layer, heads in enumerate(chart.body.maps) for head in range(len(heads))]
        assert [(one["layer"], one["head"]) for one in view.grid.maps] == places
        assert axes.images[0].get_clim() == (0.0, pytest.approx(largest, rel=1e-6))
        for (layer, head), sent, label in zip(places, view.grid.maps, axes.texts, strict=True):
            weights = session.reading.capture.map(view.selection.kind, layer, head).numpy()
            expected = np.where(np.isfinite(weights), weights, np.nan)
            here, codes = np.split(codes, [weights.size])
            screen = np.where(here == 255, np.nan, here / 254 * sent["largest"]).reshape(weights.shape)
            np.testing.assert_allclose(screen, expected, atol=max(sent["largest"], 1e-9) / 500)
            left, above = map(round, label.get_position())
            paper = tiles[above + 1 : above + 1 + len(weights), left : left + weights.shape[1]]
            np.testing.assert_allclose(np.where(paper < 0, np.nan, paper), expected, rtol=1e-6)
            assert label.get_text().startswith(f"L{layer} H{head}  ")
            assert sent["grey"] in bar.get_ylabel()
        # As on the screen: one frame around the selected head, or dashed ones around its layer.
        assert [frame.get_linestyle() for frame in axes.patches] == ["solid"]
        view.selection.head = None
        frames = draw(chart, view._marked()).axes[0].patches
        assert [frame.get_linestyle() for frame in frames] == ["dashed"] * len(chart.body.maps[0])
        assert view.plot.title == axes.get_title() == chart.title
        assert view.to_frame().equals(chart.table)


def cells_of(values, rows: Axis, columns: Axis, masked=None, label: str = "weight") -> Chart:
    sentence = "query {row}, key {column}, weight {value}"
    body = Heatmap(np.array(values, dtype=np.float32), rows, columns, Scale(0.0, 1.0, label), sentence, masked=masked)
    return Chart("map", body)


@pytest.fixture
def spiked(session):
    """A view of a map in which the mean of the heads has few large cells, and one of zero."""
    weights = torch.full((8, 8), 1e-3)
    weights[:, 2], weights[0, 0], weights[1, 1] = 0.9, 0.0, 0.03
    session.reading.capture.kinds["cross"][0][:] = weights
    with AttentionHeatmap(session, Selection(session)) as view:
        yield view, weights.numpy()


def test_a_map_of_few_large_cells_offers_logarithmic_colours(spiked):
    view, weights = spiked
    assert view.log_button.layout.display is None
    assert "logarithmic" not in view.color_bar.value
    view.log_button.value = True
    assert view.selection.log_colors
    picture = Image.open(io.BytesIO(view.image.image.value))
    # Equal ratios are equally far apart, from a thousandth of the largest value, 0.9, to itself.
    with np.errstate(divide="ignore"):
        decades = np.clip(np.log10(weights / 0.9) + 3, 0, 3)
    np.testing.assert_allclose(np.asarray(picture), decades / 3 * 254, atol=0.51)
    assert "≤ 0.0900 %" in plain(view.color_bar.value)
    assert plain(view.color_bar.value).count("90.0 % logarithmic") == 1
    even = 100 * np.log10(0.125 / 0.9 * 1000) / 3
    assert f"{even:.0f}px 0 / 2px" in view.color_bar.value
    # In a picture too; the numbers stay as they are.
    image = draw(view.chart).axes[0].images[0]
    np.testing.assert_allclose(image.norm(image.get_array()).data, decades / 3, atol=1e-6)
    assert "logarithmic" in draw(view.chart).axes[1].get_ylabel()
    np.testing.assert_array_equal(view.chart.body.values, weights)
    view.selection.log_colors = False
    assert not view.log_button.value
    assert "logarithmic" not in view.color_bar.value


def test_other_maps_do_not_offer_logarithmic_colours(session):
    session.reading.capture.kinds["cross"][0][:] = 1 / 8
    with AttentionHeatmap(session, Selection(session)) as view:
        assert view.log_button.layout.display == "none"
        view.selection.log_colors = True  # chosen in another view
        assert "logarithmic" not in view.color_bar.value
        assert view.log_button.layout.display == "none"
    with SaliencyHeatmap(session, Selection(session, log_colors=True)) as view:  # colours of both signs
        assert view.log_button.layout.display == "none"
        assert "logarithmic" not in view.color_bar.value


def day_axes(*lengths: int) -> list[Axis]:
    names = [[f"d{day}" for day in range(length)] for length in lengths]
    return [Axis(one, f"{sets} day", sets) for one, sets in zip(names, ("query", "key"), strict=True)]


def test_a_difference_of_maps_ends_on_the_same_days():
    one = cells_of([[0.5, 0.5], [0.25, 0.75]], *day_axes(2, 2))
    other = cells_of([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.5, 0.5]], *day_axes(3, 3))
    both = difference(one, other)
    np.testing.assert_array_equal(both.body.values, [[0.5, -0.5], [-0.25, 0.25]])
    assert (both.body.scale.low, both.body.scale.high) == (-0.5, 0.5)
    assert both.body.rows.names == both.body.columns.names == ["-1", "0"]
    assert both.body.rows.name(0) == "-1 (A d0, B d1)"
    assert both.table.values.tolist() == [
        [-1, -1, 0.5, 0.0, 0.5],
        [-1, 0, 0.5, 1.0, -0.5],
        [0, -1, 0.25, 0.5, -0.25],
        [0, 0, 0.75, 0.5, 0.25],
    ]
    assert list(both.table) == ["query", "key", "a", "b", "difference"]
    # Of the first query half lies elsewhere, of the second a quarter.
    assert both.summary.findings[0].value == 0.375
    assert both.notes[0].text.endswith("query -1, key -1 +0.5; query -1, key 0 -0.5; query 0, key -1 -0.25")


def test_a_difference_hides_what_is_masked_in_both():
    masks = np.array([[False, True]]), np.array([[True, True]])
    one, other = (cells_of([[0.5, 0.5]], *day_axes(1, 2), masked=mask) for mask in masks)
    body = difference(one, other).body
    np.testing.assert_array_equal(body.cells, [[0.0, np.nan]])
    assert (body.words(0, 1), body.grey) == ("masked", "masked")


def test_a_difference_of_named_rows_has_those_of_both_and_the_largest_first():
    days = Axis(["mon", "tue"], "day", "query")
    one = cells_of([[1, 1], [6, 1], [0, 0]], Axis(["a", "b", "c"], "feature", "feature"), days, label="attribution")
    other = cells_of([[4, 1], [1, 2]], Axis(["b", "a"], "feature", "feature"), days, label="attribution")
    both = difference(one, other, most=1)
    assert both.body.rows.names == ["b"]
    np.testing.assert_array_equal(both.body.values, [[2, 0]])
    assert both.table["feature"].tolist() == ["a", "a", "b", "b"]
    assert both.table["difference"].tolist() == [0, -1, 2, 0]
    assert both.summary.verdict == "A and B are furthest apart at feature b, query -1: 6 in A, 4 in B."


def test_a_difference_of_the_same_or_of_no_numbers():
    days = day_axes(1, 2)
    same = cells_of([[0.5, 0.5]], *days, label="value")
    assert difference(same, same).summary.verdict == "A and B are the same in every cell."
    nothing = cells_of([[np.nan, np.nan]], *days, label="value")
    assert difference(same, nothing).summary.verdict.startswith("No cell has a number in both")
    off = cells_of([[0.0, 0.0]], *days)
    assert "switched off in B" in difference(cells_of([[0.5, 0.5]], *days), off).summary.verdict
