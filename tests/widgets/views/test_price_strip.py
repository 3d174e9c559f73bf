"""The price strip against the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from cases import MARKET, STOCK, dataset, days_of, drawn, lines, make_session, marker, model, mouse, table
from expected import output_of
from shipped import shipped_sample
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.sample import sample_table
from stockformer_widgets import AttentionExplorer, ExtractorSession, Prediction, PriceStrip, Selection


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
        for said, day in (
            (lines(view)[0], query),
            (view.keyboard.announcement, query),
            (_under_the_mouse(view, 5.5), 5),
        ):
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
    assert "SPY" not in "\n".join(lines(view)) + view.plot.title
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
    assert "nan" not in "\n".join(lines(view))
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
    view.selection.key = 15
    assert marker(view) == marker(view, "also") == [7.5, 7.5]
    assert view.save_png(tmp_path / "prices.png").exists()


def test_a_volatility_is_not_called_a_return():
    windows, forecaster = shipped_sample("volatility")
    session = ExtractorSession.from_dataset(forecaster, windows, windows.index_of("2008-10-15", "AAPL"))
    rows = sample_table().query("symbol == 'AAPL'")
    start = rows["date"].tolist().index("2008-10-15")
    returns = np.diff(np.log(rows["adjusted_close"].to_numpy()[start : start + 11]))
    truth = f"{100 * np.sqrt(252 * np.mean(returns**2)):.1f} % a year"
    predicted = f"{100 * np.exp(output_of(session)):.1f} % a year"
    explorer, view = AttentionExplorer(session), Prediction(session)
    outcome = f"olatility of the next 10 days: predicted {predicted}, actually {truth}"
    assert f"v{outcome}" in explorer.headline.value
    assert "return" not in explorer.headline.value
    assert view.chart.summary.verdict == f"V{outcome}."


def test_the_bars_of_a_volatility_are_volatilities():
    """Of its logarithm, which is negative, the longer bar would be the lower volatility."""
    windows, forecaster = shipped_sample("volatility")
    session = ExtractorSession.from_dataset(forecaster, windows, windows.index_of("2008-10-15", "AAPL"))
    view, value = Prediction(session), float(output_of(session))
    truth = windows.window(session.sample).target_value
    np.testing.assert_allclose(view.picture.bars.y, np.exp([value, truth]), rtol=1e-5)
    np.testing.assert_allclose(view.to_frame()["value"], [value, truth], rtol=1e-5)
    assert view.plot.title == f"Prediction: {100 * np.exp(value):.1f} % a year"
    assert f"the log of annualised volatility: {value:.4g} (true: {truth:.4g})" in "\n".join(lines(view))
    session.what_if(gate={0: 0.0})
    after = float(session.prediction().outputs[0])
    change = f"The prediction goes from {100 * np.exp(value):.1f} % a year to {100 * np.exp(after):.1f} % a year."
    assert session.effect().verdict == change
