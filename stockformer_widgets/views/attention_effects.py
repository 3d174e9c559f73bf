"""Effect of attention on the prediction, by layer."""

from __future__ import annotations

import pandas as pd

from stockformer.charts.chart import Chart
from stockformer.charts.heads_and_layers import attention_effects
from stockformer.steps import Steps
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.stepped import SteppedPanels


class AttentionEffects(SteppedPanels):
    """Change of the target when a layer's attention is flat, or shuffled within its rows. A click selects the layer."""

    label = "Effect of attention by layer"
    content = ("kind",)
    follows = (*content, "layer")
    horizontal = "layer"
    what = "effects"

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        explanations = session.explanations
        table, value = explanations.attention_effects(), explanations.trace().value
        return attention_effects(table, where.kind, explanations.target_name, value)

    def _steps_of(self, session: ExtractorSession) -> Steps[pd.DataFrame]:
        return session.explanations.attention_effects_steps()
