"""A comparison of groups as a picture and a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import dataset, model, parts, plain, widgets
from ipywidgets import HTML

from stockformer.explainability import compare_groups
from stockformer_widgets import GroupDifferences
from stockformer_widgets.components.drawing import HIGHLIGHT, NEUTRAL

NAMES = ("<b>calm</b>", "volatile")


@pytest.fixture(scope="module")
def two_stretches():
    """Windows before and after a day: without intervals."""
    return compare_groups(model(), dataset(), range(15), range(20, 38), names=NAMES)


@pytest.fixture(scope="module")
def comparison(two_stretches):
    """With intervals, and every second measure that differs."""
    table = two_stretches.table
    spread = table["std"] * np.linspace(0.01, 2, len(table))
    p = np.where(np.arange(len(table)) % 2, 0.001, 0.2)
    bounds = {"low": table["difference"] - spread, "high": table["difference"] + spread}
    return replace(two_stretches, table=table.assign(**bounds, p=p, p_adjusted=np.minimum(1, p * len(table))))


def test_points_intervals_and_table(comparison):
    before = widgets()
    shown = GroupDifferences(comparison)
    table = comparison.table
    np.testing.assert_allclose(shown.dots.x, table["difference"] / table["std"])
    np.testing.assert_allclose(shown.intervals.x[:, 0], table["low"] / table["std"])
    np.testing.assert_allclose(shown.intervals.x[:, 1], table["high"] / table["std"])
    assert shown.intervals.colors == [(HIGHLIGHT if row.p_adjusted < 0.05 else NEUTRAL) for row in table.itertuples()]
    assert shown.dots.colors == shown.intervals.colors
    html = [part.value for part in parts(shown) if isinstance(part, HTML)]
    assert not any("<b>calm" in one for one in html)
    said = plain(" ".join(html))
    assert comparison.verdict in said
    assert f"not adjusted for {len(table)} measures" in said
    for row in table.itertuples():
        assert f"{row.measure}{row.mean_a:.4g}{row.mean_b:.4g}{row.difference:+.3g}" in said
    assert shown.to_frame() is table
    shown.close()
    assert widgets() == before


def test_without_intervals_there_are_points(two_stretches):
    shown = GroupDifferences(two_stretches)
    for side in (0, 1):
        np.testing.assert_allclose(
            shown.intervals.x[:, side], two_stretches.table["difference"] / two_stretches.table["std"]
        )
    assert len(set(shown.intervals.colors)) == 1
    assert plain(shown.children[2].value).count("nonenonenone") == len(two_stretches.table)


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="expected a GroupComparison, got int"):
        GroupDifferences(3)
