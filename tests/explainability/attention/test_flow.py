"""What attention carries, against closed forms, path sums by networkx and loops."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from planted import DAY, planted_inputs, planted_model
from torch import nn

from stockformer.explainability import (
    Target,
    WhatIf,
    attention_effects,
    capture_attention,
    changed_model,
    gated_map,
    gradient_map,
    head_importance,
    joint_rollout,
    market_entry,
    mean_attention,
    mean_norm_map,
    norm_map,
    relevance,
    rollout,
    trace_attention,
)
from stockformer.explainability.attention import ablation
from stockformer.explainability.attention.trace import explicit_attention


@pytest.fixture
def one(inputs):
    """A sample of 6 stock and 7 market days."""
    return tuple(part[:1] for part in inputs)


def test_the_explicit_pass_gives_the_same_output_and_gradients(vector):
    model, inputs, _ = vector
    plain, explicit = ([part.clone().requires_grad_() for part in inputs] for _ in range(2))
    usual = model(*plain)
    with explicit_attention(model):
        output = model(*explicit)
    torch.testing.assert_close(output, usual, atol=1e-6, rtol=1e-6)
    usual.sum().backward()
    output.sum().backward()
    for one, other in zip(explicit, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-5)


def test_the_trace_has_the_weights_of_a_capture_and_leaves_no_hook(model, one):
    trace, shown = trace_attention(model, *one), capture_attention(model, *one)
    for kind, layers in shown.kinds.items():
        for traced, weights in zip(trace.kinds[kind], layers, strict=True):
            torch.testing.assert_close(traced.weights, weights[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(trace.pooling, shown.pooling[0])
    assert torch.nn.modules.module._global_forward_hooks == {}
    assert not any(module._forward_hooks for module in model.modules())


def test_gradients_by_the_weights_are_those_of_small_changes(make_model, inputs):
    """An independent pass of the layer, with one weight moved."""
    model = make_model(label_mode="regression").double()
    sample = tuple(part[:1].double() for part in inputs)
    trace = trace_attention(model, *sample)
    layer, (head, query, key), step = trace.kinds["cross"][1], (1, 4, 2), 1e-6
    values = []
    for sign in (1, -1):
        added = sign * step * layer.vectors[head, key]

        def move(module, args, output, added=added):
            moved = output[0].clone()
            moved[0, query] += added
            return (moved, *output[1:])

        handle = model.cross_attn_layers[1].cross_attn.register_forward_hook(move)
        with torch.no_grad():
            values.append(float(model(*sample)))
        handle.remove()
    assert float(layer.gradient[head, query, key]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_the_parts_of_the_norm_map_make_the_modules_output(model, one):
    outputs = []
    attention = model.cross_attn_layers[0].cross_attn
    handle = attention.register_forward_hook(lambda module, args, output: outputs.append(output[0][0].detach()))
    with torch.no_grad():
        model(*one)
    handle.remove()
    layer = trace_attention(model, *one).kinds["cross"][0]
    parts = layer.weights[..., None] * layer.vectors[:, None]  # [heads, query, key, d]
    torch.testing.assert_close(parts.sum(dim=(0, 2)) + layer.bias, outputs[0], atol=1e-6, rtol=0)
    gated = parts * layer.gate[:, None]
    torch.testing.assert_close(norm_map(layer), gated.norm(dim=-1))
    torch.testing.assert_close(mean_norm_map(layer), gated.sum(dim=0).norm(dim=-1))
    own = trace_attention(model, *one).kinds["self"][0]
    torch.testing.assert_close(norm_map(own), (own.weights[..., None] * own.vectors[:, None]).norm(dim=-1))


def test_the_vectors_are_those_of_a_plain_attention_with_two_layouts():
    torch.manual_seed(0)

    class Plain(nn.Module):
        def __init__(self, batch_first):
            super().__init__()
            torch.manual_seed(1)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=batch_first, bias=False)

        def forward(self, x):
            x = x if self.attention.batch_first else x.transpose(0, 1)
            out = self.attention(x, x, x)[0]
            return (out if self.attention.batch_first else out.transpose(0, 1)).sum(dim=(1, 2))

    x = torch.randn(1, 5, 6)
    for batch_first in (True, False):
        model = Plain(batch_first)
        (layer,) = trace_attention(model, x).kinds["attention"]
        assert float(layer.output.sum()) == pytest.approx(float(model(x).detach()), abs=1e-5)
        # The sum of the output changes with a weight by the sum of what the key adds.
        torch.testing.assert_close(layer.gradient, layer.vectors.sum(dim=-1)[:, None].expand_as(layer.gradient))


def rows(queries, keys, seed):
    return torch.rand(2, queries, keys, generator=torch.Generator().manual_seed(seed)).softmax(dim=-1)


def paths(edges, source, target):
    """The sum over all paths of the products of their edges."""
    graph = nx.DiGraph()
    graph.add_weighted_edges_from((one, other, float(weight)) for one, other, weight in edges)
    return sum(
        np.prod([graph[one][other]["weight"] for one, other in pairwise(path)])
        for path in nx.all_simple_paths(graph, source, target)
    )


def test_rollout_is_the_sum_over_paths():
    maps = [rows(3, 3, seed) for seed in range(3)]
    edges = [
        ((layer + 1, query), (layer, key), 0.5 * weights.mean(dim=0)[query, key] + 0.5 * (query == key))
        for layer, weights in enumerate(maps)
        for query in range(3)
        for key in range(3)
    ]
    found = rollout(maps)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(3))
    for query in range(3):
        for key in range(3):
            assert float(found[query, key]) == pytest.approx(paths(edges, (3, query), (0, key)), abs=1e-6)


def test_joint_rollout_is_the_sum_over_paths_through_both_streams(model, one):
    one = one[0][:, :3], one[1][:, :2]
    trace = trace_attention(model, *one)
    edges = []
    (market,) = trace.kinds["market"]
    for query in range(2):
        for key in range(2):
            weight = 0.5 * market.weights.mean(dim=0)[query, key] + 0.5 * (query == key)
            edges.append((("market", query), ("market day", key), weight))
    for number, (own, cross) in enumerate(zip(trace.kinds["self"], trace.kinds["cross"], strict=True)):
        for query in range(3):
            gate = cross.gate[query].mean()
            edges.append(((f"stock {number + 1}", query), (f"mixed {number}", query), 1 / (1 + gate)))
            for key in range(3):
                weight = 0.5 * own.weights.mean(dim=0)[query, key] + 0.5 * (query == key)
                edges.append(((f"mixed {number}", query), (f"stock {number}", key), weight))
            for key in range(2):
                weight = cross.weights.mean(dim=0)[query, key] * gate / (1 + gate)
                edges.append(((f"stock {number + 1}", query), ("market", key), weight))
    found = joint_rollout(trace)
    for query in range(3):
        for key in range(3):
            expected = paths(edges, ("stock 2", query), ("stock 0", key))
            assert float(found.stock[query, key]) == pytest.approx(expected, abs=1e-6)
        for key in range(2):
            expected = paths(edges, ("stock 2", query), ("market day", key))
            assert float(found.market[query, key]) == pytest.approx(expected, abs=1e-6)


def test_rows_of_a_joint_rollout_sum_to_1(vector):
    model, inputs, _ = vector
    found = joint_rollout(trace_attention(model, *(part[:1] for part in inputs)))
    total = found.stock.sum(dim=-1) + (0 if found.market is None else found.market.sum(dim=-1))
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-5, rtol=0)
    assert sum(float(part.sum()) for part in found.days) == pytest.approx(1.0, abs=1e-5)


def test_relevance_follows_the_published_rules(model, one):
    trace = trace_attention(model, *one)
    share = {
        kind: [np.maximum((layer.weights * layer.gradient).numpy(), 0).mean(axis=0) for layer in layers]
        for kind, layers in trace.kinds.items()
    }
    ss, mm, sm = np.eye(6), np.eye(7), np.zeros((6, 7))
    for a in share["market"]:
        mm = mm + a @ mm
    for own, cross in zip(share["self"], share["cross"], strict=True):
        ss, sm = ss + own @ ss, sm + own @ sm
        normal = []
        for r in (ss, mm):
            rest = r - np.eye(len(r))
            normal.append(np.array([line / line.sum() if line.sum() else line for line in rest]) + np.eye(len(r)))
        sm = sm + normal[0].T @ cross @ normal[1]
    pooled = np.maximum((trace.pooling * trace.pooling_gradient).numpy(), 0)
    found = relevance(trace)
    for part, expected in zip(found.days, (pooled @ ss, pooled @ sm), strict=True):
        np.testing.assert_allclose(part.numpy(), expected, rtol=1e-4, atol=1e-7)
    assert found.days[1].sum() > 0


def test_relevance_keeps_shares_that_are_tiny_beside_a_days_own(model, one):
    """Rules 5 to 10 with what other days add kept apart from a day's own 1, so that nothing is rounded away."""
    trace = trace_attention(model, *one)
    small = {
        kind: [replace(layer, gradient=layer.gradient * 1e-7) for layer in layers]
        for kind, layers in trace.kinds.items()
    }
    trace = replace(trace, kinds=small)
    share = {
        kind: [
            np.maximum(layer.weights.double().numpy() * layer.gradient.double().numpy(), 0).mean(axis=0)
            for layer in layers
        ]
        for kind, layers in small.items()
    }
    stock, market, across = np.zeros((6, 6)), np.zeros((7, 7)), np.zeros((6, 7))
    for a in share["market"]:
        market = market + a + a @ market
    for own, cross in zip(share["self"], share["cross"], strict=True):
        stock, across = stock + own + own @ stock, across + own @ across
        left, right = (
            np.divide(rest, sums, out=np.zeros_like(rest), where=sums > 0) + np.eye(len(rest))
            for rest, sums in ((rest, rest.sum(axis=1, keepdims=True)) for rest in (stock, market))
        )
        across = across + left.T @ cross @ right
    pooled = np.maximum(trace.pooling.double().numpy() * trace.pooling_gradient.double().numpy(), 0)
    np.testing.assert_allclose(relevance(trace).days[1].numpy(), pooled @ across, rtol=1e-6)


def test_closed_gates_leave_the_market_no_relevance_at_all(model, one):
    shown = capture_attention(model, *one)
    with changed_model(model, WhatIf(gate={0: 0.0, 1: 0.0}), shown):
        trace = trace_attention(model, *one)
    assert (relevance(trace).market == 0).all()
    assert (joint_rollout(trace).market == 0).all()
    assert all((entry == 0).all() for entry in market_entry(trace))
    assert all((gated_map(layer) == 0).all() for layer in trace.kinds["cross"])
    assert all((gradient_map(layer) == 0).all() for layer in trace.kinds["cross"])
    assert relevance(trace).days[0].sum() > 0


def test_flat_attention_still_has_a_gradient(model, one):
    shown = capture_attention(model, *one)
    with changed_model(model, WhatIf(flat=[("cross", 1)]), shown):
        layer = trace_attention(model, *one).kinds["cross"][1]
    torch.testing.assert_close(layer.weights, torch.full_like(layer.weights, 1 / 7))
    assert layer.gradient.abs().sum() > 0


def test_the_planted_day_and_head_are_found():
    model, inputs = planted_model(), planted_inputs()
    trace = trace_attention(model, *inputs)
    for found in (joint_rollout(trace).days, relevance(trace).days, mean_attention(trace)):
        assert int(found[1].argmax()) == DAY
    # The idle head dilutes the others; gradients leave it out.
    assert relevance(trace).days[1][DAY] > 0.9 * relevance(trace).days[1].sum()
    (cross,) = trace.kinds["cross"]
    for chart in (gated_map(cross)[0], norm_map(cross)[0], gradient_map(cross)[0], mean_norm_map(cross)):
        assert (chart.argmax(dim=-1) == DAY).all()
    table = head_importance(model, *inputs, trace=trace).set_index(["kind", "layer", "head"])
    assert table["gradient"].idxmax() == table["ablation"].idxmax() == ("cross", 0, 0)
    others = table.drop(index=("cross", 0, 0))
    assert (others["gradient"] == 0).all()
    assert (others["ablation"] == 0).all()


def test_head_importance_is_that_of_models_without_the_head(model, one):
    target = Target("margin", 1)
    trace = trace_attention(model, *one, target=target)
    table = head_importance(model, *one, trace=trace).set_index(["kind", "layer", "head"])
    for kind, module in (("cross", "cross_attn_layers.1.cross_attn"), ("self", "stock_layers.1.self_attn")):
        by_hand = copy.deepcopy(model)
        with torch.no_grad():
            by_hand.get_submodule(module).out_proj.weight[:, 4:].zero_()  # head 1 of 2
            fall = target(model(*one)) - target(by_hand(*one))
        assert table.loc[(kind, 1, 1), "ablation"] == pytest.approx(float(fall), abs=1e-6)
        # Michel's form: what the head puts out, times the target's gradient by it.
        layer = trace.kinds[kind][1]
        scaled = copy.deepcopy(model)
        scale = torch.ones(8)
        scale.requires_grad_()
        heads = torch.cat([torch.ones(4), torch.zeros(4)])
        weight = scaled.get_submodule(module).out_proj.weight.detach().clone()
        factor = torch.tensor(1.0, requires_grad=True)
        parameters = {f"{module}.out_proj.weight": weight * (heads + (1 - heads) * factor)}
        (by_factor,) = torch.autograd.grad(target(torch.func.functional_call(model, parameters, one)).sum(), factor)
        assert table.loc[(kind, 1, 1), "gradient"] == pytest.approx(abs(float(by_factor)), rel=1e-4)
        assert layer.weights.shape[0] == 2


def test_market_entry_is_the_gated_context_beside_the_stream(model, one):
    seen = {}
    block = model.cross_attn_layers[1]
    handles = [
        block.cross_attn.register_forward_hook(lambda m, args, out: seen.update(stream=args[0], context=out[0])),
        block.gate.register_forward_hook(lambda m, args, out: seen.update(gate=out)),
    ]
    with torch.no_grad():
        model(*one)
    for handle in handles:
        handle.remove()
    expected = (seen["gate"] * seen["context"])[0].norm(dim=-1) / seen["stream"][0].norm(dim=-1)
    torch.testing.assert_close(market_entry(trace_attention(model, *one))[1], expected, atol=1e-6, rtol=1e-5)


def test_the_encoder_has_no_market(make_model, one):
    trace = trace_attention(make_model("encoder"), one[0])
    assert relevance(trace).market is None
    assert len(relevance(trace).days) == len(mean_attention(trace)) == 1
    assert market_entry(trace) == []


def test_other_models_have_no_days_that_flow_together():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Flatten(), nn.Linear(40, 3))
    trace = trace_attention(model, torch.randn(1, 5, 8))
    with pytest.raises(ValueError, match=r"expected a trace of a stock transformer, found .*self_attn attention"):
        relevance(trace)
    (layers,) = trace.kinds.values()
    torch.testing.assert_close(rollout([one.weights for one in layers]).sum(dim=-1), torch.ones(5))


# Several changed copies in one pass


class ByDay(nn.Module):
    """Attention among assets, on every day of a sample: its batch is of days."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        assets = x.reshape(-1, 3, 4)
        return self.attention(assets, assets, assets)[0].reshape(len(x), -1).mean(dim=1).tanh()


def one_at_a_time(model, inputs, target, what_if):
    capture = capture_attention(model, *inputs)
    with torch.no_grad():
        before = target(model(*inputs))
        with changed_model(model, what_if, capture):
            return float((target(model(*inputs)) - before)[0])


@pytest.mark.parametrize("copies", [2, 3, 16])
@pytest.mark.parametrize("name", ["stock", "by day"])
def test_copies_that_run_together_give_what_each_gives_alone(model, one, monkeypatch, name, copies):
    monkeypatch.setattr(ablation, "_COPIES", copies)
    if name == "by day":
        model, one = ByDay(), (torch.randn(1, 6, 12, generator=torch.Generator().manual_seed(1)),)
    trace = trace_attention(model, *one)
    heads = head_importance(model, *one, trace=trace)
    assert len(heads) == sum(len(layer.weights) for layers in trace.kinds.values() for layer in layers)
    for row in heads.itertuples():
        alone = one_at_a_time(model, one, trace.target, WhatIf(heads_off=[(row.kind, row.layer, row.head)]))
        assert row.ablation == pytest.approx(-alone, abs=1e-6)
    for row in attention_effects(model, *one, target=trace.target).itertuples():
        for column in ("flat", "permuted"):
            alone = one_at_a_time(model, one, trace.target, WhatIf(**{column: [(row.kind, row.layer)]}))
            assert getattr(row, column) == pytest.approx(alone, abs=1e-6)


def test_copies_share_passes(model, one):
    trace = trace_attention(model, *one)
    rows: list[int] = []
    model.register_forward_pre_hook(lambda module, args: rows.append(len(args[0])))
    heads = head_importance(model, *one, trace=trace)
    assert len(heads) == 10
    assert rows == [1, 1, 11]  # a capture, the target, and one unchanged copy with ten changed ones
