"""Random draws of this package leave the random states of torch and numpy where they were."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from stockformer.dataset import StockDataset
from stockformer.explainability import (
    attribute,
    capture_attention,
    compare_groups,
    measure_faithfulness,
    randomisation_check,
    trace_attention,
)
from stockformer.explainability.faithfulness.rankings import CELL_RANKINGS
from stockformer.outputs import analyze_output_distribution
from stockformer.sample import load_sample
from stockformer.seeding import seeded
from stockformer.training import fit
from stockformer_widgets import AttentionExplorer, ExtractorSession


def states() -> bytes:
    return torch.get_rng_state().numpy().tobytes() + pickle.dumps(np.random.get_state())  # noqa: NPY002


def test_draws_are_the_same_inside_and_untouched_outside():
    def draw() -> tuple[list[float], list[float]]:
        return torch.rand(3).tolist(), np.random.rand(3).tolist()  # noqa: NPY002

    before = states()
    with seeded(3):
        first = draw()
    assert states() == before
    with seeded(3):
        assert draw() == first
    with pytest.raises(KeyboardInterrupt), seeded(3):
        raise KeyboardInterrupt
    assert states() == before


def test_devices_that_start_later_are_not_seeded(monkeypatch):
    queued = []
    monkeypatch.setattr(torch.cuda.random, "_lazy_call", lambda *call, **options: queued.append(call))
    with seeded(3):
        pass
    assert queued == []


@pytest.mark.parametrize("method", ["integrated_gradients", "smooth_grad", "gradient_shap", "shapley_sampling"])
def test_attributions_draw_from_their_own(model, inputs, method):
    before = states()
    attribute(model, *(part[:1] for part in inputs), method=method, groups="feature")
    assert states() == before


def test_explanations_draw_from_their_own(model, inputs):
    one, before = [part[:1] for part in inputs], states()
    capture_attention(model, *inputs)
    trace_attention(model, *one)
    measure_faithfulness(model, [one], {"gradient": CELL_RANKINGS["gradient"]})
    randomisation_check(model, [one], ["gradient"])
    assert states() == before


def test_training_and_runs_over_a_dataset_draw_from_their_own(table):
    before = states()
    dataset = StockDataset(table, ["f0", "f1"], market_feature_cols=["m0"], lookback=5)
    sizes = {"d_model": 4, "nhead": 2, "num_layers": 1, "dim_feedforward": 4, "market_layers": 1}
    first = fit(dataset, sizes, epochs=1).model
    assert states() == before
    torch.rand(1)
    again = fit(dataset, sizes, epochs=1).model
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    before = states()
    analyze_output_distribution(first, dataset, progress=False)
    half = np.arange(len(dataset)) < len(dataset) // 2
    compare_groups(first, dataset, np.flatnonzero(half), np.flatnonzero(~half), resamples=3)
    with ExtractorSession.from_dataset(first, dataset) as session:
        session.find("most confident")
    assert states() == before


def test_the_sample_and_an_explorer_draw_from_their_own():
    before = states()
    dataset, model = load_sample()
    with ExtractorSession.from_dataset(model, dataset, 0) as session, AttentionExplorer(session):
        pass
    assert states() == before
