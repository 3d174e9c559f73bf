"""The head grid without a browser: what it sends, selects and says."""

from __future__ import annotations

import numpy as np
import pytest
from cases import in_percent, lines

from stockformer_widgets import HeadGrid, Selection


def send(view: HeadGrid, event: str, cell: dict[str, int] | None) -> None:
    """A message as the page sends it."""
    view.grid._handle_custom_msg({"event": event, "cell": cell}, [])


@pytest.fixture
def view(session) -> HeadGrid:
    return HeadGrid(session, Selection(session, kind="self"))


def test_what_is_sent_is_the_maps_of_the_kind(session, view):
    for kind in ("cross", "self", "market"):
        view.selection.kind = kind
        layers = [maps[0].numpy() for maps in session.reading.capture.kinds[kind]]
        shown = np.frombuffer(view.grid.codes, np.uint8).reshape(len(layers), *layers[0].shape) / 254
        largest = np.array([one["largest"] for one in view.grid.maps]).reshape(len(layers), -1, 1, 1)
        np.testing.assert_allclose(shown * largest, np.stack(layers), atol=float(np.max(layers)) / 500)


def test_nothing_is_sent_again_for_another_selection(view):
    codes = view.grid.codes
    view.selection.layer = 1
    view.selection.query = 2
    assert view.grid.codes is codes
    assert (view.grid.layer, view.grid.head) == (1, None)


def test_a_click_selects_all_at_once(session, view):
    heard = []
    view.selection.observe(lambda change: heard.append(change["name"]))
    send(view, "click", {"layer": 1, "head": 0, "query": 3, "key": 6})
    where = view.selection
    assert (where.layer, where.head, where.query, where.key) == (1, 0, 3, 6)
    assert sorted(heard) == ["head", "key", "layer", "query"]
    weight = float(session.reading.capture.map("self", 1, 0)[3, 6])
    days = session.reading.days(8)
    said = f"layer 1, head 0, query {days[3]}, key {days[6]}, weight {in_percent(weight, 8)}, diffuseness "
    assert "\n".join(lines(view)).startswith(said)


def test_the_mouse_reads_out_and_leaves(session, view):
    before = "\n".join(lines(view))
    send(view, "hover", {"layer": 0, "head": 1, "query": 2, "key": 0})
    weight = float(session.reading.capture.map("self", 0, 1)[2, 0])
    assert f"weight {in_percent(weight, 8)}," in "\n".join(lines(view))
    send(view, "hover", None)
    assert "\n".join(lines(view)) == before


def test_a_message_about_what_is_gone_says_so_and_changes_nothing(view):
    send(view, "click", {"layer": 7, "head": 0, "query": 0, "key": 0})
    assert "out of range" in view.message.value
    assert view.selection.layer == 0
