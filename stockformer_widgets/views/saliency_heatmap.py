"""Which feature counted on which day."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from stockformer.explainability import Summary, plot_saliency_map, saliency_frame
from stockformer_widgets.explaining import EXPLAINS
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.attributed import AttributedView
from stockformer_widgets.views.maps import DIVERGING, Cells, MapView
from stockformer_widgets.views.parts import neighbour, text

_SHOWN = 24


class SaliencyHeatmap(AttributedView, MapView):
    """Signed attribution by feature and day, the features with the largest magnitudes on top.

    Red days push the explained output up, blue ones down. Where stock and market
    have different lengths their last days are aligned. A click selects feature
    and day.
    """

    label = "Saliency by feature and day"
    follows_session = ("reading", *EXPLAINS)
    content = ()
    follows = ("feature", "query", "shown_queries")
    horizontal, vertical = "query", "feature"
    height, named_rows, left = 400, _SHOWN, 150
    indent = 20
    axes_text = "feature ↓ day →"

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    def to_frame(self) -> pd.DataFrame:
        """Columns ``input, feature, day, value``: every feature, one row a day."""
        session, reading = self.session, self.session.reading
        tables = [
            saliency_frame([part], [names], reading.days(len(part))).assign(input=number)
            for number, (part, names) in enumerate(zip(session.saliency(), session.feature_names, strict=True))
        ]
        return pd.concat(tables, ignore_index=True)

    def _read(self) -> Cells:
        values, names = self._values()
        top = values.abs().nan_to_num(0.0).sum(dim=0).argsort(descending=True)[:_SHOWN]
        largest = float(values.abs().nan_to_num(0.0, 0.0).max())
        return Cells(
            values[:, top].T.numpy(),
            -largest,
            largest,
            [names[feature] for feature in top],
            self.session.reading.days(len(values)),
            f"{self.session.method_name} for {self.session.target_name}, the {len(top)} strongest features",
            DIVERGING,
        )

    def _values(self) -> tuple[torch.Tensor, list[str]]:
        """All streams' features side by side, [T, features], their last days aligned."""
        parts = self.session.saliency()
        length = max(len(part) for part in parts)
        padded = [torch.nn.functional.pad(part, (0, 0, length - len(part), 0), value=np.nan) for part in parts]
        return torch.cat(padded, dim=1), [name for group in self.session.feature_names for name in group]

    def _selected(self) -> tuple[int | None, int]:
        rows, feature = self._cells.rows, self.selection.feature
        day = self.selection.place("query", len(self._cells.columns))
        return rows.index(feature) if feature in rows else None, day

    def _select(self, place: tuple[int, int]) -> None:
        row, column = place
        self.selection.feature = self._cells.rows[row]
        self.selection.select("query", column, len(self._cells.columns))

    def _step(self, name: str, by: int) -> None:
        if name == "feature":
            self.selection.feature = neighbour(self._cells.rows, self.selection.feature, by)
        else:
            super()._step(name, by)

    def _describe_cell(self, row: int, column: int) -> str:
        cells = self._cells
        return (
            f"<b>{text(cells.rows[row])}</b> on <b>{text(cells.columns[column])}</b>: "
            f"<b>{cells.values[row, column]:+.6g}</b>"
        )

    def _summary(self) -> Summary:
        return self._summary_of(self.session.saliency())

    def _plot(self) -> Figure:
        values, names = self._values()
        days = self.session.reading.days(len(values))
        title = self._read().title
        return plot_saliency_map(values.nan_to_num(0.0), names, title=title, top_k=_SHOWN, signed=True, dates=days)
