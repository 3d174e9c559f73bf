"""What explanations measure inputs from, on a checkpoint whose market features are read raw.

The training means are taken here from the rows of the windows, and the curves one point at a time.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stockformer import open_model
from stockformer.__main__ import main
from stockformer.explainability import (
    CELL_RANKINGS,
    DAY_RANKINGS,
    attribute,
    choose_target,
    compute_input_saliency,
    measure_faithfulness,
    randomisation_check,
    training_windows,
)
from stockformer.explainability.faithfulness import curves as faithfulness
from stockformer.explainability.faithfulness.rankings import LinearFormula, rank_by_size
from stockformer.explainability.faithfulness.result import FRACTIONS
from stockformer.inputs import Inputs
from stockformer.reports import explanation, sections
from stockformer.reports import faithfulness as faithfulness_report
from stockformer_widgets import ExtractorSession
from stockformer_widgets.state import explanations as explaining

FOLDER = Path(__file__).parents[1] / "data" / "trained_elsewhere"
CHECKPOINT, CSV = FOLDER / "cross_bin_3d.pt", FOLDER / "all_data_0.csv.xz"


@pytest.fixture(scope="module")
def opened():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        dataset, model = open_model(CHECKPOINT, CSV)
    model.eval()
    return dataset, model


@pytest.fixture(scope="module")
def windows(opened):
    """The first window and the last, of two tickers whose means differ."""
    dataset, _ = opened
    found = [dataset.window(index) for index in (0, len(dataset) - 1)]
    assert found[0].ticker != found[1].ticker
    return found


@pytest.fixture(scope="module")
def means(opened, windows):
    """Of each window the input at its ticker's training mean: 0 of the stock, the mean over the days of the market."""
    dataset, _ = opened
    found = []
    for window in windows:
        by_day = {}
        for one in map(dataset.window, range(0, len(dataset), 20)):  # fewer days apart than a window has
            if one.ticker == window.ticker:
                by_day.update(zip(one.dates, one.market_x.double(), strict=True))
        mean = torch.stack([row for date, row in by_day.items() if date <= dataset.train_end]).mean(dim=0)
        found.append((torch.zeros_like(window.x)[None], mean.float().expand_as(window.market_x)[None]))
    return found


def target_of(model, inputs):
    with torch.no_grad():
        return choose_target(model, model(*inputs))


def value_at(model, target, inputs):
    with torch.no_grad():
        return float(target(model(*inputs)))


def by_hand(model, inputs, mean, scores):
    """The target while cells are moved to the mean in the order of the scores, and while they are put back."""
    target, curves = target_of(model, inputs), np.empty((2, len(FRACTIONS)))
    cells, goal, order = (torch.cat([part.flatten() for part in parts]) for parts in (inputs, mean, scores))
    if value_at(model, target, inputs) < value_at(model, target, mean):
        target = target.turned()
    movable = torch.nonzero(cells != goal).flatten()
    order = movable[order[movable].argsort(descending=True)]
    for number, fraction in enumerate(FRACTIONS):
        first = order[: round(fraction * len(order))]
        for kind, (start, other) in enumerate(((cells, goal), (goal, cells))):
            moved = start.clone()
            moved[first] = other[first]
            parts = torch.split(moved, [part.numel() for part in inputs])
            shaped = [part.view_as(like) for part, like in zip(parts, inputs, strict=True)]
            curves[kind, number] = value_at(model, target, shaped)
    return curves


def test_curves_go_to_the_target_at_the_training_mean(opened, windows, means):
    """Where all is deleted, and before anything is put back, the target is that of the mean, also between the ends."""
    _, model = opened
    scores = [torch.rand(part.shape[1:], generator=torch.Generator().manual_seed(8)) for part in windows[0].inputs]
    for window, mean in zip(windows, means, strict=True):
        expected = by_hand(model, window.inputs, mean, scores)
        found = measure_faithfulness(model, [window.inputs], {"mine": lambda *given: scores})
        curves = found.curves.pivot(index="fraction", columns=["ranking", "kind"], values="value")["mine"]
        at_mean, at_sample = expected[0, -1], expected[0, 0]
        target = target_of(model, window.inputs)
        assert abs(at_mean) == pytest.approx(abs(value_at(model, target, mean)), abs=1e-5)
        for kind, values in zip(("deletion", "insertion"), expected, strict=True):
            np.testing.assert_allclose(curves[kind], (values - at_mean) / (at_sample - at_mean), atol=1e-3)


def test_every_ranking_measures_from_the_mean(opened, windows, means):
    dataset, model = opened
    formula = LinearFormula(training_windows(dataset)[::16])
    weights = None
    for window, mean in zip(windows, means, strict=True):
        target = target_of(model, window.inputs)
        distance = [part[0] - at[0] for part, at in zip(window.inputs, mean, strict=True)]
        for part, apart in zip(rank_by_size(model, window.inputs, target), distance, strict=True):
            torch.testing.assert_close(part, apart.abs())
        plain = [torch.ones_like(part)[None] for part in distance]
        weights = formula(model, plain, target) if weights is None else weights
        for part, apart, weight in zip(formula(model, window.inputs, target), distance, weights, strict=True):
            torch.testing.assert_close(part, apart * weight * target.sign, rtol=1e-4, atol=1e-6)
        gradient = attribute(model, *window.inputs, method="gradient", target=target).parts
        expected = {
            "input_x_gradient": [part * apart for part, apart in zip(gradient, distance, strict=True)],
            "occlusion": attribute(model, *window.inputs, method="occlusion", target=target, baselines=mean).parts,
        }
        for method, parts in expected.items():
            ranked = CELL_RANKINGS[method](model, window.inputs, target)
            for part, wanted in zip(ranked, parts, strict=True):
                torch.testing.assert_close(part, wanted, rtol=1e-3, atol=1e-4)
        days = DAY_RANKINGS["occlusion"](model, window.inputs, target)
        by_day = attribute(model, *window.inputs, method="occlusion", target=target, baselines=mean, groups="day").parts
        for part, wanted in zip(days, by_day, strict=True):
            torch.testing.assert_close(part, wanted.sum(dim=-1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("known", [True, False])
def test_attribute_measures_from_the_mean_that_a_window_knows(opened, windows, means, known):
    """Tensors that know none, as those of ``dataset[0]``, are measured from 0."""
    dataset, model = opened
    x, _, market_x = dataset[0]
    inputs = windows[0].inputs if known else (x[None], market_x[None])
    base = means[0] if known else tuple(torch.zeros_like(part) for part in inputs)
    distance = [part - at for part, at in zip(inputs, base, strict=True)]
    found = attribute(model, *inputs, method="occlusion")
    assert found.reference == pytest.approx(value_at(model, found.target, base), abs=1e-5)
    for compute in (attribute, partial(compute_input_saliency, absolute=False, target_class=0)):
        slopes, parts = (compute(model, *inputs, method=name) for name in ("gradient", "input_x_gradient"))
        if compute is attribute:
            slopes, parts = slopes.parts, parts.parts
        for part, slope, far in zip(parts, slopes, distance, strict=True):
            torch.testing.assert_close(part, far[0] * slope, rtol=1e-4, atol=1e-6)


def test_the_market_share_of_a_session_is_of_distances_from_the_mean(opened, windows, means):
    dataset, model = opened
    inputs = windows[0].inputs
    slopes = attribute(model, *inputs, method="gradient").parts
    sizes = [((part - at)[0] * slope).abs().sum() for part, at, slope in zip(inputs, means[0], slopes, strict=True)]
    with ExtractorSession.from_dataset(model, dataset, 0) as session:
        assert session.measures()["market share"] == pytest.approx(float(sizes[1] / sum(sizes)), rel=1e-4)


def test_random_weights_are_compared_from_the_mean(opened, windows, means):
    """By default from the mean that a window knows, and from 0 where it knows none."""
    _, model = opened
    inputs, options = windows[0].inputs, {"methods": ["occlusion"], "models": 1}
    found = randomisation_check(model, [inputs], **options)
    expected = randomisation_check(model, [inputs], **options, baselines=means[0])
    other = randomisation_check(model, [[part.clone() for part in inputs]], **options)
    np.testing.assert_allclose(found[["signed", "absolute"]], expected[["signed", "absolute"]], atol=1e-3)
    assert not np.allclose(found["signed"], other["signed"], atol=1e-3)


def test_a_session_checks_the_numbers_that_it_draws(opened, windows, means, monkeypatch):
    """Every window from its own mean, also that of another ticker than the sample's; a chosen baseline for its kind."""
    dataset, model = opened
    methods = ("input_x_gradient", "occlusion")
    monkeypatch.setattr(explaining, "METHODS", methods)
    monkeypatch.setattr(explaining, "training_windows", lambda dataset: [])
    monkeypatch.setattr(faithfulness, "_ORDERS", 80)
    with ExtractorSession.from_dataset(model, dataset, 0) as session:
        over = session.explanations.check(windows=2)
        for number, (window, mean) in enumerate(zip(windows, means, strict=True)):
            target = target_of(model, window.inputs)
            if value_at(model, target, window.inputs) < value_at(model, target, mean):
                target = target.turned()
            moved = torch.cat([(part != at).flatten() for part, at in zip(window.inputs, mean, strict=True)])
            for method in methods:
                parts = attribute(model, *window.inputs, method=method, target=target, baselines=mean).parts
                wanted = torch.cat([part.flatten() for part in parts])[moved]
                np.testing.assert_allclose(over.scores[method][number], wanted, rtol=1e-3, atol=1e-4)
        alone = session.explanations.check()
        for session.explanations.method in methods:
            drawn = torch.cat([part.flatten() for part in session.explanations.saliency()])
            cells = torch.cat([part.flatten() for part in windows[0].inputs.distance]) != 0
            sign = np.sign(alone.scores[session.explanations.method][0] @ drawn[cells].double().numpy())
            np.testing.assert_allclose(
                alone.scores[session.explanations.method][0], sign * drawn[cells].numpy(), rtol=1e-5
            )
        from_mean = {}
        for session.explanations.method in methods:
            from_mean[session.explanations.method] = session.explanations.saliency()
        session.explanations.baseline = "calm window"
        for session.explanations.method in methods:
            same = all(map(torch.equal, session.explanations.saliency(), from_mean[session.explanations.method]))
            assert same == (session.explanations.method == "input_x_gradient")


def test_the_page_of_the_command_line_measures_from_the_mean(opened, windows, means, tmp_path, monkeypatch):
    _, model = opened
    monkeypatch.setattr(faithfulness_report, "CELL_RANKINGS", {"mine": without_ties})
    monkeypatch.setattr(faithfulness_report, "DAY_RANKINGS", {"pooling": DAY_RANKINGS["pooling"]})
    monkeypatch.setattr(faithfulness_report, "training_windows", lambda dataset: [])
    monkeypatch.setattr(faithfulness, "_ORDERS", 60)
    monkeypatch.setattr(faithfulness_report, "_checks", lambda *given: [])
    table = tmp_path / "table.csv"
    call = ["faithfulness", str(CHECKPOINT), str(CSV), "--windows", "2", "--out", str(tmp_path / "page.md")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert main([*call, "--table", str(table)]) == 0
    moved, scale = np.zeros((2, len(FRACTIONS))), 0.0
    for window, mean in zip(windows, means, strict=True):
        curves = by_hand(model, window.inputs, mean, without_ties(model, window.inputs, None))
        moved += curves - curves[0, -1]
        scale += curves[0, 0] - curves[0, -1]
    row = pd.read_csv(table).query("unit == 'cell' and removal == 'training mean'").set_index("ranking").loc["mine"]
    areas = np.trapezoid(moved / scale, FRACTIONS)
    np.testing.assert_allclose(row[["deletion", "insertion"]].astype(float), areas, atol=1e-3)


def test_a_report_attributes_and_measures_from_the_mean(opened, windows, means, tmp_path, monkeypatch):
    samples, bases = [], []

    def left_out(model, *given, **options):
        samples.extend(given[0] if isinstance(given[0], list) else [])
        raise ValueError("left out here")

    def recorded(model, *inputs, baselines=None, **options):
        bases.append(baselines)
        return attribute(model, *inputs, method="gradient")

    monkeypatch.setattr(sections, "faithfulness_steps", left_out)
    monkeypatch.setattr(sections, "trace_attention", left_out)
    monkeypatch.setattr(sections, "attribute", recorded)
    monkeypatch.setattr(sections, "_attention_section", lambda *given: sections.Section("Attention", "", [], {}))
    monkeypatch.setattr(explanation, "render", lambda *given: b"")
    window = windows[1]
    call = ["report", str(CHECKPOINT), str(CSV), "--ticker", window.ticker, "--date", str(window.dates[-1].date())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        assert main([*call, "--out", str(tmp_path)]) == 0
    ((sample,), (base,)) = samples, bases
    for parts in (sample.baseline, base):
        for part, mean in zip(parts, means[1], strict=True):
            torch.testing.assert_close(part, mean)


def without_ties(model, inputs, target):
    """A ranking without equal scores."""
    return [torch.rand(part.shape[1:], generator=torch.Generator().manual_seed(5)) for part in inputs]


def test_inputs_know_their_mean_and_are_a_tuple(windows):
    inputs = windows[0].inputs
    for again in (Inputs(inputs), copy.deepcopy(inputs), pickle.loads(pickle.dumps(inputs)), inputs.to(inputs[0])):
        assert all(map(torch.equal, again, inputs))
        assert all(map(torch.equal, again.baseline, inputs.baseline))
    assert inputs.baseline[1].any()
    assert all(map(torch.equal, Inputs(tuple(inputs)).baseline, inputs.baseline))
    own = [part.clone() for part in inputs]
    Inputs(own, inputs.baseline)
    assert not any(mean.any() for mean in Inputs(own).baseline)
    assert inputs.to(torch.zeros(1, dtype=torch.float64)).baseline[1].dtype == torch.float64
