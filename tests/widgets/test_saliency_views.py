"""Views of saliency against gradients taken here: numbers, marks, clicks."""

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
    press,
)

from stockformer_widgets import SaliencyBars, SaliencyHeatmap, Selection

STOCK_COLOR, MARKET_COLOR = "#0072b2", "#e69f00"


@pytest.fixture
def session():
    with make_session(method="input_x_gradient") as made:
        yield made


@pytest.fixture
def large(large):
    large.method = "input_x_gradient"
    return large


def strongest(by_feature: np.ndarray, number: int) -> list[int]:
    return sorted(range(len(by_feature)), key=lambda feature: -abs(by_feature[feature]))[:number]


def shown_bars(view) -> dict[str, float]:
    """Name -> value of every bar."""
    names = [view.picture.y_axis.tick_labels[str(place)] for place in np.asarray(view.picture.bars.x)]
    return dict(zip(names, np.asarray(view.picture.bars.y), strict=True))


# Bars


@pytest.mark.parametrize("method", ["input_x_gradient", "gradient"])
@pytest.mark.parametrize("target", [None, 0, 1])
@pytest.mark.parametrize(
    ("span", "sign"), [(s, v) for s in ("all days", "selected day") for v in ("absolute", "signed")]
)
def test_bars(session, method, target, span, sign):
    view = SaliencyBars(session, Selection(session, query=3))
    session.method, session.target = method, target
    view.controls["over"].value, view.controls["values"].value = span, sign
    compute = gradients if method == "gradient" else input_times_gradient
    parts = compute(session, target)
    values = np.concatenate(parts, axis=1)  # [T, features]
    values = np.abs(values) if sign == "absolute" else values
    by_feature = values.sum(axis=0) if span == "all days" else values[3]

    frame = view.to_frame()
    assert list(frame) == ["input", "feature", "value"]
    assert len(frame) == len(STOCK + MARKET)
    expected = dict(zip(STOCK + MARKET, by_feature, strict=True))
    assert (frame["value"].abs().diff().dropna() <= 0).all()
    for row in frame.itertuples():
        assert row.value == pytest.approx(expected[row.feature], rel=1e-4, abs=1e-7)
        assert row.input == (row.feature in MARKET)
    bars = shown_bars(view)
    assert list(bars) == frame["feature"].tolist()
    assert bars == pytest.approx(expected, rel=1e-4, abs=1e-7)
    colors = [MARKET_COLOR if name in MARKET else STOCK_COLOR for name in bars]
    assert list(view.picture.bars.colors) == colors
    low, high = min(0.0, by_feature.min()), max(0.0, by_feature.max())
    assert (view.picture.scales["x"].min, view.picture.scales["x"].max) == (pytest.approx(low), pytest.approx(high))
    explained = explained_name(session, target)
    named = method.replace("_", " ")
    when = "all days" if span == "all days" else days_of(session)[3]
    assert view.plot.title == f"{f'|{named}|' if sign == 'absolute' else named} for {explained}, {when}"
    drawn = np.abs(np.concatenate([part if span == "all days" else part[3:4] for part in parts], axis=1)).sum(axis=0)
    market = drawn[len(STOCK) :].sum() / drawn.sum()
    assert f"stock {1 - market:.1%}" in plain(view.readout.value)
    assert f"market share {market:.3g}" in plain(view.summary.value)
    assert ("last quarter of the days" in view.summary.value) == (span == "all days")


def test_bars_are_the_strongest_of_many(large):
    view = SaliencyBars(large)
    values = np.concatenate(input_times_gradient(large), axis=1)
    by_feature = np.abs(values).sum(axis=0)
    names = [name for group in large.feature_names for name in group]
    top = strongest(by_feature, 14)
    assert shown_bars(view) == pytest.approx({names[feature]: by_feature[feature] for feature in top}, rel=1e-3)
    assert list(shown_bars(view)) == [names[feature] for feature in top]
    assert len(view.to_frame()) == 52


def test_bars_say_how_stock_and_market_share(session):
    view = SaliencyBars(session)
    totals = [np.abs(part).sum() for part in input_times_gradient(session)]
    read = plain(view.readout.value)
    for name, total in zip(("stock", "market"), totals, strict=True):
        assert f"{name} {total / sum(totals):.1%}" in read


def test_features_that_the_data_lacks_are_named(session, large):
    view = SaliencyBars(session)
    assert "f4" in view.readout.value
    assert view.to_frame().set_index("feature")["value"]["f4"] == 0
    view = SaliencyBars(large)
    assert len(large.dataset.unavailable) == 11
    assert all(name in view.readout.value for name in large.dataset.unavailable)


def test_features_of_tensors_given_by_hand_are_all_there(session):
    view = SaliencyBars(session)
    session.run(*(tensor[0] + 1 for tensor in session.reading.inputs))
    assert view.to_frame().set_index("feature")["value"]["f4"] > 0
    assert "without data" not in plain(view.readout.value)


def test_a_selected_bar_stands_out(session):
    view = SaliencyBars(session)
    assert set(view.picture.bars.opacities) == {1.0}
    view.selection.feature = "f2"
    bars = list(shown_bars(view))
    assert [name for name, opacity in zip(bars, view.picture.bars.opacities, strict=True) if opacity == 1.0] == ["f2"]
    value = shown_bars(view)["f2"]
    assert lines(view)[0] == view.keyboard.says == f"f2 {value:.4g}"
    view.selection.feature = None
    assert set(view.picture.bars.opacities) == {1.0}
    assert "f2" not in view.keyboard.says


def test_a_selected_feature_that_has_no_bar_pales_nothing(large):
    view = SaliencyBars(large)
    view.selection.feature = large.dataset.unavailable[0]
    assert view.selection.feature not in shown_bars(view)
    assert set(view.picture.bars.opacities) == {1.0}


def test_the_bar_under_the_mouse(session):
    view = SaliencyBars(session)
    view.selection.feature = "f2"
    bars = list(shown_bars(view).items())
    for y, (name, value) in ((0.5, bars[0]), (4.9, bars[4]), (99.0, bars[6])):
        mouse(view.figure, "mousemove", 0.1, y)
        assert lines(view)[0] == f"{name} {value:.4g}"
    assert view.selection.feature == "f2"
    mouse(view.figure, "mouseleave")
    assert lines(view)[0] == f"f2 {dict(bars)['f2']:.4g}"


@pytest.mark.parametrize(("y", "place"), [(0.5, 0), (0.0, 0), (2.999, 2), (6.0, 6), (7.0, 6), (-3.0, 0), (50.0, 6)])
def test_a_click_on_a_bar_selects_its_feature_and_a_second_one_none(session, y, place):
    view = SaliencyBars(session)
    name = list(shown_bars(view))[place]
    mouse(view.figure, "click", 0.1, y)
    assert view.selection.feature == name
    mouse(view.figure, "click", 0.1, y)
    assert view.selection.feature is None


def test_unequal_lengths_share_their_last_days():
    session = make_session("market longer", "input_x_gradient")
    view = SaliencyBars(session)
    view.controls["values"].value, view.controls["over"].value = "signed", "selected day"
    view.selection.query = 4  # of 0..5, as 7 of 0..8
    stock, market = input_times_gradient(session)
    expected = np.sort(np.concatenate([stock[4], market[7]]))
    np.testing.assert_allclose(np.sort(view.to_frame()["value"]), expected, rtol=1e-4, atol=1e-7)


def test_a_png_shows_what_the_bars_show(session, tmp_path):
    view = SaliencyBars(session, Selection(session, query=3))
    whole = view.save_png(tmp_path / "whole.png").read_bytes()
    view.controls["over"].value = "selected day"
    day = view.save_png(tmp_path / "day.png").read_bytes()
    view.controls["values"].value = "signed"
    assert len({whole, day, view.save_png(tmp_path / "signed.png").read_bytes()}) == 3


@pytest.mark.parametrize(("span", "sign"), [("all days", "absolute"), ("selected day", "signed")])
def test_a_png_has_the_bars_of_the_screen(session, span, sign):
    view = SaliencyBars(session, Selection(session, query=3))
    view.controls["over"].value, view.controls["values"].value = span, sign
    drawn = view._plot()
    (axes,) = drawn.axes
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], view.picture.bars.y, rtol=1e-6)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(shown_bars(view))
    plt.close(drawn)


def test_a_png_has_the_cells_of_the_screen(session):
    view = SaliencyHeatmap(session)
    largest = np.abs(view.to_frame()["value"]).max()
    drawn = view._plot()
    (picture,) = drawn.axes[0].images
    np.testing.assert_allclose(picture.get_array(), pixels(view, "RdBu_r", -largest, largest), atol=largest / 250)
    assert picture.get_cmap().name == "RdBu_r"
    np.testing.assert_allclose(picture.get_clim(), [-largest, largest], rtol=1e-6)
    plt.close(drawn)


# Every feature has a name of its own


def test_every_feature_has_its_own_name():
    names = [name for group in make_session("by hand").feature_names for name in group]
    assert len(set(names)) == len(names) == 7


@pytest.mark.parametrize("kind", [SaliencyBars, SaliencyHeatmap])
def test_keys_reach_every_feature(kind):
    view = kind(make_session("by hand"))
    reached = []
    for _ in range(7):
        press(view, "ArrowDown")
        reached.append(view.selection.feature)
    assert len(set(reached)) == 7


# Heatmap


@pytest.mark.parametrize("method", ["input_x_gradient", "gradient"])
@pytest.mark.parametrize("target", [None, 0])
def test_heatmap_frame(session, method, target):
    session.method, session.target = method, target
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
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_heatmap_pixels(large):
    view = SaliencyHeatmap(large)
    for target in (None, 0):
        large.target = target
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
    assert lines(view) == [view.keyboard.says] == [f"selected day {days[4]}"]
    mouse(view.figure, "mousemove", 2.5, 1.5)
    name = view.y_axis.tick_labels["1.5"]
    said = lines(view)[0]
    assert said.startswith(f"{name} on {days[2]}: ")
    assert float(said.split(": ")[1]) == pytest.approx(values[2, (STOCK + MARKET).index(name)], rel=1e-4)
    mouse(view.figure, "mouseleave")
    assert lines(view) == [f"selected day {days[4]}"]
    view.selection.feature = name
    assert lines(view)[0].startswith(f"{name} on {days[4]}: ")


# Other models


@pytest.mark.parametrize(
    ("name", "explained"),
    [
        ("regression", "the value"),
        ("regression by hand", "the value"),
        ("coral", "P(at least -1 %)"),
        ("coral by hand", "P(class > 0)"),
        ("bare attention", "output"),
    ],
)
def test_what_is_explained_is_said(name, explained):
    session = make_session(name, "input_x_gradient")
    session.target = 0 if session.targets else None
    values = input_times_gradient(session, 0 if session.targets else None)
    for kind in (SaliencyBars, SaliencyHeatmap):
        view = kind(session)
        assert f" for {explained}" in view.plot.title
        found = view.to_frame()["value"].abs().sum()
        assert found == pytest.approx(sum(np.abs(part).sum() for part in values), rel=1e-4)


def test_an_encoder_has_one_input():
    session = make_session("encoder")
    view = SaliencyBars(session)
    assert set(view.to_frame()["input"]) == {0}
    assert "market" not in plain(view.readout.value)


@pytest.mark.parametrize("kind", [SaliencyBars, SaliencyHeatmap])
@pytest.mark.parametrize("name", ["float64", "bfloat16"])
def test_frames_of_other_precisions(kind, name):
    session = make_session(name, "input_x_gradient")
    frame = kind(session).to_frame()
    assert frame["value"].dtype.kind == "f"
    assert np.isfinite(frame["value"]).all()


def test_days_without_dates_are_named_alike():
    session = make_session("market longer", "input_x_gradient")
    frame = SaliencyHeatmap(session).to_frame()
    for number, days in ((0, 6), (1, 9)):
        assert list(dict.fromkeys(frame["day"][frame["input"] == number])) == [f"step {day}" for day in range(days)]
    dated = make_session("dated")
    expected = list(pd.bdate_range("2020-01-01", periods=6).strftime("%Y-%m-%d"))
    assert list(dict.fromkeys(SaliencyHeatmap(dated).to_frame()["day"])) == expected
