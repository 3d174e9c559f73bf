"""How attention changes from layer to layer."""

from __future__ import annotations

import bqplot as bq
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import Summary, kind_title, plot_layer_evolution, summarize_layers
from stockformer.explainability.statistics import diffuseness, entropy, sparsity
from stockformer_widgets.views.panels import PanelView, equal_lengths
from stockformer_widgets.views.parts import LINE_COLORS, set_marks, swatches, text

#: Of each head's own map, then averaged: the mean map of the heads has other numbers.
_NUMBERS = {"mean diffuseness of the heads": diffuseness, "mean sparsity of the heads": sparsity}


class LayerEvolution(PanelView):
    """Diffuseness and sparsity of every kind of attention by layer, mean of the heads. A click selects the layer."""

    label = "Attention by layer"
    attention = "kind"
    follows = ("kind", "layer")
    selects = horizontal = "layer"
    mark, titles = bq.Lines, tuple(_NUMBERS)

    def to_frame(self) -> pd.DataFrame:
        """Columns ``kind, layer, head, entropy, diffuseness, sparsity``, one row per head."""
        tables = [
            pd.DataFrame(
                {
                    "kind": kind,
                    "layer": layer,
                    "head": range(maps.size(1)),
                    **{
                        compute.__name__: compute(maps[0].float(), self._mask(kind, layer)).numpy()
                        for compute in (entropy, diffuseness, sparsity)
                    },
                }
            )
            for kind, layers in self.session.reading.capture.kinds.items()
            for layer, maps in enumerate(layers)
        ]
        return pd.concat(tables, ignore_index=True)

    def _mask(self, kind: str, layer: int) -> Tensor | None:
        return self.session.reading.capture.layer_mask(kind, layer)

    def _draw(self) -> None:
        kinds = self.session.reading.capture.kinds
        layers = max(map(len, kinds.values()))
        colors = [LINE_COLORS[number % len(LINE_COLORS)] for number in range(len(kinds))]
        for panel, (title, compute) in zip(self.panels, _NUMBERS.items(), strict=True):
            by_layer = [
                [float(compute(one[0].float(), self._mask(kind, layer)).mean()) for layer, one in enumerate(maps)]
                for kind, maps in kinds.items()
            ]
            places = equal_lengths([[*map(float, range(len(line)))] for line in by_layer])
            panel.draw(title, places, equal_lengths(by_layer), layers, self.selection.layer, top=1.0)
            set_marks(panel.mark, colors=colors, marker="circle", marker_size=40)
        self._legend = swatches(colors, [kind_title(kind) for kind in kinds], [""] * len(kinds))

    def _describe(self, place: int) -> str:
        kind = self.selection.kind
        maps, mask = self.session.reading.capture.kinds[kind][place][0].float(), self._mask(kind, place)
        numbers = ", ".join(
            f"{name} <b>{float(compute(maps, mask).mean()):.3f}</b>" for name, compute in _NUMBERS.items()
        )
        return f"{text(kind_title(kind))}, layer {place}: {numbers}"

    def _notes(self) -> str:
        return self._legend

    def _summary(self) -> Summary:
        kind = self.selection.kind
        maps = [one[0].float() for one in self.session.reading.capture.kinds[kind]]
        return summarize_layers(maps, [self._mask(kind, layer) for layer in range(len(maps))])

    def _plot(self) -> Figure:
        return plot_layer_evolution(self.session.reading.capture.to_dict(), self.selection.kind)
