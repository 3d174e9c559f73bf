"""One attention map, query by key."""

from __future__ import annotations

import numpy as np
import torch

from stockformer.explainability import Summary, summarize_map
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.day_maps import DayMapView, selected_map


class AttentionHeatmap(DayMapView):
    """The selected attention map. A click selects query and key; a box drawn with the mouse is shown larger."""

    label = "Attention map"

    def _map(self, session: ExtractorSession) -> np.ndarray:
        return selected_map(session, self.selection)

    def _summary(self) -> Summary:
        return summarize_map(torch.from_numpy(selected_map(self.session, self.selection)))
