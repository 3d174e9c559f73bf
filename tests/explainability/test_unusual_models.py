"""Models that are built, compiled, quantised or called otherwise: they work, or one sentence says why not."""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn.utils import prune, weight_norm
from torch.utils.checkpoint import checkpoint

from stockformer.explainability import (
    AttentionExtractor,
    WhatIf,
    attention_effects,
    attribute,
    capture_attention,
    changed_model,
    generate_report,
    head_importance,
    in_eval_mode,
    joint_rollout,
    measure_windows,
    randomisation_check,
    relevance,
    trace_attention,
)
from stockformer.explainability.faithfulness.randomisation import _randomised
from stockformer.reports import explanation, sections
from stockformer_widgets import ExtractorSession

D, HEADS = 16, 4


class Encoder(nn.Module):
    """[B, 8, D] -> [B, 2]; the last `padding` days are masked."""

    def __init__(self, padding=0):
        super().__init__()
        torch.manual_seed(0)
        layer = nn.TransformerEncoderLayer(D, HEADS, 24, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(D, 2)
        self.padding = padding

    def forward(self, x):
        mask = (torch.arange(x.size(1)) >= x.size(1) - self.padding).expand(len(x), -1) if self.padding else None
        return self.head(self.encoder(x, src_key_padding_mask=mask)[:, :4].mean(dim=1))


class Adapter(nn.Module):
    """A linear layer with a low-rank addition (LoRA)."""

    def __init__(self, base):
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


class Merged(Adapter):
    """An adapter that shows the merged matrix as its weight."""

    weight = property(lambda self: self.base.weight + self.up.weight @ self.down.weight)
    bias = property(lambda self: self.base.bias)


class BatchNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(D)

    def forward(self, x):
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


def adapted(kind):
    model = Encoder()
    for layer in model.encoder.layers:
        layer.linear1, layer.linear2 = kind(layer.linear1), kind(layer.linear2)
    return model


def batch_norms():
    model = Encoder()
    for layer in model.encoder.layers:
        layer.norm1, layer.norm2 = BatchNorm(), BatchNorm()
    return model


def norms_by_day():
    """As one writes it who takes the days for channels."""
    model = Encoder()
    for layer in model.encoder.layers:
        layer.norm1, layer.norm2 = nn.BatchNorm1d(8), nn.BatchNorm1d(8)
    return model


def quantised():
    return torch.ao.quantization.quantize_dynamic(Encoder(), {nn.Linear})


class Checkpointed(Encoder):
    reentrant = False

    def forward(self, x):
        for layer in self.encoder.layers:
            x = checkpoint(layer, x, use_reentrant=self.reentrant)
        return self.head(x.mean(dim=1))


class WithoutCheckpoints(Checkpointed):
    def forward(self, x):
        for layer in self.encoder.layers:
            x = layer(x)
        return self.head(x.mean(dim=1))


def days(seed=0):
    return torch.randn(1, 8, D, generator=torch.Generator().manual_seed(seed))


@contextmanager
def fused(enabled):
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


@pytest.mark.filterwarnings("ignore:.*quantization is deprecated", "ignore:.*[Nn]ested")
@pytest.mark.parametrize(
    "make",
    [lambda: adapted(Adapter), lambda: adapted(Merged), batch_norms, norms_by_day, quantised],
    ids=["adapted", "merged", "batch norms", "norms by day", "quantised"],
)
@pytest.mark.parametrize("training", [True, False])
def test_parts_that_the_fused_kernel_cannot_read(make, training):
    """torch itself fails on most of them in eval mode; with its fused kernel off it does not, and that is the pass."""
    model, x = make().train(training), days()
    capture = capture_attention(model, x)
    assert not capture.caveats
    with fused(False), torch.no_grad():
        plain = copy.deepcopy(model).eval()(x)
        assert torch.equal(capture_attention(model, x).output, plain)
    assert torch.allclose(capture.output, plain, atol=1e-6)
    effects = attention_effects(model, x)
    assert len(capture.attention) == len(effects) == 2
    assert effects["flat"].abs().min() > 0


@pytest.mark.filterwarnings("ignore:.*quantization is deprecated")
def test_a_quantised_model_has_no_gradients():
    model, x = quantised().eval(), days()
    with pytest.raises(ValueError, match="no gradient of the output reaches the attention of Encoder"):
        trace_attention(model, x)
    with pytest.raises(ValueError, match=r"no gradient of the output reaches the inputs.*occlusion"):
        attribute(model, x)
    assert attribute(model, x, method="occlusion").parts[0].any()


@pytest.mark.filterwarnings("ignore:.*quantization is deprecated")
def test_a_report_without_gradients(tmp_path, monkeypatch):
    monkeypatch.setattr(explanation, "render", lambda figure, dpi: plt.close(figure) or b"")
    page = generate_report(quantised().eval(), days(), output_dir=tmp_path)["report"].read_text()
    assert "Left out: no gradient of the output reaches the attention of Encoder" in page
    assert "Left out: no gradient of the output reaches the inputs" in page


def own_block(model):
    layer = model.encoder.layers[1]
    plain = layer._sa_block
    layer._sa_block = lambda x, *masks, **options: 2 * plain(x, *masks, **options)


def own_dropout(model):
    model.encoder.layers[1].dropout1 = nn.Linear(D, D)


@pytest.mark.parametrize(("change", "name"), [(own_block, "_sa_block"), (own_dropout, "dropout1")])
def test_parts_that_the_fused_kernel_leaves_out(change, name):
    """The prediction is without them, a what-if with them: that is said."""
    model, x = Encoder().eval(), days()
    change(model)
    with pytest.warns(UserWarning, match=f"left out the {name} of its layer, a TransformerEncoderLayer"):
        capture = capture_attention(model, x)
    assert list(capture.caveats) == ["encoder.layers.1.self_attn"]
    with torch.no_grad():
        assert torch.equal(capture.output, Encoder().eval()(x) if name == "_sa_block" else model(x))
        with fused(False):
            assert not torch.allclose(capture.output, model(x), atol=1e-3)
            assert not capture_attention(model, x).caveats


def test_an_output_projection_without_a_weight():
    module = nn.MultiheadAttention(D, HEADS, batch_first=True)
    module.out_proj = Adapter(module.out_proj)
    with pytest.raises(
        ValueError, match=r"0\.out_proj is a Adapter without a weight.*give it properties weight and bias"
    ):
        capture_attention(nn.Sequential(module), days())


def test_an_output_projection_with_a_merged_weight():
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(D, HEADS, 24, batch_first=True, dropout=0.0).eval()
    model.self_attn.out_proj = Merged(model.self_attn.out_proj)
    capture = capture_attention(model, days())
    assert capture.discrepancy["self_attn"] < 1e-5


def test_a_model_called_by_keyword():
    class Named(Encoder):
        def forward(self, *, x):
            return super().forward(x)

    with pytest.raises(TypeError, match=r"Named\.forward takes x by keyword only: wrap the model in a module"):
        capture_attention(Named(), days())
    with torch.no_grad(), AttentionExtractor(model := Named().eval()) as extractor:
        model(x=days())
    assert len(extractor.capture.attention) == 2


@pytest.mark.filterwarnings("ignore:.*[Nn]ested")
def test_padding_in_a_what_if():
    """In eval mode torch nests padded sequences, and its nested attention shows no weights."""
    model, x = Encoder(padding=3).eval(), days()
    short = Encoder().eval()  # the same weights, without the days that are masked
    for changes in ({"heads_off": [(0, 1)]}, {"flat": [0]}):
        outputs = []
        for one, given in ((model, x), (short, x[:, :5])):
            capture = capture_attention(one, given)
            with torch.no_grad(), changed_model(one, WhatIf(**changes), capture):
                outputs.append(one(given))
        assert torch.allclose(*outputs, atol=1e-6)
    effects = [attention_effects(one, given) for one, given in ((model, x), (short, x[:, :5]))]
    assert effects[0]["flat"].to_numpy() == pytest.approx(effects[1]["flat"].to_numpy(), abs=1e-5)
    importance = [head_importance(one, g, trace=trace_attention(one, g)) for one, g in ((model, x), (short, x[:, :5]))]
    for column in ("gradient", "ablation"):
        assert importance[0][column].to_numpy() == pytest.approx(importance[1][column].to_numpy(), abs=1e-5)


# Attention that returns something else


class Block(nn.Module):
    """[B, 8, D] -> [B, 2] by one attention, called by `call`."""

    def __init__(self, kind, call):
        super().__init__()
        torch.manual_seed(0)
        self.attention, self.head, self.call = kind(D, HEADS, batch_first=True), nn.Linear(D, 2), call

    def forward(self, x):
        return self.head(self.call(self.attention, x).mean(dim=1))


class Returns(nn.MultiheadAttention):
    """An attention that makes something of what torch's returns."""

    make = staticmethod(lambda output, weights: output)

    def forward(self, x):
        return self.make(*super().forward(x, x, x, average_attn_weights=False))


class ReturnsDictionary(Returns):
    make = staticmethod(lambda output, weights: {"output": output})


class ReturnsMore(Returns):
    make = staticmethod(lambda output, weights: (output, "cache", weights))


def test_an_attention_that_returns_a_tensor():
    x = days()
    plain = Block(nn.MultiheadAttention, lambda attention, x: attention(x, x, x)[0]).eval()
    own = Block(Returns, lambda attention, x: attention(x)).eval()
    assert attention_effects(own, x)["flat"].to_numpy() == pytest.approx(attention_effects(plain, x)["flat"].to_numpy())
    gradients = [trace_attention(one, x).kinds["attention"][0].gradient for one in (own, plain)]
    assert torch.allclose(*gradients, atol=1e-6)


def test_what_a_model_makes_of_returned_weights_is_changed_with_them():
    """In the form and at the place in which the attention returned them."""
    x = days()
    model = Block(ReturnsMore, lambda attention, x: attention(x)[2][:, 0] @ x).eval()
    with torch.no_grad(), changed_model(model, WhatIf(flat=[0]), capture_attention(model, x)):
        changed = model(x)
    assert torch.allclose(changed, model.head(x.mean(dim=1)), atol=1e-6)


@pytest.mark.filterwarnings("ignore:attention. there is no map")
@pytest.mark.parametrize("call", [capture_attention, trace_attention])
def test_an_attention_that_returns_a_dictionary(call):
    model = Block(ReturnsDictionary, lambda attention, x: attention(x)["output"]).eval()
    with pytest.raises((TypeError, ValueError), match="ReturnsDictionary returned a dict, expected a tensor or"):
        call(model, days())


@pytest.mark.parametrize("call", [capture_attention, trace_attention])
def test_attention_that_does_not_run(call):
    model = Block(nn.MultiheadAttention, lambda attention, x: x).eval()
    with pytest.raises(ValueError, match="has attention, but its forward pass did not run it"):
        call(model, days())


@pytest.mark.parametrize("call", [trace_attention, attention_effects, attribute])
def test_outputs_that_cannot_be_explained(call):
    class Wrapped(Encoder):
        def forward(self, x):
            return self.make(super().forward(x))

    for make, form in (
        (lambda output: (output, output), "a tuple"),
        (lambda output: {"logits": output}, "a dict"),
        (lambda output: output[..., None], r"\[1, 2, 1\]"),
    ):
        model = Wrapped().eval()
        model.make = make
        assert len(capture_attention(model, days()).attention) == 2
        with pytest.raises(TypeError, match=rf"Wrapped returned {form}, expected a tensor \[B\] or \[B, outputs\]"):
            call(model, days())


@pytest.mark.parametrize(("call", "samples"), [(trace_attention, 0), (trace_attention, 2), (attention_effects, 2)])
def test_more_or_less_than_one_sample(call, samples):
    with pytest.raises(ValueError, match=f"expected one sample, found an output of {samples}"):
        call(Encoder().eval(), days().expand(2, -1, -1)[:samples])


# Checkpoints, scripts, compilers


def test_checkpointed_layers_have_their_gradients():
    x = days()
    traces = [trace_attention(kind().eval(), x) for kind in (Checkpointed, WithoutCheckpoints)]
    assert list(traces[0].kinds) == list(traces[1].kinds)
    for one, other in zip(*(trace.kinds["encoder.layers.*.self_attn"] for trace in traces), strict=True):
        assert other.gradient.abs().max() > 1e-3
        assert torch.allclose(one.gradient, other.gradient, atol=1e-6)
    parts = [attribute(kind().eval(), x, method="gradient").parts[0] for kind in (Checkpointed, WithoutCheckpoints)]
    assert torch.allclose(*parts, atol=1e-5)


def test_reentrant_checkpoints_are_refused():
    model = Checkpointed().eval()
    model.reentrant = True
    assert len(capture_attention(model, days()).attention) == 2
    message = r"encoder\.layers\.0\.self_attn.* runs with gradients off.*use_reentrant=True"
    with pytest.raises(ValueError, match=message):
        trace_attention(model, days())


def test_scripted_parts():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.plain, self.hidden = (
                Encoder(),
                torch.jit.script(nn.TransformerEncoderLayer(D, HEADS, batch_first=True)),
            )

        def forward(self, x):
            return self.plain(self.hidden(x))

    model = Two().eval()
    with pytest.warns(UserWarning, match=r"hidden\.self_attn: there is no map of it: it is scripted"):
        capture = capture_attention(model, days())
    assert len(capture.attention) == 2
    with pytest.raises(ValueError, match="its attention is scripted, where it cannot be seen"):
        AttentionExtractor(model.hidden)


COMPILED = {
    "model": lambda model: torch.compile(model, backend="eager"),
    "in place": lambda model: model.compile(backend="eager") or model,
    "self": lambda model: _compile(model, model.stock_layers, 0),
    "cross": lambda model: _compile(model, model.cross_attn_layers, 1),
}


def _compile(model, layers, number):
    layers[number] = torch.compile(layers[number], backend="eager")
    return model


@pytest.mark.parametrize("which", COMPILED)
def test_compiled_models(which, make_model, inputs):
    """After a run: torch has compiled them without hooks."""
    one = tuple(part[:1] for part in inputs)
    plain, model = make_model(), COMPILED[which](make_model())
    with torch.no_grad():
        model(*one)
    expected, capture = capture_attention(plain, *one), capture_attention(model, *one)
    assert list(capture.attention) == list(expected.attention)
    assert list(capture.kinds) == ["cross", "self", "market"]
    assert torch.equal(capture.output, expected.output)
    assert attention_effects(model, *one).equals(attention_effects(plain, *one))
    assert trace_attention(model, *one).value == trace_attention(plain, *one).value
    change = WhatIf(gate={0: 0.0}, heads_off=[("self", 0, 1)])
    with torch.no_grad(), changed_model(plain, change, expected):
        changed = plain(*one)
    for refuses in (lambda: changed_model(model, change, capture), lambda: AttentionExtractor(model)):
        with pytest.raises(ValueError, match="hooks do not act"), refuses():
            pass
    runs = in_eval_mode(model)
    with torch.no_grad(), changed_model(runs, change, capture):
        assert torch.equal(runs(*one), changed)
    with ExtractorSession(model, *one) as session:
        assert session.explanations.available
        session.what_if(**vars(change))
        assert torch.equal(session.reading.capture.output, changed)


# The caller's contexts


def everything(model, inputs):
    """Numbers of many functions."""
    trace = trace_attention(model, *inputs)
    flows = [joint_rollout(trace).stock, relevance(trace).pooling]
    parts = [
        part
        for method in ("gradient", "integrated_gradients", "shapley_sampling")
        for part in attribute(model, *inputs, method=method).parts
    ]
    tables = [attention_effects(model, *inputs), head_importance(model, *inputs, trace=trace)]
    return [
        *flows,
        *parts,
        *(torch.tensor(table.select_dtypes("number").to_numpy(float)) for table in tables),
        *measure_windows(model, *inputs).values(),
        torch.tensor(randomisation_check(model, [inputs], ["gradient"]).select_dtypes("number").to_numpy(float)),
    ]


CONTEXTS = {
    "inference mode": (torch.inference_mode, torch.float32, 1e-6),
    "autocast": (lambda: torch.autocast("cpu", torch.bfloat16), torch.float32, 0.1),
    "half precision": (nullcontext, torch.bfloat16, 0.1),
}


@pytest.mark.parametrize("context", CONTEXTS)
def test_inside_a_context_of_the_caller(model, inputs, context):
    one = tuple(part[:1] for part in inputs)
    expected = everything(model, one)
    opened, dtype, close = CONTEXTS[context]
    with opened():
        found = everything(model.to(dtype), tuple(part.to(dtype, copy=True) for part in one))
    for number, (values, wanted) in enumerate(zip(found, expected, strict=True)):
        assert torch.allclose(values.double(), wanted.double(), atol=close, equal_nan=True), number


def test_a_report_under_autocast(make_model, inputs, tmp_path, monkeypatch):
    for rankings in ("CELL_RANKINGS", "DAY_RANKINGS"):
        monkeypatch.setattr(sections, rankings, dict([next(iter(getattr(sections, rankings).items()))]))
    with torch.autocast("cpu", torch.bfloat16):
        generate_report(make_model("encoder", num_layers=1), inputs[0][:1], output_dir=tmp_path)
    assert "Left out" not in (tmp_path / "report.html").read_text()


# Random weights


def weight_normed():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
    weight_norm(model[0])
    prune.random_unstructured(model[1], "weight", 2)
    return model


@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_weights_that_a_hook_computes_become_random_too():
    torch.manual_seed(0)
    model = weight_normed()
    state = {name: values.clone() for name, values in model.state_dict().items()}
    other, x = _randomised(model, seed=1), torch.randn(5, 3)
    for layer in (0, 1):
        given = x if layer == 0 else torch.randn(5, 4)
        one, two = ((part[layer](given) - part[layer].bias) for part in (model, other))
        assert not torch.allclose(one, two)
    assert all(torch.equal(values, state[name]) for name, values in model.state_dict().items())
