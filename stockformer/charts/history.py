"""Charts over the calendar of a survey: prices, a measure, and the quality of predictions, on the same dates."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from torch import Tensor

from stockformer.charts.chart import (
    GREY,
    LINE_COLORS,
    NEUTRAL,
    Axis,
    Band,
    Chart,
    Heatmap,
    Line,
    Lines,
    Note,
    Panels,
    Scale,
    finite_range,
    formatted,
    line_colors,
)
from stockformer.charts.figures import day_labels
from stockformer.charts.maps import day_map, largest_value
from stockformer.explainability.measures import MEASURES
from stockformer.explainability.sentences.summary import Finding, Summary
from stockformer.survey.drift import Drift
from stockformer.survey.words import in_percent, named, number_words

#: The field that a click on a date sets, of a view's own selection.
DATE = "date"
#: The field that a click on one of the windows of a page sets.
SAMPLE = "sample"
HIT_RATE = "hit rate"


def market_context(calendar: pd.DataFrame) -> Chart:
    """Volatility by date, the volatile regime shaded.

    Args:
        calendar: ``date, volatility`` and ``volatile``, the share of a date's windows in that regime; NaN where no
            window has a regime.
    """
    volatility = calendar["volatility"].to_numpy()
    low, high = finite_range([volatility], 0.0)
    shaded = np.where(calendar["volatile"] > 0.5, high, low)
    regime = ["unknown" if np.isnan(share) else "yes" if share > 0.5 else "no" for share in calendar["volatile"]]
    lines = (
        Line("volatile quarter of days", shaded, regime, GREY, "area"),
        Line("volatility", volatility, [f"{100 * value:.2f} %" for value in volatility], NEUTRAL),
    )
    return Chart(
        title="Volatility of daily returns in the window, mean over tickers",
        body=Lines(lines, _dates(calendar["date"]), Scale(low, high, "volatility", form="%")),
        make_table=calendar.copy,
    )


def form_of(column: str) -> str:
    """How the numbers of a survey's column are written, see `stockformer.charts.chart.formatted`."""
    return "%" if in_percent(column) else ".4g"


def scale_of(column: str, low: float, high: float) -> Scale:
    """The axis of a survey's column."""
    return Scale(low, high, named(column), form="%" if in_percent(column) else "")


def measure_history(frame: pd.DataFrame, calendar: pd.DataFrame, column: str, filtered: str = "") -> Chart:
    """A measure by date: a line per ticker that has a value, or the median with a band.

    A ticker has the colour of its place among the columns, whatever a filter leaves of the others.

    Args:
        frame: of `stockformer.survey.history.measure_by_date`.
        column: name of the measure.
        calendar: ``date`` and ``volatile``, see `market_context`.
        filtered: which windows are left, in words.
    """
    dates = pd.DatetimeIndex(calendar["date"])
    values = frame.set_index("date").reindex(dates)
    band = None
    if "median" in values:
        ends = values[["low", "high"]].loc[values["median"].first_valid_index() :].interpolate(limit_area="inside")
        band = Band(ends["low"].to_numpy(), ends["high"].to_numpy(), NEUTRAL) if len(frame) else None
        values = values[["median"]]
    colors = dict(zip(values, line_colors(len(values.columns)), strict=True))
    values = values.dropna(axis=1, how="all")
    form = form_of(column)
    lines = tuple(_line(str(one), values[one], colors[one], form) for one in values)
    low, high = finite_range([frame.drop(columns="date").to_numpy(dtype=float)])
    return Chart(
        title=f"{_title(named(column))} by date" + (f", {filtered}" if filtered else ""),
        body=Lines(lines, _dates(calendar["date"]), scale_of(column, low, high), band),
        make_table=lambda: frame.dropna(axis=1, how="all"),
        summary=_measure_summary(values, calendar["volatile"].to_numpy(), column)
        if len(frame)
        else Summary("The filter leaves no window.", ()),
    ).noting(Note(_gaps(values)), _method(named(column)))


def _gaps(values: pd.DataFrame) -> str:
    """Over how many dates each line is drawn without a value, in words; empty if over none."""
    drawn = {str(name): line.loc[line.first_valid_index() : line.last_valid_index()] for name, line in values.items()}
    parts = [f"{line.isna().sum():,} of {len(line):,} for {name}" for name, line in drawn.items() if line.isna().any()]
    return f"lines run straight over dates without a value: {', '.join(parts)}" if parts else ""


def _method(name: str) -> Note:
    """How a share of the attribution is measured, which is not how the explorer explains a single window."""
    if name != "market share":
        return Note("")
    words = (
        f"{name} by input x gradient; integrated gradients, which explain a single window by default, give other shares"
    )
    return Note(words, f"{name} = {MEASURES[name]}")


def drift_history(drift: Drift, calendar: pd.DataFrame, filtered: str = "") -> Chart:
    """A measure by quarter with its 95 % interval, and its level between the dates on which that changes.

    Args:
        drift: of `stockformer.survey.drift`.
        calendar: ``date``, see `market_context`.
        filtered: which windows are left, in words.
    """
    dates, name, form = pd.DatetimeIndex(calendar["date"]), named(drift.measure), form_of(drift.measure)
    quarters = drift.quarters.set_index("quarter").reindex(dates, method="ffill")
    ends = quarters[["low", "high"]].bfill().to_numpy(dtype=float)
    band = Band(ends[:, 0], ends[:, 1], NEUTRAL) if np.isfinite(ends).all() and len(ends) else None
    lines = (
        _line("mean of the quarter", quarters["mean"], NEUTRAL, form, "step"),
        _line("level between changes", drift.levels.reindex(dates, method="ffill"), LINE_COLORS[1], form, "step"),
    )
    low, high = finite_range([drift.quarters[["mean", "low", "high"]].to_numpy(dtype=float)])
    return Chart(
        title=f"{_title(name)} by quarter with its 95 % interval" + (f", {filtered}" if filtered else ""),
        body=Lines(lines, _dates(calendar["date"]), scale_of(drift.measure, low, high), band),
        make_table=drift.quarters.copy,
        summary=drift.summary,
    )


def quality_history(
    rolling: pd.DataFrame, calendar: pd.DataFrame, name: str, overall: Summary, days: int, filtered: str = ""
) -> Chart:
    """The quality of the predictions, its mean over the last `days` days of a period with a 95 % interval.

    Args:
        rolling: of `stockformer.survey.history.rolling_quality`.
        overall: the quality in a sentence, see `quality_summary`.
        filtered: which windows are left, in words.
    """
    dates = pd.DatetimeIndex(calendar["date"])
    held = {str(period): _held(rows, dates) for period, rows in rolling.groupby("period", sort=False)}
    values = [rows["value"].reindex(dates) for rows in held.values()]
    band = _quality_band(pd.concat(held.values()).reindex(dates), name) if held else None
    chance = 0.5 if name == HIT_RATE else 0.0
    low, high = finite_range([*map(np.asarray, values), *([] if band is None else [band.low, band.high])], chance)
    lines = (
        _line(period, value, color, _quality_form(name))
        for period, value, color in zip(held, values, line_colors(len(held)), strict=True)
    )
    restarts = f"no mean mixes training dates with later ones: the line of a period starts on its day {days}"
    held_over = "dates without enough such windows have no quality: the line holds its last mean there"
    return Chart(
        title=f"{_title(name)}, mean over {days} days with its 95 % interval" + (f", {filtered}" if filtered else ""),
        body=Lines(
            tuple(lines),
            _dates(calendar["date"]),
            Scale(low, high, name, form="%" if name == HIT_RATE else ""),
            band,
            (chance, "half" if name == HIT_RATE else "none"),
        ),
        make_table=rolling.copy,
        summary=overall,
    ).noting(Note(restarts if overall.findings else ""), Note(held_over if filtered and held else ""))


def _held(rows: pd.DataFrame, dates: pd.DatetimeIndex) -> pd.DataFrame:
    """The rows of a period on every date from its first to its last, each held until the next."""
    within = dates[(dates >= rows["date"].min()) & (dates <= rows["date"].max())]
    return rows.set_index("date")[["value", "low", "high"]].astype(float).reindex(within, method="ffill")


def _quality_band(held: pd.DataFrame, name: str) -> Band | None:
    """The interval, of no width where there is none, cut at the possible values."""
    if not np.isfinite(held[["low", "high"]]).any(axis=None):
        return None
    middle = held["value"].ffill().bfill()
    ends = held[["low", "high"]].apply(lambda end: end.fillna(middle)).clip(0.0 if name == HIT_RATE else -1.0, 1.0)
    return Band(ends["low"].to_numpy(), ends["high"].to_numpy(), GREY)


def measure_histogram(bins: pd.DataFrame, column: str, filtered: str = "") -> Chart:
    """How many windows have which value of a measure.

    Args:
        bins: of `stockformer.survey.history.histogram`.
    """
    counts = bins["count"].to_numpy(dtype=float)
    line = Line("windows", counts, [f"{count:,.0f}" for count in counts], NEUTRAL, "area")
    middles = (bins["low"] + bins["high"]) / 2
    values = Axis([number_words(column, middle) for middle in middles], named(column))
    body = Lines((line,), values, Scale(*finite_range([counts], 0.0), "windows"))
    return Chart(f"{_title(named(column))} of the windows" + (f", {filtered}" if filtered else ""), body, bins.copy)


def chosen_windows(frame: pd.DataFrame) -> Chart:
    """Measures of a few windows, one panel per measure and one colour per ticker.

    Args:
        frame: one row per window: ``date, ticker``, and the measures.
    """
    windows = [f"{ticker}, {date.date()}" for ticker, date in zip(frame["ticker"], frame["date"], strict=True)]
    places, panels = Axis(windows, "window", SAMPLE), []
    tickers = frame["ticker"].unique()
    colors = dict(zip(tickers, line_colors(len(tickers)), strict=True))
    measures = frame.drop(columns=["date", "ticker"]).astype(float)
    for column, values in zip(map(str, measures), measures.to_numpy().T, strict=True):
        words = formatted(values, form_of(column))
        # A line per window: one that joins windows far apart would look like a trend.
        lines = tuple(
            _dot(str(ticker), values[place:], words[place], colors[ticker])
            for place, ticker in enumerate(frame["ticker"])
        )
        low, high = finite_range([values])
        room = (high - low) / 20  # for the dots at both ends
        panels.append((named(column), Lines(lines, places, scale_of(column, low - room, high + room))))
    return Chart(
        "Measures of the windows of this page",
        Panels(tuple(panels)),
        frame.copy,
        _windows_summary(pd.Series(measures.iloc[:, 0].to_numpy(), windows), str(measures.columns[0])),
    ).noting(*(_method(named(column)) for column in map(str, measures)))


def _windows_summary(values: pd.Series, column: str) -> Summary:
    """In which of a few windows a measure is highest and lowest, unless three digits cannot tell them apart."""
    known, name = values.dropna(), named(column)
    if known.empty:
        return Summary(f"No window has a {name}.", ())
    findings = (
        Finding(f"highest {name}", float(known.max()), "largest value of these windows", str(known.idxmax())),
        Finding(f"lowest {name}", float(known.min()), "smallest value of these windows", str(known.idxmin())),
    )
    high, low = (number_words(column, value) for value in (known.max(), known.min()))
    if high == low:
        return Summary(f"{_title(name)} is {high} in every window that has one.", findings)
    return Summary(
        f"{_title(name)}: highest for {known.idxmax()} ({high}), lowest for {known.idxmin()} ({low}).", findings
    )


def _dot(name: str, values: np.ndarray, word: str, color: str) -> Line:
    """A dot at the first value only."""
    alone = np.where(np.arange(len(values)) == 0, values, np.nan)
    return Line(name, alone, [word, *[""] * (len(values) - 1)], color, "dots")


def mean_maps(maps: Mapping[str, Mapping[str, Tensor]], kind: str, layer: int) -> dict[str, Heatmap]:
    """Mean attention of groups of windows, on one scale; days count back from the last one of a window.

    Args:
        maps: of `stockformer.survey.Survey.mean_maps`.
    """
    means = {name: of_kind[kind][layer] for name, of_kind in maps.items()}
    largest = largest_value(*means.values())
    return {
        name: day_map(
            mean, (_days_back(mean.size(0)), _days_back(mean.size(1))), labels=day_labels(kind), largest=largest
        )
        for name, mean in means.items()
    }


def _days_back(days: int) -> list[str]:
    return [str(day - days + 1) for day in range(days)]


def quality_summary(name: str, periods: dict[str, tuple[float, float, float]], missing: str = "") -> Summary:
    """The quality of predictions in a sentence.

    Args:
        name: ``hit rate`` or ``rank information coefficient``.
        periods: name of a period -> mean and both ends of its 95 % interval.
        missing: why there is no period, see `stockformer.survey.history.why_no_quality`.
    """
    if not periods:
        return Summary(f"{_title(name)}: not known, because {missing}.", ())
    parts = []
    for period, ends in periods.items():
        mean, low, high = formatted(ends, _quality_form(name))
        interval = f" (95 %: {low} to {high})" if np.isfinite(ends[1]) else " (too few days for an interval)"
        parts.append(f"{mean} {period}{interval}" if np.isfinite(ends[0]) else f"unknown {period}")
    formula = (
        "share of right predictions of a day, mean over days"
        if name == HIT_RATE
        else "Spearman correlation over the tickers of a day of prediction and outcome, mean over days"
    )
    findings = [
        Finding(f"{name} {period}", mean, formula, "The interval allows for days that depend on each other.")
        for period, (mean, _, _) in periods.items()
    ]
    return Summary(f"{_title(name)}: {'; '.join(parts)}.", tuple(findings))


def _quality_form(name: str) -> str:
    return "%" if name == HIT_RATE else ".3g"


def _measure_summary(values: pd.DataFrame, volatile: np.ndarray, column: str) -> Summary:
    """The highest and the lowest month, and volatile dates against the others.

    Args:
        values: by date, a column per line.
        volatile: the share of a date's windows in the volatile regime; NaN where no window has a regime.
    """
    daily = values.mean(axis=1)
    known = daily.dropna()
    if known.empty:
        return Summary(f"No window has a {named(column)}.", ())
    monthly = known.groupby(pd.DatetimeIndex(known.index).to_period("M")).mean()
    findings = [
        Finding("highest month", float(monthly.max()), "largest mean of a calendar month", str(monthly.idxmax())),
        Finding("lowest month", float(monthly.min()), "smallest mean of a calendar month", str(monthly.idxmin())),
    ]
    words = partial(number_words, column)
    high, low = f"{monthly.idxmax()} ({words(monthly.max())})", f"{monthly.idxmin()} ({words(monthly.min())})"
    several = len(monthly) > 1
    parts = [f"Highest in {high} and lowest in {low}" if several else f"{words(monthly.iloc[0])} in {monthly.index[0]}"]
    wild, calm = daily[volatile > 0.5].mean(), daily[volatile <= 0.5].mean()
    if np.isfinite([calm, wild]).all():
        parts.append(f"{words(wild)} on the volatile quarter of days, {words(calm)} on the others")
    compare = " Compare two groups to see whether that is more than chance." if several or parts[1:] else ""
    return Summary(f"{'; '.join(parts)}: {_averaged(values)}.{compare}", tuple(findings if several else []))


def _averaged(values: pd.DataFrame) -> str:
    if "median" in values:
        return "means over dates, each the median over windows"
    return "means over dates" + (", each the mean over tickers" if len(values.columns) > 1 else "")


def _line(name: str, values: pd.Series, color: str, form: str = ".4g", shape: Literal["line", "step"] = "line") -> Line:
    """A line from the first value on; drawn straight over dates without a window, whose words are empty."""
    first = values.first_valid_index()
    known = values.loc[first:] if first is not None else values.iloc[:0]
    words = ["" if np.isnan(value) else word for value, word in zip(known, formatted(known, form), strict=True)]
    return Line(name, known.interpolate(limit_area="inside").to_numpy(dtype=float), words, color, shape)


def _dates(dates: pd.Series) -> Axis:
    return Axis(np.datetime_as_string(dates.to_numpy(), unit="D").tolist(), "last day of the window", DATE)


def _title(name: str) -> str:
    return f"{name[0].upper()}{name[1:]}"
