"""Undo, redo, copy and full screen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Unicode

_STATIC = Path(__file__).parents[1] / "static"


class Toolbar(anywidget.AnyWidget):
    """Buttons for what a person chose in the widget around them; see ``js/src/toolbar.ts``.

    Ctrl+Z and Ctrl+Shift+Z inside that widget do what the buttons do. Copying and full screen need no kernel.

    Args:
        acts: what ``undo`` and ``redo`` call.
    """

    _esm = (_STATIC / "toolbar.js").read_text(encoding="utf-8")
    _css = (_STATIC / "toolbar.css").read_text(encoding="utf-8")

    #: What would be undone and redone, in words; a button without any is disabled.
    undoes = Unicode().tag(sync=True)
    redoes = Unicode().tag(sync=True)
    #: What is copied, as JSON.
    state = Unicode().tag(sync=True)

    def __init__(self, acts: Mapping[str, Any]) -> None:
        super().__init__()
        self._acts = acts
        self.on_msg(self._on_message)

    def _on_message(self, widget: Any, content: Any, buffers: Any) -> None:
        act = self._acts.get(content.get("act"))
        if act is not None:
            act()
