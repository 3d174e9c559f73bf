"""The history beside a session: clicks, filters, groups, and what does not fit."""

from __future__ import annotations

import pandas as pd
import pytest
from cases import widgets
from small_market import make_dataset, make_model

from stockformer.survey import survey
from stockformer.survey.history import Filter
from stockformer_widgets import AttentionExplorer, ExtractorSession, HistoryView


def test_a_click_on_a_line_goes_to_the_nearest_window(view, session, click):
    frame = view.survey.to_frame()
    date = sorted(frame["date"].unique())[30]
    day = frame[frame["date"] == date].sort_values("market_share")
    click(view.measure.picture.figure, 30.6, day["market_share"].iloc[3] + 1e-5)
    assert session.sample == day["window"].iloc[3], view.message.value
    click(view.measure.picture.figure, 30.2, 10.0)
    assert session.sample == day["window"].iloc[-1]


def test_the_session_s_window_is_marked_everywhere(view, session):
    session.sample = 123
    row = view.survey.to_frame().iloc[123]
    place = sorted(view.survey.to_frame()["date"].unique()).index(row["date"])
    for part in (view.volatility, view.measure, view.quality):
        picture = part.picture
        assert picture.markers[0].visible
        assert list(picture.markers[0].x) == [place + 0.5] * 2
    assert view.rows.table.selected == 123
    assert view.scatter.here.x[0] == pytest.approx(row["volatility"])
    assert view.scatter.here.y[0] == pytest.approx(row["market_share"])
    assert view.histogram.here.x[0] == pytest.approx(row["market_share"])
    by_ticker = view.survey.to_frame().set_index(["date", "ticker"])["market_share"][row["date"]]
    for ticker, value in by_ticker.items():
        assert [ticker, f"{100 * value:#.3g} %"] in [phrase[:2] for phrase in view.measure.caption.reading]


def test_a_click_on_a_point_and_on_a_row(view, session, click):
    frame = view.survey.to_frame()
    click(view.scatter.plot.children[1], frame["volatility"][77], frame["market_share"][77])
    assert session.sample == 77
    view.rows.table._handle_custom_msg({"window": 200}, [])
    assert session.sample == 200


def test_a_click_on_a_bar_goes_to_the_nearest_value(view, session, click):
    view.filters.ticker.value = "T4"
    frame = view.survey.to_frame()
    nearest = (frame[frame["ticker"] == "T4"]["market_share"] - 0.61).abs().idxmin()
    click(view.histogram.plot.children[1], 0.61, 3.0)
    assert session.sample == nearest


def test_nothing_left_is_said(view):
    view.selection.where = Filter(days=(pd.Timestamp("1999-01-01"), pd.Timestamp("1999-12-31")))
    assert view.count.line.value.startswith(f"<b>0 of {len(view.survey)} windows</b>")
    assert "The filter leaves no window." in view.measure.caption.text["summary"]["verdict"]
    assert not view.message.value or "role" not in view.message.value.replace('role="alert"', "")
    assert view.rows.table.rows == []


def test_what_changes_while_it_is_not_shown_is_drawn_later(view):
    view.paused = True
    view.filters.regime.value = "calm"
    assert view.count.line.value == f"<b>{len(view.survey)} windows</b>"
    view.paused = False
    calm = (view.survey.to_frame()["regime"] == "calm").sum()
    assert view.count.line.value == f"<b>{calm} of {len(view.survey)} windows</b> (calm days)"
    assert len(view.scatter.points.x) == calm


def test_a_what_if_does_not_change_the_survey_and_that_is_said(view, session):
    session.what_if(gate={0: 0.0})
    assert view.count.line.value == f"<b>{len(view.survey)} windows</b> of the model without the what-if"
    session.undo()
    assert view.count.line.value == f"<b>{len(view.survey)} windows</b>"


@pytest.mark.parametrize(("label_mode", "name"), [("binary", "Hit rate"), ("regression", "Rank information coef")])
def test_windows_without_outcomes_have_no_quality(label_mode, name, tmp_path):
    model, dataset = make_model(label_mode), make_dataset(label_mode, target_col=None)
    known = survey(model, dataset, tmp_path / "run", progress=False)
    with ExtractorSession.from_dataset(model, dataset, 3) as session:
        view = HistoryView(known, session)
        assert view.quality.caption.text["summary"]["verdict"].startswith(name)
        assert "not known, because no window has a known outcome." in view.quality.caption.text["summary"]["verdict"]
        view.close()


def test_a_survey_of_something_else_is_refused(surveyed, session):
    with pytest.raises(ValueError, match="is of other weights than the session's model"):
        HistoryView(surveyed[2], ExtractorSession.from_dataset(make_model(seed=1), surveyed[1]))
    other = make_dataset(lookback=9)
    with pytest.raises(ValueError, match="has other windows than the session's dataset"):
        HistoryView(surveyed[2], ExtractorSession.from_dataset(surveyed[0], other))
    with pytest.raises(TypeError, match="expected a Survey, got str"):
        HistoryView("runs/a", session)


def test_closing_leaves_no_widget(surveyed, session):
    before = widgets()
    view = HistoryView(surveyed[2], session)
    view.close()
    assert view.comm is None
    assert widgets() == before


def test_its_picture(view, tmp_path):
    view.save_png(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"


def test_the_explorer_has_a_tab_of_it(surveyed, session):
    with AttentionExplorer(session, survey=surveyed[2]) as explorer:
        assert explorer.tabs.titles[:2] == ("Overview", "History")
        explorer.tabs.selected_index = 1
        (history,) = [view for view in explorer.views if isinstance(view, HistoryView)]
        session.sample = 5
        assert history.rows.table.selected == 5
        explorer.tabs.selected_index = 0
        session.sample = 6
        assert history.rows.table.selected == 5
        explorer.tabs.selected_index = 1
        assert history.rows.table.selected == 6
    assert history.comm is None
