"""Names of sliders for screen readers."""

from __future__ import annotations

from pathlib import Path

import anywidget
from traitlets import List, Unicode

_STATIC = Path(__file__).parents[1] / "static"


class SliderNames(anywidget.AnyWidget):
    """An invisible element that names the sliders beside it, in the same box; see ``js/src/slider_names.ts``.

    Args:
        names: one per handle, in the order of the page; a range has two.
    """

    _esm = (_STATIC / "slider_names.js").read_text(encoding="utf-8")
    _css = (_STATIC / "slider_names.css").read_text(encoding="utf-8")

    names = List(Unicode()).tag(sync=True)

    def __init__(self, *names: str) -> None:
        super().__init__(names=list(names))
