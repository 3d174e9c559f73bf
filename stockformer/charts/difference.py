"""The difference of two heatmaps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from stockformer.charts.chart import Axis, Chart, Heatmap, Note, Scale
from stockformer.charts.maps import WEIGHT
from stockformer.explainability.sentences.summary import Finding, Summary, percent

_NAMED = 3


def difference(one: Chart, other: Chart, most: int | None = None) -> Chart:
    """A's cells minus B's: days aligned on the last one, other rows and columns by name.

    Args:
        most: largest number of rows that are not days; they are ordered by their largest difference.
    """
    bodies: list[Any] = [one.body, other.body]
    rows, *row_places = _align(*(body.rows for body in bodies))
    columns, *column_places = _align(*(body.columns for body in bodies))
    places = list(zip(row_places, column_places, strict=True))
    a, b = (body.values[np.ix_(*at)] for body, at in zip(bodies, places, strict=True))
    masks = [body.masked[np.ix_(*at)] for body, at in zip(bodies, places, strict=True) if body.masked is not None]
    masked = masks[0] & masks[1] if len(masks) == 2 else None
    body = Heatmap(
        a - b,
        rows,
        columns,
        Scale(-1.0, 1.0, "A - B"),
        bodies[0].sentence.replace("{value}", "A - B {value}"),
        "+.4g",
        "RdBu_r",
        masked,
    )
    largest = float(np.max(np.abs(body.cells), where=np.isfinite(body.cells), initial=0.0)) or 1.0
    named = "; ".join(f"{_where(body, *place)} {body.values[place]:+.3g}" for place in _largest(body))
    drawn = replace(body, scale=replace(body.scale, low=-largest, high=largest))
    return Chart(
        title=f"A - B: {one.title}",
        body=drawn if rows.of_days else _strongest(drawn, most),
        make_table=lambda: _cells_table(body, a, b),
        summary=_moved(a, b) if bodies[0].scale.label == WEIGHT else _cells_apart(body, a, b),
    ).noting(Note(f"largest, in days before the prediction: {named}" if named else "", aside=True))


def _align(one: Axis, other: Axis) -> tuple[Axis, np.ndarray, np.ndarray]:
    """The places that both axes have, and where they are on each: the last days, or those of the same name."""
    if one.of_days:
        ends = _ends(np.arange(len(one.names)), np.arange(len(other.names)))
        names = [str(day - len(ends[0]) + 1) for day in range(len(ends[0]))]
        full = [f"{name} (A {one.names[a]}, B {other.names[b]})" for name, a, b in zip(names, *ends, strict=True)]
        return replace(one, names=names, full=full), *ends
    names = [name for name in one.names if name in other.names]
    a, b = (np.array([list(axis.names).index(name) for name in names], dtype=int) for axis in (one, other))
    return replace(one, names=names), a, b


def _strongest(body: Heatmap, most: int | None) -> Heatmap:
    """The rows with the largest sums of magnitudes, the largest first."""
    order = np.argsort(-np.nansum(np.abs(body.cells), axis=1), kind="stable")[:most]
    return replace(
        body,
        values=body.values[order],
        rows=replace(body.rows, names=[body.rows.names[row] for row in order]),
    )


def _cells_table(body: Heatmap, one: np.ndarray, other: np.ndarray) -> pd.DataFrame:
    """Columns named by the axes, and ``a, b, difference``, one row per cell; days count back from the prediction."""
    indices = np.indices(body.values.shape)
    names = {
        axis.sets or axis.label: np.array([int(name) if axis.of_days else name for name in axis.names])[index.ravel()]
        for axis, index in zip(body.axes, indices, strict=True)
    }
    return pd.DataFrame(names | {"a": one.ravel(), "b": other.ravel(), "difference": body.values.ravel()})


def _largest(body: Heatmap) -> list[tuple[int, int]]:
    """Rows and columns of the cells that differ most."""
    sizes = np.nan_to_num(np.abs(body.cells), nan=0.0)
    order = [place for place in np.argsort(-sizes, axis=None, kind="stable")[:_NAMED] if sizes.flat[place]]
    return [divmod(int(place), sizes.shape[1]) for place in order]


def _where(body: Heatmap, *place: int) -> str:
    """A cell in words, its days counted back from the prediction."""
    named = zip(body.axes, place, strict=True)
    return ", ".join(f"{axis.sets or axis.label} {axis.names[at]}" for axis, at in named)


def _cells_apart(body: Heatmap, one: np.ndarray, other: np.ndarray) -> Summary:
    """Where the cells are furthest apart."""
    apart = np.abs(body.cells[np.isfinite(body.cells)])
    if not len(apart):
        return Summary("No cell has a number in both: there is nothing to compare.", ())
    findings = _distances(float(apart.mean()), float(apart.max()))
    if not apart.any():
        return Summary("A and B are the same in every cell.", findings)
    place, *_ = _largest(body)
    values = f"{one[place]:.3g} in A, {other[place]:.3g} in B"
    return Summary(f"A and B are furthest apart at {_where(body, *place)}: {values}.", findings)


def _moved(one: np.ndarray, other: np.ndarray) -> Summary:
    """How much of a query's attention lies elsewhere."""
    for name, weights in zip("AB", (one, other), strict=True):
        if not weights.any():
            return Summary(f"This attention is switched off in {name}: there is nothing to compare.", ())
    rows = np.isfinite(one - other).all(axis=1)  # a query with every key masked has no weights
    if not rows.any():
        return Summary("No query has weights in both: there is nothing to compare.", ())
    moved = float(np.abs(one - other)[rows].sum(axis=1).mean() / 2)
    reading = "The attention of a day that goes elsewhere: 0 none of it, 1 all."
    finding = Finding("moved_share", moved, "mean over queries of sum_k |a - b| / 2", reading)
    return Summary(f"A and B place {percent(moved)} of a day's attention on different days.", (finding,))


def _distances(mean: float, largest: float) -> tuple[Finding, ...]:
    return (
        Finding("mean_distance", mean, "mean of |a - b|", "0: A and B are the same."),
        Finding("largest_distance", largest, "max |a - b|", "0: A and B are the same."),
    )


def _ends(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The last days that both have."""
    length = min(len(one), len(other))
    return one[-length:], other[-length:]
