"""Attention that is what it seems: what is recorded is what was computed, or a caveat says that it is not."""

from __future__ import annotations

import copy
import math
import random
import warnings
from contextlib import nullcontext

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import spectral_norm as hooked_spectral_norm

from stockformer.explainability import (
    AttentionExtractor,
    WhatIf,
    attention_effects,
    capture_attention,
    changed_model,
    generate_report,
    trace_attention,
)
from stockformer.explainability.attention.recording import record_fused, tolerance
from stockformer.reports import explanation

D, HEADS, STEPS = 16, 4, 8


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class OneAttention(nn.Module):
    """[B, T, D] -> [B, 2] through one attention; called with `options`."""

    def __init__(self, attention=None, **options):
        super().__init__()
        self.attn = attention or nn.MultiheadAttention(D, HEADS, batch_first=True)
        self.head = nn.Linear(D, 2)
        self.options = options

    def forward(self, x):
        attended = self.attn(x, x, x, **self.options)
        return self.head((attended[0] if isinstance(attended, tuple) else attended).mean(dim=1))


# Attentions whose forward is their own


def own_weights(query, key):
    """A softmax with four times the usual temperature, in two unequal heads."""
    scores = 4 * query @ key.transpose(-2, -1) / math.sqrt(query.size(-1))
    causal = torch.full(scores.shape[-2:], -torch.inf).triu(1)
    return torch.stack([scores.softmax(-1), *[(scores + causal).softmax(-1)] * (HEADS - 1)], dim=1)


class Sharpened(nn.MultiheadAttention):
    """Attends with other queries than it is called with."""

    def forward(self, query, key, value, **options):
        return super().forward(9 * query, key, value, **options)


class Renamed(nn.MultiheadAttention):
    """Computes what torch does, under other names and in another order."""

    def forward(self, q, k, v, attn_mask=None):
        return super().forward(q, k, v, attn_mask=attn_mask, need_weights=False)


class Own(nn.MultiheadAttention):
    """Weights of its own making; `returns` says what it returns with the output."""

    returns = "heads"

    def forward(self, query, key, value, **options):
        weights = own_weights(query, key)
        width = self.embed_dim // self.num_heads
        values = nn.functional.linear(value, self.in_proj_weight[2 * D :], self.in_proj_bias[2 * D :])
        mixed = torch.cat([weights[:, h] @ values[..., h * width : (h + 1) * width] for h in range(HEADS)], dim=-1)
        returned = {"heads": weights, "mean": weights.mean(dim=1), "nothing": None}[self.returns]
        return self.out_proj(mixed), returned


def own(kind, returns=None):
    torch.manual_seed(0)
    module = kind(D, HEADS, batch_first=True)
    nn.init.normal_(module.in_proj_bias)
    module.returns = returns
    return module.eval()


def captured(model, *inputs, **keywords):
    """A pass as a user makes it, the capture, and what was warned of."""
    plain = copy.deepcopy(model)
    with torch.no_grad(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with AttentionExtractor(model) as extractor:
            output = model(*inputs, **keywords)
        expected = plain(*inputs, **keywords)
    first = [one[0] if isinstance(one, tuple) else one for one in (output, expected)]
    assert torch.equal(*first)
    return extractor.capture, [str(one.message) for one in warned]


def test_weights_that_an_own_forward_returns():
    x = normal(2, STEPS, D)
    capture, warned = captured(OneAttention(own(Own, "heads")), x)
    assert torch.allclose(capture.attention["attn"], own_weights(x, x), atol=1e-6)
    assert capture.discrepancy["attn"] < 1e-5
    assert not capture.caveats
    assert not warned


@pytest.mark.parametrize("kind", ["mean of its own", "mean of other queries"])
def test_a_mean_that_an_own_forward_returns(kind):
    x = normal(2, STEPS, D)
    module = own(Own, "mean") if kind == "mean of its own" else own(Sharpened)
    with torch.no_grad():
        expected = module(x, x, x)[1]
    capture, (warning,) = captured(OneAttention(module), x)
    assert torch.allclose(capture.attention["attn"], expected[:, None], atol=1e-6)
    assert capture.discrepancy["attn"] > 0.1
    assert "attn: this is the mean of its heads" in warning
    assert capture.caveats_of("attn", 0) == capture.caveats_of() == [warning]


def test_an_own_forward_that_returns_no_weights():
    capture, (warning,) = captured(OneAttention(own(Own, "nothing")), normal(2, STEPS, D))
    assert capture.discrepancy["attn"] > 0.1
    assert "do not give its output" in warning
    assert f"{100 * capture.discrepancy['attn']:.2g} % off" in warning


def test_an_own_forward_that_adds_to_the_output():
    class Shifted(nn.MultiheadAttention):
        def forward(self, query, key, value, **options):
            attended, weights = super().forward(query, key, value, average_attn_weights=False)
            return attended + query, weights

    x = normal(2, STEPS, D)
    module = own(Shifted)
    capture, (warning,) = captured(OneAttention(module), x)
    with torch.no_grad():
        assert torch.equal(capture.attention["attn"], module(x, x, x)[1])
    assert "its own forward returned, but they do not give its output" in warning


def test_names_of_an_own_forward():
    mask = torch.ones(STEPS, STEPS, dtype=torch.bool).triu(1)
    x = normal(2, STEPS, D)
    module = own(Renamed)
    calls = [((x, x, x, mask), {}), ((x,), {"k": x, "v": x, "attn_mask": mask}), ((), {"q": x, "k": x, "v": x})]
    for (args, keywords), masked in zip(calls, (mask, mask, None), strict=True):
        capture, warned = captured(module, *args, **keywords)
        assert torch.allclose(capture.attention[""].double(), by_hand(module, x, x, masked), atol=1e-6)
        assert not warned


def test_a_patched_forward_of_any_arguments():
    model = OneAttention(own(nn.MultiheadAttention))
    inner = model.attn.forward
    model.attn.forward = lambda *args, **keywords: inner(*args, **keywords)
    x = normal(2, STEPS, D)
    capture, warned = captured(model, x)
    assert capture.discrepancy["attn"] < 1e-5
    assert not warned
    model.attn.forward = lambda *args, **keywords: inner(3 * args[0], *args[1:], **keywords)
    capture, (warning,) = captured(model, x)
    assert "mean of its heads" in warning


def test_a_call_without_a_query_does_not_end_the_pass():
    class Fixed(nn.MultiheadAttention):
        def forward(self, steps):
            return self.out_proj(torch.ones(1, steps, D)), None

    model = nn.Sequential(own(Fixed))
    capture, (warning,) = captured(model, STEPS)
    assert not capture.attention
    assert "0: there is no map of it: Fixed was called without a query" in warning


# What stands between parameters, inputs and output


class Scaled(nn.Module):
    def forward(self, values):
        return 2 * values


@pytest.mark.parametrize("place", ["attn", "model", "keywords", "in place"])
def test_a_hook_that_changes_the_input(place):
    model, x = OneAttention(own(nn.MultiheadAttention)), normal(2, STEPS, D)
    if place == "keywords":
        model.attn.register_forward_pre_hook(
            lambda m, args, kwargs: ((3 * args[0], *args[1:]), kwargs), with_kwargs=True
        )
    elif place == "in place":
        model.attn.register_forward_pre_hook(lambda m, args: (args[0].clone().mul_(3), *args[1:]))
    else:
        module = model.attn if place == "attn" else model
        module.register_forward_pre_hook(lambda m, args: (3 * args[0], *args[1:]))
    capture, warned = captured(model, x)
    key = 3 * x if place == "model" else x
    expected = by_hand(model.attn, 3 * x, key)
    assert torch.allclose(capture.attention["attn"].double(), expected, atol=1e-6)
    assert not warned


def test_a_hook_that_changes_the_output_says_so():
    """A global one that is older than the capture's: it alone can stand between a module and the capture."""
    model = OneAttention(own(nn.MultiheadAttention))

    def after(module, args, output):
        return (output[0] + 1, output[1]) if isinstance(module, nn.MultiheadAttention) else None

    handle = nn.modules.module.register_module_forward_hook(after)
    try:
        _, (warning,) = captured(model, normal(2, STEPS, D))
    finally:
        handle.remove()
    assert "do not give its output" in warning


@pytest.mark.parametrize("norm", [parametrizations.spectral_norm, hooked_spectral_norm, parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore:.*dropout is on")
def test_parameters_that_move_with_each_reading(norm):
    """Two passes in training mode: the second is that of a model which was never watched."""
    torch.manual_seed(0)
    model = OneAttention(own(nn.MultiheadAttention)).train()
    norm(model.attn, "in_proj_weight")
    norm(model.head)
    x = normal(2, STEPS, D)
    plain = copy.deepcopy(model)
    with AttentionExtractor(model) as extractor:
        outputs = [model(x), model(x)]
    assert all(torch.equal(one, plain(x)) for one in outputs)
    assert extractor.capture.discrepancy["attn"] < 1e-5
    assert model.attn.training
    assert all(module.training for module in model.modules())


def test_dropout_is_said():
    model = OneAttention(nn.MultiheadAttention(D, HEADS, 0.5, batch_first=True)).train()
    words = "attn: dropout is on: these are the weights before it"
    with pytest.warns(UserWarning, match=words), AttentionExtractor(model) as extractor:
        model(normal(2, STEPS, D))
    assert math.isnan(extractor.capture.discrepancy["attn"])


# torch's fused kernel


def layer(**options):
    torch.manual_seed(0)
    settings = {"dim_feedforward": 24, "batch_first": True} | options
    return nn.TransformerEncoderLayer(D, HEADS, **settings).eval()


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_fused_layer_is_compared_too(norm_first, activation):
    model, x = layer(norm_first=norm_first, activation=activation), normal(2, STEPS, D)
    capture, warned = captured(model, x)
    assert capture.discrepancy["self_attn"] < 1e-5
    assert not warned
    with torch.no_grad():
        other = record_fused(model, (x,), {}, model(x + x.flip(1)))
    assert other.discrepancy > 0.1
    assert "do not give its output" in other.caveat


def test_another_norm_in_a_fused_layer():
    """The kernel reads a norm's parameters, not the module."""

    class Norm(nn.LayerNorm):
        def forward(self, x):
            return 5 * super().forward(x)

    model, x = layer(norm_first=True), normal(2, STEPS, D)
    expected, _ = captured(model, x)
    model.norm1.__class__ = Norm
    capture, warned = captured(model, x)
    assert torch.equal(capture.attention["self_attn"], expected.attention["self_attn"])
    assert not warned


def test_a_layer_with_a_forward_of_its_own():
    class Doubled(nn.TransformerEncoderLayer):
        def forward(self, src, **masks):
            return super().forward(2 * src, **masks)

    class Same(nn.TransformerEncoderLayer):
        def forward(self, src, **masks):
            return super().forward(src, **masks)

    x = normal(2, STEPS, D)
    model = nn.Sequential(layer(), layer())
    model[0].__class__, model[1].__class__ = Doubled, Same
    capture, (warning,) = captured(model, x)
    assert list(capture.attention) == ["1.self_attn"]
    assert "0.self_attn: there is no map of it: its layer, Doubled, has a forward of its own" in warning
    assert capture.caveats_of("*.self_attn", 0) == [warning]
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        capture, warned = captured(model, x)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert list(capture.attention) == ["0.self_attn", "1.self_attn"]
    assert not warned


# Half precision


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision(dtype, autocast):
    model, x = OneAttention(own(nn.MultiheadAttention), need_weights=False), normal(2, STEPS, D)
    with torch.autocast("cpu", dtype) if autocast else nullcontext():
        capture, warned = captured(model if autocast else model.to(dtype), x if autocast else x.to(dtype))
    weights = capture.attention["attn"]
    assert weights.dtype == torch.float32
    assert torch.allclose(weights.sum(-1), torch.tensor(1.0), atol=1e-6)
    expected = by_hand(model.attn, x, x)
    assert (weights - expected).abs().max() < 4 * torch.finfo(dtype).eps
    assert 0 < capture.discrepancy["attn"] < tolerance(dtype)
    assert not warned


def test_gates_and_pooling_in_half_precision(model, inputs):
    capture = capture_attention(model.bfloat16(), *(part.bfloat16() for part in inputs))
    assert {part.dtype for part in (*capture.gates.values(), capture.pooling)} == {torch.float32}
    assert capture.output.dtype == torch.bfloat16


# What needs the recomputed output


@pytest.mark.parametrize("returns", ["mean", "nothing"])
def test_what_cannot_be_recomputed_is_not_changed(returns):
    model, x = OneAttention(own(Own, returns)), normal(1, STEPS, D)
    with pytest.warns(UserWarning, match="attn"):
        capture = capture_attention(model, x)
    words = "attention of a Own can be shown but neither changed nor differentiated"
    with pytest.raises(ValueError, match=words):
        trace_attention(model, x)
    with pytest.raises(ValueError, match=words), changed_model(model, WhatIf(flat=[0]), capture):
        model(x)
    with pytest.raises(ValueError, match=words), pytest.warns(UserWarning, match="attn"):
        attention_effects(model, x)


def test_returned_weights_can_be_changed():
    model, x = OneAttention(own(Own, "heads")), normal(1, STEPS, D)
    capture = capture_attention(model, x)
    values = nn.functional.linear(x, model.attn.in_proj_weight[2 * D :], model.attn.in_proj_bias[2 * D :])
    causal = torch.ones(STEPS, STEPS).tril() / torch.arange(1, STEPS + 1)[:, None]
    width = D // HEADS
    flat = torch.cat(
        [values[..., :width].mean(dim=1, keepdim=True).expand(-1, STEPS, -1), causal @ values[..., width:]], -1
    )
    expected = model.head(model.attn.out_proj(flat).mean(dim=1))
    with torch.no_grad(), changed_model(model, WhatIf(flat=[0]), capture):
        assert torch.allclose(model(x), expected, atol=1e-5)


def test_a_report_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(explanation, "render", lambda figure, dpi: plt.close(figure) or b"")
    model, x = OneAttention(own(Own, "nothing")), normal(1, STEPS, D)
    with pytest.warns(UserWarning, match="attn"):
        page = generate_report(model, x, output_dir=tmp_path)["report"].read_text()
    assert page.count("attn: these weights are recomputed") >= 4
    assert "Left out: the attention of a Own can be shown" in page


# Random modules against two references


def by_hand(module, query, key, attn_mask=None, key_padding_mask=None):
    """softmax(Q K^T / sqrt(d)) in double precision, head by head and sample by sample: [B, heads, L, S]."""
    state = {name: values.detach().double() for name, values in module.state_dict().items()}
    width, size = module.embed_dim, module.head_dim
    packed = state.get("in_proj_weight")
    w_q, w_k = (
        (state["q_proj_weight"], state["k_proj_weight"])
        if packed is None
        else (packed[:width], packed[width : 2 * width])
    )
    b_q, b_k = (
        (state["in_proj_bias"][:width], state["in_proj_bias"][width : 2 * width]) if "in_proj_bias" in state else (0, 0)
    )
    if not module.batch_first:
        query, key = query.transpose(0, 1), key.transpose(0, 1)
    samples = []
    for sample, (q, k) in enumerate(zip(query.double() @ w_q.T + b_q, key.double() @ w_k.T + b_k, strict=True)):
        added = [state["bias_k"][0]] if "bias_k" in state else []
        added += [torch.zeros(1, width).double()] * module.add_zero_attn
        k = torch.cat([k, *added])
        allowed = torch.ones(len(q), len(k), dtype=torch.bool)
        if attn_mask is not None:
            allowed[:, : attn_mask.size(1)] &= ~attn_mask
        if key_padding_mask is not None:
            allowed[:, : key_padding_mask.size(1)] &= ~key_padding_mask[sample]
        heads = []
        for head in range(module.num_heads):
            columns = slice(head * size, (head + 1) * size)
            exponents = (q[:, columns] @ k[:, columns].T / math.sqrt(size)).exp() * allowed
            heads.append(exponents / exponents.sum(dim=1, keepdim=True))
        samples.append(torch.stack(heads))
    return torch.stack(samples)


def random_call(seed):
    """A module, the arguments of a call, and the weights that torch itself returns for it."""
    pick = random.Random(seed)
    torch.manual_seed(seed)
    heads = pick.choice([1, 2, 3, 4])
    width, batch, queries = heads * pick.choice([1, 4, 7]), pick.choice([1, 3]), pick.choice([1, 2, 9])
    alone, first = pick.random() < 0.5, pick.random() < 0.5
    keys = queries if alone else pick.choice([1, 5, 11])
    sizes = {} if alone or pick.random() < 0.5 else {"kdim": 5, "vdim": 6}
    extra = {name: pick.random() < 0.3 for name in ("add_bias_kv", "add_zero_attn")}
    module = nn.MultiheadAttention(width, heads, batch_first=first, bias=pick.random() < 0.7, **sizes, **extra).eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=pick.choice([0.3, 1.0]))

    def steps(number, size):
        return torch.randn(*((batch, number, size) if first else (number, batch, size)))

    query = steps(queries, width)
    key, value = (
        (query, query) if alone else (steps(keys, sizes.get("kdim", width)), steps(keys, sizes.get("vdim", width)))
    )
    masks = {}
    if pick.random() < 0.4:
        masks["attn_mask"] = torch.rand(queries, keys) < 0.3
    if pick.random() < 0.4:
        masks["key_padding_mask"] = torch.rand(batch, keys) < 0.3
    call = {"query": query, "key": key, "value": value, **masks}
    with torch.no_grad():
        expected = copy.deepcopy(module)(**call, need_weights=True, average_attn_weights=False)[1]
    return (
        module,
        call,
        masks,
        expected,
        pick.random() < 0.5,
        pick.choice([torch.no_grad, torch.inference_mode, nullcontext]),
    )


@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_random_attention():
    for seed in range(200):
        module, call, masks, expected, need_weights, context = random_call(seed)
        plain = copy.deepcopy(module)
        with context():
            with AttentionExtractor(module) as extractor:
                output = module(**call, need_weights=need_weights)[0]
            assert torch.equal(output.nan_to_num(), plain(**call, need_weights=need_weights)[0].nan_to_num()), seed
        weights = extractor.capture.attention[""]
        reference = by_hand(module, call["query"], call["key"], **masks)
        assert torch.allclose(weights.double(), reference, atol=1e-5, equal_nan=True), seed
        assert torch.allclose(weights, expected, atol=1e-5, equal_nan=True), seed
        assert not extractor.capture.discrepancy[""] > tolerance(torch.float32), seed
        assert not extractor.capture.caveats, seed


@pytest.mark.filterwarnings("ignore:attention:")
def test_random_changes_are_all_noticed():
    """Whatever the query is multiplied with, a difference of the output is measured and said."""
    for seed in range(100):
        module, call, _, _, _, _ = random_call(seed)
        with torch.no_grad():
            plain = module(**call)[0]
            inner = module.forward
            module.forward = lambda query, key, value, inner=inner, **o: (inner(2.5 * query, key, value, **o)[0], None)
            with AttentionExtractor(module) as extractor:
                changed = module(**call)[0]
        usable = changed.isfinite() & plain.isfinite()
        exact = float((changed - plain)[usable].norm() / changed[usable].norm().clamp(min=1e-30))
        measured = extractor.capture.discrepancy[""]
        assert bool(extractor.capture.caveats) == (measured > tolerance(torch.float32)), seed
        if exact > 1e-3:
            assert exact / 5 < measured < exact * 5, seed
        elif exact < 1e-6:
            assert not measured > 1e-4, seed
