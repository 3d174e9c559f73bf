"""The bars of attribution against gradients taken here: numbers, marks, clicks."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from cases import (
    MARKET,
    STOCK,
    days_of,
    explained_name,
    explained_on_hover,
    gradients,
    in_percent,
    input_times_gradient,
    lines,
    make_session,
    mouse,
    told,
)
from expected import strongest

from stockformer_widgets import SaliencyBars, Selection

STOCK_COLOR, MARKET_COLOR = "#0072b2", "#e69f00"


@pytest.fixture
def session():
    with make_session(method="input_x_gradient") as made:
        yield made


@pytest.fixture
def large(large):
    large.explanations.method = "input_x_gradient"
    return large


def shown_bars(view) -> dict[str, float]:
    """Name -> value of every bar."""
    names = [view.picture.y_axis.tick_labels[str(place)] for place in np.asarray(view.picture.bars.x)]
    return dict(zip(names, np.asarray(view.picture.bars.y), strict=True))


@pytest.mark.parametrize("method", ["input_x_gradient", "gradient"])
@pytest.mark.parametrize("target", [None, 0, 1])
@pytest.mark.parametrize(
    ("span", "sign"), [(s, v) for s in ("all days", "selected day") for v in ("absolute", "signed")]
)
def test_bars(session, method, target, span, sign):
    view = SaliencyBars(session, Selection(session, query=3))
    session.explanations.method, session.explanations.target = method, target
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
    room = (high - low) / 20
    ends = low - room if low else 0.0, high + room
    assert (view.picture.scales["x"].min, view.picture.scales["x"].max) == pytest.approx(ends)
    explained = explained_name(session, target)
    named = method.replace("_", " ")
    when = "all days" if span == "all days" else days_of(session)[3]
    assert view.plot.title == f"{f'|{named}|' if sign == 'absolute' else named} for {explained}, {when}"
    drawn = np.abs(np.concatenate([part if span == "all days" else part[3:4] for part in parts], axis=1)).sum(axis=0)
    market = drawn[len(STOCK) :].sum() / drawn.sum()
    assert f"stock {in_percent(1 - market)}" in "\n".join(lines(view))
    assert f"market_share {market:.3g}" in told(view)
    readings = [one["formula"] + one["reading"] for one in view.caption.text["summary"]["findings"]]
    assert any("last quarter of the days" in reading for reading in readings) == (span == "all days")


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
    read = "\n".join(lines(view))
    for name, total in zip(("stock", "market"), totals, strict=True):
        assert f"{name} {in_percent(total / sum(totals))}" in read


def test_features_that_the_data_lacks_are_named(session, large):
    view = SaliencyBars(session)
    assert "f4" in explained_on_hover(view)
    assert view.to_frame().set_index("feature")["value"]["f4"] == 0
    view = SaliencyBars(large)
    assert len(large.dataset.unavailable) == 11
    assert all(name in explained_on_hover(view) for name in large.dataset.unavailable)


def test_features_of_tensors_given_by_hand_are_all_there(session):
    view = SaliencyBars(session)
    session.run(*(tensor[0] + 1 for tensor in session.reading.inputs))
    assert view.to_frame().set_index("feature")["value"]["f4"] > 0
    assert "without data" not in "\n".join(lines(view))


def test_a_selected_bar_stands_out(session):
    view = SaliencyBars(session)
    assert set(view.picture.bars.opacities) == {1.0}
    view.selection.feature = "f2"
    bars = list(shown_bars(view))
    assert [name for name, opacity in zip(bars, view.picture.bars.opacities, strict=True) if opacity == 1.0] == ["f2"]
    value = shown_bars(view)["f2"]
    assert lines(view)[0] == view.keyboard.announcement == f"f2 {value:.4g}"
    view.selection.feature = None
    assert set(view.picture.bars.opacities) == {1.0}
    assert "f2" not in view.keyboard.announcement


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


def test_every_feature_has_its_own_name():
    names = [name for group in make_session("by hand").feature_names for name in group]
    assert len(set(names)) == len(names) == 7
