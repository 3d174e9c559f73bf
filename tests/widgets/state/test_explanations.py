"""What a session explains: targets, methods, baselines, attributions and predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import dataset, explained, explained_name, gradients, input_times_gradient, make_session, model
from shipped import shipped_sample
from torch import nn
from traitlets import TraitError

from stockformer_widgets import BASELINES, ExtractorSession

DATASET, MODEL = shipped_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_saliency_follows_the_sample(session):
    first = session.explanations.saliency()
    assert all(map(torch.equal, session.explanations.saliency(), first))
    session.sample = 12
    assert not torch.equal(session.explanations.saliency()[0], first[0])


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
    assert session.explanations.targets == targets
    assert session.class_names == classes
    if not targets:
        expected = "the return" if name == "regression" else "the value"
        assert session.explanations.target_name == expected
        return
    binary = targets == ["DOWN", "UP"]
    largest = int(session.reading.capture.output[0].argmax())
    if name.startswith("coral"):
        assert (session.explanations.target_name, session.explanations.explained_column) == ("the expected rank", None)
    else:
        assert session.explanations.target_name == (explained_name(session) if binary else targets[largest])
        assert session.explanations.explained_column == largest
    for target, named in enumerate(targets):
        session.explanations.target = target
        assert session.explanations.target_name == (explained_name(session, target) if binary else named)
        assert session.explanations.explained_column == target


@pytest.mark.parametrize(
    ("name", "columns"), [("dataset", 2), ("buckets", 4), ("coral", 3), ("regression", 0), ("bare attention", 3)]
)
def test_a_target_that_does_not_exist_is_refused(name, columns):
    session = make_session(name)
    session.explanations.target = columns - 1 if columns else None
    before = session.explanations.target
    for target in (-1, columns, columns + 5):
        with pytest.raises(TraitError, match=f"target is {target}, but the model's output has {columns} columns"):
            session.explanations.target = target
        assert session.explanations.target == before
    session.explanations.target = None
    assert session.explanations.target is None


def test_a_method_that_does_not_exist_is_refused():
    session = make_session()
    with pytest.raises(TraitError, match="shap"):
        session.explanations.method = "shap"
    assert session.explanations.method == "integrated_gradients"
    assert session.explanations.method_name == "integrated gradients"
    session.explanations.method = "gradient"
    assert session.explanations.method_name == "gradient"


class Wide(nn.Module):
    """Returns as many columns as there are days."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0].mean(dim=-1)


def test_a_target_that_a_new_input_lacks_is_dropped():
    session = ExtractorSession(Wide(), torch.randn(1, 6, 4))
    session.explanations.target = 4
    session.run(torch.randn(1, 5, 4))
    assert session.explanations.target == 4
    session.run(torch.randn(1, 3, 4))
    assert session.explanations.target is None
    assert len(session.explanations.saliency()) == 1


@pytest.mark.parametrize("name", ["dataset", "coral", "regression", "encoder", "bare attention"])
@pytest.mark.parametrize("method", ["input_x_gradient", "gradient"])
def test_saliency_is_the_gradient_of_the_target(name, method):
    session = make_session(name)
    session.explanations.method = method
    compute = gradients if method == "gradient" else input_times_gradient
    for target in (None, *range(len(session.explanations.targets))):
        session.explanations.target = target
        expected = compute(session, target)
        for part, values in zip(session.explanations.saliency(), expected, strict=True):
            np.testing.assert_allclose(part, values, rtol=1e-4, atol=1e-7)


def test_an_attribution_is_computed_once_for_each_method_and_target():
    session = make_session()
    found = {}
    for method in ("input_x_gradient", "gradient"):
        for target in (None, 0, 1):
            session.explanations.method, session.explanations.target = method, target
            found[method, target] = session.explanations.attribution()
    assert len({id(parts) for parts in found.values()}) == 6
    for (method, target), parts in found.items():
        session.explanations.method, session.explanations.target = method, target
        assert session.explanations.attribution() is parts
    session.sample = 9
    assert session.explanations.attribution() is not found["gradient", 1]
    again = session.explanations.attribution()
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert session.explanations.attribution() is not again


def test_baselines():
    session = make_session()
    data = session.dataset
    training = [index for index in range(len(data)) if data.end_dates[index] <= data.train_end]
    calmest = min(training, key=lambda index: data.volatility[index])
    output = session.model(*session.reading.inputs)[0]
    session.explanations.baseline = "calm window"
    window = data.window(calmest)
    at_rest = session.model(window.x[None], window.market_x[None])[0]
    found = session.explanations.attribution()
    assert found.reference == pytest.approx(float(explained(session, at_rest, int(output.argmax())).detach()), abs=1e-6)
    assert abs(found.completeness_error) < 0.02 * abs(found.value - found.reference)
    parts = {
        name: session.explanations.saliency()
        for session.explanations.baseline in BASELINES
        for name in [session.explanations.baseline]
    }
    assert not torch.equal(parts["calm window"][0], parts["training mean"][0])
    assert not torch.equal(parts["random training windows"][0], parts["training mean"][0])
    session.explanations.baseline = "random training windows"
    again = ExtractorSession.from_dataset(session.model, data, session.sample)
    again.explanations.baseline = "random training windows"
    assert torch.equal(again.explanations.saliency()[0], session.explanations.saliency()[0])


def test_a_baseline_of_windows_needs_a_dataset():
    session = make_session("by hand")
    with pytest.raises(TraitError, match="'calm window' needs a session with a dataset"):
        session.explanations.baseline = "calm window"
    assert session.explanations.baseline == "training mean"


def test_groups_move_together():
    session = make_session(method="occlusion")
    by_feature = session.explanations.saliency()[0]
    session.explanations.groups = "day"
    by_day = session.explanations.saliency()[0]
    present = session.reading.inputs[0][0] != 0
    for values, lines in ((by_feature.T, present.T), (by_day, present)):
        for line, there in zip(values, lines, strict=True):
            assert len(set(line[there].tolist())) <= 1  # a group's share is spread evenly


def test_what_attention_carried_follows_sample_change_and_target():
    session = make_session()
    trace, table, effects = (
        session.explanations.trace(),
        session.explanations.head_importance(),
        session.explanations.attention_effects(),
    )
    assert session.explanations.trace() is trace
    assert session.explanations.head_importance() is table
    assert len(table) == sum(len(layers) * layers[0].size(1) for layers in session.reading.capture.kinds.values())
    session.explanations.target = 1 - session.explanations.explained_column
    assert session.explanations.trace().value == pytest.approx(-trace.value)
    session.explanations.target = None
    session.what_if(gate={0: 0.0, 1: 0.0})
    assert all((layer.gate == 0).all() for layer in session.explanations.trace().kinds["cross"])
    assert (session.explanations.attention_effects().query("kind == 'cross'")[["flat", "permuted"]] == 0).all(axis=None)
    assert (session.explanations.head_importance().query("kind == 'cross'")[["gradient", "ablation"]] == 0).all(
        axis=None
    )
    assert not session.explanations.attention_effects().equals(effects)


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
