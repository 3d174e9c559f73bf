"""The gate dimensions that vary most, day by day."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import Summary, plot_gate_activations, summarize_gate
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.maps import Cells, MapView
from stockformer_widgets.views.parts import text

_SHOWN = 32


class GateHeatmap(MapView):
    """The selected layer's most variable gate dimensions, the most variable on top.

    Colours run from 0, which keeps the market out, to 1, which lets all of its
    context in. A click selects the day.
    """

    label = "Gate by dimension and day"
    content = ("layer",)
    follows = (*content, "query", "shown_queries")
    horizontal = "query"
    height, named_rows = 360, 32
    axes_text = "gate dimension ↓ day →"

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return bool(session.reading.capture.gates)

    def to_frame(self) -> pd.DataFrame:
        """Columns ``dimension, step, day, gate``: every dimension of the layer, one row a day."""
        gate = self._gate().numpy()
        steps, dimensions = (index.ravel() for index in np.indices(gate.shape))
        days = np.array(self.session.reading.days(len(gate)))
        return pd.DataFrame({"dimension": dimensions, "step": steps, "day": days[steps], "gate": gate.ravel()})

    def _layer(self) -> int:
        return min(self.selection.layer, len(self.session.reading.capture.gates) - 1)

    def _gate(self) -> Tensor:
        """The layer's gate, [T, d]."""
        return list(self.session.reading.capture.gates.values())[self._layer()][0].float()

    def _read(self) -> Cells:
        gate = self._gate()
        dimensions = gate.std(dim=0, correction=0).argsort(descending=True)[:_SHOWN]
        return Cells(
            gate[:, dimensions].T.numpy(),
            0.0,
            1.0,
            [str(int(dimension)) for dimension in dimensions],
            self.session.reading.days(len(gate)),
            f"Gate of layer {self._layer()}, the {len(dimensions)} most variable of {gate.size(1)} dimensions",
        )

    def _selected(self) -> tuple[None, int]:
        return None, self.selection.place("query", len(self._cells.columns))

    def _select(self, place: tuple[int, int]) -> None:
        self.selection.select("query", place[1], len(self._cells.columns))

    def _describe_cell(self, row: int, column: int) -> str:
        cells = self._cells
        return (
            f"dimension <b>{text(cells.rows[row])}</b>, day <b>{text(cells.columns[column])}</b>, "
            f"gate <b>{cells.values[row, column]:.6g}</b>"
        )

    def _summary(self) -> Summary:
        return summarize_gate(self._gate())

    def _plot(self) -> Figure:
        reading = self.session.reading
        days = reading.days(len(self._gate()))
        return plot_gate_activations(reading.capture.to_dict(), self._layer(), dates=days)
