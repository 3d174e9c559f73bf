"""The mean gate by day against the captured tensors: numbers, marks, clicks."""

from __future__ import annotations

import numpy as np
import pytest
from cases import days_of, drawn, lines, make_session, marker, mouse
from expected import gate_of

from stockformer_widgets import GateTimeline, Selection


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
        assert line.startswith(f"{days[day]}, ")
        for layer in range(2):
            assert f"layer {layer} {means[layer][day]:.3f}" in line

    check(lines(view)[0], 4)
    check(view.keyboard.announcement, 4)
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
