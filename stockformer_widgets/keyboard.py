"""Keys pressed on a view, from the page to the selection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Dict, Int, Unicode, observe

_STATIC = Path(__file__).parent / "static"


class Keyboard(anywidget.AnyWidget):
    """A part of a view, without a picture, that makes the view a tab stop and hears its keys.

    Args:
        label: what a screen reader calls the view.
        on_keys: called with the name of a key (``KeyboardEvent.key``) and how
            often it was pressed since the last call.
    """

    # Their text: of a path anywidget would keep a watcher, and with it every widget that was ever made.
    _esm = (_STATIC / "keyboard.js").read_text(encoding="utf-8")
    _css = (_STATIC / "keyboard.css").read_text(encoding="utf-8")

    #: Name of the view.
    label = Unicode().tag(sync=True)
    #: What a screen reader says when the selection moves while the view has the focus.
    says = Unicode().tag(sync=True)
    #: In how many places of the page the view stands.
    places = Int(0).tag(sync=True)
    #: Key -> how often it was pressed so far.
    pressed = Dict().tag(sync=True)

    def __init__(self, label: str, on_keys: Callable[[str, int], None]) -> None:
        super().__init__(label=label)
        self._on_keys = on_keys

    @observe("pressed")
    def _count(self, change: Any) -> None:
        for key, times in change["new"].items():
            new = times - change["old"].get(key, 0)
            if new:
                self._on_keys(key, new)
