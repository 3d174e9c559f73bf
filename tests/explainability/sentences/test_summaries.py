"""Sentences and numbers of pictures whose shape is known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import entropy as scipy_entropy

from stockformer.explainability import (
    MAP_STATISTICS,
    OutputDistribution,
    Summary,
    capture_attention,
    describe_outputs,
    gate_statistics,
    head_statistics,
    summarize_gate,
    summarize_head_grid,
    summarize_heads,
    summarize_layers,
    summarize_map,
    summarize_outputs,
    summarize_pooling,
    summarize_prices,
    summarize_row,
    summarize_saliency,
)

pytestmark = pytest.mark.filterwarnings("error")

N = 12
IDENTITY = torch.eye(N)
UNIFORM = torch.full((N, N), 1 / N)
COLUMN = torch.zeros(N, N).index_fill(1, torch.tensor([N - 1]), 1.0)
CAUSAL = torch.tril(torch.ones(N, N)) / torch.arange(1, N + 1).unsqueeze(1)
YESTERDAY = torch.cat([IDENTITY[:1], IDENTITY[:-1]])
BAND = 0.4 * IDENTITY + 0.6 * YESTERDAY
FAR = IDENTITY.flip(1)


def numbers(summary):
    return {one.name: one.value for one in summary.findings}


@pytest.mark.parametrize(
    ("weights", "verdict"),
    [
        (
            IDENTITY,
            "Diagonal: 100 % (even: 8.3 %) is on the same step. No step gets twice its even share; the "
            "most, 1.00 times, "
            "is on step 0 (8.3 %). On average a query attends to the equivalent of 1.0 of 12 steps. The "
            "last 3 steps get 25 %",
        ),
        (
            UNIFORM,
            "Nearly uniform over 12 steps: every weight is 1.00 times its even share. Read no shapes into it.",
        ),
        (
            COLUMN,
            "Vertical stripe: one step, step 11, gets 100 %, 12 times its even share; no other gets twice its own. "
            "On average a query attends to the equivalent of 1.0 of 12 steps. The last 3 steps get 100 % (even: 25 %).",
        ),
        (
            CAUSAL,
            "Looks back: 100 % (even: 54 %) is on the same and earlier steps. 2 steps get at least "
            "twice their even share, "
            "43 % together; the largest: step 0 26 % (3.1 times), step 1 18 % (2.1 times).",
        ),
        (
            BAND,
            "A band around the diagonal: what a query attends to is 0.55 steps away on average (even: 4). Looks back: ",
        ),
        (FAR, "No step gets twice its even share; the most, 1.00 times, is on step 0 (8.3 %)."),
        (
            (COLUMN + IDENTITY) / 2,
            "Diagonal: 54 % (even: 8.3 %) is on the same step. Vertical stripe: one step, step 11, "
            "gets 54 %, 6.5 times",
        ),
    ],
    ids=["diagonal", "uniform", "stripes", "causal", "band", "mixed", "two shapes"],
)
def test_the_shape_of_a_map(weights, verdict):
    summary = summarize_map(weights)
    assert summary.verdict.startswith(verdict)
    expected = {one.name: pytest.approx(float(one.compute(weights)), abs=1e-6) for one in MAP_STATISTICS}
    assert numbers(summary) == expected
    assert [(one.formula, one.reading) for one in summary.findings] == [
        (one.formula, one.reading) for one in MAP_STATISTICS
    ]


def test_a_row():
    row = torch.tensor([0.0, 0.5, 0.25, 0, 0, 0, 0, 0.25])
    summary = summarize_row(row)
    assert numbers(summary) == {
        "effective_days": pytest.approx(2**1.5),
        "diffuseness": pytest.approx(0.5),
        "peak_times": pytest.approx(4.0),
        "recency": pytest.approx(0.25),
        "top_three_share": pytest.approx(1.0),
    }
    assert summary.verdict == (
        "Spread over the equivalent of 2.8 of 8 steps. 3 steps get at least twice their even share, 100 % "
        "together; the largest: "
        "step 1 50 % (4.0 times), step 2 25 % (2.0 times), step 7 25 % (2.0 times). The last 2 "
        "steps get 25 % (even: 25 %)."
    )
    assert summarize_row(UNIFORM[0]).verdict.startswith("Nearly uniform over 12 steps")
    named = summarize_row(row, days=[f"2020-01-0{day}" for day in range(1, 9)])
    assert "3 days get at least twice their even share, 100 % together; the largest: 2020-01-02 50 %" in named.verdict


def test_one_day_that_gets_more_than_the_rest():
    """A stripe of a tenth in an otherwise even map: entropy does not see it."""
    weights = torch.full((60, 60), 0.9 / 59)
    weights[:, 20] = 0.1
    for summary in (summarize_map(weights), summarize_pooling(weights[0])):
        assert numbers(summary)["diffuseness"] > 0.96
        assert "ne step, step 20, gets 10 %, 6.0 times its even share; the rest is even." in summary.verdict


@pytest.mark.parametrize(
    ("weights", "behind", "verdict"),
    [
        (
            [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.8],
            0,
            "Spread over the equivalent of 4.9 of 8 steps. One step, step 7, gets 53 %, 4.3 times its even "
            "share; the rest is even.",
        ),
        (
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 0.2],
            1,
            "Spread over the equivalent of 1.6 of 8 steps. One step, step 6, gets 80 %, 6.4 times",
        ),
        (
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.8, 0.0, 0.2],
            2,
            "Spread over the equivalent of 1.6 of 8 steps. One step, step 5, gets 80 %, 6.4 times",
        ),
        (
            [0.125] * 8,
            7,
            "Nearly uniform over 8 steps: every weight is 1.00 times its even share; pooling is close",
        ),
    ],
)
def test_pooling(weights, behind, verdict):
    summary = summarize_pooling(torch.tensor(weights))
    assert summary.verdict.startswith(verdict)
    assert numbers(summary)["days_from_peak"] == behind


@pytest.mark.parametrize(
    ("mean", "swing", "verdict"),
    [
        (0.1, 0.0, "Mostly closed: the mean gate is 0.10. The daily mean is 0.10."),
        (0.9, 0.05, "Mostly open: the mean gate is 0.90. The daily mean runs from 0.85 to 0.95."),
        (0.5, 0.019, "Partly open: the mean gate is 0.50. The daily mean runs from 0.48 to 0.52."),
    ],
)
def test_a_gate(mean, swing, verdict):
    gate = torch.tensor([[mean - swing] * 3, [mean + swing] * 3])
    summary = summarize_gate(gate)
    assert summary.verdict.startswith(verdict)
    assert numbers(summary)["day_std"] == pytest.approx(swing, abs=1e-6)


def test_a_gate_has_the_numbers_of_the_table(sample):
    dataset, model = sample
    x, _, market_x = dataset[0]
    shown = capture_attention(model, x[None], market_x[None])
    second = list(shown.gates.values())[1][0]
    assert numbers(summarize_gate(second)) == gate_statistics(shown).drop(columns="layer").loc[1].to_dict()


@pytest.mark.parametrize(
    ("layers", "verdict", "change"),
    [
        (
            [UNIFORM, IDENTITY],
            "Sharpens with depth: the heads' mean diffuseness goes from 1.00 to 0.00 of 1, never back.",
            (-1, 1),
        ),
        (
            [IDENTITY, UNIFORM],
            "Spreads out with depth: the heads' mean diffuseness goes from 0.00 to 1.00 of 1, never back.",
            (1, -1),
        ),
        ([UNIFORM, UNIFORM], "Alike in every layer: the heads' mean diffuseness is 1.00 of 1.", (0, 0)),
        ([IDENTITY, COLUMN], "Alike in every layer: the heads' mean diffuseness is 0.00 of 1.", (0, 0)),
        (
            [UNIFORM, IDENTITY, UNIFORM],
            "Up and down with depth: the heads' mean diffuseness goes from 1.00 to 1.00 of 1, with the "
            "lowest, 0.00, in "
            "layer 1 and the highest, 1.00, in layer 0.",
            (0, 0),
        ),
        ([IDENTITY], "One layer: the heads' mean diffuseness is 0.00 of 1.", (0, 0)),
    ],
)
def test_layers(layers, verdict, change):
    summary = summarize_layers([torch.stack([weights, weights]) for weights in layers])
    assert summary.verdict.startswith(verdict)
    found = numbers(summary)
    assert (found["diffuseness_change"], found["sparsity_change"]) == pytest.approx(change, abs=1e-5)


def test_layers_may_differ_in_heads():
    found = numbers(summarize_layers([torch.stack([UNIFORM, IDENTITY]), IDENTITY[None]]))
    assert (found["first_diffuseness"], found["last_diffuseness"]) == pytest.approx((0.5, 0), abs=1e-6)


@pytest.mark.parametrize(
    ("heads", "expected", "verdict"),
    [
        (
            [COLUMN, COLUMN.flip(1)],
            (0, 0, 2, 0),
            "All 2 heads are about equally diffuse: 0.00 of 1. Least like any other is head 0, "
            "along with 1 other head: its redundancy is 0.00",
        ),
        (
            [COLUMN, COLUMN],
            (0, 0, 1, 1),
            "All 2 heads are about equally diffuse: 0.00 of 1. Every head is much like another",
        ),
        (
            [UNIFORM, COLUMN],
            (0, 1, 2, None),
            "Diffuseness of the 2 heads runs from 0.00 (head 1) to 1.00 of 1 (head 0).",
        ),
        ([UNIFORM, UNIFORM], (1, 0, 1, 1), "All 2 heads are nearly uniform"),
        ([COLUMN], (0, 0, 1, math.nan), "One head"),
    ],
)
def test_heads(heads, expected, verdict):
    summary = summarize_heads(torch.stack(heads))
    assert summary.verdict.startswith(verdict)
    for found, value in zip(numbers(summary).values(), expected, strict=True):
        assert value is None or found == pytest.approx(value, abs=1e-5, nan_ok=True)


def test_heads_that_are_switched_off_are_named():
    assert summarize_heads(torch.stack([UNIFORM, 0 * UNIFORM, COLUMN])).verdict.startswith(
        "Switched off: head 1. Diffuseness of the 2 heads runs from 0.00 (head 2) to 1.00 of 1 (head 0)."
    )


def test_saliency_of_stock_and_market():
    stock, market = torch.tensor([[1.0, -1.0], [2.0, 0.0]]), torch.tensor([[-4.0], [0.0]])
    summary = summarize_saliency([stock, market])
    assert numbers(summary) == {
        "market_share": pytest.approx(0.5),
        "recency": pytest.approx(0.25),
        "effective_features": pytest.approx(math.exp(scipy_entropy([3, 1, 4]))),
        "top_five_share": pytest.approx(1.0),
    }
    assert summary.verdict.startswith(
        "Stock and market both count: the market, 1 of 3 features, holds 50 %. Spread over the equivalent of 2.6"
    )


@pytest.mark.parametrize(
    ("stock", "market", "verdict"), [(1.0, 9.0, "Mainly the market"), (9.0, 1.0, "Mainly the stock")]
)
def test_the_main_input(stock, market, verdict):
    assert verdict in summarize_saliency([torch.tensor([[stock]]), torch.tensor([[-market]])]).verdict


def test_saliency_of_one_input():
    summary = summarize_saliency([torch.arange(1.0, 5)[:, None] * torch.ones(4, 10)])
    assert numbers(summary) == pytest.approx({"recency": 0.4, "effective_features": 10, "top_five_share": 0.5})
    assert summary.verdict == (
        "Within a day all features of an input have the same value: they cannot be told apart, the last of 4 days 40 %."
    )


def test_saliency_of_nothing():
    assert summarize_saliency([torch.zeros(4, 2)]).verdict == "Every attribution is 0."


def shuffled(labels):
    return np.random.default_rng(0).permutation(labels)


def binary(up, labels=None, days=None):
    """Samples that are UP with these probabilities, on so many days."""
    up = torch.tensor(up, dtype=torch.float64)
    labels = None if labels is None else torch.tensor(labels)
    dates = None if days is None else pd.date_range("2020-01-01", periods=days).repeat(len(up) // days)
    return OutputDistribution(up, torch.stack([1 - up, up], dim=1), labels=labels, dates=dates)


@pytest.mark.parametrize(
    ("shown", "verdict"),
    [
        (
            binary([0.99] * 4),
            "Mean confidence 99 % (even: 50 %); over 95 % in 100 % of the samples. It always predicts class 1.",
        ),
        (binary([0.8, 0.3]), "Mean confidence 75 % (even: 50 %); over 95 % in 0 % of the samples."),
        (
            binary([0.9] * 300, shuffled([1, 0] * 150), 300),
            "Overconfident: confidence 90 %, right in 50 % of 300 samples. Always predicting the most common "
            "class is right in "
            "50 %. It always predicts class 1.",
        ),
        (
            binary([0.6] * 600, [1] * 600, 300),
            "Underconfident: confidence 60 %, right in 100 % of 600 samples. Always",
        ),
        (
            binary([0.8] * 300, shuffled([1, 1, 1, 1, 0] * 60), 300),
            "About as confident as accurate: confidence 80 %, right in 80 % of 300 samples.",
        ),
        (
            binary([0.556] * 300, shuffled([1, 0] * 150), 300),
            "Confidence 56 %, right in 50 % of 300 samples: the difference could be chance.",
        ),
        (
            binary([0.9] * 600, [0] * 600),
            "Confidence 90 %, right in 0 % of 600 samples whose days are not known: too little to tell the two apart.",
        ),
        (
            binary([0.9] * 600, [0] * 600, 200),
            "Confidence 90 %, right in 0 % of 600 samples of 200 days: too little to tell the two apart.",
        ),
        (binary([0.9] * 2, [1, 0], 1), "Confidence 90 %, right in 50 % of 2 samples of 1 day: too little to"),
        (binary([0.99]), "Class 1: nearly sure, probability 99 % (even over 2 classes: 50 %)."),
        (binary([0.3], [1]), "Class 0: probability 70 % (even over 2 classes: 50 %). The truth is class 1."),
    ],
)
def test_what_outputs_say(shown, verdict):
    assert summarize_outputs(shown).verdict.startswith(verdict)


def test_a_collapsed_model_is_named():
    assert "It always predicts class 1." in summarize_outputs(binary([0.9] * 4, [1, 0, 1, 0])).verdict
    assert "always predicts class" not in summarize_outputs(binary([0.9, 0.2])).verdict


def test_numbers_of_outputs():
    found = numbers(summarize_outputs(binary([0.96, 0.96, 0.4, 0.4], [1, 0, 0, 0])))
    entropies = [scipy_entropy([0.96, 0.04]), scipy_entropy([0.4, 0.6])]
    assert found == pytest.approx(
        {
            "mean_confidence": 0.78,
            "mean_normalised_entropy": np.mean(entropies) / math.log(2),
            "nearly_sure_share": 0.5,
            "top_class_share": 0.5,
            "accuracy": 0.75,
            "base_rate": 0.75,
            "calibration_error": (0.46 + 0.4) / 2,
        }
    )


def test_one_sample_has_no_scores():
    assert numbers(summarize_outputs(binary([0.3], [1]))) == pytest.approx(
        {"confidence": 0.7, "normalised_entropy": scipy_entropy([0.3, 0.7]) / math.log(2)}
    )


def test_coral_contradictions(make_model):
    model = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral")
    logits = torch.tensor([[2.0, 0.0, -2.0], [0.0, 1.0, -1.0]])
    summary = summarize_outputs(describe_outputs(logits, model))
    assert numbers(summary)["violations_share"] == 0.5
    assert "out of order in 50 % of the samples" in summary.verdict
    assert "out of order;" in summarize_outputs(describe_outputs(logits[1:], model)).verdict
    assert "out of order" not in summarize_outputs(describe_outputs(logits[:1], model)).verdict


def test_a_regression():
    values, labels = torch.tensor([0.1, 0.3, -0.1]), torch.tensor([0.0, 0.3, 0.0])
    summary = summarize_outputs(OutputDistribution(values, None, labels=labels))
    assert numbers(summary) == pytest.approx(
        {
            "mean": 0.1,
            "std": math.sqrt(0.08 / 3),
            "correlation": np.corrcoef(values, labels)[0, 1],
            "rmse": math.sqrt(0.02 / 3),
            "label_std": math.sqrt(0.02),
        }
    )
    assert "(rmse 0.08165) is below that of always predicting the mean of the truth (0.1414)" in summary.verdict
    assert list(numbers(summarize_outputs(OutputDistribution(values, None)))) == ["mean", "std"]
    one = OutputDistribution(values[:1], None, labels=labels[1:2])
    assert summarize_outputs(one).verdict == "The value is 0.1. The true value is 0.3."
    constant = OutputDistribution(torch.full((3,), 0.1), None, labels=labels)
    assert math.isnan(numbers(summarize_outputs(constant))["correlation"])


def prices(close, spy=None):
    days = pd.date_range("2020-01-01", periods=len(close))
    table = pd.DataFrame({"date": days, "adjusted_close": close})
    return table if spy is None else table.assign(spy=spy)


def test_prices():
    summary = summarize_prices(prices([100, 110, 88.0], [1, 1.05, 0.945]))
    assert numbers(summary) == pytest.approx(
        {"change_percent": -12, "daily_volatility_percent": 15, "largest_move_percent": -20, "spy_correlation": 1}
    )
    assert summary.verdict == (
        "Down 12.0 % over 3 days of prices, 15.0 % volatility per day, largest move -20.0 % on 2020-01-03; "
        "correlation with SPY 1.00."
    )


@pytest.mark.parametrize(
    ("table", "verdict"),
    [
        (
            prices([100.0, 110.0]),
            "Up 10.0 % over 2 days of prices, 0.0 % volatility per day, largest move +10.0 % on 2020-01-02.",
        ),
        (prices([100.0, 110.0, 99.0], [1.0] * 3), "largest move +10.0 % on 2020-01-02."),
        (prices([math.nan, 100.0, math.inf, 110.0]), "Up 10.0 % over 2 days of prices"),
        (prices([100.0, 110.0, 100.01]), "Unchanged over 3 days"),
        (prices([math.nan, 100.0]), "There is only one finite price"),
        (prices([math.nan] * 3), "There is no finite price"),
    ],
    ids=["no market", "a market that stands still", "gaps", "unchanged", "one price", "none"],
)
def test_odd_prices(table, verdict):
    assert verdict in summarize_prices(table).verdict


SUMMARIES = {
    "map": summarize_map,
    "row": lambda weights: summarize_row(weights[0]),
    "gate": summarize_gate,
    "pooling": lambda weights: summarize_pooling(weights[0]),
    "layers": lambda weights: summarize_layers([weights[None], UNIFORM[None]]),
    "heads": lambda weights: summarize_heads(weights[None]),
    "saliency": lambda weights: summarize_saliency([weights]),
    "outputs": lambda weights: summarize_outputs(OutputDistribution(weights, weights)),
    "values": lambda weights: summarize_outputs(OutputDistribution(weights[0], None)),
}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", SUMMARIES)
def test_what_is_no_number_is_said(name, bad):
    summary = SUMMARIES[name](UNIFORM.index_fill(1, torch.tensor([2]), bad))
    assert "are not finite: nothing is computed." in summary.verdict
    assert all(math.isnan(one.value) for one in summary.findings)


@pytest.mark.parametrize("name", [name for name in SUMMARIES if name != "layers"])
def test_nothing_finite_is_said(name):
    assert SUMMARIES[name](torch.full((3, 3), math.nan)).verdict.startswith("There are no finite ")


def test_weights_of_any_kind():
    """Half precision, and with a gradient."""
    weights = COLUMN.half().requires_grad_()
    assert summarize_map(weights) == summarize_map(COLUMN)


#: The seed's lists of what to look for: section, item, and the number that answers it.
SEED = [
    (4, "diagonal pattern", "map", "diagonal_share"),
    (4, "vertical stripes", "map", "stripe_share"),
    (4, "diffuse", "map", "diffuseness"),
    (5, "gate near 0 or 1", "gate", "mean"),
    (5, "mean gate over the window", "gate", "day_std"),
    (6, "lower-triangular", "map", "past_share"),
    (6, "hot spots link distant days", "map", "distance"),
    (7, "peak at recent or earlier days", "pooling", "days_from_peak"),
    (7, "recency bias", "pooling", "recency"),
    (8, "entropy decreasing", "layers", "diffuseness_change"),
    (8, "entropy flat and high", "layers", "last_diffuseness"),
    (8, "sparsity increasing", "layers", "sparsity_change"),
    (9, "different entropies", "heads", "diffuseness_range"),
    (9, "different peak positions", "heads", "distinct_peaks"),
    (9, "all heads identical", "heads", "mean_redundancy"),
    (10, "what drives the prediction", "saliency", "effective_features"),
    (13, "overconfident", "outputs", "nearly_sure_share"),
    (13, "underconfident", "outputs", "mean_normalised_entropy"),
]


@pytest.mark.parametrize(("section", "item", "picture", "name"), SEED)
def test_all_that_the_seed_looks_for_is_a_number(section, item, picture, name):
    found = {one.name: one for one in SUMMARIES[picture](UNIFORM).findings}
    assert found[name].formula
    assert found[name].reading.endswith(".")


def test_the_seed_looks_for_calibration_and_order(make_model):
    model = make_model(label_mode="buckets", bucket_edges=[-1, 0, 1], loss_name="coral")
    summary = summarize_outputs(describe_outputs(torch.zeros(2, 3), model, torch.tensor([0, 1])))
    assert {"calibration_error", "violations_share"} <= set(numbers(summary))


def test_a_summary_as_a_table():
    table = summarize_map(UNIFORM).to_frame()
    assert list(table) == ["name", "value", "formula", "reading"]
    assert table.set_index("name").loc["diffuseness", "value"] == pytest.approx(1)
    assert len(Summary("nothing", ()).to_frame()) == 0


def test_a_calm_and_a_crash_day_of_the_sample(sample):
    dataset, model = sample
    verdicts = {}
    for day in ("2006-11-21", "2008-10-15"):
        window = dataset.window(dataset.index_of(day, "AAPL"))
        shown = capture_attention(model, window.x[None], window.market_x[None])
        verdicts[day] = summarize_map(shown.map("cross", 0)).verdict, summarize_prices(window.prices).verdict
    assert verdicts["2006-11-21"][0].startswith("No step gets twice its even share")
    assert verdicts["2008-10-15"][0].startswith("Vertical stripes: 4 steps get at least twice their even share, 62 %")
    assert verdicts["2006-11-21"][1].startswith("Up 33.3 % over 60 days of prices, 1.7 % volatility per day")
    assert verdicts["2008-10-15"][1].startswith("Down 41.1 % over 60 days of prices, 4.7 % volatility per day")


def test_of_one_day_nothing_is_said():
    one = torch.ones(1, 1)
    for summary in (summarize_map(one), summarize_row(one[0]), summarize_pooling(one[0])):
        assert summary.verdict == "One step: there is no other to attend to."
    assert set(numbers(summarize_saliency([one]))) == {"effective_features", "top_five_share"}


def test_a_head_grid():
    heads = head_statistics([torch.stack([UNIFORM, COLUMN]), torch.stack([IDENTITY, IDENTITY])])
    assert heads[["layer", "head"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert heads["diffuseness"].tolist() == pytest.approx([1, 0, 0, 0], abs=1e-6)
    summary = summarize_head_grid(heads)
    assert summary.verdict == (
        "The most focused of 4 heads by diffuseness is layer 0, head 1 (0.00 of 1), along with 2 other heads; the most "
        "diffuse is layer 0, head 0 (1.00 of 1); the median is 0.00."
    )
    found = numbers(summary)
    assert (found["mean_diffuseness"], found["lowest_diffuseness"]) == pytest.approx((0.25, 0.0), abs=1e-6)
    assert heads["redundancy"].tolist()[2:] == pytest.approx([1, 1], abs=1e-6)
    assert summarize_head_grid(head_statistics([torch.full((1, 2, 2), torch.nan)])).verdict.startswith(
        "There are no fin"
    )


def test_heads_that_are_switched_off_are_left_out_and_named():
    maps = torch.rand(3, 2, 5, 5, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    maps[1, 0] = maps[2] = 0.0
    layers = summarize_layers(list(maps)).verdict
    assert layers.startswith(
        "Left out, without a weight above 0: layer 1 head 0, layer 2 head 0, layer 2 head 1. Alike in every layer: "
    )
    table = head_statistics(list(maps))
    assert table["diffuseness"].isna().tolist() == [False, False, True, False, True, True]
    grid = summarize_head_grid(table).verdict
    assert grid.startswith(
        "Left out, without a weight above 0: layer 1 head 0, layer 2 head 0, layer 2 head 1. The most focused of 3 "
    )
