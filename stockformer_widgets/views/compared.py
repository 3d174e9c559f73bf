"""Views of two sessions under one selection."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stockformer.charts.attribution import saliency_bars
from stockformer.charts.chart import Chart
from stockformer.charts.compare import overlay
from stockformer.charts.prediction import prediction
from stockformer.explainability import Finding, Summary
from stockformer_widgets.explaining import EXPLAINS
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.attention_row import AttentionRow
from stockformer_widgets.views.bars import FeatureBarsView
from stockformer_widgets.views.base import ChartView, View
from stockformer_widgets.views.day_maps import map_title, selected_map, selected_mask
from stockformer_widgets.views.day_scores import DayScores
from stockformer_widgets.views.gate_timeline import GateTimeline
from stockformer_widgets.views.lines import LinesView
from stockformer_widgets.views.maps import DIVERGING, Cells, MapView
from stockformer_widgets.views.market_entry import MarketEntry
from stockformer_widgets.views.parts import (
    finite,
    text,
)
from stockformer_widgets.views.pooling_bars import PoolingBars
from stockformer_widgets.views.prediction import Prediction
from stockformer_widgets.views.price_strip import PriceStrip
from stockformer_widgets.views.saliency_bars import SaliencyBars

_NAMED = 3
_SHOWN = 14


class ComparedView(View):
    """A view of the two sessions of a selection, called A and B.

    Days align by their distance from the prediction: both sequences end with day 0.
    """

    def __init__(self, selection: Selection) -> None:
        if len(selection.sessions) != 2:
            raise ValueError(f"a comparison needs a selection in two sessions, this one has {len(selection.sessions)}")
        if not self.compares(*selection.sessions):
            raise ValueError(f"{type(self).__name__} has nothing to compare in these sessions")
        self.other: ExtractorSession = selection.sessions[1]
        super().__init__(selection.sessions[0], selection)

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        """Whether both sessions have what this view draws."""
        return cls.shows(one) and cls.shows(other)

    @property
    def pair(self) -> tuple[ExtractorSession, ExtractorSession]:
        """A and B."""
        return self.session, self.other

    def _drawn_sessions(self) -> tuple[ExtractorSession, ...]:
        return self.pair

    def _follow(self) -> None:
        if self.other.closed:
            self.close()
        else:
            super()._follow()

    def _day(self, session: ExtractorSession, before: int, kind: str = "query") -> str:
        """The date of a session so many days before its prediction."""
        size = len(selected_map(session, self.selection)[0 if kind == "key" else slice(None)])
        return session.reading.days(size)[size - 1 - before]


class AttentionDifference(ComparedView, MapView):
    """A's map minus B's: diverging colours, 0 in the middle. A click selects query and key."""

    label = "Difference of the attention maps"
    attention = "layer"
    content = ("kind", "layer", "head")
    follows = (*content, "query", "key", "shown_queries", "shown_keys")
    row_days, column_days = "query", "key"
    height, named_rows = 380, 8
    axes_text = "A - B, query ↓ key →"

    def to_frame(self) -> pd.DataFrame:
        """Columns ``query, key, a, b, difference``, one row a cell; days count back from the prediction."""
        one, other = self._maps()
        queries, keys = (index.ravel() for index in np.indices(one.shape))
        return pd.DataFrame(
            {
                "query": queries - one.shape[0] + 1,
                "key": keys - one.shape[1] + 1,
                "a": one.ravel(),
                "b": other.ravel(),
                "difference": (one - other).ravel(),
            }
        )

    def _maps(self) -> list[np.ndarray]:
        """The selected maps over the days that both have, [query, key]."""
        maps = [selected_map(session, self.selection) for session in self.pair]
        rows, columns = np.min([one.shape for one in maps], axis=0)
        return [one[-rows:, -columns:] for one in maps]

    def _read(self) -> Cells:
        one, other = self._maps()
        difference, masked = one - other, self._masked()
        if masked is not None:
            difference = np.where(masked, np.nan, difference)
        largest = float(np.max(np.abs(finite(difference)), initial=0.0))
        rows, columns = ([str(day - length + 1) for day in range(length)] for length in difference.shape)
        title = f"A - B: {map_title(self.selection)}"
        return Cells(difference, -largest, largest, rows, columns, title, DIVERGING, masked)

    def _masked(self) -> np.ndarray | None:
        """What is masked in both maps, over the days that both have."""
        masks = [selected_mask(session, self.selection) for session in self.pair]
        rows, columns = self._maps()[0].shape
        one, other = (None if mask is None else mask[-rows:, -columns:] for mask in masks)
        return None if one is None or other is None else one & other

    def _selected(self) -> tuple[int, int]:
        rows, columns = self._cells.values.shape
        return self.selection.place("query", rows), self.selection.place("key", columns)

    def _select(self, place: tuple[int, int]) -> None:
        for name, step, length in zip(("query", "key"), place, self._cells.values.shape, strict=True):
            self.selection.select(name, step, length)

    def _describe_cell(self, row: int, column: int) -> str:
        rows, columns = self._cells.values.shape
        dates = (
            f"{name}: query {text(self._day(session, rows - 1 - row))}, "
            f"key {text(self._day(session, columns - 1 - column, 'key'))}"
            for name, session in zip("AB", self.pair, strict=True)
        )
        hidden = self._cells.masked is not None and self._cells.masked[row, column]
        value = "masked" if hidden else f"{self._cells.values[row, column]:+.6g}"
        return f"{'; '.join(dates)}; A - B <b>{value}</b>"

    def _notes(self) -> str:
        values = self._cells.values
        largest = np.argsort(-np.abs(finite(values)), axis=None, kind="stable")[:_NAMED]
        rows, columns = np.unravel_index(largest, values.shape)
        named = (
            f"query {self._cells.rows[row]}, key {self._cells.columns[column]} <b>{values[row, column]:+.3g}</b>"
            for row, column in zip(rows, columns, strict=True)
        )
        return "largest, in days before the prediction: " + "; ".join(named)

    def _summary(self) -> Summary:
        one, other = self._maps()
        for name, weights in zip("AB", (one, other), strict=True):
            if not weights.any():
                return Summary(f"This attention is switched off in {name}: there is nothing to compare.", ())
        rows = np.isfinite(one - other).all(axis=1)  # a query with every key masked has no weights
        if not rows.any():
            return Summary("No query has weights in both: there is nothing to compare.", ())
        moved = float(np.abs(one - other)[rows].sum(axis=1).mean() / 2)
        reading = "The attention of a day that goes elsewhere: 0 none of it, 1 all."
        finding = Finding("moved_share", moved, "mean over queries of sum_k |a - b| / 2", reading)
        return Summary(f"{moved:.0%} of a day's attention lies elsewhere in A than in B.", (finding,))

    def _plot(self) -> Figure:
        cells = self._read()
        rows, columns = cells.values.shape
        drawn, axes = plt.subplots(figsize=(6.4, 5.4), layout="constrained")
        extent = (0.5 - columns, 0.5, 0.5, 0.5 - rows)
        shown = axes.imshow(cells.values, cmap="RdBu_r", vmin=cells.low, vmax=cells.high, extent=extent, aspect="auto")
        axes.set(title=cells.title, xlabel="key, days before the prediction", ylabel="query")
        drawn.colorbar(shown, ax=axes, label="A - B")
        return drawn


class OverlaidView(ComparedView, ChartView):
    """A's and B's chart in one."""

    def _make_chart(self) -> Chart:
        one, other = map(self.chart_of, self.pair)
        return overlay(one, other, self._title())

    def _title(self) -> str:
        """Above the figure, where A and B have titles of their own."""
        return self.label


class ComparedLines(OverlaidView, LinesView):
    """A's and B's emphasised lines in one figure; a click selects the day."""

    height = 140


class ComparedRow(ComparedLines, AttentionRow):
    """The selected query's attention in both samples."""

    label = "Attention of the selected day in both"

    def _title(self) -> str:
        before = self.selection.sizes()["query"] - 1 - self.selection.query
        return f"What day {-before} attends to (0: the last)"


class ComparedPrices(ComparedLines, PriceStrip):
    """Close and SPY over both windows."""

    label = "Change since the first day in both, %"


class ComparedGate(ComparedLines, GateTimeline):
    """The selected layer's mean gate in both samples."""

    label = "Mean gate by day in both"


class ComparedEntry(ComparedLines, MarketEntry):
    """How much market the selected layer's gate lets in, in both samples."""

    label = "Market that enters by day in both"


class ComparedPooling(ComparedLines, PoolingBars):
    """The pooling weights of both samples."""

    label = "Pooling weight by day in both"


class ComparedScores(ComparedLines, DayScores):
    """What reaches the prediction from each day, in both samples."""

    label = "What reaches the prediction by day in both"


class ComparedSaliency(OverlaidView, FeatureBarsView):
    """|Attribution| of both samples by feature, over all days; the features that differ most. A click selects one."""

    label = "Saliency by feature in both"
    follows_session = ("reading", *EXPLAINS)
    follows = ("feature",)
    shows = SaliencyBars.shows

    def chart_of(self, session: ExtractorSession) -> Chart:
        method, target = session.method_name, session.target_name
        return saliency_bars(session.saliency(), session.feature_names, method, target, most=None)

    def _make_chart(self) -> Chart:
        one, other = map(self.chart_of, self.pair)
        explained = " and ".join(dict.fromkeys(session.target_name for session in self.pair))
        chart = overlay(one, other, "", most=_SHOWN)
        return replace(chart, title=f"|{self.session.method_name}| for {explained}, most different")


class ComparedPrediction(OverlaidView, Prediction):
    """What the model says of both samples."""

    label = "Prediction of both"

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        return super().compares(one, other) and one.class_names == other.class_names

    def chart_of(self, session: ExtractorSession) -> Chart:
        outputs = replace(session.prediction(), labels=None)
        return prediction(outputs, session.class_names or None, session.targets)
