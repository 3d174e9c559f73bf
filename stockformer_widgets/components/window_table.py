"""Windows as rows: a click on a header sorts, a click on a row opens its window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
from traitlets import Bool, Int, List, Unicode

from stockformer.survey.words import named

_STATIC = Path(__file__).parents[1] / "static"


class WindowTable(anywidget.AnyWidget):
    """A table of windows; see ``js/src/window_table.ts``.

    Args:
        sort: called when a person asks for another order.
        go: called with the window of the row that a person chose.
    """

    _esm = (_STATIC / "window_table.js").read_text(encoding="utf-8")
    _css = (_STATIC / "window_table.css").read_text(encoding="utf-8")

    #: Titles of the columns, and the names by which they sort.
    titles = List(Unicode()).tag(sync=True)
    names = List(Unicode()).tag(sync=True)
    #: The rows as text, and the window of each.
    rows = List(List(Unicode())).tag(sync=True)
    windows = List(Int()).tag(sync=True)
    #: The column that the rows are sorted by.
    order = Unicode("date").tag(sync=True)
    descending = Bool(False).tag(sync=True)
    #: The window that is marked, or -1.
    selected = Int(-1).tag(sync=True)

    def __init__(self, sort: Callable[[], None], go: Callable[[int], None]) -> None:
        super().__init__()
        self._sort, self._go = sort, go
        self.on_msg(self._on_message)

    def fill(self, frame: pd.DataFrame, in_words: Callable[[str, float], str]) -> None:
        """Show the rows of a table whose first column is ``window``.

        Args:
            in_words: a number of a column, and its name, as text.
        """
        columns = [str(name) for name in frame if name != "window"]
        texts = [
            [in_words(name, value) if isinstance(value, float) else cell_text(value) for value in frame[name]]
            for name in columns
        ]
        with self.hold_sync():
            self.names, self.titles = columns, list(map(named, columns))
            self.windows = [int(window) for window in frame["window"]]
            self.rows = [list(row) for row in zip(*texts, strict=True)]

    def _on_message(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if "window" in content:
            self._go(int(content["window"]))
        elif content.get("sort") in self.names:
            with self.hold_sync():
                self.descending = content["sort"] == self.order and not self.descending
                self.order = content["sort"]
            self._sort()


def cell_text(value: Any) -> str:
    """A value as the text of a cell."""
    if isinstance(value, pd.Timestamp):
        return str(value.date())
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.4g}"
    return str(value)
