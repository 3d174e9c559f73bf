"""Scores by day against the model asked in another way."""

from __future__ import annotations

import numpy as np
import pytest
from cases import days_of, drawn, lines, make_session, mouse
from expected import traced

from stockformer.explainability import joint_rollout, relevance
from stockformer_widgets import DayScores


@pytest.mark.parametrize(
    ("name", "scores"),
    [("relevance", lambda trace: relevance(trace).days), ("rollout", lambda trace: joint_rollout(trace).days)],
)
def test_scores_by_day(session, name, scores):
    view = DayScores(session)
    view.controls["by"].value = name
    expected = scores(traced(session))
    frame = view.to_frame()
    for number, part in enumerate(expected):
        np.testing.assert_allclose(frame.query("input == @number")["score"], part.numpy(), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(drawn(view, "step")[1][number, :-1], part.numpy(), rtol=1e-4, atol=1e-7)
    mouse(view.figure, "click", 2.5, 0.1)
    assert view.selection.query == 2
    said = f"{days_of(session)[2]}, stock {expected[0][2]:.4g}, market {expected[1][2]:.4g}"
    assert " ".join(lines(view)[0].split()) == said


def test_markets_of_another_length_end_on_the_same_day():
    session = make_session("market longer")
    view = DayScores(session)
    x, _ = drawn(view, "step")
    assert x[:, -1].tolist() == [9.0, 9.0]
    assert x[:, 0].tolist() == [3.0, 0.0]
