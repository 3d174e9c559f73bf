"""Jumps to samples that stand out: found in steps, watched and stopped."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
import torch
from cases import (
    dataset,
    global_hooks,
    labels,
    make_session,
    model,
    observers,
    sample_of,
    shown_message,
    shown_sample,
    widgets,
)

from stockformer.dataset import StockDataset
from stockformer_widgets import LANDMARKS, AttentionExplorer, ExtractorSession, Selection


def landmarks(made: StockDataset, network) -> dict[str, int]:
    """Each landmark by a loop over the windows."""
    spread, confidence, error = [], [], []
    for index in range(len(made)):
        window = made.window(index)
        close = window.prices["adjusted_close"].to_numpy()
        spread.append(np.std(close[1:] / close[:-1] - 1))
        with torch.no_grad():
            output = network(window.x[None], window.market_x[None])[0].double().numpy()
        if made.label_mode == "regression":
            confidence.append(abs(output))
            error.append(abs(output - float(window.y)))
            continue
        if network.use_coral:
            above = 1 / (1 + np.exp(-output))
            chances = np.clip(-np.diff(np.r_[1.0, above, 0.0]), 0, None)
        else:
            chances = np.exp(output) / np.exp(output).sum()
        confidence.append(chances.max())
        error.append(1 - chances[int(window.y)])
    return {
        "calmest": int(np.argmin(spread)),
        "most volatile": int(np.argmax(spread)),
        "most confident": int(np.argmax(confidence)),
        "most wrong": int(np.argmax(error)),
    }


@pytest.mark.parametrize("name", ["dataset", "buckets", "coral", "regression"])
@pytest.mark.parametrize("landmark", LANDMARKS)
def test_jump(name, landmark):
    session = make_session(name, "input_x_gradient")
    expected = landmarks(session.dataset, session.model)
    assert len(set(expected.values())) >= 3
    with AttentionExplorer(session) as explorer:
        assert labels(explorer.samples.jump)[1:] == list(LANDMARKS)
        explorer.samples.jump.value = landmark
        assert session.sample == expected[landmark]
        assert shown_sample(explorer) == sample_of(session, expected[landmark])
        assert explorer.samples.jump.value == ""
        assert shown_message(explorer) == ""
        # The same again, from elsewhere: nothing is stuck.
        session.sample = 5
        explorer.samples.jump.value = landmark
        assert session.sample == expected[landmark]


async def until(condition) -> None:
    """Let the event loop run until something is so."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never became so")


def is_scanning(explorer) -> bool:
    return explorer.samples.scan.running


@pytest.fixture
def long_session() -> ExtractorSession:
    """200 windows: a scan of four batches."""
    with ExtractorSession.from_dataset(model(), dataset(days=110), index=5) as made:
        made.explanations.method = "input_x_gradient"
        yield made


@pytest.mark.parametrize("training", [False, True])
def test_a_scan_shows_progress_and_then_goes_there(long_session, training):
    session = long_session
    expected = landmarks(session.dataset, session.model)
    session.model.train(training)
    modes = [module.training for module in session.model.modules()]
    hooks = global_hooks()

    async def scan():
        with AttentionExplorer(session) as explorer:
            assert not is_scanning(explorer)
            shares = []
            explorer.samples.scan.bar.observe(lambda change: shares.append(change["new"]), "value")
            explorer.samples.jump.value = "most wrong"
            assert session.sample == 5
            await until(lambda: is_scanning(explorer))
            explorer.selection.layer = 1  # the session answers meanwhile
            await until(lambda: not is_scanning(explorer))
            assert session.sample == expected["most wrong"]
            assert len(shares) > 3
            assert shares[:-1] == sorted(shares[:-1])
            assert shares[-2:] == [1.0, 0.0]
            assert shown_message(explorer) == ""
            # What was scanned is known: the next one needs no task.
            explorer.samples.jump.value = "most confident"
            assert session.sample == expected["most confident"]
            assert not is_scanning(explorer)

    asyncio.run(scan())
    assert [module.training for module in session.model.modules()] == modes
    assert global_hooks() == hooks


def test_a_scan_does_not_take_away_what_was_chosen_meanwhile(long_session):
    session = long_session

    async def scan():
        with AttentionExplorer(session) as explorer:
            explorer.samples.jump.value = "most wrong"
            await until(lambda: is_scanning(explorer))
            session.sample = 7
            await until(lambda: not is_scanning(explorer))
            assert session.sample == 7
            assert session.knows("most wrong")

    asyncio.run(scan())


def test_a_scan_can_be_stopped(long_session):
    session = long_session

    async def scan():
        with AttentionExplorer(session) as explorer:
            explorer.samples.jump.value = "most wrong"
            await until(lambda: explorer.samples.scan.bar.value > 0)
            explorer.samples.scan.stopper.click()
            await until(lambda: not is_scanning(explorer))
            assert session.sample == 5
            assert not session.knows("most wrong")
            assert not any(module.training for module in session.model.modules())
            assert explorer.samples.jump.value == ""
            assert shown_message(explorer) == ""
            # And started again.
            explorer.samples.jump.value = "most wrong"
            await until(lambda: session.sample != 5)
            await until(lambda: not is_scanning(explorer))

    asyncio.run(scan())


def test_another_jump_replaces_a_scan(long_session):
    session = long_session
    expected = landmarks(session.dataset, session.model)

    async def scan():
        with AttentionExplorer(session) as explorer:
            explorer.samples.jump.value = "most wrong"
            await until(lambda: explorer.samples.scan.bar.value > 0)
            explorer.samples.jump.value = "most confident"
            await until(lambda: session.knows("most wrong"))
            await until(lambda: not is_scanning(explorer))
            assert session.sample == expected["most confident"]

    asyncio.run(scan())


@pytest.mark.parametrize("closing", ["explorer", "session"])
def test_closing_during_a_scan(closing):
    before, hooks = widgets(), global_hooks()
    network = model()
    session = ExtractorSession.from_dataset(network, dataset(days=110), index=5)
    selection = Selection(session)
    following = observers(session)
    failed = []

    async def scan():
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
        explorer = AttentionExplorer(session, selection)
        explorer.samples.jump.value = "most wrong"
        await until(lambda: explorer.samples.scan.bar.value > 0)
        (explorer if closing == "explorer" else session).close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scan())
    assert failed == []
    assert widgets() == before
    assert global_hooks() == hooks
    assert not any(module.training for module in network.modules())
    if closing == "explorer":
        assert session.sample == 5
        assert observers(session) == following
        session.sample = 6


def test_a_scan_that_fails_is_said(long_session):
    session = long_session

    async def scan():
        with AttentionExplorer(session) as explorer:
            handle = session.model.final_norm.register_forward_hook(lambda *_: 1 / 0)
            explorer.samples.jump.value = "most wrong"
            await until(lambda: shown_message(explorer))
            await until(lambda: not is_scanning(explorer))
            assert shown_message(explorer) == "division by zero"
            handle.remove()
            assert session.sample == 5
            explorer.samples.jump.value = "most wrong"
            await until(lambda: session.sample != 5)
            assert shown_message(explorer) == ""

    asyncio.run(scan())
