"""The dashboard: which views, when they are built and drawn, and that nothing piles up."""

from __future__ import annotations

import gc
import json
import weakref
from collections import Counter

import numpy as np
import pytest
import torch
from cases import (
    ALL_VIEWS,
    SESSIONS,
    Bare,
    drawn,
    global_hooks,
    make_session,
    marker,
    model,
    mouse,
    observers,
    parts,
    plain,
    press,
    session_of,
    shown_message,
    widgets,
    words,
)
from ipywidgets.widgets import widget as registry
from torch import nn

from stockformer_widgets import (
    AttentionExplorer,
    AttentionHeatmap,
    AttentionRow,
    ExtractorSession,
    GateTimeline,
    HeadSpecialization,
    PoolingBars,
    Prediction,
    PriceStrip,
    SaliencyBars,
    Selection,
    catalogue,
)

PAGES = {title: {kind for column in columns for kind in column} for title, columns in catalogue.PAGES.items()}


def view_of(explorer, kind):
    return next(view for view in explorer.views if type(view) is kind)


def turn_to(explorer, title: str) -> None:
    explorer.tabs.selected_index = explorer.tabs.titles.index(title)


def opened_tab(explorer) -> set[type]:
    """Classes of what is in the open tab."""
    return {type(part) for part in parts(explorer.tabs.children[explorer.tabs.selected_index])}


def open_all(explorer) -> None:
    for number in range(len(explorer.tabs.children)):
        explorer.tabs.selected_index = number


# Which views


@pytest.mark.parametrize("name", SESSIONS)
def test_pages_hold_what_the_model_has(name):
    session, has = session_of(name), SESSIONS[name][1]
    selection = Selection(session)
    before, following = widgets(), (observers(session), observers(selection))
    explorer = AttentionExplorer(session, selection)
    expected = {title: kinds & has for title, kinds in PAGES.items() if kinds & has}
    assert [title for title in explorer.tabs.titles if title != "History"] == list(expected)
    seen = []
    for title, kinds in expected.items():
        turn_to(explorer, title)
        opened = {type(view) for view in explorer.views} - set(seen)
        assert opened == kinds
        seen += opened
        assert kinds <= opened_tab(explorer)
    assert len(explorer.views) == len(has)
    assert shown_message(explorer) == ""
    assert "nan%" not in words(explorer).replace(" %", "%")
    explorer.close()
    assert widgets() == before
    assert (observers(session), observers(selection)) == following


def test_views_are_linked(session):
    explorer = AttentionExplorer(session)
    open_all(explorer)
    assert {view.selection for view in explorer.views} == {explorer.selection}
    assert {view.session for view in explorer.views} == {session}


def test_a_given_selection_is_shared(session):
    selection = Selection(session, layer=1, query=3)
    row = AttentionRow(session, selection)
    explorer = AttentionExplorer(session, selection)
    assert explorer.selection is selection
    mouse(view_of(explorer, AttentionHeatmap).figure, "click", 2.5, 5.5)
    assert (selection.query, selection.key) == (5, 2)
    assert marker(row) == [2.5, 2.5]
    explorer.close()
    selection.query = 1
    session.run(*(tensor[0, :4] for tensor in session.reading.inputs))
    assert (selection.query, selection.key) == (1, 2)
    assert drawn(row, "area")[0].shape == (1, 5)


def test_closing_an_explorer_leaves_linked_views_alive(session):
    explorer = AttentionExplorer(session)
    row = AttentionRow(session, explorer.selection)
    explorer.close()
    explorer.selection.query = 3
    assert session.reading.days(8)[3] in row.plot.title
    session.run(*(tensor[0, :3] for tensor in session.reading.inputs))
    assert drawn(row, "area")[0].shape == (1, 4)


def test_headline(session):
    explorer = AttentionExplorer(session)
    for sample in (5, 33):
        session.sample = sample
        window = session.dataset.window(sample)
        said = plain(explorer.headline.value)
        assert said.startswith(f"{window.ticker}, {window.dates[-1].date()}")
        assert f"{100 * window.forward_return:+.1f} %" in said
        assert "3 days" in said
        chances = torch.softmax(session.reading.capture.output[0], dim=0)
        predicted, truth = int(chances.argmax()), int(window.y)
        came = "came true" if predicted == truth else f"actually {session.class_names[truth]}"
        assert f"predicted {session.class_names[predicted]} {100 * float(chances.max()):.1f} %, {came}" in said
        assert "integrated gradients: faithfulness not measured yet" in said
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert plain(explorer.headline.value).startswith("tensors given by hand")
    assert "actually" not in plain(explorer.headline.value)
    session.sample = 5
    assert plain(explorer.headline.value).startswith("AAA")


def test_headline_of_a_regression(session):
    made = make_session("regression")
    with AttentionExplorer(made) as explorer:
        value, truth = float(made.reading.capture.output[0]), float(made.reading.window.y)
        said = plain(explorer.headline.value)
        assert f"return of the next 3 days: predicted {100 * value:+.1f} %, actually {100 * truth:+.1f} %" in said


@pytest.mark.parametrize("name", ["dataset", "regression"])
def test_headline_of_a_what_if_has_both_predictions(name):
    with make_session(name) as made, AttentionExplorer(made) as explorer:
        before = made.reading.capture.output[0]
        made.what_if(gate={0: 0.0, 1: 0.0})
        after = made.reading.capture.output[0]
        said = plain(explorer.headline.value)
        if name == "regression":
            assert f"predicted {100 * float(before):+.1f} % → {100 * float(after):+.1f} %, actually" in said
        else:
            first, then = (torch.softmax(output, dim=0) for output in (before, after))
            assert int(first.argmax()) == int(then.argmax()) == 1
            assert f"predicted UP {100 * float(first.max()):.1f} % → {100 * float(then.max()):.1f} %" in said


def test_prices_appear_with_the_first_sample():
    x, market_x = (tensor[0] for tensor in make_session("dataset").reading.inputs)
    session = ExtractorSession(model(), x, market_x, dataset=make_session("dataset").dataset)
    explorer = AttentionExplorer(session)
    session.sample = 3
    assert PriceStrip in {type(view) for view in explorer.views}


def test_repr_is_short(session):
    explorer = AttentionExplorer(session, Selection(session, kind="self", layer=1))
    assert repr(explorer) == "AttentionExplorer(sample 5, self, layer 1)"


def test_what_is_no_session_or_selection(session):
    before = widgets()
    with pytest.raises(TypeError, match="expected an ExtractorSession, got CrossAttentionStockTransformer"):
        AttentionExplorer(session.model)
    with pytest.raises(TypeError, match="expected a Selection, got str"):
        AttentionExplorer(session, "cross")
    with pytest.raises(ValueError, match="the selection belongs to another session"):
        AttentionExplorer(session, Selection(make_session()))
    assert widgets() == before


# Tabs


def test_a_tab_is_built_when_it_is_opened(session, draws):
    explorer = AttentionExplorer(session)
    assert {type(view) for view in explorer.views} == PAGES["Overview"]
    assert set(draws) == PAGES["Overview"]
    assert set(draws.values()) == {1}
    turn_to(explorer, "Layers and heads")
    assert {type(view) for view in explorer.views} == PAGES["Overview"] | PAGES["Layers and heads"]
    built = widgets()
    explorer.tabs.selected_index = 0
    turn_to(explorer, "Layers and heads")
    assert widgets() == built
    assert set(draws.values()) == {1}


def test_a_hidden_tab_is_not_drawn_and_catches_up(session, draws):
    explorer = AttentionExplorer(session)
    open_all(explorer)
    explorer.tabs.selected_index = 0
    draws.clear()
    for sample in (7, 8, 9):
        session.sample = sample
        explorer.selection.layer = sample % 2
        explorer.selection.query = sample % 8
    assert set(draws) == PAGES["Overview"]
    draws.clear()
    for title, kinds in list(PAGES.items())[1:]:
        turn_to(explorer, title)
        assert draws == dict.fromkeys(kinds, 1)
        draws.clear()
        for kind in kinds:
            assert words(view_of(explorer, kind)) == words(kind(session, explorer.selection))
        draws.clear()
    explorer.tabs.selected_index = 0
    assert not draws


def test_a_sample_draws_each_shown_view_once(session, draws):
    explorer = AttentionExplorer(session)
    draws.clear()
    session.sample = 9
    assert draws == dict.fromkeys(PAGES["Overview"], 1)
    draws.clear()
    explorer.selection.kind = "market"
    assert draws == dict.fromkeys([AttentionHeatmap, AttentionRow], 1)
    draws.clear()
    explorer.selection.query = 2
    session.explanations.target = 0
    followers = [AttentionHeatmap, AttentionRow, GateTimeline, PoolingBars, PriceStrip, SaliencyBars, Prediction]
    assert draws == Counter([*followers, SaliencyBars])


# Nothing piles up


def test_many_samples_leave_everything_as_it_was(session):
    session.explanations.method = "gradient"
    explorer = AttentionExplorer(session)
    open_all(explorer)
    explorer.tabs.selected_index = 0
    session.sample = 0
    counts = [lambda: observers(session), lambda: observers(explorer.selection), global_hooks]
    before = widgets(), [count() for count in counts]
    for change in range(1, 61):
        session.sample = change % 40
        if change % 10 == 0:
            explorer.selection.kind = explorer.selection.kinds[change // 10 % 3]
            explorer.selection.layer = change // 10 % explorer.selection.sizes()["layer"]
            session.explanations.target = change // 10 % 2
    assert (widgets(), [count() for count in counts]) == before
    assert len(session.explanations._results) <= 4


def test_every_name_can_be_sent_to_the_page(session):
    """Half of a surrogate pair, which no encoding can write, would keep a whole message back."""
    session._feature_names = [[f"{name}\ud800" for name in names] for names in session.feature_names]
    with AttentionExplorer(session) as explorer:
        open_all(explorer)
        explorer.selection.feature = session.feature_names[0][1]
        session.what_if(features=[session.feature_names[0][2]])
        for widget in list(registry._instances.values()):
            json.dumps(widget.get_state(), ensure_ascii=False, default=str).encode()


def test_opening_and_closing_leaves_nothing(session):
    before = widgets(), observers(session), global_hooks()
    for _ in range(3):
        explorer = AttentionExplorer(session)
        open_all(explorer)
        session.sample = 9
        explorer.close()
        explorer.close()
        session.sample = 5
    del explorer
    gc.collect()
    assert (widgets(), observers(session), global_hooks()) == before


def test_closing_the_session_closes_explorers_and_views():
    before, hooks = widgets(), global_hooks()
    session = make_session()
    explorer, other = AttentionExplorer(session), AttentionExplorer(session)
    open_all(explorer)
    AttentionRow(session, other.selection)
    session.close()
    assert widgets() == before
    assert observers(session) == 0
    assert global_hooks() == hooks
    assert repr(explorer).startswith("AttentionExplorer(")


def test_closes_at_the_end_of_a_with_block(session):
    before = widgets()
    with AttentionExplorer(session) as explorer:
        open_all(explorer)
    assert widgets() == before


def test_a_closed_session_lets_go_of_model_and_tensors():
    session = make_session()
    explorer = AttentionExplorer(session)
    held = [weakref.ref(session.model), weakref.ref(session.reading)]
    session.close()
    gc.collect()
    assert [reference() for reference in held] == [None, None]
    assert repr(explorer)


# What goes wrong


@pytest.mark.parametrize("kind", sorted(PAGES["Overview"], key=lambda kind: kind.__name__))
def test_a_view_that_fails_is_said_and_the_others_are_there(session, kind, monkeypatch):
    selection = Selection(session)
    before, following = widgets(), (observers(session), observers(selection))
    monkeypatch.setattr(kind, "_draw", lambda self: 1 / 0)
    explorer = AttentionExplorer(session, selection)
    assert "division by zero" in shown_message(explorer)
    assert PAGES["Overview"] - {kind} <= {type(part) for part in parts(explorer.tabs.children[0])}
    explorer.close()
    assert widgets() == before
    assert (observers(session), observers(selection)) == following


def test_a_tab_that_failed_is_there_once_it_can_be(session, monkeypatch):
    selection = Selection(session)
    before, following = widgets(), (observers(session), observers(selection))
    explorer = AttentionExplorer(session, selection)
    with monkeypatch.context() as broken:
        broken.setattr(HeadSpecialization, "_draw", lambda self: 1 / 0)
        turn_to(explorer, "Layers and heads")
        assert "division by zero" in shown_message(explorer)
        explorer.tabs.selected_index = 0
    turn_to(explorer, "Layers and heads")
    assert shown_message(explorer) == ""
    assert PAGES["Layers and heads"] <= {
        type(part) for part in parts(explorer.tabs.children[explorer.tabs.selected_index])
    }
    explorer.close()
    assert widgets() == before
    assert (observers(session), observers(selection)) == following


class Decides(Bare):
    """Returns class numbers, which have no gradient."""

    def forward(self, x):
        return super().forward(x).argmax(dim=-1)


def test_a_model_without_a_gradient_shows_its_attention():
    session = ExtractorSession(Decides(), torch.randn(1, 5, 6))
    explorer = AttentionExplorer(session)
    assert {AttentionHeatmap, AttentionRow} <= {type(part) for part in parts(explorer.tabs.children[0])}
    explorer.selection.query = 1
    session.run(torch.randn(1, 4, 6))
    assert drawn(view_of(explorer, AttentionRow), "area")[0].shape == (1, 5)


def test_a_key_that_fails_leaves_the_explorer_usable(session):
    explorer = AttentionExplorer(session)
    heatmap = view_of(explorer, AttentionHeatmap)

    def fail(change):
        raise RuntimeError("no")

    explorer.selection.observe(fail, "layer")
    press(heatmap, "]")
    assert shown_message(heatmap) == "no"
    explorer.selection.unobserve(fail, "layer")
    press(heatmap, "[")
    assert shown_message(heatmap) == ""
    assert all(words(view) == words(type(view)(session, explorer.selection)) for view in explorer.views)


# Other models


@pytest.mark.parametrize(
    ("make", "inputs", "kinds"),
    [
        (
            lambda: nn.Transformer(8, 2, 1, 2, 16, batch_first=True),
            [(1, 6, 8), (1, 4, 8)],
            ["encoder.layers.*.self_attn", "decoder.layers.*.self_attn", "decoder.layers.*.multihead_attn"],
        ),
        (
            lambda: nn.Transformer(8, 2, 1, 2, 16),
            [(6, 1, 8), (4, 1, 8)],
            ["encoder.layers.*.self_attn", "decoder.layers.*.self_attn", "decoder.layers.*.multihead_attn"],
        ),
        (
            lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 3),
            [(1, 5, 8), (1, 7, 8)],
            ["layers.*.self_attn", "layers.*.multihead_attn"],
        ),
        (Bare, [(1, 5, 6)], ["layers.*"]),
    ],
)
def test_arbitrary_models_open(make, inputs, kinds):
    torch.manual_seed(0)
    session = ExtractorSession(make(), *(torch.randn(shape) for shape in inputs))
    explorer = AttentionExplorer(session)
    open_all(explorer)
    assert explorer.selection.kinds == kinds
    heatmap, by_head = view_of(explorer, AttentionHeatmap), view_of(explorer, HeadSpecialization)
    for view in explorer.views:
        view.paused = False
    for kind in kinds:
        explorer.selection.kind = kind
        for layer, maps in enumerate(session.reading.capture.kinds[kind]):
            explorer.selection.layer = layer
            assert list(heatmap.image.x) == [0, maps.size(-1)]
            assert len(np.asarray(by_head.picture.pictures[0].bars.y)) == maps.size(1)
    assert shown_message(explorer) == ""


def test_every_view_of_the_package_has_a_place():
    assert set.union(*PAGES.values()) == set(ALL_VIEWS)


def test_turning_a_tab_of_a_closed_explorer_makes_nothing(session):
    explorer = AttentionExplorer(session)
    explorer.close()
    before = widgets()
    turn_to(explorer, "Layers and heads")
    assert widgets() == before


def test_a_batch_of_another_model_is_said_to_be_one():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    for batch, said in ((4, "tensors given by hand, the first of the batch's 4"), (1, "tensors given by hand")):
        assert plain(AttentionExplorer(ExtractorSession(encoder, torch.randn(batch, 5, 8))).headline.value) == said
