"""Attributions against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from shipped import shipped_sample
from torch import Tensor, nn

from stockformer.explainability import (
    GROUPS,
    METHODS,
    Target,
    attribute,
    attribution_runs,
    attribution_steps,
    choose_target,
)
from stockformer.explainability.attribution.attribute import Attribution, group_masks
from stockformer.model import create_model
from stockformer.targets import targets_of


class Of(nn.Module):
    """A function of the two features on one day, as a model [B, 1, 2] -> [B]."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x[:, 0, 0], x[:, 0, 1])


class Planted(nn.Module):
    """Only feature 2 on day 3 of the stock and feature 1 on day 0 of the market matter."""

    def forward(self, x, m):
        return torch.tanh(x[:, 3, 2]) * 2 + m[:, 0, 1] ** 2


SQUARES = Of(lambda a, b: a**2 + b**2)
PRODUCT = Of(lambda a, b: a * b)
SMALLER = Of(torch.minimum)
WEIGHTED = Of(lambda a, b: 3 * a - 2 * b)


def at(*values: float) -> Tensor:
    return torch.tensor([[list(values)]])


def parts_of(model, x, method, **options):
    return attribute(model, x, method=method, **options).parts[0][0].tolist()


@pytest.mark.parametrize(
    ("model", "x", "method", "expected"),
    [
        (SQUARES, at(2.0, -3.0), "integrated_gradients", [4.0, 9.0]),
        (PRODUCT, at(2.0, 3.0), "integrated_gradients", [3.0, 3.0]),
        (SMALLER, at(1.0, 3.0), "integrated_gradients", [1.0, 0.0]),
        (SQUARES, at(2.0, -3.0), "input_x_gradient", [8.0, 18.0]),
        (SQUARES, at(2.0, -3.0), "gradient", [4.0, -6.0]),
        (WEIGHTED, at(2.0, 5.0), "smooth_grad", [3.0, -2.0]),
        (WEIGHTED, at(2.0, 5.0), "gradient_shap", [6.0, -10.0]),
        (PRODUCT, at(2.0, 3.0), "occlusion", [6.0, 6.0]),
        (PRODUCT, at(2.0, 3.0), "shapley_sampling", [3.0, 3.0]),
        (SMALLER, at(1.0, 3.0), "occlusion", [1.0, 1.0]),
    ],
)
def test_closed_forms(model, x, method, expected):
    # 25 random orders of two features give 6 times a share whose standard deviation is 0.1.
    tolerance = 1.2 if (model, method) == (PRODUCT, "shapley_sampling") else 1e-4
    assert parts_of(model, x, method) == pytest.approx(expected, abs=tolerance)


def test_the_completeness_error_is_the_sum_against_the_difference():
    found = attribute(PRODUCT, at(2.0, 3.0), baselines=[at(1.0, 1.0)])
    assert (found.value, found.reference) == (6.0, 1.0)
    # Along 1 + t, 1 + 2t: the gradients' means are 2 and 1.5.
    assert found.parts[0][0].tolist() == pytest.approx([2.0, 3.0], abs=1e-5)
    assert found.completeness_error == pytest.approx(0.0, abs=1e-5)
    assert attribute(PRODUCT, at(2.0, 3.0), method="gradient").completeness_error is None


@pytest.mark.parametrize("method", ["integrated_gradients", "gradient_shap", "occlusion", "shapley_sampling"])
def test_several_baselines_give_the_mean_over_them(method):
    bases = [at(1.0, 0.0), at(0.0, 2.0)]
    apart = np.mean([parts_of(PRODUCT, at(2.0, 3.0), method, baselines=[base]) for base in bases], axis=0)
    together = parts_of(PRODUCT, at(2.0, 3.0), method, baselines=[torch.cat(bases)])
    tolerance = 1.0 if method in ("gradient_shap", "shapley_sampling") else 1e-5
    assert together == pytest.approx(apart, abs=tolerance)


def test_gradient_shap_adds_up_over_several_baselines():
    """Of a linear model every draw adds up, so only baselines that are drawn unequally often would not."""
    found = attribute(
        WEIGHTED, at(2.0, 5.0), method="gradient_shap", baselines=[torch.cat([at(1.0, 0.0), at(0.0, 9.0)])]
    )
    assert found.completeness_error == pytest.approx(0.0, abs=1e-4)
    assert found.parts[0][0].tolist() == pytest.approx([4.5, -1.0], abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("method", METHODS)
def test_other_precisions(method, dtype):
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 1, bias=False), nn.Flatten(0)).to(dtype)
    x = torch.tensor([[[1.0, -2.0], [0.5, 3.0], [-1.0, 2.0]]], dtype=dtype)
    (part,) = attribute(model, x, method=method).parts
    weights = model[1].weight.detach().view(3, 2).double()
    expected = weights if method in ("gradient", "smooth_grad") else weights * x[0]
    if method in ("occlusion", "shapley_sampling"):  # a feature over all days, spread evenly
        expected = expected.mean(dim=0).expand(3, 2)
    torch.testing.assert_close(part.double(), expected.double(), atol=0.05, rtol=0.05)


def test_integrated_gradients_take_more_points_until_they_add_up():
    """Of a steep wave 64 points miss the sum by far; the antiderivative is known."""
    model, x = Of(lambda a, b: torch.sin(300 * a) + b), at(1.0, 2.0)
    found = attribute(model, x)
    assert found.parts[0][0].tolist() == pytest.approx([np.sin(300.0), 2.0], abs=0.02)
    assert found.adds_up
    assert abs(found.completeness_error) <= 0.01 * abs(found.value - found.reference)


def test_integrated_gradients_of_weights_three_times_as_large_add_up(make_model, inputs):
    model = make_model()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)
    found = attribute(model, *(part[:1] for part in inputs))
    with torch.no_grad():
        ends = [found.target(model(*(factor * part[:1] for part in inputs))).item() for factor in (1, 0)]
    total = sum(part.double().sum() for part in found.parts)
    assert float(total) == pytest.approx(ends[0] - ends[1], rel=0.0101)


def test_what_never_adds_up_is_a_warning(monkeypatch):
    monkeypatch.setattr("stockformer.explainability.attribution.methods.MOST_POINTS", 256)
    with pytest.warns(
        UserWarning, match="integrated gradients do not add up within 1% with [0-9]+ points: they sum to"
    ):
        found = attribute(Of(lambda a, b: torch.sin(5e6 * a**2)), at(0.987, 1.0))
    assert not found.adds_up


@pytest.mark.filterwarnings("error")
def test_of_a_target_that_is_not_finite_no_roughness_is_said():
    found = attribute(Of(lambda a, b: a * b * math.nan), at(2.0, 3.0))
    assert math.isnan(found.completeness_error)
    assert found.caveat == ""


def test_between_its_steps_the_model_is_as_it_was():
    model = PRODUCT.train()
    steps = attribution_steps(model, at(2.0, 3.0), method="shapley_sampling")
    shares = []
    state = torch.random.get_rng_state()
    for share in steps:
        shares.append(share)
        assert model.training
        assert torch.equal(torch.random.get_rng_state(), state)
    model.eval()
    assert shares == [pytest.approx((number + 1) / 25) for number in range(25)]


def test_how_often_the_model_runs():
    shapes = [(12, 4), (7, 3)]
    assert attribution_runs("integrated_gradients", shapes, "feature") == 64
    assert attribution_runs("occlusion", shapes, "day") == 19
    assert attribution_runs("shapley_sampling", shapes, "feature") == 7 * 25


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_truth_is_found(method):
    generator = torch.Generator().manual_seed(1)
    x, m = torch.randn(1, 6, 4, generator=generator), torch.randn(1, 5, 3, generator=generator)
    grouped = method in ("occlusion", "shapley_sampling")
    found = attribute(Planted(), x, m, method=method, groups="week x feature")
    for part, day, feature in zip(found.parts, (3, 0), (2, 1), strict=True):
        matters = torch.zeros_like(part, dtype=torch.bool)
        if grouped:
            matters[1 if len(part) == 6 else 0 :, feature] = True  # the last five days are a week
        else:
            matters[day, feature] = True
        assert (part[~matters].abs() < 1e-6).all()
        assert (part[matters].abs() > 1e-3).all()
    if method in ("integrated_gradients", "gradient_shap", "shapley_sampling"):
        assert abs(found.completeness_error) < 0.2 * abs(found.value - found.reference)


@pytest.mark.parametrize("groups", GROUPS)
def test_groups_are_numbered_without_gaps_and_not_shared(groups):
    masks = group_masks([(12, 4), (7, 3)], groups)
    numbers = [set(mask.flatten().tolist()) for mask in masks]
    assert not numbers[0] & numbers[1]
    assert numbers[0] | numbers[1] == set(range(len(numbers[0]) + len(numbers[1])))
    expected = {"feature": 4 + 3, "day": 12 + 7, "week x feature": 3 * 4 + 2 * 3}
    assert len(numbers[0] | numbers[1]) == expected[groups]
    if groups == "week x feature":
        assert len(masks[0][0, 7:, 0].unique()) == 1  # the last five days
        assert masks[0][0, 6, 0] != masks[0][0, 7, 0]


@pytest.mark.parametrize("groups", GROUPS)
@pytest.mark.parametrize("method", ["occlusion", "integrated_gradients"])
def test_the_sum_over_a_group_is_what_it_did(groups, method):
    dataset, model = shipped_sample()
    window = dataset.window(0)
    inputs = window.x[None], window.market_x[None]
    found = attribute(model, *inputs, method=method, groups=groups)
    if method == "integrated_gradients":
        assert abs(found.completeness_error) < 1e-3
        return
    masks = group_masks([part.shape[1:] for part in inputs], groups)
    hidden = [part.clone() for part in inputs]
    hidden[0][masks[0] == 7] = 0.0
    with torch.no_grad():
        fall = found.target(model(*inputs)) - found.target(model(*hidden))
    assert float(found.parts[0][masks[0][0] == 7].sum()) == pytest.approx(float(fall), abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_features_that_are_not_in_the_data_get_exactly_0(method):
    dataset, model = shipped_sample()
    window = dataset.window(dataset.index_of("2008-10-15", "AAPL"))
    found = attribute(model, window.x[None], window.market_x[None], method=method)
    absent = [name in dataset.unavailable for name in dataset.feature_cols]
    assert sum(absent) == 11
    assert (found.parts[0][:, absent] == 0).all()
    assert (found.parts[0][:, ~np.array(absent)] != 0).any()


def test_the_same_call_gives_the_same_numbers_and_leaves_the_generators_alone():
    x = torch.randn(1, 3, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 1), nn.Tanh(), nn.Flatten(0))
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    expected = torch.rand(2).tolist(), np.random.rand(2).tolist()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    found = [attribute(model, x, method="gradient_shap").parts[0] for _ in range(2)]
    assert torch.equal(*found)
    assert (torch.rand(2).tolist(), np.random.rand(2).tolist()) == expected  # noqa: NPY002


OUTPUT = torch.tensor([[1.0, 3.0, -2.0]])


@pytest.mark.parametrize(
    ("mode", "cfg", "output", "column", "value"),
    [
        ("regression", {}, torch.tensor([0.7]), None, 0.7),
        ("binary", {}, OUTPUT[:, :2], None, 2.0),
        ("binary", {}, OUTPUT[:, :2], 0, -2.0),
        ("buckets", {}, OUTPUT, None, 3.0),
        ("buckets", {}, OUTPUT, 2, -2.0),
        ("buckets", {"loss_name": "coral"}, OUTPUT, None, sum(1 / (1 + np.exp(-z)) for z in (1.0, 3.0, -2.0))),
        ("buckets", {"loss_name": "coral"}, OUTPUT, 0, 1.0),
    ],
)
def test_targets(mode, cfg, output, column, value):
    edges = [-1, 0, 1] if cfg else [0, 1]
    model = create_model(41, mode, edges if mode == "buckets" else None, cfg)
    assert float(choose_target(model, output, column)(output)[0]) == pytest.approx(value)
    if column is None:
        assert targets_of(model, torch.cat([output, output])).tolist() == pytest.approx([value] * 2)


def test_another_model_explains_its_largest_output():
    assert choose_target(nn.Linear(2, 3), OUTPUT) == Target("logit", 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "deep_lift"}, "method is 'deep_lift', expected one of integrated_gradients"),
        ({"groups": "month"}, "groups is 'month', expected one of feature, day, week x feature"),
        ({"baselines": [torch.zeros(1, 1, 2)] * 2}, "there are 2 baselines for 1 inputs"),
        ({"baselines": [torch.zeros(1, 2, 2)]}, r"the baselines are \[1, 2, 2\], expected \[N, ...\]"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        attribute(PRODUCT, at(2.0, 3.0), **options)


def test_more_than_one_sample_is_refused():
    with pytest.raises(ValueError, match=r"expected one sample, inputs \[1, T, features\], found \[2, 1, 2\]"):
        attribute(PRODUCT, torch.zeros(2, 1, 2))


def test_large_parts_that_cancel_excuse_no_miss():
    parts = (torch.tensor([[1e6, -1e6 + 10.0]]),)
    assert not Attribution(parts, "integrated_gradients", Target("value"), 1.0, 0.0).adds_up
    near = (torch.tensor([[1.0, -1.0 + 1e-6]]),)
    assert Attribution(near, "integrated_gradients", Target("value"), 1.0, 1.0).adds_up  # rounding of a target of 1
