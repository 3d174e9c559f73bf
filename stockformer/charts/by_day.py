"""Charts over the days of the lookback."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.charts.chart import (
    NEUTRAL,
    STREAM_COLORS,
    Axis,
    Band,
    Chart,
    Line,
    Lines,
    Note,
    Scale,
    finite_range,
    formatted,
    line_colors,
)
from stockformer.explainability.sentences.attention import summarize_gate, summarize_pooling, summarize_row
from stockformer.explainability.sentences.flow import summarize_days, summarize_entry
from stockformer.explainability.sentences.inputs import summarize_prices
from stockformer.explainability.sentences.summary import share_words

_LARGEST = 3
#: The band around the mean gate holds the middle 80 % of the dimensions.
_BAND = (0.1, 0.9)
_SERIES = {"adjusted_close": "close", "spy": "SPY"}


def attention_row(
    row: Tensor, days: Sequence[str], query_day: str, mask: Tensor | None = None, *, dated: bool = True
) -> Chart:
    """Attention of one query: its weights [key] beside a uniform share of the keys that it may attend to.

    Args:
        days: names of the keys.
        mask: which keys the query may not attend to, bool [key].
        dated: whether the names are dates; the sentence calls others steps.
    """
    weights = row.float().numpy()
    masked = np.zeros(len(row), bool) if mask is None else mask.numpy()
    total = float(np.nansum(weights))
    shares = weights / total if total else np.full_like(weights, np.nan)
    allowed = np.where(masked, np.nan, weights)
    among = int((~masked).sum())
    numbers = formatted(weights, "%", 1 / among if among else None)
    words = ["masked" if hidden else weight for weight, hidden in zip(numbers, masked, strict=True)]
    line = Line("weight", weights, words, NEUTRAL, "area", form="%")
    return Chart(
        title=f"Attention of {query_day}",
        body=_shares([line], Axis(days, "key day", "key"), "weight", among),
        make_table=lambda: pd.DataFrame({"key": range(len(row)), "key_day": days, "weight": weights, "share": shares}),
        summary=summarize_row(row, mask, days if dated else None),
    ).noting(_largest("strongest", allowed, days))


def pooling(weights: Tensor, days: Sequence[str], *, dated: bool = True) -> Chart:
    """How pooling weights the days [T], beside a uniform share; the three largest in a second colour.

    Args:
        dated: whether the names of the days are dates; the sentence calls others steps.
    """
    values = weights.float().numpy()
    largest = np.full_like(values, np.nan)
    top = _order(values)[:_LARGEST]
    largest[top] = values[top]
    lines = [
        Line("weight", values, formatted(values, "%", 1 / len(values)), NEUTRAL, "area", form="%"),
        Line("", largest, formatted(largest), STREAM_COLORS[1], "area"),
    ]
    return Chart(
        title="Pooling weight by day",
        body=_shares(lines, Axis(days, "stock day", "query"), "pooling weight", len(values)),
        make_table=lambda: pd.DataFrame({"step": range(len(values)), "day": days, "weight": values}),
        summary=summarize_pooling(weights, days if dated else None),
    ).noting(_largest("largest", values, days))


def gate_timeline(gates: Sequence[Tensor], days: Sequence[str], layer: int | None = None) -> Chart:
    """Mean gate by day of every layer, each [T, d]; of one `layer` also the middle 80 % of its dimensions."""
    values = torch.stack([gate.float() for gate in gates]).numpy()  # [layers, T, d]
    means, (low, high) = values.mean(axis=-1), np.quantile(values, _BAND, axis=-1)
    colors = line_colors(len(means))
    lines = tuple(
        Line(f"layer {number}", mean, formatted(mean, ".3f"), color, emphasis=layer in (None, number))
        for number, (mean, color) in enumerate(zip(means, colors, strict=True))
    )
    return Chart(
        title="Mean gate by layer",
        body=Lines(
            lines,
            Axis(days, "stock day", "query"),
            Scale(0.0, 1.0, "mean gate (0 closed, 1 open)"),
            None if layer is None else Band(low[layer], high[layer], colors[layer]),
        ),
        make_table=lambda: _by_layer(days, mean=means, p10=low, p90=high),
        summary=summarize_gate(gates[layer or 0]).about(f"Layer {layer or 0}"),
    ).noting(Note("" if layer is None else f"band: middle 80 % of layer {layer}"))


def market_entry(
    entries: Sequence[Tensor], gates: Sequence[Tensor], days: Sequence[str], layer: int | None = None
) -> Chart:
    """``|g * c| / |stream|`` by day, one [T] per layer, with the gates [T, d] that let it in; `layer` is emphasised."""
    entering = torch.stack(list(entries)).numpy()
    means = torch.stack([gate.mean(dim=-1) for gate in gates]).numpy()
    lines = tuple(
        Line(
            f"layer {number}",
            entry,
            [f"{value:.3f} (gate {gate:.2f})" for value, gate in zip(entry, mean, strict=True)],
            color,
            emphasis=layer in (None, number),
        )
        for number, (entry, mean, color) in enumerate(zip(entering, means, line_colors(len(entering)), strict=True))
    )
    return Chart(
        title="Market contribution by layer, share of the residual norm",
        body=Lines(
            lines,
            Axis(days, "stock day", "query"),
            Scale(0.0, finite_range([entering], 0.0)[1], "|gate * context| / |stream|"),
        ),
        make_table=lambda: _by_layer(days, entering=entering, gate=means),
        summary=summarize_entry(entries, gates),
    )


def day_scores(parts: Sequence[Tensor], days: Sequence[Sequence[str]], by: str) -> Chart:
    """Scores of each stock day [T] and, if there is a market, of each market day [S].

    Args:
        days: names of the days of each part; both end on the same day.
        by: how it was measured, in words.
    """
    values = [part.float().numpy() for part in parts]
    lines = tuple(
        Line(name, part, formatted(part), color, "step")
        for name, part, color in zip(("stock", "market"), values, STREAM_COLORS, strict=False)
    )
    return Chart(
        title=f"Contribution to the prediction by {by}",
        body=Lines(lines, Axis(max(days, key=len), "day", "query"), Scale(*finite_range(values, 0.0), "score")),
        make_table=lambda: pd.concat(
            [
                pd.DataFrame({"input": number, "step": range(len(part)), "day": days[number], "score": part})
                for number, part in enumerate(values)
            ],
            ignore_index=True,
        ),
        summary=summarize_days(parts),
    )


def price_strip(prices: pd.DataFrame, days: Sequence[str], ticker: str) -> Chart:
    """Close and, where known, SPY as change since the first day in percent.

    Args:
        prices: rows of ``adjusted_close`` and, where known, ``spy`` (a level), as of `Window.prices`.
    """
    columns = [column for column in _SERIES if column in prices]
    levels = prices[columns].replace([np.inf, -np.inf], np.nan)
    changes = 100 * (levels / levels.bfill().iloc[0] - 1).to_numpy().T  # [series, T]
    words = [[f"{change:+.1f} %" if np.isfinite(change) else "no price" for change in series] for series in changes]
    closes = prices["adjusted_close"]
    words[0] = [
        f"{close:.2f} ({change})" if np.isfinite(close) else change
        for close, change in zip(closes, words[0], strict=True)
    ]
    names = [_SERIES[column] for column in columns]
    lines = tuple(map(Line, names, changes, words, STREAM_COLORS))
    return Chart(
        title=f"{' and '.join([ticker, *names[1:]])}, % since {days[0]}",
        body=Lines(
            lines,
            Axis(days, "day", "query", also="key"),
            Scale(*finite_range([changes]), "change since the first day [%]"),
        ),
        make_table=lambda: pd.DataFrame(
            {"day": days, "adjusted_close": closes.to_numpy()}
            | {f"{name}_change": change for name, change in zip(names, changes, strict=True)}
        ),
        summary=summarize_prices(prices),
    )


def _shares(lines: Sequence[Line], days: Axis, label: str, among: int) -> Lines:
    """Shares, with the even one, 1 / `among`, as reference."""
    top = finite_range([line.values for line in lines], 0.0)[1]
    even = (1 / among, "even") if among else None
    return Lines(tuple(lines), days, Scale(0.0, top, label, form="%"), reference=even)


def _by_layer(days: Sequence[str], **numbers: np.ndarray) -> pd.DataFrame:
    """One row per layer and day of numbers [layers, T]."""
    layers, steps = (index.ravel() for index in np.indices(next(iter(numbers.values())).shape))
    columns = {name: values.ravel() for name, values in numbers.items()}
    return pd.DataFrame({"layer": layers, "step": steps, "day": np.array(days)[steps], **columns})


def _largest(title: str, shares: np.ndarray, days: Sequence[str]) -> Note:
    """The days with the largest shares, if any is finite."""
    named = ", ".join(f"{days[day]} {share_words(shares[day])}" for day in _order(shares)[:_LARGEST])
    return Note(f"{title}: {named}" if named else "", aside=True)


def _order(values: np.ndarray) -> np.ndarray:
    """Places of the finite values, the largest first."""
    order = np.argsort(-values, kind="stable")
    finite: np.ndarray = order[np.isfinite(values[order])]
    return finite
