"""Fixtures of surveys."""

from __future__ import annotations

import pytest
from small_market import make_dataset, make_model
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.survey import run


@pytest.fixture
def dataset() -> StockDataset:
    return make_dataset()


@pytest.fixture
def model() -> nn.Module:
    return make_model()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of 50 windows."""
    monkeypatch.setattr(run, "CHUNK", 50)
