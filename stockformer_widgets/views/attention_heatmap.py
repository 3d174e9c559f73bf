"""One attention map, query by key."""

from __future__ import annotations

import io

import bqplot as bq
import numpy as np
from ipywidgets import Image, Widget
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image as PILImage

from stockformer_widgets.selection import Selection
from stockformer_widgets.views.base import (
    HIGHLIGHT,
    View,
    axis,
    caption,
    clicked_step,
    figure,
    label_steps,
    on_mouse,
    set_range,
    text,
)

_LEVELS = 255  # palette entries for values; one more is for cells without a number
_COLORMAP = colormaps["viridis"].resampled(_LEVELS)
_MISSING = (150, 150, 150)
_PALETTE = [round(255 * c) for rgb in _COLORMAP(np.arange(_LEVELS))[:, :3] for c in rgb] + list(_MISSING)
_GRADIENT = (
    '<span style="display: inline-block; width: 200px; height: 10px; background: linear-gradient(to right, '
    + ", ".join(to_hex(color) for color in _COLORMAP(np.linspace(0, 1, 16)))
    + ')"></span>'
)


class AttentionHeatmap(View):
    """The selected map: query days down, key days across.

    Colours run from 0 to the map's largest weight; grey is a cell without a
    number. A click selects query and key; the line below names the cell under
    the mouse, or the selected one.
    """

    follows = ("kind", "layer", "head", "query", "key")
    _images: tuple[Image, ...] = ()

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(reverse=True)}
        # The mark redraws when it gets another image, not when the image gets other bytes.
        self._images = tuple(Image(format="png", layout=self.layout) for _ in range(2))
        self.image = bq.Image(image=self._images[0], scales=self.scales)
        self.crosshair = bq.Lines(
            x=[[0, 1]] * 2, y=[[0, 1]] * 2, scales=self.scales, colors=[HIGHLIGHT], stroke_width=1.5, opacities=[0.9]
        )
        self.x_axis = axis(self.scales["x"], "key", grid_lines="none", label_offset="34px")
        self.y_axis = axis(self.scales["y"], "query", side="left", grid_lines="none", label_offset="84px")
        self.figure = figure(
            self.scales,
            [self.image, self.crosshair],
            [self.x_axis, self.y_axis],
            height=460,
        )
        on_mouse(self.figure, ["click", "mousemove", "mouseleave"], self._on_mouse)
        self.color_bar = caption()
        self.readout = caption()
        self._shown: tuple[object, ...] = ()
        return self.figure, self.color_bar, self.readout

    def _draw(self) -> None:
        where = self.selection
        queries, keys = self._draw_map()
        with self.crosshair.hold_sync():
            self.crosshair.x = [[where.key + 0.5] * 2, [0, keys]]
            self.crosshair.y = [[0, queries], [where.query + 0.5] * 2]
        self._read_out(where.query, where.key)

    def close(self) -> None:
        for image in self._images:  # the spare one hangs on no other widget
            image.close()
        super().close()

    def _draw_map(self) -> tuple[int, int]:
        """Show the selected map unless it is on the screen; return its numbers of queries and keys."""
        where, reading = self.selection, self.session.reading
        weights = reading.capture.map(where.kind, where.layer, where.head).numpy()
        queries, keys = weights.shape
        shown = (reading, where.kind, where.layer, where.head)
        if shown == self._shown:
            return queries, keys
        largest = float(np.max(weights, where=np.isfinite(weights), initial=0.0))
        spare = self._images[self.image.image is self._images[0]]
        spare.value = encode(weights, largest)
        with self.image.hold_sync():
            self.image.image = spare
            self.image.x, self.image.y = [0, keys], [queries, 0]
        set_range(self.scales["x"], 0, keys)
        set_range(self.scales["y"], 0, queries)
        self.color_bar.value = f"0 {_GRADIENT} {largest:.4g}"
        label_steps(self.x_axis, [reading.day(step, keys) for step in range(keys)], 4)
        label_steps(self.y_axis, [reading.day(step, queries) for step in range(queries)], 8)
        self.figure.title = map_title(where)
        self._shown = shown
        return queries, keys

    def _on_mouse(self, event: str, x: float, y: float) -> None:
        if event == "mouseleave":
            self._read_out(self.selection.query, self.selection.key)
            return
        size = self.selection.sizes()
        query, key = clicked_step(y, size["query"]), clicked_step(x, size["key"])
        if event == "click":
            with self.selection.hold_trait_notifications():
                self.selection.query, self.selection.key = query, key
        else:
            self._read_out(query, key)

    def _read_out(self, query: int, key: int) -> None:
        where, reading = self.selection, self.session.reading
        weights = reading.capture.map(where.kind, where.layer, where.head)
        weight = float(weights[query, key])
        self.readout.value = (
            f"query <b>{text(reading.day(query, weights.size(0)))}</b>, "
            f"key <b>{text(reading.day(key, weights.size(1)))}</b>, weight <b>{weight:.6g}</b>"
        )


def encode(weights: np.ndarray, largest: float) -> bytes:
    """A map as a PNG of one byte a cell: 0 to `largest` in colour, no number in grey."""
    finite = np.isfinite(weights)
    scaled = np.where(finite, weights, 0.0) / (largest or 1.0) * (_LEVELS - 1)
    cells = np.where(finite, np.rint(np.clip(scaled, 0, _LEVELS - 1)), _LEVELS).astype(np.uint8)
    picture = PILImage.fromarray(cells, mode="P")
    picture.putpalette(_PALETTE)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def map_title(selection: Selection) -> str:
    """Which map is selected, in words."""
    names = {"cross": "Stock to market attention", "self": "Stock self-attention", "market": "Market self-attention"}
    heads = selection.sizes()["head"]
    head = f"mean of {heads} heads" if selection.head is None else f"head {selection.head}"
    return f"{names.get(selection.kind, selection.kind)}, layer {selection.layer}, {head}"
