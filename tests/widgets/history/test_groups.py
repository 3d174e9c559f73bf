"""Two groups of windows."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from stockformer.survey.history import ALL, Filter, Range
from stockformer_widgets import GroupDifferences

CALM_OIL = Filter(regime="calm", sector="oil")


def test_two_groups_are_compared(view, surveyed):
    view.groups.comparing.click()
    assert "a comparison needs two groups" in view.groups.refusal.value
    view.filters.regime.value = "calm"
    view.groups.buttons["A"].click()
    view.filters.regime.value = "volatile"
    view.groups.buttons["B"].click()
    view.groups.comparing.click()
    (differences,) = view.groups.comparison.children
    assert isinstance(differences, GroupDifferences)
    groups = surveyed[2].groups("regime")
    expected = surveyed[2].compare_groups(groups["calm"], groups["volatile"], names=("calm days", "volatile days"))
    pd.testing.assert_frame_equal(differences.to_frame(), expected.table)


def test_a_comparison_of_other_groups_is_not_shown(view):
    for name, regime in (("A", "calm"), ("B", "volatile")):
        view.filters.regime.value = regime
        view.groups.buttons[name].click()
    view.groups.comparing.click()
    assert view.groups.comparison.children
    view.groups.buttons["A"].click()
    assert not view.groups.comparison.children
    view.groups.comparing.click()
    assert "both groups are volatile days" in view.groups.refusal.value
    assert not view.groups.comparison.children
    view.filters.regime.value = "calm"
    view.groups.buttons["A"].click()
    assert view.groups.refusal.layout.display == "none"
    view.selection.groups = {}
    assert view.groups.words.value == ""


@pytest.mark.parametrize(("inner", "outer"), ["AB", "BA"])
@pytest.mark.parametrize(
    ("filters", "rest"),
    [((Filter(regime="calm"), ALL), "all other windows"), ((CALM_OIL, Filter(sector="oil")), "the rest of oil")],
)
def test_a_group_is_compared_with_the_rest_of_one_that_contains_it(view, surveyed, inner, outer, filters, rest):
    view.selection.groups = dict(zip((inner, outer), filters, strict=True))
    view.groups.comparing.click()
    assert f"{outer} contains {inner}: {inner} is compared with the rest of {outer}." in (view.groups.refusal.value)
    assert 'role="status"' in view.groups.refusal.value
    frame = view.survey.to_frame()
    within = frame["sector"].eq("oil") if rest == "the rest of oil" else frame["sector"].notna()
    calm = frame["regime"].eq("calm")
    groups = {inner: within & calm, outer: within & ~calm}
    (differences,) = view.groups.comparison.children
    expected = surveyed[2].compare_groups(groups["A"].to_numpy(), groups["B"].to_numpy())
    pd.testing.assert_frame_equal(differences.to_frame(), expected.table)
    assert differences.comparison.names["AB".index(outer)] == rest


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (
            Filter(sector="oil"),
            Filter(regime="calm"),
            r"A and B have \d+ windows in common: expected groups that",
        ),
        (ALL, Filter(ranges=(Range("volatility", 0.0, 9.0),)), "A and B have the same windows: expected two different"),
    ],
)
def test_groups_that_cannot_be_compared_are_said(view, one, other, words):
    view.selection.groups = {"A": one, "B": other}
    view.groups.comparing.click()
    assert re.search(words, view.groups.refusal.value)
    assert 'role="alert"' in view.groups.refusal.value
    assert not view.groups.comparison.children


def test_brushed_parts_of_the_cloud_are_compared(view, surveyed, drag):
    frame = view.survey.to_frame().astype({"market_share": float})
    edge = frame["volatility"].median()
    for name, ends in (("A", (0.0, edge - 1e-9)), ("B", (edge + 1e-9, 1.0))):
        view.filters.clearing.click()
        drag(view.scatter.brush, ends, (0.0, 1.0))
        view.groups.buttons[name].click()
    view.groups.comparing.click()
    calm, wild = frame["volatility"] < edge - 1e-9, frame["volatility"] > edge + 1e-9
    table = view.groups.comparison.children[0].to_frame()
    expected = surveyed[2].compare_groups(calm.to_numpy(), wild.to_numpy())
    pd.testing.assert_frame_equal(table, expected.table)
    shares = [frame["market_share"][group].mean() for group in (calm, wild)]
    assert table.set_index("measure").loc["market share", ["mean_a", "mean_b"]].tolist() == pytest.approx(shares)
    words = f"volatility per day {view.survey.in_words('volatility', frame['volatility'].min())} to"
    assert words in view.groups.words.value
