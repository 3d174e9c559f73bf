"""The colours of heatmaps: cells as a PNG, and their colour bar."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from stockformer.charts.chart import GREY, Heatmap
from stockformer_widgets.components.drawing import HIGHLIGHT

_LEVELS = 255  # palette entries for values; one more is for cells without a number
_BAR = 100  # pixels: with a number on either side it fits into a view of 320


class Palette:
    """The colours of a heatmap: a matplotlib colour map, and grey for cells without a number."""

    def __init__(self, name: str) -> None:
        colors = colormaps[name].resampled(_LEVELS)
        entries = [*colors(np.arange(_LEVELS))[:, :3], to_rgb(GREY)]
        self._entries = [round(255 * channel) for color in entries for channel in color]
        self._stops = ", ".join(to_hex(color) for color in colors(np.linspace(0, 1, 16)))

    def encode(self, body: Heatmap) -> bytes:
        """Cells [rows, columns] as a PNG of one byte per cell."""
        colored, scale = np.isfinite(body.cells), body.scale
        places = scale.places(np.where(colored, body.cells, scale.low))
        levels = np.where(colored, np.rint(places * (_LEVELS - 1)), _LEVELS).astype(np.uint8)
        picture = Image.fromarray(levels, mode="P")
        picture.putpalette(self._entries)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        return buffer.getvalue()

    def legend(self, body: Heatmap) -> str:
        """What is down and across, and a colour bar with its reference line and what grey means, as HTML."""
        scale, axes = body.scale, f"{body.rows.label} ↓ {body.columns.label} → &nbsp; "
        fill, words = f"linear-gradient(to right, {self._stops})", ""
        if body.reference is not None:
            value, name = body.reference
            line = f"linear-gradient({HIGHLIGHT}, {HIGHLIGHT}) {_BAR * scale.places(value):.0f}px 0 / 2px 100%"
            fill = f"{line} no-repeat, {fill}"
            words = " &nbsp; " + _whole(f'<span style="color: {HIGHLIGHT}">|</span> {name} {body.end(value)}')
        if body.grey:
            words += f' &nbsp; <span style="color: {GREY}">■</span> {body.grey}'
        bar = f'<span style="display: inline-block; width: {_BAR}px; height: 9px; background: {fill}"></span>'
        first, last = body.end(scale.low), body.end(scale.high)
        if scale.log:
            return f"{axes}{_whole(f'≤ {first} {bar} {last}')} logarithmic{words}"
        return axes + _whole(f"{first} {bar} {last}") + words


def _whole(words: str) -> str:
    """HTML that no line break cuts."""
    return f'<span style="white-space: nowrap">{words}</span>'


palette_of = cache(Palette)
