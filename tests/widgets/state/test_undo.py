"""Undo, redo, and the state of an explorer as JSON."""

from __future__ import annotations

import json
import random
import re

import pytest
import torch
from cases import SESSIONS, dataset, make_session, model, shown_message

from stockformer.explainability import WhatIf
from stockformer_widgets import AttentionExplorer, ExtractorSession, FlowHeatmap, SaliencyBars
from stockformer_widgets.state import undo
from stockformer_widgets.state.saved import restore_state, save_state
from stockformer_widgets.state.undo import Undo


@pytest.fixture
def explorer(session):
    session.explanations.method = "gradient"
    with AttentionExplorer(session) as made:
        yield made


def act(explorer: AttentionExplorer, chance: random.Random) -> None:
    """One thing that a person may do."""
    session, where = explorer.session, explorer.selection
    size = where.sizes()
    actions = [
        lambda: setattr(session, "sample", chance.randrange(40)),
        lambda: setattr(where, "kind", chance.choice(where.kinds)),
        lambda: setattr(where, "layer", chance.randrange(size["layer"])),
        lambda: setattr(where, "head", chance.choice([None, *range(size["head"])])),
        lambda: setattr(where, "key", chance.randrange(size["key"])),
        lambda: setattr(where, "feature", chance.choice([None, "f0", "m0"])),
        lambda: where.zoom(chance.choice([1, -1])),
        lambda: setattr(where, "log_colors", chance.choice([True, False])),
        lambda: setattr(session.explanations, "target", chance.choice([None, 0, 1])),
        lambda: setattr(session.explanations, "method", chance.choice(["gradient", "input_x_gradient"])),
        lambda: session.what_if(gate={chance.randrange(2): chance.random()}, heads_off=[("self", 1, 0)]),
        lambda: session.what_if(days=(1, 3), market_from=chance.randrange(40)),
        lambda: session.what_if(),
    ]
    chance.choice(actions)()


def outcome(explorer: AttentionExplorer) -> tuple:
    session = explorer.session
    return save_state(session, explorer.selection), session.reading.capture.output.tolist(), session.sample


def test_fifty_actions_are_undone_and_done_again(explorer, monkeypatch):
    monkeypatch.setattr(undo, "_TOGETHER", 0.0)  # no two of them are one drag
    chance, seen = random.Random(0), [outcome(explorer)]
    while len(seen) < 51:
        act(explorer, chance)
        if outcome(explorer)[0] != seen[-1][0]:
            seen.append(outcome(explorer))
    keys = [state for state, *_ in seen]
    back = [outcome(explorer)]
    while explorer.toolbar.undoes:
        explorer.undo()
        back.append(outcome(explorer))
    assert back[-1] == seen[0]
    assert [state for state, *_ in back] == [state for number, state in enumerate(keys[::-1]) if state in keys]
    while explorer.toolbar.redoes:
        explorer.redo()
    assert outcome(explorer) == seen[-1]
    assert shown_message(explorer) == ""


def test_a_new_choice_forgets_what_was_undone(explorer):
    explorer.selection.layer = 1
    explorer.undo()
    assert (explorer.selection.layer, explorer.toolbar.redoes) == (0, "layer")
    explorer.selection.head = 1
    assert explorer.toolbar.redoes == ""
    explorer.redo()
    assert (explorer.selection.layer, explorer.selection.head) == (0, 1)


def test_a_sample_by_number_is_said_to_be_none(explorer):
    with pytest.warns(UserWarning, match="sample is not restored: expected a window by its ticker and day, found 7"):
        explorer.restore(explorer.state | {"sample": 7})
    assert explorer.session.sample == 5


def test_what_is_undone_has_a_name(explorer):
    assert (explorer.toolbar.undoes, explorer.toolbar.redoes) == ("", "")
    explorer.undo()
    explorer.session.sample = 9
    assert explorer.toolbar.undoes == "sample"
    explorer.session.what_if(gate={0: 0.0})
    assert explorer.toolbar.undoes == "what if"
    explorer.session.explanations.method = "input_x_gradient"
    assert explorer.toolbar.undoes == "method"


def test_a_drag_is_one_change(monkeypatch):
    clock = iter([0.0, 0.1, 0.2, 0.3, 0.4, 9.0, 9.1, 9.2])
    monkeypatch.setattr(undo.time, "monotonic", lambda: next(clock))
    now = {"selection": {"query": 0, "layer": 0}}
    undoing = Undo(lambda: {"selection": dict(now["selection"])}, now.update)
    for query in range(1, 7):  # the last one long after the others
        now["selection"]["query"] = query
        undoing.note()
    for layer in (1, 2):
        now["selection"]["layer"] = layer
        undoing.note()
    seen = []
    while undoing.undoes:
        undoing.undo()
        seen.append(tuple(now["selection"].values()))
    assert seen == [(6, 1), (6, 0), (5, 0), (0, 0)]


def test_quick_clicks_on_a_map_are_changes_of_their_own(explorer, monkeypatch):
    monkeypatch.setattr(undo.time, "monotonic", lambda: 0.0)
    for place in ((1, 2), (3, 4)):
        with explorer.selection.hold_trait_notifications():
            explorer.selection.query, explorer.selection.key = place
    explorer.undo()
    assert (explorer.selection.query, explorer.selection.key) == (1, 2)


def test_options_of_a_view_are_undone_and_restored_in_a_tab_that_opens_later(explorer, session):
    (bars,) = (view for view in explorer.views if isinstance(view, SaliencyBars))
    bars.controls["over"].value = "selected day"
    bars.controls["values"].value = "signed"
    assert explorer.toolbar.undoes == "values"
    explorer.undo()
    assert bars.chosen == {"over": "selected day", "values": "absolute"}
    explorer.undo()
    explorer.redo()
    assert bars.chosen == {"over": "selected day", "values": "absolute"}
    explorer.tabs.selected_index = explorer.tabs.titles.index("Flow")
    (flow,) = (view for view in explorer.views if isinstance(view, FlowHeatmap))
    flow.controls["shows"].value = "rollout"
    state = json.loads(json.dumps(explorer.state | {"tab": "Overview"}))
    assert state["options"] == {"FlowHeatmap": {"shows": "rollout"}, "SaliencyBars": {"over": "selected day"}}
    with AttentionExplorer(session) as other:
        other.restore(state)
        assert other.state == state
        other.tabs.selected_index = other.tabs.titles.index("Flow")
        (flow,) = (view for view in other.views if isinstance(view, FlowHeatmap))
        assert flow.chosen == {"shows": "rollout"}
        assert "rollout" in flow.chart.title
        with pytest.warns(UserWarning, match="an option is not restored: SaliencyBars has no over 'noon'"):
            other.restore(state | {"options": {"SaliencyBars": {"over": "noon"}}})


def test_the_page_asks_for_undo_and_redo(explorer):
    explorer.selection.layer = 1
    explorer.toolbar._on_message(explorer.toolbar, {"act": "undo"}, [])
    assert explorer.selection.layer == 0
    explorer.toolbar._on_message(explorer.toolbar, {"act": "redo"}, [])
    assert explorer.selection.layer == 1
    explorer.toolbar._on_message(explorer.toolbar, {"act": "nonsense"}, [])


def test_the_state_opens_in_another_notebook(explorer):
    session, where = explorer.session, explorer.selection
    session.sample = 27
    session.what_if(gate={1: 0.25}, heads_off=[(0, 1), ("self", 1, 0)], days=(2, 4), market_from=33)
    session.explanations.method, session.explanations.target = "input_x_gradient", 0
    where.kind, where.layer, where.head, where.query, where.key, where.feature = "self", 1, 0, 3, 6, "f2"
    where.zoom(1)
    explorer.tabs.selected_index = 2
    state = json.loads(json.dumps(explorer.state))
    assert json.loads(explorer.toolbar.state) == state
    other = ExtractorSession.from_dataset(model(), dataset())
    with other, AttentionExplorer(other) as restored:
        restored.restore(state)
        assert restored.state == state
        assert other.change == session.change
        assert torch.equal(other.reading.capture.output, session.reading.capture.output)


def test_windows_are_named_by_ticker_and_day(session):
    session.what_if(market_from=33)
    state = save_state(session, AttentionExplorer(session).selection)
    ends = session.dataset.end_dates
    assert state["sample"] == {"ticker": "AAA", "day": str(ends[5].date())}
    assert state["what_if"] == {"market_from": {"ticker": "BBB", "day": str(ends[33].date())}}
    longer = dataset(days=60)
    other = ExtractorSession.from_dataset(model(), longer)
    with other, AttentionExplorer(other) as explorer:
        explorer.restore(state)
        assert other.sample == longer.index_of(ends[5], "AAA")
        assert other.change == WhatIf(market_from=longer.index_of(ends[33], "BBB"))


def test_what_is_not_there_is_said_and_the_rest_restored(explorer):
    state = explorer.state
    state["sample"] = {"ticker": "ZZZ", "day": "2020-02-03"}
    state["what_if"] = {"gate": [[7, 0.5]]}
    state["selection"] |= {"layer": 9, "head": 1, "feature": "f7", "kind": "market"}
    state["explanations"] |= {"method": "magic", "target": 1}
    state["tab"] = "Moon"
    state["options"] = {"MoonView": {"over": "noon"}}
    with pytest.warns(UserWarning, match="there is no window of ZZZ"):
        explorer.restore(state)
    said = shown_message(explorer)
    for words in (
        "gate's layer is 7",
        "layer is 9",
        "there is no feature 'f7'",
        "'magic'",
        "there is no 'Moon'",
        "no view 'MoonView'",
    ):
        assert words in said
    assert (explorer.selection.kind, explorer.selection.head) == ("market", 1)
    assert (explorer.session.sample, explorer.session.explanations.target) == (5, 1)
    assert not explorer.session.change


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"version": 2}, "the state is of version 2, expected 1"),
        ({}, "expected a state as `explorer.state` returns it"),
        ("state", "expected a state as `explorer.state` returns it"),
    ],
)
def test_what_is_no_state_is_refused(explorer, state, message):
    before = outcome(explorer)
    with pytest.raises(ValueError, match=message):
        explorer.restore(state)
    assert outcome(explorer) == before


@pytest.mark.parametrize("part", ["selection", "explanations", "history", "options", "what_if"])
@pytest.mark.parametrize(("value", "found"), [(None, "None"), (-5, "-5"), (float("nan"), "nan"), ("x", "'x'")])
def test_a_part_that_is_no_dictionary_is_refused_before_anything_is_restored(explorer, part, value, found):
    before = outcome(explorer)
    sample = {"ticker": "AAA", "day": str(explorer.session.dataset.end_dates[9].date())}
    with pytest.raises(ValueError, match=f"^the state's {part} is {found}, expected a dictionary$"):
        explorer.restore(explorer.state | {"sample": sample, part: value})
    assert outcome(explorer) == before


def test_a_state_may_lack_parts(explorer):
    sample = {"ticker": "AAA", "day": str(explorer.session.dataset.end_dates[9].date())}
    explorer.restore({"version": 1, "sample": sample})
    assert explorer.session.sample == 9


@pytest.mark.parametrize(
    ("part", "field", "value", "words"),
    [
        ("selection", "layer", "x", "layer is not restored: found 'x', expected a whole number"),
        ("selection", "head", 0.5, "head is not restored: found 0.5, expected a whole number or None"),
        ("selection", "log_colors", None, "log_colors is not restored: found None, expected true or false"),
        ("selection", "kind", 3, "kind is not restored: found 3, expected a name"),
        ("selection", "shown_keys", [1], "shown_keys is not restored: found (1,), expected the first and the last day"),
        ("explanations", "method", [], "method is not restored: found [], expected one of integrated_gradients, "),
        ("what_if", "gate", 5, "what if is not restored: gate is 5, expected a list of [layer, value]"),
        ("what_if", "moon", 5, "what if is not restored: there is no moon"),
        ("what_if", "market_from", {}, "what if is not restored: expected a window by its ticker and day, found {}"),
        ("options", "SaliencyBars", None, "an option is not restored: SaliencyBars is None, expected a dictionary"),
        ("options", "FlowHeatmap", 5, "an option is not restored: FlowHeatmap is 5, expected a dictionary"),
        ("sample", "day", 5, "sample is not restored: expected a window by its ticker and day, found {'ticker': "),
    ],
)
def test_a_field_of_another_form_is_said_in_plain_words(explorer, part, field, value, words):
    state = explorer.state
    state[part] |= {field: value}
    with pytest.warns(UserWarning, match=f"^{re.escape(words)}"):
        explorer.restore(state)


@pytest.mark.parametrize("name", SESSIONS)
def test_every_session_has_a_state(name):
    with make_session(name) as session, AttentionExplorer(session) as explorer:
        state = json.loads(json.dumps(explorer.state))
        assert restore_state(session, explorer.selection, state) == []
        assert explorer.state == state
