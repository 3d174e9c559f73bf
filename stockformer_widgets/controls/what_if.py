"""The controls of the what-if: change gates, attention, heads or inputs, and see the effect."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pandas as pd
from ipywidgets import HTML, Button, DatePicker, Dropdown, Layout, SelectionRangeSlider, ToggleButton

from stockformer.explainability import kind_title
from stockformer.model import Forecaster
from stockformer_widgets.components.drawing import MessageLine, text
from stockformer_widgets.components.slider_names import SliderNames
from stockformer_widgets.controls.base import DEFAULT, Controls, offer, show, wide
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession

_UNCHANGED = "unchanged"
_GATES = {0.0: "0, closed", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1, open"}


class WhatIfControls(Controls):
    """Change the gate, the attention and the head that are selected, the market, or the inputs.

    Every control shows the change at the selected place, even one made from Python.
    """

    def __init__(self, session: ExtractorSession, selection: Selection, message: MessageLine) -> None:
        super().__init__(message)
        self.session, self.selection = session, selection
        self.place = HTML()
        self.gate = Dropdown(description="gate", **wide(92, 270))
        self.attention = Dropdown(description="attention", **wide(92, 270))
        self.head_off = ToggleButton(layout=Layout(width="270px"), tooltip="the head contributes nothing")
        self.market = DatePicker(
            description="market from", tooltip="read the market up to this day instead", **wide(92, 270)
        )
        self.features = Dropdown(description="set to mean", tooltip="set to the training mean", **wide(92, 270))
        self.days = SelectionRangeSlider(options=[0], description="days", continuous_update=False, **wide(32, 270))
        self.reset = Button(description="reset", layout=Layout(width="270px"))
        self.effect = HTML()
        self.children = (
            self.place,
            self.gate,
            self.attention,
            self.head_off,
            HTML("<b>inputs</b>"),
            self.market,
            self.features,
            self.days,
            self.reset,
            self.effect,
            SliderNames("on days, first", "on days, last"),
        )
        self._on_change(self.gate, self._set_gate)
        self._on_change(self.attention, self._set_attention)
        self._on_change(self.head_off, self._set_head)
        self._on_change(self.market, self._set_market)
        self._on_change(self.features, self._set_mean)
        self._on_change(self.days, self._set_days)
        self._on_click(self.reset, lambda: session.what_if())
        self._follow(session, selection)

    def _change(self, **fields: Any) -> None:
        self.session.what_if(**vars(replace(self.session.change, **fields)))

    def _set_gate(self, value: Any) -> None:
        gate = {layer: held for layer, held in self.session.change.gate.items() if layer != self.selection.layer}
        self._change(gate=gate if value == DEFAULT else gate | {self.selection.layer: value})

    def _set_attention(self, how: str) -> None:
        self._change(
            **{name: _with(self._places(name), self._attention(), wanted=name == how) for name in ("flat", "permuted")}
        )

    def _set_head(self, off: bool) -> None:
        self._change(heads_off=_with(self._places("heads_off"), (*self._attention(), self.selection.head), wanted=off))

    def _set_market(self, day: datetime.date | None) -> None:
        if day is not None and day.year < 1000:  # still being typed
            return
        window, dataset = self.session.reading.window, self.session.dataset
        if day is None or window is None or dataset is None:
            self._change(market_from=None)
        else:
            self._change(market_from=dataset.index_until(pd.Timestamp(day), window.ticker))

    def _set_mean(self, chosen: Any) -> None:
        if chosen == DEFAULT:
            self._change(features=(), days=None)
        else:
            self._change(features=chosen, days=self.days.value)

    def _set_days(self, span: tuple[int, int]) -> None:
        if self.features.value != DEFAULT:  # else they wait for a feature
            self._change(days=span)

    def _attention(self) -> tuple[str, int]:
        return self.selection.kind, self.selection.layer

    def _places(self, name: str) -> list[tuple[Any, ...]]:
        """The places that a field of the change names, each with its kind."""
        first = next(iter(self.session.original.capture.kinds))
        places = (one if isinstance(one, tuple) else (one,) for one in getattr(self.session.change, name))
        return [one if isinstance(one[0], str) else (first, *one) for one in places]

    def _sync(self) -> None:
        with self._syncing():
            self._sync_model()
            self._sync_inputs()
            self._sync_effect()

    def _sync_model(self) -> None:
        where, holds = self.selection, self.session.change
        self.place.value = f"<b>{text(kind_title(where.kind))}, layer {where.layer}</b>"
        gate = holds.gate.get(where.layer)
        values = sorted({*_GATES, *([] if gate is None else [gate])})
        offer(self.gate, values, gate, [_GATES.get(value, f"{value:g}") for value in values], default=_UNCHANGED)
        gated = where.kind == "cross" and where.layer < len(self.session.original.capture.gates)
        self.gate.layout.display = None if gated else "none"
        changed = [name for name in ("flat", "permuted") if self._attention() in self._places(name)]
        offer(self.attention, ["flat", "permuted"], changed[-1] if changed else None, default=_UNCHANGED)
        self.head_off.description = "choose a head to switch it off" if where.head is None else f"head {where.head} off"
        self.head_off.disabled = where.head is None
        self.head_off.value = (*self._attention(), where.head) in self._places("heads_off")

    def _sync_inputs(self) -> None:
        holds, session = self.session.change, self.session
        self._sync_market(holds.market_from)
        chosen = tuple(holds.features) if holds.features or holds.days else None
        names = chain.from_iterable(session.feature_names)
        groups = dict.fromkeys([(), *((name,) for name in names), *([] if chosen is None else [chosen])])
        words = [", ".join(group) or "every feature" for group in groups]
        offer(self.features, list(groups), chosen, words, default="none")
        length = session.original.inputs[0].size(1)
        every = 0, length - 1
        waiting = self.days.value if len(self.days.options) == length else every
        span = waiting if chosen is None else holds.days or every
        offer(self.days, range(length), span, session.original.days(length))

    def _sync_market(self, index: int | None) -> None:
        dataset = self.session.dataset
        has_market = dataset is not None and dataset.market_feature_cols is not None
        show(self.market, has_market)
        if dataset is None or not has_market:
            return
        self.market.value = None if index is None else dataset.end_dates[index].date()

    def _sync_effect(self) -> None:
        change = self.session.change
        self.reset.disabled = not change
        self.reset.tooltip = "the model as it is" if change else "nothing is changed"
        known = isinstance(self.session.model, Forecaster)
        self.effect.value = text(self.session.effect().verdict) if change and known else ""


def _with(places: Sequence[tuple[Any, ...]], place: tuple[Any, ...], *, wanted: bool) -> tuple[tuple[Any, ...], ...]:
    others = tuple(one for one in places if one != place)
    return (*others, place) if wanted else others
