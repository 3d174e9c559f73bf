"""Mean attention of groups of windows."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any

from ipywidgets import HTML, HBox, Layout, SelectMultiple, Widget

from stockformer.charts.chart import Heatmap
from stockformer.charts.history import mean_maps
from stockformer.explainability import kind_title
from stockformer_widgets.components.drawing import text
from stockformer_widgets.components.heatmap_colors import palette_of
from stockformer_widgets.components.syncing import Syncing
from stockformer_widgets.history.part import Part, choice

#: Choice -> what the maps are means over.
_BY = {"of each regime": "regime", "of each ticker": "ticker", "of each month": "month"}
#: The value of "hidden": a Dropdown takes None to mean that nothing is chosen.
_NONE = ""
#: Groups that are drawn unless others are chosen.
_DRAWN = 8
_NOTE = (
    "Of all windows, whatever the filter, on one scale for all groups; day 0 is the last one of a window. "
    "Ctrl or Shift chooses several groups."
)


class MeanMaps(Part):
    """Attention maps, mean over heads and over the windows of regimes, tickers or months, side by side on one scale.

    Nothing is drawn until a grouping is chosen.
    """

    content = ("maps_of", "map_groups", "map_kind", "map_layer")

    def _build(self) -> tuple[Widget, ...]:
        choices = [("hidden", _NONE), *((words, by) for words, by in _BY.items() if by in self.selection.groupings)]
        self.by, self.kind, self.layer = choice("mean maps", choices), choice("kind", [""]), choice("layer", [0])
        narrow = {"style": {"description_width": "auto"}, "layout": Layout(width="150px")}
        self.groups = SelectMultiple(description="groups", rows=4, **narrow)
        self.image = HTML()
        self.note = HTML(_NOTE)
        self._syncing = Syncing()
        controls = {"maps_of": self.by, "map_groups": self.groups, "map_kind": self.kind, "map_layer": self.layer}
        for name, control in controls.items():
            control.observe(partial(self._choose, name), "value")
        return HBox([*controls.values(), self.note], layout=Layout(flex_flow="row wrap")), self.image

    def _draw(self) -> None:
        by = self.selection.maps_of
        with self._syncing():
            self.by.value = by or _NONE
            for part in (self.groups, self.kind, self.layer, self.note, self.image):
                part.layout.display = None if by else "none"
            if not by:
                return
            maps = self.selection.mean_maps
            self._offer(list(maps))
        kind, layer = self.kind.value, self.layer.value
        cells = {name: one for name, one in mean_maps(maps, kind, layer).items() if name in self.groups.value}
        self.image.layout.display = None if cells else "none"
        if cells:
            self.image.value = _html(cells, f"{kind_title(kind)}, layer {layer}, mean over the windows of each {by}")

    def _mark(self, window: int | None) -> None:
        """A mean is of many windows."""

    def _offer(self, names: list[str]) -> None:
        """Offer the groups, kinds and layers that there are, and show which are chosen."""
        chosen = self.selection
        if self.groups.options != tuple(names):
            self.groups.value = ()  # the page refuses fewer options than are chosen
            self.groups.options = names
        self.groups.value = names[:_DRAWN] if chosen.map_groups is None else chosen.map_groups
        kinds = tuple((kind_title(kind), kind) for kind in chosen.map_layers)
        if self.kind.options != kinds:
            self.kind.options = kinds
        self.kind.value = chosen.map_kind or next(iter(chosen.map_layers))
        layers = tuple(range(chosen.map_layers[self.kind.value]))
        if self.layer.options != layers:
            self.layer.options = layers
        self.layer.value = chosen.map_layer

    def _choose(self, name: str, change: Any) -> None:
        if not self._syncing.running:
            with self.message.reporting():
                value = change["new"]
                if isinstance(value, tuple):
                    value = list(value)
                setattr(self.selection, name, None if value == _NONE else value)


def _html(maps: Mapping[str, Heatmap], title: str) -> str:
    """Maps of the same axes and scale beside each other, with one colour bar."""
    pictures = "".join(_figure(name, body) for name, body in maps.items())
    greyest = max(maps.values(), key=lambda body: len(body.grey))
    return (
        f'<div class="stockformer-title">{text(title)}</div>'
        f'<div class="stockformer-mean-maps">{pictures}</div><div>{palette_of(greyest.palette).legend(greyest)}</div>'
    )


def _figure(name: str, body: Heatmap) -> str:
    """A map under its name, with the first and the last name of each axis."""
    png = b64encode(palette_of(body.palette).encode(body)).decode()
    rows, columns = (
        f"<span><span>{text(axis.names[0])}</span><span>{text(axis.names[-1])}</span></span>" for axis in body.axes
    )
    picture = f'<img alt="Mean map of {text(name)}" src="data:image/png;base64,{png}">'
    return f"<figure><figcaption>{text(name)}</figcaption>{rows}{picture}{columns}</figure>"
