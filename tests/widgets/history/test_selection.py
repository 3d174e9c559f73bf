"""Measures and filter from Python."""

from __future__ import annotations

import pytest
from traitlets import TraitError

from stockformer.survey.history import ALL, Filter


def test_filters_are_undone_one_by_one(view):
    calm, right = Filter(regime="calm"), Filter(regime="calm", correct=True)
    view.selection.where = calm
    view.selection.where = right
    view.selection.undo()
    assert view.selection.where == calm
    view.selection.where = right
    view.selection.undo()
    view.selection.undo()
    assert view.selection.where == ALL
    assert not view.selection.can_undo
    view.selection.undo()
    assert view.selection.where == ALL


def test_what_python_sets_is_on_the_screen(view):
    view.selection.measure, view.selection.against, view.selection.by = "error", "drawdown", "by quarter"
    view.selection.where = Filter(ticker="T1", regime="volatile", correct=False)
    assert [one.value for one in (view.filters.measure, view.filters.against, view.filters.by)] == [
        "error",
        "drawdown",
        "by quarter",
    ]
    assert [one.value for one in (view.filters.ticker, view.filters.sector, view.filters.regime)] == [
        "T1",
        "",
        "volatile",
    ]
    assert view.filters.correct.value is False
    assert view.scatter.plot.title.startswith("Error (upwards) against drawdown")


def test_another_measure_redraws_what_shows_it_alone(view, monkeypatch):
    drawn = []
    for name in ("volatility", "measure", "quality", "scatter", "histogram", "groups", "rows"):
        part = getattr(view, name)
        monkeypatch.setattr(part, "_draw", lambda name=name, draw=part._draw: (drawn.append(name), draw()))
    view.selection.against = "error"
    assert drawn == ["scatter", "rows"]
    view.selection.measure = "error"
    assert drawn[2:] == ["measure", "scatter", "histogram", "rows"]


def test_unknown_measures_are_refused(view):
    with pytest.raises(TraitError, match="there is no measure 'moon', only gate_layer_0"):
        view.selection.measure = "moon"
    assert view.selection.measure == "market_share"


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (Filter(ticker="X"), "there is no ticker 'X', only T0, T1, T2, T3, T4"),
        (Filter(sector="gold"), "there is no sector 'gold', only banks, none, oil"),
        (Filter(regime="wild"), "there is no regime 'wild', only calm, normal, volatile"),
    ],
)
def test_filters_by_names_that_are_not_there_are_refused(view, where, words):
    with pytest.raises(TraitError, match=words):
        view.selection.where = where
    assert view.selection.where == ALL
    assert not view.selection.can_undo
