"""Points, and the density of many."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from cases import widgets
from PIL import Image

from stockformer.survey import open_survey
from stockformer.survey.history import Filter
from stockformer.survey.words import named
from stockformer_widgets import HistoryView
from stockformer_widgets.history import scatter


def test_many_windows_are_a_density(view, session, click, monkeypatch):
    frame = view.survey.to_frame()
    assert view.scatter.points.visible
    assert not view.scatter.cells.visible
    np.testing.assert_allclose(view.scatter.points.x, frame["volatility"])
    monkeypatch.setattr(scatter, "MOST_POINTS", 100)
    view.selection.against = "drawdown"
    assert not view.scatter.points.visible
    assert view.scatter.cells.visible
    assert list(view.scatter.cells.x) == pytest.approx([frame["drawdown"].min(), frame["drawdown"].max()])
    cells = np.array(Image.open(io.BytesIO(view.scatter.cells.image.value)))[..., 3]
    counts, *_ = np.histogram2d(frame["market_share"], frame["drawdown"], cells.shape)
    top_down = counts[::-1]
    assert ((cells > 0) == (top_down > 0)).mean() > 0.995  # a value on an edge is in one of two cells
    assert cells.max() == cells[top_down == top_down.max()].max() == 255
    click(view.scatter.plot.children[1], frame["drawdown"][123], frame["market_share"][123])
    assert session.sample == 123
    assert view.scatter.plot.title == "Market share (upwards) against drawdown, 400 windows"


def test_images_do_not_pile_up(view, monkeypatch):
    monkeypatch.setattr(scatter, "MOST_POINTS", 10)
    view.selection.against = "drawdown"
    before = len(widgets())
    for against in ("volatility", "error", "drawdown"):
        view.selection.against = against
    assert len(widgets()) == before


def test_nothing_left_is_an_empty_picture(view):
    view.selection.where = Filter(days=(pd.Timestamp("1999-01-01"), pd.Timestamp("1999-12-31")))
    assert not view.scatter.points.visible
    assert not view.scatter.cells.visible
    assert view.scatter.plot.title.endswith(", 0 windows")


def inside(frame: pd.DataFrame, **ends: tuple[float, float]) -> pd.Series:
    """The rows whose columns are all between these ends."""
    return pd.concat([frame[name].astype(float).between(*both) for name, both in ends.items()], axis=1).all(axis=1)


def middle(values: pd.Series) -> tuple[float, float]:
    """Ends that most values are between, and that none is."""
    low, high = values.astype(float).quantile([0.2, 0.7])
    return low + 1e-9, high + 1e-9


@pytest.mark.parametrize("most", [2000, 100])  # points, and a density
@pytest.mark.parametrize(("measure", "against"), [("market_share", "volatility"), ("error", "window_return")])
def test_a_brushed_part_of_the_cloud_is_a_filter(view, session, drag, click, monkeypatch, measure, against, most):
    monkeypatch.setattr(scatter, "MOST_POINTS", most)
    view.selection.measure, view.selection.against = measure, against
    frame = view.survey.to_frame()
    x, y = middle(frame[against]), middle(frame[measure])
    drag(view.scatter.brush, x, y)
    left = frame[inside(frame, **{against: x, measure: y})]
    assert 20 < len(left) < 380
    assert list(view.to_frame()["window"]) == list(left["window"])
    words = {
        name: f"{named(name)} {view.survey.in_words(name, low)} to {view.survey.in_words(name, high)}"
        for name, (low, high) in {against: x, measure: y}.items()
    }
    both = ", ".join(words[name] for name in sorted(words))
    assert view.count.line.value == f"<b>{len(left)} of {len(frame)} windows</b> ({both})"
    assert view.scatter.plot.title.endswith(f", {len(left)} windows")
    assert view.histogram.bars.y.sum() == len(left)
    assert view.scatter.brush.selected_x is view.scatter.brush.selected_y is None
    window = left["window"].iloc[7]
    click(view.scatter.plot.children[1], frame[against][window], frame[measure][window])
    assert session.sample == window
    view.filters.undoing.click()
    assert view.selection.where == Filter()


def test_a_part_is_brushed_again_among_other_filters(view, drag):
    view.filters.regime.value = "calm"
    frame = view.to_frame()
    x, y = middle(frame["volatility"]), middle(frame["market_share"])
    drag(view.scatter.brush, x, y)
    smaller = x[0], (x[0] + x[1]) / 2
    drag(view.scatter.brush, smaller, y)
    left = frame[inside(frame, volatility=smaller, market_share=y)]
    assert list(view.to_frame()["window"]) == list(left["window"])
    assert view.selection.where.regime == "calm"
    view.filters.undoing.click()
    assert len(view.to_frame()) == inside(frame, volatility=x, market_share=y).sum()


def test_one_measure_on_both_axes(view, drag):
    view.selection.against = view.selection.measure
    frame = view.survey.to_frame()
    low, high = middle(frame["market_share"])
    drag(view.scatter.brush, (0.0, high), (low, 1.0))
    assert list(view.to_frame()["window"]) == list(frame[inside(frame, market_share=(low, high))]["window"])


def test_dragging_where_no_window_is_filters_nothing(view, drag):
    frame = view.survey.to_frame()
    beyond = frame["volatility"].max() + 0.001, frame["volatility"].max() + 0.002
    for x, y in ((beyond, (0.0, 1.0)), ((0.0, 1.0), (frame["market_share"].max(),) * 2)):
        view.filters.ticker.value = frame["ticker"][frame["market_share"].idxmin()]
        drag(view.scatter.brush, x, y)
        assert view.selection.where.ranges == ()
        assert "there is no window where you dragged" in view.message.value


def test_windows_without_a_value_are_in_no_part(surveyed, session, drag):
    view = HistoryView(open_survey(surveyed[2].folder), session)
    view.survey._connection.execute(
        "UPDATE windows SET market_share = CASE \"window\" % 3 WHEN 0 THEN 'nan' WHEN 1 THEN NULL "
        "ELSE market_share END::FLOAT"
    )
    known = view.survey.to_frame()["market_share"].notna()
    assert known.sum() == 133
    drag(view.scatter.brush, (0.0, 1.0), (0.0, 1.0))
    assert list(view.to_frame()["window"]) == list(np.flatnonzero(known))
