"""Maps of query days down and key days across."""

from __future__ import annotations

from typing import Any

import bqplot as bq
from ipywidgets import Widget
from torch import Tensor

from stockformer.charts.chart import Heatmap, Note
from stockformer.charts.figures import day_labels
from stockformer.charts.maps import WEIGHT, day_map, largest_value
from stockformer.explainability import kind_title
from stockformer_widgets.components.drawing import HIGHLIGHT
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.heatmap import HeatmapView

_DRAG = ("dragstart", "dragmove", "dragend")
_ZOOMED = "zoomed in: the sentences are about all days; 0 or a double click shows all"


class DayMapView(HeatmapView):
    """A map of query by key: colours from 0 to the largest value of all sessions of the selection.

    Grey is masked or not a number.

    A click selects query and key; dragging a box zooms in, here and in
    the views by day; a double click shows all days again.
    """

    content = ("kind", "layer", "head")
    follows = (*content, "query", "key", "shown_queries", "shown_keys")
    attention = "layer"

    @classmethod
    def map_of(cls, session: ExtractorSession, where: Selection, *args: Any, **options: Any) -> Tensor:
        """The map of a session, [query, key]."""
        raise NotImplementedError

    @classmethod
    def cells_of(
        cls, session: ExtractorSession, where: Selection, mask: Tensor | None, value: str = WEIGHT, **options: str
    ) -> Heatmap:
        """The map of a session; see `day_map`."""
        maps = [cls.map_of(one, where, **options) for one in dict.fromkeys((session, *where.open_sessions))]
        queries, keys = map(session.reading.days, maps[0].shape)
        labels, largest = day_labels(where.kind), largest_value(*maps)
        return day_map(maps[0], (queries, keys), labels=labels, value=value, mask=mask, largest=largest)

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
        """Draw a box from where the drag began, and zoom into it when it ends."""
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

    def _notes(self) -> list[Note]:
        zoomed = self.selection.shown_queries or self.selection.shown_keys
        return [Note(_ZOOMED)] if zoomed else []


def market_note(session: ExtractorSession, kind: str) -> Note:
    """The dates of the market that replaces the sample's in a `what_if`, for kinds with market keys."""
    index = session.change.market_from
    if index is None or kind not in ("cross", "market") or session.dataset is None:
        return Note("")
    window = session.dataset.window(index)
    first, last = window.dates[0].date(), window.dates[-1].date()
    return Note(f"what if: market replaced by {first} to {last}")


def map_title(selection: Selection) -> str:
    """Which map is selected, in words."""
    heads = selection.sizes()["head"]
    head = f"mean of {heads} head{'s' * (heads > 1)}" if selection.head is None else f"head {selection.head}"
    return f"{kind_title(selection.kind)}, layer {selection.layer}, {head}"
