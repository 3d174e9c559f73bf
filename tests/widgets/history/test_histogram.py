"""Windows by value."""

from __future__ import annotations


def test_a_brushed_range_of_values_is_a_filter(view, drag):
    frame = view.survey.to_frame()
    values = frame["market_share"].astype(float)
    low, high = values.quantile(0.3), values.quantile(0.6)
    drag(view.histogram.brush, (low, high))
    assert list(view.to_frame()["window"]) == list(frame[values.between(low, high)]["window"])
    assert view.histogram.bars.y.sum() == values.between(low, high).sum()
    share = view.survey.in_words
    assert view.histogram.chart.title == (
        f"Market share of the windows, market share {share('market_share', low)} to {share('market_share', high)}"
    )
    assert view.histogram.brush.selected is None


def test_a_click_without_a_drag_filters_nothing(view):
    brush = view.histogram.brush
    brush.brushing = True
    brush.brushing = False
    assert not view.selection.can_undo
    assert view.message.layout.display == "none"
