"""The table of windows: pages, order, and the session's window."""

from __future__ import annotations

import pytest

from stockformer.survey.history import Filter
from stockformer_widgets.history import rows


@pytest.fixture(autouse=True)
def short_pages(monkeypatch):
    monkeypatch.setattr(rows, "ROWS", 30)


def in_order(view, *columns: str, ascending: bool = True) -> list[int]:
    """The windows that are left, sorted by pandas."""
    frame = view.to_frame().sort_values([*columns, "window"], ascending=[ascending] * len(columns) + [True])
    return list(frame["window"])


def test_headers_sort(view):
    view.rows.table._handle_custom_msg({"sort": "error"}, [])
    errors = view.survey.to_frame()["error"].sort_values()
    assert view.rows.table.rows[0][view.rows.table.names.index("error")] == f"{errors.iloc[0]:#.3g}"
    view.rows.table._handle_custom_msg({"sort": "error"}, [])
    assert view.rows.table.rows[0][view.rows.table.names.index("error")] == f"{errors.iloc[-1]:#.3g}"
    assert view.rows.table.descending


def test_the_page_is_that_of_the_session_s_window(view, session):
    expected = in_order(view, "date")
    for sample in (40, 399, 0):
        session.sample = sample
        page = expected.index(sample) // 30
        assert list(view.rows.table.windows) == expected[30 * page : 30 * page + 30]
        assert view.rows.table.selected == sample
        assert view.rows.place.value == f"rows {30 * page + 1} to {min(30 * page + 30, 400)} of 400"


@pytest.mark.parametrize("presses", [1, 2])
@pytest.mark.parametrize("column", ["market_share", "ticker", "regime", "label"])
def test_pages_of_any_order_hold_every_window_once(view, session, column, presses):
    view.selection.measure, view.selection.against = "label", "market_share"
    for _ in range(presses):
        view.rows.table.names = [*view.rows.table.names, "regime"]
        view.rows.table._handle_custom_msg({"sort": column}, [])
    expected = in_order(view, column, ascending=presses == 1)
    pages = [list(view.rows.table.windows)]
    assert view.rows.previous.disabled
    while not view.rows.next.disabled:
        view.rows.next.click()
        pages.append(list(view.rows.table.windows))
    assert [len(page) for page in pages] == [30] * 13 + [10]
    assert [window for page in pages for window in page] == expected
    view.rows.previous.click()
    assert list(view.rows.table.windows) == pages[-2]
    view.rows.home.click()
    assert session.sample in view.rows.table.windows


def test_a_window_that_the_filter_leaves_out_is_on_no_page(view, session):
    view.selection.where = Filter(ticker="T3" if view.survey.to_frame()["ticker"][40] != "T3" else "T2")
    assert view.rows.home.disabled
    assert view.rows.place.value == "rows 1 to 30 of 80"
    view.selection.undo()
    assert not view.rows.home.disabled
    assert 40 in view.rows.table.windows
