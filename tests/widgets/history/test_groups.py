"""Two groups of windows."""

from __future__ import annotations

import pandas as pd

from stockformer_widgets import GroupDifferences


def test_two_groups_are_compared(view, surveyed):
    view.groups.comparing.click()
    assert "a comparison needs two groups" in view.message.value
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
