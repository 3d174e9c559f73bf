"""Controls: what a person sets becomes state, what Python sets is shown, and what is refused changes nothing."""

from __future__ import annotations

import asyncio
import datetime

import numpy as np
import pandas as pd
import pytest
import torch
from cases import (
    MARKET,
    STOCK,
    dataset,
    explained_name,
    global_hooks,
    make_session,
    model,
    observers,
    shown_message,
    table,
    widgets,
)

from stockformer.dataset import StockDataset
from stockformer_widgets import LANDMARKS, AttentionExplorer, ExtractorSession, Selection


@pytest.fixture
def explorer(session) -> AttentionExplorer:
    with AttentionExplorer(session) as made:
        yield made


def labels(control) -> list[str]:
    return [label for label, _ in control.options]


def shown_sample(explorer) -> tuple:
    samples = explorer.samples
    return samples.index.value, samples.ticker.value, samples.date.value


def sample_of(session, index: int) -> tuple:
    """What the sample controls show for a window."""
    made = session.dataset
    return index, made.end_tickers[index], made.end_dates[index].date()


# Where to look


def test_controls_show_the_selection(session, explorer):
    look = explorer.look
    assert labels(look.kind) == ["Stock to market attention", "Stock self-attention", "Market self-attention"]
    assert labels(look.layer) == ["0", "1"]
    assert labels(look.head) == ["mean", "0", "1"]
    assert labels(look.day) == session.reading.days(8)
    assert labels(look.method)[:3] == ["integrated gradients", "input x gradient", "gradient"]
    assert labels(look.target) == [f"predicted: {explained_name(session)}", "DOWN", "UP"]


def test_traits_move_controls(session, explorer):
    look, where = explorer.look, explorer.selection
    where.kind, where.layer, where.head, where.query = "self", 1, 0, 3
    assert (look.kind.value, look.layer.value, look.head.value, look.day.value) == ("self", 1, 0, 3)
    where.head = None
    assert look.head.label == "mean"
    session.target, session.method = 1, "gradient"
    assert (look.target.value, look.method.value) == (1, "gradient")
    session.target = None
    assert look.target.label.startswith("predicted: ")
    where.kind = "market"
    assert labels(look.layer) == ["0"]
    assert look.layer.value == where.layer == 0


def test_controls_move_traits(session, explorer):
    look, where = explorer.look, explorer.selection
    look.kind.value = "self"
    look.layer.value = 1
    look.head.value = 0
    look.day.value = 3
    assert (where.kind, where.layer, where.head, where.query) == ("self", 1, 0, 3)
    look.head.label = "mean"
    assert where.head is None
    look.target.value, look.method.value = 0, "gradient"
    assert (session.target, session.method) == (0, "gradient")
    look.target.label = look.target.options[0][0]
    assert session.target is None
    assert shown_message(explorer) == ""


def test_a_kind_with_fewer_layers(session, explorer):
    explorer.look.layer.value = 1
    explorer.look.kind.value = "market"
    assert (explorer.selection.layer, explorer.look.layer.value) == (0, 0)
    explorer.look.kind.value = "cross"
    assert labels(explorer.look.layer) == ["0", "1"]


def test_controls_follow_the_lengths_of_the_input():
    session = make_session("market longer")
    with AttentionExplorer(session) as explorer:
        explorer.selection.kind = "market"
        assert len(explorer.look.day.options) == 9
        explorer.selection.kind = "self"
        assert len(explorer.look.day.options) == 6
        session.run(*(tensor[0, :3] for tensor in session.reading.inputs))
        assert (explorer.look.day.value, len(explorer.look.day.options)) == (2, 3)


@pytest.mark.parametrize(
    ("name", "target", "method"),
    [
        ("dataset", True, True),
        ("coral", True, True),
        ("regression", False, True),
        ("bare attention", True, True),
        ("nn.TransformerDecoder", False, False),
    ],
)
def test_what_cannot_be_chosen_has_no_control(name, target, method):
    with AttentionExplorer(make_session(name)) as explorer:
        assert (explorer.look.target.layout.display is None) == target
        assert (explorer.look.method.layout.display is None) == method


def test_targets_of_a_coral_model():
    with AttentionExplorer(make_session("coral")) as explorer:
        assert labels(explorer.look.target)[1:] == ["P(at least -1 %)", "P(at least 0 %)", "P(at least 1 %)"]


def test_every_control_has_a_label(explorer):
    named = [
        control.description or control.tooltip
        for control in (*explorer.look.children, *explorer.samples.children, *explorer.samples.scan.children)
        if hasattr(control, "description")
    ]
    assert all(named)
    assert len(set(named)) == len(named)


def test_a_control_that_shows_a_trait_does_not_set_it_again(session, explorer):
    heard = []
    explorer.selection.observe(lambda change: heard.append(change["name"]))
    explorer.selection.kind = "market"
    assert heard == ["kind"]
    session.sample = 9
    assert heard == ["kind"]


def test_no_dataset_no_sample_controls():
    with AttentionExplorer(make_session("by hand")) as explorer:
        assert not hasattr(explorer, "samples")
        assert explorer.look in explorer.children


def test_a_callback_that_raises_is_said(session, explorer):
    def fail(change):
        raise RuntimeError("not today")

    explorer.selection.observe(fail, "layer")
    explorer.look.layer.value = 1
    assert shown_message(explorer) == "not today"
    assert explorer.selection.layer == explorer.look.layer.value == 1
    explorer.selection.unobserve(fail, "layer")
    explorer.look.layer.value = 0
    assert shown_message(explorer) == ""
    assert explorer.selection.layer == 0


# Which sample


def test_sample_controls_show_the_sample(session, explorer):
    assert explorer.samples.ticker.options == ("AAA", "BBB")
    assert (explorer.samples.index.min, explorer.samples.index.max) == (0, 39)
    for index in (5, 0, 39, 21):
        session.sample = index
        assert shown_sample(explorer) == sample_of(session, index)


def test_the_index_slider_sets_the_sample(session, explorer):
    explorer.samples.index.value = 22
    assert session.sample == 22
    assert shown_sample(explorer) == sample_of(session, 22)
    assert not explorer.samples.index.continuous_update


def test_previous_and_next_end_at_the_first_and_the_last(session, explorer):
    explorer.samples.next.click()
    assert session.sample == 6
    explorer.samples.previous.click()
    explorer.samples.previous.click()
    assert session.sample == 4
    for index, button in ((0, explorer.samples.previous), (39, explorer.samples.next)):
        session.sample = index
        button.click()
        assert session.sample == index
        assert shown_message(explorer) == ""


def test_a_ticker_goes_to_its_window_of_the_same_day(session, explorer):
    explorer.samples.ticker.value = "BBB"
    assert session.sample == 25
    assert shown_sample(explorer) == sample_of(session, 25)
    explorer.samples.ticker.value = "AAA"
    assert session.sample == 5


def test_a_date_goes_to_the_window_that_ends_on_it(session, explorer):
    for index in (0, 12, 19):
        explorer.samples.date.value = session.dataset.end_dates[index].date()
        assert session.sample == index
    session.sample = 25
    explorer.samples.date.value = session.dataset.end_dates[3].date()
    assert session.sample == 23


def test_a_day_without_trading_goes_to_the_last_one_before(session, explorer):
    friday = next(day for day in session.dataset.end_dates[6:] if day.day_of_week == 4)
    sunday = (friday + pd.Timedelta(days=2)).date()
    explorer.samples.date.value = sunday
    assert session.reading.dates[-1] == friday
    assert explorer.samples.date.value == sunday  # as it was typed
    session.target = 0
    assert explorer.samples.date.value == sunday
    explorer.samples.next.click()
    assert shown_sample(explorer) == sample_of(session, session.sample)
    explorer.samples.date.value = datetime.date(2030, 1, 1)
    assert session.sample == 19


def test_a_date_before_the_first_window_is_refused(session, explorer):
    before = session.reading
    first = session.dataset.end_dates[0].date()
    explorer.samples.date.value = datetime.date(2019, 12, 31)
    assert shown_message(explorer) == f"no window of AAA ends by 2019-12-31: the first ends on {first}"
    assert (session.sample, session.reading) == (5, before)
    explorer.samples.next.click()
    assert shown_message(explorer) == ""
    assert shown_sample(explorer) == sample_of(session, 6)


@pytest.mark.parametrize("typed", [None, datetime.date(2, 3, 4), datetime.date(202, 3, 4)])
def test_a_date_that_is_still_being_typed_is_no_change(session, explorer, typed):
    explorer.samples.date.value = typed
    assert session.sample == 5
    assert explorer.samples.date.value == typed
    assert shown_message(explorer) == ""


def test_a_ticker_that_begins_later_is_refused_before():
    rows = table()
    late = rows[(rows["symbol"] == "AAA") | (rows["date"] >= rows["date"].unique()[10])]
    made = StockDataset(late, STOCK, MARKET, lookback=8, train_end="2020-02-10")
    session = ExtractorSession.from_dataset(model(), made, index=0)
    with AttentionExplorer(session) as explorer:
        explorer.samples.ticker.value = "BBB"
        assert shown_message(explorer).startswith("no window of BBB ends by 2020-01-10: the first ends on ")
        assert shown_sample(explorer) == sample_of(session, 0)


@pytest.mark.parametrize("by", ["index", "next", "date", "jump"])
def test_a_model_that_fails_leaves_sample_and_controls(session, explorer, by):
    before = session.reading
    handle = session.model.final_norm.register_forward_hook(lambda *_: 1 / 0)
    if by == "index":
        explorer.samples.index.value = 9
    elif by == "next":
        explorer.samples.next.click()
    elif by == "date":
        explorer.samples.date.value = session.dataset.end_dates[9].date()
    else:
        explorer.samples.jump.value = "most volatile"
    handle.remove()
    assert shown_message(explorer) == "division by zero"
    assert (session.sample, session.reading) == (5, before)
    assert by == "date" or shown_sample(explorer) == sample_of(session, 5)
    assert explorer.samples.jump.value == ""
    explorer.samples.next.click()
    assert (session.sample, shown_message(explorer)) == (6, "")
    assert shown_sample(explorer) == sample_of(session, 6)


def test_the_same_sample_can_be_taken_again_after_tensors_by_hand(session, explorer):
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert session.sample is None
    explorer.samples.next.click()
    assert session.sample is not None
    assert shown_sample(explorer) == sample_of(session, session.sample)


# Remarkable windows


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
    return explorer.samples.scan.layout.display is None


@pytest.fixture
def long_session() -> ExtractorSession:
    """200 windows: a scan of four batches."""
    with ExtractorSession.from_dataset(model(), dataset(days=110), index=5) as made:
        made.method = "input_x_gradient"
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
            explorer.samples.scan.progress.observe(lambda change: shares.append(change["new"]), "value")
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
            await until(lambda: explorer.samples.scan.progress.value > 0)
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
            await until(lambda: explorer.samples.scan.progress.value > 0)
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
        await until(lambda: explorer.samples.scan.progress.value > 0)
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


def test_after_tensors_by_hand_the_arrows_go_on_from_the_last_sample(session, explorer):
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert explorer.samples.date.value is None
    explorer.samples.next.click()
    assert shown_sample(explorer) == sample_of(session, 6)
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    explorer.samples.ticker.value = "BBB"
    assert session.sample == 39
