"""Probabilities and calibration, by hand and by other libraries."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom, norm
from scipy.stats import entropy as scipy_entropy
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torchmetrics.classification import MulticlassCalibrationError

from stockformer.explainability import (
    OutputDistribution,
    analyze_output_distribution,
    calibrate,
    class_names,
    class_probabilities,
    describe_outputs,
    output_batches,
    summarize_outputs,
)
from stockformer.model import create_model


def logit(p):
    return math.log(p / (1 - p))


def test_softmax():
    logits = torch.tensor([[0.0, math.log(3.0)], [2.0, 2.0]])
    assert class_probabilities(logits).tolist() == [pytest.approx([0.25, 0.75]), pytest.approx([0.5, 0.5])]


def test_coral():
    logits = torch.tensor([[logit(0.9), logit(0.6), logit(0.1)]])
    assert class_probabilities(logits, coral=True)[0].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.1], abs=1e-6)


def test_coral_with_one_threshold():
    assert class_probabilities(torch.tensor([[logit(0.2)]]), coral=True)[0].tolist() == pytest.approx([0.8, 0.2])


def test_coral_with_unordered_thresholds(make_model):
    """P(class > 1) above P(class > 0): put in order they are a distribution, and the predicted class stays."""
    model = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral")
    logits = torch.tensor([[logit(0.4), logit(0.7), logit(0.2)]])
    outputs = describe_outputs(logits, model)
    assert outputs.probabilities[0].tolist() == pytest.approx([0.3, 0.3, 0.2, 0.2], abs=1e-6)
    assert outputs.predictions.tolist() == [1]
    assert outputs.confidence.tolist() == pytest.approx([0.3], abs=1e-6)


def test_confidence_is_of_the_predicted_class(make_model):
    """P(class > k) of 0.9, 0.52 and 0.46 passes two thresholds: class 2, which has 6 %."""
    model = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral")
    outputs = describe_outputs(torch.tensor([[logit(0.9), logit(0.52), logit(0.46)]]), model)
    assert outputs.predictions.tolist() == [2]
    assert outputs.confidence.tolist() == pytest.approx([0.06], abs=1e-6)
    assert summarize_outputs(outputs).verdict == (
        "Class 2: probability 6 % (even over 4 classes: 25 %). It is the class that the thresholds name; the most "
        "probable one is class 3, 46 %."
    )


@pytest.fixture
def predictions():
    """Probabilities [500, 3] and labels that follow them a little less than they claim."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 3, generator=generator)
    labels = torch.multinomial((logits / 2).softmax(dim=-1), 1, generator=generator)[:, 0]
    return logits.softmax(dim=-1), labels


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_reliability_curve_is_sklearns(predictions, binning):
    probabilities, labels = predictions
    confidence, predicted = probabilities.double().max(dim=-1)
    strategy = {"equal_width": "uniform", "equal_mass": "quantile"}[binning]
    accuracy, mean_confidence = calibration_curve(predicted == labels, confidence, n_bins=10, strategy=strategy)
    curve = calibrate(probabilities, labels, binning=binning, resamples=10).to_frame()
    np.testing.assert_allclose(curve["accuracy"], accuracy, atol=0.02 if binning == "equal_mass" else 1e-9)
    np.testing.assert_allclose(curve["confidence"], mean_confidence, atol=0.01 if binning == "equal_mass" else 1e-9)
    assert curve["count"].sum() == 500


def test_expected_calibration_error_is_torchmetrics(predictions):
    probabilities, labels = predictions
    expected = MulticlassCalibrationError(num_classes=3, n_bins=10, norm="l1")(probabilities, labels)
    found = calibrate(probabilities, labels, resamples=200)
    assert found.ece == pytest.approx(float(expected), abs=1e-5)
    low, high = found.ece_interval
    assert low < high
    assert high > found.ece


def test_brier_is_sklearns(predictions):
    probabilities, labels = predictions
    expected = brier_score_loss(labels, probabilities.double(), labels=[0, 1, 2], scale_by_half=False)
    assert calibrate(probabilities, labels, resamples=2).brier == pytest.approx(expected, rel=1e-5)


def test_calibration_by_hand():
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]])
    found = calibrate(probabilities, torch.tensor([0, 1, 1, 1]), resamples=2)
    assert found.bins["count"].tolist() == [2, 2]
    np.testing.assert_allclose(found.bins["accuracy"], [1.0, 0.5])
    assert found.ece == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_one_confidence_for_all_samples():
    same = torch.tensor([[0.7, 0.3]] * 4)
    found = calibrate(same, torch.tensor([0, 0, 1, 1]), binning="equal_mass", resamples=5)
    assert found.ece == pytest.approx(0.2)


def days_that_share_returns(rng, gap):
    """Stated and true classes of 3 tickers on 600 days: returns over three days, half of them the market's."""
    slow = np.convolve(rng.normal(size=630), np.ones(31) / 31, "valid")[:, None] + 0.1 * rng.normal(size=(600, 3))
    confidence = 0.7 + 0.06 * slow.clip(-2, 2)
    daily = (rng.normal(size=(602, 1)) + rng.normal(size=(602, 3))) / math.sqrt(6)
    right = norm.cdf(daily[2:] + daily[1:-1] + daily[:-2]) < confidence - gap
    stated = torch.tensor(np.stack([1 - confidence, confidence], axis=-1).reshape(-1, 2))
    return stated, torch.tensor(right.ravel().astype(int)), np.repeat(np.arange(600), 3)


@pytest.mark.parametrize("gap", [0.0, 0.05])
def test_the_interval_holds_the_true_error_of_days_that_share_returns(gap):
    """Draws of single samples hold 0 never, and 0.05 in about 6 of 10."""
    rng = np.random.default_rng(0)
    held, corrected = 0, []
    for _ in range(80):
        stated, labels, days = days_that_share_returns(rng, gap)
        calibration = calibrate(stated, labels, days=days, binning="equal_mass", resamples=200)
        held += calibration.ece_interval[0] <= gap <= calibration.ece_interval[1]
        corrected.append((calibration.ece, calibration.ece_corrected))
    assert held >= binom.ppf(0.01, 80, 0.92)
    error, better = np.mean(corrected, axis=0)
    assert abs(better - gap) < abs(error - gap)


def test_noise_of_independent_days():
    """Of one bin, the interval is that of a mean of independent days."""
    rng = np.random.default_rng(0)
    correct = rng.random(2000) < 0.6
    stated = torch.tensor([[0.3, 0.7]]).repeat(2000, 1)
    calibration = calibrate(stated, torch.tensor(correct.astype(int)), resamples=20000)
    low, high = calibration.ece_interval
    error = correct.std() / math.sqrt(2000)
    assert calibration.ece == pytest.approx(abs(correct.mean() - 0.7))
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert calibration.ece_corrected == pytest.approx(calibration.ece, abs=1e-3)


def test_samples_without_days_are_in_the_order_of_time():
    stated, labels, _ = days_that_share_returns(np.random.default_rng(1), 0.05)
    dates = np.datetime64("2020-01-01") + np.arange(len(labels))
    assert calibrate(stated, labels).ece_interval == calibrate(stated, labels, days=dates).ece_interval


def test_too_few_days_have_no_interval():
    calibration = calibrate(torch.tensor([[0.3, 0.7], [0.1, 0.9]]), torch.tensor([0, 1]))
    assert np.isnan([calibration.ece_corrected, *calibration.ece_interval]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"days": [0, 1, 2]}, r"expected one day for each of 2 samples, found \[3\]"),
        ({"binning": "odd"}, "binning is 'odd'"),
        ({"labels": torch.zeros(3)}, r"found \[2, 2\] and \[3\]"),
    ],
)
def test_bad_calibration_input(arguments, message):
    call = {"labels": torch.zeros(2, dtype=torch.long)} | arguments
    with pytest.raises(ValueError, match=message):
        calibrate(torch.full((2, 2), 0.5), **call)


def test_coral_violations(make_model):
    model = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral")
    shown = describe_outputs(torch.tensor([[2.0, 0.0, -2.0], [0.0, 1.0, -1.0]]), model)
    assert shown.monotonicity_violations.tolist() == [False, True]
    np.testing.assert_allclose(shown.above[0], 1 / (1 + np.exp([-2.0, 0.0, 2.0])), rtol=1e-6)


def test_coral_predicts_the_number_of_thresholds_passed(make_model):
    """Cao et al. 2020, and the notebook's section 13; here the most probable class is another."""
    model = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral")
    above = torch.tensor([[0.6, 0.4, 0.39], [0.9, 0.6, 0.1], [0.55, 0.54, 0.53], [0.2, 0.1, 0.0]])
    shown = describe_outputs(above.logit(eps=1e-6), model)
    assert shown.predictions.tolist() == [1, 2, 3, 0]
    assert shown.probabilities.argmax(dim=-1).tolist() == [0, 2, 3, 0]
    assert shown.predicted_counts.tolist() == [1, 1, 1, 1]


def test_errors():
    probabilities = torch.tensor([[0.2, 0.8], [0.9, 0.1]])
    shown = OutputDistribution(probabilities.log(), probabilities, labels=torch.tensor([1, 1]))
    np.testing.assert_allclose(shown.errors, [0.2, 0.9], rtol=1e-6)
    values = OutputDistribution(torch.tensor([0.1, -0.2]), None, labels=torch.tensor([0.3, -0.3]))
    np.testing.assert_allclose(values.errors, [0.2, 0.1], rtol=1e-5)
    with pytest.raises(ValueError, match="errors need labels"):
        _ = OutputDistribution(torch.tensor([0.1]), None).errors


def test_a_model_is_as_it_was_between_batches(sample):
    dataset, model = sample
    expected = analyze_output_distribution(model, dataset, range(5), progress=False)
    model.train()
    model.attn_pool.eval()
    try:
        batches = output_batches(model, dataset, range(5), batch_size=2)
        outputs, labels = next(batches)
        assert model.training
        assert not model.attn_pool.training
        assert torch.is_grad_enabled()
        torch.testing.assert_close(outputs, expected.outputs[:2])
        assert torch.equal(labels, expected.labels[:2])
        assert [len(part) for part, _ in batches] == [2, 1]
    finally:
        model.eval()


def test_a_model_that_fails_in_a_batch_is_as_it_was(sample):
    dataset, model = sample
    handle = model.attn_pool.register_forward_hook(lambda *_: 1 / 0)
    model.train()
    try:
        with pytest.raises(ZeroDivisionError):
            next(output_batches(model, dataset, [0]))
        assert model.training
        assert torch.is_grad_enabled()
    finally:
        handle.remove()
        model.eval()


def test_over_a_dataset_is_the_loop_over_single_samples(sample):
    dataset, model = sample
    indices = [0, 17, 6851, -3]
    shown = analyze_output_distribution(model, dataset, indices, batch_size=3, progress=False)
    with torch.no_grad():
        single = torch.cat([model(dataset[i][0][None], dataset[i][2][None]) for i in indices]).numpy()
    np.testing.assert_allclose(shown.outputs, single, atol=1e-6)
    probabilities = np.exp(single) / np.exp(single).sum(axis=1, keepdims=True)
    frame = shown.to_frame()
    np.testing.assert_allclose(frame["p_1"], probabilities[:, 1], rtol=1e-5)
    np.testing.assert_allclose(frame["entropy"], scipy_entropy(probabilities, axis=1), rtol=1e-5)
    assert frame["label"].tolist() == [int(dataset[i][1]) for i in indices]
    assert shown.dates.equals(dataset.end_dates[indices])
    assert shown.predicted_counts.tolist() == np.bincount(frame["prediction"], minlength=2).tolist()


def test_nothing_to_analyse(sample):
    with pytest.raises(ValueError, match="indices is empty"):
        analyze_output_distribution(sample[1], sample[0], [])
    with pytest.raises(ValueError, match="indices is empty"):  # at once, not when the first batch is taken
        output_batches(sample[1], sample[0], [])


def test_a_regression_has_values_only(make_model):
    shown = describe_outputs(torch.tensor([0.1, -0.2]), make_model(label_mode="regression"))
    assert list(shown.to_frame()) == ["prediction"]
    with pytest.raises(ValueError, match="no class probabilities"):
        _ = shown.confidence


@pytest.mark.parametrize(
    ("label_mode", "edges", "known", "names"),
    [
        ("regression", None, (), []),
        ("binary", None, (), ["DOWN", "UP"]),
        ("buckets", [-1.0, 0.5], (), ["class 0", "class 1", "class 2"]),
        ("buckets", [-1.0, 0.5], (-1.0, 0.5), ["below -1 %", "-1 % to 0.5 %", "0.5 % or more"]),
    ],
)
@pytest.mark.parametrize("loss", ["cross_entropy", "coral"])
def test_class_names(label_mode, edges, known, names, loss):
    model = create_model(3, label_mode, edges, {"d_model": 8, "nhead": 2, "loss_name": loss})
    assert class_names(model, known) == names


def test_calibration_is_of_the_class_that_a_coral_model_predicts():
    """P(class > k) of 0.6 and 0.45 pass one threshold, so class 1 is predicted, with 0.15; class 2 has 0.45."""
    above = torch.tensor([[0.6, 0.45]]).repeat(40, 1)
    probabilities = class_probabilities(torch.logit(above), coral=True)
    outputs = OutputDistribution(torch.logit(above), probabilities, above, torch.ones(40, dtype=torch.long))
    found = calibrate(probabilities, outputs.labels, predictions=outputs.predictions, resamples=2)
    assert found.bins["confidence"].item() == pytest.approx(0.15)
    assert found.ece == pytest.approx(0.85)
    numbers = summarize_outputs(outputs).to_frame().set_index("name")["value"]
    assert float(numbers["calibration_error"]) == pytest.approx(0.85, abs=0.01)


def test_overconfident_is_seldom_said_of_a_calibrated_model():
    """Four tickers that move together, over returns of five days: what is said of as many independent samples."""
    rng = np.random.default_rng(0)
    claims = {250: 0, 500: 0}
    for days in claims:
        for _ in range(200):
            market, own = rng.normal(size=(days + 4, 1)), rng.normal(size=(days + 4, 4))
            moves = np.sqrt(0.65) * market + np.sqrt(0.35) * own
            returns = sum(moves[lag : days + lag] for lag in range(5)) / np.sqrt(5)
            right = torch.from_numpy(norm.cdf(returns).ravel() < 0.6).long()
            probabilities = torch.tensor([[0.4, 0.6]]).repeat(len(right), 1)
            dates = pd.date_range("2020-01-01", periods=days).repeat(4)
            outputs = OutputDistribution(probabilities, probabilities, labels=right, dates=dates)
            claims[days] += re.search("(over|under)confident", summarize_outputs(outputs).verdict.lower()) is not None
    assert max(claims.values()) <= 0.09 * 200
    assert min(claims.values()) > 0


def test_calibration_is_of_the_class_that_a_coral_model_names(make_model):
    """Class 2 is named with 6 % and true in half of the samples; the most probable class is 3, with 46 %."""
    model = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral")
    logits = torch.tensor([[logit(0.9), logit(0.52), logit(0.46)]]).repeat(10, 1)
    outputs = describe_outputs(logits, model, torch.tensor([2, 3] * 5))
    calibration = outputs.calibration()
    assert calibration.bins["confidence"].tolist() == pytest.approx([0.06], abs=1e-6)
    assert calibration.ece == pytest.approx(0.44, abs=1e-6)
    with pytest.raises(ValueError, match="calibration needs labels"):
        describe_outputs(logits, model).calibration()
