"""The shipped model of volatility and its card, against plain computations from the shipped prices."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from shipped import shipped_sample

from stockformer.sample import load_sample, sample_table
from stockformer.sample_data.volatility import CARD, baselines, evaluated, figures, interval, r_squared

SPLIT = pd.Timestamp("2011-01-14")


@pytest.fixture(scope="module")
def shipped():
    return shipped_sample("volatility")


@pytest.fixture(scope="module")
def windows(shipped):
    dataset, model = shipped
    return evaluated(model, dataset)


@pytest.fixture(scope="module")
def plain():
    """Of every row of the table: the target, when it is known, and past volatilities."""
    table, made = sample_table(), []
    for ticker, rows in table.groupby("symbol"):
        days = pd.to_datetime(rows["date"]).to_numpy()
        squares = np.r_[np.nan, np.diff(np.log(rows["adjusted_close"].to_numpy())) ** 2]
        ranges = (np.log(rows["high"] / rows["low"]) ** 2 / (4 * np.log(2))).to_numpy()

        def volatility(variance, first, last, squares=squares):
            """Over the days first + 1 to last, counted from each row."""
            values = np.full(len(variance), np.nan)
            for t in range(max(0, -first), len(variance) - max(0, last)):
                values[t] = 0.5 * np.log(252 * np.mean(variance[t + first + 1 : t + last + 1]))
            return values

        columns = {
            "truth": volatility(squares, 0, 10),
            "persistence": volatility(squares, -10, 0),
            "day": volatility(ranges, -1, 0),
            "week": volatility(squares, -5, 0),
            "month": volatility(squares, -22, 0),
            "range_week": volatility(ranges, -5, 0),
            "range_month": volatility(ranges, -22, 0),
        }
        known = np.r_[days[10:], np.full(10, np.datetime64("NaT"))]
        made.append(pd.DataFrame({"ticker": ticker, "date": days, "known": known} | columns))
    return pd.concat(made, ignore_index=True)


@pytest.fixture(scope="module")
def parts(plain, shipped):
    """Rows of `plain` that end a window, by part, as their dates say."""
    ends = plain[(plain.groupby("ticker").cumcount() >= shipped[0].lookback - 1) & plain["truth"].notna()]
    days = np.sort(plain["date"].unique())
    later = days[days > SPLIT]
    half = later[len(later) // 2]
    return {
        "train": ends[ends["known"] <= SPLIT],
        "validation": ends[(ends["date"] > SPLIT) & (ends["known"] < half)],
        "test": ends[ends["date"] >= half],
    }


@pytest.mark.parametrize("part", ["validation", "test"])
def test_the_windows_and_their_forecasts(windows, parts, part):
    ours, theirs, train = windows[windows["part"] == part], parts[part], parts["train"]
    assert ours["date"].tolist() == theirs["date"].tolist()
    expected = {"truth": theirs["truth"], "persistence": theirs["persistence"], "training mean": train["truth"].mean()}
    for name, columns in (
        ("HAR", ["day", "week", "month"]),
        ("HAR of ranges", ["day", "range_week", "range_month"]),
    ):
        known = train[train["month"].notna()]
        slopes = np.linalg.lstsq(np.c_[np.ones(len(known)), known[columns]], known["truth"])[0]
        expected[name] = np.c_[np.ones(len(theirs)), theirs[columns]] @ slopes
    for name, values in expected.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-9, err_msg=name)


def test_the_card_holds_what_the_checkpoint_scores(shipped, parts):
    dataset, model = shipped
    text = CARD.read_text(encoding="utf-8")
    ends = {
        (ticker, end): i for i, (ticker, end) in enumerate(zip(dataset.end_tickers, dataset.end_dates, strict=True))
    }
    mean = parts["train"]["truth"].mean()
    header, row = (re.search(rf"^\| {words} \|.*$", text, re.M)[0] for words in ("R2, out of sample", "model"))
    card = dict(zip(header.split(" | ")[1:], row.strip(" |").split(" | ")[1:], strict=False))
    for part in ("validation", "test"):
        rows = parts[part]
        samples = [dataset[ends[key]] for key in zip(rows["ticker"], rows["date"], strict=True)]
        with torch.no_grad():
            outputs = model(*(torch.stack([sample[k] for sample in samples]) for k in (0, 2))).double().numpy()
        r2 = 1 - ((outputs - rows["truth"]) ** 2).sum() / ((mean - rows["truth"]) ** 2).sum()
        assert float(card[part]) == pytest.approx(r2, abs=0.002)


def test_the_card_is_what_the_command_writes(windows):
    assert CARD.read_text(encoding="utf-8").endswith(f"-->\n\n{figures(windows)}")


def test_it_beats_persistence(windows):
    """As the card says."""
    test = windows[windows["part"] == "test"]
    assert interval(test, "persistence")[0] > 0
    assert "beats persistence" in figures(windows)


def test_r_squared():
    windows = pd.DataFrame({"truth": [1.0, 2.0, 4.0], "model": [1.0, 3.0, 4.0], "mean": [2.0, 2.0, 2.0]})
    assert r_squared(windows, "mean") == pytest.approx(1 - 1 / 5)
    assert r_squared(windows, "model", "mean") == pytest.approx(1 - 5 / 1)
    assert r_squared(windows, "mean", "mean") == 0


def test_intervals_hold_the_truth():
    """Errors of forecasts over ten days that overlap, of four tickers that share half of them."""
    rng = np.random.default_rng(4)

    def errors(days):
        shocks = rng.normal(size=(5, days + 9))
        sums = np.cumsum(np.c_[np.zeros(4), shocks[1:] + shocks[0]], axis=1)
        return sums[:, 10:] - sums[:, :-10]

    def draw(days):
        model, other = errors(days), errors(days)
        date = np.tile(np.arange(days), 4)
        return pd.DataFrame(
            {"date": date, "truth": 0.0, "model": model.ravel(), "base": (0.7 * model + 0.9 * other).ravel()}
        )

    truth = r_squared(draw(50_000), "base")
    intervals = np.array([interval(draw(257), "base", resamples=300) for _ in range(100)])
    held = (intervals[:, 0] <= truth) & (truth <= intervals[:, 1])
    assert held.mean() >= 0.785  # as the card says


def test_too_few_days_for_an_interval(windows):
    few = windows[windows["date"] >= windows["date"].max() - pd.Timedelta(days=40)]
    assert np.isnan(interval(few, "persistence")).all()


def test_the_models_by_name(shipped):
    dataset, model = shipped
    assert (dataset.target_column.name, model.label_mode) == ("volatility_10d", "regression")
    assert shipped_sample()[0].target_column.name == "close_3d_fwd_return"
    with pytest.raises(ValueError, match=r"there is no shipped model 'crash', expected 'direction' or 'volatility'"):
        load_sample("crash")


def test_baselines_know_nothing_of_later_prices(shipped):
    """Beyond the parameters, which the training windows give."""
    dataset, _ = shipped
    before = baselines(dataset)
    day = dataset.end_dates.max()
    changed = sample_table()
    dates = pd.to_datetime(changed["date"])
    changed.loc[dates >= day, ["adjusted_close", "high"]] *= 1.5
    after = baselines(type(dataset)(changed, **dataset.settings))
    early = np.flatnonzero(dataset.end_dates < day)
    pd.testing.assert_frame_equal(before.iloc[early], after.iloc[early])
