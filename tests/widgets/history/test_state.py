"""What is chosen in a history, as part of the explorer's state and of its undo."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from cases import shown_message

from stockformer.survey.history import ALL, Filter, Range
from stockformer_widgets import AttentionExplorer, ExtractorSession, HistoryView

DAYS = pd.Timestamp("2020-02-03"), pd.Timestamp("2020-03-31")


def history_of(explorer) -> HistoryView:
    explorer.tabs.selected_index = list(explorer.tabs.titles).index("History")
    return next(view for view in explorer.views if isinstance(view, HistoryView))


@pytest.fixture
def explorer(surveyed, session):
    with AttentionExplorer(session, survey=surveyed[2]) as explorer:
        yield explorer


def test_filters_and_measures_are_undone_with_everything_else(explorer):
    view = history_of(explorer)
    assert explorer.toolbar.undoes == ""
    view.filters.regime.value = "calm"
    explorer.session.sample = 7
    view.filters.measure.value = "error"
    explorer.undo()
    assert (view.selection.measure, explorer.session.sample) == ("market_share", 7)
    explorer.undo()
    assert (view.selection.where, explorer.session.sample) == (Filter(regime="calm"), 40)
    assert view.filters.regime.value == "calm"
    assert explorer.toolbar.undoes == "filter"
    explorer.undo()
    assert view.selection.where == ALL
    for _ in range(3):
        explorer.redo()
    assert (view.selection.where, view.selection.measure) == (Filter(regime="calm"), "error")
    assert explorer.session.sample == 7


def test_a_filter_opens_in_another_notebook(explorer, surveyed):
    ranges = Range("drawdown", 0.0, 0.25), Range("market_share", 0.1, 0.9)
    chosen = Filter(ticker="T1", sector="oil", regime="volatile", correct=False, days=DAYS, ranges=ranges)
    view = history_of(explorer)
    view.selection.where, view.selection.by, view.selection.against = chosen, "by quarter", "drawdown"
    view.selection.groups = {"A": Filter(regime="calm"), "B": chosen}
    state = json.loads(json.dumps(explorer.state))
    session = ExtractorSession.from_dataset(surveyed[0], surveyed[1])
    with session, AttentionExplorer(session, survey=surveyed[2]) as other:
        other.restore(state)
        assert history_of(other).selection.where == chosen
        assert history_of(other).selection.groups == {"A": Filter(regime="calm"), "B": chosen}
        assert other.state == state
    with AttentionExplorer(explorer.session, survey=surveyed[2]) as later:
        later.restore(state | {"tab": "Overview"})
        assert later.state == state | {"tab": "Overview"}
        assert history_of(later).selection.where == chosen
        assert later.state == state


def test_a_brushed_part_is_undone_and_opens_in_another_notebook(explorer, surveyed, drag):
    view = history_of(explorer)
    drag(view.scatter.brush, (0.01, 0.02), (0.2, 0.7))
    where, left = view.selection.where, len(view.to_frame())
    assert where == Filter(ranges=(Range("market_share", 0.2, 0.7), Range("volatility", 0.01, 0.02)))
    view.groups.buttons["A"].click()
    state = json.loads(json.dumps(explorer.state))
    session = ExtractorSession.from_dataset(surveyed[0], surveyed[1])
    with session, AttentionExplorer(session, survey=surveyed[2]) as other:
        other.restore(state)
        assert history_of(other).selection.groups == {"A": where}
        assert len(history_of(other).to_frame()) == left
        assert other.state == state
    explorer.undo()
    explorer.undo()
    assert view.selection.where == ALL
    explorer.redo()
    assert view.selection.where == where


def test_mean_maps_are_undone_and_open_in_another_notebook(explorer, surveyed):
    part = history_of(explorer).mean_maps
    part.by.value = "regime"
    assert explorer.toolbar.undoes == "mean maps"
    part.groups.value = ("volatile", "calm")
    part.kind.value = "self"
    part.layer.value = 1
    drawn, state = part.image.value, json.loads(json.dumps(explorer.state))
    assert state["history"] == {
        "maps_of": "regime",
        "map_groups": ["volatile", "calm"],
        "map_kind": "self",
        "map_layer": 1,
    }
    part.by.value = "month"
    assert "map_groups" not in explorer.state["history"]
    months = part.groups.value
    explorer.undo()
    assert (part.by.value, part.groups.value, part.image.value) == ("regime", ("volatile", "calm"), drawn)
    for _ in range(4):
        explorer.undo()
    assert (part.by.value, part.image.layout.display, explorer.toolbar.undoes) == ("", "none", "")
    for _ in range(4):
        explorer.redo()
    assert (part.kind.value, part.layer.value, part.image.value) == ("self", 1, drawn)
    explorer.redo()
    assert (part.by.value, part.groups.value) == ("month", months)
    session = ExtractorSession.from_dataset(surveyed[0], surveyed[1])
    with session, AttentionExplorer(session, survey=surveyed[2]) as other:
        other.restore(state)
        assert other.state == state
        assert history_of(other).mean_maps.image.value == drawn
        other.restore({"version": 1, "history": {}})
        assert history_of(other).mean_maps.by.value == ""


def test_a_layer_that_a_kind_of_mean_maps_lacks_is_undone_with_the_kind(explorer):
    view = history_of(explorer)
    view.selection.maps_of, view.selection.map_layer = "ticker", 1
    view.mean_maps.kind.value = "market"
    assert (view.selection.map_layer, view.mean_maps.layer.value) == (0, 0)
    explorer.undo()
    assert (view.selection.map_kind, view.mean_maps.layer.value) == (None, 1)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (None, "filter is not restored: it is None, expected a dictionary"),
        ({"bogus": 1}, "filter is not restored: a filter has no bogus"),
        ({"ticker": 5}, "filter is not restored: there is no ticker 5, only T0, T1"),
        ({"correct": "maybe"}, "filter is not restored: correct is 'maybe', expected true or false"),
        ({"days": ["2009-01-01", "2008-01-01"]}, "filter is not restored: the days are 2009-01-01 to 2008-01-01, "),
        ({"days": ["2009-01-01"]}, "filter is not restored: days is ['2009-01-01'], expected two dates such as"),
        ({"days": 5}, "filter is not restored: days is 5, expected two dates such as 2008-10-15"),
        ({"ranges": [["error"]]}, "filter is not restored: ranges is [['error']], expected a list of [measure, from"),
        ({"ranges": [["moon", 0.0, 1.0]]}, "filter is not restored: there is no measure 'moon', only gate_layer_0"),
        ({"ranges": [["error", 1.0, 0.0]]}, "filter is not restored: the range of error is 1.0 to 0.0, expected "),
        (
            {"ranges": [["error", float("-inf"), 0]]},
            "filter is not restored: the range of error is -inf to 0, expected",
        ),
        ({"ranges": [["error", 0.0, "x"]]}, "filter is not restored: the range of error is 0.0 to x, expected finite"),
        ({"ranges": [["error", 0, 1], ["error", 2, 3]]}, "filter is not restored: error has 2 ranges, expected one "),
    ],
)
def test_a_filter_that_cannot_be_is_said_and_the_rest_restored(explorer, where, words):
    view = history_of(explorer)
    saved = {"measure": "moon", "by": "by quarter", "where": where, "groups": {"A": {"regime": "calm"}, "B": where}}
    with pytest.warns(
        UserWarning, match=r"^measure is not restored: there is no measure 'moon', only \w+, .* and \d+ more; "
    ) as warned:
        explorer.restore(explorer.state | {"history": saved})
    assert f"; {words}" in str(warned[0].message)
    assert f"; {words.replace('filter is', 'group B is')}" in str(warned[0].message)
    assert (view.selection.where, view.selection.by) == (ALL, "by quarter")
    assert view.selection.groups == {"A": Filter(regime="calm")}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("measure", 5, "measure is not restored: found 5, expected a name"),
        ("by", "moon", "drawn is not restored: found 'moon', expected one of by date, by quarter"),
        ("maps_of", "moon", "mean maps is not restored: found 'moon', expected one of regime, ticker, month or None"),
        ("map_groups", 5, "map groups is not restored: found 5, expected a list of names or None"),
        ("map_groups", ["calm"], "map groups is not restored: there is no mean map of 'calm', only none"),
        (
            "map_kind",
            "moon",
            "map kind is not restored: there is no mean map of 'moon' attention, only cross, self, market",
        ),
        ("map_layer", 2, "map layer is not restored: the layer of the mean maps is 2, expected 0 to 1"),
        ("groups", 5, "groups is not restored: it is 5, expected a dictionary"),
        ("groups", {"C": {}}, "group C is not restored: there is no group C, only A and B"),
    ],
)
def test_what_cannot_be_chosen_is_said_in_plain_words(explorer, field, value, words):
    view = history_of(explorer)
    with pytest.warns(UserWarning, match=f"^{re.escape(words)}$"):
        explorer.restore(explorer.state | {"history": {field: value}})
    assert view.selection.save() == {}


def test_a_range_of_a_measure_that_is_not_chosen_is_in_the_words(explorer):
    view = history_of(explorer)
    explorer.restore(explorer.state | {"history": {"where": {"ranges": [["drawdown", 0.0, 0.25]]}}})
    assert not any("drawdown" in slider.description for slider in view.filters.ranges.values())
    assert f"drawdown {view.survey.in_words('drawdown', 0.0)} to" in view.count.line.value
    view.groups.buttons["A"].click()
    assert "<b>A</b>: drawdown " in view.groups.words.value


def test_what_this_survey_does_not_have_is_said(explorer):
    history_of(explorer)
    state = explorer.state | {"history": {"where": {"ticker": "ZZZ"}}}
    with pytest.warns(UserWarning, match="filter is not restored: there is no ticker 'ZZZ'"):
        explorer.restore(state)
    assert history_of(explorer).selection.where == ALL


def test_what_a_history_that_opens_later_does_not_have_is_said_then(explorer):
    explorer.restore(explorer.state | {"history": {"groups": {"A": {"regime": "lunar"}}}})
    assert shown_message(explorer) == ""
    assert history_of(explorer).selection.groups == {}
    assert "group A is not restored: there is no regime 'lunar'" in shown_message(explorer)
