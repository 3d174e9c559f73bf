"""The text below a picture, as it is sent to the page."""

import numpy as np
import pandas as pd
import pytest
from cases import make_session

from stockformer.charts.chart import Axis, Bars, Chart, Doubt, Heatmap, Note, Panels, Scale
from stockformer.explainability import Finding, Summary
from stockformer_widgets import AttentionRow
from stockformer_widgets.components.caption import Caption, Phrase, spoken, table_of, text_of

DAYS = ["d0", "d1"]


def bars(words=("1", "2")) -> Bars:
    values = np.array([1.0, 2.0])
    return Bars(values, words, ["red", "red"], Axis(DAYS, "day"), Scale(0, 2), "now", values, "before", "blue")


def heatmap(rows: int, columns: int) -> Heatmap:
    axes = (Axis([f"{name}{place}" for place in range(n)], name) for name, n in (("q", rows), ("k", columns)))
    values = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns) / (rows * columns)
    return Heatmap(values, *axes, Scale(0, 1, "weight"), "", "%")


def test_a_text_is_what_the_chart_says():
    findings = (Finding("market_share", 0.25, "m / (m + s)", "0: none."), Finding("peak", float("nan"), "max", ""))
    chart = Chart(
        "title",
        bars(),
        summary=Summary("It is so.", findings, "of all"),
        notes=(Note("strongest: d1", "of 2", aside=True),),
        caveats=("take care",),
        doubt=Doubt("no better than random", "doubtful", "p = 0.4"),
    )
    assert text_of(chart) == {
        "caveats": ["take care"],
        "summary": {
            "verdict": "It is so.",
            "subject": "of all",
            "findings": [
                {"name": "market_share", "value": 0.25, "formula": "m / (m + s)", "reading": "0: none."},
                {"name": "peak", "value": None, "formula": "max", "reading": ""},  # JSON knows no NaN
            ],
        },
        "notes": [{"text": "strongest: d1", "detail": "of 2", "aside": True}],
        "doubt": {"text": "no better than random", "level": "doubtful", "detail": "p = 0.4"},
        "legend": [["now", "red"], ["before", "blue"]],
        "empty": False,
    }


def test_a_chart_without_panels_is_empty():
    assert text_of(Chart("", Panels(())))["empty"]
    assert not text_of(Chart("", heatmap(1, 1)))["empty"]


def test_half_a_surrogate_pair_is_sent_as_a_question_mark():
    assert text_of(Chart("", bars(), caveats=("a\ud800b",)))["caveats"] == ["a?b"]
    caption = Caption(lambda: None)
    caption.read([Phrase("a\ud800", "1")])
    assert caption.reading == [["a?", "1", ""]]
    caption.close()


def test_phrases_are_spoken_with_their_values():
    assert spoken([Phrase("d1"), Phrase("layer 0", "0.5", "red"), Phrase("", "none")]) == "d1, layer 0 0.5, none"


def test_the_table_of_a_map_is_its_rows_and_columns():
    assert table_of(Chart("", heatmap(2, 2))) == {
        "columns": ["q", "k0", "k1"],
        "rows": [["q0", "0.00 %", "25.0 %"], ["q1", "50.0 %", "75.0 %"]],
        "of": 2,
    }


@pytest.mark.parametrize(("rows", "columns"), [(252, 252), (60, 60)])
def test_a_large_table_ends_where_a_page_would_suffer(rows, columns):
    table = table_of(Chart("", heatmap(rows, columns)))
    assert table["of"] == rows
    assert len(table["rows"]) == min(rows, 4000 // (columns + 1))


def test_other_tables_are_those_of_the_chart():
    frame = pd.DataFrame({"key_day": pd.to_datetime(["2020-01-01", "2020-01-02"]), "weight": [1 / 3, np.nan]})
    table = table_of(Chart("", bars(), lambda: frame))
    assert table == {"columns": ["key day", "weight"], "rows": [["2020-01-01", "0.3333"], ["2020-01-02", ""]], "of": 2}


def asked(caption: Caption, monkeypatch: pytest.MonkeyPatch) -> list:
    """What it sends to a page that asks for the table."""
    sent: list = []
    monkeypatch.setattr(caption, "send", sent.append)
    caption._handle_msg({"content": {"data": {"method": "custom", "content": {"ask": "table"}}}, "buffers": []})
    return sent


def test_a_page_that_asks_gets_the_values_of_the_view(monkeypatch):
    with AttentionRow(make_session()) as view:
        ((sent,),) = [list(asked(view.caption, monkeypatch))]
        assert sent["table"]["columns"] == ["key", "key day", "weight", "share"]
        weights = [float(row[2]) for row in sent["table"]["rows"]]
        np.testing.assert_allclose(weights, view.to_frame()["weight"], rtol=1e-3)


def test_a_table_that_fails_is_reported_and_not_sent(monkeypatch):
    with AttentionRow(make_session()) as view:
        monkeypatch.setattr("stockformer_widgets.views.base.table_of", lambda chart: 1 / 0)
        assert asked(view.caption, monkeypatch) == []
        assert "division by zero" in view.message.value
