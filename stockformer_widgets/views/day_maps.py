"""Maps of query days down and key days across."""

from __future__ import annotations

from typing import ClassVar

import bqplot as bq
import numpy as np
import pandas as pd
import torch
from ipywidgets import Widget
from matplotlib.figure import Figure

from stockformer.charts.chart import Note
from stockformer.explainability import kind_title, plot_attention_heatmap
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.maps import Cells, MapView
from stockformer_widgets.views.parts import HIGHLIGHT, notes_html, text

_DRAG = ("dragstart", "dragmove", "dragend")


class DayMapView(MapView):
    """A map of query by key: colours from 0 to the largest value of all sessions of the selection; grey is no number.

    A click selects query and key; a box drawn with the mouse is shown larger, here
    and in the views by day, a double click shows all days again.
    """

    content = ("kind", "layer", "head")
    follows = (*content, "query", "key", "shown_queries", "shown_keys")
    row_days, column_days = "query", "key"
    attention = "layer"
    height, named_rows = 380, 8
    axes_text = "query ↓ key →"
    #: What a cell holds.
    value_name: ClassVar[str] = "weight"

    def to_frame(self) -> pd.DataFrame:
        """Columns ``query, query_day, key, key_day, weight`` (or what the cells hold), one row a cell."""
        cells = self._read()
        queries, keys = (index.ravel() for index in np.indices(cells.values.shape))
        return pd.DataFrame(
            {
                "query": queries,
                "query_day": np.array(cells.rows)[queries],
                "key": keys,
                "key_day": np.array(cells.columns)[keys],
                self.value_name: cells.values.ravel(),
            }
        )

    def _map(self, session: ExtractorSession) -> np.ndarray:
        """What is shown of a session, [query, key]."""
        raise NotImplementedError

    def _mask(self) -> np.ndarray | None:
        """What is masked in the map of this view's session, bool [query, key]."""
        return selected_mask(self.session, self.selection)

    def _title(self) -> str:
        """Which map it is, in words."""
        return map_title(self.selection)

    def _read(self) -> Cells:
        where, reading = self.selection, self.session.reading
        values, *_ = maps = [self._map(session) for session in (self.session, *where.open_sessions)]
        largest = max(float(np.max(one, where=np.isfinite(one), initial=0.0)) for one in maps)
        queries, keys = values.shape
        masked = self._mask()
        if masked is not None:
            values = np.where(masked, np.nan, values)
        days = reading.days(queries), reading.days(keys)
        return Cells(values, 0.0, largest, *days, self._title(), masked=masked)

    def _selected(self) -> tuple[int, int]:
        return self.selection.query, self.selection.key

    def _select(self, place: tuple[int, int]) -> None:
        self.selection.query, self.selection.key = place

    def _build(self) -> tuple[Widget, ...]:
        built = super()._build()
        self.box = bq.Lines(x=[0, 0], y=[0, 0], scales=self.scales, colors=[HIGHLIGHT], stroke_width=1, visible=False)
        self.figure.marks = [*self.figure.marks, self.box]
        self.figure.interaction.events = [*self.figure.interaction.events, *_DRAG, "dblclick"]
        self._corner = 0.0, 0.0
        return built

    def _on_mouse(self, event: str, at: dict[str, float]) -> None:
        if event == "dblclick":
            self.selection.show(None, None)
        elif event in _DRAG:
            self._drag(event, at["x"], at["y"])
        else:
            super()._on_mouse(event, at)

    def _drag(self, event: str, x: float, y: float) -> None:
        """Draw a box from where the drag began, and show what is in it when it ends."""
        if event == "dragstart":
            self._corner = x, y
        left, top = self._corner
        with self.box.hold_sync():
            self.box.x, self.box.y = [left, x, x, left, left], [top, top, y, y, top]
            self.box.visible = event == "dragmove"
        if event == "dragend":
            rows, columns = (sorted((self._place(left, top)[side], self._place(x, y)[side])) for side in (0, 1))
            if rows[0] < rows[1] and columns[0] < columns[1]:  # else it was hardly a move
                self.selection.show((rows[0], rows[1]), (columns[0], columns[1]))

    def _describe_cell(self, row: int, column: int) -> str:
        cells = self._cells
        return (
            f"query <b>{text(cells.rows[row])}</b>, key <b>{text(cells.columns[column])}</b>, "
            f"{self.value_name} <b>{cells.number(row, column)}</b>"
        )

    def _notes(self) -> str:
        where = self.selection
        zoomed = bool(where.shown_queries or where.shown_keys)
        part = "a part is shown, the sentences are about all days; 0 or a double click shows all" if zoomed else ""
        return "<br>".join(filter(None, (part, notes_html([market_note(self.session, where.kind)]))))

    def _plot(self) -> Figure:
        where, cells = self.selection, self._cells
        plot = plot_attention_heatmap(
            torch.from_numpy(cells.values),
            title=cells.title,
            query_dates=cells.rows,
            key_dates=cells.columns,
            largest=cells.high,
            value=self.value_name,
            mask=None if cells.masked is None else torch.from_numpy(cells.masked),
        )
        (top, bottom), (left, right) = (
            where.span(days, length) for days, length in zip(("query", "key"), cells.values.shape, strict=True)
        )
        plot.axes[0].axhline(where.query, color=HIGHLIGHT, linewidth=1)
        plot.axes[0].axvline(where.key, color=HIGHLIGHT, linewidth=1)
        plot.axes[0].set(xlim=(left - 0.5, right - 0.5), ylim=(bottom - 0.5, top - 0.5))
        return plot


def market_note(session: ExtractorSession, kind: str) -> Note:
    """Whose market the keys of a kind are, where `what_if` put another one in the place of the sample's."""
    index = session.change.market_from
    if index is None or kind not in ("cross", "market") or session.dataset is None:
        return Note("")
    window = session.dataset.window(index)
    first, last = window.dates[0].date(), window.dates[-1].date()
    return Note(f"what if: the market days are {first} to {last}, read in the place of this sample's")


def selected_map(session: ExtractorSession, selection: Selection) -> np.ndarray:
    """The selected map of a session, [query, key]."""
    return session.reading.capture.map(selection.kind, selection.layer, selection.head).numpy()


def selected_mask(session: ExtractorSession, selection: Selection) -> np.ndarray | None:
    """What is masked in the selected map of a session, bool [query, key]."""
    mask = session.reading.capture.mask(selection.kind, selection.layer, selection.head)
    return None if mask is None else mask.numpy()


def map_title(selection: Selection) -> str:
    """Which map is selected, in words."""
    heads = selection.sizes()["head"]
    head = f"mean of {heads} head{'s' * (heads > 1)}" if selection.head is None else f"head {selection.head}"
    return f"{kind_title(selection.kind)}, layer {selection.layer}, {head}"
