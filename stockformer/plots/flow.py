"""Matplotlib figures of what attention carries, and of the faithfulness of an explanation.

See `stockformer.charts.figures` for what the functions share.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.charts import by_day
from stockformer.charts.chart import Chart
from stockformer.charts.draw import draw
from stockformer.charts.faithfulness import faithfulness
from stockformer.charts.figures import Days, closing_on_error, day_names
from stockformer.charts.heads_and_layers import effects_panels, importance_panels
from stockformer.explainability.faithfulness.result import Faithfulness


@closing_on_error
def plot_day_scores(
    parts: Sequence[Tensor],
    *,
    title: str = "Contribution to the prediction by day",
    dates: Days = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Scores of the stock's days [T] and, if there is a second part, of the market's [S], aligned on the last day."""
    length = max(map(len, parts))
    days = day_names(dates, length)
    return draw(
        by_day.day_scores(parts, [days[-len(part) :] for part in parts], "day"), title=title, save_path=save_path
    )


@closing_on_error
def plot_market_entry(
    entries: Sequence[Tensor],
    gates: Sequence[Tensor],
    *,
    title: str = "Market contribution by layer",
    dates: Days = None,
    save_path: str | Path | None = None,
) -> Figure:
    """``|g * c| / |stream|`` by day, one [T] per layer, with the gates g [T, d]."""
    chart = by_day.market_entry(entries, gates, day_names(dates, len(entries[0])))
    return draw(chart, title=title, save_path=save_path)


@closing_on_error
def plot_head_importance(
    table: pd.DataFrame, *, title: str = "Importance by head", save_path: str | Path | None = None
) -> Figure:
    """By gradient and by switching off, from `head_importance` of one layer."""
    return draw(Chart(title, importance_panels(table)), save_path=save_path)


@closing_on_error
def plot_attention_effects(
    table: pd.DataFrame,
    *,
    title: str = "Effect of attention on the target by layer",
    save_path: str | Path | None = None,
) -> Figure:
    """Changes of the target with flat and with shuffled attention, from `attention_effects`."""
    return draw(Chart(title, effects_panels(table)), save_path=save_path)


@closing_on_error
def plot_faithfulness(
    result: Faithfulness, *, title: str = "Deletion and insertion", save_path: str | Path | None = None
) -> Figure:
    """Both curves of every ranking, with random orders as a band."""
    return draw(faithfulness(result), title=title, save_path=save_path)
