"""Sessions for the tests of the widgets, and how often views draw."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
from cases import ALL_VIEWS, make_session

from stockformer_widgets import ExtractorSession


@pytest.fixture
def session() -> ExtractorSession:
    """A small model with every view, on sample 5 of a dataset of 2 x 20 windows of 8 days."""
    with make_session() as made:
        yield made


@pytest.fixture
def large(sample) -> ExtractorSession:
    """The shipped model, 4 layers of 8 heads and 48 dimensions, on a window of 60 days with 41 + 11 features."""
    dataset, model = sample
    with ExtractorSession.from_dataset(model, dataset, index=10) as made:
        yield made


@pytest.fixture
def draws(monkeypatch) -> Counter:
    """Class of a view -> how often such views drew."""
    counted = Counter()

    def counting(kind, draw):
        def counting_draw(self):
            counted[kind] += 1
            draw(self)

        return counting_draw

    for kind in ALL_VIEWS:
        monkeypatch.setattr(kind, "_draw", counting(kind, kind._draw))
    return counted


@pytest.fixture(autouse=True)
def no_running_loop():
    """The browser tests, where they ran before, leave Playwright's event loop running in this thread."""
    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    yield
    asyncio._set_running_loop(running)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """Figures of tests that look at a view's picture."""
    yield
    plt.close("all")
