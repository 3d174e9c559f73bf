"""What all views have in common: they follow, draw no more than they must, and leave nothing behind."""

from __future__ import annotations

import gc
import re
import weakref

import matplotlib.pyplot as plt
import numpy as np
import pytest
from cases import (
    ALL_VIEWS,
    PAIRS,
    SESSIONS,
    figures,
    lines,
    make_session,
    mouse,
    observers,
    parts,
    press,
    session_of,
    shown_message,
    tell,
    widgets,
    words,
)
from ipywidgets import HTML
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from stockformer_widgets import (
    ActivationPatching,
    AttentionEffects,
    AttentionHeatmap,
    AttentionRow,
    DayScores,
    ExtractorSession,
    FaithfulnessCheck,
    FlowHeatmap,
    GateHeatmap,
    GateTimeline,
    HeadGrid,
    HeadImportance,
    HeadSpecialization,
    LayerEvolution,
    MarketEntry,
    PoolingBars,
    Prediction,
    PriceStrip,
    SaliencyBars,
    SaliencyHeatmap,
    Selection,
    View,
)

#: Traits of the selection that each view's picture depends on: those that it says, and these.
FOLLOWED = {kind: set(kind.follows) for kind in ALL_VIEWS} | {
    AttentionEffects: {"kind", "layer"},
    AttentionHeatmap: {"kind", "layer", "head", "query", "key"},
    AttentionRow: {"kind", "layer", "head", "query", "key"},
    DayScores: {"query"},
    FaithfulnessCheck: set(),
    FlowHeatmap: {"kind", "layer", "head", "query", "key"},
    GateHeatmap: {"layer", "query"},
    GateTimeline: {"layer", "query"},
    HeadGrid: {"kind", "layer", "head", "query", "key"},
    HeadImportance: {"kind", "layer", "head"},
    HeadSpecialization: {"kind", "layer", "head"},
    LayerEvolution: {"kind", "layer"},
    MarketEntry: {"layer", "query"},
    PoolingBars: {"query"},
    Prediction: set(),
    PriceStrip: {"query", "key"},
    SaliencyBars: {"query", "feature"},
    SaliencyHeatmap: {"query", "feature"},
}
#: What each trait of the session that says what is explained is drawn by.
BY_METHOD = {DayScores, FaithfulnessCheck, SaliencyBars, SaliencyHeatmap}
BY_TARGET = BY_METHOD | {ActivationPatching, AttentionEffects, FlowHeatmap, HeadImportance, Prediction}
ELSEWHERE = {"kind": "self", "layer": 1, "head": 1, "query": 2, "key": 3, "feature": "f1"}
every_view = pytest.mark.parametrize("kind", ALL_VIEWS)


def closed(view: View) -> View:
    view.close()
    return view


def own_observers(session: ExtractorSession) -> int:
    """The number of observers of a selection that no view follows."""
    return observers(Selection(session))


# Every view of every session


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_stands_alone_and_leaves_nothing_behind(name, kind):
    session = session_of(name)
    before, following = widgets(), observers(session)
    view = kind(session)
    selection = view.selection
    assert isinstance(view, View)
    assert len(view.to_frame()) > 0 or kind is FaithfulnessCheck  # nothing was measured
    for trait in ("query", "key", "layer"):
        setattr(view.selection, trait, 0)
    view.selection.head = 0
    view.selection.kind = view.selection.kinds[-1]
    for trait in ("query", "key", "layer"):
        setattr(view.selection, trait, view.selection.sizes()[trait] - 1)
    for figure in figures(view):
        for mark in figure.marks:  # a path of NaN is an error in the page
            assert np.isfinite(mark.x).all()
            assert np.isfinite(mark.y).all()
            assert all(np.isfinite([scale.min, scale.max]).all() for scale in mark.scales.values())
    said = words(view)
    assert "nan%" not in said.replace(" %", "%")
    assert shown_message(view) == ""
    view.close()
    assert widgets() == before
    assert observers(selection) == own_observers(session)
    assert observers(session) <= following + 1  # the selection's, until it is forgotten, as those of others may be


@pytest.mark.parametrize("name", SESSIONS)
def test_what_a_model_lacks_has_no_view(name):
    session, expected = make_session(name), SESSIONS[name][1]
    assert {kind for kind in ALL_VIEWS if kind.shows(session)} == expected
    before, following = widgets(), observers(session)
    for kind in set(ALL_VIEWS) - expected:
        with pytest.raises(ValueError, match=f"{kind.__name__} has nothing to show of {type(session.model).__name__}"):
            kind(session)
    assert widgets() == before
    assert observers(session) == following


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("dataset", kind) for kind in ALL_VIEWS),
        *(pair for pair in PAIRS if pair[0] in ("nan", "one day, layer, head", "nn.TransformerDecoder")),
        *((name, Prediction) for name in ("coral", "coral by hand", "buckets", "regression", "regression by hand")),
        *(("encoder", kind) for kind in (PriceStrip, SaliencyBars, SaliencyHeatmap)),
    ],
)
def test_png(name, kind, tmp_path):
    view = kind(session_of(name))
    pictures = plt.get_fignums()
    path = tmp_path / "view.png"
    assert view.save_png(str(path)) == path
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
        assert np.asarray(picture.convert("L")).std() > 0
    assert plt.get_fignums() == pictures


def test_png_in_a_folder_that_is_not_there(session, tmp_path):
    pictures = plt.get_fignums()
    with pytest.raises(OSError, match="none"):
        AttentionRow(session).save_png(tmp_path / "none" / "view.png")
    assert list(tmp_path.iterdir()) == []
    assert plt.get_fignums() == pictures


def test_png_of_a_failing_plot_leaves_no_figure(session, monkeypatch, tmp_path):
    pictures = plt.get_fignums()
    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda *given, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        AttentionRow(session).save_png(tmp_path / "view.png")
    assert list(tmp_path.iterdir()) == []
    assert plt.get_fignums() == pictures


@pytest.mark.parametrize(
    "kind", [AttentionHeatmap, AttentionRow, GateHeatmap, GateTimeline, PoolingBars, SaliencyBars, Prediction]
)
def test_what_is_no_number_is_not_said_to_be_one(kind):
    view = kind(make_session("nan"))
    mouse(view.figure, "mousemove", 2.5, 0.5)
    said = lines(view)[0]
    assert "nan" in said.lower() or "not a number" in said
    assert not re.search(r" 0(\.0*)?$", said)


# From Python


@every_view
def test_repr_is_short(session, kind):
    view = kind(session, Selection(session, layer=1))
    assert repr(view) == f"{kind.__name__}(cross, layer 1)"


@every_view
def test_what_is_no_session_or_selection(session, kind):
    before, following = widgets(), observers(session)
    for arguments, message in (
        ((session.model,), "expected an ExtractorSession, got CrossAttentionStockTransformer"),
        ((session, "cross"), "expected a Selection, got str"),
    ):
        with pytest.raises(TypeError, match=message):
            kind(*arguments)
    with pytest.raises(ValueError, match="the selection belongs to another session"):
        kind(session, Selection(make_session()))
    closed = make_session()
    closed.close()
    with pytest.raises(ValueError, match="the session is closed"):
        kind(closed)
    assert widgets() == before
    assert observers(session) == following


@every_view
def test_a_view_that_cannot_be_drawn_leaves_nothing_behind(session, kind, monkeypatch):
    selection = Selection(session)
    before, following = widgets(), (observers(session), observers(selection))
    monkeypatch.setattr(kind, "_draw", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kind(session, selection)
    assert widgets() == before
    assert (observers(session), observers(selection)) == following
    session.sample = 12


@every_view
def test_closing_twice_and_using_what_is_left(session, kind):
    view = kind(session)
    view.close()
    view.close()
    view.selection.query = 0
    session.sample = 12


def test_closed_views_that_are_forgotten_are_gone(session):
    following = observers(session)
    views = [weakref.ref(closed(kind(session))) for kind in ALL_VIEWS]
    gc.collect()
    assert [view() for view in views] == [None] * len(ALL_VIEWS)
    assert observers(session) == following


@every_view
def test_closing_a_session_closes_its_views(session, kind):
    before = widgets()
    kind(session), kind(session, Selection(session))
    session.close()
    assert widgets() == before
    assert observers(session) == 0


@every_view
def test_closes_at_the_end_of_a_with_block(session, kind):
    before = widgets()
    with kind(session) as view:
        assert set(view.keys)
        assert widgets() > before
    assert widgets() == before


@every_view
def test_a_view_closes_only_its_own_selection(session, kind):
    shared = Selection(session)
    other = AttentionRow(session, shared)
    following = observers(shared)
    kind(session, shared).close()
    assert observers(shared) == following
    shared.query = 4
    assert session.reading.days(8)[4] in other.plot.title


# Following


@every_view
def test_draws_when_its_part_of_the_selection_changes(session, kind, draws):
    view = kind(session)
    for trait, value in ELSEWHERE.items():
        draws.clear()
        setattr(view.selection, trait, value)
        assert draws[kind] == (trait in FOLLOWED[kind]), trait
        setattr(view.selection, trait, value)
        assert draws[kind] == (trait in FOLLOWED[kind]), trait


@every_view
def test_draws_once_for_a_sample(session, kind, draws):
    view = kind(session)
    draws.clear()
    session.sample = 9
    assert draws[kind] == 1
    session.sample = 9
    assert draws[kind] == 1
    assert words(view) == words(kind(session, view.selection))


@every_view
@pytest.mark.parametrize(("trait", "value"), [("target", 0), ("method", "gradient")])
def test_draws_when_what_is_explained_changes(session, kind, trait, value, draws):
    view = kind(session)
    draws.clear()
    setattr(session.explanations, trait, value)
    assert draws[kind] == (kind in {"target": BY_TARGET, "method": BY_METHOD}[trait])
    assert words(view) == words(kind(session))


def test_a_click_draws_each_view_once(session, draws):
    selection = Selection(session)
    views = {kind: kind(session, selection) for kind in ALL_VIEWS}
    draws.clear()
    mouse(views[AttentionHeatmap].figure, "click", 2.5, 1.5)
    assert (selection.query, selection.key) == (1, 2)
    expected = {kind for kind, traits in FOLLOWED.items() if traits & {"query", "key"}}
    assert draws == dict.fromkeys(expected, 1)


def test_a_new_sample_that_moves_the_selection_draws_each_view_once(draws):
    session = make_session("by hand")
    views = [kind(session) for kind in ALL_VIEWS if kind.shows(session)]
    draws.clear()
    session.run(*(tensor[0, :4] for tensor in session.reading.inputs))
    assert all(view.selection.query == 3 for view in views)
    assert draws == {type(view): 1 for view in views}


@every_view
def test_a_paused_view_draws_nothing_and_catches_up(session, kind, draws):
    view = kind(session)
    before = words(view)
    draws.clear()
    view.paused = True
    for index in (7, 8, 9):
        session.sample = index
        view.selection.query = index % 8
    assert draws[kind] == 0
    assert words(view) == before
    view.paused = False
    assert draws[kind] == 1
    same = kind(session, view.selection)
    assert words(view) == words(same)
    draws.clear()
    view.paused = True
    view.paused = False
    assert draws[kind] == 0


@every_view
def test_marks_change_and_widgets_stay(session, kind):
    view = kind(session)
    everything, shown = widgets(), [id(part) for part in parts(view)]
    marks = [[id(mark) for mark in figure.marks] for figure in figures(view)]
    session.sample = 9
    session.explanations.target = 0
    session.explanations.method = "gradient"
    for trait, value in ELSEWHERE.items():
        setattr(view.selection, trait, value)
    press(view, "ArrowUp")
    assert widgets() == everything
    assert [id(part) for part in parts(view)] == shown
    assert [[id(mark) for mark in figure.marks] for figure in figures(view)] == marks


def test_a_view_hides_while_there_is_nothing_to_show(session):
    strip = PriceStrip(session)
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert strip.layout.display == "none"
    session.sample = 9
    assert strip.layout.display is None
    assert session.reading.days(8)[-1] in words(strip)


@pytest.mark.parametrize(
    "kind", [AttentionHeatmap, AttentionRow, GateHeatmap, GateTimeline, PoolingBars, SaliencyHeatmap]
)
def test_days_are_named_by_their_dates_or_their_numbers(kind):
    assert "2020-01-08" in words(kind(make_session("dated")))
    assert "step 5" in words(kind(make_session("by hand")))


# What goes wrong outside


@every_view
def test_a_view_that_fails_later_says_so_and_recovers(session, kind, monkeypatch):
    selection = Selection(session)
    view, row = kind(session, selection), PoolingBars(session, selection)
    with monkeypatch.context() as broken:
        broken.setattr(view, "_draw", lambda: 1 / 0)
        session.sample = 9
        assert shown_message(view) == "division by zero"
        # The others draw.
        assert session.reading.days(8)[7] in "\n".join(lines(row))
    session.sample = 12
    assert shown_message(view) == ""
    assert words(view) == words(kind(session, selection))


CLICKS = {
    AttentionEffects: ("layer", (1.0, 0.1)),
    AttentionHeatmap: ("query", (2.5, 1.5)),
    AttentionRow: ("key", (2.5, 0.1)),
    DayScores: ("query", (2.5, 0.1)),
    FlowHeatmap: ("query", (2.5, 1.5)),
    GateHeatmap: ("query", (2.5, 1.5)),
    GateTimeline: ("query", (2.5, 0.1)),
    HeadImportance: ("head", (1.0, 0.1)),
    HeadSpecialization: ("head", (1.0, 0.1)),
    LayerEvolution: ("layer", (1.0, 0.1)),
    MarketEntry: ("query", (2.5, 0.1)),
    PoolingBars: ("query", (2.5, 0.1)),
    PriceStrip: ("query", (2.5, 0.1)),
    SaliencyBars: ("feature", (0.1, 2.5)),
    SaliencyHeatmap: ("feature", (2.5, 2.5)),
}


@pytest.mark.parametrize("kind", CLICKS)
def test_a_callback_that_raises_is_said_and_stops_nothing(session, kind):
    trait, place = CLICKS[kind]
    view = kind(session, Selection(session, key=7))
    before = getattr(view.selection, trait)

    def fail(change):
        raise RuntimeError("no <picture> today")

    view.selection.observe(fail, trait)
    mouse(figures(view)[0], "click", *place)
    assert shown_message(view) == "no <picture> today"
    assert getattr(view.selection, trait) != before
    same = kind(session, view.selection)
    assert ("\n".join(lines(view)), view.keyboard.announcement) == ("\n".join(lines(same)), same.keyboard.announcement)
    view.selection.unobserve(fail, trait)
    press(view, "Home")
    assert shown_message(view) == ""
    assert view.selection.query == 0


def test_a_callback_on_the_session_that_raises_is_said(session):
    view = Prediction(session)

    def fail(change):
        raise RuntimeError("not this one")

    session.explanations.observe(fail, "target")
    mouse(view.figure, "click", 0.1, 0.5)
    assert shown_message(view) == "not this one"
    assert session.explanations.target == 0
    session.explanations.unobserve(fail, "target")
    mouse(view.figure, "click", 0.1, 1.5)
    assert shown_message(view) == ""
    assert session.explanations.target == 1


def test_a_message_is_text_and_never_markup(session):
    view = AttentionRow(session)

    def fail(change):
        raise RuntimeError("<img src=x>")

    view.selection.observe(fail, "key")
    mouse(view.figure, "click", 0.5)
    assert "<img" not in view.message.value
    assert "&lt;img src=x&gt;" in view.message.value


@pytest.mark.parametrize("content", [{"event": "click"}, {"event": "click", "domain": None}])
def test_a_click_without_a_place_does_nothing(session, content):
    view = AttentionHeatmap(session, Selection(session, query=7, key=7))
    view.figure.interaction._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})
    assert (view.selection.query, view.selection.key) == (7, 7)
    assert shown_message(view) == ""


def test_names_are_text_and_never_markup():
    session = make_session("by hand")
    named = ExtractorSession(
        session.model,
        *session.reading.inputs,
        feature_names=[["<b>x</b>", "f1", "f2", "f3", "f4"], ["m0", "m1"]],
    )
    for kind in (SaliencyBars, SaliencyHeatmap):
        view = kind(named)
        view.selection.feature = "<b>x</b>"
        assert "<b>x</b>" in lines(view)[0]  # the caption writes it as text
        assert not any("<b>x</b>" in part.value for part in parts(view) if isinstance(part, HTML))


@pytest.mark.parametrize("kind", [AttentionHeatmap, AttentionRow, HeadGrid, LayerEvolution, SaliencyBars])
def test_a_paused_view_saves_what_is_selected_now(session, kind, tmp_path):
    view, paused = (kind(session, Selection(session)) for _ in range(2))
    paused.paused = True
    session.sample = 9
    for one in (view, paused):
        one.selection.query = 2
    now, late = (one.save_png(tmp_path / f"{number}.png") for number, one in enumerate((view, paused)))
    assert now.read_bytes() == late.read_bytes()


def test_a_mouse_without_a_place_selects_nothing(session):
    view = AttentionHeatmap(session)
    before = view.selection.query, view.selection.key
    mouse(view.figure, "click", None, None)
    assert (view.selection.query, view.selection.key) == before
    assert shown_message(view) == ""


@pytest.mark.parametrize("kind", [SaliencyBars, Prediction])
def test_left_and_right_move_the_day_beside_bars(session, kind):
    view = kind(session)
    last, key = view.selection.query, view.selection.key
    press(view, "ArrowLeft")
    assert (view.selection.query, view.selection.key) == (last - 1, key)


def test_weights_that_are_no_numbers_name_no_class():
    assert Prediction(make_session("nan")).plot.title == "Prediction: not a number"


@every_view
def test_a_view_that_no_page_shows_waits_until_one_does(session, kind, draws):
    session.explanations.method = "input_x_gradient"
    view = kind(session)
    for places in (1, 2, 1):
        tell(view, places=places)
    session.sample = 7
    assert draws[kind] == 2
    tell(view, places=0)
    assert view.keyboard.asks == 1
    session.sample = 8
    assert draws[kind] == 2
    tell(view, page=0.6)
    assert draws[kind] == 3
    assert words(view) == words(kind(session, view.selection))


def test_a_picture_is_a_png(session, tmp_path):
    with pytest.raises(ValueError, match=r"expected a path that ends in \.png, found '.*view\.jpg'"):
        AttentionRow(session).save_png(tmp_path / "view.jpg")
    assert not list(tmp_path.iterdir())
