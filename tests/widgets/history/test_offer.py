"""A survey that the explorer makes by itself."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest
from cases import parts, widgets

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


def test_what_goes_wrong_is_said(offer):
    Path(offer._folder.name, "other.txt").write_text("")
    offer.button.click()
    assert "holds other.txt, expected an empty folder or a survey" in offer.message.value
    assert offer.view is None


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
