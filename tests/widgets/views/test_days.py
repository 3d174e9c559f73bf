"""Views by day: clicks and marks on the days of both sequences."""

from __future__ import annotations

import pytest
from cases import make_session, marker, mouse

from stockformer_widgets import GateHeatmap, GateTimeline, PoolingBars, Selection

#: Where a click lands on eight days, at and beyond the edges.
DAYS = [(2.5, 2), (0.0, 0), (2.999, 2), (7.0, 7), (8.0, 7), (-0.1, 0), (-1e6, 0), (1e6, 7)]


@pytest.mark.parametrize("kind", [GateTimeline, PoolingBars])
@pytest.mark.parametrize(("x", "day"), DAYS)
def test_a_click_selects_the_day(session, kind, x, day):
    view = kind(session, Selection(session, query=4, key=4))
    mouse(view.figure, "click", x, 0.3)
    assert (view.selection.query, view.selection.key) == (day, 4)
    assert marker(view) == [day + 0.5] * 2


def marked_day(view) -> float:
    return view.crosshair.x[0][0] if isinstance(view, GateHeatmap) else marker(view)[0]


@pytest.mark.parametrize("kind", [GateHeatmap, GateTimeline, PoolingBars])
@pytest.mark.parametrize(
    ("name", "query", "day"),
    [
        # Days of the market, the stock's days that they are: both end on the same one.
        ("market longer", 8, 5),
        ("market longer", 4, 1),
        ("market longer", 3, 0),
        ("market longer", 1, 0),
        ("stock longer", 5, 8),
        ("stock longer", 0, 3),
    ],
)
def test_a_selected_day_of_the_market_is_marked_among_the_stocks(kind, name, query, day):
    session = make_session(name)
    view = kind(session, Selection(session, kind="market", query=query))
    assert marked_day(view) == day + 0.5


@pytest.mark.parametrize("kind", [GateHeatmap, GateTimeline, PoolingBars])
@pytest.mark.parametrize(
    ("name", "day", "query"),
    [
        ("market longer", 5, 8),
        ("market longer", 0, 3),
        ("stock longer", 8, 5),
        ("stock longer", 3, 0),
        ("stock longer", 1, 0),
    ],
)
def test_a_click_selects_the_day_of_the_market_that_is_the_stocks(kind, name, day, query):
    session = make_session(name)
    view = kind(session, Selection(session, kind="market", query=2))
    mouse(view.figure, "click", day + 0.5, 0.1)
    assert view.selection.query == query
