"""Which heads the prediction depends on."""

from __future__ import annotations

import pandas as pd

from stockformer.charts.chart import Chart
from stockformer.charts.heads_and_layers import head_importance
from stockformer.steps import Steps
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.stepped import SteppedPanels


class HeadImportance(SteppedPanels):
    """How much the target depends on each head of the layer: by gradient, and by switching it off.

    A click selects the head. The sentence below is about all heads.
    """

    label = "Importance by head"
    content = ("kind", "layer")
    follows = (*content, "head")
    horizontal = "head"
    what = "heads"
    without_head = "no head is selected"

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        explanations = session.explanations
        return head_importance(explanations.head_importance(), where.kind, where.layer, explanations.target_name)

    def _steps_of(self, session: ExtractorSession) -> Steps[pd.DataFrame]:
        return session.explanations.head_importance_steps()
