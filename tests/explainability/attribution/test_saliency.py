"""Saliency against closed forms."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest
import torch
from torch import nn

from stockformer.explainability import compute_input_saliency, saliency_frame


class Linear(nn.Module):
    """Columns of the output are weighted sums of every input; known gradient."""

    def __init__(self, outputs=3, squeeze=False):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.x_weight = nn.Parameter(torch.randn(outputs, 4, 2, generator=generator))
        self.m_weight = nn.Parameter(torch.randn(outputs, 5, 3, generator=generator))
        self.dropout = nn.Dropout(0.5)
        self.idle = nn.Identity()
        self.squeeze = squeeze

    def forward(self, x, m):
        x = self.dropout(x)
        output = torch.einsum("btf,otf->bo", x, self.x_weight) + torch.einsum("btf,otf->bo", m, self.m_weight)
        return output[:, 0] if self.squeeze else output


class Square(nn.Module):
    """Output of a sample is the sum of its squared inputs: gradient 2x."""

    def forward(self, x):
        return (x**2).sum((1, 2))


@pytest.fixture
def linear():
    return Linear().eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(3, 4, 2, generator=generator), torch.randn(3, 5, 3, generator=generator)


def close(actual, expected):
    return len(actual) == len(expected) and all(
        a.shape == e.shape and torch.allclose(a, e, atol=1e-6) for a, e in zip(actual, expected, strict=True)
    )


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("sample", [0, 2])
def test_linear_model(linear, batch, target, sample):
    weights = linear.x_weight[target].detach(), linear.m_weight[target].detach()
    signed = [w * x[sample] for w, x in zip(weights, batch, strict=True)]
    options = {"target_class": target, "sample": sample}
    assert close(compute_input_saliency(linear, *batch, **options, absolute=False), signed)
    assert close(compute_input_saliency(linear, *batch, **options), [s.abs() for s in signed])
    gradient = {"method": "gradient", **options}
    assert close(compute_input_saliency(linear, *batch, **gradient, absolute=False), weights)
    assert close(compute_input_saliency(linear, *batch, **gradient), [w.abs() for w in weights])


@pytest.mark.parametrize("sample", [0, 1, 2])
def test_the_default_target_is_the_largest_output(linear, batch, sample):
    target = int(linear(*batch)[sample].argmax())
    explicit = compute_input_saliency(linear, *batch, target_class=target, sample=sample)
    assert close(compute_input_saliency(linear, *batch, sample=sample), explicit)


def test_samples_of_the_test_have_different_targets(linear, batch):
    assert len(set(linear(*batch).argmax(1).tolist())) > 1


@pytest.mark.parametrize("target", [None, 0])
def test_a_single_output(batch, target):
    model = Linear(squeeze=True).eval()
    expected = [model.x_weight[0] * batch[0][1], model.m_weight[0] * batch[1][1]]
    assert close(compute_input_saliency(model, *batch, sample=1, target_class=target, absolute=False), expected)


@pytest.mark.parametrize(("method", "power", "factor"), [("gradient", 1, 2), ("input_x_gradient", 2, 2)])
def test_a_curved_model(batch, method, power, factor):
    (values,) = compute_input_saliency(Square(), batch[0], method=method, absolute=False)
    assert torch.allclose(values, factor * batch[0][0] ** power)


def test_input_x_gradient_of_a_linear_model_is_complete(linear, batch):
    parts = compute_input_saliency(linear, *batch, target_class=1, absolute=False)
    assert sum(part.sum() for part in parts).item() == pytest.approx(linear(*batch)[0, 1].item(), abs=1e-5)


def test_a_stock_model_against_differences(make_model, inputs):
    model = make_model().double()
    x, market_x = (tensor.double() for tensor in inputs)
    stock, _ = compute_input_saliency(model, x, market_x, method="gradient", target_class=1, absolute=False)
    for day, feature in ((0, 0), (3, 2), (5, 4)):
        step = torch.zeros_like(x)
        step[0, day, feature] = 1e-5
        with torch.no_grad():
            slope = (model(x + step, market_x) - model(x - step, market_x))[0, 1] / 2e-5
        assert stock[day, feature].item() == pytest.approx(slope.item(), abs=1e-8)


def test_dropout_is_off_and_training_mode_comes_back(linear, batch):
    expected = compute_input_saliency(linear, *batch)
    linear.train()
    linear.idle.eval()
    assert close(compute_input_saliency(linear, *batch), expected)
    assert (linear.training, linear.dropout.training, linear.idle.training) == (True, True, False)


def test_training_mode_comes_back_after_an_error(linear, batch):
    linear.train()
    with pytest.raises(RuntimeError):
        compute_input_saliency(linear, batch[0], batch[0])
    assert linear.training
    assert linear.dropout.training


def test_gradients_and_inputs_stay(linear, batch):
    linear.x_weight.grad = torch.ones_like(linear.x_weight)
    kept = [tensor.clone() for tensor in batch]
    compute_input_saliency(linear, *batch)
    assert torch.equal(linear.x_weight.grad, torch.ones_like(linear.x_weight))
    assert linear.m_weight.grad is None
    assert all(p.requires_grad for p in linear.parameters())
    assert all(torch.equal(a, b) and not a.requires_grad and a.grad is None for a, b in zip(batch, kept, strict=True))


def test_inputs_that_want_gradients_keep_theirs(linear, batch):
    x = batch[0].requires_grad_()
    (2 * x).sum().backward()
    compute_input_saliency(linear, x, batch[1])
    assert x.requires_grad
    assert torch.equal(x.grad, torch.full_like(x, 2))


def test_under_no_grad(linear, batch):
    expected = compute_input_saliency(linear, *batch)
    with torch.no_grad():
        assert close(compute_input_saliency(linear, *batch), expected)
        assert not torch.is_grad_enabled()


def test_results_are_plain_and_silent(linear, batch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = compute_input_saliency(linear, *batch)
    assert not any(value.requires_grad for value in values)
    assert [tuple(value.shape) for value in values] == [(4, 2), (5, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method is 'magic', expected one of integrated_gradients, input_x_gradient"),
        ({"sample": 3}, "sample is 3, expected 0 to 2 for a batch of 3"),
        ({"sample": -1}, "sample is -1"),
        ({"target_class": 3}, "target_class is 3, expected 0 to 2 for an output of 3"),
        ({"target_class": -1}, "target_class is -1"),
    ],
)
def test_errors(linear, batch, options, message):
    with pytest.raises(ValueError, match=message):
        compute_input_saliency(linear, *batch, **options)


def test_a_target_for_a_single_output(batch):
    with pytest.raises(ValueError, match="target_class is 1, but the model returns a single value"):
        compute_input_saliency(Linear(squeeze=True), *batch, target_class=1)


def test_attributions_in_a_table():
    stock, market = torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([[5.0], [6.0], [7.0]])
    table = saliency_frame([stock, market], [["a", "b"], ["m"]], dates=["Mon", "Tue"])
    assert list(table) == ["input", "feature", "day", "value"]
    assert table.values.tolist() == [
        [0, "a", "Mon", 1.0],
        [0, "b", "Mon", -2.0],
        [0, "a", "Tue", 3.0],
        [0, "b", "Tue", 4.0],
        [1, "m", 0, 5.0],
        [1, "m", 1, 6.0],
        [1, "m", 2, 7.0],
    ]
    assert saliency_frame([stock], [["a", "b"]])["day"].tolist() == [0, 0, 1, 1]


def test_dates_stay_dates_in_a_table():
    days = pd.date_range("2008-10-14", periods=2)
    assert saliency_frame([torch.zeros(2, 1)], [["a"]], days)["day"].tolist() == list(days)


def test_names_that_do_not_fit():
    with pytest.raises(ValueError, match=r"feature_names\[0\] has 1 names for 2 features"):
        saliency_frame([torch.zeros(3, 2)], [["a"]])
