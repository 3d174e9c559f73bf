"""Prediction and price strip against the model's output and the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from cases import MARKET, STOCK, dataset, days_of, drawn, lines, make_session, marker, model, mouse, plain, press, table
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.sample import load_sample, sample_table
from stockformer_widgets import AttentionExplorer, ExtractorSession, Prediction, PriceStrip, Selection


def output_of(session) -> np.ndarray:
    with torch.no_grad():
        return session.model(*session.reading.inputs)[0].double().numpy()


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def classes_from(above: np.ndarray) -> np.ndarray:
    """CORAL's P(class > k), put in order, as class probabilities."""
    return -np.diff(np.r_[1.0, sorted(above, reverse=True), 0.0])


BUCKETS = ["below -1 %", "-1 % to 0 %", "0 % to 1 %", "1 % or more"]
ABOVE = ["P(at least -1 %)", "P(at least 0 %)", "P(at least 1 %)"]
NUMBERED = ["class 0", "class 1", "class 2", "class 3"]
NUMBERED_ABOVE = ["P(class > 0)", "P(class > 1)", "P(class > 2)"]


@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        ("dataset", ["DOWN", "UP"]),
        ("buckets", BUCKETS),
        ("buckets by hand", NUMBERED),
        ("coral", BUCKETS + ABOVE),
        ("coral by hand", NUMBERED + NUMBERED_ABOVE),
        ("regression", ["predicted", "true"]),
        ("regression by hand", ["predicted"]),
        ("float64", ["DOWN", "UP"]),
    ],
)
def test_prediction(name, outcomes):
    session = make_session(name)
    window = session.reading.window
    view = Prediction(session)
    output = output_of(session)
    if "coral" in name:
        above = sigmoid(output)
        expected = np.r_[classes_from(above), above]
        classes = 4
    elif "regression" in name:
        expected = np.r_[output, [window.forward_return] if window else []]
        classes = 0
    else:
        expected = softmax(output)
        classes = len(expected)
    frame = view.to_frame()
    assert list(frame) == ["outcome", "value", "before", "true"]
    assert frame["before"].tolist() == frame["value"].tolist()
    assert frame["outcome"].tolist() == outcomes
    np.testing.assert_allclose(frame["value"], expected, rtol=1e-4)
    truth = int(window.y) if window and classes else None
    assert frame["true"].tolist() == [row == truth for row in range(len(outcomes))]

    np.testing.assert_allclose(view.picture.bars.y, expected, rtol=1e-4)
    assert [view.picture.y_axis.tick_labels[str(row + 0.5)] for row in range(len(outcomes))] == [
        f"{outcome} (true)" if row == truth else outcome for row, outcome in enumerate(outcomes)
    ]
    said = plain(view.readout.value)
    assert ("true:" in said) == (truth is not None)
    if truth is not None:
        assert said.endswith(f"true: {outcomes[truth]}")
    if classes:
        likely = expected[:classes].argmax()
        assert view.plot.title == f"Prediction: {outcomes[likely]} {expected[likely]:.1%}"
        assert (view.picture.scales["x"].min, view.picture.scales["x"].max) == (0, 1)
    else:
        assert view.plot.title == f"Prediction: {output:+.4g}"
    if "coral" in name:
        assert len(set(view.picture.bars.colors[:4])) == len(set(view.picture.bars.colors[4:])) == 1
        assert view.picture.bars.colors[0] != view.picture.bars.colors[4]


def test_prediction_follows_the_sample(session):
    view = Prediction(session)
    truths = set()
    for sample in (0, 7, 21, 39):
        session.sample = sample
        np.testing.assert_allclose(view.picture.bars.y, softmax(output_of(session)), rtol=1e-5)
        truth = f"true: {['DOWN', 'UP'][int(session.dataset[sample][1])]}"
        truths.add(truth)
        assert truth in plain(view.readout.value)
    assert len(truths) == 2


@pytest.mark.parametrize(("y", "target"), [(0.5, 0), (1.5, 1), (0.0, 0), (2.0, 1), (-5.0, 0), (99.0, 1)])
def test_a_click_selects_what_is_explained_and_a_second_one_the_largest(session, y, target):
    view = Prediction(session)
    mouse(view.figure, "click", 0.1, y)
    assert session.target == target
    assert list(view.picture.bars.opacities) == [1.0 if row == target else 0.4 for row in range(2)]
    assert view.keyboard.says.startswith(["DOWN", "UP"][target])
    mouse(view.figure, "click", 0.1, y)
    assert session.target is None
    assert set(view.picture.bars.opacities) == {1.0}


def test_the_outcome_under_the_mouse(session):
    view = Prediction(session)
    chances = softmax(output_of(session))
    larger = ["DOWN", "UP"][chances.argmax()]
    assert f"saliency explains {larger}" in lines(view)[0]
    true = session.dataset.window(session.sample).y
    for place, name in enumerate(("DOWN", "UP")):
        mouse(view.figure, "mousemove", 0.1, place + 0.2)
        assert lines(view)[0] == f"{name}{' (true)' if place == true else ''} {chances[place]:.4g}"
    assert session.target is None
    mouse(view.figure, "mouseleave")
    assert f"saliency explains {larger}" in lines(view)[0]


def test_a_coral_model_explains_its_thresholds():
    session = make_session("coral")
    view = Prediction(session)
    for row in range(4):
        mouse(view.figure, "click", 0.1, row + 0.5)
        assert session.target is None
    for row in (4, 5, 6):
        mouse(view.figure, "click", 0.1, row + 0.5)
        assert session.target == row - 4
        assert np.argmax(view.picture.bars.opacities) == row


def test_a_regression_has_nothing_to_choose():
    session = make_session("regression")
    view = Prediction(session)
    for y in (0.5, 1.5):
        mouse(view.figure, "click", 0.1, y)
        assert session.target is None
        assert view.message.layout.display == "none"


def test_a_prediction_of_tensors_given_by_hand_knows_no_truth(session):
    view = Prediction(session)
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert "true" not in plain(view.readout.value)
    assert not view.to_frame()["true"].any()


# Prices


def raw_rows(session) -> pd.DataFrame:
    """The table's rows of the session's window."""
    ends = session.dataset.end_dates[session.sample], session.dataset.end_tickers[session.sample]
    rows = table()
    rows = rows[(rows["symbol"] == ends[1]) & (rows["date"] <= ends[0])]
    return rows.iloc[-8:]


def _under_the_mouse(view, x: float) -> str:
    mouse(view.figure, "mousemove", x, 0.0)
    return lines(view)[0]


@pytest.mark.parametrize("sample", [0, 5, 33])
def test_price_strip(session, sample):
    view = PriceStrip(session)
    session.sample = sample
    rows = raw_rows(session)
    close = rows["adjusted_close"].to_numpy()
    market = np.r_[1.0, np.cumprod(1 + rows["spy_ret_1d"].to_numpy()[1:])]
    expected = 100 * np.stack([close / close[0] - 1, market - 1])
    frame = view.to_frame()
    assert list(frame) == ["day", "adjusted_close", "close_change", "SPY_change"]
    assert frame["day"].tolist() == rows["date"].dt.strftime("%Y-%m-%d").tolist()
    np.testing.assert_array_equal(frame["adjusted_close"], close)
    np.testing.assert_allclose(frame[["close_change", "SPY_change"]].to_numpy().T, expected, atol=1e-9)

    x, y = drawn(view, "line")
    np.testing.assert_allclose(x, [np.arange(8) + 0.5] * 2)
    np.testing.assert_allclose(y, expected, atol=1e-9)
    assert view.picture.scales["y"].min == pytest.approx(expected.min())
    assert view.picture.scales["y"].max == pytest.approx(expected.max())
    ticker = rows["symbol"].iloc[0]
    assert view.plot.title == f"{ticker} and SPY, % since {frame['day'][0]}"
    for query, key in ((0, 7), (3, 2)):
        view.selection.query, view.selection.key = query, key
        assert marker(view) == [query + 0.5] * 2
        assert marker(view, "also") == [key + 0.5] * 2
        for said, day in ((lines(view)[0], query), (view.keyboard.says, query), (_under_the_mouse(view, 5.5), 5)):
            assert said.startswith(frame["day"][day])
            assert f"close {close[day]:.2f} ({expected[0, day]:+.1f} %)" in said
            assert f"SPY {expected[1, day]:+.1f} %" in said
        mouse(view.figure, "mouseleave")
        assert lines(view)[0].startswith(frame["day"][query])
    assert [mark.line_style for mark in view.picture.markers] == ["solid", "dashed"]


@pytest.mark.parametrize(("x", "day"), [(2.5, 2), (0.0, 0), (8.0, 7), (-3.0, 0), (50.0, 7)])
def test_a_click_on_the_price_strip_selects_the_query(session, x, day):
    view = PriceStrip(session, Selection(session, query=4, key=4))
    mouse(view.figure, "click", x, 0.0)
    assert (view.selection.query, view.selection.key) == (day, 4)


def test_prices_without_the_market():
    session = make_session("encoder")
    view = PriceStrip(session)
    assert list(view.to_frame()) == ["day", "adjusted_close", "close_change"]
    assert drawn(view, "line")[1].shape == (1, 8)
    assert "SPY" not in plain(view.readout.value) + view.plot.title
    assert view.plot.title == f"AAA, % since {days_of(session)[0]}"


def test_prices_of_one_day():
    view = PriceStrip(make_session("one day"))
    np.testing.assert_allclose(drawn(view, "line")[1], 0.0)
    assert view.picture.scales["y"].min < view.picture.scales["y"].max


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_prices_that_are_missing_at_first():
    rows = table().copy()
    rows.loc[rows.index < 5, "adjusted_close"] = np.nan
    session = ExtractorSession.from_dataset(model(), StockDataset(rows, STOCK, MARKET, lookback=8), index=0)
    assert session.reading.window.prices["adjusted_close"].isna().sum() == 5
    view = PriceStrip(session)
    assert "nan" not in plain(view.readout.value)
    close = rows["adjusted_close"].to_numpy()[:8]
    np.testing.assert_array_equal(view.to_frame()["adjusted_close"], close)
    # The days that have a price are drawn.
    assert np.isfinite(drawn(view, "line")[1][0, 5:]).all()


class Doubled(nn.Module):
    """Attends to twice as many days as there are."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(len(STOCK), 1, batch_first=True)

    def forward(self, x, market_x):
        twice = torch.cat([x, x], dim=1)
        return self.attention(twice, twice, twice)[0].mean(dim=1)


def test_prices_of_a_model_that_attends_to_more_days(tmp_path):
    session = ExtractorSession.from_dataset(Doubled(), dataset())
    view = PriceStrip(session)
    assert view.selection.query == 15
    assert marker(view) == marker(view, "also") == [7.5, 7.5]
    assert view.save_png(tmp_path / "prices.png").exists()


def test_escape_explains_the_largest_again(session):
    view = Prediction(session)
    press(view, "ArrowDown")
    assert session.target is not None
    press(view, "Escape")
    assert session.target is None


def test_a_volatility_is_not_called_a_return():
    windows, forecaster = load_sample("volatility")
    session = ExtractorSession.from_dataset(forecaster, windows, windows.index_of("2008-10-15", "AAPL"))
    rows = sample_table().query("symbol == 'AAPL'")
    start = rows["date"].tolist().index("2008-10-15")
    returns = np.diff(np.log(rows["adjusted_close"].to_numpy()[start : start + 11]))
    truth = f"{np.sqrt(252 * np.mean(returns**2)):.1%} a year"
    predicted = f"{np.exp(output_of(session)):.1%} a year"
    explorer, view = AttentionExplorer(session), Prediction(session)
    assert f"volatility of the next 10 days: {truth}" in explorer.headline.value
    assert "return" not in explorer.headline.value
    words = f"predicted: {predicted} · true: {truth} (bars: log of annualised volatility)"
    assert words in plain(view.readout.value)
