"""The effect of each head against the model asked in another way."""

from __future__ import annotations

import numpy as np
import pytest
from cases import lines, mouse, press
from expected import margin

from stockformer_widgets import HeadImportance, Selection


@pytest.mark.parametrize(("kind", "layer"), [("cross", 1), ("self", 0), ("market", 0)])
def test_a_head_is_worth_what_the_output_loses_without_it(session, kind, layer):
    view = HeadImportance(session, Selection(session, kind=kind, layer=layer))
    _, ablation = (np.asarray(panel.bars.y) for panel in view.picture.pictures)
    losses = [margin(session) - margin(session, heads_off=[(kind, layer, head)]) for head in range(2)]
    np.testing.assert_allclose(ablation, losses, rtol=1e-3, atol=1e-6)
    mouse(view.picture.pictures[0].figure, "click", 1.5, 0.0)
    assert view.selection.head == 1
    assert f"drop in target without the head {ablation[1]:.4g}" in lines(view)[0]
    press(view, "ArrowLeft")
    assert view.selection.head == 0
