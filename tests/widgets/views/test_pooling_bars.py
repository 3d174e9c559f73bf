"""The weights of the pooling against the captured tensors: numbers, marks, clicks."""

from __future__ import annotations

import numpy as np
import pytest
from cases import days_of, drawn, in_percent, lines, marker, mouse

from stockformer_widgets import PoolingBars


def pooling_of(session) -> np.ndarray:
    return session.reading.capture.pooling[0].numpy()


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
        largest = "largest: " + ", ".join(f"{days[day]} {in_percent(weights[day])}" for day in top)
        assert lines(view)[:2] == [f"{days[query]}, weight {in_percent(weights[query], len(days))}", largest]
        assert view.keyboard.announcement == f"{days[query]}, weight {in_percent(weights[query], len(days))}"
        mouse(view.figure, "mousemove", 3.7, 0.0)
        assert lines(view)[:2] == [f"{days[3]}, weight {in_percent(weights[3], len(days))}", largest]
        mouse(view.figure, "mouseleave")
        assert lines(view)[:2] == [f"{days[query]}, weight {in_percent(weights[query], len(days))}", largest]
    assert len(set(view.picture.lines["area"].fill_colors)) == 2
    assert list(view.picture.lines["reference"].y) == [1 / 8] * 2
