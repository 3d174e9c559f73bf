"""Two charts in one."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd

from stockformer.charts.chart import STREAM_COLORS, Axis, Chart, Line, Lines, Scale
from stockformer.explainability.summary import Finding, Summary


def overlay(one: Chart, other: Chart, title: str) -> Chart:
    """The emphasised lines of both charts, A's and B's, aligned on the last day.

    Days count back from the prediction, which follows day 0.

    Args:
        title: where the charts have different ones.
    """
    pairs = [_emphasised(chart.body) for chart in (one, other)]
    lines = tuple(chain.from_iterable(map(_renamed, "AB", (one, other), STREAM_COLORS)))
    length = max(len(chart.body.x.names) for chart in (one, other))
    x, y = one.body.x, [chart.body.y for chart in (one, other)]
    return Chart(
        title=one.title if one.title == other.title else title,
        body=Lines(
            lines,
            Axis([str(day - length + 1) for day in range(length)], "days before the prediction", x.sets, x.also),
            Scale(min(scale.low for scale in y), max(scale.high for scale in y), y[0].label),
        ),
        make_table=lambda: _table(*pairs),
        summary=_distance(*pairs),
    )


def _emphasised(body: Lines) -> list[Line]:
    return [line for line in body.lines if line.name and line.emphasis]


def _renamed(letter: str, chart: Chart, color: str) -> list[Line]:
    """A chart's lines in its colour, with the date beside each value; the first at full strength."""
    days = chart.body.x.names
    return [
        Line(
            f"{letter} {line.name}",
            line.values,
            [f"{words} on {day}" for words, day in zip(line.words, days[-len(line.words) :], strict=True)],
            color,
            "line" if line.shape == "line" else "step",
            emphasis=number == 0,
        )
        for number, line in enumerate(_emphasised(chart.body))
    ]


def _table(*pair: list[Line]) -> pd.DataFrame:
    """Columns ``day`` and ``a, b`` for each line, named by it where there are several."""
    columns = {}
    for letter, lines in zip("ab", pair, strict=True):
        for line in lines:
            name = letter if len(lines) == 1 else f"{line.name}_{letter}"
            columns[name] = pd.Series(line.values, index=range(1 - len(line.values), 1))
    return pd.DataFrame(columns).rename_axis("day").reset_index()


def _distance(*pair: list[Line]) -> Summary:
    """Where lines of the same name are furthest apart."""
    named = [{line.name: line.values for line in lines} for lines in pair]
    both = {name: _ends(values, named[1][name]) for name, values in named[0].items() if name in named[1]}
    apart = {name: np.abs(one - other) for name, (one, other) in both.items()}
    largest = {name: float(days.max()) for name, days in apart.items()}
    if not np.isfinite(list(largest.values())).all():
        return Summary("Some values are not finite: there are no numbers.", ())
    mean = float(np.concatenate(list(apart.values())).mean())
    name = max(largest, key=largest.__getitem__)
    findings = (
        Finding("mean_distance", mean, "mean of |a - b|", "0: the same on every day."),
        Finding("largest_distance", largest[name], "max |a - b|", "0: the same on every day."),
    )
    if not largest[name]:
        return Summary("A and B are the same on every day.", findings)
    place = int(apart[name].argmax())
    one, other = (values[place] for values in both[name])
    which = f"{name} " if len(both) > 1 else ""
    day = place - len(apart[name]) + 1
    return Summary(f"A and B are furthest apart on day {day}: {which}{one:.3g} in A, {other:.3g} in B.", findings)


def _ends(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last days that both have."""
    length = min(len(one), len(other))
    return one[-length:], other[-length:]
