"""What if, on the session: every view follows, and undo brings all back."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from cases import ALL_VIEWS, global_hooks, lines, make_session, shown_message, told, widgets, words
from traitlets import TraitError

from stockformer.explainability import WhatIf
from stockformer_widgets import (
    AttentionExplorer,
    AttentionHeatmap,
    AttentionRow,
    ExtractorSession,
    Prediction,
    SaliencyBars,
    Selection,
)
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.controls.what_if import WhatIfControls

CLOSED = {0: 0.0, 1: 0.0}


def outputs(session):
    with torch.no_grad():
        return session.model(*session.reading.inputs)


def test_closed_gates_make_the_market_irrelevant_exactly(session):
    session.what_if(gate=CLOSED)
    output = session.reading.capture.output
    stock, market = session.explanations.saliency()
    assert stock.any()
    assert not market.any()
    session.what_if(gate=CLOSED, market_from=30)
    assert torch.equal(session.reading.capture.output, output)
    assert session.effect().findings[0].value > 0


def test_undo_goes_back_step_by_step(session):
    original = session.reading
    session.what_if(gate={0: 0.5})
    half = session.reading.capture.output
    session.what_if(heads_off=[(0, 0)])
    session.what_if()
    assert session.reading is original
    assert session.undo().capture.output.tolist() != original.capture.output.tolist()
    assert torch.equal(session.undo().capture.output, half)
    assert session.undo() is original
    assert session.undo() is original
    assert not session.change


def test_a_change_stays_when_the_sample_changes(session):
    session.what_if(gate=CLOSED)
    session.sample = 9
    assert session.change == WhatIf(gate=CLOSED)
    assert torch.equal(session.original.capture.output, outputs(session))
    assert not torch.equal(session.reading.capture.output, session.original.capture.output)
    assert list(session.reading.capture.gates.values())[1].unique().tolist() == [0.0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"gate": {2: 0.0}}, ValueError, "gate's layer is 2, expected 0 to 1"),
        ({"gate": {0: 2.0}}, ValueError, "the gate of layer 0 is 2.0, expected 0 to 1"),
        ({"market_from": 40}, IndexError, "sample 40 does not exist"),
        ({"features": ["zz"]}, ValueError, "there is no feature 'zz'"),
        ({"days": (0, 8)}, ValueError, "days are 0 to 8, expected a span inside 0 to 7"),
        ({"gat": 1}, TypeError, "gat"),
    ],
)
def test_what_cannot_be_changed_changes_nothing(session, change, error, message):
    session.what_if(gate={0: 0.5})
    before, held = session.reading, session.change
    with pytest.raises(error, match=message):
        session.what_if(**change)
    assert session.reading is before
    assert session.change is held
    assert global_hooks() == 0
    session.undo()
    assert not session.change


def test_a_session_without_dataset_or_gates():
    by_hand = make_session("by hand")
    with pytest.raises(ValueError, match="market_from needs a session with a dataset"):
        by_hand.what_if(market_from=0)
    by_hand.what_if(days=(5, 5))
    assert not by_hand.reading.inputs[0][0, 5].any()
    with pytest.raises(ValueError, match="days are 5 to 5, expected a span inside 0 to 3"):
        by_hand.run(*(tensor[0, :4] for tensor in by_hand.original.inputs))
    assert by_hand.reading.inputs[0].size(1) == 6
    encoder = make_session("encoder")
    with pytest.raises(ValueError, match="StockTransformer has no gates"):
        encoder.what_if(gate={0: 0.0})
    with pytest.raises(ValueError, match="market_from needs a model that reads a market"):
        encoder.what_if(market_from=0)


@pytest.mark.parametrize("name", ["nn.Transformer", "nn.TransformerDecoder", "bare attention"])
def test_other_models(name):
    session = make_session(name)
    before = session.reading.capture.output
    session.what_if(flat=[0])
    weights = next(iter(session.reading.capture.kinds.values()))[0]
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / weights.size(-1)))
    assert not torch.allclose(session.reading.capture.output, before)
    with pytest.raises(TypeError, match="has no known meaning"):
        session.effect()


def test_a_trait_that_only_what_if_sets(session):
    with pytest.raises(TraitError, match="read-only"):
        session.change = WhatIf(gate=CLOSED)


@pytest.mark.parametrize("kind", ALL_VIEWS, ids=lambda kind: kind.__name__)
def test_views_show_the_changed_model(session, kind):
    view = kind(session)
    session.what_if(gate={0: 0.9, 1: 0.1}, flat=[0], permuted=[("self", 1)], days=(0, 3))
    fresh = kind(session, view.selection)
    assert words(view) == words(fresh)
    session.what_if()
    assert words(view) == words(kind(session, view.selection))


def test_prediction_shows_before_and_after(session):
    view = Prediction(session)
    assert view.picture.dots is None
    before = torch.softmax(outputs(session)[0], dim=0)
    session.what_if(gate=CLOSED, days=(0, 5))
    after = torch.softmax(session.reading.capture.output[0], dim=0)
    frame = view.to_frame()
    np.testing.assert_allclose(frame["before"], before, rtol=1e-5)
    np.testing.assert_allclose(frame["value"], after, rtol=1e-5)
    assert view.picture.dots.visible
    np.testing.assert_allclose(view.picture.dots.x, before, rtol=1e-5)
    moved = 0.5 * float((after - before).abs().sum())
    assert f"total variation {moved:.3g}" in "\n".join(lines(view))
    likely = int(before.argmax())
    assert f"goes from {100 * before[likely]:.2f} % to {100 * after[likely]:.2f} %" in "\n".join(lines(view))
    session.what_if()
    assert not view.picture.dots.visible
    assert "what if" not in "\n".join(lines(view))


@pytest.mark.parametrize("name", ["regression", "coral", "nan"])
def test_prediction_of_other_sorts(name):
    session = make_session(name)
    view = Prediction(session)
    session.what_if(gate=CLOSED)
    assert "what if" in "\n".join(lines(view))
    assert shown_message(view) == ""


def test_a_switched_off_head_says_so(session):
    view, row = AttentionHeatmap(session), None
    view.selection.head = 1
    row = AttentionRow(session, view.selection)
    session.what_if(heads_off=[(0, 1)])
    assert not view.to_frame()["weight"].any()
    for one in (view, row):
        assert "switched off" in told(one)


def test_another_market_is_named(session):
    view = AttentionHeatmap(session)
    session.what_if(market_from=25)
    dates = session.dataset.window(25).dates
    assert f"market replaced by {dates[0].date()} to {dates[-1].date()}" in "\n".join(lines(view))
    view.selection.kind = "self"
    assert "market days" not in "\n".join(lines(view))


def test_saliency_of_a_feature_at_its_mean_is_zero(session):
    view = SaliencyBars(session)
    session.what_if(features=["f1"])
    frame = view.to_frame().set_index("feature")["value"]
    assert frame["f1"] == 0
    assert frame["f0"] > 0


def test_nothing_is_left_behind():
    before = widgets()
    with make_session() as session:
        with AttentionExplorer(session):
            for layer in (0, 1):
                session.what_if(gate={layer: 0.0}, flat=[layer])
        session.undo()
    assert widgets() == before
    assert global_hooks() == 0
    with pytest.raises(RuntimeError, match="this session is closed"):
        session.what_if(gate={0: 0.0})


def test_the_same_change_again_is_no_step_to_undo(session):
    session.what_if(gate={1: 0.0})
    reading = session.reading
    assert session.what_if(gate={1: 0.0}) is reading
    session.undo()
    assert not session.change


def test_a_change_is_a_copy(session):
    gate, heads = {1: 0.0}, [(0, 1), (0, 1)]
    session.what_if(gate=gate, heads_off=heads)
    gate[1] = 1.0
    heads.append((1, 1))
    assert session.change == WhatIf(gate={1: 0.0}, heads_off=((0, 1),))


def test_the_gate_is_that_of_the_cross_attention(session):
    selection = Selection(session)
    controls = WhatIfControls(session, selection, MessageLine())
    for kind, shown in (("self", "none"), ("market", "none"), ("cross", None)):
        selection.kind = kind
        assert controls.gate.layout.display == shown


def test_a_patched_sample_is_undone(session):
    original = session.reading
    session.what_if(patch_from=30, patch_days=[("stock", 1, day) for day in range(8)])
    donor = session.at(30)
    assert torch.equal(session.reading.capture.output, donor.original.capture.output)
    assert "stock stream after layer 1 on days 0 to 7 of sample 30" in session.title
    assert donor.change == session.change
    session.sample = 9
    assert torch.equal(session.reading.capture.output, donor.original.capture.output)
    # The last layer is the donor's, so nothing of the sample reaches the output.
    assert not any(part.any() for part in session.explanations.saliency())
    session.sample = session.dataset.index_of(original.dates[-1], original.window.ticker)
    session.undo()
    assert torch.equal(session.reading.capture.output, original.capture.output)


def test_a_donor_of_another_dataset_or_length(session):
    places = {"patch_from": 0, "patch_gates": [0]}
    by_hand = make_session()
    by_hand.run(*(part[:, 1:] for part in by_hand.reading.inputs))
    message = "the donor's inputs are [8, 5] and [8, 2], days and features, expected [7, 5] and [7, 2] as of the sample"
    with pytest.raises(ValueError, match=re.escape(message)):
        by_hand.what_if(**places)
    with pytest.raises(IndexError, match="sample 44 does not exist"):
        session.what_if(patch_from=44, patch_gates=[0])
    alone = ExtractorSession(session.model, *session.reading.inputs)
    with pytest.raises(ValueError, match="patch_from needs a session with a dataset"):
        alone.what_if(**places)
    assert not alone.change


def test_a_change_of_another_samples_market_leaves_the_dataset_as_it_is(session):
    before = [session.dataset.window(index).market_x.clone() for index in range(40)]
    session.what_if(market_from=13, days=(1, 3))
    assert not session.reading.inputs[1][0, 1:4].any()
    for index, market in enumerate(before):
        assert torch.equal(session.dataset.window(index).market_x, market)
