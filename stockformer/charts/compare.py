"""Two charts in one."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import numpy as np
import pandas as pd

from stockformer.charts.chart import STREAM_COLORS, Axis, Bars, Chart, Heatmap, Line, Lines, Panels, Scale
from stockformer.charts.difference import difference
from stockformer.explainability.sentences.summary import Finding, Summary

_Pairs = Mapping[str, tuple[Lines | Bars, Lines | Bars]]


def compare(one: Chart, other: Chart, most: int | None = None) -> Chart:
    """A's and B's charts in one: the difference of heatmaps, an overlay of any others.

    Args:
        most: how many named rows or bars, those that differ most; all by default, in the order of A.
    """
    joined = difference if isinstance(one.body, Heatmap) else overlay
    caveats = tuple(dict.fromkeys((*one.caveats, *other.caveats)))
    return replace(joined(replace(one, title=_joint(one.title, other.title)), other, most), caveats=caveats)


def _joint(one: str, other: str) -> str:
    """Two titles in one, the words that differ marked A and B."""
    if one == other:
        return one
    words = one.split(" "), other.split(" ")
    start = _alike(*words)
    end = _alike(*(each[start:][::-1] for each in words))
    a, b = (" ".join(each[start : len(each) - end]) for each in words)
    return " ".join([*words[0][:start], f"A {a} / B {b}".strip(), *words[0][len(words[0]) - end :]])


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """Number of leading words in common."""
    return len(list(takewhile(bool, map(operator.eq, one, other))))


def overlay(one: Chart, other: Chart, most: int | None = None) -> Chart:
    """Both charts overlaid under A's title: emphasised lines in their colours, bars of A with dots for B.

    Days are aligned on the last one and count back from the prediction, which follows day 0; other places are aligned
    by name. Panels that only one chart has are left out.

    Args:
        most: how many bars, those that differ most; all by default, in the order of A.
    """
    mine, theirs = _panels(one), _panels(other)
    pairs = {name: (mine[name], theirs[name]) for name in mine if name in theirs}
    drawn = tuple((name, _overlaid(*pair, most)) for name, pair in pairs.items())
    return Chart(
        title=one.title,
        body=Panels(drawn) if isinstance(one.body, Panels) else drawn[0][1],
        make_table=lambda: _table(pairs, most),
        summary=_distance(pairs, dict(drawn)),
    )


def _panels(chart: Chart) -> dict[str, Lines | Bars]:
    """Bodies by title; a single body has none."""
    body: Any = chart.body
    return dict(body.panels) if isinstance(body, Panels) else {"": body}


def _overlaid(one: Lines | Bars, other: Lines | Bars, most: int | None) -> Lines | Bars:
    if isinstance(one, Bars) and isinstance(other, Bars):
        return _overlaid_bars(one, other, most)
    if isinstance(one, Lines) and isinstance(other, Lines):
        return _overlaid_lines(one, other)
    raise TypeError(f"{type(one).__name__} of A and {type(other).__name__} of B cannot be overlaid")


def _overlaid_lines(one: Lines, other: Lines) -> Lines:
    longer = max(one, other, key=lambda body: len(body.x.names))
    places = [str(place) for place in _places(longer)]
    label = "days before the prediction" if one.x.of_days else one.x.label
    return Lines(
        (*_renamed("A", one, STREAM_COLORS[0], len(places)), *_renamed("B", other, STREAM_COLORS[1], len(places))),
        Axis(places, label, one.x.sets, one.x.also),
        _shared(one.y, other.y),
    )


def _overlaid_bars(one: Bars, other: Bars, most: int | None) -> Bars:
    table = _by_name(one, other, sort=most is not None).head(most or len(one.values) + len(other.values))
    words = [dict(zip(bars.names.names, bars.words, strict=True)) for bars in (one, other)]
    return Bars(
        table["a"].to_numpy(),
        [f"A {words[0].get(name, 'none')}, B {words[1].get(name, 'none')}" for name in table.index],
        [STREAM_COLORS[0]] * len(table),
        replace(one.names, names=list(table.index)),
        _shared(one.scale, other.scale),
        bars_name="A",
        dots=table["b"].to_numpy(),
        dots_name="B",
        dots_color=STREAM_COLORS[1],
    )


def _shared(one: Scale, other: Scale) -> Scale:
    return replace(one, low=min(one.low, other.low), high=max(one.high, other.high))


def _emphasised(body: Lines) -> list[Line]:
    return [line for line in body.lines if line.name and line.emphasis]


def _renamed(letter: str, body: Lines, color: str, places: int) -> list[Line]:
    """A body's lines in one colour; the first at full strength, by day with the date beside each value."""
    lines = []
    for number, line in enumerate(_emphasised(body)):
        values, words = line.values, list(line.words)
        if body.x.of_days and number == 0:
            words = [f"{word} on {day}" for word, day in zip(words, body.x.names[-len(words) :], strict=True)]
        if not body.x.of_days:
            missing = places - len(values)
            values, words = np.append(values, [np.nan] * missing), words + [""] * missing
        shape = "step" if line.shape == "area" else line.shape
        lines.append(Line(f"{letter} {line.name}", values, words, color, shape, emphasis=number == 0))
    return lines


def _places(body: Lines | Bars) -> Sequence[int | str]:
    """Keys to align by: days counted back from the prediction, or names."""
    if isinstance(body, Bars):
        return body.names.names
    return range(1 - len(body.x.names), 1) if body.x.of_days else body.x.names


def _series(body: Lines | Bars) -> dict[str, pd.Series]:
    """Name -> values by place, as far as there are any; bars have no name."""
    places = list(_places(body))
    if isinstance(body, Bars):
        return {"": pd.Series(body.values, places)}
    return {
        line.name: pd.Series(line.values, places[-len(line.values) :])[[bool(word) for word in line.words]]
        for line in _emphasised(body)
    }


def _by_name(one: Bars, other: Bars, *, sort: bool) -> pd.DataFrame:
    """Columns ``a, b, difference`` by name, in the order of A or the largest difference first."""
    names = list(dict.fromkeys((*one.names.names, *other.names.names)))
    a, b = (_series(bars)[""].reindex(names) for bars in (one, other))
    table = pd.DataFrame({"a": a, "b": b, "difference": a - b}).rename_axis(one.names.label or "name")
    return table.sort_values("difference", key=np.abs, ascending=False, kind="stable") if sort else table


def _table(pairs: _Pairs, most: int | None) -> pd.DataFrame:
    """One row per day or name, and per panel where there are any, with columns for A and B."""
    tables = {name: _numbers(*pair, most).reset_index() for name, pair in pairs.items()}
    if "" in tables or not tables:
        return tables.get("", pd.DataFrame())
    return pd.concat(tables, names=["panel"]).reset_index(level=0)


def _numbers(one: Lines | Bars, other: Lines | Bars, most: int | None) -> pd.DataFrame:
    """Columns ``a, b, difference`` of bars, or ``a, b`` for each line, named by it where there are several."""
    if isinstance(one, Bars) and isinstance(other, Bars):
        return _by_name(one, other, sort=most is not None)
    columns: dict[str, pd.Series] = {}
    for letter, body in zip("ab", (one, other), strict=True):
        lines = _series(body)
        columns |= {letter if len(lines) == 1 else f"{name}_{letter}": values for name, values in lines.items()}
    (axis,) = one.axes
    return pd.DataFrame(columns).rename_axis("day" if axis.of_days else axis.label)


def _distance(pairs: _Pairs, drawn: Mapping[str, Lines | Bars]) -> Summary:
    """Where A and B are furthest apart; of several panels, on the scales that they are drawn with."""
    gaps = {}
    for panel, bodies in pairs.items():
        mine, theirs = map(_series, bodies)
        for name in mine:
            if name in theirs:
                both = pd.concat([mine[name], theirs[name]], axis=1, join="inner", keys=["a", "b"])
                gaps[panel, name] = both.assign(gap=(both["a"] - both["b"]).abs() / _height(panel, drawn))
    everywhere = np.concatenate([[], *(both["gap"] for both in gaps.values())])
    if not len(everywhere):
        return Summary("A and B have nothing in common to compare.", ())
    if not np.isfinite(everywhere).all():
        return Summary("Some values are not finite: nothing is computed.", ())
    formula = "|a - b| / height of the scale" if len(pairs) > 1 else "|a - b|"
    findings = (
        Finding("mean_distance", float(everywhere.mean()), f"mean of {formula}", "0: the same everywhere."),
        Finding("largest_distance", float(everywhere.max()), f"max {formula}", "0: the same everywhere."),
    )
    if not everywhere.max():
        return Summary("A and B are the same everywhere.", findings)
    (panel, name), both = max(gaps.items(), key=lambda item: item[1]["gap"].max())
    place, a, b, _ = next(both.sort_values("gap", ascending=False, kind="stable").itertuples())
    which = " ".join(filter(None, (panel, name if len(_series(pairs[panel][0])) > 1 else "")))
    words = [_word(pairs[panel][side], name, place) or f"{value:.3g}" for side, value in enumerate((a, b))]
    values = f"{which} {words[0]} in A, {words[1]} in B".strip()
    if len(everywhere) == 1:
        return Summary(f"{str(place).capitalize()}: {values}.", findings)
    return Summary(f"A and B are furthest apart {_where(pairs[panel][0], place)}: {values}.", findings)


def _word(body: Lines | Bars, name: str, place: Any) -> str:
    """The value at a place as the body words it."""
    if isinstance(body, Bars):
        return dict(zip(body.names.names, body.words, strict=True)).get(str(place), "")
    words = next(line.words for line in _emphasised(body) if line.name == name)
    return dict(zip(list(_places(body))[-len(words) :], words, strict=True)).get(place, "")


def _height(panel: str, drawn: Mapping[str, Lines | Bars]) -> float:
    """Height of the panel's scale; 1 for a single body."""
    body = drawn[panel]
    scale = body.y if isinstance(body, Lines) else body.scale
    return scale.high - scale.low if len(drawn) > 1 else 1.0


def _where(body: Lines | Bars, place: object) -> str:
    (axis,) = body.axes
    return f"on day {place}" if axis.of_days else f"for {axis.label} {place}"
