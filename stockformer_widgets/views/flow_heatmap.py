"""What a map of attention carries, query by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from ipywidgets import Dropdown, HBox, Layout, Widget
from torch import Tensor

from stockformer.explainability import (
    LAYER_MAPS,
    Inflow,
    Summary,
    Trace,
    has_inflow,
    joint_rollout,
    kind_title,
    mean_norm_map,
    relevance,
    summarize_flow_map,
)
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.day_maps import DayMapView, map_title, selected_map
from stockformer_widgets.views.parts import notes_html, text
from stockformer_widgets.views.trust import trust_notes

#: Name in the control -> map of a layer.
_OF_LAYER = {"gated weights": "gated", "norm of what comes in": "norm", "weight x gradient": "gradient"}
#: Name in the control -> map through all layers.
_OF_ALL: Mapping[str, Callable[[Trace], Inflow]] = {"rollout": joint_rollout, "relevance": relevance}


class FlowHeatmap(DayMapView):
    """What attention carries beyond its weights: of the selected layer and head, or through all layers.

    Gated weights, norms of what each key adds, weights times the target's
    gradient; joint rollout and relevance of all layers. See
    `stockformer.explainability.flow` for the formulas.
    """

    label = "What attention carries"
    attention = "all"
    follows_session = ("reading", "target", "faithfulness", "sample_faithfulness")
    indent = 20
    value_name = "value"

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    def _build(self) -> tuple[Widget, ...]:
        names = [*_OF_LAYER, *(_OF_ALL if has_inflow(self.session.model) else ())]
        self.shown = Dropdown(
            options=names,
            value=names[1],
            description="shows",
            style={"description_width": "auto"},
            layout=Layout(width="auto"),
        )
        self.shown.observe(self._choose, "value")
        return HBox([self.shown], layout=Layout(margin=f"0 0 0 {self.indent}px")), *super()._build()

    def _choose(self, change: object) -> None:
        self._content = ()
        self._redraw()

    def _map(self, session: ExtractorSession) -> np.ndarray:
        where, trace = self.selection, session.trace()
        if self.shown.value in _OF_ALL:
            return self._of_all(_OF_ALL[self.shown.value](trace)).numpy()
        layer = trace.kinds[where.kind][where.layer]
        name = _OF_LAYER[self.shown.value]
        if where.head is None and name == "norm":
            return mean_norm_map(layer).numpy()
        maps = LAYER_MAPS[name](layer)
        found: np.ndarray = (maps.mean(dim=0) if where.head is None else maps[where.head]).numpy()
        return found

    def _mask(self) -> np.ndarray | None:
        # Through all layers, what a day may not attend to itself can reach it by others.
        return None if self.shown.value in _OF_ALL else super()._mask()

    def _of_all(self, flow: Inflow) -> Tensor:
        found = {"self": flow.stock, "cross": flow.market, "market": flow.market_self}[self.selection.kind]
        assert found is not None
        return found

    def _title(self) -> str:
        if self.shown.value in _OF_ALL:
            return f"{kind_title(self.selection.kind)}: {self.shown.value} through all layers"
        return f"{map_title(self.selection)}: {self.shown.value}"

    def _notes(self) -> str:
        name = self.shown.value
        explained = f"for {text(self.session.target_name)}" if name in ("weight x gradient", "relevance") else ""
        trust = f"days by {name}: {notes_html(trust_notes(self.session, name, 'day'))}" if name in _OF_ALL else ""
        return "<br>".join(filter(None, (explained, trust, super()._notes())))

    def _summary(self) -> Summary:
        values = torch.from_numpy(self._cells.values)
        if self.shown.value not in _OF_ALL:
            masked = self._cells.masked
            mask = None if masked is None else torch.from_numpy(masked)
            return summarize_flow_map(values, torch.from_numpy(selected_map(self.session, self.selection)), mask)
        layers = self.session.reading.capture.kinds[self.selection.kind]
        return summarize_flow_map(values, torch.stack([one[0].float().mean(dim=0) for one in layers]).mean(dim=0))
