"""A survey that the explorer makes by itself."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from cases import parts, widgets
from small_market import make_model

from stockformer.survey import run
from stockformer_widgets import AttentionExplorer, ExtractorSession, HistoryView
from stockformer_widgets.history import SurveyOffer


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.002)


def said(offer) -> bool:
    return offer.message.layout.display is None


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Eight chunks of 50 windows."""
    monkeypatch.setattr(run, "CHUNK", 50)


@pytest.fixture
def offer(session):
    offer = SurveyOffer(session)
    yield offer
    offer.close()


def test_the_button_surveys_and_the_history_is_there(surveyed, session):
    with AttentionExplorer(session) as explorer:
        assert explorer.tabs.titles[:2] == ("Overview", "History")
        explorer.tabs.selected_index = 1
        offer = next(one for one in parts(explorer) if isinstance(one, SurveyOffer))
        assert not any(isinstance(view, HistoryView) for view in explorer.views)
        assert offer.button.description == "survey all 400 windows"
        offer.button.click()  # without an event loop to its end
        assert not said(offer)
        assert offer.view in explorer.views
        frame = offer.view.to_frame()
        np.testing.assert_array_equal(frame["market_share"], surveyed[2].to_frame()["market_share"])
        session.sample = 7
        assert offer.view.rows.table.selected == 7
        explorer.tabs.selected_index = 0
        session.sample = 8
        assert offer.view.rows.table.selected == 7
        explorer.tabs.selected_index = 1
        assert offer.view.rows.table.selected == 8
        folder = offer.view.survey.folder
        assert folder.exists()
    assert not folder.exists()
    assert offer.view.comm is None


def test_it_is_measured_beside_the_event_loop_and_goes_on_after_a_stop(offer, monkeypatch):
    threads, measure, going = [], run.measure_chunk, threading.Event()

    def measured(model, chunk):
        threads.append(threading.get_ident())
        if len(threads) == 3:
            going.wait(60)
        return measure(model, chunk)

    monkeypatch.setattr(run, "measure_chunk", measured)

    async def work():
        offer.button.click()
        assert offer.button.disabled
        await until(lambda: len(threads) == 3)
        assert offer.progress.bar.value == 2 / 8
        offer.progress.stopper.click()
        assert not offer.progress.running
        offer.button.click()  # while the third chunk is being measured
        await asyncio.sleep(0.01)
        assert len(threads) == 3
        going.set()
        await until(lambda: offer.view is not None or said(offer))
        assert not said(offer), offer.message.value

    asyncio.run(work())
    assert threading.get_ident() not in threads
    assert len(threads) in (8, 9)  # the third chunk may be measured again
    assert len(offer.view.to_frame()) == 400


def test_what_goes_wrong_is_said_and_weights_that_changed_since_are_surveyed_anew(offer, monkeypatch):
    measure, measured = run.measure_chunk, []

    def fails_once(model, chunk):
        measured.append(chunk)
        if len(measured) == 3:
            raise OSError(28, "No space left on device")
        return measure(model, chunk)

    monkeypatch.setattr(run, "measure_chunk", fails_once)
    offer.button.click()
    assert "no space left for " in offer.message.value
    assert offer.view is None
    session = offer.session
    session.model = make_model(seed=1)
    session.refresh()
    offer.button.click()
    assert not said(offer), offer.message.value
    assert len(measured) == 3 + 8
    expected = session.measures()["market share"]
    assert offer.view.to_frame()["market_share"][session.sample] == pytest.approx(expected, rel=1e-5)


def test_a_session_without_dataset_has_no_history(surveyed):
    window = surveyed[1].window(0)
    with ExtractorSession(surveyed[0], *window.inputs) as session, AttentionExplorer(session) as explorer:
        assert "History" not in explorer.tabs.titles


def test_closing_leaves_no_widget(session):
    before = widgets()
    offer = SurveyOffer(session)
    offer.button.click()
    offer.close()
    assert widgets() == before
