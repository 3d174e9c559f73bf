"""Closing a session frees what it holds, once, and what depends on it says so."""

from __future__ import annotations

import gc
import weakref

import pytest
from cases import MARKET, STOCK, dataset, global_hooks, make_session, model, observers, table, widgets
from shipped import shipped_sample
from traitlets import TraitError

from stockformer.dataset import StockDataset
from stockformer_widgets import AttentionExplorer, AttentionRow, ExtractorSession, Selection

DATASET, MODEL = shipped_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_close_frees_what_the_session_holds():
    network = model()
    session = ExtractorSession.from_dataset(network, dataset(), index=5)
    session.sample = 6
    session.explanations.saliency(), session.find("most wrong")
    heard = []
    session.observe(heard.append, "sample")
    hooks = global_hooks()
    held = [weakref.ref(network), weakref.ref(session.reading), weakref.ref(session.explanations.saliency()[0])]
    session.close()
    session.close()
    del network
    gc.collect()
    assert [reference() for reference in held] == [None, None, None]
    assert (session.closed, session.dataset) == (True, None)
    assert global_hooks() == hooks
    assert observers(session) == 0
    assert repr(session) == "ExtractorSession(closed)"


def test_a_with_block_closes():
    before = widgets()
    with make_session() as session:
        AttentionRow(session)
        assert not session.closed
    assert session.closed
    assert widgets() == before
    with pytest.raises(KeyError), make_session() as session:
        raise KeyError
    assert session.closed


def test_a_closed_session_says_so():
    session = make_session()
    x, market_x = session.reading.inputs
    session.close()

    def set_sample():
        session.sample = 3

    for use in (
        lambda: session.run(x, market_x),
        set_sample,
        session.explanations.saliency,
        session.prediction,
        lambda: session.find("calmest"),
        lambda: next(session.scan()),
    ):
        with pytest.raises(RuntimeError, match="this session is closed"):
            use()


def test_a_closed_sessions_dataset_is_let_go():
    made = StockDataset(table(), STOCK, MARKET, lookback=8)
    held = weakref.ref(made)
    session = ExtractorSession.from_dataset(model(), made)
    explorer = AttentionExplorer(session)
    session.close()
    del made
    gc.collect()
    assert held() is None
    assert repr(explorer)


def test_what_hangs_on_a_closed_session_says_so():
    session = make_session()
    view = AttentionRow(session)
    session.close()
    with pytest.raises(RuntimeError, match="this session is closed"):
        view.to_frame()
    with pytest.raises(RuntimeError, match="this session is closed"):
        view.selection.query = 3


def test_closing_is_seen_once():
    session = make_session()
    heard = []
    session.observe(lambda change: heard.append(change["new"]), "closed")
    session.close()
    session.close()
    assert heard == [True]
    with pytest.raises(TraitError):
        session.closed = False


def test_a_selection_outlives_its_session():
    session = make_session()
    where = Selection(session)
    session.close()
    assert (where.kind, where.query) == ("cross", 7)
