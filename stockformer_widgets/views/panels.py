"""Small multiples over the same places, drawn by bqplot in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import starmap
from typing import Any, ClassVar

import bqplot as bq
from ipywidgets import GridBox, Layout, Widget

from stockformer.charts.chart import Bars, Lines, Panels
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import MARGIN, Titled
from stockformer_widgets.views.bars import BarsPicture
from stockformer_widgets.views.lines import LinesPicture, PlacesView

#: Pixels left of a panel.
LEFT = 48


class PanelsPicture:
    """Pictures beside each other, as many as a body has panels, made when they are first drawn.

    Args:
        listen: called with every figure.
        narrowest, height: pixels of a panel.
        ticks: largest number of places named below a panel.
    """

    def __init__(
        self, listen: Callable[[bq.Figure], None], narrowest: int = 200, height: int = 150, ticks: int = 12
    ) -> None:
        self._listen, self._narrowest, self._height, self._ticks = listen, narrowest, height, ticks
        columns = f"repeat(auto-fit, minmax({narrowest}px, 1fr))"
        self.grid = GridBox(layout=Layout(grid_template_columns=columns, width="100%"))
        self.pictures: list[Any] = []  # each draws bodies of one type

    def draw(self, body: Panels, marked: Mapping[str, int]) -> None:
        """Show panels, with the place that is `marked` by its field."""
        self.pictures += [self._picture_of(panel) for _, panel in body.panels[len(self.pictures) :]]
        for (title, panel), picture in zip(body.panels, self.pictures, strict=False):
            picture.draw(title, panel, marked)
        self.grid.children = [picture.plot for picture in self.pictures[: len(body.panels)]]

    def _picture_of(self, panel: Lines | Bars) -> LinesPicture | BarsPicture:
        if isinstance(panel, Lines):
            picture: LinesPicture | BarsPicture = LinesPicture(self._height, LEFT, ticks=self._ticks)
        else:
            picture = BarsPicture(self._height, MARGIN if panel.scale.names else LEFT, upright=True)
        picture.figure.layout.min_width = f"{self._narrowest}px"
        self._listen(picture.figure)
        return picture


class PanelsView(PlacesView):
    """A view of panels over layers or heads; a click selects one, a click on the selected head selects the mean."""

    indent = LEFT
    #: What is described where no head is selected.
    without_head: ClassVar[str] = ""

    def _build(self) -> tuple[Widget, ...]:
        self.picture = PanelsPicture(self._listen)
        self.plot = Titled(self.picture.grid)
        return (self.plot,)

    def _draw(self) -> None:
        self.plot.title = self.chart.title
        self.picture.draw(self._body, self._marked())

    def _select(self, place: int) -> None:
        if self._places.sets == "head" and place == self.selection.head:
            self.selection.head = None
        else:
            super()._select(place)

    def _describe(self, place: int | None) -> list[Phrase]:
        if place is None:
            return [Phrase(self.without_head)] if self.without_head else []
        axis, words = self._places, self._body.words(place)
        where = Phrase(f"{self._which()}{axis.label} {axis.names[place]}")
        return [where, *starmap(Phrase, words.items())] if words else []

    def _which(self) -> str:
        """The line that is described, where only one is at full strength."""
        names = self._body.emphasised
        return f"{names[0]}, " if len(names) == 1 else ""
