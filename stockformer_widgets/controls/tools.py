"""The side panel of the explorer: what if, another sample beside it, export, keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from ipywidgets import HTML, Accordion, Button, DatePicker, Dropdown, Layout, Text, VBox, Widget

from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.controls.base import wide
from stockformer_widgets.state.session import ExtractorSession

_KEYS = {
    "arrows": "move what a click selects",
    "[ ]": "layer",
    "h H": "head; after the last one the mean",
    "Home End": "first and last day",
    "+ - 0": "zoom in, zoom out, all days",
    "&lt; &gt;": "earlier and later days, when zoomed in",
    "Esc": "an enlarged view back to its place; else no feature, no class",
    "Ctrl+Z": "undo",
    "Ctrl+Shift+Z": "redo",
}
_WIDE = {"width": "270px"}
_ROWS = "".join(f"<tr><th><kbd>{keys}</kbd></th><td>{what}</td></tr>" for keys, what in _KEYS.items())


class Tools(Accordion):
    """Sections of controls that are needed only sometimes; hidden until `layout.display` is None.

    Args:
        sections: title -> what is in it.
    """

    def __init__(self, sections: Mapping[str, Widget]) -> None:
        super().__init__(
            children=list(sections.values()),
            titles=list(sections),
            selected_index=0,
            layout=Layout(display="none"),
        )
        self.add_class("stockformer-panel")


class CompareControls(VBox):
    """Another sample, to be shown beside this one.

    Args:
        session: it has a dataset.
        compare: called with the index of the other sample.
    """

    def __init__(self, session: ExtractorSession, compare: Callable[[int], None], message: MessageLine) -> None:
        assert session.dataset is not None
        tickers, ends = list(dict.fromkeys(session.dataset.end_tickers)), session.dataset.end_dates
        self.ticker = Dropdown(description="ticker", options=tickers, **wide(50, 270))
        self.day = DatePicker(description="day", value=ends.max().date(), **wide(50, 270))
        self.compare = Button(description="show beside this day", layout=_WIDE)

        def clicked(button: Button) -> None:
            with message.reporting():
                if self.day.value is None or session.dataset is None:
                    raise ValueError("choose a day to compare with")
                compare(session.dataset.index_until(pd.Timestamp(self.day.value), self.ticker.value))

        self.compare.on_click(clicked)
        super().__init__([self.ticker, self.day, self.compare])


class ExportControls(VBox):
    """Files of what is on the screen.

    Args:
        writers: suffix of the file -> what writes it to a path.
    """

    def __init__(self, writers: Mapping[str, Callable[[Path], Path]], message: MessageLine) -> None:
        self.path = Text(value="explorer.html", description="file", continuous_update=False, **wide(50, 270))
        suffixes = " or ".join(writers)
        self.write = Button(description="write", tooltip=f"a file that ends in {suffixes}", layout=_WIDE)

        def clicked(button: Button) -> None:
            with message.reporting():
                path = Path(self.path.value.strip())
                if path.suffix.lower() not in writers:
                    raise ValueError(f"expected a path that ends in {suffixes}, found {str(path)!r}")
                written = writers[path.suffix.lower()](path)
                message.note(f"{written} is written, {written.stat().st_size / 1e6:.1f} MB")

        self.write.on_click(clicked)
        super().__init__([HTML("A page (.html) works without Python; a picture is a .png."), self.path, self.write])


def keys_help() -> HTML:
    """The keys, as a table."""
    return HTML(f'<table class="stockformer-keys">{_ROWS}</table>')
