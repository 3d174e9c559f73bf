"""Which attention map is shown, and which of its days is selected."""

from __future__ import annotations

from ipywidgets import Dropdown, Layout, SelectionSlider

from stockformer.explainability import kind_title
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.slider_names import SliderNames
from stockformer_widgets.controls.base import Controls, offer, wide
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession


class MapControls(Controls):
    """Kind of attention, layer, head and query day."""

    def __init__(self, session: ExtractorSession, selection: Selection, message: MessageLine) -> None:
        super().__init__(message)
        self.add_class("stockformer-map-controls")
        self.session, self.selection = session, selection
        self.kind = Dropdown(description="kind", tooltip="kind of attention", **wide(30, 172))
        self.layer = Dropdown(description="layer", **wide(34, 88))
        self.head = Dropdown(description="head", **wide(36, 112))
        self.day = SelectionSlider(
            options=[0],
            description="query",
            tooltip="the day whose attention is shown",
            style={"description_width": "44px"},
            layout=Layout(flex="1 1 260px", width="auto", max_width="420px"),
        )
        controls = (self.kind, self.layer, self.head, self.day)
        self.children = (*controls, SliderNames("row"))
        for control, name in zip(controls, ("kind", "layer", "head", "query"), strict=True):
            self._bind(control, selection, name)
        self._follow(session, selection)

    def _sync(self) -> None:
        where = self.selection
        size = where.sizes()
        days = self.session.reading.days(size["query"])
        kinds = [kind_title(kind).removesuffix(" attention") for kind in where.kinds]
        with self._syncing():
            offer(self.kind, where.kinds, where.kind, kinds)
            offer(self.layer, range(size["layer"]), where.layer)
            offer(self.head, range(size["head"]), where.head, default="mean")
            offer(self.day, range(len(days)), where.query, days)
