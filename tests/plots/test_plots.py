"""Figures show the tensors they were given, and none is left open by a failure."""

import inspect
import io
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

from stockformer import explainability as plots
from stockformer.charts.chart import GREY
from stockformer.charts.figures import day_labels, render
from stockformer.explainability import AttentionExtractor, GroupComparison
from stockformer.outputs import OutputDistribution, describe_outputs
from stockformer.uncertainty.calibration import calibrate

PRICES = pd.DataFrame(
    {
        "date": pd.date_range("2008-01-01", periods=4),
        "adjusted_close": [100, 110, 88.0, 121],
        "spy": [np.nan, 1, 1.05, 0.5],
    }
)
VALUES = OutputDistribution(torch.linspace(-1, 1, 9), None)
CLASSES = OutputDistribution(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]]))
COMPARISON = GroupComparison(
    ("calm", "wild"),
    pd.DataFrame({"sample": [0, 1], "group": ["calm", "wild"]}),
    pd.DataFrame(
        {
            "measure": ["gate", "recency"],
            "std": 2.0,
            "difference": [1, -4.0],
            "low": [-1, -6.0],
            "high": [3, -2.0],
            "p_adjusted": [0.8, 0.04],
        }
    ),
    {},
    block=5,
    shifts=100,
)
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
    marked = bars[int(attn["pool_weights"][0].argmax())].get_facecolor()
    assert [bar.get_facecolor() == marked for bar in bars].count(True) == 3


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
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1, 0], atol=1e-6)
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [0, 1], atol=1e-6)
    assert len(plots.plot_layer_evolution(attn).axes[0].lines) == len(attn["kinds"])
    heads = plots.plot_head_specialization(shown, layer=0, attention_type="cross")
    np.testing.assert_allclose([bar.get_height() for bar in heads.axes[4].patches], [1, 1], atol=1e-6)


def test_a_row():
    figure = plots.plot_attention_row(torch.tensor([0.2, 0.7, 0.1]), key=1, dates=DATES[:3])
    bars = figure.axes[0].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], [0.2, 0.7, 0.1], rtol=1e-6)
    uniform, key = figure.axes[0].lines
    np.testing.assert_allclose(uniform.get_ydata(), 1 / 3)
    assert key.get_xdata() == [1, 1]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == DATES[2::-1]


@pytest.fixture
def coral(make_model):
    model = make_model(label_mode="buckets", bucket_edges=[-1, 1], loss_name="coral")
    return describe_outputs(torch.tensor([[0.0, 0.0], [2.0, -1.0]]), model, torch.tensor([0, 2]))


def test_prediction_of_coral(coral):
    (axes,) = plots.plot_prediction(coral, ["down", "flat", "up"], sample=1).axes
    above = 1 / (1 + np.exp([-2.0, 1.0]))
    classes = [1 - above[0], above[0] - above[1], above[1]]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [*classes, *above], rtol=1e-5)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["down", "flat", "up (true)", "P(class > 0)", "P(class > 1)"]
    assert axes.get_title() == f"Prediction: flat {100 * classes[1]:.1f} %"


def test_prediction_without_the_truth(coral):
    (axes,) = plots.plot_prediction(OutputDistribution(coral.outputs, coral.probabilities)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["class 0", "class 1", "class 2"]


def test_prediction_of_a_value():
    shown = OutputDistribution(torch.tensor([0.1, 0.02]), None, labels=torch.tensor([0.0, -0.01]))
    (axes,) = plots.plot_prediction(shown, sample=1).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["predicted", "true"]
    np.testing.assert_allclose([bar.get_width() for bar in axes.patches], [0.02, -0.01], rtol=1e-6)
    (axes,) = plots.plot_prediction(OutputDistribution(shown.outputs, None)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["predicted"]


def test_prices_are_changes_since_the_first_day():
    (axes,) = plots.plot_prices(PRICES, query=3, key=1).axes
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["close"].get_ydata(), [0, 10, -12, 21])
    np.testing.assert_allclose(lines["SPY"].get_ydata(), [np.nan, 0, 5, -50])
    assert [lines["query day"].get_xdata()[0], lines["key day"].get_xdata()[0]] == [3, 1]
    assert "%" in axes.get_ylabel()
    assert [line.get_label() for line in plots.plot_prices(PRICES[["date", "adjusted_close"]]).axes[0].lines[:1]] == [
        "close"
    ]


def test_cells_without_a_number_are_grey_and_leave_the_scale():
    weights = torch.full((3, 3), 0.25)
    weights[1] = torch.nan
    weights[2, 2] = torch.inf
    image = plots.plot_attention_heatmap(weights).axes[0].images[0]
    assert image.get_clim() == (0, 0.25)
    assert to_hex(image.cmap.get_bad()) == GREY
    nothing = plots.plot_attention_heatmap(torch.full((3, 3), torch.nan)).axes[0].images[0]
    assert nothing.get_clim() == (0, 1)


def test_a_map_shows_what_uniform_would_be():
    bar = plots.plot_attention_heatmap(torch.eye(5)).axes[1]
    assert [line.get_ydata()[0] for line in bar.lines] == [0.2]
    assert "0.2" in bar.get_ylabel()


@pytest.mark.parametrize(
    ("draw", "labels"),
    [
        (plots.plot_cross_attention, ("market day", "stock day")),
        (plots.plot_self_attention, ("stock day", "stock day")),
    ],
)
def test_axes_say_whose_days_they_are(attn, draw, labels):
    axes = draw(attn).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == labels
    assert day_labels("market") == ("market day", "market day")


def test_days_without_dates_are_whole_numbers(attn):
    for axes in (plots.plot_gate_timeseries(attn).axes[0], plots.plot_attention_heatmap(torch.rand(3, 3)).axes[0]):
        assert all(tick == round(tick) for tick in axes.get_xticks())


def test_heads_name_their_days_at_the_edge_only():
    figure = plots.plot_attention_all_heads(torch.rand(6, 4, 30), key_dates=DATES, query_dates=DATES[:4])
    shown = [
        (axes.xaxis.get_tick_params()["labelbottom"], axes.yaxis.get_tick_params()["labelleft"])
        for axes in figure.axes[:6]
    ]
    # Four heads in the first row, two below: heads 2 and 3 have none under them.
    below, left = [False, False, True, True, True, True], [True, False, False, False, True, False]
    assert shown == list(zip(below, left, strict=True))
    assert figure.axes[5].get_xticklabels()[0].get_text() == DATES[-1]


def test_peaks_have_dates(attn):
    days = attn["cross_attn_weights"][0].shape[-1]
    peaks = plots.plot_head_specialization(attn, dates=DATES[:days]).axes[1]
    assert peaks.get_yticklabels()[0].get_text() == DATES[days - 1]
    expected = attn["cross_attn_weights"][0][0].mean(dim=1).argmax(dim=-1)
    assert [bar.get_height() for bar in peaks.patches] == expected.tolist()


def test_layers_have_colors_of_their_own(attn):
    shown = attn | {"gate_values": [torch.rand(1, 6, 3) for _ in range(9)]}
    assert len({tuple(np.atleast_1d(line.get_color())) for line in plots.plot_gate_timeseries(attn).axes[0].lines}) == 2
    assert len({tuple(line.get_color()) for line in plots.plot_gate_timeseries(shown).axes[0].lines}) == 9


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
        (lambda attn: plots.plot_attention_row(torch.rand(3), key=3), "key is 3, expected 0 to 2"),
        (lambda attn: plots.plot_prices(PRICES, query=4), "query is 4, expected 0 to 3"),
        (lambda attn: plots.plot_prediction(VALUES, sample=9), "sample is 9, expected 0 to 8"),
        (lambda attn: plots.plot_prediction(replace(CLASSES, labels=torch.tensor([2]))), "label is 2, expected 0 to 1"),
        (lambda attn: plots.plot_prediction(CLASSES, ["a"]), "1 class names for 2 classes"),
        (lambda attn: plots.plot_attention_pooling(attn | {"pool_weights": None}), "no attention pooling"),
    ],
)
def test_bad_input_leaves_no_figure_open(attn, draw, message):
    with pytest.raises((ValueError, IndexError), match=message):
        draw(attn)
    assert plt.get_fignums() == []


def test_every_plot_returns_the_one_figure_it_opened(attn):
    given = {"attn": attn, "weights": torch.rand(2, 5, 5), "saliency": torch.rand(4, 3), "row": torch.rand(5)}
    given["layers"] = [torch.rand(2, 5, 5), torch.rand(3, 5, 4)]
    given |= {"prices": PRICES, "values": pd.Series([1.0, -2.0], index=["a", "b"])}
    given |= {"stock_saliency": torch.rand(4, 3), "shown": VALUES}
    given["comparison"] = COMPARISON
    given["calibration"] = calibrate(torch.tensor([[0.3, 0.7], [0.6, 0.4]]), torch.tensor([1, 0]), resamples=5)
    for name, plot in inspect.getmembers(plots, inspect.isfunction):
        if name.startswith("plot_") and not plot.__module__.endswith("flow_plots"):  # these have tests of their own
            first = next(iter(inspect.signature(plot).parameters))
            value = given[first][0] if name == "plot_attention_heatmap" else given[first]
            figure = plot(value)
            assert plt.get_fignums() == [figure.number], name
            plt.close(figure)


def test_feature_bars_stand_in_the_order_given():
    figure = plots.plot_feature_bars(pd.Series([1.0, -3.0, 2.0], index=["a", "b", "c"]))
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [1.0, -3.0, 2.0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert axes.yaxis_inverted()


def test_a_signed_saliency_map_is_centred_on_zero():
    saliency = torch.tensor([[1.0, -4.0], [0.5, 2.0]])  # [T, features]
    figure = plots.plot_saliency_map(saliency, ["a", "b"], signed=True)
    image = figure.axes[0].images[0]
    np.testing.assert_array_equal(image.get_array(), [[-4.0, 2.0], [1.0, 0.5]])
    assert image.get_clim() == (-4.0, 4.0)


def test_calibration_shows_where_the_samples_are():
    shown = calibrate(torch.tensor([[0.45, 0.55], [0.4, 0.6], [0.42, 0.58]]), torch.tensor([1, 1, 1]), resamples=5)
    axes = plots.plot_calibration(shown).axes[0]
    assert axes.get_title().endswith("too few days for an interval")
    assert axes.get_xlim() == axes.get_ylim()
    low, high = axes.get_xlim()
    assert 0.45 < low < shown.bins["confidence"].min()
    assert high == 1.0


def test_the_chosen_layer_has_a_band(attn):
    gates = attn["gate_values"]
    axes = plots.plot_gate_timeseries(attn, layer=1).axes[0]
    assert [line.get_alpha() for line in axes.lines] == [0.65, 1.0]
    corners = axes.collections[0].get_paths()[0].vertices
    low, high = np.quantile(gates[1][0].numpy(), (0.1, 0.9), axis=-1)
    assert corners[:, 1].min() == pytest.approx(low.min())
    assert corners[:, 1].max() == pytest.approx(high.max())
    with pytest.raises(IndexError, match="layer"):
        plots.plot_gate_timeseries(attn, layer=2)


def test_a_head_grid_has_a_map_for_each_head_on_one_scale():
    layers = [torch.rand(2, 5, 5), 3 * torch.rand(3, 4, 6)]
    figure = plots.plot_head_grid(layers)
    axes = figure.axes[0]
    tiles = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    statistics = plots.head_statistics(layers)["diffuseness"]
    titles = {label.get_text(): label.get_position() for label in axes.texts}
    assert len(titles) == 5
    places = [(layer, head) for layer, maps in enumerate(layers) for head in range(len(maps))]
    for (layer, head), diffuseness in zip(places, statistics, strict=True):
        weights = layers[layer][head]
        left, above = titles[f"L{layer} H{head}  {diffuseness:.2f}"]
        top = round(above) + 1
        shown = tiles[top : top + weights.size(0), round(left) : round(left) + weights.size(1)]
        np.testing.assert_allclose(shown, weights)
    assert axes.get_xlabel() == "above each map: layer, head, diffuseness"
    assert np.isfinite(tiles).sum() == sum(maps.numel() for maps in layers)
    assert axes.images[0].get_clim() == (0, pytest.approx(float(layers[1].max())))
    plt.close(figure)


def test_group_differences_are_in_standard_deviations():
    figure = plots.plot_group_differences(COMPARISON)
    lines = figure.axes[0].lines[1:]  # the first is 0
    drawn = [(line.get_xdata().tolist() if line.get_marker() == "None" else [line.get_xdata()[0]]) for line in lines]
    assert drawn == [[-3, -1], [-2], [-0.5, 1.5], [0.5]]
    assert lines[0].get_color() != lines[2].get_color()
    plt.close(figure)


def test_a_rendered_picture_is_that_of_savefig():
    figure, saved = plots.plot_group_differences(COMPARISON), io.BytesIO()
    figure.savefig(saved, format="png", dpi=72)
    assert render(figure, 72) == saved.getvalue()
    assert not plt.get_fignums()
