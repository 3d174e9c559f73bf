"""The base class of the parts of a history."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import bqplot as bq
import numpy as np
from bqplot_image_gl.interacts import MouseInteraction
from ipywidgets import Dropdown, Layout, VBox, Widget

from stockformer.survey import history
from stockformer_widgets.components.drawing import MessageLine, set_traits
from stockformer_widgets.history.selection import HistorySelection
from stockformer_widgets.state.session import ExtractorSession


class Part(VBox):
    """A picture or a table of the windows that the filter leaves, with the session's window marked.

    Args:
        selection: what to draw.
        session: whose window is marked, and what a click moves.
        message: shows a failure.
    """

    #: Traits of the selection that the content depends on.
    content: ClassVar[tuple[str, ...]] = ()

    def __init__(self, selection: HistorySelection, session: ExtractorSession, message: MessageLine) -> None:
        super().__init__()
        self.selection, self.survey, self.session, self.message = selection, selection.survey, session, message
        self._drawn: tuple[Any, ...] | None = None
        self._marked: tuple[Any, ...] | None = None
        self.children = self._build()

    def refresh(self) -> None:
        """Bring content and mark in line with selection and session, each only if it has changed."""
        content = tuple(getattr(self.selection, name) for name in self.content)
        if content != self._drawn:
            self._draw()
            self._drawn = content
        marked = content, self.session.sample, self.session.change
        if marked != self._marked:
            self._mark(self.session.sample)
            self._marked = marked

    def _build(self) -> tuple[Widget, ...]:
        """Make the widgets, once."""
        raise NotImplementedError

    def _draw(self) -> None:
        """Draw the windows that are left."""
        raise NotImplementedError

    def _mark(self, window: int | None) -> None:
        """Mark the session's window, if it has one."""
        raise NotImplementedError

    def _listen(
        self, drawn: bq.Figure, click: Callable[[float, float], None], brush: bq.interacts.Selector | None = None
    ) -> None:
        """Call ``click(x, y)`` with the data coordinates of a click; drags are left to a brush."""
        mouse = MouseInteraction(x_scale=drawn.scale_x, y_scale=drawn.scale_y, events=["click"], next=brush)

        def receive(widget: Widget, content: dict[str, Any], buffers: Any) -> None:
            at = content.get("domain") or {}
            with self.message.reporting():
                if at.get("x") is not None and at.get("y") is not None:
                    click(float(at["x"]), float(at["y"]))

        mouse.on_msg(receive)
        drawn.interaction = mouse

    def _on_brush(self, brush: bq.interacts.Selector, act: Callable[..., None]) -> None:
        """Call ``act`` with both ends on each axis of what was brushed, once the mouse is released.

        The brush is empty afterwards, unless `refresh` shows in it what the filter leaves.
        """
        axes = ["selected_x", "selected_y"] if brush.has_trait("selected_x") else ["selected"]

        def brushed(change: Any) -> None:
            if change["new"]:
                return
            ends = [getattr(brush, name) for name in axes]
            set_traits(brush, **dict.fromkeys(axes))
            with self.message.reporting():
                if all(one is not None and len(one) == 2 for one in ends):
                    act(*ends)
                self.refresh()

        brush.observe(brushed, "brushing")

    def _narrow(self, measures: Sequence[str], *ends: np.ndarray) -> None:
        """Filter by the brushed range of each measure.

        Raises:
            ValueError: there are none.
        """
        limits: dict[str, tuple[float, float]] = {}
        for measure, (low, high) in zip(measures, ends, strict=True):
            # A picture has room around its windows, and may have one measure on both axes.
            least, most = limits.get(measure) or history.span(self.survey, measure) or (low, high)
            limits[measure] = float(max(low, least)), float(min(high, most))
        if all(low <= high for low, high in limits.values()):
            where = self.selection.where.limited(limits)
            if history.count(self.survey, where):
                self.selection.where = where
                return
        raise ValueError("there is no window where you dragged")

    def _go_nearest(self, distance: str, *parameters: Any) -> None:
        """Go to the filtered window with the smallest `distance`, an expression in SQL."""
        where = self.selection.where
        sql = f'SELECT "window" FROM windows WHERE {where.sql} ORDER BY {distance}, "window" LIMIT 1'
        nearest = self.survey.query(sql, [*where.parameters, *parameters])
        if len(nearest):
            self.session.sample = int(nearest["window"][0])


def choice(description: str, options: Any) -> Dropdown:
    """A list to choose from, as wide as it needs to be."""
    look = {"style": {"description_width": "auto"}, "layout": Layout(width="auto")}
    return Dropdown(description=description, options=options, **look)
