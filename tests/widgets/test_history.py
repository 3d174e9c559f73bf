"""The history beside a session: clicks, filters, groups, and what does not fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cases import widgets
from small_market import make_dataset, make_model

from stockformer.survey import drift, survey
from stockformer.survey.history import Filter
from stockformer_widgets import AttentionExplorer, ExtractorSession, GroupDifferences, HistoryView


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory):
    model, dataset = make_model(), make_dataset()
    return model, dataset, survey(model, dataset, tmp_path_factory.mktemp("history") / "run", progress=False)


@pytest.fixture
def session(surveyed):
    session = ExtractorSession.from_dataset(surveyed[0], surveyed[1], 40)
    yield session
    session.close()


@pytest.fixture
def view(surveyed, session):
    view = HistoryView(surveyed[2], session)
    yield view
    view.close()


def mouse(figure, x: float, y: float) -> None:
    """A click, as the page sends it."""
    figure.interaction._handle_custom_msg({"event": "click", "domain": {"x": x, "y": y}}, [])


def test_a_click_on_a_line_goes_to_the_nearest_window(view, session):
    frame = view.survey.to_frame()
    date = sorted(frame["date"].unique())[30]
    day = frame[frame["date"] == date].sort_values("market_share")
    mouse(view.pictures["measure"].figure, 30.6, day["market_share"].iloc[3] + 1e-5)
    assert session.sample == day["window"].iloc[3], view.message.value
    mouse(view.pictures["measure"].figure, 30.2, 10.0)
    assert session.sample == day["window"].iloc[-1]


def test_the_session_s_window_is_marked_everywhere(view, session):
    session.sample = 123
    row = view.survey.to_frame().iloc[123]
    place = sorted(view.survey.to_frame()["date"].unique()).index(row["date"])
    for picture in view.pictures.values():
        assert picture.markers[0].visible
        assert list(picture.markers[0].x) == [place + 0.5] * 2
    assert view.table.selected == 123
    assert view.here.x[0] == pytest.approx(row["volatility"])
    assert view.here.y[0] == pytest.approx(row["market_share"])
    assert view.bin_here.x[0] == pytest.approx(row["market_share"])
    by_ticker = view.survey.to_frame().set_index(["date", "ticker"])["market_share"][row["date"]]
    for ticker, value in by_ticker.items():
        assert f"{ticker} <b>{value:.4g}</b>" in view.legend.value


def test_a_click_on_a_point_and_on_a_row(view, session):
    frame = view.survey.to_frame()
    mouse(view.scatter.children[1], frame["volatility"][77], frame["market_share"][77])
    assert session.sample == 77
    view.table._handle_custom_msg({"window": 200}, [])
    assert session.sample == 200


def test_a_click_on_a_bar_goes_to_the_nearest_value(view, session):
    view.ticker.value = "T4"
    frame = view.survey.to_frame()
    nearest = (frame[frame["ticker"] == "T4"]["market_share"] - 0.61).abs().idxmin()
    mouse(view.histogram.children[1], 0.61, 3.0)
    assert session.sample == nearest


def test_headers_sort(view):
    view.table._handle_custom_msg({"sort": "error"}, [])
    errors = view.survey.to_frame()["error"].sort_values()
    assert view.table.rows[0][view.table.names.index("error")] == f"{errors.iloc[0]:.4g}"
    view.table._handle_custom_msg({"sort": "error"}, [])
    assert view.table.rows[0][view.table.names.index("error")] == f"{errors.iloc[-1]:.4g}"
    assert view.table.descending


def test_filters_apply_to_every_picture_and_are_undone(view):
    frame = view.survey.to_frame()
    view.ticker.value, view.regime.value = "T3", "calm"
    left = frame[(frame["ticker"] == "T3") & (frame["regime"] == "calm")]
    assert view.count.value == f"<b>{len(left)} of {len(frame)} windows</b> (T3, calm days)"
    assert len(view.points.x) == len(left)
    assert view.bins.y.sum() == len(left)
    assert {row[view.table.names.index("ticker")] for row in view.table.rows} == {"T3"}
    assert view.pictures["measure"].plot.title == "Market share by date, T3, calm days"
    assert len(view.to_frame()) == len(left)
    view.undoing.click()
    assert (view.ticker.value, view.regime.value) == ("T3", "all")
    view.undoing.click()
    assert view.count.value == f"<b>{len(frame)} windows</b>"
    assert view.undoing.disabled


def test_by_quarter(view):
    view.measure.value, view.by.value, view.ticker.value = "error", "by quarter", "T2"
    frame = view.to_frame()
    expected = frame.groupby(frame["date"].dt.to_period("Q"))["error"].mean()
    picture = view.pictures["measure"]
    assert picture.plot.title == "Error by quarter with its 95 % interval, T2"
    # Each step ends with the next one's first value; the last value is held to the end.
    assert list(dict.fromkeys(picture.lines["step"].y[0])) == pytest.approx(list(expected))
    found = drift(view.survey, "error", Filter(ticker="T2"))
    assert found.summary.verdict[:-1] in view.sentence.value
    view.by.value = "by date"
    assert not picture.lines["step"].visible


def test_right_predictions_only(view):
    view.correct.value = "right"
    assert len(view.to_frame()) == (view.survey.to_frame()["correct"] == 1).sum()
    view.clearing.click()
    assert view.where == Filter()


def test_a_brushed_period_is_a_filter(view):
    dates = sorted(view.survey.to_frame()["date"].unique())
    view.brush.selected = np.array([10.3, 20.7])
    view.brush.brushing = True
    view.brush.brushing = False
    assert view.where.days == (pd.Timestamp(dates[10]), pd.Timestamp(dates[20]))
    assert view.to_frame()["date"].nunique() == 11


def test_two_groups_are_compared(view, surveyed):
    view.comparing.click()
    assert "a comparison needs two groups" in view.message.value
    view.regime.value = "calm"
    view._keep("A")
    view.regime.value = "volatile"
    view._keep("B")
    view.comparing.click()
    (differences,) = view.comparison.children
    assert isinstance(differences, GroupDifferences)
    groups = surveyed[2].groups("regime")
    expected = surveyed[2].compare_groups(groups["calm"], groups["volatile"], names=("calm days", "volatile days"))
    pd.testing.assert_frame_equal(differences.to_frame(), expected.table)


def test_nothing_left_is_said(view):
    view.where = Filter(days=(pd.Timestamp("1999-01-01"), pd.Timestamp("1999-12-31")))
    assert view.count.value.startswith(f"<b>0 of {len(view.survey)} windows</b>")
    assert "No window has a market share." in view.sentence.value
    assert not view.message.value or "role" not in view.message.value.replace('role="alert"', "")
    assert view.table.rows == []


def test_what_changes_while_it_is_not_shown_is_drawn_later(view):
    view.paused = True
    view.regime.value = "calm"
    assert view.count.value == f"<b>{len(view.survey)} windows</b>"
    view.paused = False
    calm = (view.survey.to_frame()["regime"] == "calm").sum()
    assert view.count.value == f"<b>{calm} of {len(view.survey)} windows</b> (calm days)"
    assert len(view.points.x) == calm


def test_a_what_if_does_not_change_the_survey_and_that_is_said(view, session):
    session.what_if(gate={0: 0.0})
    assert view.count.value == f"<b>{len(view.survey)} windows</b> of the model without the what-if"
    session.undo()
    assert view.count.value == f"<b>{len(view.survey)} windows</b>"


@pytest.mark.parametrize(("label_mode", "name"), [("binary", "Hit rate"), ("regression", "Rank information coef")])
def test_windows_without_outcomes_have_no_quality(label_mode, name, tmp_path):
    model, dataset = make_model(label_mode), make_dataset(label_mode, target_col=None)
    known = survey(model, dataset, tmp_path / "run", progress=False)
    with ExtractorSession.from_dataset(model, dataset, 3) as session:
        view = HistoryView(known, session)
        assert view.quality_sentence.value.startswith(name)
        assert "not known, because no window has a known outcome." in view.quality_sentence.value
        view.close()


def test_a_survey_of_something_else_is_refused(surveyed, session):
    with pytest.raises(ValueError, match="is of other weights than the session's model"):
        HistoryView(surveyed[2], ExtractorSession.from_dataset(make_model(seed=1), surveyed[1]))
    other = make_dataset(lookback=9)
    with pytest.raises(ValueError, match="has other windows than the session's dataset"):
        HistoryView(surveyed[2], ExtractorSession.from_dataset(surveyed[0], other))
    with pytest.raises(TypeError, match="expected a Survey, got str"):
        HistoryView("runs/a", session)


def test_the_explorer_has_a_tab_of_it(surveyed, session):
    with AttentionExplorer(session, survey=surveyed[2]) as explorer:
        assert explorer.tabs.titles[:2] == ("Overview", "History")
        explorer.tabs.selected_index = 1
        (history,) = [view for view in explorer.views if isinstance(view, HistoryView)]
        session.sample = 5
        assert history.table.selected == 5
        explorer.tabs.selected_index = 0
        session.sample = 6
        assert history.table.selected == 5
        explorer.tabs.selected_index = 1
        assert history.table.selected == 6
    assert history.comm is None


def test_closing_leaves_no_widget(surveyed, session):
    before = widgets()
    view = HistoryView(surveyed[2], session)
    view.close()
    assert view.comm is None
    assert widgets() == before


def test_its_picture(view, tmp_path):
    view.save_png(tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes()[:4] == b"\x89PNG"
