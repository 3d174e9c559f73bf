"""Helpers for matplotlib figures.

Every ``plot_`` function returns a pyplot `Figure`, so that ``plt.show()`` shows it; the caller closes it.
``ax`` draws into given axes, ``dates`` names the days, ``save_path`` also writes
the figure to a file, ``sample`` picks one of the batch.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from stockformer.files import write_whole

Days = Sequence[Any] | None
P = ParamSpec("P")
Plotted = TypeVar("Plotted")


def closing_on_error(plot: Callable[P, Plotted]) -> Callable[P, Plotted]:
    """Decorate a function that plots, so that it leaves no figure open when it fails."""

    @wraps(plot)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> Plotted:
        before = set(plt.get_fignums())
        try:
            return plot(*args, **kwargs)
        except BaseException:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
            raise

    return guarded


def day_labels(kind: str) -> tuple[str, str]:
    """What the queries and keys of a kind of attention are."""
    labels = {"cross": ("stock day", "market day"), "self": ("stock day",) * 2, "market": ("market day",) * 2}
    return labels.get(kind, ("query step", "key step"))


def finish(drawn: Axes | Figure, save_path: str | Path | None) -> Figure:
    """The figure of what was drawn, its text literal, and saved where a path is given."""
    literal(drawn)
    figure = drawn.get_figure(root=True)
    assert figure is not None
    if save_path is not None:
        path = Path(save_path)
        path = path if path.suffix else path.with_suffix(f".{plt.rcParams['savefig.format']}")
        file = io.BytesIO()
        figure.savefig(file, format=path.suffix[1:])
        write_whole({path: file.getvalue()})
    return figure


def render(figure: Figure, dpi: int) -> bytes:
    """A figure as a PNG; the figure is closed."""
    file = io.BytesIO()
    try:
        literal(figure)
        figure.dpi = dpi
        # `Figure.savefig` would draw everything twice.
        FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    finally:
        try:
            plt.close(figure)
        except BaseException:  # an interrupt: start again
            plt.close(figure)
            raise
    return file.getvalue()


def literal(drawn: Axes | Figure) -> None:
    """Draw every text as it is: names may hold ``$``, where matplotlib would begin mathematics."""
    for text in drawn.findobj(Text):
        text.set_parse_math(False)
        text.set_text(well_formed(text.get_text()))


def well_formed(text: str) -> str:
    """Text with ``?`` for what no encoding can write: halves of a surrogate pair."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def name_ticks(axes: Axes, which: Literal["x", "y"], names: Iterable[object], **style: Any) -> None:
    """Name the places 0, 1, ... of an axis."""
    labels = [well_formed(str(name)) for name in names]
    (axes.set_xticks if which == "x" else axes.set_yticks)(range(len(labels)), labels, **style)


def checked(name: str, index: int, number: int) -> int:
    if not 0 <= index < number:
        raise IndexError(f"{name} is {index}, expected 0 to {number - 1}")
    return index


def day_names(dates: Days, length: int) -> list[str]:
    """Dates as text, or without dates the numbers of the days.

    Raises:
        ValueError: the number of dates is not `length`.
    """
    if dates is None:
        return [str(step) for step in range(length)]
    if len(dates) != length:
        raise ValueError(f"there are {len(dates)} dates for {length} days")
    return [str(date)[:10] for date in dates]


def name_days(axes: Axes, which: Literal["x", "y"], length: int, dates: Days, number: int = 6) -> None:
    """Put about `number` dates on an axis of day numbers, the last one always; without dates whole numbers."""
    if dates is None:
        axes.locator_params(axis=which, integer=True)
        return
    if len(dates) != length:
        raise ValueError(f"there are {len(dates)} dates for {length} days")
    steps = range(length - 1, -1, -max(1, round(length / number)))
    labels = [str(dates[step])[:10] for step in steps]
    if which == "x":
        turned: dict[str, Any] = {"rotation": 30, "ha": "right"} if len(labels[0]) > 4 else {}
        axes.set_xticks(list(steps), labels, fontsize="small", **turned)
    else:
        axes.set_yticks(list(steps), labels, fontsize="small")
