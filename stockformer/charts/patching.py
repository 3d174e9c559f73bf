"""The map of the effect of each activation of a donor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from stockformer.charts.chart import Axis, Chart, Heatmap, Note, Scale
from stockformer.charts.maps import largest_value
from stockformer.explainability.attention.patching import Patching
from stockformer.explainability.sentences.flow import summarize_patching

#: Names of the days of every stream, by its name.
Days = Mapping[str, Sequence[str]]


def patching_map(result: Patching, stream: str, days: Days, donor_days: Days, donor: str, target: str) -> Chart:
    """Effects of patching one day of a stream after one layer: layers down, days across.

    Args:
        days, donor_days: of the sample, and of the donor.
        donor: whose activations they are, in words.
        target: what is measured, in words.
    """
    both = {
        name: [f"{day} (donor {other})" for day, other in zip(days[name], donor_days[name], strict=True)]
        for name in days
    }
    rows = result.table[result.table["stream"] == stream]
    values = rows["effect"].to_numpy().reshape(-1, len(days[stream])).astype(np.float32)
    largest = largest_value(torch.tensor(result.table["effect"].abs().to_numpy()))
    # Layers of the stock stream are those of its attention; the market's own are others.
    layers, market = Axis([str(layer) for layer in range(len(values))], "layer", "layer"), stream == "market"
    return Chart(
        title=f"Effect of one activation of the {stream} stream from {donor}",
        body=Heatmap(
            values,
            Axis(layers.names, layers.label) if market else layers,
            Axis(days[stream], f"{stream} day", "key" if market else "query", full=both[stream]),
            Scale(-largest, largest, "effect on the target"),
            f"{stream} stream after layer {{row}}, {{column}}, effect {{value}}",
            "+.4g",
            "RdBu_r",
        ),
        make_table=lambda: _table(result, days, donor_days),
        summary=summarize_patching(result, both),
        notes=(
            *_elsewhere(result, stream),
            Note(
                f"target: {target}; patching everything: {result.difference:+.3g}, the sample becomes the donor",
                f"The target is {result.value:.4g} for the sample and {result.donor_value:.4g} for the donor.",
            ),
        ),
    )


def _elsewhere(result: Patching, stream: str) -> tuple[Note, ...]:
    """That the cell of the sentence is in another stream's picture."""
    effects = result.table["effect"]
    if not (effects.any() and np.isfinite(effects).all()) or (largest := result.largest["stream"]) == stream:
        return ()
    return (Note(f"this is the {stream} stream: choose {largest} to see that cell"),)


def _table(result: Patching, days: Days, donor_days: Days) -> pd.DataFrame:
    table = result.table.rename(columns={"day": "step"})
    places = list(zip(table["stream"], table["step"], strict=True))
    for number, (name, each) in enumerate({"day": days, "donor_day": donor_days}.items()):
        table.insert(3 + number, name, [each[stream][step] for stream, step in places])
    return table
