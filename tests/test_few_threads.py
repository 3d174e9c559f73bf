"""Small models run in one thread, and the caller's setting stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.explainability import analyze_output_distribution, compare_groups
from stockformer.threads import few_threads
from stockformer.training import fit


@pytest.fixture(autouse=True)
def _three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def dataset(make_table):
    columns = {"feature_cols": ["f0", "f1"], "market_feature_cols": ["m0"], "target_col": "close_1d_fwd_return"}
    return StockDataset(make_table(days=60), **columns, lookback=5, label_mode="binary")


@pytest.fixture
def passes(monkeypatch):
    """In how many threads each linear layer ran."""
    seen = []
    forward = nn.Linear.forward

    def counted(self, x):
        seen.append(torch.get_num_threads())
        return forward(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    return seen


TINY = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8, "market_layers": 1}


@pytest.mark.parametrize(("parameters", "threads"), [(10, 1), (5_000_000, 3)])
def test_a_large_model_keeps_its_threads(parameters, threads):
    model = nn.Linear(parameters, 1, device="meta")
    with few_threads(model):
        assert torch.get_num_threads() == threads
        with few_threads(model):
            pass
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 3


def test_an_error_leaves_the_setting():
    with pytest.raises(KeyError), few_threads(nn.Linear(1, 1)):
        raise KeyError
    assert torch.get_num_threads() == 3


def test_training_scans_and_comparisons(dataset, passes):
    model = fit(dataset, TINY, epochs=1).model
    works = [lambda: analyze_output_distribution(model, dataset, [0, 1], progress=False)]
    works.append(lambda: compare_groups(model, dataset, np.arange(5), np.arange(5, 10), resamples=20))
    assert set(passes) == {1}
    for work in works:
        passes.clear()
        work()
        assert set(passes) == {1}
        assert torch.get_num_threads() == 3


def test_training_is_the_same_in_any_number_of_threads(dataset):
    models = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        models.append(fit(dataset, TINY, epochs=1).model.state_dict())
    assert all(torch.equal(models[0][name], values) for name, values in models[1].items())


def test_training_tells_its_progress_by_batch(dataset, capsys):
    fit(dataset, TINY, epochs=2, batch_size=16)
    shown = capsys.readouterr().err
    assert "epoch 2 of 2" in shown
    assert "batch/s" in shown
