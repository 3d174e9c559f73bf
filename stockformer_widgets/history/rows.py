"""Windows as rows of a table, a page at a time."""

from __future__ import annotations

from ipywidgets import HTML, Button, HBox, Layout, Widget

from stockformer.survey import history
from stockformer_widgets.components.window_table import WindowTable
from stockformer_widgets.history.part import Part

#: Rows of a page.
ROWS = 100


class Rows(Part):
    """The filtered windows in order, at the page of the session's window; a click on a row opens its window.

    A click on a header sorts, and shows the first page of that order.
    """

    content = ("measure", "against", "where")

    def _build(self) -> tuple[Widget, ...]:
        self.table = WindowTable(lambda: self._show(0), self._go)
        self.previous, self.next = _button("◀", "previous page", 36), _button("▶", "next page", 36)
        self.home = _button("selected window", "go to the page of the window on the screen", 140)
        self.previous.on_click(lambda button: self._show(self.page - 1))
        self.next.on_click(lambda button: self._show(self.page + 1))
        self.home.on_click(lambda button: self._go_home())
        self.place = HTML()
        row = [self.previous, self.place, self.next, self.home]
        return HBox(row, layout=Layout(flex_flow="row wrap", align_items="center")), self.table

    def _draw(self) -> None:
        """Forget the page: the mark chooses one of the new windows."""
        self.page = -1

    def _mark(self, window: int | None) -> None:
        self.table.selected = -1 if window is None else int(window)
        page = self._page_of(window)
        self.home.disabled = page is None
        visible = max(self.page, 0) if page is None else page
        if visible != self.page:
            self._fill(visible)

    def _page_of(self, window: int | None) -> int | None:
        """The page of a window; None if it is left out, or there is none."""
        if window is None:
            return None
        order, descending = self.table.order, self.table.descending
        place = history.place_in_order(self.survey, window, self.selection.where, order=order, descending=descending)
        return None if place is None else place // ROWS

    def _go_home(self) -> None:
        page = self._page_of(self.session.sample)
        if page is not None:
            self._show(page)

    def _show(self, page: int) -> None:
        with self.message.reporting():
            self._fill(page)

    def _fill(self, page: int) -> None:
        where, outputs = self.selection, [name for name in _OUTPUTS if name in self.survey.columns]
        frame = history.window_table(
            self.survey,
            [*outputs, where.measure, where.against],
            where.where,
            order=self.table.order,
            descending=self.table.descending,
            rows=ROWS,
            skip=page * ROWS,
        )
        self.page, first, total = page, page * ROWS, history.count(self.survey, where.where)
        self.table.fill(frame, self.survey.in_words)
        self.place.value = f"rows {first + 1:,} to {first + len(frame):,} of {total:,}" if total else "no row"
        self.previous.disabled, self.next.disabled = page == 0, first + len(frame) >= total

    def _go(self, window: int) -> None:
        with self.message.reporting():
            self.session.sample = window


_OUTPUTS = ("prediction", "label", "error")


def _button(words: str, tooltip: str, width: int) -> Button:
    return Button(description=words, tooltip=tooltip, layout=Layout(width=f"{width}px"))
