"""What every view is, and the few things that all of them draw."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import Any

import bqplot as bq
import numpy as np
from bqplot_image_gl.interacts import MouseInteraction
from ipywidgets import HTML, Layout, VBox, Widget
from matplotlib.ticker import MaxNLocator

from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession

#: Marks the selection in every view; from the palette of Okabe and Ito (2008).
HIGHLIGHT = "#d55e00"
#: Data that is not a layer of its own.
NEUTRAL = "#0072b2"
#: Pixels left of the plots; views of one column share it, so that their days align.
MARGIN = 100

#: What the two classes of a binary model say.
BINARY_NAMES = ("DOWN", "UP")

_TEXT_COLOR = "var(--jp-ui-font-color1, currentColor)"


class View(VBox):
    """A widget that draws a session and a selection, and follows both.

    Views with the same session and selection are linked. A view without a given
    selection makes its own.

    Raises:
        ValueError: the model has nothing for this view.
    """

    #: Traits of the selection that change the picture.
    follows: tuple[str, ...] = ()

    def __init__(self, session: ExtractorSession, selection: Selection | None = None) -> None:
        check_state(session, selection)
        if not self.shows(session):
            raise ValueError(f"{type(self).__name__} has nothing to show of {type(session.model).__name__}")
        super().__init__()
        self.add_class("stockformer-view")
        self.add_class(f"stockformer-{type(self).__name__}")
        self.session = session
        self._owns_selection = selection is None
        self.selection = selection or Selection(session)
        session.observe(self._redraw, "reading")
        self.selection.observe(self._redraw, list(self.follows))
        try:
            self.children = self._build()
            self._draw()
        except BaseException:
            self.close()
            raise

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        """Whether the session's model has what this view draws."""
        return True

    def _build(self) -> tuple[Widget, ...]:
        """Make the widgets, once."""
        raise NotImplementedError

    def _draw(self) -> None:
        """Bring the widgets in line with session and selection."""
        raise NotImplementedError

    def _redraw(self, change: Any) -> None:
        self._draw()

    def close(self) -> None:
        """Stop following, and close every widget of this view."""
        if self.comm is None:
            return
        self.session.unobserve(self._redraw, "reading")
        self.selection.unobserve(self._redraw, list(self.follows))
        if self._owns_selection:
            self.selection.close()
        close_parts(self)
        super().close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.selection.kind}, layer {self.selection.layer})"


def check_state(session: ExtractorSession, selection: Selection | None) -> None:
    """Raise unless these are a session and, if given, a selection in it."""
    if not isinstance(session, ExtractorSession):
        raise TypeError(f"expected an ExtractorSession, got {type(session).__name__}")
    if selection is None:
        return
    if not isinstance(selection, Selection):
        raise TypeError(f"expected a Selection, got {type(selection).__name__}")
    if session not in selection.sessions:
        raise ValueError("the selection belongs to another session")


def close_parts(widget: Widget) -> None:
    """Close every widget that a widget holds; ipywidgets closes only the one itself."""
    for part in list(_parts(widget)):
        if part is not widget:
            part.close()


def _parts(widget: Widget) -> Iterator[Widget]:
    """A widget and every widget that it holds, each once."""
    seen: set[int] = set()
    stack: list[Any] = [widget]
    while stack:
        item = stack.pop()
        if isinstance(item, Widget):
            if id(item) in seen:
                continue
            seen.add(id(item))
            yield item
            stack.extend(getattr(item, name) for name in item.keys if item.has_trait(name))
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())


def figure(
    scales: dict[str, bq.Scale],
    marks: Sequence[bq.Mark],
    axes: Sequence[bq.Axis],
    height: int,
    left: int = MARGIN,
    right: int = 40,
    bottom: int = 46,
) -> bq.Figure:
    """A bqplot figure in this package's manner; sizes in pixels."""
    return bq.Figure(
        marks=list(marks),
        axes=list(axes),
        scale_x=scales["x"],
        scale_y=scales["y"],
        fig_margin={"top": 34, "bottom": bottom, "left": left, "right": right},
        display_toolbar=False,
        padding_x=0.0,
        padding_y=0.0,
        title_style={"font-size": "14px", "fill": _TEXT_COLOR},
        layout=Layout(width="100%", min_width="280px", height=f"{height}px"),
    )


def axis(scale: bq.Scale, label: str = "", **options: Any) -> bq.Axis:
    """A bqplot axis in this package's manner."""
    return bq.Axis(scale=scale, label=label, label_color="gray", **options)


def set_range(scale: bq.LinearScale, low: float, high: float) -> None:
    """Set both ends of a scale at once."""
    with scale.hold_sync():
        scale.min, scale.max = low, high


def step_outline(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of a ``step-after`` line that is `values[i]` high from i to i + 1."""
    return np.arange(len(values) + 1, dtype=float), np.r_[values, values[-1:]].astype(float)


def caption() -> HTML:
    """A line of text that begins where the plots do."""
    return HTML(layout=Layout(margin=f"0 0 0 {MARGIN}px"))


def on_mouse(view_figure: bq.Figure, events: Sequence[str], handler: Any) -> None:
    """Call ``handler(event, x, y)`` with data coordinates."""
    mouse = MouseInteraction(
        x_scale=view_figure.scale_x, y_scale=view_figure.scale_y, move_throttle=60, events=list(events)
    )

    def receive(widget: Widget, content: dict[str, Any], buffers: Any) -> None:
        domain = content.get("domain") or {}
        if content["event"] == "mouseleave" or {"x", "y"} <= set(domain):
            handler(content["event"], domain.get("x"), domain.get("y"))

    mouse.on_msg(receive)
    view_figure.interaction = mouse


def clicked_step(coordinate: float, length: int) -> int:
    """The step whose unit interval holds a coordinate."""
    return int(np.clip(np.floor(coordinate), 0, length - 1))


def label_steps(day_axis: bq.Axis, labels: Sequence[str], number: int) -> None:
    """Name about `number` of the steps 0.. on an axis, the last one always."""
    length = len(labels)
    stride = max(1, round(length / number))
    steps = range(length - 1, -1, -stride)
    positions = [step + 0.5 for step in steps]
    with day_axis.hold_sync():
        day_axis.tick_values = positions
        day_axis.tick_labels = {str(position): labels[step] for position, step in zip(positions, steps, strict=True)}


def tick_range(number_axis: bq.Axis, low: float, high: float) -> None:
    """Round numbers from `low` to `high` as an axis's ticks.

    bqplot's own ``num_ticks`` divides its padded range into odd numbers.
    """
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    number_axis.tick_values = [tick for tick in ticks if low <= tick <= high]


def text(value: object) -> str:
    """A value as text inside HTML, never as markup."""
    return html.escape(str(value))
