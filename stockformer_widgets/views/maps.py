"""Views of cells in colours: rows down, columns across."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, ClassVar

import bqplot as bq
import numpy as np
from ipywidgets import HTML, Image, Layout, Widget
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image as PILImage

from stockformer_widgets.views.base import View
from stockformer_widgets.views.parts import (
    HIGHLIGHT,
    MARGIN,
    Titled,
    axis,
    clicked_step,
    exact,
    figure,
    label_steps,
    set_marks,
    set_range,
    text,
)
from stockformer_widgets.wire import grey_words

_LEVELS = 255  # palette entries for values; one more is for cells without a number
_MISSING = (150, 150, 150)


class Palette:
    """The colours of a map: a matplotlib colour map, and grey for cells without a number."""

    def __init__(self, name: str) -> None:
        colors = colormaps[name].resampled(_LEVELS)
        self._entries = [round(255 * c) for rgb in colors(np.arange(_LEVELS))[:, :3] for c in rgb] + list(_MISSING)
        stops = ", ".join(to_hex(color) for color in colors(np.linspace(0, 1, 16)))
        self._gradient = (
            '<span style="display: inline-block; width: 140px; height: 9px; '
            f'background: linear-gradient(to right, {stops})"></span>'
        )

    def encode(self, values: np.ndarray, low: float, high: float) -> bytes:
        """Cells [rows, columns] as a PNG of one byte a cell."""
        numbers = np.isfinite(values)
        scaled = (np.where(numbers, values, low) - low) / ((high - low) or 1.0) * (_LEVELS - 1)
        cells = np.where(numbers, np.rint(np.clip(scaled, 0, _LEVELS - 1)), _LEVELS).astype(np.uint8)
        picture = PILImage.fromarray(cells, mode="P")
        picture.putpalette(self._entries)
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        return buffer.getvalue()

    def bar(self, low: float, high: float) -> str:
        """A colour bar as HTML."""
        return f"{low or 0:.4g} {self._gradient} {high or 0:.4g}"


def grey_legend(words: str) -> str:
    """What grey cells are, as HTML."""
    return f' &nbsp; <span style="color: rgb{_MISSING}">■</span> {words}' if words else ""


SEQUENTIAL = Palette("viridis")
DIVERGING = Palette("RdBu_r")


@dataclass(frozen=True, eq=False)
class Cells:
    """What a map shows.

    Attributes:
        values: [rows, columns].
        low, high: values of the first and the last colour.
        rows, columns: their names.
        title: above the map.
        palette: its colours.
        masked: cells whose key the query may not attend to, bool [rows, columns]; their values are NaN.
    """

    values: np.ndarray
    low: float
    high: float
    rows: list[str]
    columns: list[str]
    title: str
    palette: Palette = SEQUENTIAL
    masked: np.ndarray | None = None

    def number(self, row: int, column: int) -> str:
        """A cell's value in words."""
        hidden = self.masked is not None and self.masked[row, column]
        return "masked" if hidden else exact(self.values[row, column])


class MapView(View):
    """A view of cells: a click selects one, the line below names the one under the mouse, or the selected one."""

    height: ClassVar[int]
    #: How many rows have their name beside them.
    named_rows: ClassVar[int]
    left: ClassVar[int] = MARGIN
    #: What runs across and down, said beside the colour bar.
    axes_text: ClassVar[str]
    #: Traits of the selection that change the cells; the others only move the crosshair.
    content: ClassVar[tuple[str, ...]]

    #: Which days the rows and the columns are, where they are days: ``query`` or ``key``.
    row_days: ClassVar[str | None] = None
    column_days: ClassVar[str] = "query"

    _images: tuple[Image, ...] = ()
    _content: tuple[Any, ...] = ()
    _framed: tuple[Any, ...] = ()

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(reverse=True)}
        # The mark redraws when it gets another image, not when the image gets other bytes.
        self._images = tuple(Image(format="png", layout=self.layout) for _ in range(2))
        self.image = bq.Image(image=self._images[0], scales=self.scales)
        self.crosshair = bq.Lines(
            x=[[0, 1]] * 2, y=[[0, 1]] * 2, scales=self.scales, colors=[HIGHLIGHT], stroke_width=1.5, opacities=[0.9]
        )
        self.x_axis = axis(self.scales["x"], grid_lines="none")
        self.y_axis = axis(self.scales["y"], side="left", grid_lines="none")
        self.figure = figure(
            self.scales, [self.image, self.crosshair], [self.x_axis, self.y_axis], self.height, left=self.left
        )
        self.plot = Titled(self.figure, self.left)
        self._listen(self.figure)
        self.color_bar = HTML(layout=Layout(margin=f"0 0 0 {self.indent}px"))
        return self.plot, self.color_bar

    def close(self) -> None:
        for image in self._images:  # the spare one hangs on no other widget
            image.close()
        self._content = ()
        super().close()

    def _read(self) -> Cells:
        """What to show."""
        raise NotImplementedError

    def _selected(self) -> tuple[int | None, int]:
        """The selected row, None where there is none, and column."""
        raise NotImplementedError

    def _place(self, x: float, y: float) -> tuple[int, int]:
        rows, columns = self._cells.values.shape
        return clicked_step(y, rows), clicked_step(x, columns)

    def _describe(self, place: tuple[int | None, int]) -> str:
        row, column = place
        if row is None:
            return f"selected day <b>{text(self._cells.columns[column])}</b>"
        return self._describe_cell(row, column)

    def _describe_cell(self, row: int, column: int) -> str:
        """A cell in words, as HTML."""
        raise NotImplementedError

    def _draw(self) -> None:
        content = self._state(self.content)
        if content != self._content:
            self._cells = self._read()
            self._draw_cells(self._cells)
            self._content, self._framed = content, ()
        self._frame()
        row, column = self._selected()
        rows, columns = self._cells.values.shape
        # No selected row: a line without a length. A path of NaN would be an error in the page.
        across, height = ([0, 0], 0) if row is None else ([0, columns], row + 0.5)
        set_marks(self.crosshair, x=[[column + 0.5] * 2, across], y=[[0, rows], [height] * 2])

    def _draw_cells(self, cells: Cells) -> None:
        rows, columns = cells.values.shape
        spare = self._images[self.image.image is self._images[0]]
        spare.value = cells.palette.encode(cells.values, cells.low, cells.high)
        set_marks(self.image, image=spare, x=[0, columns], y=[rows, 0])
        bar = cells.palette.bar(cells.low, cells.high)
        self.color_bar.value = f"{self.axes_text} &nbsp; {bar}{grey_legend(grey_words(cells.values, cells.masked))}"
        self.plot.title = cells.title

    def _frame(self) -> None:
        """Show the part of the cells that is to be shown."""
        rows, columns = self._cells.values.shape
        down = (0, rows) if self.row_days is None else self.selection.span(self.row_days, rows)
        across = self.selection.span(self.column_days, columns)
        if self._framed == (down, across):
            return
        set_range(self.scales["x"], *across)
        set_range(self.scales["y"], *down)
        label_steps(self.x_axis, self._cells.columns, 4, across)
        label_steps(self.y_axis, self._cells.rows, self.named_rows, down)
        self._framed = down, across
