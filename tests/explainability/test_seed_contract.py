"""The calls of the notebook that users know (attention_analysis), section by section.

What the figures show is tested beside them; here is that the notebook's own lines keep working.
"""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from stockformer.config import BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.explainability import (
    AttentionExtractor,
    compute_input_saliency,
    describe_outputs,
    generate_report,
    make_extractor,
    plot_attention_all_heads,
    plot_attention_heatmap,
    plot_attention_pooling,
    plot_cross_attention,
    plot_cross_attention_all_heads,
    plot_gate_activations,
    plot_gate_timeseries,
    plot_head_specialization,
    plot_layer_evolution,
    plot_saliency_map,
    plot_saliency_summary,
    plot_self_attention,
)
from stockformer.model import CrossAttentionStockTransformer, create_model

DAYS, FEATURES, MARKET = 60, len(BASE_FEATURE_COLUMNS), len(MARKET_FEATURE_COLUMNS)
D, HEADS, LAYERS, MARKET_LAYERS = 16, 8, 2, 1


@pytest.fixture(autouse=True)
def close_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def make_model(layers):
    """Section 1, with a narrower model."""
    cfg = {
        "d_model": D, "nhead": HEADS, "num_layers": layers, "dim_feedforward": 32,
        "dropout": 0.1, "market_layers": MARKET_LAYERS, "market_feature_dim": MARKET,
        "layer_drop": 0.0,
    }  # fmt: skip
    torch.manual_seed(0)
    model = create_model(
        feature_dim=FEATURES, label_mode="binary", bucket_edges=None, cfg=cfg, model_type="cross_attention"
    )
    assert isinstance(model, CrossAttentionStockTransformer)
    return model.to(torch.device("cpu")).eval()


@pytest.fixture(scope="module")
def model():
    return make_model(LAYERS)


@pytest.fixture(scope="module")
def inputs():
    """Section 2."""
    torch.manual_seed(42)
    return torch.randn(1, DAYS, FEATURES), torch.randn(1, DAYS, MARKET)


@pytest.fixture(scope="module")
def attn(model, inputs):
    """Section 3."""
    extractor = AttentionExtractor(model)
    with torch.no_grad(), extractor:
        output = model(*inputs)
    assert output.shape == (1, 2)
    return extractor.get_data()


def test_section_3_what_is_captured(attn):
    assert [len(attn[name]) for name in ("cross_attn_weights", "gate_values", "self_attn_weights")] == [LAYERS] * 3
    assert attn["pool_weights"].shape == (1, DAYS)
    assert attn["cross_attn_weights"][0].shape == (1, HEADS, DAYS, DAYS)
    assert attn["gate_values"][0].shape == (1, DAYS, D)
    assert make_extractor is AttentionExtractor


@pytest.mark.parametrize(
    ("call", "panels"),
    [
        (lambda attn: plot_cross_attention(attn, layer=LAYERS - 1), 1),
        (lambda attn: plot_cross_attention_all_heads(attn, layer=0), HEADS),
        (lambda attn: plot_gate_activations(attn, layer=0), 1),
        (lambda attn: plot_self_attention(attn, layer=0), 1),
        (lambda attn: plot_self_attention(attn, layer=LAYERS - 1, title="Self-Attention, last"), 1),
        (lambda attn: plot_attention_heatmap(attn["cross_attn_weights"][0][0, 0]), 1),
        (lambda attn: plot_attention_all_heads(attn["self_attn_weights"][0][0]), HEADS),
    ],
)
def test_sections_4_to_6_maps(attn, call, panels):
    figure = call(attn)
    assert isinstance(figure, Figure)
    assert len([axes for axes in figure.axes if axes.images]) == panels


def test_section_6_a_title_of_ones_own(attn):
    assert plot_self_attention(attn, layer=1, title="mine").axes[0].get_title() == "mine"


@pytest.mark.parametrize(
    ("call", "drawn"),
    [
        (plot_gate_timeseries, lambda axes: len(axes[0].lines) == LAYERS),
        (plot_attention_pooling, lambda axes: len(axes[0].patches) == DAYS),
        (lambda attn: plot_layer_evolution(attn, attention_type="cross"), lambda axes: len(axes) == 2),
        (lambda attn: plot_layer_evolution(attn, attention_type="self"), lambda axes: len(axes) == 2),
        (
            lambda attn: plot_head_specialization(attn, layer=0, attention_type="cross"),
            lambda axes: len(axes[0].patches) == HEADS,
        ),
        (
            lambda attn: plot_head_specialization(attn, layer=0, attention_type="self"),
            lambda axes: len(axes[0].patches) == HEADS,
        ),
    ],
)
def test_sections_5_to_9_lines_and_bars(attn, call, drawn):
    figure = call(attn)
    assert isinstance(figure, Figure)
    assert drawn(figure.axes)


def test_section_10_saliency(model, inputs):
    stock_sal, market_sal = compute_input_saliency(model, *inputs)
    assert (stock_sal.shape, market_sal.shape) == ((DAYS, FEATURES), (DAYS, MARKET))
    stock = plot_saliency_map(stock_sal, feature_names=BASE_FEATURE_COLUMNS, top_k=20)
    assert len(stock.axes[0].get_yticklabels()) == 20
    market = plot_saliency_map(
        market_sal, feature_names=MARKET_FEATURE_COLUMNS, title="Market Input Saliency", top_k=11
    )
    assert {label.get_text() for label in market.axes[0].get_yticklabels()} == set(MARKET_FEATURE_COLUMNS)
    assert market.axes[0].get_title() == "Market Input Saliency"
    summary = plot_saliency_summary(
        stock_sal,
        market_sal,
        stock_feature_names=BASE_FEATURE_COLUMNS,
        market_feature_names=MARKET_FEATURE_COLUMNS,
    )
    assert len(summary.axes) == 2


def test_section_11_report(inputs, tmp_path, small_report):
    few_days = [part[:, -12:] for part in inputs]
    saved = generate_report(
        make_model(layers=1),
        *few_days,
        output_dir=str(tmp_path / "explainability"),
        input_names=["Stock", "Market"],
        feature_names=[BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS],
    )
    assert {"cross_layer0", "self_layer0", "market_layer0", "report"} <= set(saved)
    assert all(path.stat().st_size for _, path in saved.items())


def test_section_12_two_samples(sample):
    dataset, model = sample
    x1, _, m1 = dataset[100]
    extractor = AttentionExtractor(model)
    with torch.no_grad(), extractor:
        _ = model(x1.unsqueeze(0), m1.unsqueeze(0))
    attn_calm = extractor.get_data()
    x2, _, m2 = dataset[500]
    extractor.clear()
    with torch.no_grad(), extractor:
        _ = model(x2.unsqueeze(0), m2.unsqueeze(0))
    attn_volatile = extractor.get_data()
    for layer in range(len(attn_calm["gate_values"])):
        g1 = attn_calm["gate_values"][layer][0].mean(dim=-1).numpy()
        g2 = attn_volatile["gate_values"][layer][0].mean(dim=-1).numpy()
        assert g1.shape == g2.shape == (60,)
        assert not np.allclose(g1, g2)
    with torch.no_grad(), AttentionExtractor(model) as again:
        _ = model(x1.unsqueeze(0), m1.unsqueeze(0))
    # The first dictionary still holds the first sample.
    torch.testing.assert_close(attn_calm["gate_values"], again.get_data()["gate_values"])


def seeds_coral(logits):
    """Section 13's own arithmetic: probabilities and predictions from logits of P(class > k)."""
    cum_probs = torch.sigmoid(logits)
    ones, zeros = torch.ones(cum_probs.size(0), 1), torch.zeros(cum_probs.size(0), 1)
    extended = torch.cat([ones, cum_probs, zeros], dim=1)
    return (extended[:, :-1] - extended[:, 1:]).clamp(min=0), (cum_probs > 0.5).sum(dim=-1)


def test_section_13_coral(make_model):
    model = make_model(label_mode="buckets", bucket_edges=[-2, -1, 1, 2], loss_name="coral")
    logits = 2 * torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(describe_outputs(logits, model).predictions, seeds_coral(logits)[1])
    # The seed's shares of thresholds that are out of order do not add up to 1.
    logits = logits.sort(dim=-1, descending=True).values
    shown = describe_outputs(logits, model)
    probs, preds = seeds_coral(logits)
    torch.testing.assert_close(shown.probabilities, probs)
    assert torch.equal(shown.predictions, preds)
    assert torch.equal(shown.predicted_counts, torch.bincount(preds, minlength=5))
    torch.testing.assert_close(shown.confidence, probs[range(200), preds])
    torch.testing.assert_close(shown.entropy, -(probs * (probs + 1e-10).log()).sum(dim=-1), atol=1e-6, rtol=1e-5)


def test_section_13_softmax(make_model):
    logits = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
    shown = describe_outputs(logits, make_model())
    torch.testing.assert_close(shown.probabilities, logits.exp() / logits.exp().sum(dim=-1, keepdim=True))
    assert torch.equal(shown.predictions, logits.argmax(dim=-1))


def test_section_13_regression(make_model):
    values = torch.randn(20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(describe_outputs(values, make_model(label_mode="regression")).predictions, values)
