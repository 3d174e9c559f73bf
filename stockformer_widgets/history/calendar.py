"""Pictures over the calendar: volatility, a measure, and the quality of the predictions, on the same dates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import bqplot as bq
import numpy as np
from ipywidgets import Widget

from stockformer.charts.chart import Chart, Lines
from stockformer.charts.history import (
    DATE,
    drift_history,
    market_context,
    measure_history,
    quality_history,
    quality_summary,
)
from stockformer.survey import drift, history
from stockformer_widgets.components.caption import Caption, Phrase, table_of
from stockformer_widgets.components.drawing import HIGHLIGHT
from stockformer_widgets.history.part import Part
from stockformer_widgets.views.lines import LinesPicture


class CalendarPart(Part):
    """Lines over the dates of the survey, with an upright line at the session's date and its values below."""

    height: ClassVar[int]

    def _build(self) -> tuple[Widget, ...]:
        self.picture = LinesPicture(self.height, ticks=6)
        self.caption = Caption(lambda: table_of(self.chart))
        return self.picture.plot, self.caption

    def _make_chart(self) -> Chart:
        raise NotImplementedError

    def _draw(self) -> None:
        self.chart = self._make_chart()
        self.picture.draw(self.chart.title, self._body, {})
        self.caption.tell(self.chart)

    def _mark(self, window: int | None) -> None:
        place = len(self.selection.dates) - 1 if window is None else self._place_of(window)
        self.picture.mark(self._body, {} if window is None else {DATE: place})
        self.caption.read(self._describe(place))

    def _describe(self, place: int) -> list[Phrase]:
        """The lines with their values on a date."""
        words = {line.name: value for line, value in self._body.words(place)}
        lines = [Phrase(line.name, words.get(line.name, "none"), line.color) for line in self._body.lines]
        return [Phrase(self._body.x.names[place]), *lines]

    @property
    def _body(self) -> Lines:
        assert isinstance(self.chart.body, Lines)
        return self.chart.body

    def _place_of(self, window: int) -> int:
        """The place of a window's date on the calendar."""
        date = history.window_row(self.survey, window)["date"]
        return self._clipped(self.selection.dates.searchsorted(date, side="right") - 1)

    def _clipped(self, place: Any) -> int:
        return int(np.clip(place, 0, len(self.selection.dates) - 1))


class Volatility(CalendarPart):
    """Volatility of all windows, with the volatile regime; dragging over it filters by a period."""

    height = 90

    def _build(self) -> tuple[Widget, ...]:
        built = super()._build()
        self.brush = bq.interacts.BrushIntervalSelector(scale=self.picture.scales["x"], color=HIGHLIGHT, marks=[])
        self._on_brush(self.brush, self._brushed)
        self.picture.figure.interaction = self.brush
        return built

    def refresh(self) -> None:
        """Also show the days that the filter leaves, even if chosen elsewhere."""
        super().refresh()
        days, dates = self.selection.where.days, self.selection.dates
        left = np.flatnonzero((dates >= days[0]) & (dates <= days[1])) if days else np.array([])
        self.brush.selected = np.array([left[0] + 0.5, left[-1] + 0.5]) if len(left) else None

    def _make_chart(self) -> Chart:
        return market_context(self.selection.calendar)

    def _brushed(self, places: np.ndarray) -> None:
        first, last = (self.selection.dates[self._clipped(int(end))] for end in places)
        self.selection.where = replace(self.selection.where, days=(first, last))


class Measure(CalendarPart):
    """The measure by date or by quarter; a click goes to the nearest window."""

    content = ("measure", "by", "where")
    height = 200

    def _build(self) -> tuple[Widget, ...]:
        built = super()._build()
        self._listen(self.picture.figure, self._click)
        return built

    def _make_chart(self) -> Chart:
        where, name, calendar = self.selection.where, self.selection.measure, self.selection.calendar
        if self.selection.by == "by quarter":
            return drift_history(drift(self.survey, name, where), calendar, where.words)
        return measure_history(history.measure_by_date(self.survey, name, where), calendar, name, where.words)

    def _click(self, x: float, y: float) -> None:
        """Go to the window of the line nearest to a click, on that date or the nearest one that has a window."""
        unit, measure = history.date_unit(self.survey), self.selection.measure
        days = f"abs(date_diff('day', date_trunc('{unit}', date), CAST(? AS TIMESTAMP)))"
        date = self.selection.dates[self._clipped(np.floor(x))]
        self._go_nearest(f'{days}, abs("{measure}" - ?)', date, y)


class Quality(CalendarPart):
    """The quality of the predictions, a mean over half a year with its interval."""

    content = ("where",)
    height = 110

    def _make_chart(self) -> Chart:
        survey, where, name = self.survey, self.selection.where, history.quality_name(self.survey)
        daily = history.daily_quality(survey, where)
        missing = history.why_no_quality(survey, where) if daily.empty else ""
        overall = quality_summary(name, history.quality_by_period(survey, daily), missing)
        periods = history.split_at_training(survey, daily)
        rolling = history.rolling_quality(periods, survey.manifest["horizon"] or 1)
        return quality_history(rolling, self.selection.calendar, name, overall, history.QUALITY_DAYS, where.words)
