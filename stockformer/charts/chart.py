"""Charts as values: what a picture shows, for any renderer to draw.

What is selected is not in a chart. An axis names the field of the selection that its places set, and a
renderer marks the selected place of that field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from stockformer.explainability.sentences.summary import Summary, share_words

#: Marks the selection, and values before a change.
HIGHLIGHT = "#d55e00"
#: Stock and market, from the palette of Okabe and Ito (2008), as are all colours here.
STREAM_COLORS = ("#0072b2", "#e69f00")
#: Data that is neither a layer nor a stream of its own.
NEUTRAL = "#0072b2"
#: Layers and kinds of attention, in turn.
LINE_COLORS = (*STREAM_COLORS, "#009e73", "#cc79a7", "#56b4e9", "#999999")
#: Opacity of lines and bars that are not selected.
FAINT = 0.65
#: Cells without a number.
GREY = "#969696"
#: Of viridis, which stays readable in grey and with colour blindness.
_SHADES = ("#440154", "#3b528b", "#21918c", "#5ec962", "#addc30")
#: Ratio of the ends of a logarithmic scale.
_LOG_SPAN = 1000.0


@dataclass(frozen=True)
class Axis:
    """Named places 0, 1, 2... along one side of a chart.

    Attributes:
        names: one per place.
        label: what the places are.
        sets: field of the selection that a click on a place sets; empty for none.
        also: another field whose selected place is marked, with a dashed line.
        full: longer names, for words about a place; `names` by default.
    """

    names: Sequence[str]
    label: str = ""
    sets: str = ""
    also: str = ""
    full: Sequence[str] | None = None

    @property
    def of_days(self) -> bool:
        """Whether the places are days, which can be zoomed; axes of other lengths end on the same day."""
        return self.sets in ("query", "key")

    def name(self, place: int) -> str:
        """A place in words."""
        return (self.full or self.names)[place]


@dataclass(frozen=True)
class Scale:
    """The axis of the values, from `low` to `high`.

    Attributes:
        names: of the values 0, 1, 2..., where they are places themselves, such as days.
        form: ``%`` for shares, which are named in percent.
        log: whether the scale is logarithmic; its low end then stands for `low` or less.
    """

    low: float
    high: float
    label: str = ""
    names: Sequence[str] = ()
    form: Literal["", "%"] = ""
    log: bool = False

    def places(self, values: npt.ArrayLike) -> np.ndarray:
        """Where values lie: 0 at `low` and below, 1 at `high` and above."""
        ends = np.array([self.low, self.high])
        if self.log:
            values, ends = np.log(np.clip(values, *ends)), np.log(ends)
        low, high = ends
        placed: np.ndarray = np.clip((np.asarray(values) - low) / (high - low), 0.0, 1.0)
        return placed

    @property
    def roomy(self) -> tuple[float, float]:
        """Both ends with some room above and, unless the low one is 0, below: what ends there is seen to end."""
        room = (self.high - self.low) / 20
        return self.low - (room if self.low < 0 else 0), self.high + room

    def name(self, value: float) -> str:
        """A round value of the axis as text."""
        return f"{100 * value:g} %" if self.form == "%" else f"{value:g}"


@dataclass(frozen=True, eq=False)
class Line:
    """One value per place; a shorter line covers the last places of the axis.

    Attributes:
        name: in the legend and beside the values; without one the line only marks what another shows.
        values: [places].
        words: each value as text.
        color: CSS colour.
        shape: a line through the values, the same with dots on them or dashed, steps, or steps filled to the bottom.
            A line leaves out what is NaN at its end.
        emphasis: whether it is drawn at full strength.
        form: of the words that a page can make itself, see `formatted`; for shares the even one is the reference.
    """

    name: str
    values: np.ndarray
    words: Sequence[str]
    color: str
    shape: Literal["line", "dots", "dashed", "step", "area"] = "line"
    emphasis: bool = True
    form: str = ".4g"


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

    @property
    def axes(self) -> tuple[Axis, ...]:
        return (self.x,)

    def words(self, place: int) -> list[tuple[Line, str]]:
        """The named lines that reach a place, with their values there as text."""
        steps = [(line, place - len(self.x.names) + len(line.values)) for line in self.lines if line.name]
        return [(line, line.words[step]) for line, step in steps if step >= 0 and line.words[step]]


@dataclass(frozen=True, eq=False)
class Bars:
    """One value per named place: from the top down where it is the whole chart, from left to right in `Panels`.

    Attributes:
        values: [places].
        words: each value as text, with that of its dot.
        colors: CSS colours, one per place.
        names: the places.
        scale: of the values.
        bars_name: what the bars show, where there are dots.
        dots: a second value per place, such as the one before a change, [places].
        dots_name: what the dots show.
        dots_color: CSS colour of the circles.
    """

    values: np.ndarray
    words: Sequence[str]
    colors: Sequence[str]
    names: Axis
    scale: Scale
    bars_name: str = ""
    dots: np.ndarray | None = None
    dots_name: str = ""
    dots_color: str = HIGHLIGHT

    @property
    def axes(self) -> tuple[Axis, ...]:
        return (self.names,)

    @property
    def legend(self) -> dict[str, str]:
        """Name -> colour of bars and dots, where there are both."""
        return {} if self.dots is None else {self.bars_name: self.colors[0], self.dots_name: self.dots_color}


@dataclass(frozen=True, eq=False)
class Panels:
    """Several small pictures over the same places, each under its title.

    A name has the same colour in all of them, so that one legend serves them all.
    """

    panels: tuple[tuple[str, Lines | Bars], ...]

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.panels[0][1].axes if self.panels else ()

    @property
    def legend(self) -> dict[str, str]:
        """Name -> colour of lines, bars and dots."""
        bars = {name: color for _, body in self.panels if isinstance(body, Bars) for name, color in body.legend.items()}
        return {line.name: line.color for line in self._lines} | bars

    @property
    def emphasised(self) -> list[str]:
        """Names of the lines at full strength."""
        return list(dict.fromkeys(line.name for line in self._lines if line.emphasis))

    @property
    def _lines(self) -> list[Line]:
        bodies = [body for _, body in self.panels if isinstance(body, Lines)]
        return [line for body in bodies for line in body.lines if line.name]

    def words(self, place: int) -> dict[str, str]:
        """Title -> values of a panel at a place, as text: of its bar, or of its lines at full strength."""
        return {title: words for title, body in self.panels if (words := _words(body, place))}


def _words(body: Lines | Bars, place: int) -> str:
    if isinstance(body, Bars):
        return body.words[place]
    lines = [(line, words) for line, words in body.words(place) if line.emphasis]
    return ", ".join(words if len(lines) == 1 else f"{line.name} {words}" for line, words in lines)


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Cells in colours, grey where they have no number.

    Attributes:
        values: [rows, columns].
        rows, columns: down and across.
        scale: values of the first and the last colour, and what a cell holds.
        sentence: describes a cell, with the fields ``row``, ``column`` and ``value``.
        form: of a cell's number, see `formatted`; for shares the even one is the reference.
        palette: name of matplotlib's colour map.
        masked: cells that may not be attended to, bool [rows, columns].
        reference: value and name of a line across the colours to compare with, such as a uniform share.
        log_low: where a logarithmic scale would begin; None unless half of the cells share the first tenth of a linear
            scale from 0.
    """

    values: np.ndarray
    rows: Axis
    columns: Axis
    scale: Scale
    sentence: str
    form: str = ".4g"
    palette: Literal["viridis", "RdBu_r"] = "viridis"
    masked: np.ndarray | None = None
    reference: tuple[float, str] | None = None
    log_low: float | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        cells = self.cells[np.isfinite(self.cells)]
        if len(cells) and self.scale.low == 0 and np.median(cells) < self.scale.high / 10:
            object.__setattr__(self, "log_low", self.scale.high / _LOG_SPAN)

    @property
    def axes(self) -> tuple[Axis, ...]:
        return self.rows, self.columns

    @property
    def cells(self) -> np.ndarray:
        """The values that have a colour, NaN for the others."""
        colored = np.isfinite(self.values)
        return np.where(colored if self.masked is None else colored & ~self.masked, self.values, np.nan)

    @property
    def grey(self) -> str:
        """What the grey cells are; empty where there are none."""
        return grey_words(self.values, self.masked)

    def words(self, row: int, column: int) -> str:
        """The value of a cell as text."""
        if self.masked is not None and self.masked[row, column]:
            return "masked"
        even = None if self.reference is None else self.reference[0]
        (words,) = formatted(self.values[row, column : column + 1], self.form, even)
        return words

    def on_log_scale(self) -> Heatmap:
        """The same cells in colours of a logarithmic scale, if there is a `log_low`."""
        if self.log_low is None:
            return self
        return replace(self, scale=replace(self.scale, low=self.log_low, log=True))

    def end(self, value: float) -> str:
        """A value of the scale as text."""
        return formatted([value], self.form.removeprefix("+"))[0] if value else "0"


@dataclass(frozen=True, eq=False)
class Grid:
    """Every map of a kind of attention at once: layers down, heads across, on one scale.

    Attributes:
        maps: by layer and head.
        statistics: one row per map, columns ``layer, head`` and numbers; the first number is beside its map.
    """

    maps: tuple[tuple[Heatmap, ...], ...]
    statistics: pd.DataFrame

    @property
    def axes(self) -> tuple[Axis, ...]:
        return ()


@dataclass(frozen=True)
class Note:
    """A note below a picture.

    Attributes:
        detail: its explanation, on hover.
        aside: whether it belongs beside the table of numbers, not below the picture.
    """

    text: str
    detail: str = ""
    aside: bool = False


@dataclass(frozen=True)
class Doubt:
    """How far to trust a picture: whether what it shows was measured to beat its references.

    Attributes:
        text: the verdict in a few words.
        detail: the measurement that it comes from.
    """

    text: str
    level: Literal["sure", "doubtful", "unmeasured"]
    detail: str = ""


@dataclass(frozen=True, eq=False)
class Chart:
    """The content of one picture.

    Attributes:
        title: above the picture.
        body: what is drawn.
        make_table: makes `table`, which few readers of a chart ask for.
        summary: what the numbers mean, in a sentence.
        notes: further remarks.
        doubt: how far to trust it, where that is a question.
        caveats: why what it shows may not be true, which a reader must not miss.
    """

    title: str
    body: Lines | Bars | Panels | Heatmap | Grid
    make_table: Callable[[], pd.DataFrame] = pd.DataFrame
    summary: Summary = field(default_factory=partial(Summary, "", ()))
    notes: tuple[Note, ...] = ()
    caveats: tuple[str, ...] = ()
    doubt: Doubt | None = None

    @cached_property
    def table(self) -> pd.DataFrame:
        """Every number in the picture."""
        return self.make_table()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show yet."""
        return isinstance(self.body, Panels) and not self.body.panels

    @property
    def legend(self) -> tuple[tuple[str, str], ...]:
        """Names and colours of what is drawn, where a legend needs to say so."""
        return tuple(self.body.legend.items()) if isinstance(self.body, Bars | Panels) else ()

    def noting(self, *notes: Note) -> Chart:
        """The chart with further notes; those without text are left out."""
        more = tuple(note for note in notes if note.text)
        return replace(self, notes=(*self.notes, *more)) if more else self


def formatted(values: Iterable[float], form: str = ".4g", even: float | None = None) -> list[str]:
    """Values as text, by one format specification; by ``%`` as `share_words` beside an even share."""
    return [share_words(float(value), even) if form == "%" else format(float(value), form) for value in values]


def grey_words(values: np.ndarray, masked: np.ndarray | None) -> str:
    """What the grey cells of a map are, in words; nothing where there are none."""
    hidden = np.zeros(values.shape, bool) if masked is None else masked
    missing = (~np.isfinite(values) & ~hidden).any()
    return " or ".join(name for name, some in (("masked", hidden.any()), ("not a number", missing)) if some)


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
    """Smallest and largest finite value of the arrays and of `include`; the range is never empty."""
    values = np.concatenate([*(np.ravel(array) for array in arrays), include])
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return low, high if high > low else low + 1.0
