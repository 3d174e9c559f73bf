"""State that several threads change: cells and messages of the page run in threads of their own."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest
from cases import make_session, tell
from ipywidgets import Button
from traitlets import TraitError

from stockformer_widgets import AttentionHeatmap, Selection
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.progress import ProgressBar

SOON = 10  # seconds: fails, instead of waiting for ever


@pytest.fixture
def session():
    return make_session()


@pytest.fixture
def selection(session):
    return Selection(session)


def elsewhere(act) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_a_wrong_value_is_refused_while_another_thread_changes_several(selection):
    """A click holds notifications; what a cell sets meanwhile is checked, and the click is not lost."""
    held, go, refused = threading.Event(), threading.Event(), []

    def click() -> None:
        with selection.hold_trait_notifications():
            selection.query, selection.key = 1, 2
            held.set()
            go.wait(SOON)

    def cell() -> None:
        try:
            selection.layer = 99
        except TraitError as error:
            refused.append(str(error))

    clicking = elsewhere(click)
    assert held.wait(SOON)
    setting = elsewhere(cell)
    go.set()
    clicking.join(SOON)
    setting.join(SOON)
    assert (selection.layer, selection.query, selection.key) == (0, 1, 2)
    assert refused == ["layer is 99, expected 0 to 1 for cross attention"]


def test_clicks_and_cells_at_once_lose_nothing(selection):
    heard = []
    selection.observe(lambda change: heard.append((change["name"], change["new"])), ["query", "key", "layer"])

    def clicks() -> None:
        for turn in range(1, 101):
            with selection.hold_trait_notifications():
                selection.query, selection.key = turn % 2, 3 + turn % 2

    clicking = elsewhere(clicks)
    for turn in range(1, 101):
        selection.layer = turn % 2
        with pytest.raises(TraitError):
            selection.layer = 99
    clicking.join(SOON)
    assert [heard.count(("layer", value)) for value in (0, 1)] == [50, 50]
    for name, values in (("query", (0, 1)), ("key", (3, 4))):
        assert [heard.count((name, value)) for value in values] == [50, 50]


@pytest.mark.parametrize("held", [False, True])
def test_an_observer_may_wait_for_another_thread(session, selection, held):
    """It runs outside of the lock."""
    ended = []

    def observer(change) -> None:
        thread = elsewhere(lambda: selection.set_trait("key", change["new"]))
        thread.join(SOON)
        ended.append(not thread.is_alive())

    selection.observe(observer, "query")
    if held:
        with selection.hold_trait_notifications():
            selection.query = 1
    else:
        selection.query = 1
    assert ended == [True]
    assert selection.key == 1
    session.observe(lambda change: setattr(selection, "query", 2), "reading")
    session.sample = 3
    assert ended == [True, True]


def test_followers_see_the_newest_state_before_observers_do(selection):
    order = []
    selection.follow(lambda: order.append(("follower", selection.query)))
    selection.observe(lambda change: order.append(("observer", change["new"])), "query")
    selection.query = 1
    assert order == [("follower", 1), ("observer", 1)]


def test_an_interrupted_redraw_is_made_up_for(selection):
    drawn = []

    def follower() -> None:
        if not drawn:
            drawn.append("interrupted")
            raise KeyboardInterrupt
        drawn.append(selection.query)

    selection.follow(follower)
    with pytest.raises(KeyboardInterrupt):
        selection.query = 1
    elsewhere(lambda: selection.set_trait("key", 0)).join(SOON)
    assert drawn == ["interrupted", 1]


def test_a_session_whose_observer_raises_closes(session):
    def fail(change) -> None:
        raise RuntimeError("mine")

    model = session.model
    session.observe(fail, "closed")
    with pytest.raises(RuntimeError, match="mine"):
        session.close()
    assert session.closed
    assert session.model is not model
    assert session.dataset is None
    with pytest.raises(RuntimeError, match="this session is closed"):
        session.reading  # noqa: B018


# Progress


def test_work_is_stopped_from_another_thread_in_its_own_loop():
    progress, threads, ready = ProgressBar("long", MessageLine()), [], threading.Event()

    def steps():
        try:
            while True:
                ready.set()
                yield 0.5
        finally:
            threads.append(threading.get_ident())

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)  # refuses calls from other threads
        progress.start(steps())
        await asyncio.to_thread(ready.wait, SOON)
        await asyncio.to_thread(progress.stop)
        assert not progress.running
        while not threads:
            await asyncio.sleep(0.001)

    thread = elsewhere(lambda: asyncio.run(main()))
    thread.join(SOON)
    assert threads == [thread.ident]


def test_work_of_a_loop_that_is_gone_can_be_stopped():
    progress = ProgressBar("long", MessageLine())

    async def main() -> None:
        progress.start(iter([0.1] * 1000))

    asyncio.run(main())
    progress.stop()
    assert not progress.running
    assert isinstance(progress.stopper, Button)


def test_keys_of_two_pages_at_once_are_none_lost():
    """Each page moves the row forth and back; a press that is lost or read halfway leaves it elsewhere."""

    def press(page: int) -> None:
        for times in range(1, 400):
            tell(view, page=page, ArrowDown=times, ArrowUp=times - 1)
            tell(view, page=page, ArrowDown=times, ArrowUp=times)

    with make_session() as session, AttentionHeatmap(session, Selection(session, query=4)) as view:
        view.paused = True
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=press, args=(page,)) for page in (1, 2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert view.selection.query == 4
