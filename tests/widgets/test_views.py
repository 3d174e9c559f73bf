"""Views without a browser: what they send is what the tensors hold, and nothing is left behind."""

import io
import re

import numpy as np
import pytest
import torch
from ipywidgets.widgets import widget as registry
from matplotlib import colormaps
from PIL import Image

from stockformer.model import create_model
from stockformer.sample import load_sample
from stockformer_widgets import (
    AttentionExplorer,
    AttentionHeatmap,
    AttentionRow,
    ExtractorSession,
    GateTimeline,
    SaliencyBars,
    Selection,
)
from stockformer_widgets.views.attention_heatmap import encode

DATASET, MODEL = load_sample()
VIEWS = [AttentionHeatmap, AttentionRow, GateTimeline, SaliencyBars]


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def count_observers(session):
    return sum(len(handlers) for kinds in session._trait_notifiers.values() for handlers in kinds.values())


@pytest.mark.parametrize("kind", [*VIEWS, AttentionExplorer])
def test_close_leaves_no_widget_and_no_observer(session, kind):
    before = set(registry._instances)
    observers = count_observers(session)
    shown = kind(session)
    shown.selection.layer = 2
    session.sample = 11
    shown.close()
    shown.close()
    assert set(registry._instances) == before
    assert count_observers(session) == observers
    session.sample = 12


def test_many_samples_make_no_new_widgets(session):
    explorer = AttentionExplorer(session)
    before = set(registry._instances)
    for index in range(30):
        session.sample = index
        explorer.selection.layer = index % 4
    assert set(registry._instances) == before
    explorer.close()


def test_a_view_closes_only_its_own_selection(session):
    shared = Selection(session)
    view = AttentionRow(session, shared)
    other = AttentionRow(session, shared)
    view.close()
    shared.query = 4
    assert DATASET.window(10).dates[4].strftime("%Y-%m-%d") in other.figure.title


def test_encoded_map_decodes_to_its_weights():
    weights = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    weights[2, 3], weights[4, 0] = np.nan, np.inf
    largest = float(weights[np.isfinite(weights)].max())
    pixels = np.asarray(Image.open(io.BytesIO(encode(weights, largest))).convert("RGB"))
    viridis = np.rint(colormaps["viridis"](np.linspace(0, 1, 255))[:, :3] * 255)
    for cell, weight in np.ndenumerate(weights):
        if np.isfinite(weight):
            nearest = np.abs(viridis - pixels[cell]).sum(axis=1).argmin() / 254
            assert nearest == pytest.approx(weight / largest, abs=0.01)
        else:
            assert tuple(pixels[cell]) == (150, 150, 150)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (252, 252)])
def test_maps_of_any_shape_encode(shape):
    picture = Image.open(io.BytesIO(encode(np.ones(shape, np.float32), 1.0)))
    assert picture.size == shape[::-1]


def test_unequal_lengths_draw(session):
    explorer = AttentionExplorer(session)
    session.run(torch.randn(20, 41), torch.randn(31, 11))
    heatmap, row = explorer.views[:2]
    assert list(heatmap.image.x) == [0, 31]
    assert list(heatmap.image.y) == [20, 0]
    assert len(row.row.x) == 32
    explorer.close()


def test_signed_saliency_of_the_selected_day(session):
    bars = SaliencyBars(session)
    bars.sign.value, bars.span.value = "signed", "selected day"
    bars.selection.query = 33
    stock, market = session.saliency()
    day = torch.cat([stock[33], market[33]])
    expected = day[day.abs().argsort(descending=True)][: len(bars.bars.y)]
    np.testing.assert_allclose(np.asarray(bars.bars.y), expected, rtol=1e-6)
    bars.close()


def test_unavailable_features_are_named(session):
    bars = SaliencyBars(session)
    for name in DATASET.unavailable:
        assert name in bars.note.value
    assert len(DATASET.unavailable) == 11
    bars.close()


def test_a_view_for_what_the_model_lacks():
    encoder = create_model(41, "binary", None, {}, model_type="encoder")
    session = ExtractorSession(encoder, torch.zeros(20, 41))
    with pytest.raises(ValueError, match="GateTimeline has nothing to show of StockTransformer"):
        GateTimeline(session)
    explorer = AttentionExplorer(session)
    assert [type(view) for view in explorer.views] == [AttentionHeatmap, AttentionRow, SaliencyBars]
    explorer.close()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_draw(dtype):
    model = create_model(41, "binary", None, {}).to(dtype)
    explorer = AttentionExplorer(ExtractorSession(model, torch.randn(9, 41), torch.randn(9, 11)))
    explorer.close()


def test_arbitrary_models_open():
    model = torch.nn.Transformer(8, 2, 1, 2, 16, batch_first=True)
    explorer = AttentionExplorer(ExtractorSession(model, torch.randn(1, 6, 8), torch.randn(1, 4, 8)))
    assert explorer.selection.kinds == [
        "encoder.layers.*.self_attn",
        "decoder.layers.*.self_attn",
        "decoder.layers.*.multihead_attn",
    ]
    explorer.selection.kind = "decoder.layers.*.multihead_attn"
    explorer.close()


def test_regression_and_coral_headlines():
    regression = create_model(41, "regression", None, {})
    coral = create_model(41, "buckets", [-2, 0, 2], {"loss_name": "coral"})
    for model, said in ((regression, "model: [+-]"), (coral, r"model: class \d, probability")):
        explorer = AttentionExplorer(ExtractorSession(model, torch.randn(9, 41), torch.randn(9, 11)))
        assert re.search(said, explorer.headline.value)
        explorer.close()


def test_repr_is_short(session):
    explorer = AttentionExplorer(session)
    assert repr(explorer) == "AttentionExplorer(sample 10, cross, layer 0)"
    explorer.close()


@pytest.mark.parametrize("kind", [*VIEWS, AttentionExplorer])
def test_a_view_that_cannot_be_built_leaves_nothing_behind(session, kind, monkeypatch):
    before, observers = set(registry._instances), count_observers(session)
    monkeypatch.setattr(SaliencyBars if kind is AttentionExplorer else kind, "_draw", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        kind(session)
    assert set(registry._instances) == before
    assert count_observers(session) == observers
    session.sample = 12


@pytest.mark.parametrize("kind", [AttentionHeatmap, AttentionExplorer])
def test_what_is_no_session_or_selection(session, kind):
    for arguments, message in (
        ((MODEL,), "expected an ExtractorSession, got CrossAttentionStockTransformer"),
        ((session, "cross"), "expected a Selection, got str"),
    ):
        with pytest.raises(TypeError, match=message):
            kind(*arguments)
    other = ExtractorSession.from_dataset(MODEL, DATASET)
    with pytest.raises(ValueError, match="belongs to another session"):
        kind(session, Selection(other))


def test_closing_an_explorer_leaves_linked_views_alive(session):
    explorer = AttentionExplorer(session)
    row = AttentionRow(session, explorer.selection)
    explorer.close()
    explorer.selection.query = 3
    assert str(DATASET.window(10).dates[3].date()) in row.figure.title
    row.close()


def test_saliency_says_what_it_explains():
    titles = {"regression": "the value", "binary": "DOWN|UP", "buckets": r"P\(class > \d\)"}
    for mode, expected in titles.items():
        model = create_model(41, mode, [-2, 0, 2] if mode == "buckets" else None, {"loss_name": "coral"})
        bars = SaliencyBars(ExtractorSession(model, torch.randn(9, 41), torch.randn(9, 11)))
        assert re.search(f"Features that ({expected}) hangs on", bars.figure.title)
        bars.close()


def test_a_row_without_numbers(session):
    attention = session.reading.capture.attention["cross_attn_layers.0.cross_attn"]
    attention[:] = float("nan")
    explorer = AttentionExplorer(session)
    assert "nan%" not in explorer.views[1].strongest.value
    explorer.close()
