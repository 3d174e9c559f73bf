"""The gate heatmap against the captured tensors: numbers, marks, clicks."""

from __future__ import annotations

import numpy as np
import pytest
from cases import days_of, lines, mouse, pixels
from expected import gate_of

from stockformer_widgets import GateHeatmap, Selection

#: Where a click lands on eight days, at and beyond the edges.
DAYS = [(2.5, 2), (0.0, 0), (2.999, 2), (7.0, 7), (8.0, 7), (-0.1, 0), (-1e6, 0), (1e6, 7)]


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
    assert lines(view) == [view.keyboard.announcement] == [f"selected day {days_of(session)[4]}"]
    mouse(view.figure, "mousemove", 2.5, 3.5)
    dimension = int(view.y_axis.tick_labels["3.5"])
    value = gate_of(session, 0)[2, dimension]
    assert lines(view) == [f"dimension {dimension}, day {days_of(session)[2]}, gate {value:.3g}"]
    mouse(view.figure, "mouseleave")
    assert lines(view) == [f"selected day {days_of(session)[4]}"]
