"""Which measures a history shows of which windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ipywidgets import HTML, Button, Dropdown, Layout, Widget

from stockformer.survey import history
from stockformer.survey.context import REGIMES
from stockformer.survey.history import ALL
from stockformer.survey.words import named
from stockformer_widgets.components.drawing import MessageLine, text
from stockformer_widgets.controls.base import Controls
from stockformer_widgets.history.part import Part, choice
from stockformer_widgets.history.selection import BY, HistorySelection

#: The value of "all": a Dropdown takes None to mean that nothing is chosen.
_EVERY = ""
_CORRECT = {"right": True, "wrong": False}


class Filters(Controls):
    """Choices of measures, and of windows by ticker, sector, regime and outcome; the last choice of windows is undone
    by a button."""

    def __init__(self, selection: HistorySelection, message: MessageLine) -> None:
        super().__init__(message)
        self.selection = selection
        numeric = [(named(name), name) for name in selection.survey.numeric]
        self.measure, self.against = choice("measure", numeric), choice("against", numeric)
        self.by = choice("drawn", BY)
        self.ticker = _filter("ticker", selection.tickers)
        self.sector = _filter("sector", selection.sectors)
        self.regime = _filter("days", REGIMES)
        self.correct = choice("predictions", [("all", _EVERY), *_CORRECT.items()])
        self.undoing = _button("undo filter", "go back to the filter before")
        self.clearing = _button("all windows", "leave out nothing")
        self._measures = {"measure": self.measure, "by": self.by, "against": self.against}
        self._windows = {
            "ticker": self.ticker,
            "sector": self.sector,
            "regime": self.regime,
            "correct": self.correct,
        }
        self.sector.layout.display = None if selection.sectors else "none"
        self.correct.layout.display = None if "correct" in selection.survey.columns else "none"
        self.children = (*self._measures.values(), *self._windows.values(), self.undoing, self.clearing)
        for name, control in self._measures.items():
            self._on_change(control, partial(setattr, selection, name))
        for name, control in self._windows.items():
            self._on_change(control, partial(self._narrow, name))
        self._on_click(self.undoing, selection.undo)
        self._on_click(self.clearing, lambda: setattr(selection, "where", ALL))
        self._follow(selection)

    def _narrow(self, name: str, value: Any) -> None:
        self.selection.where = replace(self.selection.where, **{name: None if value == _EVERY else value})

    def _sync(self) -> None:
        with self._syncing():
            for name, control in self._measures.items():
                control.value = getattr(self.selection, name)
            for name, control in self._windows.items():
                value = getattr(self.selection.where, name)
                control.value = _EVERY if value is None else value
            self.undoing.disabled = not self.selection.can_undo
            self.clearing.disabled = self.selection.where == ALL


class Count(Part):
    """How many windows are left, and of which model."""

    content = ("where",)

    def _build(self) -> tuple[Widget, ...]:
        self.line = HTML()
        return (self.line,)

    def _draw(self) -> None:
        where = self.selection.where
        filtered = f" ({text(where.words)})" if where.words else ""
        self._words = f"<b>{history.count_words(self.survey, where)}</b>{filtered}"

    def _mark(self, window: int | None) -> None:
        unchanged = " of the model without the what-if" if self.session.change else ""
        self.line.value = f"{self._words}{unchanged}"


def _filter(description: str, names: Sequence[str]) -> Dropdown:
    return choice(description, [("all", _EVERY), *((name, name) for name in names)])


def _button(words: str, tooltip: str) -> Button:
    return Button(description=words, tooltip=tooltip, layout=Layout(width="auto"))
