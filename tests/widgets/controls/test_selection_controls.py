"""Selectors: what a person sets becomes state, what Python sets is displayed, and what is refused changes nothing."""

from __future__ import annotations

import threading

import pytest
from cases import explained_name, labels, make_session, shown_message
from ipywidgets import HTML

from stockformer_widgets import AttentionExplorer


def test_controls_show_the_selection(session, explorer):
    look, explain = explorer.look, explorer.explain
    assert labels(look.kind) == ["Stock to market", "Stock self-attention", "Market self-attention"]
    assert labels(look.layer) == ["0", "1"]
    assert labels(look.head) == ["mean", "0", "1"]
    assert labels(look.day) == session.reading.days(8)
    assert labels(explain.method)[:3] == ["integrated gradients", "input x gradient", "gradient"]
    assert labels(explain.target) == [f"predicted: {explained_name(session)}", "DOWN", "UP"]


def test_traits_move_controls(session, explorer):
    look, explain, where = explorer.look, explorer.explain, explorer.selection
    where.kind, where.layer, where.head, where.query = "self", 1, 0, 3
    assert (look.kind.value, look.layer.value, look.head.value, look.day.value) == ("self", 1, 0, 3)
    where.head = None
    assert look.head.label == "mean"
    session.explanations.target, session.explanations.method = 1, "gradient"
    assert (explain.target.value, explain.method.value) == (1, "gradient")
    session.explanations.target = None
    assert explain.target.label.startswith("predicted: ")
    where.kind = "market"
    assert labels(look.layer) == ["0"]
    assert look.layer.value == where.layer == 0


def test_controls_move_traits(session, explorer):
    look, explain, where = explorer.look, explorer.explain, explorer.selection
    look.kind.value = "self"
    look.layer.value = 1
    look.head.value = 0
    look.day.value = 3
    assert (where.kind, where.layer, where.head, where.query) == ("self", 1, 0, 3)
    look.head.label = "mean"
    assert where.head is None
    explain.target.value, explain.method.value = 0, "gradient"
    assert (session.explanations.target, session.explanations.method) == (0, "gradient")
    explain.target.label = explain.target.options[0][0]
    assert session.explanations.target is None
    assert shown_message(explorer) == ""


def test_a_kind_with_fewer_layers(session, explorer):
    explorer.look.layer.value = 1
    explorer.look.kind.value = "market"
    assert (explorer.selection.layer, explorer.look.layer.value) == (0, 0)
    explorer.look.kind.value = "cross"
    assert labels(explorer.look.layer) == ["0", "1"]


def test_controls_follow_the_lengths_of_the_input():
    session = make_session("market longer")
    with AttentionExplorer(session) as explorer:
        explorer.selection.kind = "market"
        assert len(explorer.look.day.options) == 9
        explorer.selection.kind = "self"
        assert len(explorer.look.day.options) == 6
        session.run(*(tensor[0, :3] for tensor in session.reading.inputs))
        assert (explorer.look.day.value, len(explorer.look.day.options)) == (2, 3)


@pytest.mark.parametrize(
    ("name", "target", "method"),
    [
        ("dataset", True, True),
        ("coral", True, True),
        ("regression", False, True),
        ("bare attention", True, True),
        ("nn.TransformerDecoder", False, False),
    ],
)
def test_what_cannot_be_chosen_has_no_control(name, target, method):
    with AttentionExplorer(make_session(name)) as explorer:
        assert (explorer.explain.target.layout.display is None) == target
        assert (explorer.explain.layout.display is None) == method


def test_targets_of_a_coral_model():
    with AttentionExplorer(make_session("coral")) as explorer:
        assert labels(explorer.explain.target)[1:] == ["P(at least -1 %)", "P(at least 0 %)", "P(at least 1 %)"]


def test_every_control_has_a_label(explorer):
    groups = explorer.look, explorer.samples, explorer.samples.scan, explorer.explain, explorer.explain.choices
    named = [
        control.description or control.tooltip
        for group in groups
        for control in group.children
        if hasattr(control, "description") and not isinstance(control, HTML)
    ]
    assert all(named)
    assert len(set(named)) == len(named)


def test_the_button_names_what_is_explained(explorer):
    explain, explanations = explorer.explain, explorer.session.explanations
    assert explain.choices.layout.display == "none"
    explain.chip.value = True
    assert explain.choices.layout.display is None
    assert explain.chip.description == f"explained: {explanations.target_name} by integrated gradients"
    explanations.baseline, explanations.target = "calm window", 0
    assert explain.chip.description == f"explained: {explanations.target_name} by integrated gradients from calm window"
    explanations.groups = "day"
    assert "groups" not in explain.chip.description
    explanations.method = "occlusion"
    assert explain.chip.description.endswith("by occlusion from calm window in groups of day")


def test_a_control_that_shows_a_trait_does_not_set_it_again(session, explorer):
    heard = []
    explorer.selection.observe(lambda change: heard.append(change["name"]))
    explorer.selection.kind = "market"
    assert heard == ["kind"]
    session.sample = 9
    assert heard == ["kind"]


def test_a_callback_that_raises_is_said(session, explorer):
    def fail(change):
        raise RuntimeError("not today")

    explorer.selection.observe(fail, "layer")
    explorer.look.layer.value = 1
    assert shown_message(explorer) == "not today"
    assert explorer.selection.layer == explorer.look.layer.value == 1
    explorer.selection.unobserve(fail, "layer")
    explorer.look.layer.value = 0
    assert shown_message(explorer) == ""
    assert explorer.selection.layer == 0


def test_a_person_moves_a_control_while_another_thread_brings_them_in_line(explorer):
    """The kernel handles the messages of each widget in a thread of its own."""
    look, syncing, moved = explorer.look, threading.Event(), threading.Event()

    def sync() -> None:
        with look._syncing():
            syncing.set()
            moved.wait(30)

    other = threading.Thread(target=sync)
    other.start()
    assert syncing.wait(30)
    look.day.value = 2
    moved.set()
    other.join()
    assert explorer.selection.query == 2
