"""The effects of flat and permuted attention against the model asked in another way."""

from __future__ import annotations

import numpy as np
import pytest
from cases import lines, mouse
from expected import margin

from stockformer_widgets import AttentionEffects, Selection


def test_effects_are_those_of_a_what_if(session):
    view = AttentionEffects(session, Selection(session, kind="self", layer=1))
    frame = view.to_frame().set_index(["kind", "layer"])
    for kind, layer in frame.index:
        for column in ("flat", "permuted"):
            expected = margin(session, **{column: [(kind, layer)]}) - margin(session)
            assert frame.loc[(kind, layer), column] == pytest.approx(expected, rel=1e-3, abs=1e-6)
    drawn = np.asarray(view.picture.pictures[0].lines["dots"].y)
    np.testing.assert_allclose(drawn[:, 0], frame["flat"].xs(0, level="layer"), rtol=1e-5)
    flat, permuted = frame.loc[("self", 1)]
    assert lines(view)[0].endswith(
        f"change with flat attention {flat:+.4g}, change with shuffled attention {permuted:+.4g}"
    )
    mouse(view.picture.pictures[1].figure, "click", 0.0, 0.0)
    assert view.selection.layer == 0
