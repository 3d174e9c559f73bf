"""Controls of the sample: ticker, date, index, and what is refused changes nothing."""

from __future__ import annotations

import datetime

import pandas as pd
import pytest
from cases import MARKET, STOCK, make_session, model, parts, sample_of, shown_message, shown_sample, table

from stockformer.dataset import StockDataset
from stockformer_widgets import AttentionExplorer, ExtractorSession


def test_no_dataset_no_sample_controls():
    with AttentionExplorer(make_session("by hand")) as explorer:
        assert not hasattr(explorer, "samples")
        assert explorer.look in set(parts(explorer))


def test_sample_controls_show_the_sample(session, explorer):
    assert explorer.samples.ticker.options == ("AAA", "BBB")
    for index in (5, 0, 39, 21):
        session.sample = index
        assert shown_sample(explorer) == sample_of(session, index)
        of_ticker = range(20) if index < 20 else range(20, 40)
        ends = session.dataset.end_dates[list(of_ticker)]
        assert explorer.samples.slider.options == tuple(
            (str(day.date()), window) for day, window in zip(ends, of_ticker, strict=True)
        )
        assert explorer.samples.date.tooltip.endswith(f"{ends[0].date()} to {ends[-1].date()}")


def test_the_slider_sets_the_sample(session, explorer):
    explorer.samples.slider.value = 12
    assert session.sample == 12
    assert shown_sample(explorer) == sample_of(session, 12)
    assert not explorer.samples.slider.continuous_update


def test_previous_and_next_end_at_the_first_and_the_last_of_the_ticker(session, explorer):
    explorer.samples.next.click()
    assert session.sample == 6
    explorer.samples.previous.click()
    explorer.samples.previous.click()
    assert session.sample == 4
    ends = (0, "previous", "first", "AAA"), (19, "next", "last", "AAA"), (20, "previous", "first", "BBB")
    for index, name, end, ticker in ends:
        session.sample, button = index, getattr(explorer.samples, name)
        assert (button.disabled, button.tooltip) == (True, f"this is the {end} window of {ticker}")
        button.click()
        assert session.sample == index
        assert shown_message(explorer) == ""
    session.sample = 21
    assert not explorer.samples.previous.disabled
    assert explorer.samples.previous.tooltip == "previous window of BBB"


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
    session.explanations.target = 0
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
    explorer.samples.ticker.value = "BBB"
    assert session.sample == 25
    explorer.samples.ticker.value = "AAA"
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


@pytest.mark.parametrize("by", ["slider", "next", "date", "jump"])
def test_a_model_that_fails_leaves_sample_and_controls(session, explorer, by):
    before = session.reading
    handle = session.model.final_norm.register_forward_hook(lambda *_: 1 / 0)
    if by == "slider":
        explorer.samples.slider.value = 9
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


def test_after_tensors_by_hand_the_arrows_go_on_from_the_last_sample(session, explorer):
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert explorer.samples.date.value is None
    explorer.samples.next.click()
    assert shown_sample(explorer) == sample_of(session, 6)
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    explorer.samples.ticker.value = "BBB"
    assert session.sample == 39
