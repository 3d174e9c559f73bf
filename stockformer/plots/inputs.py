"""Matplotlib figures of attributions and prices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.charts import by_day
from stockformer.charts.attribution import feature_bars
from stockformer.charts.chart import STREAM_COLORS, Chart
from stockformer.charts.draw import draw
from stockformer.charts.figures import (
    Days,
    closing_on_error,
    day_names,
    finish,
    well_formed,
)
from stockformer.charts.maps import saliency_map


@closing_on_error
def plot_saliency_map(
    saliency: Tensor,
    feature_names: Sequence[str] | None = None,
    *,
    title: str = "Attribution by feature and day",
    top_k: int = 20,
    signed: bool = False,
    dates: Days = None,
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Attribution [T, features] of the `top_k` strongest features by day: magnitudes, or with signs."""
    names = _feature_names(saliency, feature_names)
    days = day_names(dates, len(saliency))
    chart = saliency_map([saliency], [names], [days], title, most=top_k, signed=signed)
    return draw(chart, title=title, ax=ax, save_path=save_path)


@closing_on_error
def plot_feature_bars(
    values: pd.Series,
    *,
    colors: Sequence[str] | str = STREAM_COLORS[0],
    title: str = "Attribution by feature",
    xlabel: str = "attribution",
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """One bar for each feature of the index, in its order, from the top."""
    each = [colors] * len(values) if isinstance(colors, str) else colors
    body = feature_bars([str(name) for name in values.index], values.to_numpy(dtype=float), each, xlabel)
    return draw(Chart(title, body), ax=ax, save_path=save_path)


@closing_on_error
def plot_saliency_summary(
    stock_saliency: Tensor,
    market_saliency: Tensor | None = None,
    *,
    stock_feature_names: Sequence[str] | None = None,
    market_feature_names: Sequence[str] | None = None,
    title: str = "Attribution by feature, all days",
    stream_names: Sequence[str] = ("stock", "market"),
    top_k: int = 15,
    save_path: str | Path | None = None,
) -> Figure:
    """The strongest features of stock and market side by side, summed over the days, on one scale."""
    streams = zip(
        stream_names, (stock_saliency, market_saliency), (stock_feature_names, market_feature_names), strict=False
    )
    present = [(name, part, names) for name, part, names in streams if part is not None]
    figure, panels = plt.subplots(
        1, len(present), figsize=(5.6 * len(present), 4.6), squeeze=False, sharex=True, layout="constrained"
    )
    for axes, (stream, part, feature_names), color in zip(panels[0], present, STREAM_COLORS, strict=False):
        values, names, order = _by_strength(part, feature_names, top_k)
        sums = pd.Series(values.sum(dim=0)[order].numpy(), index=[well_formed(names[feature]) for feature in order])
        plot_feature_bars(sums, colors=color, title=stream, xlabel="sum over days of |attribution|", ax=axes)
    figure.suptitle(title)
    return finish(figure, save_path)


@closing_on_error
def plot_prices(
    prices: pd.DataFrame,
    *,
    query: int | None = None,
    key: int | None = None,
    title: str = "Price",
    ax: Axes | None = None,
    save_path: str | Path | None = None,
) -> Figure:
    """Close and, if known, SPY as percent change since the first day, with the days `query` and `key` marked.

    Args:
        prices: rows of ``date, adjusted_close``, and ``spy`` (a level) if known, as in `Window.prices`.
        query, key: day numbers.
    """
    chart = by_day.price_strip(prices, day_names(list(prices["date"]), len(prices)), "close")
    selected: dict[str, int] = {}
    if query is not None:
        selected["query"] = query
    if key is not None:
        selected["key"] = key
    return draw(chart, selected, title=title, ax=ax, save_path=save_path)


def _by_strength(
    saliency: Tensor, feature_names: Sequence[str] | None, top_k: int
) -> tuple[Tensor, Sequence[str], list[int]]:
    """Magnitudes [T, features], all names, and the strongest features in order."""
    values = saliency.abs()
    order: list[int] = values.sum(dim=0).argsort(descending=True)[:top_k].tolist()
    return values, _feature_names(saliency, feature_names), order


def _feature_names(saliency: Tensor, names: Sequence[str] | None) -> Sequence[str]:
    features = saliency.size(1)
    names = [f"feature {number}" for number in range(features)] if names is None else names
    if len(names) != features:
        raise ValueError(f"there are {len(names)} feature names for {features} features")
    return names
