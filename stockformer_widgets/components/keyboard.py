"""Keys pressed on a view: counted in the pages that show it, handed on in Python."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Bool, Dict, Int, Unicode

from stockformer_widgets.state.observable import changing

#: Key -> what it moves, and by how much; of the views, "horizontal" and "vertical" are what a click selects.
STEPS = {
    "ArrowLeft": ("horizontal", -1),
    "ArrowRight": ("horizontal", 1),
    "ArrowUp": ("vertical", -1),
    "ArrowDown": ("vertical", 1),
    "[": ("layer", -1),
    "]": ("layer", 1),
    "h": ("head", 1),
    "H": ("head", -1),
    "Home": ("query", -sys.maxsize),
    "End": ("query", sys.maxsize),
}
#: Key -> steps of zooming in, and of moving to later days.
ZOOM = {"+": 1, "-": -1}
PAN = {">": 1, "<": -1}

_STATIC = Path(__file__).parents[1] / "static"


class Keyboard(anywidget.AnyWidget):
    """An invisible element of a view that makes it a tab stop and receives its keys.

    Args:
        label: what a screen reader calls the view.
        on_keys: called with the name of a key (``KeyboardEvent.key``) and how
            often it was pressed since the last call.
    """

    # As text: given a path, anywidget keeps a file watcher, and with it every widget ever made.
    _esm = (_STATIC / "keyboard.js").read_text(encoding="utf-8")
    _css = (_STATIC / "keyboard.css").read_text(encoding="utf-8")

    #: Name of the view.
    label = Unicode().tag(sync=True)
    #: Announced by a screen reader when the selection moves while the view has the focus.
    announcement = Unicode().tag(sync=True)
    #: Number of times that pages were asked whether they show the view; those that do answer.
    asks = Int(0).tag(sync=True)
    #: State of one page: its id, in how many places it shows the view, and key -> number of presses so far.
    page = Dict().tag(sync=True, echo_update=False)
    #: Whether a page shows the view; True until the first page does.
    visible = Bool(True)

    def __init__(self, label: str, on_keys: Callable[[str, int], None]) -> None:
        super().__init__(label=label)
        self._on_keys = on_keys
        self._pressed: dict[float, dict[str, int]] = {}  # by page

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Receive the state of a page. Messages of two pages may arrive at the same time, each in its own thread."""
        page = sync_data["page"]
        with changing():
            before = self._pressed.get(page["id"], {})
            self._pressed[page["id"]] = page["pressed"]
            self.visible = page["places"] > 0
            if not self.visible:
                self.asks += 1
        for key, times in page["pressed"].items():
            new = times - before.get(key, 0)
            if new:
                self._on_keys(key, new)
