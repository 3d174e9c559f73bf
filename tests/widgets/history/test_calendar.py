"""The pictures over the calendar."""

from __future__ import annotations

import numpy as np
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


def test_a_brushed_period_is_a_filter(view):
    dates = sorted(view.survey.to_frame()["date"].unique())
    view.volatility.brush.selected = np.array([10.3, 20.7])
    view.volatility.brush.brushing = True
    view.volatility.brush.brushing = False
    assert view.selection.where.days == (pd.Timestamp(dates[10]), pd.Timestamp(dates[20]))
    assert view.to_frame()["date"].nunique() == 11
