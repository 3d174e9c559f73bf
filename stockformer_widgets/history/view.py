"""Every window of a survey beside a session."""

from __future__ import annotations

import pandas as pd
from ipywidgets import HBox, Layout
from traitlets import Bool, observe

from stockformer.charts.draw import draw
from stockformer.charts.figures import render
from stockformer.fingerprint import fingerprint
from stockformer.survey import Survey, history
from stockformer.survey.context import index_of
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.snapshot import SnapshotBox, arrange
from stockformer_widgets.history.calendar import Measure, Quality, Volatility
from stockformer_widgets.history.filters import Count, Filters
from stockformer_widgets.history.groups import Groups
from stockformer_widgets.history.histogram import Histogram
from stockformer_widgets.history.mean_maps import MeanMaps
from stockformer_widgets.history.rows import Rows
from stockformer_widgets.history.scatter import Scatter
from stockformer_widgets.history.selection import HistorySelection
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import check_state, close_children


class HistoryView(SnapshotBox):
    """Every window of a survey: measures over the calendar, against each other, and in a table.

    A click on a line, a point, a bar or a row moves the session to that window, which is marked everywhere. Drag
    over the volatility to filter by a period, over the points or the bars to filter by a range of values, as the
    sliders do. Filters apply to every picture; each can be undone. Two sets of filters are two groups, which are
    compared on the spot. "by quarter" shows the level of the measure with its interval, and the dates on which it
    changes by more than chance (`stockformer.survey.drift`).

    Args:
        survey: of the windows of the session's dataset and of its model's weights.
        session: what a click moves.

    Attributes:
        selection: measures and filter, which the controls show and Python can set.

    Raises:
        ValueError: the survey is of windows or weights other than the session's.

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
        self.survey, self.session, self.selection = survey, session, HistorySelection(survey)
        try:
            self._build()
            for owner in (self.session, self.selection):
                owner.follow(self._follow)
            self._follow()
        except BaseException:
            self.close()
            raise

    def to_frame(self) -> pd.DataFrame:
        """One row per window that the filter leaves, every column."""
        where = self.selection.where
        return self.survey.query(f'SELECT * FROM windows WHERE {where.sql} ORDER BY "window"', where.parameters)

    def _build(self) -> None:
        self.message = MessageLine()
        self.filters = Filters(self.selection, self.message)
        state = self.selection, self.session, self.message
        self.count = Count(*state)
        self.volatility, self.measure, self.quality = Volatility(*state), Measure(*state), Quality(*state)
        self.scatter, self.histogram = Scatter(*state), Histogram(*state)
        self.groups, self.rows, self.mean_maps = Groups(*state), Rows(*state), MeanMaps(*state)
        over_time = self.volatility, self.measure, self.quality
        beside = self.scatter, self.histogram
        for part in beside:
            part.layout.flex, part.layout.min_width = "1 1 340px", "300px"
        below = self.groups, self.rows, self.mean_maps
        self._parts = self.count, *over_time, *beside, *below
        row = HBox(beside, layout=Layout(flex_flow="row wrap"))
        self.children = self.filters, self.count, self.message, *over_time, row, *below

    @observe("paused")
    def _follow(self, change: object = None) -> None:
        if self.session.closed:
            self.close()
        elif self.comm is not None and not self.paused:
            with self.message.reporting():
                self._refresh()

    def _refresh(self) -> None:
        for part in self._parts:
            part.refresh()

    def _png(self, dpi: int) -> bytes:
        self._refresh()
        title = f"{type(self.session.model).__name__}, {history.count_words(self.survey, self.selection.where)}"
        charts = [part.chart for part in (self.volatility, self.measure, self.quality, self.histogram)]
        sample = "" if self.session.sample is None else f"; {self.session.title}"
        return arrange([[render(draw(chart), dpi) for chart in charts]], f"{title}{sample}", dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Stop following, and close all its widgets."""
        if self.comm is None:
            return
        for owner in (self.session, self.selection):
            owner.unfollow(self._follow)
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
