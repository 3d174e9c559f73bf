"""Charts as values: what a picture shows, for any renderer to draw.

What is selected is not in a chart. An axis names the field of the selection that its places set, and a
renderer marks the selected place of that field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from stockformer.explainability.summary import Summary

#: Marks the selection.
HIGHLIGHT = "#d55e00"
#: Stock and market, from the palette of Okabe and Ito (2008), as are all colours here.
STREAM_COLORS = ("#0072b2", "#e69f00")
#: Data that is neither a layer nor a stream of its own.
NEUTRAL = "#0072b2"
#: Layers and kinds of attention, in turn.
LINE_COLORS = (*STREAM_COLORS, "#009e73", "#cc79a7", "#56b4e9", "#999999")
#: Of viridis, which reads in grey and by the colour-blind.
_SHADES = ("#440154", "#3b528b", "#21918c", "#5ec962", "#addc30")


@dataclass(frozen=True)
class Axis:
    """Named places 0, 1, 2... along one side of a chart.

    Attributes:
        names: one per place.
        label: what the places are.
        sets: field of the selection that a click on a place sets; empty for none.
        also: another field whose selected place is marked, with a dashed line.
    """

    names: Sequence[str]
    label: str = ""
    sets: str = ""
    also: str = ""


@dataclass(frozen=True)
class Scale:
    """The axis of the values, from `low` to `high`."""

    low: float
    high: float
    label: str = ""


@dataclass(frozen=True, eq=False)
class Line:
    """One value per place; a shorter line ends with the axis.

    Attributes:
        name: in the legend and beside the values; without one the line only marks what another shows.
        values: [places].
        words: each value as text.
        color: CSS colour.
        shape: a line through the values, steps, or steps filled to the bottom.
        emphasis: whether it is drawn at full strength.
    """

    name: str
    values: np.ndarray
    words: Sequence[str]
    color: str
    shape: Literal["line", "step", "area"] = "line"
    emphasis: bool = True


@dataclass(frozen=True, eq=False)
class Band:
    """A shaded range per place, [places] each."""

    low: np.ndarray
    high: np.ndarray
    color: str


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines over shared places.

    Attributes:
        reference: value and name of a horizontal line to compare with, such as a uniform share.
    """

    lines: tuple[Line, ...]
    x: Axis
    y: Scale
    band: Band | None = None
    reference: tuple[float, str] | None = None

    def words(self, place: int) -> list[tuple[Line, str]]:
        """The named lines that reach a place, with their values there as text."""
        steps = [(line, place - len(self.x.names) + len(line.values)) for line in self.lines if line.name]
        return [(line, line.words[step]) for line, step in steps if step >= 0]


@dataclass(frozen=True)
class Note:
    """A remark below a picture, and what explains it on demand."""

    text: str
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Chart:
    """What one picture shows.

    Attributes:
        title: above the picture.
        body: what is drawn.
        make_table: makes `table`, which few readers of a chart ask for.
        summary: what the numbers mean, in a sentence.
        notes: further remarks, such as how far to trust it.
    """

    title: str
    body: Lines
    make_table: Callable[[], pd.DataFrame]
    summary: Summary
    notes: tuple[Note, ...] = ()

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every number in the picture."""
        return self.make_table()

    def noting(self, *notes: Note) -> Chart:
        """The chart with further notes; those without text are left out."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note.text)))


def formatted(values: Iterable[float], form: str = ".4g") -> list[str]:
    """Values as text, by one format specification."""
    return [format(float(value), form) for value in values]


def line_colors(number: int) -> list[str]:
    """Distinct colours for a few lines, shades from dark to light for many."""
    if number <= len(LINE_COLORS):
        return list(LINE_COLORS[:number])
    stops = np.array([[int(shade[at : at + 2], 16) for at in (1, 3, 5)] for shade in _SHADES])
    places = np.linspace(0, len(_SHADES) - 1, number)
    rgb = (
        np.stack([np.interp(places, range(len(_SHADES)), channel) for channel in stops.T], axis=-1).round().astype(int)
    )
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rgb]


def finite_range(arrays: Iterable[np.ndarray], *include: float) -> tuple[float, float]:
    """Smallest and largest finite value, of those to include too; a range is never empty."""
    values = np.concatenate([*(np.ravel(array) for array in arrays), include])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return low, high if high > low else low + 1.0
