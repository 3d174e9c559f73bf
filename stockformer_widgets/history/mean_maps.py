"""Mean attention of groups of windows."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ipywidgets import HTML, HBox, Image, Layout, Widget
from torch import Tensor

from stockformer.charts.draw import draw_side_by_side
from stockformer.charts.figures import render
from stockformer.charts.history import mean_maps
from stockformer.explainability import kind_title
from stockformer.survey.run import MOST_TICKERS
from stockformer_widgets.components.syncing import Syncing
from stockformer_widgets.history.part import Part, choice

#: Choice -> what the maps are means over, nothing for the first.
_BY = {"hidden": "", "of each regime": "regime", "of each ticker": "ticker"}
_DPI = 100
_NOTE = "Of all windows, whatever the filter; day 0 is the last one of a window."


class MeanMaps(Part):
    """Attention maps, mean over heads and over the windows of every regime or ticker, side by side on one scale.

    None are drawn before a grouping is chosen.
    """

    def _build(self) -> tuple[Widget, ...]:
        few = len(self.selection.tickers) <= MOST_TICKERS
        self.by = choice("mean maps", [(words, by) for words, by in _BY.items() if few or by != "ticker"])
        self.kind, self.layer = choice("", [""]), choice("layer", [0])
        self.image = Image(format="png", layout=Layout(max_width="100%", object_fit="contain"))
        self.note = HTML(_NOTE)
        self._syncing = Syncing()
        for control in (self.by, self.kind, self.layer):
            control.observe(self._chosen, "value")
        return HBox([self.by, self.kind, self.layer, self.note], layout=Layout(flex_flow="row wrap")), self.image

    def _draw(self) -> None:
        chosen = bool(self.by.value)
        for part in (self.kind, self.layer, self.note, self.image):
            part.layout.display = None if chosen else "none"
        if chosen:
            with self._syncing():
                self._offer()
            kind, layer = self.kind.value, self.layer.value
            cells = mean_maps(self._maps[self.by.value], kind, layer)
            title = f"{kind_title(kind)}, layer {layer}, mean over the windows of each {self.by.value}"
            self.image.value = render(draw_side_by_side(cells, title), _DPI)

    def _mark(self, window: int | None) -> None:
        """A mean is of many windows."""

    def _offer(self) -> None:
        """Offer the kinds and layers that there are."""
        by_kind = next(iter(self._maps[self.by.value].values()))
        kinds = tuple((kind_title(kind), kind) for kind in by_kind)
        if self.kind.options != kinds:
            self.kind.options = kinds
        layers = tuple(range(len(by_kind[self.kind.value])))
        if self.layer.options != layers:
            self.layer.options = layers

    @cached_property
    def _maps(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        return {by: self.survey.mean_maps(by) for _, by in self.by.options if by}

    def _chosen(self, change: Any) -> None:
        if not self._syncing.running:
            with self.message.reporting():
                self._draw()
