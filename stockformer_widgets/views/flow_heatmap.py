"""What attention carries, as a map of query by key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
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
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.day_maps import DayMapView, map_title, market_note
from stockformer_widgets.views.doubts import faithfulness_doubt

_NORM = "norm of weighted values"
#: Name of a choice -> map of a layer.
_OF_LAYER = {_NORM: "norm", "gated weights": "gated", "weight x gradient": "gradient"}
#: Name of a choice -> map through all layers.
_OF_ALL: Mapping[str, Callable[[Trace], Inflow]] = {"rollout": joint_rollout, "relevance": relevance}


class FlowHeatmap(DayMapView):
    """What attention carries beyond its weights: of the selected layer and head, or through all layers.

    Gated weights, norms of what each key adds, weights times the target's
    gradient; joint rollout and relevance of all layers. See
    `stockformer.explainability.attention.flow` for the formulas.
    """

    label = "Attention flow"
    attributed = True
    attention = "all"
    follows_explanations = ("target", "faithfulness", "sample_faithfulness")
    indent = 20

    @classmethod
    def choices(cls, session: ExtractorSession) -> Mapping[str, Sequence[str]]:
        return {"shows": [*_OF_LAYER, *(_OF_ALL if has_inflow(session.model) else ())]}

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection, shows: str) -> Chart:
        capture = session.reading.capture
        if shows in _OF_ALL:
            # Through all layers, a day can be reached through others by what it may not attend to itself.
            layers, mask = [one[0].float().mean(dim=0) for one in capture.kinds[where.kind]], None
            weights = torch.stack(layers).mean(dim=0)
            title = f"{kind_title(where.kind)}: {shows} through all layers"
        else:
            chosen = where.kind, where.layer, where.head
            weights, mask = capture.map(*chosen), capture.mask(*chosen)
            title = f"{map_title(where)}: {shows}"
        chart = flow_map(cls.cells_of(session, where, mask, "value", shows=shows), weights, title)
        if shows in _OF_ALL:
            doubt = faithfulness_doubt(session, shows, "day")
            chart = replace(chart, doubt=replace(doubt, text=f"days by {shows}: {doubt.text}"))
        return chart.noting(
            Note(f"target: {session.explanations.target_name}" if shows in ("weight x gradient", "relevance") else ""),
            market_note(session, where.kind),
        )

    @classmethod
    def map_of(cls, session: ExtractorSession, where: Selection, shows: str) -> Tensor:
        trace = session.explanations.trace()
        if shows in _OF_ALL:
            flow = _OF_ALL[shows](trace)
            part = {"self": flow.stock, "cross": flow.market, "market": flow.market_self}[where.kind]
            assert part is not None
            return part
        layer = trace.kinds[where.kind][where.layer]
        if where.head is None and shows == _NORM:
            return mean_norm_map(layer)
        return LAYER_MAPS[_OF_LAYER[shows]](layer.of_head(where.head)).mean(dim=0)
