"""Small tables, models and reference vectors for the tests."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from shipped import shipped_sample

from stockformer.checkpoint import load_checkpoint
from stockformer.explainability.faithfulness import curves
from stockformer.model import create_model
from stockformer.reports import explanation

VECTORS = Path(__file__).parent / "data"
BROWSER = Path(__file__).parent / "browser"

SMALL = {"d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 12, "market_layers": 1, "market_feature_dim": 3}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the browser tests, and run what takes longest first, so that parallel workers end together.

    After the browser tests and the slow ones come the files with the most tests.
    """
    tests = Counter(item.path for item in items)
    for item in items:
        if item.path.is_relative_to(BROWSER):
            item.add_marker(pytest.mark.browser)

    def place(item: pytest.Item) -> tuple[bool, bool, int]:
        browser, slow = (item.get_closest_marker(name) is None for name in ("browser", "slow"))
        return browser, slow, -tests[item.path]

    items.sort(key=place)


@pytest.fixture(autouse=True, scope="session")
def _single_thread():
    """Sums in one order, here and in processes that tests start, so that equal computations give equal bits."""
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(autouse=True, scope="session")
def _no_garbage_in_modules():
    """Keep full garbage collections from looking through all modules, which takes a tenth of the time."""
    gc.freeze()


@pytest.fixture(scope="session")
def undrawn() -> Callable[[], AbstractContextManager[None]]:
    """A context in which reports hold no pictures: drawing them takes most of the time."""

    @contextmanager
    def context() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(explanation, "render", lambda figure, dpi: plt.close(figure) or b"\x89PNG")
            yield

    return context


@pytest.fixture
def small_report(undrawn, few_orders) -> Iterator[None]:
    """Reports without pictures, with few random orders."""
    with undrawn():
        yield


@pytest.fixture
def few_orders(monkeypatch):
    """A tenth of the random orders that a ranking is compared with."""
    monkeypatch.setattr(curves, "_ORDERS", 20)


@pytest.fixture
def make_table() -> Callable[..., pd.DataFrame]:
    """A factory of random walks: prices, volumes and the features ``f0, f1, m0``."""

    def make(tickers: tuple[str, ...] = ("AAA", "BBB"), days: int = 40, seed: int = 0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        return pd.concat([_walk(rng, ticker, days) for ticker in tickers], ignore_index=True)

    return make


@pytest.fixture
def table(make_table) -> pd.DataFrame:
    return make_table()


@pytest.fixture
def make_model():
    """A factory of small models in eval mode with fixed weights: 5 stock, 3 market features."""

    def make(model_type="cross_attention", label_mode="binary", bucket_edges=None, seed=0, **cfg):
        torch.manual_seed(seed)
        return create_model(5, label_mode, bucket_edges, SMALL | cfg, model_type).eval()

    return make


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of 2 stock and market sequences of 6 and 7 days for `model`."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 6, 5, generator=generator), torch.randn(2, 7, 3, generator=generator)


@pytest.fixture(params=["cross_binary", "cross_coral_5", "encoder_regression"])
def vector(request):
    """A reference checkpoint: model, inputs and expected arrays."""
    model, _ = load_checkpoint(VECTORS / f"{request.param}.pt")
    with np.load(VECTORS / f"{request.param}.npz") as file:
        expected = {name: torch.from_numpy(file[name]) for name in file.files}
    return model, [expected[name] for name in ("x", "market_x") if name in expected], expected


@pytest.fixture(scope="session")
def sample():
    return shipped_sample()


def _walk(rng: np.random.Generator, ticker: str, days: int) -> pd.DataFrame:
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, days)))
    return pd.DataFrame(
        {
            "date": pd.bdate_range("2020-01-01", periods=days),
            "symbol": ticker,
            "open": close * rng.uniform(0.99, 1.01, days),
            "high": close * rng.uniform(1.01, 1.03, days),
            "low": close * rng.uniform(0.97, 0.99, days),
            "adjusted_close": close,
            "volume": rng.uniform(1e6, 2e6, days),
            "f0": rng.normal(3, 2, days),
            "f1": rng.normal(-1, 5, days),
            "m0": rng.normal(0, 1, days),
        }
    )
