"""Views of what attention carries: their numbers against the model asked in another way, marks, clicks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import days_of, drawn, explained, lines, make_session, mouse, pixels, press

from stockformer.explainability import (
    choose_target,
    joint_rollout,
    market_entry,
    norm_map,
    relevance,
    trace_attention,
)
from stockformer_widgets import AttentionEffects, DayScores, FlowHeatmap, HeadImportance, MarketEntry, Selection


def margin(session, **change) -> float:
    """What is explained of the session's sample, with a change of the model."""
    column = session.explained_column
    with make_session() as other:
        other.what_if(**change)
        output = other.reading.capture.output[0]
    return float(explained(session, output, column))


def traced(session):
    """Of the model itself, not by the session."""
    inputs = session.reading.inputs
    target = choose_target(session.model, session.model(*inputs))
    return trace_attention(session.model, *inputs, target=target)


def table(frame, value: str = "value") -> np.ndarray:
    return frame.pivot(index="query", columns="key", values=value).to_numpy()


# Map


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
        assert (f"for {session.target_name}" in lines(view)) == (shown in ("weight x gradient", "relevance"))


def test_a_click_on_the_map_selects_query_and_key(session):
    view = FlowHeatmap(session)
    mouse(view.figure, "click", 2.5, 1.5)
    assert (view.selection.query, view.selection.key) == (1, 2)
    value = table(view.to_frame())[1, 2]
    assert lines(view)[0] == f"query {days_of(session)[1]}, key {days_of(session)[2]}, value {np.float32(value)!s}"


# By day


@pytest.mark.parametrize(
    ("name", "scores"),
    [("relevance", lambda trace: relevance(trace).days), ("rollout", lambda trace: joint_rollout(trace).days)],
)
def test_scores_by_day(session, name, scores):
    view = DayScores(session)
    view.controls["by"].value = name
    expected = scores(traced(session))
    frame = view.to_frame()
    for number, part in enumerate(expected):
        np.testing.assert_allclose(frame.query("input == @number")["score"], part.numpy(), rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(drawn(view, "step")[1][number, :-1], part.numpy(), rtol=1e-4, atol=1e-7)
    mouse(view.figure, "click", 2.5, 0.1)
    assert view.selection.query == 2
    said = f"{days_of(session)[2]} ■ stock {expected[0][2]:.4g} ■ market {expected[1][2]:.4g}"
    assert " ".join(lines(view)[0].split()) == said


def test_markets_of_another_length_end_on_the_same_day():
    session = make_session("market longer")
    view = DayScores(session)
    x, _ = drawn(view, "step")
    assert x[:, -1].tolist() == [9.0, 9.0]
    assert x[:, 0].tolist() == [3.0, 0.0]


def test_how_much_market_enters(session):
    view = MarketEntry(session, Selection(session, layer=1))
    entries = market_entry(traced(session))
    np.testing.assert_allclose(drawn(view, "line")[1], torch.stack(entries).numpy(), rtol=1e-4)
    assert list(view.picture.lines["line"].opacities) == [0.5, 1.0]
    frame = view.to_frame()
    gate = session.reading.capture.gates["cross_attn_layers.1.gate"][0].mean(dim=-1)
    np.testing.assert_allclose(frame.query("layer == 1")["gate"], gate.numpy(), rtol=1e-4)
    mouse(view.figure, "mousemove", 3.5, 0.1)
    assert f"{entries[1][3]:.3f} (gate {gate[3]:.2f})" in lines(view)[0]


def test_a_closed_gate_lets_nothing_in(session):
    session.what_if(gate={1: 0.0})
    assert not drawn(MarketEntry(session), "line")[1][1].any()


# By head and layer


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
