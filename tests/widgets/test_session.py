"""ExtractorSession: a live model that fails without losing anything."""

from __future__ import annotations

import contextlib
import gc
import math
import weakref

import numpy as np
import pandas as pd
import pytest
import torch
from cases import (
    MARKET,
    STOCK,
    Bare,
    dataset,
    explained,
    explained_name,
    global_hooks,
    gradients,
    input_times_gradient,
    make_session,
    model,
    observers,
    table,
    widgets,
    words,
)
from cases import (
    parts as widget_parts,
)
from torch import nn
from traitlets import TraitError

from stockformer.dataset import StockDataset
from stockformer.model import create_model
from stockformer.sample import load_sample, sample_table
from stockformer_widgets import (
    BASELINES,
    LANDMARKS,
    AttentionExplorer,
    AttentionHeatmap,
    AttentionRow,
    ExtractorSession,
    Selection,
)

DATASET, MODEL = load_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_reading_is_the_models_own_pass(session):
    x, _, market_x = DATASET[10]
    with torch.no_grad():
        expected = MODEL(x[None], market_x[None])
    assert torch.equal(session.reading.capture.output, expected)
    assert list(session.reading.dates) == list(DATASET.window(10).dates)


def test_setting_the_sample_runs_once_and_fires_once(session):
    heard = []
    session.observe(lambda change: heard.append(change["name"]), ["sample", "reading"])
    session.sample = 11
    assert sorted(heard) == ["reading", "sample"]
    session.sample = 11
    session.sample = 11 - len(DATASET)
    assert len(heard) == 2


def test_run_takes_arrays_lists_and_tensors(session):
    x, _, market_x = DATASET[3]
    for inputs in ((x.numpy(), market_x.numpy()), (x.tolist(), market_x.tolist()), (x[None].half(), market_x.double())):
        session.run(*inputs)
        assert session.sample is None
        assert session.reading.capture.output.shape == (1, 2)
    session.sample = 10
    assert session.reading.window is not None


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda x, m: (x[:, :40], m), r"40 \+ 11 features, but CrossAttentionStockTransformer takes 41 \+ 11"),
        (lambda x, m: (x,), r"41 features, but CrossAttentionStockTransformer takes 41 \+ 11"),
        (lambda x, m: (x[0], m), r"input 0 has shape \[41\], expected one sample"),
        (lambda x, m: (torch.stack([x, x]), m), r"input 0 has shape \[2, 60, 41\], expected one sample"),
        (lambda x, m: (x, m[:0]), r"input 1 has shape \[1, 0, 11\]"),
        (
            lambda x, m: (x * np.nan, m),
            "input 0 has 2460 values that are NaN or infinite, the first in volume_pct on day 0, expected",
        ),
        (lambda x, m: (x.repeat(4, 1), m), "240 steps.* at most 200"),
    ],
)
def test_bad_inputs_leave_the_session_as_it_was(session, inputs, message):
    before = session.reading
    x, _, market_x = DATASET[3]
    with pytest.raises(ValueError, match=message):
        session.run(*inputs(x, market_x))
    assert session.reading is before
    assert session.sample == 10


def test_sample_that_does_not_exist(session):
    before = session.reading
    with pytest.raises(IndexError, match="sample 6852 does not exist: the dataset has 6852"):
        session.sample = 6852
    assert (session.sample, session.reading) == (10, before)


def test_no_dataset_no_sample():
    x, _, market_x = DATASET[3]
    session = ExtractorSession(MODEL, x, market_x)
    with pytest.raises(TraitError, match="no dataset"):
        session.sample = 1
    assert session.sample is None


def test_a_model_that_raises_leaves_everything(session):
    before, hooks = session.reading, len(MODEL.stock_layers[0].self_attn._forward_hooks)
    handle = MODEL.final_norm.register_forward_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            session.sample = 11
    finally:
        handle.remove()
    assert (session.sample, session.reading) == (10, before)
    assert len(MODEL.stock_layers[0].self_attn._forward_hooks) == hooks == 0


def test_other_feature_count_is_refused_at_the_door():
    encoder = create_model(41, "binary", None, {}, model_type="encoder")
    with pytest.raises(ValueError, match=r"the dataset has 41 \+ 11 features, but StockTransformer takes 41"):
        ExtractorSession.from_dataset(encoder, DATASET)


def test_encoder_with_its_own_dataset():
    encoder = create_model(41, "binary", None, {}, model_type="encoder")
    table = sample_table().query("symbol == 'IBM'")
    session = ExtractorSession.from_dataset(encoder, StockDataset(table, market_feature_cols=None))
    assert list(session.reading.capture.kinds) == ["self"]
    assert session.feature_names == [DATASET.feature_cols]


def test_model_without_attention():
    with pytest.raises(ValueError, match="no attention to show"):
        ExtractorSession(nn.Linear(3, 1), torch.zeros(1, 3))


def test_nothing_to_look_at():
    with pytest.raises(ValueError, match="needs inputs for the model or a dataset"):
        ExtractorSession(MODEL)


def test_training_mode_is_left_alone(session):
    MODEL.train()
    try:
        session.sample = 12
        assert MODEL.training
    finally:
        MODEL.eval()
    with torch.no_grad():
        x, _, market_x = DATASET[12]
        assert torch.equal(session.reading.capture.output, MODEL(x[None], market_x[None]))


def test_saliency_follows_the_sample(session):
    first = session.saliency()
    assert all(map(torch.equal, session.saliency(), first))
    session.sample = 12
    assert not torch.equal(session.saliency()[0], first[0])


def test_arbitrary_models_take_their_inputs_as_they_are():
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    session = ExtractorSession(nn.TransformerDecoder(layer, 2), torch.randn(1, 5, 8), torch.randn(1, 7, 8))
    assert {kind: len(maps) for kind, maps in session.reading.capture.kinds.items()} == {
        "layers.*.self_attn": 2,
        "layers.*.multihead_attn": 2,
    }


def test_repr_is_one_short_line(session):
    assert repr(session) == "ExtractorSession(CrossAttentionStockTransformer, sample 10 of 6852)"


def test_an_observer_that_raises_leaves_sample_and_reading_together(session):
    def fail(change):
        raise RuntimeError("no picture today")

    session.observe(fail, "reading")
    with pytest.raises(RuntimeError, match="no picture"):
        session.sample = 100
    assert session.sample == 100
    assert list(session.reading.dates) == list(DATASET.window(100).dates)


def test_an_error_while_notifications_are_held_leaves_sample_and_reading_together(session):
    with contextlib.suppress(ZeroDivisionError), session.hold_trait_notifications():
        session.sample = 100
        raise ZeroDivisionError
    assert session.sample == 100
    assert list(session.reading.dates) == list(DATASET.window(100).dates)


def test_everything_follows_whatever_an_observer_raises(session):
    def fail(change):
        raise RuntimeError("no picture today")

    selection = Selection(session)
    for owner, names in ((session, ["reading", "change", "method"]), (selection, ["layer", "query"])):
        owner.observe(fail, names)
    explorer = AttentionExplorer(session, selection)
    steps = (
        lambda: setattr(session, "sample", 100),
        lambda: setattr(selection, "layer", 2),
        lambda: session.what_if(gate={2: 0.0}),
        lambda: setattr(session, "method", "gradient"),
    )
    for step in steps:
        with pytest.raises(RuntimeError, match="no picture"):
            step()
        with AttentionExplorer(session, Selection(session, layer=selection.layer)) as fresh:
            assert [words(view) for view in explorer.views] == [words(view) for view in fresh.views]
            for name in ("samples", "look", "changes"):
                shown = [
                    [part.value for part in widget_parts(getattr(one, name)) if part.has_trait("value")]
                    for one in (explorer, fresh)
                ]
                assert shown[0] == shown[1]
            assert explorer.headline.value == fresh.headline.value


def test_refresh_after_the_weights_changed():
    session = make_session()
    explorer = AttentionExplorer(session)
    session.what_if(heads_off=[(0, 0)])
    with torch.no_grad():
        for parameter in session.model.parameters():
            parameter.mul_(1.5)
    before, window = session.reading, session.reading.window
    session.refresh()
    with torch.no_grad():
        expected = session.model(*session.reading.inputs)
    assert torch.equal(session.original.capture.output, expected)
    assert not torch.equal(session.reading.capture.output, before.capture.output)
    assert (session.sample, session.reading.window) == (5, window)
    assert words(explorer.views[0]) == words(AttentionHeatmap(session, explorer.selection))


def test_a_mask_may_hide_days():
    torch.manual_seed(0)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    session = ExtractorSession(decoder, torch.randn(1, 5, 8), torch.randn(1, 4, 8), mask)
    own = session.reading.capture.kinds["layers.*.self_attn"][1][0]
    assert torch.equal(own, own.tril())
    mask[2, 1] = torch.nan
    with pytest.raises(ValueError, match="input 2 has 1 values that are NaN"):
        session.run(torch.randn(1, 5, 8), torch.randn(1, 4, 8), mask)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ExtractorSession(None, 1),
        lambda: ExtractorSession.from_dataset(DATASET, MODEL),
    ],
)
def test_what_is_no_model(make):
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module as the model, got (NoneType|StockDataset)"):
        make()


def test_what_is_no_dataset():
    with pytest.raises(TypeError, match="expected a StockDataset as the dataset, got DataFrame"):
        ExtractorSession.from_dataset(MODEL, pd.DataFrame())


def test_wrong_feature_names():
    x, _, market_x = DATASET[3]
    with pytest.raises(ValueError, match=r"feature_names has 1 \+ 11 names for 41 \+ 11 features"):
        ExtractorSession(MODEL, x, market_x, feature_names=[["a"], DATASET.market_feature_cols])


def test_feature_names_that_are_not_distinct():
    session = make_session("by hand")
    with pytest.raises(ValueError, match="feature_names has 1 names more than once, 'f1' for one"):
        ExtractorSession(session.model, *session.reading.inputs, feature_names=[STOCK, ["m0", "f1"]])


@pytest.mark.parametrize("inputs", [("abc", "def"), ([["a"] * 41], [[1] * 11]), ([[1], [1, 2]], [[1] * 11])])
def test_what_is_no_array(session, inputs):
    with pytest.raises(ValueError, match="input 0 is no array of numbers"):
        session.run(*inputs)


def test_attention_that_does_not_run():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match="its forward pass did not run it"):
        ExtractorSession(Idle(), torch.zeros(1, 3, 4))


def test_token_models_keep_their_integers():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, 4)
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

        def forward(self, tokens):
            return self.layer(self.embedding(tokens))

    session = ExtractorSession(Tokens(), [[1, 2, 3]])
    assert session.reading.capture.map("layer.self_attn", 0).shape == (3, 3)


def test_dates_of_tensors_given_by_hand():
    session = make_session("by hand")
    days = pd.bdate_range("2020-01-01", periods=6)
    session.run(*session.reading.inputs, dates=days)
    assert session.reading.days(6) == list(days.strftime("%Y-%m-%d"))
    assert session.reading.days(4) == ["step 0", "step 1", "step 2", "step 3"]
    before = session.reading
    with pytest.raises(ValueError, match="there are 5 dates for 6 steps"):
        session.run(*session.reading.inputs, dates=days[:5])
    assert session.reading is before


@pytest.mark.parametrize(
    ("make", "stock", "market"),
    [
        (lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True), (1, 6, 8), (1, 4, 8)),
        (lambda: nn.Transformer(8, 2, 1, 1, 16), (6, 8), (4, 8)),
        (lambda: nn.Transformer(8, 2, 1, 1, 16), (6, 1, 8), (4, 1, 8)),
    ],
)
def test_dates_of_other_models(make, stock, market):
    session = ExtractorSession(make(), torch.randn(stock), torch.randn(market))
    days = pd.bdate_range("2020-01-01", periods=6)
    session.run(torch.randn(stock), torch.randn(market), dates=days)
    assert session.reading.days(6) == list(days.strftime("%Y-%m-%d"))


def test_a_sample_that_is_set_while_notifications_are_held():
    session = make_session()
    with session.hold_trait_notifications():
        session.sample = 9
        session.method = "gradient"
    assert session.sample == 9
    assert list(session.reading.dates) == list(session.dataset.window(9).dates)


# What is explained


@pytest.mark.parametrize(
    ("name", "targets", "classes"),
    [
        ("dataset", ["DOWN", "UP"], ["DOWN", "UP"]),
        ("by hand", ["DOWN", "UP"], ["DOWN", "UP"]),
        (
            "buckets",
            ["below -1 %", "-1 % to 0 %", "0 % to 1 %", "1 % or more"],
            ["below -1 %", "-1 % to 0 %", "0 % to 1 %", "1 % or more"],
        ),
        ("buckets by hand", [f"class {k}" for k in range(4)], [f"class {k}" for k in range(4)]),
        (
            "coral",
            ["P(at least -1 %)", "P(at least 0 %)", "P(at least 1 %)"],
            ["below -1 %", "-1 % to 0 %", "0 % to 1 %", "1 % or more"],
        ),
        ("coral by hand", [f"P(class > {k})" for k in range(3)], [f"class {k}" for k in range(4)]),
        ("regression", [], []),
        ("regression by hand", [], []),
        ("encoder", ["DOWN", "UP"], ["DOWN", "UP"]),
        ("bare attention", [f"output {k}" for k in range(3)], []),
        ("nn.Transformer", [], []),
    ],
)
def test_names_of_outputs(name, targets, classes):
    session = make_session(name)
    assert session.targets == targets
    assert session.class_names == classes
    if not targets:
        assert session.target_name == "the value"
        return
    binary = targets == ["DOWN", "UP"]
    largest = int(session.reading.capture.output[0].argmax())
    if name.startswith("coral"):
        assert (session.target_name, session.explained_column) == ("the expected rank", None)
    else:
        assert session.target_name == (explained_name(session) if binary else targets[largest])
        assert session.explained_column == largest
    for target, named in enumerate(targets):
        session.target = target
        assert session.target_name == (explained_name(session, target) if binary else named)
        assert session.explained_column == target


@pytest.mark.parametrize(
    ("name", "columns"), [("dataset", 2), ("buckets", 4), ("coral", 3), ("regression", 0), ("bare attention", 3)]
)
def test_a_target_that_does_not_exist_is_refused(name, columns):
    session = make_session(name)
    session.target = columns - 1 if columns else None
    before = session.target
    for target in (-1, columns, columns + 5):
        with pytest.raises(TraitError, match=f"target is {target}, but the model's output has {columns} columns"):
            session.target = target
        assert session.target == before
    session.target = None
    assert session.target is None


def test_a_method_that_does_not_exist_is_refused():
    session = make_session()
    with pytest.raises(TraitError, match="shap"):
        session.method = "shap"
    assert session.method == "integrated_gradients"
    assert session.method_name == "integrated gradients"
    session.method = "gradient"
    assert session.method_name == "gradient"


class Wide(nn.Module):
    """Returns as many columns as there are days."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0].mean(dim=-1)


def test_a_target_that_a_new_input_lacks_is_dropped():
    session = ExtractorSession(Wide(), torch.randn(1, 6, 4))
    session.target = 4
    session.run(torch.randn(1, 5, 4))
    assert session.target == 4
    session.run(torch.randn(1, 3, 4))
    assert session.target is None
    assert len(session.saliency()) == 1


@pytest.mark.parametrize("name", ["dataset", "coral", "regression", "encoder", "bare attention"])
@pytest.mark.parametrize("method", ["input_x_gradient", "gradient"])
def test_saliency_is_the_gradient_of_the_target(name, method):
    session = make_session(name)
    session.method = method
    compute = gradients if method == "gradient" else input_times_gradient
    for target in (None, *range(len(session.targets))):
        session.target = target
        expected = compute(session, target)
        for part, values in zip(session.saliency(), expected, strict=True):
            np.testing.assert_allclose(part, values, rtol=1e-4, atol=1e-7)


def test_an_attribution_is_computed_once_for_each_method_and_target():
    session = make_session()
    found = {}
    for method in ("input_x_gradient", "gradient"):
        for target in (None, 0, 1):
            session.method, session.target = method, target
            found[method, target] = session.attribution()
    assert len({id(parts) for parts in found.values()}) == 6
    for (method, target), parts in found.items():
        session.method, session.target = method, target
        assert session.attribution() is parts
    session.sample = 9
    assert session.attribution() is not found["gradient", 1]
    again = session.attribution()
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert session.attribution() is not again


# From where, and what moves together


def test_baselines():
    session = make_session()
    data = session.dataset
    training = [index for index in range(len(data)) if data.end_dates[index] <= data.train_end]
    calmest = min(training, key=lambda index: data.volatility[index])
    output = session.model(*session.reading.inputs)[0]
    session.baseline = "calm window"
    window = data.window(calmest)
    at_rest = session.model(window.x[None], window.market_x[None])[0]
    found = session.attribution()
    assert found.reference == pytest.approx(float(explained(session, at_rest, int(output.argmax())).detach()), abs=1e-6)
    assert abs(found.completeness_error) < 0.02 * abs(found.value - found.reference)
    parts = {name: session.saliency() for session.baseline in BASELINES for name in [session.baseline]}
    assert not torch.equal(parts["calm window"][0], parts["training mean"][0])
    assert not torch.equal(parts["random training windows"][0], parts["training mean"][0])
    session.baseline = "random training windows"
    again = ExtractorSession.from_dataset(session.model, data, session.sample)
    again.baseline = "random training windows"
    assert torch.equal(again.saliency()[0], session.saliency()[0])


def test_a_baseline_of_windows_needs_a_dataset():
    session = make_session("by hand")
    with pytest.raises(TraitError, match="'calm window' needs a session with a dataset"):
        session.baseline = "calm window"
    assert session.baseline == "training mean"


def test_groups_move_together():
    session = make_session(method="occlusion")
    by_feature = session.saliency()[0]
    session.groups = "day"
    by_day = session.saliency()[0]
    present = session.reading.inputs[0][0] != 0
    for values, lines in ((by_feature.T, present.T), (by_day, present)):
        for line, there in zip(values, lines, strict=True):
            assert len(set(line[there].tolist())) <= 1  # a group's share is spread evenly


def test_what_attention_carried_follows_sample_change_and_target():
    session = make_session()
    trace, table, effects = session.trace(), session.head_importance(), session.attention_effects()
    assert session.trace() is trace
    assert session.head_importance() is table
    assert len(table) == sum(len(layers) * layers[0].size(1) for layers in session.reading.capture.kinds.values())
    session.target = 1 - session.explained_column
    assert session.trace().value == pytest.approx(-trace.value)
    session.target = None
    session.what_if(gate={0: 0.0, 1: 0.0})
    assert all((layer.gate == 0).all() for layer in session.trace().kinds["cross"])
    assert (session.attention_effects().query("kind == 'cross'")[["flat", "permuted"]] == 0).all(axis=None)
    assert (session.head_importance().query("kind == 'cross'")[["gradient", "ablation"]] == 0).all(axis=None)
    assert not session.attention_effects().equals(effects)


# What it says


def test_prediction_of_every_kind():
    for name in ("dataset", "buckets", "coral", "regression"):
        session = make_session(name)
        shown = session.prediction()
        assert torch.equal(shown.outputs, session.reading.capture.output)
        assert shown.labels.tolist() == [session.reading.window.y.item()]
        assert (shown.probabilities is None) == (name == "regression")
        assert (shown.above is None) == (name != "coral")
        session.run(*(tensor[0] for tensor in session.reading.inputs))
        assert session.prediction().labels is None


def test_prediction_of_half_precision_is_single():
    assert make_session("bfloat16").prediction().probabilities.dtype == torch.float32


def test_the_output_of_another_model_has_no_known_meaning():
    with pytest.raises(TypeError, match="the output of Bare has no known meaning"):
        make_session("bare attention").prediction()


@pytest.mark.parametrize(
    ("network", "made"),
    [
        (lambda: model(), lambda: dataset("buckets")),
        (lambda: model(), lambda: dataset("regression")),
        (lambda: model("regression"), lambda: dataset("binary")),
        (lambda: model("buckets"), lambda: dataset("binary")),
        (lambda: model("buckets"), lambda: dataset("buckets", edges=(0.0,))),
        (lambda: model("buckets", loss_name="coral"), lambda: dataset("buckets", edges=(0.0,))),
    ],
)
def test_labels_of_another_sort_than_the_models_are_refused(network, made):
    with pytest.raises(ValueError, match=r"label|bucket"):
        ExtractorSession.from_dataset(network(), made())


# Remarkable windows


def test_a_landmark_that_is_none():
    session = make_session()
    with pytest.raises(ValueError, match="landmark is 'best', expected one of calmest, most volatile, most confident"):
        session.find("best")


@pytest.mark.parametrize("landmark", LANDMARKS)
def test_nothing_to_search(landmark):
    session = make_session("by hand")
    with pytest.raises(ValueError, match="no dataset to search"):
        session.find(landmark)
    with pytest.raises(ValueError, match="no dataset to search"):
        next(session.scan())


def test_the_output_of_another_model_is_not_searched():
    class Doubled(Bare):
        def forward(self, x, market_x):
            return super().forward(torch.cat([x, market_x[..., :1]], dim=-1))

    session = ExtractorSession.from_dataset(Doubled(), dataset())
    assert session.find("calmest") == int(dataset().volatility.argmin())
    with pytest.raises(TypeError, match="the output of Doubled has no known meaning"):
        session.find("most wrong")


def test_the_model_runs_over_the_dataset_once(capsys):
    session = make_session()
    runs = []
    session.model.register_forward_hook(lambda network, inputs, output: runs.append(len(output)))
    assert [session.knows(landmark) for landmark in LANDMARKS] == [True, True, False, False]
    session.find("calmest"), session.find("most volatile")
    assert runs == []
    session.find("most wrong")
    assert sum(runs) == len(session.dataset) == 40
    session.find("most confident")
    assert sum(runs) == 40
    assert all(session.knows(landmark) for landmark in LANDMARKS)
    assert "scanning" in capsys.readouterr().err


def test_a_scan_that_is_left_keeps_nothing():
    session = ExtractorSession.from_dataset(model(), dataset(days=110))
    session.model.train()
    shares = []
    for share in session.scan():
        shares.append(share)
        assert session.model.training
        if len(shares) == 2:
            break
    assert shares == [64 / 200, 128 / 200]
    assert not session.knows("most wrong")
    assert list(session.scan()) == [64 / 200, 128 / 200, 192 / 200, 1.0]
    assert session.knows("most wrong")
    assert session.model.training


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("landmark", ["most confident", "most wrong"])
def test_models_of_other_precisions_are_searched(precision, landmark):
    session = ExtractorSession.from_dataset(model().to(precision), dataset())
    expected = session.find(landmark)
    errors = []
    for index in range(40):
        session.sample = index
        shown = session.prediction()
        errors.append(float((shown.confidence if landmark == "most confident" else shown.errors)[0]))
    assert errors[expected] == pytest.approx(max(errors), rel=0.02)


def test_a_regression_is_most_confident_where_its_value_is_largest_in_size():
    network = model("regression")
    found = ExtractorSession.from_dataset(network, dataset("regression")).find("most confident")
    with torch.no_grad():
        for weights in network.reg_head[-1].parameters():
            weights.neg_()
    assert ExtractorSession.from_dataset(network, dataset("regression")).find("most confident") == found


def test_a_window_without_prices_is_not_the_calmest():
    rows = table().copy()
    rows.loc[rows.index < 5, "adjusted_close"] = np.nan
    session = ExtractorSession.from_dataset(model(), StockDataset(rows, STOCK, MARKET, lookback=8), index=0)
    for landmark in ("calmest", "most volatile"):
        prices = session.dataset.window(session.find(landmark)).prices
        assert prices["adjusted_close"].notna().all()


def test_windows_of_one_day_are_neither_calm_nor_volatile():
    session = make_session("one day")
    for landmark in ("calmest", "most volatile"):
        with pytest.raises(ValueError, match="no window has the prices"):
            session.find(landmark)


# Closing


def test_close_frees_what_the_session_holds():
    network = model()
    session = ExtractorSession.from_dataset(network, dataset(), index=5)
    session.sample = 6
    session.saliency(), session.find("most wrong")
    heard = []
    session.observe(heard.append, "sample")
    hooks = global_hooks()
    held = [weakref.ref(network), weakref.ref(session.reading), weakref.ref(session.saliency()[0])]
    session.close()
    session.close()
    del network
    gc.collect()
    assert [reference() for reference in held] == [None, None, None]
    assert (session.closed, session.dataset) == (True, None)
    assert global_hooks() == hooks
    assert observers(session) == 0
    assert repr(session) == "ExtractorSession(closed)"


def test_a_with_block_closes():
    before = widgets()
    with make_session() as session:
        AttentionRow(session)
        assert not session.closed
    assert session.closed
    assert widgets() == before
    with pytest.raises(KeyError), make_session() as session:
        raise KeyError
    assert session.closed


def test_a_closed_session_says_so():
    session = make_session()
    x, market_x = session.reading.inputs
    session.close()

    def set_sample():
        session.sample = 3

    for use in (
        lambda: session.run(x, market_x),
        set_sample,
        session.saliency,
        session.prediction,
        lambda: session.find("calmest"),
        lambda: next(session.scan()),
    ):
        with pytest.raises(RuntimeError, match="this session is closed"):
            use()


def test_a_closed_sessions_dataset_is_let_go():
    made = StockDataset(table(), STOCK, MARKET, lookback=8)
    held = weakref.ref(made)
    session = ExtractorSession.from_dataset(model(), made)
    explorer = AttentionExplorer(session)
    session.close()
    del made
    gc.collect()
    assert held() is None
    assert repr(explorer)


def test_what_hangs_on_a_closed_session_says_so():
    session = make_session()
    view = AttentionRow(session)
    session.close()
    with pytest.raises(RuntimeError, match="this session is closed"):
        view.to_frame()
    with pytest.raises(RuntimeError, match="this session is closed"):
        view.selection.query = 3


def test_closing_is_seen_once():
    session = make_session()
    heard = []
    session.observe(lambda change: heard.append(change["new"]), "closed")
    session.close()
    session.close()
    assert heard == [True]
    with pytest.raises(TraitError):
        session.closed = False


def test_a_selection_outlives_its_session():
    session = make_session()
    where = Selection(session)
    session.close()
    assert (where.kind, where.query) == ("cross", 7)


def test_the_first_bad_value_is_named():
    x, _, market_x = DATASET[3]
    dates = DATASET.window(3).dates
    market_x = market_x.clone()
    market_x[7, 2] = math.inf
    market_x[9, 1] = math.nan
    message = f"input 1 has 2 values that are NaN or infinite, the first in {{}} on {dates[7].date()}, expected none"
    with pytest.raises(ValueError, match=message.format(DATASET.market_feature_cols[2])):
        ExtractorSession.from_dataset(MODEL, DATASET, 3).run(x, market_x, dates=dates)
    with pytest.raises(ValueError, match=message.format(".*")):
        ExtractorSession(MODEL, x, market_x, dates=dates)
