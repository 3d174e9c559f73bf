"""Models against the reference vectors and the formulas of the checkpoint format."""

from __future__ import annotations

import json
import math
import warnings

import pytest
import torch
from torch import nn

from stockformer.checkpoint import load_checkpoint, save_checkpoint
from stockformer.explainability import capture_attention, compute_input_saliency
from stockformer.model import (
    CrossAttentionStockTransformer,
    StockTransformer,
    create_model,
    infer_arch_from_state_dict,
    input_widths,
)

NO_META = "ignore:the head count is not in the checkpoint"


# Reference vectors


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5


def test_vector_output(vector):
    model, inputs, expected = vector
    with torch.no_grad():
        assert_close(model(*inputs), expected["output"])


def test_vector_attention(vector):
    model, inputs, expected = vector
    maps = {f"attn:{path}": weights for path, weights in capture_attention(model, *inputs).attention.items()}
    assert maps.keys() == {name for name in expected if name.startswith("attn:")}
    for name, weights in maps.items():
        assert_close(weights, expected[name])


def test_vector_gates(vector):
    model, inputs, expected = vector
    gates = list(capture_attention(model, *inputs).gates.values())
    assert len(gates) == sum(name.startswith("gate:") for name in expected)
    for layer, gate in enumerate(gates):
        assert_close(gate, expected[f"gate:{layer}"])


def test_vector_pooling(vector):
    model, inputs, expected = vector
    assert_close(capture_attention(model, *inputs).pooling, expected["pool"])


def test_vector_saliency(vector):
    model, inputs, expected = vector
    saliency = compute_input_saliency(model, *inputs)
    assert len(saliency) == len(inputs)
    for i, values in enumerate(saliency):
        assert_close(values, expected[f"saliency:{i}"])


def test_vector_parameters_keep_their_names(vector, tmp_path):
    model, _, _ = vector
    path = save_checkpoint(tmp_path / "again.pt", model)
    again, _ = load_checkpoint(path)
    assert list(again.state_dict()) == list(model.state_dict())


# The forward pass, computed again from the formulas


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def layer_norm(state, name, x):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def attention(state, name, query, key, heads):
    weight, bias = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    q, k, v = (t @ w.T + b for t, w, b in zip((query, key, key), weight, bias, strict=True))
    size = q.size(-1) // heads
    parts = []
    for h in range(heads):
        own = slice(h * size, (h + 1) * size)
        scores = (q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(size)).exp()
        parts.append(scores / scores.sum(-1, keepdim=True) @ v[..., own])
    return linear(state, f"{name}.out_proj", torch.cat(parts, -1))


def encoder_layer(state, name, x, heads):
    inner = layer_norm(state, f"{name}.norm1", x)
    x = x + attention(state, f"{name}.self_attn", inner, inner, heads)
    inner = linear(state, f"{name}.linear1", layer_norm(state, f"{name}.norm2", x)).clamp(min=0)
    return x + linear(state, f"{name}.linear2", inner)


def embed(state, prefix, x):
    x = linear(state, f"{prefix}input_proj", x)
    width = x.size(-1)
    for t in range(x.size(1)):
        for i in range(width):
            angle = t / 10000 ** ((i - i % 2) / width)
            x[:, t, i] += math.cos(angle) if i % 2 else math.sin(angle)
    return x


def head(state, name, x):
    x = linear(state, f"{name}.0", x)
    x = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    return linear(state, f"{name}.3", x)


def pool(state, x):
    scores = linear(state, "attn_pool", x).exp()
    return (scores / scores.sum(1, keepdim=True) * x).sum(1)


def cross_features(state, x, market_x, heads, layers):
    market = embed(state, "market_encoder.", market_x)
    market = encoder_layer(state, "market_encoder.encoder.layers.0", market, heads)
    stock = embed(state, "", x)
    for i in range(layers):
        stock = encoder_layer(state, f"stock_layers.{i}", stock, heads)
        name = f"cross_attn_layers.{i}"
        context = attention(state, f"{name}.cross_attn", stock, market, heads)
        gate = 1 / (1 + (-linear(state, f"{name}.gate.0", torch.cat([stock, context], -1))).exp())
        stock = layer_norm(state, f"{name}.norm", stock + gate * context)
    return pool(state, layer_norm(state, "final_norm", stock))


@pytest.mark.parametrize(
    ("mode", "edges", "loss", "head_name", "shape"),
    [
        ("regression", None, None, "reg_head", (2,)),
        ("binary", None, None, "cls_head", (2, 2)),
        ("buckets", [-1.0, 0.0, 1.0], None, "bucket_head", (2, 4)),
        ("buckets", [-1.0, 0.0, 1.0], "coral", "coral_head", (2, 3)),
    ],
)
def test_cross_attention_forward(make_model, inputs, mode, edges, loss, head_name, shape):
    model = make_model(label_mode=mode, bucket_edges=edges, loss_name=loss).double()
    # a table of positions in float64 replaces the float32 buffers
    for encoder in (model.pos_encoder, model.market_encoder.pos_encoder):
        encoder.pe = embed_positions(encoder.pe)
    state, x, market_x = model.state_dict(), inputs[0].double(), inputs[1].double()
    with torch.no_grad():
        expected = head(state, head_name, cross_features(state, x, market_x, 2, 2)).reshape(shape)
        assert torch.allclose(model(x, market_x), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("layer_drop", [0.0, 0.2])
def test_encoder_forward(make_model, inputs, layer_drop):
    model = make_model("encoder", layer_drop=layer_drop).double()
    model.pos_encoder.pe = embed_positions(model.pos_encoder.pe)
    state, x = model.state_dict(), inputs[0].double()
    stock = embed(state, "", x)
    for i in range(2):
        stock = encoder_layer(state, f"encoder.layers.{i}", stock, 2)
    if layer_drop:
        stock = layer_norm(state, "encoder.norm", stock)
    with torch.no_grad():
        assert torch.allclose(model(x), head(state, "cls_head", pool(state, stock)), atol=1e-10, rtol=0)


def embed_positions(pe):
    """The position table [1, T, d] by the formula; also checks the buffer."""
    width = pe.size(-1)
    zero = {"input_proj.weight": torch.zeros(width, 1).double(), "input_proj.bias": torch.zeros(width).double()}
    exact = embed(zero, "", torch.zeros(1, pe.size(1), 1).double())
    assert torch.allclose(pe, exact, atol=2e-5, rtol=0)
    return exact


def test_layers_are_skipped_in_training_only(make_model, inputs):
    kept, dropping = make_model(), make_model(layer_drop=1.0)
    assert torch.equal(dropping(*inputs), kept(*inputs))
    dropping.train()
    ran = []
    for module in (*dropping.stock_layers, *dropping.cross_attn_layers):
        module.register_forward_hook(lambda *_: ran.append(1))
    dropping(*inputs)
    assert not ran


# create_model


def test_create_model_as_in_the_seed_notebook():
    cfg = {
        "d_model": 128,
        "nhead": 8,
        "num_layers": 4,
        "dim_feedforward": 512,
        "dropout": 0.1,
        "market_layers": 2,
        "market_feature_dim": 11,
        "layer_drop": 0.0,
    }
    model = create_model(
        feature_dim=41, label_mode="binary", bucket_edges=None, cfg=cfg, model_type="cross_attention"
    ).eval()
    assert isinstance(model, CrossAttentionStockTransformer)
    assert model(torch.zeros(1, 60, 41), torch.zeros(1, 60, 11)).shape == (1, 2)
    assert model.stock_layers[3].self_attn.num_heads == 8
    assert model.stock_layers[0].linear1.weight.shape == (512, 128)


def test_state_dict_shapes(make_model):
    state = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral").state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    expected = {
        "market_encoder.input_proj.weight": (8, 3),
        "market_encoder.pos_encoder.pe": (1, 200, 8),
        "pos_encoder.pe": (1, 200, 8),
        "input_proj.weight": (8, 5),
        "cross_attn_layers.1.gate.0.weight": (8, 16),
        "cross_attn_layers.1.norm.bias": (8,),
        "final_norm.weight": (8,),
        "attn_pool.weight": (1, 8),
        "attn_pool.bias": (1,),
        "reg_head.0.weight": (4, 8),
        "reg_head.3.weight": (1, 4),
        "cls_head.3.weight": (2, 4),
        "bucket_head.3.weight": (4, 4),
        "coral_head.3.weight": (3, 4),
    }
    assert shapes.items() >= expected.items()


def test_coral_head_only_with_coral(make_model):
    plain = make_model(label_mode="buckets", bucket_edges=[0.0, 1.0])
    binary = make_model(loss_name="coral")
    assert not any(name.startswith("coral_head") for model in (plain, binary) for name in model.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, "ternary", None, {}), "label_mode is 'ternary'"),
        ((5, "binary", None, {}, "lstm"), "model_type is 'lstm'"),
        ((5, "buckets", None, {}), "bucket edge"),
        ((5, "binary", None, {"d_model": 12, "nhead": 5}), "nhead is 5.*divides d_model = 12"),
        ((5, "binary", None, {"nhead": 0}), "nhead is 0"),
    ],
)
def test_create_model_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_model(*arguments)


@pytest.mark.parametrize("model_type", ["cross_attention", "encoder"])
def test_too_long_a_sequence(make_model, model_type):
    model = make_model(model_type, max_len=9)
    widths = (5, 3) if model_type == "cross_attention" else (5,)
    model(*(torch.zeros(1, 9, width) for width in widths))
    with pytest.raises(ValueError, match=r"10 steps.*at most 9"):
        model(*(torch.zeros(1, 10, width) for width in widths))


def test_input_widths(make_model):
    assert input_widths(make_model()) == (5, 3)
    assert input_widths(make_model("encoder")) == (5,)
    assert input_widths(nn.Linear(4, 2)) is None


# infer_arch_from_state_dict


@pytest.mark.filterwarnings(NO_META)
def test_arch_of_a_cross_attention_model():
    cfg = {"d_model": 12, "nhead": 4, "num_layers": 3, "dim_feedforward": 20, "market_layers": 2, "max_len": 77}
    model = create_model(7, "buckets", [-1, 0, 1, 2], cfg | {"market_feature_dim": 6, "loss_name": "coral"})
    assert infer_arch_from_state_dict(model.state_dict()) == {
        "feature_dim": 7,
        "d_model": 12,
        "nhead": 4,
        "num_layers": 3,
        "dim_feedforward": 20,
        "market_layers": 2,
        "market_dim": 6,
        "num_buckets": 5,
        "use_coral": True,
        "output_mode": "buckets",
        "model_type": "cross_attention",
        "max_len": 77,
        "layer_drop": 0.0,
    }


@pytest.mark.filterwarnings(NO_META)
def test_arch_of_an_encoder(make_model):
    arch = infer_arch_from_state_dict(make_model("encoder", "regression").state_dict())
    found = {name: arch[name] for name in ("model_type", "feature_dim", "num_layers", "num_buckets", "output_mode")}
    assert found == {
        "model_type": "encoder",
        "feature_dim": 5,
        "num_layers": 2,
        "num_buckets": 1,
        "output_mode": "regression",
    }
    assert "market_dim" not in arch


def test_more_than_ten_layers_are_all_counted(make_model):
    state = make_model("encoder", num_layers=11).state_dict()
    assert infer_arch_from_state_dict(state, nhead=2)["num_layers"] == 11


@pytest.mark.parametrize(("d_model", "guess"), [(12, 4), (24, 4), (6, 2), (7, 1), (10, 2)])
def test_head_count_is_guessed_with_a_warning(d_model, guess):
    state = create_model(5, "binary", None, {"d_model": d_model, "nhead": 1}, "encoder").state_dict()
    with pytest.warns(UserWarning, match=f"{guess} heads assumed"):
        assert infer_arch_from_state_dict(state)["nhead"] == guess


def test_meta_gives_the_head_count(make_model, tmp_path):
    (tmp_path / "a.pt.meta").write_text(json.dumps({"nhead": 8, "model_type": "cross_attention"}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        arch = infer_arch_from_state_dict(make_model().state_dict(), tmp_path / "a.pt")
    assert arch["nhead"] == 8


def test_an_explicit_head_count_overrides_the_meta(make_model, tmp_path):
    (tmp_path / "a.pt.meta").write_text('{"nhead": 8}')
    assert infer_arch_from_state_dict(make_model().state_dict(), tmp_path / "a.pt", nhead=2)["nhead"] == 2


@pytest.mark.parametrize("text", ["{", "[1]", '{"nhead": "8"}', '{"nhead": 2.5}'])
def test_unreadable_meta(make_model, tmp_path, text):
    (tmp_path / "a.pt.meta").write_text(text)
    with pytest.raises(ValueError, match=r"a\.pt\.meta"):
        infer_arch_from_state_dict(make_model().state_dict(), tmp_path / "a.pt")


def test_head_count_that_does_not_divide_the_width(make_model, tmp_path):
    (tmp_path / "a.pt.meta").write_text('{"nhead": 3}')
    with pytest.raises(ValueError, match=r"nhead is 3.*d_model = 8"):
        infer_arch_from_state_dict(make_model().state_dict(), tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("classes", "name", "mode"),
    [
        (1, None, "regression"),
        (1, "model_reg_10d.pt", "regression"),
        (2, None, "binary"),
        (2, "model.pt", "binary"),
        (2, "binary_3d_best.pt", "binary"),
        (2, "buckets_3d_best.pt", "buckets"),
        (2, "Model-Bucket-3d.PT", "buckets"),
        (5, "best.pt", "buckets"),
        (5, "binary_3d_best.pt", "buckets"),
        (2, "folder_of_buckets/binary_3d_best.pt", "binary"),
    ],
)
def test_output_mode(classes, name, mode):
    edges = {1: ("regression", None), 2: ("binary", None), 5: ("buckets", [0, 1, 2, 3])}[classes]
    state = create_model(5, *edges, {"d_model": 8, "nhead": 2}, "encoder").state_dict()
    assert infer_arch_from_state_dict(state, name, nhead=2)["output_mode"] == mode


@pytest.mark.parametrize(
    ("classes", "name", "contradiction"),
    [
        (1, "model_bin_3d.pt", "its name says binary, its weights are for a regression: read as regression"),
        (1, "coral_buck_3d.pt", "its name says buckets and coral, its weights are for a regression"),
        (2, "model_reg_10d.pt", "its name says regression, its weights are for 2 classes: read as binary"),
        (5, "binary_3d_best.pt", "its name says binary, its weights are for 5 classes: read as buckets"),
        (2, "model.bin", None),
        (5, "model_buck_3d.pt", None),
        (2, "regina_3d.pt", None),
    ],
)
def test_a_name_that_contradicts_the_weights(classes, name, contradiction):
    edges = {1: ("regression", None), 2: ("binary", None), 5: ("buckets", [0, 1, 2, 3])}[classes]
    state = create_model(5, *edges, {"d_model": 8, "nhead": 2}, "encoder").state_dict()
    with warnings.catch_warnings(record=True) as caught:
        infer_arch_from_state_dict(state, name, nhead=2)
    expected = [] if contradiction is None else [f"{name} contradicts itself: {contradiction}"]
    assert [str(one.message)[: len(text)] for one, text in zip(caught, expected, strict=True)] == expected


@pytest.mark.parametrize(
    ("edges", "mode"),
    [(("regression", None), "binary"), (("buckets", [0, 1]), "binary"), (("binary", None), "regression")],
)
def test_an_output_mode_that_the_weights_do_not_have(edges, mode):
    state = create_model(5, *edges, {"d_model": 8, "nhead": 2}, "encoder").state_dict()
    with pytest.raises(ValueError, match=f"output_mode is '{mode}', but the weights are for"):
        infer_arch_from_state_dict(state, nhead=2, output_mode=mode)


def test_an_explicit_output_mode_overrides_the_name(make_model):
    state = make_model().state_dict()
    arch = infer_arch_from_state_dict(state, "binary_3d_best.pt", nhead=2, output_mode="buckets")
    assert arch["output_mode"] == "buckets"


@pytest.mark.parametrize(
    "name", ["input_proj.weight", "pos_encoder.pe", "bucket_head.3.bias", "stock_layers.0.linear1.weight"]
)
def test_a_missing_parameter_is_named(make_model, name):
    state = make_model().state_dict()
    del state[name]
    with pytest.raises(ValueError, match=f"not a StockFormer state dict.*{name}"):
        infer_arch_from_state_dict(state, nhead=2)


def test_encoder_norm_of_layer_drop_round_trip(make_model, inputs, tmp_path):
    model = make_model("encoder", layer_drop=0.3)
    assert "encoder.norm.weight" in model.state_dict()
    again, info = load_checkpoint(save_checkpoint(tmp_path / "a.pt", model))
    assert isinstance(again, StockTransformer)
    assert info.arch["layer_drop"] > 0
    assert torch.equal(again(inputs[0]), model(inputs[0]))
