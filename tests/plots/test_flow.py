"""Sentences and figures of what attention carries: cases whose answer is known."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from stockformer.explainability import (
    measure_faithfulness,
    plot_attention_effects,
    plot_day_scores,
    plot_faithfulness,
    plot_head_importance,
    plot_market_entry,
    summarize_days,
    summarize_effects,
    summarize_entry,
    summarize_flow_map,
    summarize_head_importance,
)

pytestmark = pytest.mark.filterwarnings("error")

WEIGHTS = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
EFFECTS = pd.DataFrame(
    {"kind": ["cross", "cross", "self"], "layer": [0, 1, 0], "flat": [0.5, 0.01, -0.02], "permuted": [0.3, 0.01, 0.06]}
)
HEADS = pd.DataFrame(
    {"kind": "self", "layer": 1, "head": [0, 1, 2], "gradient": [3, 1, 2], "ablation": [0.1, 0.4, -0.2]}
)


@pytest.fixture(autouse=True)
def close_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def numbers(summary):
    return {one.name: one.value for one in summary.findings}


# Sentences


def test_a_map_like_its_weights():
    found = summarize_flow_map(2 * WEIGHTS, WEIGHTS)
    assert found.verdict == "Compared with the attention weights: much the same order (rank correlation 1.00)."
    assert numbers(found) == {"rank_correlation": pytest.approx(1), "recency": pytest.approx(0.25)}


def test_a_map_against_its_weights():
    found = summarize_flow_map(1 - WEIGHTS, WEIGHTS)
    assert found.verdict.startswith("Compared with the attention weights: a different order (rank correlation -1.00)")


@pytest.mark.parametrize(
    ("values", "verdict"),
    [(torch.zeros(2, 4), "Every value is 0"), (torch.full((2, 4), math.nan), "Some values are not finite")],
)
def test_a_map_of_nothing(values, verdict):
    found = summarize_flow_map(values, WEIGHTS)
    assert found.verdict.startswith(verdict)
    assert found.findings == ()


def test_days():
    found = summarize_days([torch.tensor([1.0, 1, 1, 3]), torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1])])
    last = "he last of 4 days has 50 % of the stock's scores; the last 2 of 8 days have 100 % of the market's scores."
    assert found.verdict == f"T{last}"  # of no whole, so no share is the market's
    assert numbers(found) == {"recency_stock": pytest.approx(1 / 2), "recency_market": pytest.approx(1.0)}
    shares = summarize_days([torch.tensor([1.0, 1, 1, 3]) / 8, torch.tensor([0.0, 0, 0, 0, 0, 0, 1, 1]) / 8])
    assert shares.verdict == f"25 % of what is passed on comes from the market. T{last}"
    assert numbers(shares)["market_share"] == numbers(shares)["top_five_market"] == pytest.approx(2 / 8)
    assert summarize_days([torch.tensor([1.0, 1, 1, -1])]).verdict == (
        "The last of 4 days has 25 % of the stock's scores."
    )
    assert summarize_days([torch.zeros(4)]).verdict == "Every day's score is 0."
    assert summarize_days([torch.ones(4), torch.zeros(4)]).verdict.endswith("every score of the market is 0.")
    signed = summarize_days([torch.tensor([4.0, -1.0]), torch.tensor([-2.0, 0.0])])
    assert "passed on" not in signed.verdict


def test_market_entry():
    entries = [torch.tensor([0.1, 0.3]), torch.tensor([0.05, 0.05])]
    narrow, wide = torch.full((2, 3), 0.2), torch.full((2, 3), 0.9)
    most = "The market contributes most at layer 0: 20 % of the residual norm, with a mean gate of "
    assert summarize_entry(entries, [narrow, wide]).verdict == (
        f"{most}0.20. The most open gate, 0.90, is in layer 1, where the market contributes 5 %."
    )
    assert summarize_entry(entries, [wide, narrow]).verdict == f"{most}0.90."
    assert summarize_entry([torch.zeros(2)], [narrow]).verdict == "No market enters any layer."
    assert numbers(summarize_entry(entries, [narrow, wide])) == {
        "layer_0": pytest.approx(0.2),
        "layer_1": pytest.approx(0.05),
    }


def test_heads():
    found = summarize_head_importance(HEADS)
    assert found.verdict == (
        "The target depends most on stock self-attention, layer 1, head 1: without it, the target drops by 0.4. "
        "Gradient and switching off put the heads in a different order (rank correlation -1.00)."
    )
    assert numbers(found) == {"rank_correlation": pytest.approx(-1), "top_five_share": pytest.approx(1)}
    assert summarize_head_importance(HEADS.assign(ablation=0.0)).verdict == (
        "Switching any of these heads off changes nothing."
    )


def test_effects():
    found = summarize_effects(EFFECTS, -1.0)
    assert found.verdict == (
        "Flat weights in stock to market attention, layer 0 change the target most: by +0.5, from -1 to -0.5. "
        "Layers that change it by less than 10 % of that, flat or shuffled: 1 of 3."
    )
    assert numbers(found) == {"largest_flat": 0.5, "largest_shuffled": 0.3, "idle_share": pytest.approx(1 / 3)}
    near_zero = summarize_effects(EFFECTS, 1e-9)
    assert "by +0.5, from 1e-09 to 0.5." in near_zero.verdict  # in the target's units: a share of 0 is undefined
    assert summarize_effects(EFFECTS.assign(flat=0.0, permuted=0.0), 1.0).findings == ()
    assert summarize_effects(EFFECTS.assign(flat=math.nan), 1.0).findings == ()


# Figures


def test_days_end_together():
    figure = plot_day_scores([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0, 5.0])])
    stock, market = figure.axes[0].lines
    np.testing.assert_array_equal(stock.get_xydata(), [[1, 1], [2, 2]])
    np.testing.assert_array_equal(market.get_xydata(), [[0, 3], [1, 4], [2, 5]])


def test_market_entry_by_layer():
    entries, gates = [torch.tensor([0.1, 0.3]), torch.tensor([0.2, 0.0])], [torch.full((2, 3), 0.5)] * 2
    figure = plot_market_entry(entries, gates, dates=["2008-10-14", "2008-10-15"])
    assert [list(map(float, line.get_ydata())) for line in figure.axes[0].lines] == [
        pytest.approx([0.1, 0.3]),
        pytest.approx([0.2, 0.0]),
    ]
    assert "2008-10-15" in [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_heads_by_both_measures():
    gradient, ablation = plot_head_importance(HEADS).axes
    assert [bar.get_height() for bar in gradient.patches] == [3, 1, 2]
    assert [bar.get_height() for bar in ablation.patches] == [0.1, 0.4, -0.2]


def test_effects_by_layer():
    flat, permuted = plot_attention_effects(EFFECTS).axes
    np.testing.assert_array_equal([line.get_ydata() for line in flat.lines[:2]], [[0.5, 0.01], [-0.02, np.nan]])
    np.testing.assert_array_equal([line.get_ydata() for line in permuted.lines[:2]], [[0.3, 0.01], [0.06, np.nan]])


def test_curves_beside_random_orders():
    weights = torch.arange(1.0, 11).reshape(1, 5, 2)
    model = _Linear(weights)
    found = measure_faithfulness(model, [(torch.ones(1, 5, 2),)], {"by weight": lambda *given: [weights[0]]})
    deletion, insertion = plot_faithfulness(found).axes
    for axes, kind in ((deletion, "deletion"), (insertion, "insertion")):
        curve = next(line for line in axes.lines if line.get_label() == "by weight")
        expected = found.curves.set_index(["ranking", "kind"]).loc[("by weight", kind)]
        at = np.rint(100 * expected["fraction"]).astype(int)
        np.testing.assert_allclose(curve.get_ydata()[at], expected["value"])
        np.testing.assert_allclose(curve.get_ydata(), np.interp(np.arange(101), at, expected["value"]))
    # The largest half of 1 to 10 is 40 of 55.
    assert curve.get_ydata()[50] == pytest.approx(40 / 55)


class _Linear(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.weights = torch.nn.Parameter(weights)

    def forward(self, x):
        return (x * self.weights).sum(dim=(1, 2))
