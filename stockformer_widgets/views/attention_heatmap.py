"""One attention map, query by key."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stockformer.explainability import Summary, kind_title, plot_attention_heatmap, summarize_map
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.maps import Cells, MapView
from stockformer_widgets.views.parts import text


class AttentionHeatmap(MapView):
    """The selected map: query days down, key days across.

    Colours run from 0 to the largest weight, over the maps of all sessions of the
    selection; grey is a cell without a number. A click selects query and key.
    """

    label = "Attention map"
    content = ("kind", "layer", "head")
    follows = (*content, "query", "key")
    height, named_rows = 380, 8
    axes_text = "query ↓ key →"

    def to_frame(self) -> pd.DataFrame:
        """Columns ``query, query_day, key, key_day, weight``, one row a cell."""
        cells = self._read()
        queries, keys = (index.ravel() for index in np.indices(cells.values.shape))
        return pd.DataFrame(
            {
                "query": queries,
                "query_day": np.array(cells.rows)[queries],
                "key": keys,
                "key_day": np.array(cells.columns)[keys],
                "weight": cells.values.ravel(),
            }
        )

    def _read(self) -> Cells:
        where, reading = self.selection, self.session.reading
        weights, *_ = maps = [selected_map(session, where) for session in (self.session, *where.open_sessions)]
        largest = max(float(np.max(one, where=np.isfinite(one), initial=0.0)) for one in maps)
        queries, keys = weights.shape
        return Cells(weights, 0.0, largest, reading.days(queries), reading.days(keys), map_title(where))

    def _selected(self) -> tuple[int, int]:
        return self.selection.query, self.selection.key

    def _select(self, place: tuple[int, int]) -> None:
        self.selection.query, self.selection.key = place

    def _describe_cell(self, row: int, column: int) -> str:
        cells = self._cells
        return (
            f"query <b>{text(cells.rows[row])}</b>, key <b>{text(cells.columns[column])}</b>, "
            f"weight <b>{cells.values[row, column]:.6g}</b>"
        )

    def _notes(self) -> str:
        return market_note(self.session, self.selection)

    def _summary(self) -> Summary:
        where = self.selection
        return summarize_map(self.session.reading.capture.map(where.kind, where.layer, where.head))

    def _plot(self) -> Figure:
        where, reading = self.selection, self.session.reading
        weights = reading.capture.map(where.kind, where.layer, where.head)
        queries, keys = (reading.days(length) for length in weights.shape)
        return plot_attention_heatmap(weights, title=map_title(where), query_dates=queries, key_dates=keys)


def market_note(session: ExtractorSession, selection: Selection) -> str:
    """Whose market the keys are, where `what_if` put another one in the place of the sample's."""
    index = session.change.market_from
    if index is None or selection.kind not in ("cross", "market") or session.dataset is None:
        return ""
    window = session.dataset.window(index)
    first, last = window.dates[0].date(), window.dates[-1].date()
    return f"what if: the market days are {first} to {last}, read in the place of this sample's"


def selected_map(session: ExtractorSession, selection: Selection) -> np.ndarray:
    """The selected map of a session, [query, key]."""
    return session.reading.capture.map(selection.kind, selection.layer, selection.head).numpy()


def map_title(selection: Selection) -> str:
    """Which map is selected, in words."""
    heads = selection.sizes()["head"]
    head = f"mean of {heads} head{'s' * (heads > 1)}" if selection.head is None else f"head {selection.head}"
    return f"{kind_title(selection.kind)}, layer {selection.layer}, {head}"
