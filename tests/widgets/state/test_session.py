"""ExtractorSession: a live model that fails without losing anything."""

from __future__ import annotations

import contextlib

import pytest
import torch
from cases import make_session, words
from cases import parts as widget_parts
from shipped import shipped_sample
from traitlets import TraitError

from stockformer_widgets import AttentionExplorer, AttentionHeatmap, ExtractorSession, Selection

DATASET, MODEL = shipped_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_setting_the_sample_runs_once_and_fires_once(session):
    heard = []
    session.observe(lambda change: heard.append(change["name"]), ["sample", "reading"])
    session.sample = 11
    assert sorted(heard) == ["reading", "sample"]
    session.sample = 11
    session.sample = 11 - len(DATASET)
    assert len(heard) == 2


def test_sample_that_does_not_exist(session):
    before = session.reading
    with pytest.raises(IndexError, match="sample 6852 does not exist: the dataset has 6852"):
        session.sample = 6852
    assert (session.sample, session.reading) == (10, before)


def test_no_dataset_no_sample():
    x, _, market_x = DATASET[3]
    session = ExtractorSession(MODEL, x, market_x)
    with pytest.raises(TraitError, match="no dataset"):
        session.sample = 1
    assert session.sample is None


def test_a_model_that_raises_leaves_everything(session):
    before, hooks = session.reading, len(MODEL.stock_layers[0].self_attn._forward_hooks)
    handle = MODEL.final_norm.register_forward_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            session.sample = 11
    finally:
        handle.remove()
    assert (session.sample, session.reading) == (10, before)
    assert len(MODEL.stock_layers[0].self_attn._forward_hooks) == hooks == 0


def test_repr_is_one_short_line(session):
    assert repr(session) == "ExtractorSession(CrossAttentionStockTransformer, sample 10 of 6852)"


def test_an_observer_that_raises_leaves_sample_and_reading_together(session):
    def fail(change):
        raise RuntimeError("no picture today")

    session.observe(fail, "reading")
    with pytest.raises(RuntimeError, match="no picture"):
        session.sample = 100
    assert session.sample == 100
    assert list(session.reading.dates) == list(DATASET.window(100).dates)


def test_an_error_while_notifications_are_held_leaves_sample_and_reading_together(session):
    with contextlib.suppress(ZeroDivisionError), session.hold_trait_notifications():
        session.sample = 100
        raise ZeroDivisionError
    assert session.sample == 100
    assert list(session.reading.dates) == list(DATASET.window(100).dates)


def test_everything_follows_whatever_an_observer_raises(session):
    def fail(change):
        raise RuntimeError("no picture today")

    selection = Selection(session, key=59)
    session.observe(fail, ["reading", "change"])
    session.explanations.observe(fail, "method")
    selection.observe(fail, ["layer", "query"])
    explorer = AttentionExplorer(session, selection)
    explorer.opener.value = True
    steps = (
        lambda: setattr(session, "sample", 100),
        lambda: setattr(selection, "layer", 2),
        lambda: session.what_if(gate={2: 0.0}),
        lambda: setattr(session.explanations, "method", "gradient"),
    )
    for step in steps:
        with pytest.raises(RuntimeError, match="no picture"):
            step()
        with AttentionExplorer(session, Selection(session, layer=selection.layer, key=59)) as fresh:
            assert [words(view) for view in explorer.views] == [words(view) for view in fresh.views]
            for name in ("samples", "look", "tools"):
                shown = [
                    [part.value for part in widget_parts(getattr(one, name)) if part.has_trait("value")]
                    for one in (explorer, fresh)
                ]
                assert shown[0] == shown[1]
            assert explorer.headline.value == fresh.headline.value


def test_refresh_after_the_weights_changed():
    session = make_session()
    explorer = AttentionExplorer(session)
    session.what_if(heads_off=[(0, 0)])
    with torch.no_grad():
        for parameter in session.model.parameters():
            parameter.mul_(1.5)
    before, window = session.reading, session.reading.window
    session.refresh()
    with torch.no_grad():
        expected = session.model(*session.reading.inputs)
    assert torch.equal(session.original.capture.output, expected)
    assert not torch.equal(session.reading.capture.output, before.capture.output)
    assert (session.sample, session.reading.window) == (5, window)
    assert words(explorer.views[0]) == words(AttentionHeatmap(session, explorer.selection))


def test_a_sample_that_is_set_while_notifications_are_held():
    session = make_session()
    with session.hold_trait_notifications():
        session.sample = 9
        session.explanations.method = "gradient"
    assert session.sample == 9
    assert list(session.reading.dates) == list(session.dataset.window(9).dates)
