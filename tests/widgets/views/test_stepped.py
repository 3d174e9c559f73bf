"""Views that switch parts of the model off one by one: in steps, only on the screen, watched and stopped."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from cases import make_session, told

from stockformer.explainability.attention import ablation
from stockformer_widgets import AttentionEffects, AttentionExplorer, HeadImportance, Selection
from stockformer_widgets.views.compared import compared

VIEWS = {HeadImportance: "heads", AttentionEffects: "effects"}
TABS = {HeadImportance: "Flow", AttentionEffects: "Faithfulness"}


async def until(condition) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that")


@pytest.fixture(params=VIEWS, ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


@pytest.fixture
def session(monkeypatch):
    """One changed copy of the sample at a time, so that there are steps enough."""
    monkeypatch.setattr(ablation, "_COPIES", 2)
    with make_session() as made:
        yield made


def table(session, kind):
    return (
        session.explanations.head_importance if kind is HeadImportance else session.explanations.attention_effects
    )()


def picture(view) -> list[np.ndarray]:
    return [panel.bars.y if hasattr(panel, "bars") else panel.lines["dots"].y for panel in view.picture.pictures]


def visible(view) -> bool:
    return view.plot.layout.visibility == "visible"


def test_it_is_drawn_when_it_is_ready(session, kind):
    async def run():
        with kind(session, Selection(session, kind="self", layer=1)) as view:
            assert not visible(view)
            await until(lambda: 0 < view.progress.bar.value < 1)
            assert view.picture.pictures == []
            assert not session.explanations.has(VIEWS[kind])
            await until(lambda: not view.progress.running)
            assert visible(view)
            assert told(view)
            with kind(session, Selection(session, kind="self", layer=1)) as known:
                assert not known.progress.running
                for one, other in zip(picture(view), picture(known), strict=True):
                    np.testing.assert_array_equal(one, other)

    asyncio.run(run())


def test_what_is_out_of_date_is_dropped(session, kind):
    async def run():
        with kind(session) as view:
            await until(lambda: view.progress.bar.value > 0)
            first = session.reading
            session.sample = 9
            view.selection.layer = 1  # of no consequence for what is computed
            await until(lambda: not view.progress.running)
            assert (VIEWS[kind], first, None) not in session.explanations._results
            assert session.explanations.has(VIEWS[kind])
            drawn = picture(view)
            assert view.message.layout.display == "none"
        with make_session() as other:
            other.sample = 9
            expected = table(other, kind)
            assert expected.equals(table(session, kind))
            with kind(other, Selection(other, layer=1)) as fresh:
                for one, again in zip(drawn, picture(fresh), strict=True):
                    np.testing.assert_array_equal(one, again)

    asyncio.run(run())


def test_a_stop_stops_until_there_is_another_sample(session, kind):
    async def run():
        with kind(session) as view:
            await until(lambda: view.progress.bar.value > 0)
            view.progress.stopper.click()
            await until(lambda: not view.progress.running)
            assert "Stopped" in told(view)
            view.selection.layer = 1
            assert not view.progress.running
            assert not visible(view)
            assert not session.explanations.has(VIEWS[kind])
            session.sample = 9
            await until(lambda: visible(view))
            assert "Stopped" not in told(view)

    asyncio.run(run())


def test_every_session_that_is_drawn_is_waited_for(session, kind):
    async def run():
        with make_session() as other, compared(kind)(Selection(session, other)) as view:
            await until(lambda: session.explanations.has(VIEWS[kind]))
            assert not visible(view)
            await until(lambda: visible(view))
            assert other.explanations.has(VIEWS[kind])

    asyncio.run(run())


def test_nothing_is_computed_off_the_screen(session, kind):
    async def run():
        with AttentionExplorer(session) as explorer:
            titles = list(explorer.tabs.titles)

            def view():
                return next((one for one in explorer.views if isinstance(one, kind)), None)

            session.sample = 3
            await asyncio.sleep(0.05)
            assert view() is None
            explorer.tabs.selected_index = titles.index(TABS[kind])
            await until(lambda: view().progress.bar.value > 0)
            explorer.tabs.selected_index = 0
            await until(lambda: not view().progress.running)
            session.sample = 4
            await asyncio.sleep(0.05)
            assert not view().progress.running
            assert not session.explanations.has(VIEWS[kind])
            explorer.tabs.selected_index = titles.index(TABS[kind])
            await until(lambda: visible(view()))
            assert session.explanations.has(VIEWS[kind])

    asyncio.run(run())
