"""Activation patching: against the model's forward pass written out by hand."""

from __future__ import annotations

import re
import threading

import numpy as np
import pytest
import torch
from shipped import shipped_sample
from torch import nn
from torch.nn.modules import module as torch_module

from stockformer.explainability import (
    WhatIf,
    activation_patching,
    capture_attention,
    changed_model,
    donor_activations,
    draw_donors,
    patching_steps,
    stream_paths,
    trace_attention,
)


@pytest.fixture
def one(inputs):
    return tuple(part[:1] for part in inputs)


@pytest.fixture
def donor(inputs):
    return tuple(part[1:] for part in inputs)


def by_hand(model, inputs, edit=lambda stream, layer, activation: activation):
    """The forward pass of `CrossAttentionStockTransformer`, with `edit` after every layer of a stream."""
    x, market_x = inputs
    encoder = model.market_encoder
    with torch.no_grad():
        market = encoder.pos_encoder(encoder.input_proj(market_x))
        for layer, block in enumerate(encoder.encoder.layers):
            market = edit("market", layer, block(market))
        stock = model.pos_encoder(model.input_proj(x))
        for layer, (block, cross) in enumerate(zip(model.stock_layers, model.cross_attn_layers, strict=True)):
            stock = edit("stock", layer, cross(block(stock), market))
        return model._classify(model.final_norm(stock))


def streams_by_hand(model, inputs):
    kept = {}

    def keep(stream, layer, activation):
        kept[stream, layer] = activation.clone()
        return activation

    by_hand(model, inputs, keep)
    return kept


def patched(model, inputs, donor_inputs, **places):
    what_if, shown = WhatIf(patch_from=1, **places), capture_attention(model, *inputs)
    with changed_model(model, what_if, shown, donor_activations(model, what_if, shown, donor_inputs)):
        return capture_attention(model, *inputs)


@pytest.mark.parametrize(("stream", "layer", "days"), [("stock", 0, [2]), ("stock", 1, [0, 5]), ("market", 0, [6])])
def test_a_patched_day_is_a_pass_with_that_activation_replaced(model, one, donor, stream, layer, days):
    kept = streams_by_hand(model, donor)

    def replaced(at, number, activation):
        if (at, number) == (stream, layer):
            activation = activation.clone()
            activation[:, days] = kept[stream, layer][:, days]
        return activation

    shown = patched(model, one, donor, patch_days=[(stream, layer, day) for day in days])
    assert torch.equal(shown.output, by_hand(model, one, replaced))
    assert not torch.equal(shown.output, by_hand(model, one))
    assert not shown.caveats


def test_everything_patched_is_the_donor(model, one, donor):
    every = [("stock", 1, day) for day in range(6)]
    assert torch.equal(patched(model, one, donor, patch_days=every).output, by_hand(model, donor))


def test_a_patched_gate_is_the_donors(model, one, donor):
    shown = patched(model, one, donor, patch_gates=[1])
    path = [*shown.gates][1]
    assert torch.equal(shown.gates[path], capture_attention(model, *donor).gates[path])
    gate, values = model.cross_attn_layers[1].gate, capture_attention(model, *donor).gates[path]
    gate.register_forward_hook(lambda *call: values)
    assert torch.equal(shown.output, by_hand(model, one))


def head_by_hand(module, call):
    """What every head puts out before the projection, [B, L, heads, head_dim]."""
    query, key, value = call
    width, heads = module.embed_dim, module.num_heads
    q, k, v = (
        nn.functional.linear(part, module.in_proj_weight[start : start + width], module.in_proj_bias[start:][:width])
        for part, start in zip((query, key, value), (0, width, 2 * width), strict=True)
    )
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
    return ((q @ k.mT / q.size(-1) ** 0.5).softmax(dim=-1) @ v).transpose(1, 2)


@pytest.mark.parametrize("head", [0, 1])
def test_a_patched_head_puts_out_what_it_does_for_the_donor(model, one, donor, head):
    model, one, donor = model.double(), [part.double() for part in one], [part.double() for part in donor]
    cross = model.cross_attn_layers[0].cross_attn
    calls = {}
    handle = cross.register_forward_pre_hook(lambda module, args: calls.update({len(calls): args}))
    for inputs in (one, donor):
        by_hand(model, inputs)
    handle.remove()
    own, other = (head_by_hand(cross, calls[number]) for number in range(2))
    own[:, :, head] = other[:, :, head]
    output = nn.functional.linear(own.flatten(start_dim=2), cross.out_proj.weight, cross.out_proj.bias)
    handle = cross.register_forward_hook(lambda *call: (output, None))
    expected = by_hand(model, one)
    handle.remove()
    shown = patched(model, one, donor, patch_heads=[(0, head)])
    torch.testing.assert_close(shown.output, expected, atol=1e-12, rtol=0)
    assert not shown.kinds["cross"][0][:, head].any()
    assert shown.kinds["cross"][0][:, 1 - head].any()
    what_if, first = WhatIf(patch_from=1, patch_heads=[(0, head)]), capture_attention(model, *one)
    with changed_model(model, what_if, first, donor_activations(model, what_if, first, donor)):
        traced = trace_attention(model, *one)
    torch.testing.assert_close(traced.value, float(traced.target(expected)), atol=1e-12, rtol=0)


ITSELF = [
    {"patch_days": [("stock", 0, 2), ("stock", 1, 5)]},
    {"patch_days": [("market", 0, 1)]},
    {"patch_gates": [0, 1]},
    {"patch_heads": [(1, 0), ("cross", 0, 1)]},
]


@pytest.mark.parametrize("places", ITSELF)
@pytest.mark.parametrize("shipped", ["direction", "volatility", ""])
def test_a_window_patched_with_itself_is_as_it_was(model, one, places, shipped):
    if shipped:
        dataset, model = shipped_sample(shipped)
        one = dataset.window(700).inputs
    with torch.no_grad():
        before = model(*one)
    assert torch.equal(patched(model, one, one, **places).output, before)


def test_heads_of_an_encoder_layer_patched_with_themselves_change_rounding_alone(model, one):
    """torch's fused kernel, which the plain pass runs, has no weights to patch."""
    for kind in ("self", "market"):
        output = patched(model, one, one, patch_heads=[(kind, 0, 1)]).output
        torch.testing.assert_close(output, by_hand(model, one), atol=1e-6, rtol=0)


def test_the_map_is_of_one_patch_at_a_time(model, one, donor):
    found = activation_patching(model, one, donor, random_donors=[one, donor])
    values = {name: found.target(by_hand(model, inputs)).item() for name, inputs in (("a", one), ("b", donor))}
    assert (found.value, found.donor_value) == pytest.approx((values["a"], values["b"]), abs=1e-6)
    assert found.difference == pytest.approx(values["b"] - values["a"], abs=1e-6)
    expected = {}
    kept = streams_by_hand(model, donor)
    for (stream, layer), activation in kept.items():
        for day in range(activation.size(1)):

            def replaced(at, number, own, place=(stream, layer), day=day):
                if (at, number) == place:
                    own = own.clone()
                    own[:, day] = kept[place][:, day]
                return own

            expected[stream, layer, day] = found.target(by_hand(model, one, replaced)).item() - values["a"]
    table = found.table.set_index(["stream", "layer", "day"])
    assert set(table.index) == set(expected)
    # In a batch of another size, so equal up to rounding.
    for place, effect in expected.items():
        assert table.loc[place, "effect"] == pytest.approx(effect, abs=1e-6)
        assert table.loc[place, "share"] == pytest.approx(effect / found.difference, abs=1e-4)
    # The two random donors are the sample, whose effects are 0, and the donor.
    np.testing.assert_array_equal(table["random_mean"], table["effect"] / 2)
    np.testing.assert_array_equal(table["random_low"], np.minimum(table["effect"], 0))
    np.testing.assert_array_equal(table["random_high"], np.maximum(table["effect"], 0))
    assert found.random_largest.tolist() == [0.0, table["effect"].abs().max()]
    assert found.largest["effect"] == pytest.approx(max(expected.values(), key=abs), abs=1e-6)
    assert found.random_as_large == 1


def test_a_map_of_a_window_and_itself_is_exactly_0():
    dataset, model = shipped_sample("volatility")
    inputs = dataset.window(700).inputs
    found = activation_patching(model, inputs, inputs)
    assert not found.table["effect"].any()
    assert found.table["share"].isna().all()
    assert found.difference == 0.0
    assert found.table.groupby("stream", sort=False)["layer"].nunique().to_dict() == {
        "stock": len(model.stock_layers),
        "market": len(model.market_encoder.encoder.layers),
    }


def test_an_encoder_has_one_stream(make_model, one, donor):
    model = make_model("encoder")
    assert stream_paths(capture_attention(model, one[0])) == {"stock": ["encoder.layers.0", "encoder.layers.1"]}
    found = activation_patching(model, one[:1], donor[:1])
    last = found.table.query("layer == 1")
    assert len(last) == 6
    every = [("stock", 1, day) for day in range(6)]
    with torch.no_grad():
        assert torch.equal(patched(model, one[:1], donor[:1], patch_days=every).output, model(donor[0]))


class Steps(nn.Module):
    """A model of steps first, [T, B, d], read at its last step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16) for _ in range(2))

    def forward(self, x):
        stream = x.transpose(0, 1)
        for layer in self.layers:
            stream = layer(stream)
        return stream[-1, :, 0] * stream[-1, :, 1]


def test_another_model_whose_steps_come_first():
    model = Steps().eval()
    one, donor = torch.randn(2, 1, 5, 8, generator=torch.Generator().manual_seed(1))
    assert not patched(model, [one], [donor], patch_days=[("layers.*", 0, 1)]).caveats
    table = activation_patching(model, [one], [donor]).table
    assert table["stream"].unique().tolist() == ["layers.*"]
    # Only the last step is read.
    assert not table.query("layer == 1 and day < 4")["effect"].any()
    assert table.query("layer == 1 and day == 4")["share"].item() == pytest.approx(1.0, abs=1e-5)


def test_gradients_flow_through_the_days_that_are_not_patched(model, one, donor):
    every = WhatIf(patch_from=1, patch_days=[("stock", 1, day) for day in range(6) if day != 3])
    shown = capture_attention(model, *one)
    x = one[0].clone().requires_grad_()
    with changed_model(model, every, shown, donor_activations(model, every, shown, donor)):
        assert torch.autograd.grad(model(x, one[1])[0, 0], x)[0].any()
    whole = WhatIf(patch_from=1, patch_days=[("stock", 1, day) for day in range(6)])
    with changed_model(model, whole, shown, donor_activations(model, whole, shown, donor)):
        assert not torch.autograd.grad(model(x, one[1])[0, 0], x)[0].any()


def test_an_interrupt_leaves_nothing_on_the_model(model, one, donor):
    before = by_hand(model, one)
    steps = patching_steps(model, one, donor)
    next(steps)
    assert not torch_module._global_forward_hooks  # between two steps
    with pytest.raises(KeyboardInterrupt):
        steps.throw(KeyboardInterrupt)

    class Interrupting(nn.Module):
        def forward(self, *args):
            raise KeyboardInterrupt

    what_if, shown = WhatIf(patch_from=1, patch_days=[("stock", 0, 2)]), capture_attention(model, *one)
    activations = donor_activations(model, what_if, shown, donor)
    norm, model.final_norm = model.final_norm, Interrupting()
    with pytest.raises(KeyboardInterrupt), changed_model(model, what_if, shown, activations):
        model(*one)
    model.final_norm = norm
    assert not torch_module._global_forward_hooks
    assert torch._C._len_torch_function_stack() == 0
    assert torch.equal(by_hand(model, one), before)


def test_passes_of_another_thread_are_plain(model, one, donor):
    with torch.no_grad():
        expected = model(*one)
    outputs, started, ended = [], threading.Event(), threading.Event()

    def loop():
        with torch.no_grad():
            while not ended.is_set():
                outputs.append(model(*one))
                started.set()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        started.wait()
        for _ in range(20):
            patched(model, one, donor, patch_days=[("stock", 0, 2)], patch_heads=[("self", 1, 0)], patch_gates=[0])
    finally:
        ended.set()
        thread.join()
    assert all(torch.equal(output, expected) for output in outputs)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"patch_days": [("bond", 0, 0)]}, "there is no stream 'bond', only stock, market"),
        ({"patch_days": [("stock", 2, 0)]}, "layer is 2, expected 0 to 1"),
        ({"patch_days": [("stock", 0, 6)]}, "day is 6, expected 0 to 5"),
        ({"patch_days": [("market", 0, -1)]}, "day is -1, expected 0 to 6"),
        ({"patch_heads": [(0, 2)]}, "head is 2, expected 0 to 1"),
        ({"patch_heads": [(0, 1)], "heads_off": [(0, 1)]}, "layer 0 head 1 is both off and patched"),
        ({"patch_gates": [2]}, "gate's layer is 2, expected 0 to 1"),
        ({"patch_gates": [1], "gate": {1: 0.5}}, "the gate of layer 1 is both set and patched"),
    ],
)
def test_what_does_not_exist_cannot_be_patched(model, one, donor, places, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        patched(model, one, donor, **places)


def test_a_donor_that_does_not_fit(model, one, donor):
    with pytest.raises(ValueError, match=re.escape("the donor's inputs are [5, 5] and [7, 3], days and features, exp")):
        activation_patching(model, one, (donor[0][:, :5], donor[1]))
    what_if, shown = WhatIf(patch_from=1, patch_days=[("stock", 0, 2)]), capture_attention(model, *one)
    with pytest.raises(ValueError, match=re.escape("the donor's activations lack cross_attn_layers.0: expected")):
        changed_model(model, what_if, shown).__enter__()
    short = donor_activations(model, what_if, shown, (donor[0][:, :5], donor[1]))
    with (
        pytest.raises(ValueError, match="the donor has 5 days, expected 6 as the sample has"),
        changed_model(model, what_if, shown, short),
    ):
        model(*one)


def test_gates_that_are_not_there(make_model, one, donor):
    with pytest.raises(ValueError, match="StockTransformer has no gates"):
        patched(make_model("encoder"), one[:1], donor[:1], patch_gates=[0])


def test_compiled_parts_are_refused(model, one, donor):
    what_if, shown = WhatIf(patch_from=1, patch_days=[("stock", 0, 2)]), capture_attention(model, *one)
    activations = donor_activations(model, what_if, shown, donor)
    model.stock_layers[0].compile(backend="eager")
    with pytest.raises(ValueError, match=re.escape("stock_layers.0 is compiled by torch.compile")):
        changed_model(model, what_if, shown, activations).__enter__()


def test_in_words():
    days = [("stock", 1, 57), ("stock", 2, 3), ("stock", 2, 4), ("market", 0, 1), ("market", 0, 9)]
    change = WhatIf(patch_from=500, patch_days=days, patch_heads=[(1, 3), ("self", 0, 1)], patch_gates=[2])
    assert change
    assert str(change) == (
        "market stream after layer 0 on days 1, 9, stock stream after layer 1 on day 57, "
        "stock stream after layer 2 on days 3 to 4, layer 1 head 3, self layer 0 head 1, gate of layer 2 of sample 500"
    )


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"patch_from": 5}, ValueError, "found patch_from = 5 and nothing to patch"),
        ({"patch_gates": [1]}, ValueError, "found patch_from = None and 1 to patch"),
        ({"patch_from": "calm", "patch_gates": [1]}, TypeError, "patch_from is 'calm', expected the index of a sample"),
        ({"patch_days": [(1, 2)]}, TypeError, "patch_days is [(1, 2)], expected a list of (stream, layer, day)"),
        ({"patch_days": [(0, 1, 2)]}, TypeError, "expected a list of (stream, layer, day)"),
        ({"patch_heads": [1]}, TypeError, "expected a list of (layer, head) or (kind, layer, head)"),
        ({"patch_gates": 1}, TypeError, "patch_gates is 1, expected a list of layers"),
    ],
)
def test_other_forms_are_refused(fields, error, message):
    with pytest.raises(error, match=re.escape(message)):
        WhatIf(**fields)


def test_donors_are_other_windows_of_the_ticker():
    dataset, _ = shipped_sample()
    index = dataset.index_of("2008-10-15", "AAPL")
    drawn = draw_donors(dataset, index, 10)
    assert len(set(drawn)) == 10
    assert {dataset.window(other).ticker for other in drawn} == {"AAPL"}
    assert drawn == draw_donors(dataset, index - len(dataset), 10)
    assert drawn != draw_donors(dataset, index + 1, 10)
    apple = np.flatnonzero(dataset.end_tickers == "AAPL")
    assert sorted(draw_donors(dataset, index, 10**6, without=drawn)) == sorted({*apple} - {index, *drawn})
    assert draw_donors(dataset, index, without=apple) == []
