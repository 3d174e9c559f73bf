"""What the history draws: against plain pandas and scipy, and planted qualities."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from small_market import make_dataset, make_model

from stockformer.charts.history import (
    HIT_RATE,
    chosen_windows,
    market_context,
    measure_history,
    quality_history,
    quality_summary,
)
from stockformer.survey import history, sample_survey, survey
from stockformer.survey.history import Filter, Range


@pytest.fixture(scope="module", params=["binary", "regression"])
def surveyed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("history") / "run"
    return survey(make_model(request.param), make_dataset(request.param), folder, progress=False)


def test_lines_are_means_by_date_and_ticker(surveyed):
    frame = surveyed.to_frame()
    by_date = history.measure_by_date(surveyed, "market_share").set_index("date")
    expected = frame.pivot(index="date", columns="ticker", values="market_share")
    np.testing.assert_allclose(by_date[expected.columns], expected)
    calm = history.measure_by_date(surveyed, "market_share", Filter(regime="calm", ticker="T1")).set_index("date")
    wanted = frame[(frame["regime"] == "calm") & (frame["ticker"] == "T1")].set_index("date")["market_share"]
    np.testing.assert_allclose(calm["T1"], wanted)


def test_many_tickers_are_a_band(surveyed, monkeypatch):
    monkeypatch.setattr(history, "MOST_LINES", 4)
    band = history.measure_by_date(surveyed, "market_share").set_index("date")
    grouped = surveyed.to_frame().groupby("date")["market_share"]
    for column, quantile in (("median", 0.5), ("low", 0.1), ("high", 0.9)):
        np.testing.assert_allclose(band[column], grouped.quantile(quantile), rtol=1e-6)


def test_long_calendars_are_drawn_by_week(surveyed, monkeypatch):
    monkeypatch.setattr(history, "_MOST_DATES", 50)
    weekly = history.measure_by_date(surveyed, "gate_layer_0").set_index("date")
    frame = surveyed.to_frame()
    monday = frame["date"] - pd.to_timedelta(frame["date"].dt.day_of_week, unit="D")
    expected = frame.groupby([monday, "ticker"])["gate_layer_0"].mean().unstack()
    np.testing.assert_allclose(weekly, expected, rtol=1e-6)


def test_quality_is_the_hit_rate_or_the_rank_correlation_of_every_day(surveyed):
    frame, daily = surveyed.to_frame(), history.daily_quality(surveyed)
    for date in list(daily.index[::17]):
        day = frame[frame["date"] == date]
        expected = day["correct"].mean() if "correct" in day else spearmanr(day["score"], day["outcome"]).statistic
        assert daily[date] == pytest.approx(expected)


def test_the_quality_is_of_the_windows_that_the_filter_leaves(surveyed):
    frame = surveyed.to_frame()
    median = frame["volatility"].median()
    daily = history.daily_quality(surveyed, Filter(ranges=(Range("volatility", 0.0, median),)))
    left, expected = frame[frame["volatility"] <= median], {}
    for date, day in left.groupby("date"):
        if "correct" in day:
            expected[date] = day["correct"].mean()
        elif len(day) >= 3:
            expected[date] = spearmanr(day["score"], day["outcome"]).statistic
    assert 0 < (left.groupby("date").size() < 3).sum() < left["date"].nunique()
    pd.testing.assert_series_equal(
        daily, pd.Series(expected), check_names=False, check_freq=False, check_index_type=False
    )
    alone = history.daily_quality(surveyed, Filter(ticker="T1"))
    assert len(alone) == ((frame["ticker"] == "T1").sum() if "correct" in frame else 0)


def test_rounding_is_no_correlation(tmp_path):
    surveyed = survey(make_model("regression"), make_dataset("regression"), tmp_path / "run", progress=False)
    place = "substr(ticker::VARCHAR, 2)::INTEGER"
    surveyed._connection.execute(f"UPDATE windows SET score = {place}, outcome = abs({place} - 2) > 0")
    assert (history.daily_quality(surveyed) == 0).all()


def test_ties_have_the_mean_of_their_ranks(tmp_path):
    surveyed = survey(make_model("regression"), make_dataset("regression"), tmp_path / "run", progress=False)
    connection = surveyed._connection
    connection.execute("UPDATE windows SET score = round(score, 1)")
    frame, daily = surveyed.to_frame(), history.daily_quality(surveyed)
    assert frame.groupby("date")["score"].nunique().min() < 5
    for date in list(daily.index[::17]):
        day = frame[frame["date"] == date]
        assert daily[date] == pytest.approx(spearmanr(day["score"], day["outcome"]).statistic)


def test_the_interval_of_the_quality_holds_a_planted_one():
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2000-01-01", periods=history.QUALITY_DAYS)
    held = 0
    for _ in range(300):
        noise = rng.normal(size=len(dates) + 4)
        daily = pd.Series(0.3 + np.convolve(noise, np.ones(5) / 5, "valid"), dates)  # five days share what they are of
        _, low, high = history.mean_quality(daily, horizon=5)
        held += low <= 0.3 <= high
    assert 0.92 <= held / 300 <= 0.98


def test_the_quality_rolls_over_the_last_days_of_a_period():
    dates = pd.bdate_range("2000-01-01", periods=500)
    daily = pd.Series(np.random.default_rng(1).normal(size=500), dates)
    periods = {"training": daily[:200], "later": daily[200:]}
    rolling = history.rolling_quality(periods, 1, points=10)
    assert rolling.groupby("period")["date"].agg(["size", "min", "max"]).loc[["training", "later"]].values.tolist() == [
        [10, dates[125], dates[199]],
        [10, dates[325], dates[499]],
    ]
    for row in rolling.itertuples():
        mean = periods[row.period][: row.date].iloc[-history.QUALITY_DAYS :].mean()
        assert row.value == pytest.approx(mean)
    assert history.rolling_quality({"training": daily[:50]}, 1).empty

    calendar = pd.DataFrame({"date": dates, "volatile": 0.0})
    overall = quality_summary(HIT_RATE, {"training": (0.5, 0.4, 0.6)})
    chart = quality_history(rolling, calendar, HIT_RATE, overall, 126)
    for line, (first, last) in zip(chart.body.lines, [(125, 199), (325, 499)], strict=True):
        drawn = first + np.flatnonzero(np.isfinite(line.values))
        assert 500 - len(line.values) == first
        assert (drawn[0], drawn[-1]) == (first, last)  # nothing is drawn in the first days of the later period
    width = chart.body.band.high - chart.body.band.low
    assert np.isin(np.flatnonzero(width), [*range(125, 200), *range(325, 500)]).all()
    assert [note.text.split(": ")[1] for note in chart.notes] == ["the line of a period starts on its day 126"]

    filtered = quality_history(rolling, calendar, HIT_RATE, overall, 126, "calm days")
    assert filtered.title == "Hit rate, mean over 126 days with its 95 % interval, calm days"
    assert filtered.notes[1].text.startswith("dates without enough such windows have no quality: the line holds")


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (Filter(days=(pd.Timestamp("1990-01-01"), pd.Timestamp("1990-01-02"))), "the filter leaves no window"),
        (
            Filter(ticker="T1"),
            "it ranks the tickers of a day, and needs at least 3 whose predictions and outcomes differ",
        ),
    ],
)
def test_why_there_is_no_quality(surveyed, where, reason):
    periods = history.quality_by_period(surveyed, history.daily_quality(surveyed, where))
    known = where.ticker is not None and surveyed.manifest["classes"]  # a hit rate needs one ticker only
    assert bool(periods) == bool(known)
    if not known:
        name, missing = history.quality_name(surveyed), history.why_no_quality(surveyed, where)
        assert quality_summary(name, periods, missing).verdict == f"{name.capitalize()}: not known, because {reason}."


def test_bins_hold_every_window_once(surveyed):
    values = surveyed.to_frame()["market_share"]
    bins = history.histogram(surveyed, "market_share")
    counts, edges = np.histogram(values, bins=len(bins), range=(values.min(), values.max()))
    assert bins["count"].sum() == len(surveyed)
    assert np.abs(bins["count"] - counts).sum() <= 2  # a value on an edge
    np.testing.assert_allclose(bins["low"], edges[:-1], rtol=1e-6)


def test_points_are_the_windows_and_a_density_counts_them(surveyed):
    frame = surveyed.to_frame()
    points = history.scatter(surveyed, "volatility", "market_share")
    np.testing.assert_allclose(points, frame[["volatility", "market_share"]])
    calm = frame[frame["regime"] == "calm"]
    density = history.density(surveyed, "volatility", "market_share", Filter(regime="calm"))
    for ends, column in ((density.x, "volatility"), (density.y, "market_share")):
        np.testing.assert_allclose(ends, (calm[column].min(), calm[column].max()))
    expected, *_ = np.histogram2d(calm["market_share"], calm["volatility"], density.counts.shape)
    assert density.counts.sum() == len(calm)
    assert np.abs(density.counts - expected).sum() <= 4  # a value on an edge is in one of two cells
    assert history.density(surveyed, "volatility", "market_share", Filter(ticker="none")) is None


def test_values_that_are_no_finite_numbers_are_left_out(tmp_path):
    surveyed = survey(make_model(), make_dataset(), tmp_path / "run", progress=False)
    surveyed._connection.execute(
        "UPDATE windows SET market_share = CASE \"window\" % 3 WHEN 0 THEN 'nan' WHEN 1 THEN 'inf' "
        "ELSE market_share END::FLOAT"
    )
    known = surveyed.to_frame()["market_share"][2::3]
    assert history.histogram(surveyed, "market_share")["count"].sum() == len(known)
    assert history.density(surveyed, "market_share", "volatility").x == (known.min(), known.max())
    assert list(history.scatter(surveyed, "market_share", "volatility")["x"]) == list(known)


def test_rows_are_sorted_by_any_column(surveyed):
    rows = history.window_table(surveyed, ["error"], order="error", descending=True, rows=7)
    expected = surveyed.to_frame().sort_values("error", ascending=False).head(7)
    np.testing.assert_allclose(rows["error"], expected["error"])
    with pytest.raises(ValueError, match="there is no column 'moon'"):
        history.window_table(surveyed, ["moon"])
    with pytest.raises(ValueError, match="there is no measure 'ticker', only"):
        history.measure_by_date(surveyed, "ticker")


def test_filters_in_words_and_their_windows(surveyed):
    days = pd.Timestamp("2020-02-03"), pd.Timestamp("2020-03-31")
    where = Filter(ticker="T2", regime="volatile", days=days)
    frame = surveyed.to_frame()
    expected = frame[(frame["ticker"] == "T2") & (frame["regime"] == "volatile") & frame["date"].between(*days)]
    np.testing.assert_array_equal(history.windows_where(surveyed, where), expected["window"])
    assert where.words == "T2, volatile days, 2020-02-03 to 2020-03-31"
    assert history.count_words(surveyed, where) == f"{len(expected)} of {len(frame)} windows"
    assert history.count_words(surveyed, Filter()) == f"{len(frame)} windows"


def test_ranges_of_measures_and_their_windows(surveyed):
    frame = surveyed.to_frame()
    low, high = frame["volatility"].quantile([0.2, 0.7])
    error = frame["error"].median()
    where = Filter(regime="calm", ranges=(Range("volatility", low, high), Range("error", 0.0, error)))
    calm = frame[(frame["regime"] == "calm") & frame["volatility"].between(low, high) & (frame["error"] <= error)]
    np.testing.assert_array_equal(history.windows_where(surveyed, where), calm["window"])
    assert where.words == (
        f"calm days, volatility per day {100 * low:#.3g} % to {100 * high:#.3g} %, error 0.00 to {error:#.3g}"
    )
    volatile = where.limited({"error": None, "volatility": (low, low)})
    assert volatile == Filter(regime="calm", ranges=(Range("volatility", low, low),))
    assert volatile.limited({"volatility": None}) == Filter(regime="calm")


def test_a_range_is_in_the_unit_of_its_axis():
    where = Filter(ranges=(Range("prediction", np.log(0.2), np.log(0.3)),))
    assert where.words == "prediction -1.61 to -1.20"


@pytest.mark.parametrize("ends", [(1.0, 0.5), (np.nan, 1.0), (0.0, np.inf)])
def test_a_range_has_two_ends_in_order(ends):
    with pytest.raises(ValueError, match=r"the range of error is .* expected finite numbers, the smaller first"):
        Range("error", *ends)


def test_sentences_say_what_the_numbers_are(surveyed):
    calendar = history.calendar(surveyed)
    frame = surveyed.to_frame()
    chart = measure_history(history.measure_by_date(surveyed, "market_share"), calendar, "market_share")
    by_day = frame.groupby("date")["market_share"].mean()
    monthly = by_day.groupby(by_day.index.to_period("M")).mean()
    volatile = frame.groupby("date")["regime"].first() == "volatile"
    highest, lowest, wild, calm = (
        f"{100 * value:#.3g} %"
        for value in (monthly.max(), monthly.min(), by_day[volatile].mean(), by_day[~volatile].mean())
    )
    assert chart.body.y.name(0.25) == "25 %"
    assert chart.body.lines[0].words[0] == f"{100 * chart.body.lines[0].values[0]:#.3g} %"
    assert chart.summary.verdict == (
        f"Highest in {monthly.idxmax()} ({highest}) and lowest in {monthly.idxmin()} ({lowest}); "
        f"{wild} on the volatile quarter of days, {calm} on the others: means over dates, each the mean over tickers. "
        "Compare two groups to see whether that is more than chance."
    )
    assert chart.notes[-1].text.startswith(
        "market share by input x gradient; "
    )  # a window's own attribution has another share
    other = measure_history(history.measure_by_date(surveyed, "error"), calendar, "error")
    assert not [note for note in other.notes if "gradient" in note.text]
    assert other.body.y.name(0.25) == "0.25"
    assert [line.name for line in chart.body.lines] == sorted(frame["ticker"].unique())
    shaded, volatility = market_context(calendar).body.lines
    np.testing.assert_array_equal([word == "yes" for word in shaded.words], volatile)
    np.testing.assert_allclose(volatility.values, frame.groupby("date")["volatility"].mean())


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ([0.3, 0.1, 0.5, 0.2], "Market share: highest for B, 2020-01-01 (50.0 %), lowest for A, 2020-01-02 (10.0 %)."),
        ([0.3, np.nan, 0.30001, 0.3], "Market share is 30.0 % in every window that has one."),
        ([np.nan] * 4, "No window has a market share."),
    ],
)
def test_chosen_windows_are_dots_that_nothing_joins(shares, verdict):
    dates = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-01", "2020-01-03"])
    frame = pd.DataFrame({"date": dates, "ticker": list("AABB"), "market_share": shares, "error": 1.0})
    chart = chosen_windows(frame)
    assert chart.summary.verdict == verdict
    assert [note.text[:12] for note in chart.notes] == ["market share"]
    body = dict(chart.body.panels)["market share"]
    for place, line in enumerate(body.lines):
        assert line.name == frame["ticker"][place]
        np.testing.assert_array_equal(line.values, [shares[place], *[np.nan] * (3 - place)])
        assert [line.name for line, _ in body.words(place)] == [line.name]
    assert chart.legend == (("A", body.lines[0].color), ("B", body.lines[2].color))


@pytest.mark.parametrize("column", ["T1", "median"])
def test_gaps_are_those_inside_the_line(column):
    dates = pd.bdate_range("2020-01-01", periods=10)
    calendar = pd.DataFrame({"date": dates, "volatile": 0.0})
    ends = {"low": 0.2, "high": 0.4} if column == "median" else {}

    def chart_of(places):
        frame = pd.DataFrame({"date": dates[places], column: 0.3}).assign(**ends)
        return measure_history(frame, calendar, "error")

    chart = chart_of([2, 3, 6])
    assert chart.notes[0].text == f"lines run straight over dates without a value: 2 of 5 for {column}"
    for values in [chart.body.lines[0].values, *([chart.body.band.high] if ends else [])]:
        assert list(np.isfinite(values)) == [True] * 5 + [False] * 3
    assert not chart_of([2, 3]).notes
    assert not chart_of([]).notes


def test_gaps_are_counted_for_each_line():
    dates = pd.bdate_range("2020-01-01", periods=10)
    values = {"T0": [*[np.nan] * 2, 1, 2, np.nan, 3, *[np.nan] * 4], "T1": [1, *[np.nan] * 8, 2], "T2": range(10)}
    frame = pd.DataFrame({"date": dates, **values})
    chart = measure_history(frame, pd.DataFrame({"date": dates, "volatile": 0.0}), "error")
    assert chart.notes[0].text == "lines run straight over dates without a value: 1 of 4 for T0, 8 of 10 for T1"


def test_a_ticker_keeps_its_colour_whatever_the_filter_leaves(surveyed):
    calendar = history.calendar(surveyed)

    def colors(where):
        chart = measure_history(history.measure_by_date(surveyed, "error", where), calendar, "error")
        assert list(chart.table) == ["date", *(line.name for line in chart.body.lines)]
        return {line.name: line.color for line in chart.body.lines}

    frame, every = surveyed.to_frame(), colors(Filter())
    assert len(set(every.values())) == 5
    assert colors(Filter(ticker="T3")) == {"T3": every["T3"]}
    low, high = frame.groupby("ticker", observed=True)["volatility"].min().sort_values().iloc[[0, 2]]
    some = colors(Filter(ranges=(Range("volatility", low, high - 1e-9),)))
    assert 1 < len(some) < 5
    assert some.items() <= every.items()


@pytest.mark.parametrize(
    ("where", "verdict"),
    [
        (Filter(days=(pd.Timestamp("1990-01-01"), pd.Timestamp("1990-01-02"))), "The filter leaves no window."),
        (
            Filter(ticker="T1", days=(pd.Timestamp("2020-02-03"), pd.Timestamp("2020-02-03"))),
            "{} in 2020-02: means over dates.",
        ),
    ],
)
def test_sentences_of_few_windows(surveyed, where, verdict):
    calendar = history.calendar(surveyed)
    chart = measure_history(history.measure_by_date(surveyed, "error", where), calendar, "error")
    value = surveyed.to_frame()["error"][history.windows_where(surveyed, where)].mean()
    assert chart.summary.verdict == verdict.format(f"{value:#.3g}")
    assert not chart.summary.findings


def test_medians_are_said_to_be_medians(surveyed, monkeypatch):
    monkeypatch.setattr(history, "MOST_LINES", 4)
    calendar = history.calendar(surveyed)
    many = measure_history(history.measure_by_date(surveyed, "error"), calendar, "error")
    assert ": means over dates, each the median over windows. Compare" in many.summary.verdict
    frame = history.measure_by_date(surveyed, "error", Filter(ticker="T3"))
    assert list(frame) == ["date", "T3"]
    one = measure_history(frame, calendar, "error")
    assert ": means over dates. Compare" in one.summary.verdict


@pytest.mark.parametrize("target", ["volatility_10d", "close_10d_fwd_return"])
def test_numbers_in_words(target):
    shown = sample_survey()
    shown.manifest = {**shown.manifest, "target": target}
    said = {"volatility_10d": f"{100 * np.exp(-0.25):.1f} % a year", "close_10d_fwd_return": "-25.0 %"}[target]
    assert [shown.in_words(name, -0.25) for name in ("prediction", "label", "outcome", "value")] == [said] * 4
    assert shown.in_words("error", 0.12345) == "0.123"
    assert shown.in_words("market_share", 0.51994) == "52.0 %"
    assert shown.in_words("market_share", np.nan) == ""


def test_a_quality_that_is_not_known_is_not_drawn():
    calendar = pd.DataFrame({"date": pd.bdate_range("2020-01-01", periods=30), "volatile": 0.0})
    overall = quality_summary(HIT_RATE, {"in all": (np.nan, np.nan, np.nan)})
    chart = quality_history(history.rolling_quality({}, 1), calendar, HIT_RATE, overall, 126)
    assert not chart.body.lines
    assert overall.verdict == "Hit rate: unknown in all."
