"""A small survey, and its history beside a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from small_market import make_dataset, make_model

from stockformer.survey import survey
from stockformer_widgets import ExtractorSession, HistoryView

SECTORS = {"T0": "banks", "T1": "oil", "T2": "banks", "T3": "oil"}


@pytest.fixture(scope="package")
def surveyed(tmp_path_factory):
    """Model, dataset and survey of five tickers, four of them in sectors."""
    model, dataset = make_model(), make_dataset()
    folder = tmp_path_factory.mktemp("history") / "run"
    return model, dataset, survey(model, dataset, folder, sectors=SECTORS, progress=False)


@pytest.fixture
def session(surveyed) -> Iterator[ExtractorSession]:
    with ExtractorSession.from_dataset(surveyed[0], surveyed[1], 40) as session:
        yield session


@pytest.fixture
def view(surveyed, session) -> Iterator[HistoryView]:
    view = HistoryView(surveyed[2], session)
    yield view
    view.close()


@pytest.fixture
def click() -> Callable[..., None]:
    """A click on a figure, as the page sends it."""

    def send(figure, x: float, y: float) -> None:
        figure.interaction._handle_custom_msg({"event": "click", "domain": {"x": x, "y": y}}, [])

    return send


@pytest.fixture
def drag() -> Callable[..., None]:
    """Drag over a figure, as the page sends it: both ends on each axis of its brush."""

    def send(brush, *ends: tuple[float, float]) -> None:
        brush.brushing = True
        axes = ["selected_x", "selected_y"] if len(ends) == 2 else ["selected"]
        moved = {name: np.array(both) for name, both in zip(axes, ends, strict=True)}
        brush.set_state({name: brush.trait_metadata(name, "to_json")(value, brush) for name, value in moved.items()})
        brush.set_state({"brushing": False})

    return send
