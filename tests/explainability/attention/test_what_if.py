"""What-if changes: against models whose weights were changed by hand."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import nn

from stockformer.explainability import WhatIf, capture_attention, change_inputs, changed_model, compute_input_saliency
from stockformer.model import create_model

SIZES = {"d_model": 8, "nhead": 2, "num_layers": 3, "dim_feedforward": 12, "market_layers": 1, "market_feature_dim": 2}
NAMES = [["a", "b", "c"], ["m", "n"]]


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    made = create_model(3, "binary", None, SIZES).double().eval()
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(2.0)
    return made


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 6, 3, generator=generator).double(), torch.randn(2, 5, 2, generator=generator).double()


def run(model, inputs):
    with torch.no_grad():
        return model(*inputs)


def changed(model, inputs, **change):
    """The capture of a changed pass."""
    shown = capture_attention(model, *inputs)
    with changed_model(model, WhatIf(**change), shown):
        return capture_attention(model, *inputs)


def test_nothing_changed_is_the_same_bit_for_bit(model, inputs):
    assert torch.equal(changed(model, inputs).output, run(model, inputs))


def test_closed_gates_keep_the_market_out_exactly(model, inputs):
    stock, market = inputs
    outputs = [
        changed(model, (stock, other), gate=dict.fromkeys(range(3), 0.0)).output for other in (market, -9 * market)
    ]
    assert torch.equal(*outputs)
    assert not torch.equal(outputs[0], run(model, inputs))


def test_a_gate_is_what_its_bias_makes_it(model, inputs):
    by_hand = copy.deepcopy(model)
    gate = by_hand.cross_attn_layers[1].gate[0]
    with torch.no_grad():
        gate.weight.zero_()
        gate.bias.fill_(torch.logit(torch.tensor(0.3, dtype=torch.float64)))
    shown = changed(model, inputs, gate={1: 0.3})
    torch.testing.assert_close(shown.output, run(by_hand, inputs), atol=1e-12, rtol=0)
    gates = list(shown.gates.values())
    assert gates[1].unique().tolist() == [pytest.approx(0.3)]
    assert torch.equal(gates[0], next(iter(capture_attention(model, *inputs).gates.values())))


def attention_of(model, kind, layer):
    return {
        "cross": lambda: model.cross_attn_layers[layer].cross_attn,
        "self": lambda: model.stock_layers[layer].self_attn,
        "market": lambda: model.market_encoder.encoder.layers[layer].self_attn,
    }[kind]()


KINDS = [("cross", 2), ("self", 1), ("market", 0)]


@pytest.mark.parametrize(("kind", "layer"), KINDS)
def test_a_head_off_is_a_head_without_output_weights(model, inputs, kind, layer):
    by_hand = copy.deepcopy(model)
    with torch.no_grad():
        attention_of(by_hand, kind, layer).out_proj.weight[:, 4:].zero_()  # head 1 of 2
    shown = changed(model, inputs, heads_off=[(kind, layer, 1)])
    torch.testing.assert_close(shown.output, run(by_hand, inputs), atol=1e-12, rtol=0)
    weights = shown.kinds[kind][layer]
    assert not weights[:, 1].any()
    torch.testing.assert_close(weights[:, 0].sum(dim=-1), torch.ones(weights[:, 0].shape[:2]).double())


@pytest.mark.parametrize(("kind", "layer"), KINDS)
def test_flat_attention_is_attention_without_queries(model, inputs, kind, layer):
    by_hand = copy.deepcopy(model)
    attention = attention_of(by_hand, kind, layer)
    with torch.no_grad():
        attention.in_proj_weight[:8].zero_()
        attention.in_proj_bias[:8].zero_()
    shown = changed(model, inputs, flat=[(kind, layer)])
    torch.testing.assert_close(shown.output, run(by_hand, inputs), atol=1e-12, rtol=0)
    keys = shown.kinds[kind][layer].size(-1)
    torch.testing.assert_close(shown.kinds[kind][layer], torch.full_like(shown.kinds[kind][layer], 1 / keys))


def test_changes_nest(model, inputs):
    shown = capture_attention(model, *inputs)
    with changed_model(model, WhatIf(flat=[1]), shown), changed_model(model, WhatIf(heads_off=[(1, 0)]), shown):
        nested = run(model, inputs)
    assert torch.equal(nested, changed(model, inputs, flat=[1], heads_off=[(1, 0)]).output)


def test_flat_attention_stays_behind_its_mask():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x, mask = torch.randn(1, 4, 8), nn.Transformer.generate_square_subsequent_mask(4)

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x):
            return self.layer(x, src_mask=mask)

    weights = next(iter(changed(Causal(), (x,), flat=[0]).attention.values()))
    expected = torch.ones(4, 4).tril() / torch.arange(1, 5)[:, None]
    torch.testing.assert_close(weights[0, 0], expected)


@pytest.mark.parametrize(("kind", "layer"), KINDS)
def test_permuted_attention_has_the_same_weights_elsewhere(model, inputs, kind, layer):
    shown, again = (changed(model, inputs, permuted=[(kind, layer)]) for _ in range(2))
    before, after = capture_attention(model, *inputs).kinds[kind][layer], shown.kinds[kind][layer]
    # In the first sample and in the second alike, so that a batch is what its samples are.
    torch.testing.assert_close(after.sort(dim=-1).values, before.sort(dim=-1).values)
    assert not torch.allclose(after, before)
    assert torch.equal(shown.output, again.output)
    alone = changed(model, tuple(tensor[1:] for tensor in inputs), permuted=[(kind, layer)])
    torch.testing.assert_close(alone.output[0], shown.output[1])


def test_saliency_of_a_market_behind_closed_gates_is_zero(model, inputs):
    shown = capture_attention(model, *inputs)
    with changed_model(model, WhatIf(gate=dict.fromkeys(range(3), 0.0), heads_off=[(0, 0)]), shown):
        stock, market = compute_input_saliency(model, *inputs)
    assert stock.any()
    assert not market.any()


def test_gradients_through_changed_attention(model, inputs):
    by_hand = copy.deepcopy(model)
    with torch.no_grad():
        by_hand.cross_attn_layers[0].cross_attn.out_proj.weight[:, :4].zero_()
    shown = capture_attention(model, *inputs)
    with changed_model(model, WhatIf(heads_off=[(0, 0)]), shown):
        found = compute_input_saliency(model, *inputs)
    for one, other in zip(found, compute_input_saliency(by_hand, *inputs), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_the_model_is_as_it_was(model, inputs):
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    before = run(model, inputs)
    shown = capture_attention(model, *inputs)
    with pytest.raises(ZeroDivisionError), changed_model(model, WhatIf(gate={0: 0.0}, flat=[1]), shown):
        raise ZeroDivisionError
    assert torch.equal(run(model, inputs), before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert not nn.modules.module._global_forward_hooks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": {3: 0.0}}, "gate's layer is 3, expected 0 to 2"),
        ({"gate": {0: 1.5}}, "the gate of layer 0 is 1.5, expected 0 to 1"),
        ({"gate": {0: float("nan")}}, "the gate of layer 0 is nan, expected 0 to 1"),
        ({"heads_off": [(0, 2)]}, "head is 2, expected 0 to 1"),
        ({"heads_off": [(3, 0)]}, "layer is 3, expected 0 to 2"),
        ({"flat": [-1]}, "layer is -1, expected 0 to 2"),
        ({"permuted": [("market", 1)]}, "layer is 1, expected 0 to 0"),
        ({"flat": [("crss", 0)]}, "there is no 'crss' attention, only cross, self, market"),
    ],
)
def test_what_does_not_exist_cannot_be_changed(model, inputs, change, message):
    with pytest.raises(ValueError, match=message):
        changed(model, inputs, **change)
    assert not nn.modules.module._global_forward_hooks


def test_a_model_without_gates(inputs):
    model = create_model(3, "binary", None, SIZES, "encoder").double().eval()
    with pytest.raises(ValueError, match="StockTransformer has no gates"):
        changed(model, inputs[:1], gate={0: 0.0})


def test_inputs(inputs):
    stock, market = change_inputs(WhatIf(features=["b", "n"], days=(1, 2)), inputs, NAMES)
    expected = [tensor.clone() for tensor in inputs]
    for tensor in expected:
        tensor[:, 1:3, 1] = 0.0
    assert torch.equal(stock, expected[0])
    assert torch.equal(market, expected[1])
    every, _ = change_inputs(WhatIf(days=(0, 0)), inputs, NAMES)
    assert not every[:, 0].any()
    assert torch.equal(every[:, 1:], inputs[0][:, 1:])


def test_another_market(inputs):
    other = torch.ones(2, 4, 2)
    stock, market = change_inputs(WhatIf(market_from=3), inputs, NAMES, other)
    assert torch.equal(stock, inputs[0])
    assert torch.equal(market, other)
    with pytest.raises(ValueError, match="market_from needs a model that reads a market"):
        change_inputs(WhatIf(market_from=3), inputs[:1], NAMES[:1], other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": ["z"]}, "there is no feature 'z'"),
        ({"days": (2, 1)}, "days are 2 to 1, expected a span inside 0 to 5"),
        ({"days": (0, 6)}, "days are 0 to 6, expected a span inside 0 to 5"),
    ],
)
def test_inputs_that_are_not_there(inputs, change, message):
    with pytest.raises(ValueError, match=message):
        change_inputs(WhatIf(**change), inputs[:1], NAMES[:1])


def test_in_words():
    assert str(WhatIf()) == "nothing changed"
    assert not WhatIf()
    change = WhatIf(
        gate={2: 0.0},
        heads_off=[(1, 3), ("self", 0, 1)],
        flat=[2],
        permuted=[("market", 0)],
        market_from=500,
        features=["rsi"],
        days=(0, 4),
    )
    assert str(change) == (
        "gate of layer 2 = 0; layer 1 head 3 off; self layer 0 head 1 off; layer 2 flat; market layer 0 permuted; "
        "market of sample 500; rsi at the training mean on days 0 to 4"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gate": [0.0]}, "gate is [0.0], expected a dictionary of layer: value"),
        ({"gate": {"0": 0.0}}, "expected a dictionary of layer: value"),
        ({"gate": {0: "closed"}}, "expected a dictionary of layer: value"),
        ({"heads_off": (1, 3)}, "heads_off is (1, 3), expected a list of (layer, head) or (kind, layer, head)"),
        ({"heads_off": [("self", 1)]}, "expected a list of (layer, head)"),
        ({"flat": 1}, "flat is 1, expected a list of layers or (kind, layer)"),
        ({"permuted": [True]}, "expected a list of layers"),
        ({"features": "rsi"}, "features is 'rsi', expected a list of names"),
        ({"market_from": 3.5}, "market_from is 3.5, expected the index of a sample"),
        ({"days": 3}, "days is 3, expected (first, last)"),
    ],
)
def test_other_forms_are_refused(change, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        WhatIf(**change)
