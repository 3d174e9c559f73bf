"""Whether the prediction uses where attention looks."""

from __future__ import annotations

import bqplot as bq
import pandas as pd
from matplotlib.figure import Figure

from stockformer.explainability import (
    Summary,
    kind_title,
    plot_attention_effects,
    summarize_effects,
)
from stockformer.explainability.steps import Steps
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.panels import equal_lengths
from stockformer_widgets.views.parts import LINE_COLORS, set_marks, swatches, text
from stockformer_widgets.views.stepped import SteppedPanels

_COLUMNS = ("flat", "permuted")


class AttentionEffects(SteppedPanels):
    """What the target does when a layer's attention is flat, or shuffled within its rows. A click selects the layer."""

    label = "Effect of attention by layer"
    attention = "all"
    follows_session = ("reading", "target")
    follows = ("kind", "layer")
    selects = horizontal = "layer"
    mark, titles = bq.Lines, ("change with flat attention", "change with shuffled attention")

    what = "effects"

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    def to_frame(self) -> pd.DataFrame:
        """Columns ``kind, layer, flat, permuted``; see `stockformer.explainability.attention_effects`."""
        return self.session.attention_effects().copy()

    def _steps(self) -> Steps[pd.DataFrame]:
        return self.session.attention_effects_steps()

    def _draw(self) -> None:
        self._table = self.session.attention_effects()
        kinds = list(dict.fromkeys(self._table["kind"]))
        colors = [LINE_COLORS[number % len(LINE_COLORS)] for number in range(len(kinds))]
        layers = int(self._table["layer"].max()) + 1
        for panel, title, column in zip(self.panels, self.titles, _COLUMNS, strict=True):
            lines = [self._table[self._table["kind"] == kind][column].tolist() for kind in kinds]
            places = equal_lengths([[*map(float, range(len(line)))] for line in lines])
            panel.draw(title, places, equal_lengths(lines), layers, self.selection.layer, top=0.0)
            set_marks(panel.mark, colors=colors, marker="circle", marker_size=40)
        self._legend = swatches(colors, [kind_title(kind) for kind in kinds], [""] * len(kinds))

    def _describe(self, place: int) -> str:
        kind = self.selection.kind
        row = self._table[(self._table["kind"] == kind) & (self._table["layer"] == place)]
        if row.empty:
            return ""
        flat, permuted = row[[*_COLUMNS]].to_numpy()[0]
        return f"{text(kind_title(kind))}, layer {place}: flat <b>{flat:+.4g}</b>, shuffled <b>{permuted:+.4g}</b>"

    def _notes(self) -> str:
        return f"{self._legend}<br>for {text(self.session.target_name)} = {self.session.trace().value:.4g}"

    def _summary(self) -> Summary:
        return summarize_effects(self.session.attention_effects(), self.session.trace().value)

    def _plot(self) -> Figure:
        return plot_attention_effects(self.session.attention_effects())
