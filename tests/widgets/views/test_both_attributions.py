"""What holds for both views of attribution."""

from __future__ import annotations

import numpy as np
import pytest
from cases import input_times_gradient, make_session, press

from stockformer_widgets import SaliencyBars, SaliencyHeatmap


@pytest.fixture
def session():
    with make_session(method="input_x_gradient") as made:
        yield made


@pytest.mark.parametrize("kind", [SaliencyBars, SaliencyHeatmap])
def test_keys_reach_every_feature(kind):
    view = kind(make_session("by hand"))
    reached = []
    for _ in range(7):
        press(view, "ArrowDown")
        reached.append(view.selection.feature)
    assert len(set(reached)) == 7


@pytest.mark.parametrize(
    ("name", "explained"),
    [
        ("regression", "the return"),
        ("regression by hand", "the value"),
        ("coral", "P(at least -1 %)"),
        ("coral by hand", "P(class > 0)"),
        ("bare attention", "output"),
    ],
)
def test_what_is_explained_is_said(name, explained):
    session = make_session(name, "input_x_gradient")
    session.explanations.target = 0 if session.explanations.targets else None
    values = input_times_gradient(session, 0 if session.explanations.targets else None)
    for kind in (SaliencyBars, SaliencyHeatmap):
        view = kind(session)
        assert f" for {explained}" in view.plot.title
        found = view.to_frame()["value"].abs().sum()
        assert found == pytest.approx(sum(np.abs(part).sum() for part in values), rel=1e-4)


@pytest.mark.parametrize("kind", [SaliencyBars, SaliencyHeatmap])
@pytest.mark.parametrize("name", ["float64", "bfloat16"])
def test_frames_of_other_precisions(kind, name):
    session = make_session(name, "input_x_gradient")
    frame = kind(session).to_frame()
    assert frame["value"].dtype.kind == "f"
    assert np.isfinite(frame["value"]).all()
