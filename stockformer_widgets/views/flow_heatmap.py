"""What a map of attention carries, query by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from ipywidgets import Dropdown, HBox, Layout, Widget
from torch import Tensor

from stockformer.charts.chart import Chart, Note
from stockformer.charts.maps import flow_map
from stockformer.explainability import (
    LAYER_MAPS,
    Inflow,
    Trace,
    has_inflow,
    joint_rollout,
    kind_title,
    mean_norm_map,
    relevance,
)
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.day_maps import DayMapView, map_title, market_note
from stockformer_widgets.views.doubts import trust_note

_NORM = "norm of what comes in"
#: Name in the control -> map of a layer.
_OF_LAYER = {"gated weights": "gated", _NORM: "norm", "weight x gradient": "gradient"}
#: Name in the control -> map through all layers.
_OF_ALL: Mapping[str, Callable[[Trace], Inflow]] = {"rollout": joint_rollout, "relevance": relevance}


class FlowHeatmap(DayMapView):
    """What attention carries beyond its weights: of the selected layer and head, or through all layers.

    Gated weights, norms of what each key adds, weights times the target's
    gradient; joint rollout and relevance of all layers. See
    `stockformer.explainability.attention.flow` for the formulas.
    """

    label = "What attention carries"
    attention = "all"
    follows_session = ("reading", "target", "faithfulness", "sample_faithfulness")
    indent = 20

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    def _build(self) -> tuple[Widget, ...]:
        names = [*_OF_LAYER, *(_OF_ALL if has_inflow(self.session.model) else ())]
        self.shown = Dropdown(
            options=names,
            value=_NORM,
            description="shows",
            style={"description_width": "auto"},
            layout=Layout(width="auto"),
        )
        self.shown.observe(self._redraw, "value")
        return HBox([self.shown], layout=Layout(margin=f"0 0 0 {self.indent}px")), *super()._build()

    def chart_of(self, session: ExtractorSession) -> Chart:
        where, name, capture = self.selection, self.shown.value, session.reading.capture
        if name in _OF_ALL:
            # Through all layers, what a day may not attend to itself can reach it by others.
            layers, mask = [one[0].float().mean(dim=0) for one in capture.kinds[where.kind]], None
            weights = torch.stack(layers).mean(dim=0)
            title = f"{kind_title(where.kind)}: {name} through all layers"
        else:
            chosen = where.kind, where.layer, where.head
            weights, mask = capture.map(*chosen), capture.mask(*chosen)
            title = f"{map_title(where)}: {name}"
        trust = Note("")
        if name in _OF_ALL:
            trust = trust_note(session, name, "day")
            trust = replace(trust, text=f"days by {name}: {trust.text}")
        return flow_map(self._cells(session, mask, "value"), weights, title).noting(
            Note(f"for {session.target_name}" if name in ("weight x gradient", "relevance") else ""),
            trust,
            market_note(session, where.kind),
        )

    def _map(self, session: ExtractorSession) -> Tensor:
        where, trace, name = self.selection, session.trace(), self.shown.value
        if name in _OF_ALL:
            flow = _OF_ALL[name](trace)
            part = {"self": flow.stock, "cross": flow.market, "market": flow.market_self}[where.kind]
            assert part is not None
            return part
        layer = trace.kinds[where.kind][where.layer]
        if where.head is None and name == _NORM:
            return mean_norm_map(layer)
        maps = LAYER_MAPS[_OF_LAYER[name]](layer)
        return maps.mean(dim=0) if where.head is None else maps[where.head]
