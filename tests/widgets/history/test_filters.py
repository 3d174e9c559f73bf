"""Filters by control, their undoing, and the count of what is left."""

from __future__ import annotations

import pytest

from stockformer.survey.history import Filter, Range


def test_filters_apply_to_every_picture_and_are_undone(view):
    frame = view.survey.to_frame()
    view.filters.ticker.value, view.filters.regime.value = "T3", "calm"
    left = frame[(frame["ticker"] == "T3") & (frame["regime"] == "calm")]
    assert view.count.line.value == f"<b>{len(left)} of {len(frame)} windows</b> (T3, calm days)"
    assert len(view.scatter.points.x) == len(left)
    assert view.histogram.bars.y.sum() == len(left)
    assert {row[view.rows.table.names.index("ticker")] for row in view.rows.table.rows} == {"T3"}
    assert view.measure.picture.plot.title == "Market share by date, T3, calm days"
    assert len(view.to_frame()) == len(left)
    view.filters.undoing.click()
    assert (view.filters.ticker.value, view.filters.regime.value) == ("T3", "")
    view.filters.undoing.click()
    assert view.count.line.value == f"<b>{len(frame)} windows</b>"
    assert view.filters.undoing.disabled


def test_right_predictions_only(view):
    view.filters.correct.value = True
    assert len(view.to_frame()) == (view.survey.to_frame()["correct"] == 1).sum()
    view.filters.clearing.click()
    assert view.selection.where == Filter()


def test_sectors(view):
    view.filters.sector.value = "banks"
    frame = view.survey.to_frame()
    left = frame["ticker"].isin(["T0", "T2"])
    assert frame["sector"].eq("banks").tolist() == left.tolist()
    assert view.count.line.value == f"<b>{left.sum()} of {len(frame)} windows</b> (banks)"
    assert view.selection.where == Filter(sector="banks")
    assert [name for name, _ in view.filters.sector.options] == ["all", "banks", "none", "oil"]


def test_sliders_filter_by_the_values_of_both_measures(view):
    frame = view.survey.to_frame()
    shares, slider = frame["market_share"].astype(float), view.filters.ranges["measure"]
    assert slider.description == "market share, %"
    assert slider.value == pytest.approx((100 * shares.min(), 100 * shares.max()))
    middle = sum(slider.value) / 2
    slider.value = middle, slider.max * (1 - 1e-12)  # as the page rounds it
    left = frame[shares >= middle / 100]
    assert list(view.to_frame()["window"]) == list(left["window"])
    volatility = view.filters.ranges["against"]
    volatility.value = volatility.min, 100 * frame["volatility"].median()
    left = left[left["volatility"] <= volatility.value[1] / 100]
    assert list(view.to_frame()["window"]) == list(left["window"])
    slider.value = slider.min, slider.max
    volatility.value = volatility.min, volatility.max
    assert view.selection.where == Filter()
    view.filters.measure.value = "error"
    assert slider.description == "error"
    assert slider.value == (frame["error"].min(), frame["error"].max())


def test_sliders_show_the_range_that_is_left(view):
    view.selection.where = Filter(ranges=(Range("volatility", 0.01, 0.015),))
    assert view.filters.ranges["against"].value == pytest.approx((1.0, 1.5))
    names = view.filters.children[-1].names
    assert names == [
        "market share, %, from",
        "market share, %, to",
        "volatility per day, %, from",
        "volatility per day, %, to",
    ]
    view.selection.where = Filter(ranges=(Range("volatility", 5.0, 6.0),))
    assert view.filters.ranges["against"].value[1] == view.filters.ranges["against"].max
    assert len(view.to_frame()) == 0
