"""Maps of what attention carries against the model asked in another way."""

from __future__ import annotations

import numpy as np
import pytest
from cases import days_of, lines, mouse, pixels
from expected import traced

from stockformer.explainability import joint_rollout, norm_map, relevance
from stockformer_widgets import FlowHeatmap, Selection


def table(frame, value: str = "value") -> np.ndarray:
    return frame.pivot(index="query", columns="key", values=value).to_numpy()


@pytest.mark.parametrize(("kind", "layer", "head"), [("cross", 1, 0), ("self", 0, 1), ("market", 0, 1)])
def test_maps_of_a_layer(session, kind, layer, head):
    view = FlowHeatmap(session, Selection(session, kind=kind, layer=layer, head=head))
    weights = session.reading.capture.map(kind, layer, head).numpy()
    expected = norm_map(traced(session).kinds[kind][layer])[head].numpy()
    np.testing.assert_allclose(table(view.to_frame()), expected, rtol=1e-4)
    np.testing.assert_allclose(pixels(view, "viridis", 0, expected.max()), expected, atol=expected.max() / 500)
    view.controls["shows"].value = "gated weights"
    gate = session.reading.capture.gates[f"cross_attn_layers.{layer}.gate"][0] if kind == "cross" else None
    opened = 1.0 if gate is None else gate.mean(dim=1, keepdim=True).numpy()
    np.testing.assert_allclose(table(view.to_frame()), weights * opened, rtol=1e-4)


@pytest.mark.parametrize(("name", "flow"), [("rollout", joint_rollout), ("relevance", relevance)])
def test_maps_of_all_layers(session, name, flow):
    view = FlowHeatmap(session)
    view.controls["shows"].value = name
    found = flow(traced(session))
    for kind, part in (("self", found.stock), ("cross", found.market), ("market", found.market_self)):
        view.selection.kind = kind
        np.testing.assert_allclose(table(view.to_frame()), part.numpy(), rtol=1e-4, atol=1e-7)
        assert view.plot.title.endswith(f": {name} through all layers")


def test_what_a_map_is_for_is_said_where_it_has_a_target(session):
    view = FlowHeatmap(session)
    for shown in view.controls["shows"].options:
        view.controls["shows"].value = shown
        assert (f"target: {session.explanations.target_name}" in lines(view)) == (
            shown in ("weight x gradient", "relevance")
        )


def test_a_click_on_the_map_selects_query_and_key(session):
    view = FlowHeatmap(session)
    mouse(view.figure, "click", 2.5, 1.5)
    assert (view.selection.query, view.selection.key) == (1, 2)
    value = table(view.to_frame())[1, 2]
    assert lines(view)[0] == f"query {days_of(session)[1]}, key {days_of(session)[2]}, value {value:.4g}"
