"""A chart as both renderers draw it: the same values, names, colours and marks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import PAIRS, lines, marker, session_of
from matplotlib.colors import to_hex

from stockformer.charts.chart import (
    FAINT,
    HIGHLIGHT,
    Axis,
    Bars,
    Chart,
    Line,
    Lines,
    Panels,
    Scale,
    formatted,
    line_colors,
)
from stockformer.charts.compare import overlay
from stockformer.charts.draw import draw
from stockformer.explainability import Summary
from stockformer_widgets import (
    FaithfulnessCheck,
    HeadSpecialization,
    LayerEvolution,
    Prediction,
    PriceStrip,
    SaliencyBars,
    SampleComparison,
    Selection,
)
from stockformer_widgets.views.bars import BarsView
from stockformer_widgets.views.compared import ComparedView
from stockformer_widgets.views.heatmap import HeatmapView
from stockformer_widgets.views.lines import LinesView
from stockformer_widgets.views.panels import PanelsView

CASES = [(name, kind) for name, kind in PAIRS if issubclass(kind, LinesView | BarsView | PanelsView)]


Series = dict[str, tuple[list[str], np.ndarray]]


def in_chart(body) -> Series:
    """Name -> colours and the values that are drawn, 0 in place of NaN."""
    if isinstance(body, Lines):
        return {line.name: ([line.color], drawn_of(line.values, line.shape)) for line in body.lines if line.name}
    dots = {} if body.dots is None else {body.dots_name: ([body.dots_color], number(body.dots))}
    return {body.bars_name: (list(body.colors), number(body.values))} | dots


def on_screen(picture, body) -> Series:
    """The same of what bqplot has."""
    if isinstance(body, Bars):
        bars, dots, along = picture.bars, picture.dots, picture.bars.scales["x"]
        inside = (np.asarray(bars.x) >= along.min) & (np.asarray(bars.x) <= along.max)
        found = {body.bars_name: (list(np.asarray(bars.colors)[inside]), np.asarray(bars.y)[inside])}
        if dots is not None and dots.visible:
            values = np.asarray(dots.x if bars.orientation == "horizontal" else dots.y)[: len(body.dots)]
            found[body.dots_name] = list(dots.colors), values
        return found
    found = {}
    for shape, mark in picture.lines.items():
        lines = [line for line in body.lines if line.shape == shape]
        series = zip(mark.colors, np.atleast_2d(mark.x), np.atleast_2d(mark.y), strict=False)
        for line, (color, *points) in zip(lines, series, strict=bool(lines)):
            x, y = (each[: len(each) - (shape in ("area", "step"))][-len(line.values) :] for each in points)
            repeated = np.r_[False, np.diff(x) == 0]  # the line has ended
            found[line.name] = [color], np.where(repeated, np.nan, y)
    return {name: series for name, series in found.items() if name}


def on_paper(axes, body) -> Series:
    """The same of what matplotlib has."""
    found = {
        bars.get_label(): ([to_hex(bar.get_facecolor()) for bar in bars], number([_length(bar) for bar in bars]))
        for bars in axes.containers
    }
    if isinstance(body, Lines):
        firsts = {line.name: [line.color] for line in body.lines if line.shape == "area" and line.name}
        found = {name: (firsts[name], values) for name, (_, values) in found.items()}
    for line in axes.lines:
        name = str(line.get_label())
        if not name.startswith("_") and not name.endswith(" day") and name != "even":
            x, y = line.get_data()
            found[name] = (
                [to_hex(line.get_color())],
                number(x) if axes.yaxis_inverted() else drawn_of(y, line.get_drawstyle()),
            )
    if isinstance(body, Bars) and not body.bars_name:
        found[""] = found.pop(next(name for name in found if name.startswith("_")))
    return {name: (colors, np.asarray(values)) for name, (colors, values) in found.items()}


def _length(bar) -> float:
    return bar.get_width() if bar.axes.yaxis_inverted() else bar.get_height()


def drawn_of(values, shape: str) -> np.ndarray:
    """The drawn values of a line: 0 in place of NaN; except for steps, nothing after the last number."""
    numbers, last = number(values), np.flatnonzero(np.isfinite(np.asarray(values, dtype=float)))[-1:]
    if len(last) and shape not in ("step", "area", "steps-mid"):
        numbers[last[0] + 1 :] = np.nan
    return numbers


def number(values) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return np.where(np.isfinite(values), values, 0.0)


def upright(axes) -> list[float]:
    """x of the lines that mark days."""
    return [float(line.get_xdata()[0]) for line in axes.lines if str(line.get_label()).endswith(" day")]


def check(view) -> None:
    """bqplot and matplotlib show what the chart holds."""
    chart = view.chart
    figure = draw(chart, view._marked())
    for (title, body), picture, axes in zip(panels(chart), pictures(view), figure.axes, strict=True):
        expected, screen, paper = in_chart(body), on_screen(picture, body), on_paper(axes, body)
        assert set(screen) == set(paper) == set(expected)
        for name, (colors, values) in expected.items():
            assert screen[name][0] == paper[name][0] == colors
            np.testing.assert_allclose(screen[name][1], values, rtol=1e-6)
            np.testing.assert_allclose(paper[name][1], values, rtol=1e-6)
        assert picture.plot.title == axes.get_title() == title
        if isinstance(body, Lines):
            assert (picture.scales["y"].min, picture.scales["y"].max) == (body.y.low, body.y.high)
        else:
            flat = axes.yaxis_inverted()
            drawn, named = (picture.scales["x"], picture.y_axis) if flat else (picture.scales["y"], picture.x_axis)
            assert (drawn.min, drawn.max) == pytest.approx(axes.get_xlim() if flat else axes.get_ylim())
            ticks = axes.get_yticklabels() if flat else axes.get_xticklabels()
            names = [label.get_text() for label in ticks if label.get_text()]
            assert names == [named.tick_labels[str(body.names.names.index(name) + 0.5)] for name in names]
            assert body.names.names[-1] in names
    for note in chart.notes:
        assert note.text in "\n".join(lines(view))
    if isinstance(chart.body, Bars | Panels):
        legends = filter(None, [*figure.legends, figure.axes[0].get_legend() if figure.axes else None])
        names = [text.get_text() for legend in legends for text in legend.get_texts()]
        assert view.caption.text["legend"] == [list(pair) for pair in chart.body.legend.items()]
        assert set(names) == set(chart.body.legend) or len(chart.body.legend) == 1  # then it has no legend
    assert view.to_frame().equals(chart.table)


def panels(chart):
    """Title and body of every picture."""
    return chart.body.panels if isinstance(chart.body, Panels) else [(chart.title, chart.body)]


def pictures(view):
    """Every picture that bqplot draws."""
    return view.picture.pictures if isinstance(view.chart.body, Panels) else [view.picture]


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered")
@pytest.mark.parametrize(("name", "kind"), CASES, ids=[f"{name}-{kind.__name__}" for name, kind in CASES])
def test_both_renderers_draw_the_chart(name, kind):
    session = session_of(name)
    with kind(session, Selection(session, query=0)) as view:
        check(view)


def test_both_renderers_mark_the_selected_day(session):
    view = PriceStrip(session, Selection(session, query=2, key=5))
    (axes,) = draw(view.chart, view._marked()).axes
    assert upright(axes) == [2, 5]
    assert [marker(view, which)[0] - 0.5 for which in ("sets", "also")] == [2, 5]


def test_both_renderers_mark_the_selected_bar(session):
    view = SaliencyBars(session, Selection(session, feature="f2"))
    (axes,) = draw(view.chart, view._marked()).axes
    place = view.chart.body.names.names.index("f2")
    strengths = [bar.get_alpha() for bar in axes.patches]
    for drawn in (strengths, list(view.picture.bars.opacities)):
        assert np.argmax(drawn) == place
        assert len(set(drawn)) == 2
        assert drawn.count(max(drawn)) == 1


def test_both_renderers_draw_what_was_before_a_change(session):
    view = Prediction(session)
    session.what_if(gate={0: 0.0, 1: 0.0})
    before = torch.softmax(session.original.capture.output[0], dim=0).numpy()
    np.testing.assert_allclose(view.chart.body.dots, before, rtol=1e-6)
    assert set(in_chart(view.chart.body)) == {"before", "after"}
    check(view)


def test_both_renderers_draw_what_was_measured(session):
    view = FaithfulnessCheck(session)
    assert [axes for axes in draw(view.chart).axes if axes.lines] == []
    result = session.explanations.check()
    check(view)
    kinds = result.curves.set_index(["kind", "ranking", "fraction"])["value"]
    for (_, body), kind in zip(view.chart.body.panels, ("deletion", "insertion"), strict=True):
        assert body.x.names[10] == "10 %"
        for line, ranking in zip(body.lines, result.table["ranking"], strict=True):
            assert line.values[10] == pytest.approx(kinds[kind, ranking, 0.1])
            assert line.emphasis == (ranking in (session.explanations.method, "random"))


def test_both_renderers_mark_the_selected_layer_and_head(session):
    where = Selection(session, layer=1, head=0)
    for axes in draw((view := LayerEvolution(session, where)).chart, view._marked()).axes:
        assert [line.get_xdata() for line in axes.lines if line.get_color() == HIGHLIGHT] == [[1, 1]]
    assert [list(picture.markers[0].x) for picture in view.picture.pictures] == [[1.5, 1.5]] * 2
    for axes in draw((view := HeadSpecialization(session, where)).chart, view._marked()).axes:
        assert [bar.get_alpha() for bar in axes.patches] == [1.0, FAINT]
    assert [list(picture.bars.opacities) for picture in view.picture.pictures] == [[1.0, FAINT]] * 5


def test_both_renderers_draw_a_comparison(session):
    with SampleComparison(session, 3, 30) as comparison:
        comparison.tabs.selected_index = 1
        overlaid = [
            view for view in comparison.views if isinstance(view, ComparedView) and not isinstance(view, HeatmapView)
        ]
        assert len(overlaid) > 5
        for view in overlaid:
            check(view)


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
    both = overlay(one, other)
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
    both = overlay(one, other)
    assert both.summary.verdict == "A and B are furthest apart on day -1: market 0 in A, 4 in B."
    assert [finding.value for finding in both.summary.findings] == [1.25, 4.0]
    assert list(both.table) == ["day", "stock_a", "market_a", "stock_b", "market_b"]


def test_an_overlay_of_what_is_no_number_has_no_distance():
    both = overlay(chart_of(["mon"], line("w", [np.nan])), chart_of(["mon"], line("w", [1.0])))
    assert "not finite" in both.summary.verdict
    assert both.summary.findings == ()


def bars(names: list[str], values: list[float], top: float = 1.0) -> Bars:
    numbers = np.array(values)
    return Bars(numbers, formatted(numbers), ["#000000"] * len(names), Axis(names, "feature"), Scale(0.0, top))


def test_bars_of_two_charts_are_aligned_by_name():
    one, other = Chart("bars", bars(["x", "y"], [0.5, 0.2])), Chart("bars", bars(["y", "z", "x"], [0.6, 0.1, 0.5], 2.0))
    both = overlay(one, other)
    assert both.body.names.names == ["x", "y", "z"]
    np.testing.assert_array_equal(both.body.values, [0.5, 0.2, np.nan])
    np.testing.assert_array_equal(both.body.dots, [0.5, 0.6, 0.1])
    assert both.body.words == ["A 0.5, B 0.5", "A 0.2, B 0.6", "A none, B 0.1"]
    assert (both.body.bars_name, both.body.dots_name, both.body.scale.high) == ("A", "B", 2.0)
    assert list(both.table) == ["feature", "a", "b", "difference"]
    np.testing.assert_allclose(both.table["difference"], [0.0, -0.4, np.nan])
    assert both.summary.verdict == "A and B are furthest apart for feature y: 0.2 in A, 0.6 in B."
    assert [finding.value for finding in both.summary.findings] == pytest.approx([0.2, 0.4])
    most = overlay(one, other, most=1)
    assert most.body.names.names == ["y"]
    assert most.table["feature"].tolist() == ["y", "x", "z"]


def test_panels_of_two_charts_are_furthest_apart_on_their_scales():
    layers = Lines((line("cross", [1, 2, np.nan]),), Axis(["0", "1", "2"], "layer", "layer"), Scale(0.0, 100.0))
    layers.lines[0].words[2] = ""  # this kind has two layers
    deeper = Lines((line("cross", [1, 32, 3]),), layers.x, layers.y)
    one = Chart("a", Panels((("days", layers), ("share", bars(["x"], [0.2])), ("only A", bars(["x"], [0.0])))))
    other = Chart("b", Panels((("share", bars(["x"], [0.6])), ("days", deeper))))
    both = overlay(one, other)
    assert [title for title, _ in both.body.panels] == ["days", "share"]
    assert [words for _, words in both.body.panels[0][1].words(2)] == ["3"]
    assert both.summary.verdict == "A and B are furthest apart for feature x: share 0.2 in A, 0.6 in B."
    assert both.summary.findings[1].value == pytest.approx(0.4)
    assert both.table["panel"].tolist() == ["days"] * 3 + ["share"]
    nothing = overlay(one, Chart("c", Panels(())))
    assert nothing.body.panels == ()
    assert nothing.table.empty
    assert "nothing in common" in nothing.summary.verdict


def test_a_selected_place_that_is_not_on_the_axis():
    with pytest.raises(IndexError, match="query is 2, expected 0 to 1"):
        draw(chart_of(["mon", "tue"], line("w", [1, 2])), {"query": 2})


@pytest.mark.parametrize("number", [1, 6, 7, 24])
def test_lines_have_colours_of_their_own(number):
    colors = line_colors(number)
    assert len(set(colors)) == len(colors) == number
    assert all(len(color) == 7 and int(color[1:], 16) >= 0 for color in colors)
