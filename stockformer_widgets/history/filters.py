"""The controls of a history: which measures it shows, and of which windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ipywidgets import HTML, Button, Dropdown, FloatRangeSlider, Layout, Widget

from stockformer.survey import history
from stockformer.survey.context import REGIMES
from stockformer.survey.history import ALL
from stockformer.survey.words import in_percent, named
from stockformer_widgets.components.drawing import MessageLine, set_traits, text
from stockformer_widgets.components.slider_names import SliderNames
from stockformer_widgets.controls.base import Controls
from stockformer_widgets.history.part import Part, choice
from stockformer_widgets.history.selection import BY, HistorySelection

#: The value of "all": a Dropdown takes None to mean that nothing is chosen.
_EVERY = ""
#: Steps of an arrow key from one end of a slider to the other.
_STEPS = 200
_CORRECT = {"right": True, "wrong": False}


class Filters(Controls):
    """Choices of measures, and of windows by ticker, sector, regime, outcome and the values of both measures; a button
    undoes the last choice of windows."""

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
        self.undoing = _button("undo filter", "go back to the previous filter")
        self.clearing = _button("all windows", "remove all filters")
        self.ranges = {axis: _range() for axis in ("measure", "against")}
        self._slider_names = SliderNames()
        self._measures = {"measure": self.measure, "by": self.by, "against": self.against}
        self._windows = {
            "ticker": self.ticker,
            "sector": self.sector,
            "regime": self.regime,
            "correct": self.correct,
        }
        self.sector.layout.display = None if selection.sectors else "none"
        self.correct.layout.display = None if "correct" in selection.survey.columns else "none"
        windows = *self._windows.values(), *self.ranges.values()
        self.children = (*self._measures.values(), *windows, self.undoing, self.clearing, self._slider_names)
        for name, control in self._measures.items():
            self._on_change(control, partial(setattr, selection, name))
        for name, control in self._windows.items():
            self._on_change(control, partial(self._narrow, name))
        for axis, slider in self.ranges.items():
            self._on_change(slider, partial(self._limit, axis))
        self._on_click(self.undoing, selection.undo)
        self._on_click(self.clearing, lambda: setattr(selection, "where", ALL))
        self._follow(selection)

    def _narrow(self, name: str, value: Any) -> None:
        chosen: dict[str, Any] = {name: None if value == _EVERY else value}
        self.selection.where = replace(self.selection.where, **chosen)

    def _limit(self, axis: str, ends: tuple[float, float]) -> None:
        """Filter by both ends of a slider; at the slider's own ends any value is left, even a missing one."""
        measure = getattr(self.selection, axis)
        span, unit = self._span(measure), _unit(measure)
        near = self.ranges[axis].step / unit / 2  # the page rounds the ends, which windows have as their values
        low, high = (own if abs(end / unit - own) < near else end / unit for end, own in zip(ends, span, strict=True))
        chosen = None if (low, high) == span else (low, high)
        self.selection.where = self.selection.where.limited({measure: chosen})

    def _sync(self) -> None:
        with self._syncing():
            for name, control in self._measures.items():
                control.value = getattr(self.selection, name)
            for name, control in self._windows.items():
                value = getattr(self.selection.where, name)
                control.value = _EVERY if value is None else value
            for axis, slider in self.ranges.items():
                self._offer_range(slider, getattr(self.selection, axis))
            measures = [slider.description for slider in self.ranges.values()]
            self._slider_names.names = [f"{name}, {end}" for name in measures for end in ("from", "to")]
            self.undoing.disabled = not self.selection.can_undo
            self.clearing.disabled = self.selection.where == ALL

    def _offer_range(self, slider: FloatRangeSlider, measure: str) -> None:
        """Offer the values of a measure, and show which of them are left."""
        span, unit = self._span(measure), _unit(measure)
        left = {one.measure: (one.low, one.high) for one in self.selection.where.ranges}
        least, most = (unit * end for end in span)
        low, high = (unit * end for end in left.get(measure, span))
        name = named(measure) + (", %" if unit > 1 else "")
        with slider.hold_trait_notifications():
            set_traits(slider, min=least, max=most, step=(most - least) / _STEPS, value=(low, high), description=name)

    def _span(self, measure: str) -> tuple[float, float]:
        return history.span(self.selection.survey, measure) or (0.0, 1.0)


class Count(Part):
    """The number of windows that the filter leaves, and their model."""

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


def _range() -> FloatRangeSlider:
    look = {"style": {"description_width": "auto"}, "layout": Layout(width="320px", margin="2px 12px 2px 2px")}
    return FloatRangeSlider(continuous_update=False, readout_format=".3g", **look)


def _unit(measure: str) -> float:
    """What a slider multiplies the values of a measure by."""
    return 100.0 if in_percent(measure) else 1.0


def _button(words: str, tooltip: str) -> Button:
    return Button(description=words, tooltip=tooltip, layout=Layout(width="auto"))
