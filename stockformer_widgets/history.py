"""The history of a model: every window of a survey by date, as points and as a table, linked to a session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bqplot as bq
import numpy as np
import pandas as pd
from bqplot_image_gl.interacts import MouseInteraction
from ipywidgets import HTML, Button, Dropdown, HBox, Layout, VBox, Widget
from traitlets import Bool, observe

from stockformer.charts.chart import Chart, Lines
from stockformer.charts.draw import draw
from stockformer.charts.figures import render
from stockformer.charts.history import (
    DATE,
    drift_history,
    market_context,
    measure_histogram,
    measure_history,
    quality_history,
    quality_summary,
)
from stockformer.explainability import WhatIf
from stockformer.fingerprint import fingerprint
from stockformer.survey import Survey, drift
from stockformer.survey import history as windows
from stockformer.survey.context import REGIMES, index_of
from stockformer.survey.history import ALL, Filter
from stockformer_widgets.components.drawing import (
    HIGHLIGHT,
    MARGIN,
    NEUTRAL,
    MessageLine,
    Titled,
    axis,
    figure,
    finite,
    notes_html,
    set_marks,
    set_range,
    summary_html,
    swatches,
    text,
    tick_range,
)
from stockformer_widgets.components.snapshot import SnapshotBox, arrange
from stockformer_widgets.components.syncing import Syncing
from stockformer_widgets.components.window_table import WindowTable
from stockformer_widgets.group_differences import GroupDifferences
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import check_state, close_children
from stockformer_widgets.views.lines import LinesPicture

_HEIGHTS = {"context": 90, "measure": 200, "quality": 110}
_ROWS = 100
_EVERY = "all"
_BY = ("by date", "by quarter")
_RIGHT = {_EVERY: None, "right": True, "wrong": False}


class HistoryView(SnapshotBox):
    """Every window of a survey: measures over the calendar, against each other, and in a table.

    A click on a line, a point, a bar or a row moves the session to that window, which is marked everywhere. Drag
    over the volatility to look at a part of the calendar. Filters apply to every picture; each can be undone. Two sets
    of filters are two groups, which are compared on the spot. "by quarter" shows the level of the measure with its
    interval, and the dates on which it changes by more than chance (`stockformer.survey.drift`).

    Args:
        survey: of the windows of the session's dataset and of its model's weights.
        session: what a click moves.

    Raises:
        ValueError: the survey has other windows than the session's dataset, or is of other weights.

    Example:
        >>> HistoryView(open_survey("runs/volatility"), session)  # doctest: +SKIP
    """

    #: While True the view draws nothing; afterwards it catches up.
    paused = Bool(False)
    #: There is always something to show.
    filled = True

    @opens_whole
    def __init__(self, survey: Survey, session: ExtractorSession) -> None:
        check_state(session, None)
        check_fit(survey, session)
        super().__init__()
        self.add_class("stockformer-HistoryView")
        self.survey, self.session = survey, session
        self._filters: list[Filter] = [ALL]
        self._groups: dict[str, Filter] = {}
        self._place = survey.query('SELECT "window", date, ticker FROM windows ORDER BY "window"')
        self._calendar = windows.calendar(survey)
        self._dates = pd.DatetimeIndex(self._calendar["date"])
        self._charts: dict[str, Chart] = {}
        self._syncing = Syncing()
        self._marked: tuple[int | None, WhatIf] = None, WhatIf()
        try:
            session.follow(self._follow)
            self._build()
            self._draw()
        except BaseException:
            self.close()
            raise

    @property
    def where(self) -> Filter:
        """Which windows are looked at."""
        return self._filters[-1]

    @where.setter
    def where(self, where: Filter) -> None:
        if where != self.where:
            self._filters.append(where)
            self._draw()

    def undo(self) -> None:
        """Go back to the filter before."""
        if len(self._filters) > 1:
            self._filters.pop()
            self._draw()

    def to_frame(self) -> pd.DataFrame:
        """One row per window that the filter leaves, every column."""
        return self.survey.query(
            f'SELECT * FROM windows WHERE {self.where.sql} ORDER BY "window"', self.where.parameters
        )

    def _build(self) -> None:
        self.message = MessageLine()
        measures = [(name.replace("_", " "), name) for name in self.survey.numeric]
        first = "market_share" if "market_share" in self.survey.numeric else measures[0][1]
        self.measure = _choice("measure", measures, first)
        self.by = _choice("", _BY, _BY[0])
        self.against = _choice("against", measures, "volatility")
        tickers = sorted(set(self._place["ticker"]))
        self.ticker = _choice("ticker", [_EVERY, *tickers], _EVERY)
        self.regime = _choice("days", [_EVERY, *REGIMES], _EVERY)
        self.correct = _choice("predictions", list(_RIGHT), _EVERY)
        self.correct.layout.display = None if "correct" in self.survey.columns else "none"
        self.undoing = _button("undo filter", "go back to the filter before", self.undo)
        self.clearing = _button("all windows", "leave out nothing", lambda: setattr(self, "where", ALL))
        self.count = HTML()
        for control in (self.measure, self.by, self.against):
            control.observe(lambda change: self._draw(), "value")
        for control in (self.ticker, self.regime, self.correct):
            control.observe(self._chosen, "value")
        self.pictures = {name: LinesPicture(height, ticks=6) for name, height in _HEIGHTS.items()}
        self.brush = bq.interacts.BrushIntervalSelector(
            scale=self.pictures["context"].scales["x"], color=HIGHLIGHT, marks=[]
        )
        self.pictures["context"].figure.interaction = self.brush
        self.brush.observe(self._brushed, "brushing")
        self._listen(self.pictures["measure"].figure, self._click_date)
        self.legend, self.sentence, self.quality_sentence = _words(), _words(), _words()
        self.table = WindowTable(self._sort, self._go)
        columns = Layout(flex="1 1 340px", min_width="300px")
        self.children = (
            _row(
                self.measure, self.by, self.against, self.ticker, self.regime, self.correct, self.undoing, self.clearing
            ),
            self.count,
            self.message,
            *(self.pictures[name].plot for name in ("context", "measure")),
            self.legend,
            self.sentence,
            self.pictures["quality"].plot,
            self.quality_sentence,
            _row(VBox([self._build_scatter()], layout=columns), VBox([self._build_histogram()], layout=columns)),
            self._build_groups(),
            self.table,
        )

    def _build_scatter(self) -> Titled:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale()}
        look = {"scales": self.scales, "default_size": 8}
        self.points = bq.Scatter(x=[0, 0], y=[0, 0], colors=[NEUTRAL], opacities=[0.35], **look)
        self.here = bq.Scatter(x=[0, 0], y=[0, 0], colors=[HIGHLIGHT], marker="cross", **look | {"default_size": 90})
        self._axes = axis(self.scales["x"], tick_format="~g"), axis(self.scales["y"], side="left", tick_format="~g")
        drawn = figure(self.scales, [self.points, self.here], list(self._axes), 220)
        self._listen(drawn, self._click_point)
        self.scatter = Titled(drawn)
        return self.scatter

    def _build_histogram(self) -> Titled:
        self.bin_scales = {"x": bq.LinearScale(), "y": bq.LinearScale(min=0)}
        self.bins = bq.Bars(x=[0], y=[0], scales=self.bin_scales, colors=[NEUTRAL], padding=0.0)
        self.bin_here = bq.Lines(x=[0, 0], y=[0, 1], scales=self.bin_scales | {"y": bq.LinearScale(min=0, max=1)})
        self.bin_here.colors = [HIGHLIGHT]
        self._bin_axes = axis(self.bin_scales["x"], tick_format="~g"), axis(self.bin_scales["y"], side="left")
        drawn = figure(self.bin_scales, [self.bins, self.bin_here], list(self._bin_axes), 220)
        self._listen(drawn, self._click_bin)
        self.histogram = Titled(drawn)
        return self.histogram

    def _build_groups(self) -> VBox:
        self.group_words, self.comparison = HTML(), VBox()
        buttons = (
            _button("group A", "these windows are group A", lambda: self._keep("A")),
            _button("group B", "these windows are group B", lambda: self._keep("B")),
        )
        self.comparing = _button("compare A with B", "which measures differ by more than chance", self._compare)
        self.comparing.layout.width = "150px"
        return VBox([_row(*buttons, self.comparing, self.group_words), self.comparison])

    def _listen(self, drawn: bq.Figure, act: Callable[[float, float], None]) -> None:
        mouse = MouseInteraction(x_scale=drawn.scale_x, y_scale=drawn.scale_y, events=["click"])

        def receive(widget: Widget, content: dict[str, Any], buffers: Any) -> None:
            at = content.get("domain") or {}
            with self.message.reporting():
                if at.get("x") is not None and at.get("y") is not None:
                    act(float(at["x"]), float(at["y"]))

        mouse.on_msg(receive)
        drawn.interaction = mouse

    def _chosen(self, change: Any) -> None:
        if not self._syncing.running:
            ticker, regime = (None if one.value == _EVERY else one.value for one in (self.ticker, self.regime))
            self.where = replace(self.where, ticker=ticker, regime=regime, correct=_RIGHT[self.correct.value])

    def _brushed(self, change: Any) -> None:
        if change["new"]:
            return
        ends = self.brush.selected
        if ends is None or len(ends) < 2:
            return
        first, last = (int(np.clip(end, 0, len(self._dates) - 1)) for end in ends)
        self.where = replace(self.where, days=(self._dates[first], self._dates[last]))

    #: Whether filter or measures have changed since the pictures were drawn.
    _stale = False

    def _draw(self) -> None:
        """Bring every picture in line with the filter and the measures."""
        self._stale = self.paused
        if self.paused:
            return
        with self.message.reporting():
            self._sync()
            self._draw_calendar()
            self._draw_points()
            self._draw_bins()
            self._fill_table()
            self._mark()

    def _sync(self) -> None:
        where = self.where
        with self._syncing():
            self.ticker.value, self.regime.value = where.ticker or _EVERY, where.regime or _EVERY
            self.correct.value = next(name for name, value in _RIGHT.items() if value == where.correct)
            self.undoing.disabled = len(self._filters) == 1
            self.clearing.disabled = where == ALL
        filtered = f" ({text(where.words)})" if where.words else ""
        self._count = f"<b>{windows.count_words(self.survey, where)}</b>{filtered}"

    def _draw_calendar(self) -> None:
        where = self.where
        daily = windows.daily_quality(self.survey, where)
        quality = windows.quality_name(self.survey)
        self._charts = {
            "context": market_context(self._calendar),
            "measure": self._measure_chart(),
            "quality": quality_history(
                windows.rolling_quality(daily, self.survey.manifest["horizon"] or 1),
                self._calendar,
                quality,
                quality_summary(quality, windows.quality_by_period(self.survey, daily)),
                windows.QUALITY_DAYS,
            ),
        }
        measure = self._charts["measure"]
        self.sentence.value = "<br>".join(filter(None, [summary_html(measure.summary), notes_html(measure.notes)]))
        self.quality_sentence.value = summary_html(self._charts["quality"].summary)

    def _measure_chart(self) -> Chart:
        where, name = self.where, self.measure.value
        if self.by.value == "by quarter":
            return drift_history(drift(self.survey, name, where), self._calendar, where.words)
        by_date = windows.measure_by_date(self.survey, name, where)
        return measure_history(by_date, self._calendar, self.measure.label, where.words)

    def _draw_points(self) -> None:
        x, y = self.against, self.measure
        frame = windows.scatter(self.survey, x.value, y.value, self.where).dropna()
        self._points_drawn = frame
        for name, one_axis in zip("xy", self._axes, strict=True):
            values = frame[name].to_numpy(dtype=float)
            low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
            set_range(self.scales[name], low, high if high > low else low + 1)
            tick_range(one_axis, low, high)
        if len(frame):
            set_marks(self.points, x=frame["x"].to_numpy(dtype=float), y=frame["y"].to_numpy(dtype=float), visible=True)
        else:
            self.points.visible = False
        self.scatter.title = f"{y.label} (upwards) against {x.label}, {len(frame):,} windows"

    def _draw_bins(self) -> None:
        bins = windows.histogram(self.survey, self.measure.value, self.where)
        chart = measure_histogram(bins, self.measure.label, self.where.words)
        self._charts["histogram"] = chart
        self.histogram.title = chart.title
        self.bins.visible = len(bins) > 0
        if len(bins):
            middles = (bins["low"] + bins["high"]).to_numpy() / 2
            set_marks(self.bins, x=middles, y=bins["count"].to_numpy(dtype=float))
            set_range(self.bin_scales["x"], float(bins["low"].iloc[0]), float(bins["high"].iloc[-1]))
            tick_range(self._bin_axes[0], float(bins["low"].iloc[0]), float(bins["high"].iloc[-1]))

    def _fill_table(self) -> None:
        chosen = [name for name in ("prediction", "label", "error") if name in self.survey.columns]
        columns = [*chosen, self.measure.value, self.against.value]
        frame = windows.window_table(
            self.survey, columns, self.where, order=self.table.order, descending=self.table.descending, rows=_ROWS
        )
        self.table.fill(frame)

    def _mark(self) -> None:
        """Mark the session's window everywhere."""
        sample = self.session.sample
        self._marked = sample, self.session.change
        marked: dict[str, int] = {}
        if sample is not None:
            date = self._place["date"][sample]
            marked = {DATE: int(np.clip(self._dates.searchsorted(date, side="right") - 1, 0, len(self._dates) - 1))}
            names = self.against.value, self.measure.value
            row = self.survey.query(
                f'SELECT "{names[0]}" AS x, "{names[1]}" AS y FROM windows WHERE "window" = ?', [sample]
            )
            here = finite(row.to_numpy(dtype=float)[0])
            set_marks(self.here, x=[here[0]] * 2, y=[here[1]] * 2)
            self.bin_here.x = [here[1]] * 2
        self.here.visible = self.bin_here.visible = sample is not None
        self.table.selected = -1 if sample is None else int(sample)
        self.legend.value = self._legend(marked.get(DATE))
        unchanged = " of the model without the what-if" if self.session.change else ""
        self.count.value = f"{self._count}{unchanged}"
        for name, picture in self.pictures.items():
            chart = self._charts[name]
            assert isinstance(chart.body, Lines)
            picture.draw(chart.title, chart.body, marked)

    def _legend(self, place: int | None) -> str:
        """The lines of the measure by colour, with their values on the marked date."""
        body = self._charts["measure"].body
        assert isinstance(body, Lines)
        at = len(self._dates) - 1 if place is None else place
        words = body.words(at)
        named = {line.name for line, _ in words}
        rest = [(line, "none") for line in body.lines if line.name not in named]
        lines = [*words, *rest]
        values = swatches(
            [line.color for line, _ in lines], [line.name for line, _ in lines], [one for _, one in lines]
        )
        return f"<b>{body.x.names[at]}</b> {values}"

    def _follow(self) -> None:
        if self.session.closed:
            self.close()
        elif not self.paused and (self.session.sample, self.session.change) != self._marked:
            self._mark()

    @observe("paused")
    def _catch_up(self, change: Any) -> None:
        if not change["new"] and self.comm is not None:
            self._draw() if self._stale else self._follow()

    def _click_date(self, x: float, y: float) -> None:
        """Go to the window of the line nearest to a click, on that date or the nearest one that has a window."""
        place = int(np.clip(np.floor(x), 0, len(self._dates) - 1))
        days = f"abs(date_diff('day', date_trunc('{windows.date_unit(self.survey)}', date), CAST(? AS TIMESTAMP)))"
        self._go_nearest(f'{days}, abs("{self.measure.value}" - ?)', self._dates[place], y)

    def _click_bin(self, x: float, y: float) -> None:
        self._go_nearest(f'abs("{self.measure.value}" - ?)', x)

    def _go_nearest(self, distance: str, *parameters: Any) -> None:
        """Go to the window with the smallest distance, of those that the filter leaves."""
        sql = f'SELECT "window" FROM windows WHERE {self.where.sql} ORDER BY {distance}, "window" LIMIT 1'
        nearest = self.survey.query(sql, [*self.where.parameters, *parameters])
        if len(nearest):
            self._go(int(nearest["window"][0]))

    def _click_point(self, x: float, y: float) -> None:
        frame = self._points_drawn
        spans = [scale.max - scale.min for scale in (self.scales["x"], self.scales["y"])]
        away = ((frame["x"] - x) / spans[0]) ** 2 + ((frame["y"] - y) / spans[1]) ** 2
        if len(away):
            self._go(int(frame["window"].iloc[int(away.argmin())]))

    def _go(self, window: int) -> None:
        with self.message.reporting():
            self.session.sample = window

    def _sort(self) -> None:
        with self.message.reporting():
            self._fill_table()

    def _keep(self, name: str) -> None:
        self._groups[name] = self.where
        self.group_words.value = "; ".join(
            f"<b>{text(group)}</b>: {text(where.words or 'all windows')}, {windows.count_words(self.survey, where)}"
            for group, where in sorted(self._groups.items())
        )

    def _compare(self) -> None:
        with self.message.reporting():
            if len(self._groups) < 2:
                raise ValueError("a comparison needs two groups: filter, press group A, filter again, press group B")
            one, other = (windows.windows_where(self.survey, self._groups[name]) for name in ("A", "B"))
            names = [self._groups[name].words or "all windows" for name in ("A", "B")]
            if names[0] == names[1]:
                raise ValueError(f"both groups are {names[0]}: expected two different ones")
            compared = self.survey.compare_groups(one, other, names=(names[0], names[1]))
            for old in self.comparison.children:
                old.close()
            self.comparison.children = (GroupDifferences(compared),)

    def _png(self, dpi: int) -> bytes:
        sample = self.session.sample
        title = f"{type(self.session.model).__name__}, {windows.count_words(self.survey, self.where)}"
        pictures = [render(draw(self._charts[name]), dpi) for name in (*_HEIGHTS, "histogram")]
        return arrange([pictures], title if sample is None else f"{title}; {self.session.title}", dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Stop following, and close every widget of it."""
        if self.comm is None:
            return
        self.session.unfollow(self._follow)
        close_children(self)
        super().close()

    def __repr__(self) -> str:
        return f"HistoryView({len(self.survey):,} windows)"


def check_fit(survey: Survey, session: ExtractorSession) -> None:
    """Raise unless a survey is of a session's windows and weights."""
    if not isinstance(survey, Survey):
        raise TypeError(f"expected a Survey, got {type(survey).__name__}")
    if session.dataset is None or survey.manifest["index"] != index_of(session.dataset):
        raise ValueError(f"{survey!r} has other windows than the session's dataset: a click could not lead to them")
    if survey.manifest["model"]["weights"] != fingerprint(session.model):
        raise ValueError(f"{survey!r} is of other weights than the session's model")


def _choice(description: str, options: Any, value: str) -> Dropdown:
    look = {"style": {"description_width": "auto"}, "layout": Layout(width="auto")}
    return Dropdown(description=description, options=options, value=value, **look)


def _button(words: str, tooltip: str, act: Callable[[], None]) -> Button:
    button = Button(description=words, tooltip=tooltip, layout=Layout(width="96px"))
    button.on_click(lambda pressed: act())
    return button


def _row(*widgets: Widget) -> HBox:
    return HBox(list(widgets), layout=Layout(flex_flow="row wrap", align_items="center"))


def _words() -> HTML:
    return HTML(layout=Layout(margin=f"0 0 6px {MARGIN}px"))
