"""One attention map, query by key."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from stockformer.explainability import Summary, summarize_map
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.day_maps import DayMapView, selected_map


class AttentionHeatmap(DayMapView):
    """The selected attention map. A click selects query and key; a box drawn with the mouse is shown larger."""

    label = "Attention map"

    def _map(self, session: ExtractorSession) -> np.ndarray:
        return selected_map(session, self.selection)

    def _summary(self) -> Summary:
        where, reading = self.selection, self.session.reading
        weights = reading.capture.map(where.kind, where.layer, where.head)
        mask = reading.capture.mask(where.kind, where.layer, where.head)
        summary = summarize_map(weights, mask, reading.dates_of(weights.size(1)))
        return replace(summary, subject="mean map of the heads" if where.head is None else f"map of head {where.head}")
