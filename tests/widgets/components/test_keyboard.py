"""Keys on a view, from the counts that the page sends to the selection."""

from __future__ import annotations

import pytest
from cases import ALL_VIEWS, make_session, press, shown_message, tell

from stockformer_widgets import (
    AttentionHeatmap,
    AttentionRow,
    GateHeatmap,
    GateTimeline,
    HeadSpecialization,
    LayerEvolution,
    PoolingBars,
    Prediction,
    PriceStrip,
    SaliencyBars,
    SaliencyHeatmap,
    Selection,
)
from stockformer_widgets.components.keyboard import Keyboard

every_view = pytest.mark.parametrize("kind", ALL_VIEWS)

#: What the arrow keys across and the arrow keys down move.
ACROSS = {
    AttentionHeatmap: "key",
    AttentionRow: "key",
    GateHeatmap: "query",
    GateTimeline: "query",
    HeadSpecialization: "head",
    LayerEvolution: "layer",
    PoolingBars: "query",
    PriceStrip: "query",
    SaliencyHeatmap: "query",
}
DOWN = {AttentionHeatmap: "query", AttentionRow: "query"}
PLACE = {"query": 4, "key": 4}


def place(selection: Selection) -> dict:
    return {name: getattr(selection, name) for name in ("kind", "layer", "head", "query", "key", "feature")}


@pytest.mark.parametrize(("kind", "trait"), ACROSS.items())
def test_arrows_across(session, kind, trait):
    view = kind(session, Selection(session, **PLACE))
    start = place(view.selection)
    # Layers and heads are fewer than days; head 0 follows the mean.
    steps = {"layer": (1, 1, 0, 0), "head": (0, 1, 0, None)}.get(trait, (5, 7, 6, 4))
    for (key, times), value in zip(
        (("ArrowRight", 1), ("ArrowRight", 2 if trait in ("query", "key") else 1), ("ArrowLeft", 1), ("ArrowLeft", 2)),
        steps,
        strict=True,
    ):
        if trait == "head" and times == 2:
            times = 1
        press(view, key, times)
        assert place(view.selection) == start | {trait: value}


@pytest.mark.parametrize(("kind", "trait"), DOWN.items())
def test_arrows_down(session, kind, trait):
    view = kind(session, Selection(session, **PLACE))
    start = place(view.selection)
    for key, times, value in (("ArrowDown", 1, 5), ("ArrowDown", 2, 7), ("ArrowUp", 1, 6), ("ArrowUp", 3, 3)):
        press(view, key, times)
        assert place(view.selection) == start | {trait: value}


@pytest.mark.parametrize("kind", [SaliencyBars, SaliencyHeatmap])
def test_arrows_down_the_features(session, kind):
    view = kind(session, Selection(session, **PLACE))
    axis = (view.picture if kind is SaliencyBars else view).y_axis
    names = [axis.tick_labels[str(row + 0.5)] for row in range(7)]
    for key, times, row in (
        ("ArrowDown", 1, 0),
        ("ArrowDown", 1, 1),
        ("ArrowDown", 3, 4),
        ("ArrowUp", 2, 2),
        ("ArrowDown", 99, 6),
        ("ArrowUp", 99, 0),
    ):
        press(view, key, times)
        assert view.selection.feature == names[row]
    press(view, "Escape")
    assert view.selection.feature is None
    assert (view.selection.query, view.selection.key) == (4, 4)


def test_arrows_down_the_outcomes():
    session = make_session("buckets")
    view = Prediction(session)
    largest = int(session.reading.capture.output[0].argmax())
    assert 0 < largest < 3
    press(view, "ArrowDown")
    assert session.explanations.target == largest + 1
    press(view, "ArrowUp", 2)
    assert session.explanations.target == largest - 1
    press(view, "ArrowDown", 99)
    assert session.explanations.target == 3
    press(view, "ArrowUp", 99)
    assert session.explanations.target == 0


def test_arrows_where_there_is_no_outcome_to_choose():
    session = make_session("regression")
    view = Prediction(session)
    press(view, "ArrowDown")
    assert session.explanations.target is None
    assert shown_message(view) == ""


@every_view
def test_counts_are_steps_since_the_last_message(session, kind):
    view = kind(session, Selection(session, **PLACE))
    tell(view, **{"Home": 1})
    assert view.selection.query == 0
    tell(view, **{"Home": 1, "]": 1})
    assert (view.selection.query, view.selection.layer) == (0, 1)
    tell(view, **{"Home": 1, "]": 1, "h": 3})
    assert (view.selection.layer, view.selection.head) == (1, None)
    tell(view, **{"Home": 1, "]": 1, "h": 4, "[": 1})
    assert (view.selection.layer, view.selection.head) == (0, 0)


def test_every_page_counts_its_own_keys(session):
    view = AttentionHeatmap(session, Selection(session, query=0, key=0))
    tell(view, page=1, ArrowRight=1)
    tell(view, page=2, ArrowRight=1)
    tell(view, page=1, ArrowRight=2, ArrowDown=1)
    tell(view, page=2, ArrowRight=1)
    tell(view, page=3, ArrowRight=2)  # the first one, reloaded
    assert (view.selection.query, view.selection.key) == (1, 5)


def test_a_burst_of_keys_is_one_step(session):
    view = AttentionHeatmap(session, Selection(session, **PLACE))
    heard = []
    view.selection.observe(lambda change: heard.append(change["new"]), "key")
    tell(view, **{"ArrowLeft": 1})
    tell(view, **{"ArrowLeft": 3})
    assert heard == [3, 1]


@every_view
def test_layers_end_at_the_first_and_the_last(session, kind):
    view = kind(session)
    for key, times, layer in (("]", 1, 1), ("]", 5, 1), ("[", 1, 0), ("[", 5, 0)):
        press(view, key, times)
        assert view.selection.layer == layer


@every_view
def test_heads_go_round(session, kind):
    view = kind(session)
    for key, times, head in (("h", 1, 0), ("h", 1, 1), ("h", 1, None), ("H", 1, 1), ("H", 1, 0), ("H", 1, None)):
        press(view, key, times)
        assert view.selection.head == head
    press(view, "h", 5)
    assert view.selection.head == 1


@every_view
def test_home_and_end_go_to_the_first_and_the_last_day(session, kind):
    view = kind(session, Selection(session, **PLACE))
    start = place(view.selection)
    for key, times, query in (("Home", 1, 0), ("End", 1, 7), ("End", 2, 7), ("Home", 3, 0)):
        press(view, key, times)
        assert place(view.selection) == start | {"query": query}


@pytest.mark.parametrize("kind", [AttentionHeatmap, AttentionRow])
def test_arrows_end_at_the_edges(kind):
    session = make_session("market longer")
    view = kind(session)
    press(view, "ArrowRight", 99)
    assert view.selection.key == 8
    press(view, "ArrowLeft", 99)
    assert view.selection.key == 0
    press(view, "ArrowDown", 3)
    assert view.selection.query == 5
    press(view, "ArrowUp", 99)
    assert view.selection.query == 0


@every_view
def test_escape_selects_no_feature(session, kind):
    view = kind(session, Selection(session, feature="f1", **PLACE))
    start = place(view.selection)
    press(view, "Escape")
    assert place(view.selection) == start | {"feature": None}


@every_view
def test_other_keys_do_nothing(session, kind):
    view = kind(session, Selection(session, **PLACE))
    start = place(view.selection)
    press(view, "b")
    assert place(view.selection) == start
    assert shown_message(view) == ""


@every_view
def test_a_callback_that_raises_on_a_key_is_said(session, kind):
    view = kind(session)

    def fail(change):
        raise RuntimeError("not on my watch")

    view.selection.observe(fail, "layer")
    press(view, "]")
    assert shown_message(view) == "not on my watch"
    assert view.selection.layer == 1
    view.selection.unobserve(fail, "layer")
    press(view, "[")
    assert shown_message(view) == ""
    assert view.selection.layer == 0


@every_view
def test_a_view_has_a_name_for_screen_readers(session, kind):
    assert len(kind(session).keyboard.label) > 3


def test_the_names_of_all_views_differ(session):
    assert len({kind(session).keyboard.label for kind in ALL_VIEWS}) == len(ALL_VIEWS)


def test_the_page_hears_every_key_that_python_knows():
    script = str(Keyboard._esm)
    for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "[", "]", "h", "H", "Escape"):
        assert f'"{key}"' in script
