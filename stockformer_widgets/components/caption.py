"""The text below a picture: the selected place, what the picture says, how far to trust it, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anywidget
import numpy as np
from traitlets import Bool, Dict, List

from stockformer.charts.chart import Chart, Heatmap, Panels
from stockformer.charts.figures import well_formed
from stockformer_widgets.components.window_table import cell_text

_STATIC = Path(__file__).parents[1] / "static"
_MOST_CELLS = 4000  # of a table in the page


class Phrase(NamedTuple):
    """Words, their value, and the colour of their swatch."""

    words: str = ""
    value: str = ""
    color: str = ""


def spoken(phrases: Iterable[Phrase]) -> str:
    """Phrases in plain text."""
    return ", ".join(" ".join(filter(None, (one.words, one.value))) for one in phrases)


class Caption(anywidget.AnyWidget):
    """The text below a picture; see ``js/src/caption.ts``.

    Args:
        table: makes the table below "every value", as `table_of` does; None where it cannot.
    """

    _esm = (_STATIC / "view_caption.js").read_text(encoding="utf-8")
    _css = (_STATIC / "view_caption.css").read_text(encoding="utf-8")

    #: Phrases on the selected place, or on the one under the mouse.
    reading: Any = List().tag(sync=True)
    at_pointer = Bool(False).tag(sync=True)
    #: A ``Text`` of ``js/src/caption.ts``.
    text = Dict().tag(sync=True)

    def __init__(self, table: Callable[[], dict[str, Any] | None]) -> None:
        super().__init__(text=text_of(Chart("", Panels(()))))
        self._table = table
        self.on_msg(self._on_message)

    def read(self, phrases: Sequence[Phrase], *, at_pointer: bool = False) -> None:
        """Describe the selected place, or the one under the mouse."""
        with self.hold_sync():
            self.reading = _plain(phrases)
            self.at_pointer = at_pointer

    def tell(self, chart: Chart) -> None:
        """Say what a chart shows."""
        self.text = text_of(chart)

    def _on_message(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        if content.get("ask") == "table" and (table := self._table()) is not None:
            self.send({"table": table})


def text_of(chart: Chart) -> dict[str, Any]:
    """The words of a chart as a ``Text`` of ``js/src/caption.ts``."""
    summary = chart.summary
    findings = [vars(one) | {"value": one.value if np.isfinite(one.value) else None} for one in summary.findings]
    text: dict[str, Any] = _plain(
        {
            "caveats": chart.caveats,
            "summary": {"verdict": summary.verdict, "findings": findings, "subject": summary.subject},
            "notes": list(map(vars, chart.notes)),
            "doubt": None if chart.doubt is None else vars(chart.doubt),
            "legend": chart.legend,
            "empty": chart.empty,
        }
    )
    return text


def table_of(chart: Chart) -> dict[str, Any]:
    """A ``Table`` of ``js/src/caption.ts``: rows and columns of a heatmap, else the rows of `Chart.table`."""
    body = chart.body
    if isinstance(body, Heatmap):
        columns = [body.rows.label, *body.columns.names]
        of, most = len(body.rows.names), _MOST_CELLS // len(columns)
        rows = [
            [name, *(body.words(row, column) for column in range(len(body.columns.names)))]
            for row, name in enumerate(body.rows.names[:most])
        ]
    else:
        frame = chart.table
        columns = [str(name).replace("_", " ") for name in frame]
        of, most = len(frame), _MOST_CELLS // max(len(columns), 1)
        rows = [list(map(cell_text, row)) for row in frame.head(most).itertuples(index=False)]
    table: dict[str, Any] = _plain({"columns": columns, "rows": rows, "of": of})
    return table


def _plain(value: Any) -> Any:
    """A value as dictionaries, lists, numbers and texts that JSON can hold, whatever names the data has."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if value is None or isinstance(value, bool | int | float):
        return value
    return [_plain(one) for one in value]
