"""Filters by control, their undoing, and the count of what is left."""

from __future__ import annotations

from stockformer.survey.history import Filter


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
