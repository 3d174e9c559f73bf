"""Attributions that take long: computed in steps, watched and stopped."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
import torch
from cases import drawn, lines, make_session, mouse, shown_message
from torch import nn

from stockformer.explainability import attribute
from stockformer_widgets import (
    AttentionExplorer,
    DayScores,
    ExtractorSession,
    PriceStrip,
    SaliencyBars,
    SaliencyHeatmap,
)
from stockformer_widgets.components import progress
from stockformer_widgets.state import explanations as explaining

VIEWS = [SaliencyBars, SaliencyHeatmap, DayScores]


def slow(session) -> None:
    with session.hold_trait_notifications():
        session.explanations.method, session.explanations.groups = "shapley_sampling", "week x feature"


async def until(condition) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not come to that")


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr("stockformer_widgets.state.explanations._LONG", 300)
    with make_session() as made:
        yield made


def test_only_what_is_not_known_yet_takes_long(session):
    assert not session.explanations.takes_long
    slow(session)
    assert session.explanations.takes_long
    session.explanations.attribution()
    assert not session.explanations.takes_long
    session.sample = 3
    assert session.explanations.takes_long


@pytest.mark.parametrize("kind", VIEWS)
def test_the_last_picture_stays_until_it_is_done(session, kind):
    async def run():
        with kind(session) as view:
            before, title = view.to_frame(), view.plot.title
            slow(session)
            await until(lambda: view.progress.bar.value > 0)
            mouse(view.figure, "mousemove", 1.5, 1.5)  # asks for nothing that is not there
            assert view.plot.title == title
            await until(lambda: not view.progress.running)
            assert "shapley sampling" in view.plot.title
            window = session.dataset.window(session.sample)
            expected = attribute(
                session.model,
                *window.inputs,
                method="shapley_sampling",
                groups="week x feature",
                target=session.explanations._target(),
            )
            assert torch.equal(session.explanations.attribution().parts[0], expected.parts[0])
            assert not np.allclose(view.to_frame().iloc[:, -1], before.iloc[:, -1])

    asyncio.run(run())


@pytest.mark.parametrize("kind", VIEWS)
def test_a_stop_keeps_the_method_and_says_so(session, kind):
    async def run():
        with kind(session) as view:
            title = view.plot.title
            slow(session)
            await until(lambda: view.progress.bar.value > 0)
            view.progress.stopper.click()
            await until(lambda: not view.progress.running)
            assert session.explanations.method == "shapley_sampling"
            assert (view.plot.title, shown_message(view)) == (title, "")
            assert view.halt.layout.display is None
            assert view.stopped.value == "stopped: shapley sampling is not computed, the picture is the previous one"
            view._redraw()  # as its own controls do
            await asyncio.sleep(0.02)
            assert not view.progress.running
            assert view.plot.title == title
            view.halt.children[1].click()
            await until(lambda: view.progress.bar.value > 0)
            assert view.halt.layout.display == "none"
            view.progress.stopper.click()
            await until(lambda: not view.progress.running)
            session.explanations.method = "input_x_gradient"
            await until(lambda: "input x gradient" in view.plot.title)
            assert (view.halt.layout.display, session.explanations.stopped) == ("none", False)

    asyncio.run(run())


def outdated(view) -> bool:
    return "stockformer-outdated" in view._dom_classes


def test_everything_else_is_drawn_first(session):
    async def run():
        with AttentionExplorer(session) as explorer:
            bars, strip = (
                next(view for view in explorer.views if isinstance(view, kind)) for kind in (SaliencyBars, PriceStrip)
            )
            before, prices = np.array(bars.picture.bars.y), drawn(strip, "line")[1]
            session.sample = 7
            window = session.dataset.window(7)
            assert f"{window.ticker}, {window.dates[-1].date()}" in explorer.headline.value
            assert not np.allclose(drawn(strip, "line")[1], prices)
            np.testing.assert_array_equal(bars.picture.bars.y, before)
            assert outdated(bars)
            await until(lambda: not bars.progress.running)
            assert not outdated(bars)
            assert not np.allclose(bars.picture.bars.y, before)

    asyncio.run(run())


def test_who_moves_on_at_once_waits_for_nothing(session, monkeypatch):
    computed = []
    plain = explaining.attribution_steps

    def counted(model, *inputs, **options):
        computed.append(inputs[0])
        return (yield from plain(model, *inputs, **options))

    async def run():
        with SaliencyBars(session) as view:
            monkeypatch.setattr(explaining, "attribution_steps", counted)
            for sample in (3, 9, 12):
                session.sample = sample
                await asyncio.sleep(0)
            await until(lambda: not view.progress.running)

    asyncio.run(run())
    (inputs,) = computed
    assert torch.equal(inputs[0], session.dataset.window(12).x)


def test_only_what_takes_a_while_shows_a_bar(session, monkeypatch):
    shown = []

    async def run():
        with SaliencyBars(session) as view:
            view.progress.layout.observe(lambda change: shown.append(change["new"]), "display")
            monkeypatch.setattr(progress, "_QUIET", 60)
            session.sample = 7
            await until(lambda: not view.progress.running)
            assert shown == []
            monkeypatch.setattr(progress, "_QUIET", 0)
            slow(session)
            await until(lambda: not view.progress.running)
            assert shown == [None, "none"]

    asyncio.run(run())


def test_another_sample_begins_anew_and_nothing_is_said(session):
    async def run():
        with SaliencyBars(session) as view:
            slow(session)
            await until(lambda: view.progress.bar.value > 0)
            session.sample = 7
            await until(lambda: view.progress.bar.value > 0)
            view.selection.query = 2  # of no consequence for what is computed
            await until(lambda: not view.progress.running)
            assert shown_message(view) == ""
            assert not session.explanations.takes_long
            assert view.plot.title.endswith("all days")

    asyncio.run(run())


def test_in_the_explorer_the_other_tab_has_it_too(session):
    async def run():
        with AttentionExplorer(session) as explorer:
            slow(session)
            bars = next(view for view in explorer.views if isinstance(view, SaliencyBars))
            await until(lambda: bars.progress.bar.value > 0)
            await until(lambda: not bars.progress.running)
            explorer.tabs.selected_index = list(explorer.tabs.titles).index("Features")
            heatmap = next(view for view in explorer.views if isinstance(view, SaliencyHeatmap))
            assert "shapley sampling" in heatmap.plot.title

    asyncio.run(run())


def test_nothing_is_computed_off_the_screen(session):
    async def run():
        with AttentionExplorer(session) as explorer:
            bars = next(view for view in explorer.views if isinstance(view, SaliencyBars))
            slow(session)
            await until(lambda: bars.progress.bar.value > 0)
            explorer.tabs.selected_index = list(explorer.tabs.titles).index("Gates")
            assert not bars.progress.running
            await asyncio.sleep(0.02)
            assert session.explanations.takes_long
            explorer.tabs.selected_index = 0
            await until(lambda: not session.explanations.takes_long and not bars.progress.running)
            assert "shapley sampling" in bars.plot.title

    asyncio.run(run())


class Rows(nn.Module):
    """Another model, that takes a batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0].mean(dim=(1, 2))


def test_the_first_of_another_models_batch_is_explained():
    batch = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))
    model = Rows()
    with ExtractorSession(model, batch) as session:
        assert torch.equal(session.explanations.saliency()[0], attribute(model, batch[:1]).parts[0])
        assert session.explanations.attention_effects().shape == (1, 4)
        assert len(session.explanations.head_importance()) == 2
        assert session.explanations.check().samples == 1
        assert "all days sum to" in "".join(lines(SaliencyBars(session)))


def test_new_weights_are_drawn_once(session, monkeypatch):
    drawn = []
    draw = SaliencyBars._draw
    with SaliencyBars(session):
        session.explanations.check()
        monkeypatch.setattr(SaliencyBars, "_draw", lambda view: (drawn.append(session.reading), draw(view)))
        session.refresh()
    assert drawn == [session.reading]


def test_the_last_change_is_the_one_that_stays_drawn_whatever_thread_it_came_from(session, monkeypatch):
    """Cells and messages of the page run in threads of their own; the first sample takes longer than the second."""
    first, begun = session.dataset.window(3), threading.Event()
    plain = explaining.attribution_steps

    def slow_at_first(model, *inputs, **options):
        if torch.equal(inputs[0][0], first.x):
            begun.set()
            changed.wait(0.5)
        return (yield from plain(model, *inputs, **options))

    changed = threading.Event()
    monkeypatch.setattr(explaining, "attribution_steps", slow_at_first)
    with SaliencyBars(session) as view, SaliencyBars(session) as other:
        thread = threading.Thread(target=lambda: setattr(session, "sample", 3))
        thread.start()
        begun.wait()
        session.sample = 9
        changed.set()
        thread.join()
        expected = attribute(session.model, *session.dataset.window(9).inputs, target=session.explanations._target())
        assert torch.equal(session.explanations.attribution().parts[0], expected.parts[0])
        said = f"the target changes by {expected.value - expected.reference:.4g} "
        assert all(said in "".join(lines(one)) for one in (view, other))
