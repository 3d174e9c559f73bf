"""Every head's map at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
from ipywidgets import Widget
from matplotlib.figure import Figure
from torch import Tensor
from traitlets import Bytes, Dict, Int, List

from stockformer.explainability import Summary, head_statistics, kind_title, plot_head_grid, summarize_head_grid
from stockformer_widgets.views.base import View
from stockformer_widgets.views.parts import Titled, exact, text
from stockformer_widgets.wire import describe_maps, display_maps

_STATIC = Path(__file__).parents[1] / "static"


class MapGrid(anywidget.AnyWidget):
    """The pictures of a head grid; it works wherever an anywidget does. See ``js/src/head_grid.ts``."""

    _esm = (_STATIC / "head_grid.js").read_text(encoding="utf-8")
    _css = (_STATIC / "head_grid.css").read_text(encoding="utf-8")

    #: What `describe_maps` says of every map.
    maps = List(Dict()).tag(sync=True)
    #: The weights, by `display_maps`.
    codes = Bytes().tag(sync=True)
    #: The selected layer.
    layer = Int(0).tag(sync=True)
    #: The selected head, or None for the mean of the layer's heads.
    head = Int(None, allow_none=True).tag(sync=True)


class HeadGrid(View):
    """Every layer x head map of the selected kind of attention, on one colour scale or each on its own.

    Above each map stands a statistic, of diffuseness, recency and redundancy the one
    that the maps are sorted by. A click selects layer, head, query and key.
    """

    label = "All heads"
    attention = "kind"
    follows = ("kind", "layer", "head", "query", "key")
    horizontal, vertical = "head", "layer"
    indent = 0

    def to_frame(self) -> pd.DataFrame:
        """Columns ``layer, head, diffuseness, recency, redundancy, largest``, one row per head."""
        return self._heads.assign(largest=[one["largest"] for one in self.grid.maps])

    def _layers(self) -> list[Tensor]:
        """[heads, query, key] per layer."""
        return [maps[0] for maps in self.session.reading.capture.kinds[self.selection.kind]]

    def _masks(self) -> list[Tensor | None]:
        """What is masked in each layer, [heads or 1, query, key]."""
        kind = self.selection.kind
        return [self.session.reading.capture.layer_mask(kind, layer) for layer in range(len(self._layers()))]

    def _build(self) -> tuple[Widget, ...]:
        self.grid = MapGrid()
        self.grid.on_msg(self._on_message)
        self._content: tuple[Any, ...] = ()
        self.plot = Titled(self.grid, self.indent)
        return (self.plot,)

    def _arranged(self, built: tuple[Widget, ...]) -> tuple[Widget, ...]:
        # Above: the maps of a large model are higher than a screen.
        return self.readout, *built

    def _draw(self) -> None:
        content = self._state(("kind",))
        if content != self._content:
            layers, masks = self._layers(), self._masks()
            self._heads = head_statistics(layers, masks)
            with self.grid.hold_sync():
                self.grid.maps = describe_maps(layers, self._heads, masks)
                self.grid.codes = display_maps(layers, masks)
            self.plot.title = f"{kind_title(self.selection.kind)}, all heads"
            self._content = content
        with self.grid.hold_sync():
            self.grid.layer, self.grid.head = self.selection.layer, self.selection.head

    def _on_message(self, widget: Widget, content: dict[str, Any], buffers: Any) -> None:
        with self.message.reporting():
            cell = content["cell"]
            if cell is None:
                self._read_out()
            elif content["event"] == "click":
                with self.selection.hold_trait_notifications():
                    self._select(cell)
            else:
                self._write(self._describe(cell))

    def _select(self, place: dict[str, int]) -> None:
        where = self.selection
        queries, keys = self._layers()[place["layer"]].shape[1:]
        where.layer, where.head = place["layer"], place["head"]
        where.select("query", place["query"], queries)
        where.select("key", place["key"], keys)

    def _selected(self) -> dict[str, int]:
        where = self.selection
        queries, keys = self._layers()[where.layer].shape[1:]
        place = {"layer": where.layer, "query": where.place("query", queries), "key": where.place("key", keys)}
        return place if where.head is None else place | {"head": where.head}

    def _describe(self, place: dict[str, int]) -> str:
        layer, head = place["layer"], place.get("head")
        maps = self._layers()[layer].float()
        weights = maps.mean(dim=0) if head is None else maps[head]
        days = [self.session.reading.days(size) for size in weights.shape]
        which = f"layer {layer}, " + ("mean of the heads" if head is None else f"head {head}")
        where = f"query <b>{text(days[0][place['query']])}</b>, key <b>{text(days[1][place['key']])}</b>"
        mask = self.session.reading.capture.mask(self.selection.kind, layer, head)
        cell = place["query"], place["key"]
        weight = "masked" if mask is not None and mask[cell] else exact(float(weights[cell]))
        found: dict[str, float | None] = next(
            (one["statistics"] for one in self.grid.maps if (one["layer"], one["head"]) == (layer, head)), {}
        )
        numbers = (f"{name} <b>{value:.3f}</b>" for name, value in found.items() if value is not None)
        return "; ".join([f"{which}: {where}, weight <b>{weight}</b>", *numbers])

    def _summary(self) -> Summary:
        return summarize_head_grid(self._heads)

    def _plot(self) -> Figure:
        return plot_head_grid(self._layers(), masks=self._masks(), title=kind_title(self.selection.kind))

    def close(self) -> None:
        self._content = ()
        super().close()
