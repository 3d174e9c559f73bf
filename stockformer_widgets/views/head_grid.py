"""Every head's map at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
from ipywidgets import Widget
from torch import Tensor
from traitlets import Bytes, Dict, Int, List

from stockformer.charts.chart import Chart
from stockformer.charts.figures import day_labels
from stockformer.charts.maps import day_map, head_grid, head_maps
from stockformer.explainability import head_statistics, kind_title
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import Titled
from stockformer_widgets.components.head_maps import describe_maps, display_maps
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import View
from stockformer_widgets.views.heatmap import cell_phrases

_STATIC = Path(__file__).parents[1] / "static"


class MapGrid(anywidget.AnyWidget):
    """The maps of a head grid, in any host of anywidgets. See ``js/src/head_grid.ts``."""

    _esm = (_STATIC / "head_grid.js").read_text(encoding="utf-8")
    _css = (_STATIC / "head_grid.css").read_text(encoding="utf-8")

    #: `describe_maps` of the grid.
    maps = List(Dict()).tag(sync=True)
    #: `display_maps` of the grid.
    codes = Bytes().tag(sync=True)
    #: The selected layer.
    layer = Int(0).tag(sync=True)
    #: The selected head, or None for the mean of the layer's heads.
    head = Int(None, allow_none=True).tag(sync=True)


class HeadGrid(View):
    """Every layer x head map of the selected kind of attention, on one colour scale or each on its own.

    Above each map is the statistic that the maps are sorted by: diffuseness, recency or redundancy. A click selects
    layer, head, query and key.
    """

    label = "All heads"
    attention = "kind"
    content = ("kind",)
    follows = ("kind", "layer", "head", "query", "key")
    horizontal, vertical = "head", "layer"
    indent = 0

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        return False  # two grids are compared side by side

    #: The chart in the page.
    _painted: Chart | None = None

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        kind, capture = where.kind, session.reading.capture
        layers = [maps[0] for maps in capture.kinds[kind]]
        masks = [capture.layer_mask(kind, layer) for layer in range(len(layers))]
        maps = [
            head_maps(weights, _days(session, weights), labels=day_labels(kind), mask=mask)
            for weights, mask in zip(layers, masks, strict=True)
        ]
        return head_grid(maps, head_statistics(layers, masks), f"{kind_title(kind)}, all heads")

    def _build(self) -> tuple[Widget, ...]:
        self.grid = MapGrid()
        self.grid.on_msg(self._on_message)
        self.plot = Titled(self.grid)
        return (self.plot,)

    def _arranged(self, built: tuple[Widget, ...]) -> tuple[Widget, ...]:
        # The caption is above: the maps of a large model are taller than a screen.
        return self.caption, *built

    def _draw(self) -> None:
        if self.chart is not self._painted:
            with self.grid.hold_sync():
                self.grid.maps = describe_maps(self._body)
                self.grid.codes = display_maps(self._body)
            self.plot.title = self.chart.title
            self._painted = self.chart
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
                self.caption.read(self._describe(cell), at_pointer=True)

    def _select(self, place: dict[str, int]) -> None:
        rows, columns = self._body.maps[place["layer"]][place["head"]].axes
        self.selection.layer, self.selection.head = place["layer"], place["head"]
        self._select_on(rows, place["query"])
        self._select_on(columns, place["key"])

    def _marked(self) -> dict[str, int]:
        where = self.selection
        return {"layer": where.layer} | ({} if where.head is None else {"head": where.head})

    def _selected(self) -> dict[str, int]:
        place = self._marked()
        rows, columns = self._body.maps[place["layer"]][0].axes
        return place | {axis.sets: self.selection.place(axis.sets, len(axis.names)) for axis in (rows, columns)}

    def _describe(self, place: dict[str, int]) -> list[Phrase]:
        which = self.selection.kind, place["layer"], place.get("head")
        capture, body = self.session.reading.capture, self._body
        weights = capture.map(*which)
        cells = day_map(weights, _days(self.session, weights), mask=capture.mask(*which))
        _, layer, head = which
        name = Phrase(f"layer {layer}, " + ("mean of the heads" if head is None else f"head {head}"))
        rows = body.statistics[(body.statistics["layer"] == layer) & (body.statistics["head"] == head)]
        numbers = rows.drop(columns=["layer", "head"]).squeeze(axis=0).dropna() if len(rows) else {}
        words = (Phrase(str(of), f"{value:.3f}") for of, value in numbers.items())
        return [name, *cell_phrases(cells, place["query"], place["key"]), *words]

    def close(self) -> None:
        self._painted = None
        super().close()


def _days(session: ExtractorSession, weights: Tensor) -> tuple[list[str], list[str]]:
    """Names of the queries and the keys of maps [..., query, key]."""
    return session.reading.days(weights.size(-2)), session.reading.days(weights.size(-1))
