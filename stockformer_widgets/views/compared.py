"""Views of two sessions under one selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import bqplot as bq
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ipywidgets import Widget
from matplotlib.figure import Figure

from stockformer.charts.chart import Chart
from stockformer.charts.compare import overlay
from stockformer.explainability import Finding, Summary
from stockformer.explainability.figures import name_ticks
from stockformer_widgets.explaining import EXPLAINS
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.attention_row import AttentionRow
from stockformer_widgets.views.bars import BarsView
from stockformer_widgets.views.base import View
from stockformer_widgets.views.day_maps import map_title, selected_map, selected_mask
from stockformer_widgets.views.day_scores import DayScores
from stockformer_widgets.views.gate_timeline import GateTimeline
from stockformer_widgets.views.lines import LinesView
from stockformer_widgets.views.maps import DIVERGING, Cells, MapView
from stockformer_widgets.views.market_entry import MarketEntry
from stockformer_widgets.views.parts import (
    HIGHLIGHT,
    STREAM_COLORS,
    finite,
    neighbour,
    points,
    set_marks,
    swatches,
    text,
)
from stockformer_widgets.views.pooling_bars import PoolingBars
from stockformer_widgets.views.prediction import Prediction
from stockformer_widgets.views.price_strip import PriceStrip
from stockformer_widgets.views.saliency_bars import SaliencyBars

#: What stands for the first and the second session.
COLORS = STREAM_COLORS
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


class ComparedLines(ComparedView, LinesView):
    """A's and B's emphasised lines in one figure; a click selects the day."""

    height = 140

    def _make_chart(self) -> Chart:
        one, other = map(self.chart_of, self.pair)
        return overlay(one, other, self._title())

    def _title(self) -> str:
        """Above the figure, where A and B have titles of their own."""
        return self.label


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


class ComparedBars(ComparedView, BarsView):
    """A's values as bars, B's as circles."""

    def _build(self) -> tuple[Widget, ...]:
        built = super()._build()
        self.circles = bq.Scatter(
            x=[0, 0],
            y=[0, 0],
            scales=self.scales,
            colors=[COLORS[1]],
            default_size=50,
            stroke="black",
            stroke_width=1,
        )
        self.figure.marks = [*self.figure.marks, self.circles]
        return built

    def _draw_pair(self, names: Sequence[str], values: np.ndarray, marked: str | None, title: str, top: float) -> None:
        """Bars and circles of values [2, names]."""
        self._others = values[1]
        self._draw_bars(names, values[0], [COLORS[0]] * len(names), marked, title, top=top, also=values[1])
        set_marks(self.circles, **points(finite(values[1]), np.arange(len(names)) + 0.5))

    def _describe(self, place: int | None) -> str:
        if place is None:
            return swatches(COLORS, ("A", "B"), ("bars", "circles"))
        values = [f"{self._values[place]:.4g}", f"{self._others[place]:.4g}"]
        return f"{text(self.names[place])} {swatches(COLORS, ('A', 'B'), values)}"

    def _plot(self) -> Figure:
        drawn, axes = plt.subplots(figsize=(7, 1.2 + 0.3 * len(self.names)), layout="constrained")
        places = range(len(self.names))
        axes.barh(places, self._values, color=COLORS[0], label="A")
        axes.plot(self._others, places, "o", color=COLORS[1], markeredgecolor=HIGHLIGHT, label="B")
        name_ticks(axes, "y", self.names)
        axes.invert_yaxis()
        axes.set_title(self.plot.title)
        axes.legend()
        return drawn


class ComparedSaliency(ComparedBars):
    """|Attribution| of both samples by feature, over all days; the features that differ most. A click selects one."""

    label = "Saliency by feature in both"
    follows_session = ("reading", *EXPLAINS)
    follows = ("feature",)
    vertical = "feature"
    row_height, left = 19, 150
    shows = SaliencyBars.shows

    def to_frame(self) -> pd.DataFrame:
        """Columns ``feature, a, b, difference``, the largest difference first."""
        names, (one, other) = self._by_feature()
        frame = pd.DataFrame({"feature": names, "a": one, "b": other, "difference": one - other})
        return frame.sort_values("difference", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def _by_feature(self) -> tuple[list[str], np.ndarray]:
        """Names, and |attribution| summed over the days [2, features]."""
        names = [name for group in self.session.feature_names for name in group]
        sums = [np.concatenate([part.abs().sum(dim=0).numpy() for part in session.saliency()]) for session in self.pair]
        return names, np.stack(sums)

    def _draw(self) -> None:
        names, values = self._by_feature()
        top = np.argsort(-np.abs(values[0] - values[1]), kind="stable")[:_SHOWN]
        explained = " and ".join(dict.fromkeys(session.target_name for session in self.pair))
        title = f"|{self.session.method_name}| for {explained}, most different"
        self._draw_pair([names[feature] for feature in top], values[:, top], self.selection.feature, title, 0.0)

    def _select(self, place: int) -> None:
        name = self.names[place]
        self.selection.feature = None if name == self.selection.feature else name

    def _step(self, name: str, by: int) -> None:
        if name == "feature":
            self.selection.feature = neighbour(self.names, self.selection.feature, by)
        else:
            super()._step(name, by)

    def _summary(self) -> Summary:
        frame = self.to_frame()
        shares = [float(values.sum()) for values in (frame["a"], frame["b"])]
        finding = Finding("total_ratio", shares[0] / (shares[1] or np.nan), "sum |a| / sum |b|", "1: equally strong.")
        first = frame.iloc[0]
        if not np.isfinite(frame["difference"]).all():
            return Summary("Some attributions are not finite: there are no numbers.", ())
        if not first["difference"]:
            return Summary("Every feature has the same |attribution| in A and B.", (finding,))
        values = f"{first['a']:.3g} in A, {first['b']:.3g} in B"
        return Summary(f"The |attribution| of {first['feature']} differs most: {values}.", (finding,))


class ComparedPrediction(ComparedBars):
    """What the model says of both samples."""

    label = "Prediction of both"
    follows = ()
    row_height, left = 24, 150
    shows = Prediction.shows

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        return super().compares(one, other) and one.class_names == other.class_names

    def to_frame(self) -> pd.DataFrame:
        """Columns ``outcome, a, b``: probabilities, or the values of a regression."""
        names, (one, other) = self._outcomes()
        return pd.DataFrame({"outcome": names, "a": one, "b": other})

    def _outcomes(self) -> tuple[list[str], np.ndarray]:
        shown = [session.prediction() for session in self.pair]
        if any(one.probabilities is None for one in shown):
            return ["predicted"], np.array([one.outputs.numpy() for one in shown])
        shares = [one.probabilities[0].numpy() for one in shown if one.probabilities is not None]
        return self.session.class_names, np.array(shares)

    def _draw(self) -> None:
        names, values = self._outcomes()
        self._draw_pair(names, values, None, "Prediction", 1.0 if self.session.class_names else 0.0)

    def _select(self, place: Any) -> None:
        """There is nothing to select."""

    def _summary(self) -> Summary:
        _, (one, other) = self._outcomes()
        distance = float(np.abs(one - other).sum() / (2 if len(one) > 1 else 1))
        formula = "sum over classes of |a - b| / 2" if len(one) > 1 else "|a - b|"
        finding = Finding("distance", distance, formula, "0: the model says the same of both.")
        return Summary(f"A and B differ by {distance:.3g}.", (finding,))
