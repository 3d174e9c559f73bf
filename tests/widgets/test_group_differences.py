"""A comparison of groups as a picture and a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import dataset, model, parts, plain, widgets
from ipywidgets import HTML

from stockformer.explainability import compare_groups
from stockformer_widgets import GroupDifferences

NAMES = ("<b>calm</b>", "volatile")


@pytest.fixture(scope="module")
def few_days():
    """Windows of 8 days that end on 20 days: too few for intervals."""
    return compare_groups(model(), dataset(), range(15), range(20, 38), names=NAMES, resamples=50)


@pytest.fixture(scope="module")
def comparison(few_days):
    """With intervals, some of them clear of 0."""
    difference = few_days.table["difference"]
    spread = few_days.table["std"] * np.linspace(0.01, 2, len(difference))
    return replace(few_days, table=few_days.table.assign(low=difference - spread, high=difference + spread))


def test_points_intervals_and_table(comparison):
    before = widgets()
    shown = GroupDifferences(comparison)
    table = comparison.table
    np.testing.assert_allclose(shown.dots.x, table["difference"] / table["std"])
    np.testing.assert_allclose(shown.intervals.x[:, 0], table["low"] / table["std"])
    np.testing.assert_allclose(shown.intervals.x[:, 1], table["high"] / table["std"])
    coloured = np.array([color == shown.intervals.colors[0] for color in shown.intervals.colors])
    outside = (table["low"] > 0) | (table["high"] < 0)
    assert (coloured == coloured[0]).all() == (outside.nunique() == 1)
    html = [part.value for part in parts(shown) if isinstance(part, HTML)]
    assert not any("<b>calm" in one for one in html)
    said = plain(" ".join(html))
    assert comparison.verdict in said
    for row in table.itertuples():
        assert f"{row.measure}{row.mean_a:.4g}{row.mean_b:.4g}{row.difference:+.3g}" in said
    assert shown.to_frame() is table
    shown.close()
    assert widgets() == before


def test_without_intervals_there_are_points(few_days):
    shown = GroupDifferences(few_days)
    for side in (0, 1):
        np.testing.assert_allclose(shown.intervals.x[:, side], few_days.table["difference"] / few_days.table["std"])
    assert len(set(shown.intervals.colors)) == 1
    assert plain(shown.children[-1].value).count("too few days") == len(few_days.table)


def test_other_things_are_refused():
    with pytest.raises(TypeError, match="expected a GroupComparison, got int"):
        GroupDifferences(3)
