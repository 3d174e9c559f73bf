"""Two groups of windows: which measures differ by more than chance."""

from __future__ import annotations

from typing import Any

import bqplot as bq
import numpy as np
import pandas as pd
from ipywidgets import HTML

from stockformer.charts.figures import render
from stockformer.explainability import GroupComparison
from stockformer.explainability.groups.tests import smallest_p
from stockformer.explainability.sentences.summary import p_value
from stockformer.plots import plot_group_differences
from stockformer_widgets.components.drawing import (
    HIGHLIGHT,
    NEUTRAL,
    Titled,
    axis,
    figure,
    finite,
    points,
    set_range,
    text,
    tick_range,
)
from stockformer_widgets.components.snapshot import SnapshotBox
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.views.base import close_children

_ROW, _LEFT = 21, 150


class GroupDifferences(SnapshotBox):
    """Every measure of a `GroupComparison`: its difference with the interval, in standard deviations, and the table.

    Points are the differences between the means of the groups, lines their 95 %
    intervals; measures that differ by more than chance are in the second colour. The
    note below the table explains intervals and p-values.

    Example:
        >>> groups = window_groups(model, dataset, "volatility")
        >>> GroupDifferences(compare_groups(model, dataset, *groups.values(), names=tuple(groups)))
    """

    @opens_whole
    def __init__(self, comparison: GroupComparison) -> None:
        if not isinstance(comparison, GroupComparison):
            raise TypeError(f"expected a GroupComparison, got {type(comparison).__name__}")
        self.comparison = comparison
        self.verdict = HTML(f"<b>{text(comparison.verdict)}</b>")
        super().__init__([self.verdict, self._draw(), HTML(_table(comparison)), HTML(text(comparison.note))])
        self.add_class("stockformer-groups")

    def to_frame(self) -> pd.DataFrame:
        """The table, see `GroupComparison`."""
        return self.comparison.table

    def _png(self, dpi: int) -> bytes:
        return render(plot_group_differences(self.comparison), dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Close all its widgets."""
        if self.comm is None:
            return
        close_children(self)
        super().close()

    def __repr__(self) -> str:
        return f"GroupDifferences({self.comparison.verdict})"

    def _draw(self) -> Titled:
        table = self.comparison.table
        ends = table[["low", "high"]].T.fillna(table["difference"]).T  # no interval: a point
        scaled = finite(ends.assign(difference=table["difference"]).to_numpy() / table[["std"]].to_numpy())
        places = np.arange(len(table)) + 0.5
        scales = {"x": bq.LinearScale(), "y": bq.LinearScale(reverse=True)}
        colors = [HIGHLIGHT if differs else NEUTRAL for differs in self.comparison.differs]
        self.intervals = bq.Lines(x=scaled[:, :2], y=np.stack([places, places], axis=1), scales=scales, colors=colors)
        self.dots = bq.Scatter(**points(scaled[:, 2], places), scales=scales, colors=colors, default_size=50)
        zero = bq.Lines(x=[0, 0], y=[0, len(table)], scales=scales, colors=["gray"], stroke_width=1)
        low, high = min(0.0, scaled.min()), max(0.0, scaled.max())
        set_range(scales["x"], low, high)
        set_range(scales["y"], 0, len(table))
        x_axis, y_axis = axis(scales["x"], tick_format="~g"), axis(scales["y"], side="left", grid_lines="none")
        tick_range(x_axis, low, high)
        y_axis.tick_values = places
        y_axis.tick_labels = {str(place): name for place, name in zip(places, table["measure"], strict=True)}
        drawn = figure(scales, [zero, self.intervals, self.dots], [x_axis, y_axis], _ROW * len(table) + 36, left=_LEFT)
        plot = Titled(drawn)
        plot.title = f"{' - '.join(self.comparison.names)}, in standard deviations of all windows"
        return plot


def _table(comparison: GroupComparison) -> str:
    one, other = (text(name) for name in comparison.names)
    smallest = smallest_p(comparison.shifts) if comparison.shifts else 0.0
    titles = ("measure", one, other, "difference", "95 % interval", "p", "adjusted p")
    head = "".join(f'<th style="white-space: normal">{title}</th>' for title in titles)
    rows = "".join(
        f"<tr><td>{text(row.measure)}</td><td>{row.mean_a:.4g}</td><td>{row.mean_b:.4g}</td>"
        f"<td>{row.difference:+.3g}</td><td>{_interval(row.low, row.high)}</td>"
        f"<td>{_p(row.p, smallest)}</td><td>{_p(row.p_adjusted, smallest)}</td></tr>"
        for row in comparison.table.itertuples()
    )
    style = "line-height: 1.4; text-align: right; border-spacing: 10px 0; white-space: nowrap"
    return f'<table style="{style}"><tr>{head}</tr>{rows}</table>'


def _interval(low: Any, high: Any) -> str:
    return "none" if np.isnan(low) else f"{low:+.3g} to {high:+.3g}"


def _p(value: Any, smallest: float) -> str:
    return "none" if np.isnan(value) else text(p_value(value, smallest).removeprefix("p = ").removeprefix("p "))
