"""Which heads the prediction hangs on."""

from __future__ import annotations

import bqplot as bq
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stockformer.explainability import (
    Summary,
    kind_title,
    plot_head_importance,
    summarize_head_importance,
)
from stockformer.explainability.steps import Steps
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.parts import NEUTRAL, set_marks, text
from stockformer_widgets.views.stepped import SteppedPanels

_COLUMNS = ("gradient", "ablation")


class HeadImportance(SteppedPanels):
    """How much what is explained hangs on each head of the layer: by gradient, and by switching it off.

    A click selects the head. The sentence below is about all heads.
    """

    label = "Importance by head"
    attention = "all"
    follows_session = ("reading", "target")
    follows = ("kind", "layer", "head")
    selects = horizontal = "head"
    mark, titles = bq.Bars, ("importance by gradient", "fall of the target without the head")

    what = "heads"

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    def to_frame(self) -> pd.DataFrame:
        """Every head: ``kind, layer, head, gradient, ablation``; see `stockformer.explainability.head_importance`."""
        return self.session.head_importance().copy()

    def _of_layer(self) -> pd.DataFrame:
        table, where = self.session.head_importance(), self.selection
        return table[(table["kind"] == where.kind) & (table["layer"] == where.layer)]

    def _steps(self) -> Steps[pd.DataFrame]:
        return self.session.head_importance_steps()

    def _draw(self) -> None:
        self._table = self._of_layer()
        heads = len(self._table)
        for panel, title, column in zip(self.panels, self.titles, _COLUMNS, strict=True):
            panel.draw(title, np.arange(heads), self._table[column].to_numpy(), heads, self.selection.head, 0.0)
            set_marks(panel.mark, colors=[NEUTRAL])

    def _describe(self, place: int | None) -> str:
        if place is None:
            return "no head is selected"
        row = self._table.iloc[place]
        return (
            f"head {place}: by gradient <b>{row['gradient']:.4g}</b>, "
            f"without it the target falls by <b>{row['ablation']:.4g}</b>"
        )

    def _notes(self) -> str:
        return f"for {text(self.session.target_name)}"

    def _summary(self) -> Summary:
        return summarize_head_importance(self.session.head_importance())

    def _plot(self) -> Figure:
        where = self.selection
        title = f"{kind_title(where.kind)}, layer {where.layer}: importance by head"
        return plot_head_importance(self._of_layer(), title=title)
