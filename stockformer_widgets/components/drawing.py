"""bqplot figures and axes, and HTML, in the style of this package."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import bqplot as bq
import numpy as np
from ipywidgets import HTML, Layout, VBox, Widget
from matplotlib.ticker import MaxNLocator

from stockformer.charts.chart import HIGHLIGHT, LINE_COLORS, NEUTRAL, STREAM_COLORS, Scale
from stockformer.charts.figures import well_formed

__all__ = ["HIGHLIGHT", "LINE_COLORS", "NEUTRAL", "STREAM_COLORS"]

#: Pixels left and right of the plots; views of one column share them, so that their days align.
MARGIN, RIGHT = 76, 32


class MessageLine(HTML):
    """A line for an error message; hidden while there is none."""

    def __init__(self) -> None:
        super().__init__(layout=Layout(display="none"))

    def say(self, message: str) -> None:
        """Show an error, or none."""
        self.value = f'<span role="alert" style="color: var(--jp-error-color1, #c00)">{text(message)}</span>'
        self.layout.display = None if message else "none"

    def note(self, message: str) -> None:
        """Show a success."""
        self.value = f'<span role="status">{text(message)}</span>'
        self.layout.display = None

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Show any error that a user's model or callback raises inside."""
        self.say("")
        try:
            yield
        except Exception as error:
            self.say(str(error) or type(error).__name__)


class Titled(VBox):
    """A figure, or another picture, under its title.

    The title is HTML above the figure: bqplot loses a title that changes while the page still builds the figure.

    Args:
        figure: what is below the title.
    """

    def __init__(self, figure: Widget) -> None:
        self._line, self._title = HTML(layout=Layout(margin="0")), ""
        super().__init__([self._line, figure], layout=Layout(overflow="hidden"))

    @property
    def title(self) -> str:
        """The text above the figure."""
        return self._title

    @title.setter
    def title(self, title: str) -> None:
        self._title = title
        self._line.value = f'<div class="stockformer-title">{text(title)}</div>'


def figure(
    scales: dict[str, bq.Scale], marks: Sequence[bq.Mark], axes: Sequence[bq.Axis], height: int, **margins: int
) -> bq.Figure:
    """A bqplot figure in the style of this package; sizes in pixels."""
    return bq.Figure(
        marks=list(marks),
        axes=list(axes),
        scale_x=scales["x"],
        scale_y=scales["y"],
        fig_margin={"top": 6, "bottom": 22, "left": MARGIN, "right": RIGHT} | margins,
        display_toolbar=False,
        padding_x=0.0,
        padding_y=0.0,
        layout=Layout(width="100%", min_width="150px", height=f"{height}px", margin="0"),
    )


def axis(scale: bq.Scale, label: str = "", **options: Any) -> bq.Axis:
    """A bqplot axis in the style of this package."""
    return bq.Axis(scale=scale, label=label, label_color="gray", tick_style={"font-size": "11px"}, **options)


def set_range(scale: bq.LinearScale, low: float, high: float) -> None:
    """Set both ends of a scale at once."""
    with scale.hold_sync():
        scale.min, scale.max = low, high


def set_traits(widget: Widget, **traits: Any) -> None:
    """Set traits of a widget in one message."""
    with widget.hold_sync():
        for name, value in traits.items():
            setattr(widget, name, value)


def clicked_step(coordinate: float, length: int) -> int:
    """The step whose unit interval holds a coordinate."""
    return int(np.clip(np.floor(coordinate), 0, length - 1))


def label_steps(
    step_axis: bq.Axis, labels: Sequence[str], number: int, span: tuple[int, int], middle: float = 0.5
) -> None:
    """Name up to `number` of the steps of a span (begin, end) on an axis in their `middle`, the last one always."""
    first, stop = span
    stride = math.ceil((stop - first) / number)
    steps = range(stop - 1, first - 1, -stride)
    name_ticks(step_axis, {step + middle: labels[step] for step in steps})


def name_ticks(named_axis: bq.Axis, names: Mapping[float, str]) -> None:
    """Place and name an axis's ticks.

    The names are set first and the old ones kept: bqplot draws moved ticks with the names it had before.
    """
    named = {f"{place:.12g}": well_formed(name) for place, name in names.items()}  # as the page writes the place
    named_axis.tick_labels = (named_axis.tick_labels or {}) | named
    named_axis.tick_values = list(names)


def tick_range(number_axis: bq.Axis, low: float, high: float) -> None:
    """Round numbers from `low` to `high` as an axis's ticks."""
    number_axis.tick_values = _round_numbers(low, high)


def tick_scale(number_axis: bq.Axis, scale: Scale) -> None:
    """Round numbers of a scale as an axis's ticks, shares in percent."""
    ticks = _round_numbers(scale.low, scale.high)
    if scale.form:
        name_ticks(number_axis, {tick: scale.name(tick) for tick in ticks})
    else:
        number_axis.tick_values = ticks


def _round_numbers(low: float, high: float) -> list[float]:
    """About four, without the last bits in which Python and a page may write a number differently.

    bqplot's own ``num_ticks`` divides its padded range into odd numbers.
    """
    ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [round(float(tick), 12) for tick in ticks if low <= tick <= high]


def points(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """Traits of lines through points [..., n]; a single one is doubled, since bqplot drops dimensions of length 1."""
    times = 1 if y.shape[-1] > 1 else 2
    return {"x": np.repeat(x, times, axis=-1), "y": np.repeat(finite(y), times, axis=-1)}


def finite(values: np.ndarray) -> np.ndarray:
    """Values to draw: 0 in place of NaN and infinity; the text beside the picture says so."""
    return np.where(np.isfinite(values), values, 0.0)


def text(value: object) -> str:
    """A value as text inside HTML, never as markup."""
    return html.escape(well_formed(str(value)))


def neighbour(names: Sequence[str], current: str | None, by: int) -> str:
    """The name `by` places after the current one, or the first if none is current."""
    if current not in names:
        return names[0]
    return names[min(max(names.index(current) + by, 0), len(names) - 1)]
