"""A chart as both renderers draw it: the same values, names, colours and marks."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from cases import PAIRS, drawn, make_session, marker, plain
from matplotlib.colors import to_hex

from stockformer.charts.chart import Axis, Chart, Line, Lines, Scale, formatted, line_colors
from stockformer.charts.compare import overlay
from stockformer.charts.draw import draw
from stockformer.explainability import Summary
from stockformer_widgets import Selection
from stockformer_widgets.views.lines import LinesView

CASES = [(name, kind) for name, kind in PAIRS if issubclass(kind, LinesView)]


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


def on_screen(view: LinesView) -> dict[str, tuple[str, list[float]]]:
    """Name -> colour and values of the named lines that bqplot has, as far as they differ in their places."""
    body, found = view.chart.body, {}
    for shape in ("area", "step", "line"):
        if shape not in view.lines:
            continue
        mark = view.lines[shape]
        _, y = drawn(view, shape)
        for line, color, values in zip((one for one in body.lines if one.shape == shape), mark.colors, y, strict=True):
            stepped = shape != "line"
            length = len(line.values)
            values = values[: len(values) - stepped] if stepped else values
            found[line.name] = color, values[-length:].tolist()
    return {name: values for name, values in found.items() if name}


def on_paper(chart: Chart, marked: dict[str, int]) -> tuple[dict[str, tuple[str, list[float]]], list[float], str]:
    """The same of matplotlib, x of the upright lines, and the title."""
    (axes,) = draw(chart, marked).axes
    found, upright = {}, []
    for line in axes.lines:
        x, y = (np.asarray(values, dtype=float) for values in line.get_data())
        if len(x) == 2 and x[0] == x[1] and str(line.get_label()).endswith(" day"):
            upright.append(float(x[0]))
        elif len(x) and not str(line.get_label()).startswith("_") and line.get_label() != "uniform":
            found[line.get_label()] = to_hex(line.get_color()), y.tolist()
    for bars in axes.containers:
        first = next(one for one in chart.body.lines if one.name == bars.get_label())
        found[bars.get_label()] = first.color, [bar.get_height() for bar in bars]
    return found, upright, axes.get_title()


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered")
@pytest.mark.parametrize(("name", "kind"), CASES, ids=[f"{name}-{kind.__name__}" for name, kind in CASES])
def test_both_renderers_draw_the_chart(name, kind):
    with make_session(name) as session:
        view = kind(session, Selection(session, query=0))
        chart = view.chart
        screen = on_screen(view)
        paper, upright, title = on_paper(chart, view._marked())
        named = {line.name: line for line in chart.body.lines if line.name}
        assert list(screen) == list(paper) == list(named) or set(screen) == set(paper) == set(named)
        for label, line in named.items():
            numbers = np.where(np.isfinite(line.values), line.values, 0.0)
            assert screen[label][0] == paper[label][0] == line.color
            np.testing.assert_allclose(screen[label][1], numbers, rtol=1e-6)
            np.testing.assert_allclose(np.nan_to_num(paper[label][1], posinf=0, neginf=0), numbers, rtol=1e-6)
        assert view.plot.title == title == chart.title
        assert marker(view)[0] - 0.5 == upright[0] == view._selected()
        assert (view.scales["y"].min, view.scales["y"].max) == (chart.body.y.low, chart.body.y.high)
        for note in chart.notes:
            assert note.text in plain(view.readout.value)
        assert view.to_frame().equals(chart.table)


def test_a_chart_is_made_again_only_where_its_content_changes(session):
    view = next(kind for _, kind in CASES if kind.__name__ == "AttentionRow")(session)
    before = view.chart
    view.selection.key = 1
    assert view.chart is before
    view.selection.query = 1
    assert view.chart is not before
    assert marker(view) == [1.5, 1.5]


def chart_of(days: list[str], *lines: Line) -> Chart:
    return Chart("by day", Lines(lines, Axis(days, sets="query"), Scale(0.0, 5.0)), lambda: None, Summary("", ()))


def line(name: str, values: list[float], color: str = "#000000", **look) -> Line:
    return Line(name, np.array(values), formatted(values), color, **look)


def test_an_overlay_ends_on_the_same_day():
    one = chart_of(["mon", "tue", "wed"], line("w", [1, 2, 4]), line("faint", [9, 9, 9], emphasis=False))
    other = chart_of(["thu", "fri"], line("w", [3, 5]))
    both = overlay(one, other, "both")
    assert both.body.x.names == ["-2", "-1", "0"]
    assert [(entry.name, words) for entry, words in both.body.words(2)] == [("A w", "4 on wed"), ("B w", "5 on fri")]
    assert [entry.name for entry, _ in both.body.words(0)] == ["A w"]
    frame = both.table
    assert frame["day"].tolist() == [-2, -1, 0]
    np.testing.assert_array_equal(frame["a"], [1, 2, 4])
    np.testing.assert_array_equal(frame["b"], [np.nan, 3, 5])
    assert both.summary.verdict == "A and B are furthest apart on day -1: 2 in A, 3 in B."
    assert [finding.value for finding in both.summary.findings] == [1.0, 1.0]


def test_an_overlay_names_the_line_that_is_furthest_apart():
    one = chart_of(["mon", "tue"], line("stock", [1, 2]), line("market", [0, 0]))
    other = chart_of(["mon", "tue"], line("stock", [1, 3]), line("market", [4, 0]))
    both = overlay(one, other, "both")
    assert both.summary.verdict == "A and B are furthest apart on day -1: market 0 in A, 4 in B."
    assert [finding.value for finding in both.summary.findings] == [1.25, 4.0]
    assert list(both.table) == ["day", "stock_a", "market_a", "stock_b", "market_b"]


def test_an_overlay_of_what_is_no_number_has_no_distance():
    both = overlay(chart_of(["mon"], line("w", [np.nan])), chart_of(["mon"], line("w", [1.0])), "both")
    assert "not finite" in both.summary.verdict
    assert both.summary.findings == ()


def test_a_selected_place_that_is_not_on_the_axis():
    with pytest.raises(IndexError, match="query is 2, expected 0 to 1"):
        draw(chart_of(["mon", "tue"], line("w", [1, 2])), {"query": 2})


@pytest.mark.parametrize("number", [1, 6, 7, 24])
def test_lines_have_colours_of_their_own(number):
    colors = line_colors(number)
    assert len(set(colors)) == len(colors) == number
    assert all(len(color) == 7 and int(color[1:], 16) >= 0 for color in colors)
