"""Views of gates and pooling against the captured tensors: numbers, marks, clicks."""

from __future__ import annotations

import numpy as np
import pytest
from cases import days_of, drawn, lines, make_session, marker, mouse, pixels

from stockformer_widgets import GateHeatmap, GateTimeline, PoolingBars, Selection


def gate_of(session, layer: int) -> np.ndarray:
    """[T, d]."""
    return session.reading.capture.gates[f"cross_attn_layers.{layer}.gate"][0].numpy()


def pooling_of(session) -> np.ndarray:
    return session.reading.capture.pooling[0].numpy()


#: Where a click lands on eight days, at and beyond the edges.
DAYS = [(2.5, 2), (0.0, 0), (2.999, 2), (7.0, 7), (8.0, 7), (-0.1, 0), (-1e6, 0), (1e6, 7)]


# Heatmap


def test_gate_heatmap_frame(session):
    view = GateHeatmap(session, Selection(session, layer=1))
    frame = view.to_frame()
    assert list(frame) == ["dimension", "step", "day", "gate"]
    gate = gate_of(session, 1)
    assert len(frame) == gate.size == 8 * 8
    for row in frame.itertuples():
        assert row.gate == gate[row.step, row.dimension]
        assert row.day == days_of(session)[row.step]


@pytest.mark.parametrize("layer", [0, 3])
def test_gate_heatmap_shows_the_most_variable_dimensions(large, layer):
    view = GateHeatmap(large)
    view.selection.layer = layer
    gate = gate_of(large, layer)
    rows = [int(view.y_axis.tick_labels[str(row + 0.5)]) for row in range(32)]
    spread = gate.std(axis=0)
    np.testing.assert_allclose(spread[rows], np.sort(spread)[::-1][:32], rtol=1e-4)
    colors = pixels(view, "viridis", 0.0, 1.0)
    assert colors.shape == (32, 60)
    np.testing.assert_allclose(colors, gate[:, rows].T, atol=1 / 500)
    assert view.plot.title == f"Gate of layer {layer}, the 32 most variable of 48 dimensions"


@pytest.mark.parametrize(("x", "day"), DAYS)
@pytest.mark.parametrize("y", [3.5, -5.0, 50.0])
def test_a_click_on_the_gate_heatmap_selects_the_day(session, x, y, day):
    view = GateHeatmap(session, Selection(session, query=4, key=4))
    mouse(view.figure, "click", x, y)
    assert (view.selection.query, view.selection.key) == (day, 4)
    # One line at the day; the other has no length.
    np.testing.assert_array_equal(view.crosshair.x, [[day + 0.5] * 2, [0, 0]])
    np.testing.assert_array_equal(view.crosshair.y, [[0, 8], [0, 0]])


def test_the_line_below_the_gate_heatmap(session):
    view = GateHeatmap(session, Selection(session, query=4))
    assert lines(view) == [view.keyboard.says] == [f"selected day {days_of(session)[4]}"]
    mouse(view.figure, "mousemove", 2.5, 3.5)
    dimension = int(view.y_axis.tick_labels["3.5"])
    value = gate_of(session, 0)[2, dimension]
    assert lines(view) == [f"dimension {dimension}, day {days_of(session)[2]}, gate {value:.6g}"]
    mouse(view.figure, "mouseleave")
    assert lines(view) == [f"selected day {days_of(session)[4]}"]


# Timeline


def test_gate_timeline_frame(session):
    frame = GateTimeline(session).to_frame()
    assert list(frame) == ["layer", "step", "day", "mean", "p10", "p90"]
    assert frame[["layer", "step"]].values.tolist() == [[layer, step] for layer in range(2) for step in range(8)]
    for row in frame.itertuples():
        values = gate_of(session, row.layer)[row.step]
        assert row.day == days_of(session)[row.step]
        expected = (values.mean(), np.percentile(values, 10), np.percentile(values, 90))
        assert (row.mean, row.p10, row.p90) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("layer", "query"), [(0, 0), (2, 33), (3, 59)])
def test_gate_timeline_marks(large, layer, query):
    view = GateTimeline(large)
    view.selection.layer, view.selection.query = layer, query
    gates = np.stack([gate_of(large, number) for number in range(4)])
    x, y = drawn(view, "line")
    np.testing.assert_allclose(x, np.tile(np.arange(60) + 0.5, (4, 1)))
    np.testing.assert_allclose(y, gates.mean(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(view.picture.lines["band"].x, np.arange(60) + 0.5)
    np.testing.assert_allclose(view.picture.lines["band"].y, np.percentile(gates[layer], [10, 90], axis=-1), rtol=1e-5)
    assert view.picture.lines["band"].fill == "between"
    lines = view.picture.lines["line"]
    assert list(view.picture.lines["band"].fill_colors) == [lines.colors[layer]]
    assert len(set(lines.colors)) == 4
    assert np.argmax(lines.opacities) == layer
    assert marker(view) == [query + 0.5] * 2
    assert (view.picture.scales["y"].min, view.picture.scales["y"].max) == (0, 1)


def test_gates_of_the_day_under_the_mouse(session):
    view = GateTimeline(session, Selection(session, query=4))
    means = [gate_of(session, layer).mean(axis=-1) for layer in range(2)]
    days = days_of(session)

    def check(line, day):
        assert line.startswith(f"{days[day]} ")
        for layer in range(2):
            assert f"layer {layer} {means[layer][day]:.3f}" in line

    check(lines(view)[0], 4)
    check(view.keyboard.says, 4)
    mouse(view.figure, "mousemove", 6.2, 0.5)
    check(lines(view)[0], 6)
    assert view.selection.query == 4
    mouse(view.figure, "mouseleave")
    check(lines(view)[0], 4)


@pytest.mark.parametrize("name", ["one day", "one day, layer, head"])
def test_the_gates_of_one_day(name):
    session = make_session(name)
    view = GateTimeline(session)
    gates = [gate_of(session, layer).mean() for layer in range(len(session.reading.capture.gates))]
    _, y = drawn(view, "line")
    assert len(y) == len(gates)
    for line, gate in zip(y, gates, strict=True):
        np.testing.assert_allclose(line, gate, rtol=1e-5)


# Pooling


def test_pooling_frame(session):
    frame = PoolingBars(session).to_frame()
    assert list(frame) == ["step", "day", "weight"]
    assert frame["step"].tolist() == list(range(8))
    assert frame["day"].tolist() == days_of(session)
    np.testing.assert_array_equal(frame["weight"], pooling_of(session))


def test_pooling_marks(session):
    view = PoolingBars(session)
    for sample, query in ((5, 0), (9, 6)):
        session.sample, view.selection.query = sample, query
        weights = pooling_of(session)
        x, (every, largest_three) = drawn(view, "area")
        np.testing.assert_array_equal(x, [range(9)] * 2)
        np.testing.assert_allclose(every, [*weights, weights[-1]])
        top = sorted(range(8), key=lambda day: -weights[day])[:3]
        np.testing.assert_allclose(largest_three[:-1], [weights[day] * (day in top) for day in range(8)])
        assert marker(view) == [query + 0.5] * 2
        assert (view.picture.scales["y"].min, view.picture.scales["y"].max) == (0, pytest.approx(weights.max()))
        days = days_of(session)
        largest = "largest: " + ", ".join(f"{days[day]} {weights[day]:.4g}" for day in top)
        assert lines(view)[:2] == [f"{days[query]} {weights[query]:.4g}", largest]
        assert view.keyboard.says == f"{days[query]} {weights[query]:.4g}"
        mouse(view.figure, "mousemove", 3.7, 0.0)
        assert lines(view)[:2] == [f"{days[3]} {weights[3]:.4g}", largest]
        mouse(view.figure, "mouseleave")
        assert lines(view)[:2] == [f"{days[query]} {weights[query]:.4g}", largest]
    assert len(set(view.picture.lines["area"].fill_colors)) == 2
    assert list(view.picture.lines["reference"].y) == [1 / 8] * 2


@pytest.mark.parametrize("kind", [GateTimeline, PoolingBars])
@pytest.mark.parametrize(("x", "day"), DAYS)
def test_a_click_selects_the_day(session, kind, x, day):
    view = kind(session, Selection(session, query=4, key=4))
    mouse(view.figure, "click", x, 0.3)
    assert (view.selection.query, view.selection.key) == (day, 4)
    assert marker(view) == [day + 0.5] * 2


def marked_day(view) -> float:
    return view.crosshair.x[0][0] if isinstance(view, GateHeatmap) else marker(view)[0]


@pytest.mark.parametrize("kind", [GateHeatmap, GateTimeline, PoolingBars])
@pytest.mark.parametrize(
    ("name", "query", "day"),
    [
        # Days of the market, the stock's days that they are: both end on the same one.
        ("market longer", 8, 5),
        ("market longer", 4, 1),
        ("market longer", 3, 0),
        ("market longer", 1, 0),
        ("stock longer", 5, 8),
        ("stock longer", 0, 3),
    ],
)
def test_a_selected_day_of_the_market_is_marked_among_the_stocks(kind, name, query, day):
    session = make_session(name)
    view = kind(session, Selection(session, kind="market", query=query))
    assert marked_day(view) == day + 0.5


@pytest.mark.parametrize("kind", [GateHeatmap, GateTimeline, PoolingBars])
@pytest.mark.parametrize(
    ("name", "day", "query"),
    [
        ("market longer", 5, 8),
        ("market longer", 0, 3),
        ("stock longer", 8, 5),
        ("stock longer", 3, 0),
        ("stock longer", 1, 0),
    ],
)
def test_a_click_selects_the_day_of_the_market_that_is_the_stocks(kind, name, day, query):
    session = make_session(name)
    view = kind(session, Selection(session, kind="market", query=2))
    mouse(view.figure, "click", day + 0.5, 0.1)
    assert view.selection.query == query
