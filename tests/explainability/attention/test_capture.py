"""What a forward pass shows, and that showing it changes nothing."""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from stockformer.explainability import (
    AttentionExtractor,
    attention_weights,
    capture_attention,
    evaluating,
    kind_title,
    make_extractor,
    mix_values,
)

D, HEADS = 16, 4
TRANSFORMER = {"nhead": HEADS, "dim_feedforward": 24, "batch_first": True}


class Twice(nn.Module):
    """Runs one attention module two times in a pass."""

    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(D, HEADS, batch_first=True)

    def forward(self, x):
        x = x + self.attn(x, x, x)[0]
        return x + self.attn(x, x.flip(1), x)[0]


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padding(batch=3, steps=8):
    """True where a step is padding: the last 0, 2, 4... steps."""
    return torch.arange(steps) >= steps - 2 * torch.arange(batch)[:, None]


def causal(steps):
    return nn.Transformer.generate_square_subsequent_mask(steps)


def encoder(norm_first):
    layer = nn.TransformerEncoderLayer(D, **TRANSFORMER, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)


def decoder():
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(D, **TRANSFORMER), 2)


def transformer():
    return nn.Transformer(D, HEADS, 2, 2, 24, batch_first=True)


#: name -> (model, arguments, keyword arguments)
MODELS = {
    "encoder": lambda: (encoder(False), [random(3, 8, D)], {}),
    "encoder norm first": lambda: (encoder(True), [random(3, 8, D)], {}),
    "encoder causal": lambda: (encoder(False), [random(3, 8, D)], {"mask": causal(8), "is_causal": True}),
    "encoder padded": lambda: (encoder(False), [random(3, 8, D)], {"src_key_padding_mask": padding()}),
    "encoder norm first padded": lambda: (encoder(True), [random(3, 8, D)], {"src_key_padding_mask": padding()}),
    "decoder": lambda: (decoder(), [random(3, 6, D), random(3, 8, D, seed=1)], {}),
    "decoder masked": lambda: (
        decoder(),
        [random(3, 6, D), random(3, 8, D, seed=1)],
        {"tgt_mask": causal(6), "memory_key_padding_mask": padding()},
    ),
    "transformer": lambda: (transformer(), [random(3, 8, D), random(3, 6, D, seed=1)], {}),
    "transformer masked": lambda: (
        transformer(),
        [random(3, 8, D), random(3, 6, D, seed=1)],
        {"src_key_padding_mask": padding(), "memory_key_padding_mask": padding(), "tgt_mask": causal(6)},
    ),
    "twice": lambda: (Twice(), [random(3, 8, D)], {}),
    "bare": lambda: (nn.MultiheadAttention(D, HEADS, batch_first=True), [random(3, 8, D)] * 3, {}),
    "bare keywords": lambda: (
        nn.MultiheadAttention(D, HEADS),
        [],
        {"query": random(8, 3, D), "key": random(5, 3, D), "value": random(5, 3, D), "need_weights": False},
    ),
}


@pytest.fixture(params=MODELS)
def example(request):
    torch.manual_seed(0)
    model, args, kwargs = MODELS[request.param]()
    return model.eval(), args, kwargs


@pytest.fixture(params=["cross_attention", "encoder"])
def stock_example(request, make_model, inputs):
    model = make_model(request.param, dropout=0.5, layer_drop=0.3)
    return model, list(inputs) if request.param == "cross_attention" else [inputs[0]], {}


@contextmanager
def fastpath(enabled):
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def slow():
    with torch.no_grad(), fastpath(False):
        yield


# Bit for bit the same output


def run(example, training, watch):
    model, args, kwargs = example
    model.train(training)
    torch.manual_seed(7)
    with AttentionExtractor(model) if watch else nullcontext():
        output = model(*args, **kwargs)
    return output if isinstance(output, tuple) else (output,)


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) if x is not None else y is None for x, y in zip(a, b, strict=True)
    )


MODES = {
    "fused": (torch.no_grad, False),
    "inference": (torch.inference_mode, False),
    "grad": (nullcontext, False),
    "slow": (slow, False),
    "training": (nullcontext, True),
}


@pytest.mark.filterwarnings("ignore:.*[Nn]ested")
@pytest.mark.parametrize("mode", MODES)
def test_output_is_bit_identical(example, mode):
    context, training = MODES[mode]
    with context():
        assert same(run(example, training, watch=True), run(example, training, watch=False))


@pytest.mark.parametrize("mode", MODES)
def test_output_of_stock_models_is_bit_identical(stock_example, mode):
    context, training = MODES[mode]
    with context():
        assert same(run(stock_example, training, watch=True), run(stock_example, training, watch=False))


def test_output_of_vectors_is_bit_identical(vector):
    model, inputs, _ = vector
    with torch.no_grad():
        assert torch.equal(capture_attention(model, *inputs).output, model(*inputs))


def test_gradients_are_bit_identical(stock_example):
    model, args, _ = stock_example
    gradients = []
    for context in (nullcontext(), AttentionExtractor(model)):
        with context:
            gradients.append(torch.autograd.grad(model(*args).sum(), list(used(model))))
    assert same(*gradients)


def used(model):
    idle = ("reg_head", "bucket_head")
    return [parameter for name, parameter in model.named_parameters() if not name.startswith(idle)]


# Everything else as before


def state_of(model):
    modules = {name: (m.training, dict(m._forward_hooks), dict(m._forward_pre_hooks)) for name, m in named(model)}
    parameters = {name: (p.requires_grad, p.grad, p.detach().clone()) for name, p in model.named_parameters()}
    return modules, parameters, torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()


def named(model):
    return list(model.named_modules())


def assert_unchanged(model, before):
    after = state_of(model)
    assert after[0] == before[0]
    assert after[2:] == before[2:]
    assert after[1].keys() == before[1].keys()
    for name, (requires_grad, grad, value) in after[1].items():
        assert (requires_grad, torch.equal(value, before[1][name][2])) == (before[1][name][0], True)
        assert grad is before[1][name][1]


def mixed(model):
    """Give a model a state in which every change would show."""
    model.train()
    model.stock_layers[0].eval()
    model.stock_layers[1].self_attn.eval()
    model.input_proj.weight.grad = torch.ones_like(model.input_proj.weight)
    model.attn_pool.weight.requires_grad_(False)
    model.stock_layers[0].self_attn.register_forward_hook(lambda *_: None)
    model.register_forward_pre_hook(lambda *_: None)
    return model


@pytest.mark.parametrize("enabled", [True, False])
def test_capture_leaves_the_model_as_it_was(model, inputs, enabled):
    with fastpath(enabled):
        before = state_of(mixed(model))
        capture_attention(model, *inputs)
        assert_unchanged(model, before)


def test_the_extractor_leaves_the_model_as_it_was(model, inputs):
    before = state_of(mixed(model))
    with AttentionExtractor(model):
        model(*inputs)
        assert [m.training for _, m in named(model)] == [training for training, _, _ in before[0].values()]
    assert_unchanged(model, before)


def test_an_exception_in_the_forward_pass(model, inputs):
    before = state_of(mixed(model))
    with pytest.raises(RuntimeError, match="shape"):
        capture_attention(model, inputs[0], inputs[1][..., :2])
    assert_unchanged(model, before)


def test_an_exception_inside_the_context(model):
    before = state_of(mixed(model))
    with pytest.raises(KeyError), AttentionExtractor(model):
        raise KeyError
    assert_unchanged(model, before)


def test_evaluating_puts_every_module_back(model):
    before = [m.training for m in mixed(model).modules()]
    with evaluating(model):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == before
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [m.training for m in model.modules()] == before


def test_capture_inside_no_grad_and_outside(model, inputs):
    result = capture_attention(model, *inputs)
    tensors = [*result.attention.values(), *result.gates.values(), result.pooling, result.output]
    assert not any(tensor.requires_grad for tensor in tensors)


# Weights against torch's own


ATTENTION_CALLS = {
    "self": ({}, {}),
    "no bias": ({"bias": False}, {}),
    "kdim and vdim": ({"kdim": 10, "vdim": 12}, {}),
    "bias_k": ({"add_bias_kv": True}, {}),
    "zero step": ({"add_zero_attn": True}, {}),
    "both": ({"add_bias_kv": True, "add_zero_attn": True}, {}),
    "bool mask": ({}, {"attn_mask": torch.ones(5, 7).triu(1).bool()}),
    "float mask": ({}, {"attn_mask": random(5, 7, seed=3)}),
    "float mask with -inf": ({}, {"attn_mask": torch.full((5, 7), -torch.inf).triu(1)}),
    "bool mask by head": ({}, {"attn_mask": random(3 * HEADS, 5, 7, seed=3) > 1}),
    "float mask by head": ({}, {"attn_mask": random(3 * HEADS, 5, 7, seed=3)}),
    "padding": ({}, {"key_padding_mask": padding(3, 7)}),
    "float padding": ({}, {"key_padding_mask": random(3, 7, seed=3)}),
    "mask and padding": (
        {},
        {"attn_mask": torch.ones(5, 7).triu(1).bool(), "key_padding_mask": padding(3, 7)},
    ),
    "everything": (
        {"add_bias_kv": True, "add_zero_attn": True, "kdim": 10, "vdim": 12},
        {"attn_mask": random(3 * HEADS, 5, 7, seed=3), "key_padding_mask": random(3, 7, seed=4)},
    ),
}


def attention_call(name, batch_first):
    """A module, its query, key and value, and its masks."""
    settings, masks = ATTENTION_CALLS[name]
    torch.manual_seed(0)
    module = nn.MultiheadAttention(D, HEADS, batch_first=batch_first, **settings).eval()
    for bias in (module.in_proj_bias, module.bias_k, module.bias_v):
        if bias is not None:
            nn.init.normal_(bias)
    widths = (D, settings.get("kdim", D), settings.get("vdim", D))
    qkv = [random(3, steps, width, seed=steps) for steps, width in zip((5, 7, 7), widths, strict=True)]
    return module, qkv if batch_first else [t.transpose(0, 1) for t in qkv], masks


def torch_weights(module, qkv, masks):
    with torch.no_grad():
        return module(*qkv, **masks, need_weights=True, average_attn_weights=False)[1]


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", ATTENTION_CALLS)
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_attention_weights(name, batch_first):
    module, qkv, masks = attention_call(name, batch_first)
    expected = torch_weights(module, qkv, masks)
    assert torch.allclose(attention_weights(module, *qkv[:2], **masks), expected, atol=1e-6, rtol=0)
    with torch.no_grad(), AttentionExtractor(module) as extractor:
        module(*qkv, **masks, need_weights=False)
    assert torch.allclose(extractor.capture.attention[""], expected, atol=1e-6, rtol=0)
    forbidden = expected == 0  # a softmax of finite scores is nowhere 0
    masks = extractor.capture.masks
    assert torch.equal(masks[""].expand_as(expected), forbidden) if forbidden.any() else not masks


def test_masks_of_layers():
    """Causal and padded, and a row of which every key is masked; also where an encoder's fused kernel ran."""
    model, (x,), _ = MODELS["encoder"]()
    mask = torch.ones(8, 8, dtype=torch.bool).triu(1)
    mask[3] = True
    with torch.no_grad(), AttentionExtractor(model.eval()) as extractor:
        model(x, mask=mask, src_key_padding_mask=padding())
    capture = extractor.capture
    kind = next(iter(capture.kinds))
    for sample, padded in enumerate(padding()):
        assert torch.equal(capture.mask(kind, 1, head=1, sample=sample), mask | padded)
        assert torch.equal(capture.mask(kind, 0, sample=sample), mask | padded)
        assert capture.map(kind, 0, sample=sample)[3].isnan().all()
    assert torch.equal(capture.to_dict()["masks"][kind][0], capture.masks[capture.paths[kind][0]])


def test_a_head_of_its_own_mask():
    module, qkv, masks = attention_call("bool mask by head", True)
    with torch.no_grad(), AttentionExtractor(module) as extractor:
        module(*qkv, **masks)
    capture, by_head = extractor.capture, masks["attn_mask"].view(3, HEADS, 5, 7)
    assert torch.equal(capture.mask("attention", 0, head=1, sample=2), by_head[2, 1])
    assert torch.equal(capture.mask("attention", 0, sample=2), by_head[2].all(dim=0))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", ATTENTION_CALLS)
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_mix_values(name, batch_first):
    module, qkv, masks = attention_call(name, batch_first)
    with torch.no_grad():
        expected = module(*qkv, **masks, need_weights=False)[0]
        found = mix_values(module, attention_weights(module, *qkv[:2], **masks), qkv[2])
    assert torch.allclose(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["self", "bias_k", "zero step", "bool mask", "float mask"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_weights_without_batch(name, batch_first):
    module, qkv, masks = attention_call(name, True)
    module.batch_first = batch_first
    single = [tensor[0] for tensor in qkv]
    expected = torch_weights(module, single, masks)
    assert torch.allclose(attention_weights(module, *single[:2], **masks)[0], expected, atol=1e-6, rtol=0)


def test_attention_weights_without_batch_but_with_masks():
    module, qkv, _ = attention_call("self", True)
    single = [tensor[0] for tensor in qkv]
    masks = {"attn_mask": random(HEADS, 5, 7, seed=3) > 1, "key_padding_mask": padding(3, 7)[1]}
    expected = torch_weights(module, single, masks)
    assert torch.allclose(attention_weights(module, *single[:2], **masks)[0], expected, atol=1e-6, rtol=0)


def test_attention_weights_are_before_dropout():
    module, qkv, _ = attention_call("self", True)
    expected = torch_weights(module, qkv, {})
    module.train().dropout = 0.9
    assert torch.allclose(attention_weights(module, *qkv[:2]), expected, atol=1e-6, rtol=0)


def test_attention_weights_are_on_the_gradient_path():
    module, (query, key, _), _ = attention_call("self", True)
    module, query, key = module.double(), query.double().requires_grad_(), key.double().requires_grad_()
    weight = module.in_proj_weight
    assert torch.autograd.gradcheck(lambda q, k: attention_weights(module, q, k), (query, key))
    gradient = torch.autograd.grad(attention_weights(module, query, key)[0, 0, 0, 0], weight)[0]
    assert gradient[: 2 * D].any()
    assert not gradient[2 * D :].any()  # the values play no part


def weights_by_torch(model, args, kwargs, monkeypatch):
    """Weights of every attention call of a pass, in order, as torch itself returns them."""
    own, found = nn.MultiheadAttention.forward, []

    def forward(module, *args, **kwargs):
        kwargs |= {"need_weights": True, "average_attn_weights": False}
        output, weights = own(module, *args, **kwargs)
        found.append(weights)
        return output, weights

    with monkeypatch.context() as patch, slow():
        patch.setattr(nn.MultiheadAttention, "forward", forward)
        model(*args, **kwargs)
    return found


@pytest.mark.filterwarnings("ignore:.*[Nn]ested")
@pytest.mark.parametrize("context", [torch.no_grad, nullcontext, slow])
def test_maps_of_models(example, context, monkeypatch):
    model, args, kwargs = example
    expected = weights_by_torch(model, args, kwargs, monkeypatch)
    with context(), AttentionExtractor(model) as extractor:
        model(*args, **kwargs)
    maps = list(extractor.capture.attention.values())
    assert [m.shape for m in maps] == [e.shape for e in expected]
    pad = kwargs.get("src_key_padding_mask")
    for actual, wanted in zip(maps, expected, strict=True):
        # a padded step is computed or not, by the path that torch takes; no one reads its row
        rows = ~pad[:, None, :, None] if pad is not None and wanted.size(2) == pad.size(1) else torch.tensor(True)
        assert torch.allclose(actual * rows, wanted * rows, atol=1e-6, rtol=0)


def test_maps_of_stock_models(stock_example, monkeypatch):
    model, args, kwargs = stock_example
    expected = weights_by_torch(model, args, kwargs, monkeypatch)
    maps = list(capture_attention(model, *args).attention.values())
    assert len(maps) == len(expected)
    assert all(torch.allclose(a, e, atol=1e-6, rtol=0) for a, e in zip(maps, expected, strict=True))


def test_padded_keys_get_no_weight():
    model, args, kwargs = MODELS["encoder padded"]()
    with torch.no_grad(), AttentionExtractor(model.eval()) as extractor:
        model(*args, **kwargs)
    for weights in extractor.capture.attention.values():
        for sample, hidden in enumerate(kwargs["src_key_padding_mask"]):
            seen = weights[sample][:, ~hidden]
            assert not seen[..., hidden].any()
            assert torch.allclose(seen.sum(-1), torch.ones(HEADS, int((~hidden).sum())))


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("twice", ["attn", "attn#1"]),
        ("bare", [""]),
        ("decoder", [f"layers.{i}.{kind}_attn" for i in (0, 1) for kind in ("self", "multihead")]),
        (
            "transformer",
            [f"encoder.layers.{i}.self_attn" for i in (0, 1)]
            + [f"decoder.layers.{i}.{kind}_attn" for i in (0, 1) for kind in ("self", "multihead")],
        ),
    ],
)
def test_module_paths(name, paths):
    model, args, kwargs = MODELS[name]()
    with AttentionExtractor(model) as extractor:
        model(*args, **kwargs)
    assert list(extractor.capture.attention) == paths


# get_data, kinds, map


def test_get_data_as_the_notebook_reads_it(model, inputs):
    extractor = AttentionExtractor(model)
    with torch.no_grad(), extractor:
        model(*inputs)
    data = extractor.get_data()
    shapes = {name: [tuple(t.shape) for t in data[name]] for name in data if name.endswith(("attn_weights", "values"))}
    assert shapes == {
        "cross_attn_weights": [(2, 2, 6, 7)] * 2,
        "self_attn_weights": [(2, 2, 6, 6)] * 2,
        "market_attn_weights": [(2, 2, 7, 7)],
        "gate_values": [(2, 6, 8)] * 2,
    }
    assert data["pool_weights"].shape == (2, 6)
    assert torch.equal(data["cross_attn_weights"][1], data["attention"]["cross_attn_layers.1.cross_attn"])
    assert torch.equal(data["self_attn_weights"][1], data["attention"]["stock_layers.1.self_attn"])
    assert torch.equal(data["market_attn_weights"][0], data["attention"]["market_encoder.encoder.layers.0.self_attn"])


def test_get_data_of_an_encoder(make_model, inputs):
    model = make_model("encoder")
    with AttentionExtractor(model) as extractor:
        model(inputs[0])
    data = extractor.get_data()
    assert (data["cross_attn_weights"], data["market_attn_weights"], data["gate_values"]) == ([], [], [])
    assert [tuple(t.shape) for t in data["self_attn_weights"]] == [(2, 2, 6, 6)] * 2


def test_rows_are_shares_and_gates_are_open_by_a_share(model, inputs):
    result = capture_attention(model, *inputs)
    for weights in [*result.attention.values(), result.pooling]:
        assert torch.allclose(weights.sum(-1), torch.tensor(1.0))
    assert all(((gate > 0) & (gate < 1)).all() for gate in result.gates.values())


def test_every_weight_in_a_table(model, inputs):
    shown = capture_attention(model, *inputs)
    table = shown.to_frame(sample=1)
    assert list(table) == ["kind", "layer", "head", "query", "key", "weight"]
    assert len(table) == sum(weights[1].numel() for weights in shown.attention.values())
    by_step = table.set_index(["kind", "layer", "head", "query", "key"])["weight"]
    assert by_step.index.is_unique
    for kind, layer, head, query, key in [("cross", 1, 0, 5, 6), ("self", 0, 1, 2, 3), ("market", 0, 1, 6, 0)]:
        expected = shown.kinds[kind][layer][1, head, query, key]
        assert by_step[kind, layer, head, query, key] == float(expected)


def test_kinds_in_words():
    titles = ["Stock to market attention", "Stock self-attention", "Market self-attention", "decoder.layers.*.attn"]
    assert [kind_title(kind) for kind in ("cross", "self", "market", "decoder.layers.*.attn")] == titles


def test_models_without_gates_and_pooling():
    result = capture_attention(encoder(True), random(3, 8, D))
    assert (dict(result.gates), result.pooling) == ({}, None)


def test_a_first_pass_stays_after_a_second(model, inputs):
    """Section 12 of the notebook: calm and volatile days side by side."""
    extractor = make_extractor(model)
    with torch.no_grad(), extractor:
        model(*inputs)
    calm, first = extractor.get_data(), extractor.capture
    kept = copy.deepcopy(calm)
    extractor.clear()
    with torch.no_grad(), extractor:
        model(*(3 * tensor for tensor in inputs))
    volatile = extractor.get_data()
    for name in ("cross_attn_weights", "self_attn_weights", "market_attn_weights", "gate_values"):
        assert same(calm[name], kept[name])
        assert not same(volatile[name], kept[name])
    assert torch.equal(calm["pool_weights"], kept["pool_weights"])
    assert torch.equal(first.pooling, kept["pool_weights"])


def test_a_second_pass_replaces_the_first(model, inputs):
    with torch.no_grad(), AttentionExtractor(model) as extractor:
        model(*inputs)
        model(*(3 * tensor for tensor in inputs))
    again = capture_attention(model, *(3 * tensor for tensor in inputs))
    assert extractor.capture.attention.keys() == again.attention.keys()
    assert same(list(extractor.capture.attention.values()), list(again.attention.values()))


def test_a_capture_shares_no_memory_with_the_model(model, inputs):
    gates = [layer.gate for layer in model.cross_attn_layers]
    outputs = []
    with torch.no_grad(), AttentionExtractor(model) as extractor:
        for gate in gates:
            gate.register_forward_hook(lambda module, args, output: outputs.append(output))
        outputs.append(model(*inputs))
    shown = [*extractor.capture.gates.values(), extractor.capture.output]
    kept = copy.deepcopy(shown)
    for output in outputs:
        output.zero_()
    assert same(shown, kept)
    assert all(tensor.any() for tensor in shown)


def test_kinds_come_cross_self_market(model, inputs):
    result = capture_attention(model, *inputs)
    assert next(iter(result.attention)).startswith("market_encoder")
    assert {kind: len(maps) for kind, maps in result.kinds.items()} == {"cross": 2, "self": 2, "market": 1}
    assert list(result.kinds) == ["cross", "self", "market"]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        (
            "transformer",
            ["encoder.layers.*.self_attn", "decoder.layers.*.self_attn", "decoder.layers.*.multihead_attn"],
        ),
        ("encoder", ["layers.*.self_attn"]),
        ("twice", ["attn"]),
    ],
)
def test_other_kinds_are_named_by_path(name, kinds):
    model, args, _ = MODELS[name]()
    found = capture_attention(model, *args).kinds
    assert list(found) == kinds
    assert [len(maps) for maps in found.values()] == [2] * len(kinds)


def test_kind_of_a_bare_attention():
    model, args, _ = MODELS["bare"]()
    assert list(capture_attention(model, *args).kinds) == ["attention"]


def test_kind_of_an_encoder(make_model, inputs):
    kinds = capture_attention(make_model("encoder"), inputs[0]).kinds
    assert {kind: len(maps) for kind, maps in kinds.items()} == {"self": 2}


def test_map_of_one_head_and_of_the_mean(model, inputs):
    result = capture_attention(model, *inputs)
    weights = result.attention["cross_attn_layers.1.cross_attn"]
    assert torch.equal(result.map("cross", 1, head=1, sample=1), weights[1, 1])
    assert torch.allclose(result.map("cross", 1), (weights[0, 0] + weights[0, 1]) / 2)


def test_gates_and_pooling_by_hand(model, inputs):
    result = capture_attention(model, *inputs)
    stock = random(2, 6, 8)
    market = random(2, 7, 8, seed=1)
    layer = model.cross_attn_layers[0]
    with torch.no_grad():
        layer_result = capture_attention(layer, stock, market)
        context = layer.cross_attn(stock, market, market)[0]
        linear = layer.gate[0]
        logits = torch.cat([stock, context], -1) @ linear.weight.T + linear.bias
    assert torch.allclose(layer_result.gates["gate"], 1 / (1 + (-logits).exp()), atol=1e-6)
    assert list(result.gates) == ["cross_attn_layers.0.gate", "cross_attn_layers.1.gate"]


# Errors


def test_a_model_without_attention():
    with pytest.raises(ValueError, match=r"Sequential has no attention to show: it contains no nn\.MultiheadAttention"):
        AttentionExtractor(nn.Sequential(nn.Linear(2, 2)))


@pytest.mark.parametrize("thing", [None, "model", torch.zeros(2), nn.Linear])
def test_not_a_module(thing):
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module, got"):
        AttentionExtractor(thing)


def test_nothing_captured_yet(model, inputs):
    extractor = AttentionExtractor(model)
    with pytest.raises(RuntimeError, match="nothing captured yet"):
        extractor.get_data()
    with extractor:
        model(*inputs)
    model(*inputs)
    extractor.get_data()
    extractor.clear()
    with pytest.raises(RuntimeError, match="nothing captured yet"):
        extractor.get_data()


def test_a_failed_pass_keeps_the_capture_before_it(model, inputs):
    with AttentionExtractor(model) as extractor:
        model(*inputs)
        before = extractor.capture
        with pytest.raises(RuntimeError):
            model(inputs[0], inputs[1][..., :2])
    assert extractor.capture is before


def test_entering_twice(model, inputs):
    with AttentionExtractor(model) as extractor:
        with pytest.raises(RuntimeError, match="open already"), extractor:
            pass
        model(*inputs)
    assert len(extractor.capture.attention) == 5


def test_two_extractors_at_once(model, inputs):
    with torch.no_grad(), AttentionExtractor(model) as outer, AttentionExtractor(model) as inner:
        model(*inputs)
    assert same(list(outer.capture.attention.values()), list(inner.capture.attention.values()))


@pytest.mark.parametrize(
    ("kind", "layer", "error", "message"),
    [("crosss", 0, KeyError, "there is no 'crosss' attention, only 'cross'"), ("cross", 9, IndexError, "layer is 9")],
)
def test_a_map_that_does_not_exist(sample, kind, layer, error, message):
    dataset, model = sample
    x, _, market_x = dataset[0]
    with pytest.raises(error, match=message):
        capture_attention(model, x[None], market_x[None]).map(kind, layer)
