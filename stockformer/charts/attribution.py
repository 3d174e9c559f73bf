"""Charts of attributions by feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from stockformer.charts.chart import STREAM_COLORS, Axis, Bars, Chart, Note, Scale, finite_range, formatted
from stockformer.explainability.sentences.inputs import summarize_saliency
from stockformer.explainability.sentences.summary import Summary, share_words


def saliency_bars(
    parts: Sequence[Tensor],
    names: Sequence[Sequence[str]],
    what: str,
    of: str,
    *,
    signed: bool = False,
    most: int | None = None,
    summary: Summary | None = None,
) -> Chart:
    """The strongest features of all inputs: their attribution [days, features] summed over the days.

    Args:
        names: of the features of each input.
        what: name of the method.
        of: what is explained and over which days, in words.
        signed: sum the values instead of their magnitudes.
        most: how many features; all by default.
        summary: what the numbers mean, where it is not `summarize_saliency`.
    """
    arrays = [part.float().numpy() for part in parts]
    values = np.concatenate([(part if signed else np.abs(part)).sum(axis=0) for part in arrays])
    inputs = np.repeat(np.arange(len(parts)), [len(group) for group in names])
    features = [name for group in names for name in group]
    order = np.argsort(-np.abs(values), kind="stable")
    top = order[:most]
    label = what if signed else f"|{what}|"
    return Chart(
        title=f"{label} for {of}",
        body=feature_bars(
            [features[place] for place in top],
            values[top],
            [STREAM_COLORS[inputs[place] % len(STREAM_COLORS)] for place in top],
            label,
        ),
        make_table=lambda: pd.DataFrame(
            {"input": inputs[order], "feature": [features[place] for place in order], "value": values[order]}
        ),
        summary=summary or summarize_saliency(list(parts)),
    ).noting(_shares(arrays))


def feature_bars(names: Sequence[str], values: np.ndarray, colors: Sequence[str], label: str) -> Bars:
    """One bar per feature, in the order of the names."""
    return Bars(
        values, formatted(values), colors, Axis(names, "feature", "feature"), Scale(*finite_range([values], 0.0), label)
    )


def _shares(parts: Sequence[np.ndarray]) -> Note:
    """Shares of stock and market in all magnitudes."""
    if len(parts) != 2:
        return Note("")
    totals = np.array([float(np.abs(part).sum()) for part in parts])
    shares = totals / (totals.sum() or 1.0)
    if not np.isfinite(shares).all():
        return Note("share of all magnitudes: not a number")
    return Note(f"share of all magnitudes: stock {share_words(shares[0])}, market {share_words(shares[1])}", aside=True)
