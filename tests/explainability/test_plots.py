"""Figures show the tensors they were given, and none is left open by a failure."""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from stockformer.explainability import AttentionExtractor, plots
from stockformer.explainability.outputs import OutputDistribution, calibrate

DATES = [f"2008-01-{day:02}" for day in range(1, 31)]


@pytest.fixture(autouse=True)
def close_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.fixture
def attn(make_model):
    model = make_model()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad(), AttentionExtractor(model) as extractor:
        model(torch.randn(2, 6, 5, generator=generator), torch.randn(2, 7, 3, generator=generator))
    return extractor.get_data()


def drawn(figure, axes=0):
    return np.asarray(figure.axes[axes].images[0].get_array())


def test_cross_attention_is_the_mean_of_the_heads(attn):
    figure = plots.plot_cross_attention(attn, layer=1)
    np.testing.assert_allclose(drawn(figure), attn["cross_attn_weights"][1][0].numpy().mean(axis=0), rtol=1e-6)
    assert figure.axes[0].images[0].get_clim()[0] == 0


def test_one_head_of_another_sample(attn):
    figure = plots.plot_self_attention(attn, layer=0, head=1, sample=1)
    np.testing.assert_array_equal(drawn(figure), attn["self_attn_weights"][0][1, 1].numpy())


def test_all_heads_share_a_scale(attn):
    figure = plots.plot_cross_attention_all_heads(attn, layer=0)
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == 2
    assert {image.get_clim() for image in images} == {(0, float(attn["cross_attn_weights"][0][0].max()))}


def test_gates(attn):
    gate = attn["gate_values"][1][0].numpy()
    figure = plots.plot_gate_activations(attn, layer=1, top_k=3)
    most = np.argsort(-gate.std(axis=0), kind="stable")[:3]
    np.testing.assert_array_equal(drawn(figure), gate[:, most].T)
    lines = plots.plot_gate_timeseries(attn).axes[0].lines
    np.testing.assert_allclose(lines[1].get_ydata(), gate.mean(axis=1), rtol=1e-6)


def test_pooling(attn):
    bars = plots.plot_attention_pooling(attn).axes[0].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], attn["pool_weights"][0], rtol=1e-6)


def test_saliency_orders_by_strength():
    saliency = torch.tensor([[1.0, -5.0, 0.0], [1.0, 1.0, 0.5]])
    figure = plots.plot_saliency_map(saliency, ["a", "b", "c"], top_k=2)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["b", "a"]
    np.testing.assert_array_equal(drawn(figure), [[5, 1], [1, 1]])
    summary = plots.plot_saliency_summary(saliency, saliency[:, :2], market_feature_names=["m", "n"])
    assert [bar.get_width() for bar in summary.axes[0].patches] == [6, 2, 0.5]
    assert [label.get_text() for label in summary.axes[1].get_yticklabels()] == ["n", "m"]


def test_layer_evolution_and_heads(attn):
    uniform = torch.full((1, 2, 4, 4), 0.25)
    shown = attn | {"kinds": {"cross": [uniform, torch.eye(4).expand(1, 2, 4, 4)]}}
    figure = plots.plot_layer_evolution(shown, attention_type="cross")
    np.testing.assert_allclose(figure.axes[0].lines[-1].get_ydata(), [1, 0], atol=1e-6)
    np.testing.assert_allclose(figure.axes[1].lines[-1].get_ydata(), [0, 1], atol=1e-6)
    heads = plots.plot_head_specialization(shown, layer=0, attention_type="cross")
    np.testing.assert_allclose([bar.get_height() for bar in heads.axes[2].patches], [1, 1], atol=1e-6)


def test_dates_name_the_days(attn):
    figure = plots.plot_gate_timeseries(attn, dates=DATES[:6])
    assert next(label.get_text() for label in figure.axes[0].get_xticklabels()) == "2008-01-06"


def test_given_axes_and_file(attn, tmp_path):
    figure, axes = plt.subplots()
    assert plots.plot_attention_pooling(attn, ax=axes, save_path=tmp_path / "a.png") is figure
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda attn: plots.plot_cross_attention(attn, layer=2), "layer is 2, expected 0 to 1"),
        (lambda attn: plots.plot_cross_attention(attn, head=2), "head is 2, expected 0 to 1"),
        (lambda attn: plots.plot_cross_attention(attn, sample=2), "sample is 2, expected 0 to 1"),
        (lambda attn: plots.plot_layer_evolution(attn, "crss"), "no 'crss' attention, it has cross, self, market"),
        (lambda attn: plots.plot_gate_timeseries(attn, dates=DATES[:3]), "3 dates for 6 days"),
        (lambda attn: plots.plot_saliency_map(torch.ones(2, 3), ["a"]), "1 feature names for 3 features"),
        (lambda attn: plots.plot_gate_timeseries(attn | {"gate_values": []}), "no gates"),
        (lambda attn: plots.plot_attention_pooling(attn | {"pool_weights": None}), "no attention pooling"),
    ],
)
def test_bad_input_leaves_no_figure_open(attn, draw, message):
    with pytest.raises((ValueError, IndexError), match=message):
        draw(attn)
    assert plt.get_fignums() == []


def test_every_plot_returns_the_one_figure_it_opened(attn):
    given = {"attn": attn, "weights": torch.rand(2, 5, 5), "saliency": torch.rand(4, 3)}
    given |= {"stock_saliency": torch.rand(4, 3), "shown": OutputDistribution(torch.rand(9), None)}
    given["calibration"] = calibrate(torch.tensor([[0.3, 0.7], [0.6, 0.4]]), torch.tensor([1, 0]), resamples=5)
    for name, plot in inspect.getmembers(plots, inspect.isfunction):
        if name.startswith("plot_"):
            first = next(iter(inspect.signature(plot).parameters))
            value = given[first][0] if name == "plot_attention_heatmap" else given[first]
            figure = plot(value)
            assert plt.get_fignums() == [figure.number], name
            plt.close(figure)
