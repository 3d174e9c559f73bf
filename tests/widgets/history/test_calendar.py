"""The pictures over the calendar."""

from __future__ import annotations

import pandas as pd
import pytest

from stockformer.survey import drift
from stockformer.survey.history import Filter


def test_by_quarter(view):
    view.filters.measure.value, view.filters.by.value, view.filters.ticker.value = "error", "by quarter", "T2"
    frame = view.to_frame()
    expected = frame.groupby(frame["date"].dt.to_period("Q"))["error"].mean()
    picture = view.measure.picture
    assert picture.plot.title == "Error by quarter with its 95 % interval, T2"
    # Each step ends with the next one's first value; the last value is held to the end.
    assert list(dict.fromkeys(picture.lines["step"].y[0])) == pytest.approx(list(expected))
    found = drift(view.survey, "error", Filter(ticker="T2"))
    assert found.summary.verdict[:-1] in view.measure.caption.text["summary"]["verdict"]
    view.filters.by.value = "by date"
    assert not picture.lines["step"].visible


def test_a_brushed_period_is_a_filter(view, drag):
    dates = sorted(view.survey.to_frame()["date"].unique())
    drag(view.volatility.brush, (10.3, 20.7))
    assert view.selection.where.days == (pd.Timestamp(dates[10]), pd.Timestamp(dates[20]))
    assert view.to_frame()["date"].nunique() == 11


def test_the_brush_shows_the_period_that_is_left(view, drag):
    brush, dates = view.volatility.brush, sorted(view.survey.to_frame()["date"].unique())
    drag(brush, (10.3, 20.7))
    drag(brush, tuple(brush.selected))
    assert view.selection.where.days == (dates[10], dates[20])
    view.selection.where = Filter(days=(pd.Timestamp(dates[3]), pd.Timestamp(dates[5])))
    assert [int(place) for place in brush.selected] == [3, 5]
    view.selection.undo()
    assert [int(place) for place in brush.selected] == [10, 20]
    view.selection.where = Filter(days=(pd.Timestamp("1999-01-01"), pd.Timestamp("1999-12-31")))
    assert brush.selected is None
    view.selection.undo()
    view.filters.clearing.click()
    assert brush.selected is None
