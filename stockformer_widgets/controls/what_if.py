"""The controls of the what-if: change gates, attention, heads or inputs, and see the effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ipywidgets import HTML, Button, Dropdown, IntRangeSlider, Layout, Text, ToggleButton

from stockformer_widgets.components.drawing import MessageLine, text
from stockformer_widgets.controls.selectors import DEFAULT, Controls, offer, wide
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession

_AS_IT_IS = "as it is"
_GATES = {0.0: "0, closed", 0.25: "0.25", 0.5: "0.5", 0.75: "0.75", 1.0: "1, open"}


class WhatIfControls(Controls):
    """Change the gate, the attention and the head that are selected, the market, or the inputs; undo.

    Every control shows the change at the selected place, even one made from Python.
    """

    def __init__(self, session: ExtractorSession, selection: Selection, message: MessageLine) -> None:
        super().__init__(message)
        self.session, self.selection = session, selection
        self.place = HTML()
        self.gate = Dropdown(description="gate", **wide(32, 130))
        self.attention = Dropdown(description="attention", **wide(60, 165))
        self.head_off = ToggleButton(layout=Layout(width="90px"), tooltip="the head contributes nothing")
        self.market = Text(description="market of", placeholder="this sample", continuous_update=False, **wide(72, 166))
        self.features = Dropdown(description="at their mean", **wide(98, 240))
        span = (0, _last_day(session))
        self.days = IntRangeSlider(
            min=0, max=span[1], value=span, description="on days", continuous_update=False, **wide(60, 240)
        )
        self.undo = Button(description="undo", tooltip="take the last change back", layout=Layout(width="60px"))
        self.reset = Button(description=_AS_IT_IS, tooltip="the model as it is", layout=Layout(width="76px"))
        self.children = (
            self.place,
            self.gate,
            self.attention,
            self.head_off,
            self.market,
            self.features,
            self.days,
            self.undo,
            self.reset,
        )
        self._on_change(self.gate, self._set_gate)
        self._on_change(self.attention, self._set_attention)
        self._on_change(self.head_off, self._set_head)
        self._on_change(self.market, self._set_market)
        self._on_change(self.features, self._set_mean)
        self._on_change(self.days, self._set_days)
        self._on_click(self.undo, lambda: session.undo())
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

    def _set_market(self, index: str) -> None:
        if index.strip() and not index.strip().isdecimal():
            raise ValueError(f"the market is that of another sample: expected its index, found {index!r}")
        self._change(market_from=int(index) if index.strip() else None)

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
        """What a field of the change names, each with its kind."""
        first = next(iter(self.session.original.capture.kinds))
        places = (one if isinstance(one, tuple) else (one,) for one in getattr(self.session.change, name))
        return [one if isinstance(one[0], str) else (first, *one) for one in places]

    def _sync(self) -> None:
        with self._syncing():
            self._sync_model()
            self._sync_inputs()

    def _sync_model(self) -> None:
        where, holds = self.selection, self.session.change
        self.place.value = f"<b>what if</b> &nbsp; {text(where.kind)}, layer {where.layer}:"
        gate = holds.gate.get(where.layer)
        values = sorted({*_GATES, *([] if gate is None else [gate])})
        offer(self.gate, values, gate, [_GATES.get(value, f"{value:g}") for value in values], default=_AS_IT_IS)
        gated = where.kind == "cross" and where.layer < len(self.session.original.capture.gates)
        self.gate.layout.display = None if gated else "none"
        changed = [name for name in ("flat", "permuted") if self._attention() in self._places(name)]
        offer(self.attention, ["flat", "permuted"], changed[-1] if changed else None, default=_AS_IT_IS)
        self.head_off.description = "no head" if where.head is None else f"head {where.head} off"
        self.head_off.disabled = where.head is None
        self.head_off.value = (*self._attention(), where.head) in self._places("heads_off")

    def _sync_inputs(self) -> None:
        holds, feature = self.session.change, self.selection.feature
        self.market.value = "" if holds.market_from is None else str(holds.market_from)
        self.market.layout.display = None if _has_market(self.session) else "none"
        chosen = tuple(holds.features) if holds.features or holds.days else None
        groups = sorted({(), *([] if feature is None else [(feature,)]), *([] if chosen is None else [chosen])})
        names = [", ".join(group) or "every feature" for group in groups]
        offer(self.features, groups, chosen, names, default="nothing")
        last = _last_day(self.session)
        self.days.max = last
        if chosen is not None:
            self.days.value = holds.days or (0, last)


def _with(places: Sequence[tuple[Any, ...]], place: tuple[Any, ...], *, wanted: bool) -> tuple[tuple[Any, ...], ...]:
    others = tuple(one for one in places if one != place)
    return (*others, place) if wanted else others


def _last_day(session: ExtractorSession) -> int:
    return session.original.inputs[0].size(1) - 1


def _has_market(session: ExtractorSession) -> bool:
    return session.dataset is not None and session.dataset.market_feature_cols is not None
