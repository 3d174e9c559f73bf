"""Mean attention of groups of windows."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from ipywidgets import HTML, HBox, Layout, SelectMultiple, Widget
from torch import Tensor

from stockformer.charts.draw import draw_side_by_side
from stockformer.charts.figures import render
from stockformer.charts.history import mean_maps
from stockformer.explainability import kind_title
from stockformer.survey.run import MOST_TICKERS
from stockformer_widgets.components.drawing import text
from stockformer_widgets.components.syncing import Syncing
from stockformer_widgets.history.part import Part, choice

#: Choice -> what the maps are means over, nothing for the first.
_BY = {"hidden": "", "of each regime": "regime", "of each ticker": "ticker", "of each month": "month"}
#: Groups that are drawn unless others are chosen.
_DRAWN = 8
_DPI = 100
_NOTE = (
    "Of all windows, whatever the filter, on one scale for all groups; day 0 is the last one of a window. "
    "Ctrl or Shift chooses several groups."
)


class MeanMaps(Part):
    """Attention maps, mean over heads and over the windows of regimes, tickers or months, side by side on one scale.

    None are drawn before a grouping is chosen.
    """

    def _build(self) -> tuple[Widget, ...]:
        few = len(self.selection.tickers) <= MOST_TICKERS
        self.by = choice("mean maps", [(words, by) for words, by in _BY.items() if few or by != "ticker"])
        self.kind, self.layer = choice("kind", [""]), choice("layer", [0])
        narrow = {"style": {"description_width": "auto"}, "layout": Layout(width="150px")}
        self.groups = SelectMultiple(description="groups", rows=4, **narrow)
        self.image = HTML()  # an Image has no words for who cannot see it
        self.note = HTML(_NOTE)
        self._syncing = Syncing()
        self._maps: dict[str, dict[str, dict[str, Tensor]]] = {}
        controls = [self.by, self.groups, self.kind, self.layer]
        for control in controls:
            control.observe(self._chosen, "value")
        return HBox([*controls, self.note], layout=Layout(flex_flow="row wrap")), self.image

    def _draw(self) -> None:
        by = self.by.value
        for part in (self.groups, self.kind, self.layer, self.note, self.image):
            part.layout.display = None if by else "none"
        if not by:
            return
        maps = self._maps_by(by)
        with self._syncing():
            self._offer(maps)
        kind, layer = self.kind.value, self.layer.value
        cells = {name: one for name, one in mean_maps(maps, kind, layer).items() if name in self.groups.value}
        self.image.layout.display = None if cells else "none"
        if cells:
            title = f"{kind_title(kind)}, layer {layer}, mean over the windows of each {by}"
            png = b64encode(render(draw_side_by_side(cells, title), _DPI)).decode()
            self.image.value = f'<img alt="{text(title)}" style="max-width: 100%" src="data:image/png;base64,{png}">'

    def _mark(self, window: int | None) -> None:
        """A mean is of many windows."""

    def _offer(self, maps: dict[str, dict[str, Tensor]]) -> None:
        """Offer the groups, kinds and layers that there are."""
        names = tuple(maps)
        if self.groups.options != names:
            self.groups.value = ()  # the page refuses fewer options than are chosen
            self.groups.options = names
            self.groups.value = names[:_DRAWN]
        by_kind = maps[names[0]]
        kinds = tuple((kind_title(kind), kind) for kind in by_kind)
        if self.kind.options != kinds:
            self.kind.options = kinds
        layers = tuple(range(len(by_kind[self.kind.value])))
        if self.layer.options != layers:
            self.layer.options = layers

    def _maps_by(self, by: str) -> dict[str, dict[str, Tensor]]:
        """The maps of a grouping by the name of the group, in the order of names; read once."""
        if by not in self._maps:
            self._maps[by] = dict(sorted(self.survey.mean_maps(by).items()))
        return self._maps[by]

    def _chosen(self, change: Any) -> None:
        if not self._syncing.running:
            with self.message.reporting():
                self._draw()
