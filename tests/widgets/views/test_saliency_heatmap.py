"""The heatmap of attribution against gradients taken here: cells, marks, clicks."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from cases import (
    MARKET,
    STOCK,
    days_of,
    explained_name,
    gradients,
    input_times_gradient,
    lines,
    make_session,
    mouse,
    pixels,
    plain,
)
from expected import strongest

from stockformer_widgets import SaliencyBars, SaliencyHeatmap, Selection


@pytest.fixture
def session():
    with make_session(method="input_x_gradient") as made:
        yield made


@pytest.fixture
def large(large):
    large.explanations.method = "input_x_gradient"
    return large


def test_a_png_has_the_cells_of_the_screen(session):
    view = SaliencyHeatmap(session)
    largest = np.abs(view.to_frame()["value"]).max()
    drawn = view._plot()
    (picture,) = drawn.axes[0].images
    np.testing.assert_allclose(picture.get_array(), pixels(view, "RdBu_r", -largest, largest), atol=largest / 250)
    assert picture.get_cmap().name == "RdBu_r"
    np.testing.assert_allclose(picture.get_clim(), [-largest, largest], rtol=1e-6)
    plt.close(drawn)


@pytest.mark.parametrize("method", ["input_x_gradient", "gradient"])
@pytest.mark.parametrize("target", [None, 0])
def test_heatmap_frame(session, method, target):
    session.explanations.method, session.explanations.target = method, target
    compute = gradients if method == "gradient" else input_times_gradient
    parts = compute(session, target)
    frame = SaliencyHeatmap(session).to_frame()
    assert list(frame) == ["input", "feature", "day", "value"]
    assert len(frame) == 8 * 7
    names, days = (STOCK, MARKET), days_of(session)
    expected = {
        (number, names[number][feature], days[day]): value
        for number, part in enumerate(parts)
        for (day, feature), value in np.ndenumerate(part)
    }
    found = frame.set_index(["input", "feature", "day"])["value"].to_dict()
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_heatmap_pixels(large):
    view = SaliencyHeatmap(large)
    for target in (None, 0):
        large.explanations.target = target
        values = np.concatenate(input_times_gradient(large, target), axis=1)
        names = [name for group in large.feature_names for name in group]
        top = strongest(np.abs(values).sum(axis=0), 24)
        largest = np.abs(values).max()
        assert [view.y_axis.tick_labels[str(row + 0.5)] for row in range(24)] == [names[feature] for feature in top]
        drawn = pixels(view, "RdBu_r", -largest, largest)
        np.testing.assert_allclose(drawn, values[:, top].T, atol=largest / 250)
        assert f"{-largest:.4g}" in plain(view.color_bar.value)
        assert f"{largest:.4g}" in plain(view.color_bar.value)
        explained = explained_name(large, target)
        assert view.plot.title == f"input x gradient for {explained}, the 24 strongest features"


@pytest.mark.parametrize(("name", "days"), [("market longer", (6, 9)), ("stock longer", (9, 6))])
def test_heatmap_of_unequal_lengths(name, days):
    session = make_session(name, "input_x_gradient")
    view = SaliencyHeatmap(session)
    stock, market = input_times_gradient(session)
    longest = max(days)
    padded = np.full((longest, 7), np.nan)
    padded[longest - days[0] :, :5], padded[longest - days[1] :, 5:] = stock, market
    rows = strongest(np.nansum(np.abs(padded), axis=0), 7)
    largest = np.nanmax(np.abs(padded))
    np.testing.assert_allclose(
        pixels(view, "RdBu_r", -largest, largest), padded[:, rows].T, atol=largest / 250, equal_nan=True
    )
    # Query 0 is the stock's first day, wherever that is.
    first = longest - days[0]
    for x, query in ((first + 0.5, 0), (first - 0.5, 0), (longest - 0.5, days[0] - 1), (first + 2.5, 2)):
        mouse(view.figure, "click", x, 1.5)
        assert view.selection.query == query
        assert view.crosshair.x[0][0] == first + query + 0.5


def test_heatmap_when_the_market_has_more_days_than_the_stock():
    session = make_session("market longer", "input_x_gradient")
    view = SaliencyHeatmap(session, Selection(session, kind="market"))
    assert view.selection.query == 8
    assert view.crosshair.x[0][0] <= 9
    view.selection.query = 3
    assert view.crosshair.x[0][0] <= 9


@pytest.mark.parametrize(
    ("place", "cell"), [((2.5, 1.5), (1, 2)), ((0.0, 0.0), (0, 0)), ((8.0, 7.0), (6, 7)), ((-9.0, 99.0), (6, 0))]
)
def test_a_click_on_the_heatmap_selects_feature_and_day(session, place, cell):
    view = SaliencyHeatmap(session, Selection(session, query=4, key=4))
    row, day = cell
    name = view.y_axis.tick_labels[str(row + 0.5)]
    mouse(view.figure, "click", *place)
    assert (view.selection.feature, view.selection.query, view.selection.key) == (name, day, 4)
    np.testing.assert_array_equal(view.crosshair.x, [[day + 0.5] * 2, [0, 8]])
    np.testing.assert_array_equal(view.crosshair.y, [[0, 7], [row + 0.5] * 2])


def test_the_line_below_the_heatmap(session):
    view = SaliencyHeatmap(session, Selection(session, query=4))
    days, values = days_of(session), np.concatenate(input_times_gradient(session), axis=1)
    assert lines(view) == [view.keyboard.announcement] == [f"selected day {days[4]}"]
    mouse(view.figure, "mousemove", 2.5, 1.5)
    name = view.y_axis.tick_labels["1.5"]
    said = lines(view)[0]
    assert said.startswith(f"{name}, {days[2]}, attribution ")
    assert float(said.split()[-1]) == pytest.approx(values[2, (STOCK + MARKET).index(name)], rel=1e-3)
    mouse(view.figure, "mouseleave")
    assert lines(view) == [f"selected day {days[4]}"]
    view.selection.feature = name
    assert lines(view)[0].startswith(f"{name}, {days[4]}, attribution ")


def test_an_encoder_has_one_input():
    session = make_session("encoder")
    view = SaliencyBars(session)
    assert set(view.to_frame()["input"]) == {0}
    assert "market" not in "\n".join(lines(view))


def test_days_without_dates_are_named_alike():
    session = make_session("market longer", "input_x_gradient")
    frame = SaliencyHeatmap(session).to_frame()
    for number, days in ((0, 6), (1, 9)):
        assert list(dict.fromkeys(frame["day"][frame["input"] == number])) == [f"step {day}" for day in range(days)]
    dated = make_session("dated")
    expected = list(pd.bdate_range("2020-01-01", periods=6).strftime("%Y-%m-%d"))
    assert list(dict.fromkeys(SaliencyHeatmap(dated).to_frame()["day"])) == expected
