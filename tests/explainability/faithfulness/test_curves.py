"""Deletion and insertion curves and their verdicts, against closed forms."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from planted import DAY, planted_inputs, planted_model
from scipy.stats import spearmanr
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.explainability import (
    CELL_RANKINGS,
    DAY_RANKINGS,
    attention_effects,
    faithfulness_verdict,
    measure_faithfulness,
    other_windows,
    randomisation_check,
    summarize_faithfulness,
)
from stockformer.explainability.donors import OTHERS
from stockformer.explainability.faithfulness.rankings import rank_by_size
from stockformer.explainability.faithfulness.result import BINS, FRACTIONS
from stockformer.model import create_model


class Linear(nn.Module):
    """The sum of the inputs times fixed weights."""

    def __init__(self, *shape, seed=0):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x):
        return (x * self.weights).sum(dim=(1, 2))


@pytest.fixture
def linear():
    return Linear(20, 5)


def samples(number, *shape):
    generator = torch.Generator().manual_seed(3)
    return [(torch.randn(1, *shape, generator=generator),) for _ in range(number)]


def truth(model, inputs, target):
    return [target.sign * inputs[0][0] * model.weights.detach()]


def reverse(model, inputs, target):
    return [-truth(model, inputs, target)[0]]


def noise(model, inputs, target):
    return [torch.rand(part.shape[1:], generator=torch.Generator().manual_seed(8)) for part in inputs]


def by_hand(model, given):
    """Both curves of a linear model's own contributions: sums of the largest ones, as a share."""
    curves = np.zeros((2, len(FRACTIONS)))
    scale = 0.0
    for (x,) in given:
        parts = (x[0] * model.weights.detach()).flatten().double().numpy()
        sign = np.sign(parts.sum())
        ranked = np.sort(sign * parts)[::-1]
        taken = np.array([ranked[: round(share * len(parts))].sum() for share in FRACTIONS])
        curves += [sign * parts.sum() - taken, taken]
        scale += abs(parts.sum())
    return curves / scale


@pytest.mark.parametrize("number", [1, 4])
def test_curves_of_a_linear_model_are_sums_of_its_parts(linear, number):
    given = samples(number, 20, 5)
    found = measure_faithfulness(linear, given, {"truth": truth})
    deletion, insertion = by_hand(linear, given)
    curves = found.curves[found.curves["ranking"] == "truth"].pivot(index="fraction", columns="kind", values="value")
    np.testing.assert_allclose(curves["deletion"], deletion, atol=1e-4)
    np.testing.assert_allclose(curves["insertion"], insertion, atol=1e-4)
    row = found.table.set_index("ranking").loc["truth"]
    widths = np.diff(FRACTIONS)
    area = [float((widths * (curve[:-1] + curve[1:]) / 2).sum()) for curve in (deletion, insertion)]
    assert row["deletion"] == pytest.approx(area[0], abs=1e-4)
    assert row["insertion"] == pytest.approx(area[1], abs=1e-4)
    assert row["gap"] == pytest.approx(area[1] - area[0], abs=1e-4)
    at = [FRACTIONS.index(share) for share in BINS]
    assert row["comprehensiveness"] == pytest.approx(1 - deletion[at].mean(), abs=1e-4)
    assert row["sufficiency"] == pytest.approx(1 - insertion[at].mean(), abs=1e-4)


def test_verdicts(linear):
    found = measure_faithfulness(linear, samples(12, 20, 5), {"truth": truth, "reverse": reverse, "noise": noise})
    assert [found.table["ranking"].iloc[place] for place in (0, -1)] == ["truth", "reverse"]
    assert faithfulness_verdict(found.table, "truth").startswith("truth is better than input size: deletion ")
    assert faithfulness_verdict(found.table, "noise").startswith("noise is no better than random")
    assert faithfulness_verdict(found.table, "reverse").startswith(
        "reverse is no better than random, and not even as good: "
    )
    table = found.table.set_index("ranking")
    assert table.loc["truth", "p"] == pytest.approx(1 / 201)
    assert table.loc["truth", "p_holm"] == pytest.approx(4 / 201)  # of four rankings, |input| among them
    assert table.loc["reverse", "p"] == 1.0
    assert table.loc["truth", "low"] > 0 > table.loc["reverse", "high"]
    # Of a linear model the random orders' curves are straight lines on average.
    assert table.loc["random", "deletion"] == pytest.approx(0.5, abs=0.1)
    assert table.loc["random", "insertion"] == pytest.approx(0.5, abs=0.1)


class Signed(nn.Module):
    """Plus or minus the sum of what it is given, by a fixed weight a cell."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign
        self.weights = nn.Parameter(torch.linspace(0.0, 4.0, 100).view(20, 5))

    def forward(self, x):
        return self.sign * (x * self.weights).sum(dim=(1, 2))


@pytest.mark.parametrize("ranking", ["gradient", "input_x_gradient"])
def test_what_pulls_the_target_down_is_judged_as_what_pushes_it_up(ranking):
    given = [(torch.ones(1, 20, 5),)]
    found = [measure_faithfulness(Signed(sign), given, {ranking: CELL_RANKINGS[ranking]}).table for sign in (1, -1)]
    for one in found:
        row = one.set_index("ranking").loc[ranking]
        assert row["verdict"] == "better than random"
        assert row["insertion"] > 0.65
    assert found[0].equals(found[1])


def test_days_that_pull_the_target_down_are_found():
    model, inputs = planted_model(), planted_inputs()
    with torch.no_grad():
        model.reg_head[3].weight[0, 0] = -1.0
    found = measure_faithfulness(model, [inputs], DAY_RANKINGS)
    for name in ("mean attention", "rollout", "relevance", "integrated_gradients", "occlusion"):
        assert found.scores[name][0][6:].argmax() == DAY, name


def still(model, x):
    model.weights.data.zero_()
    return x


def broken(model, x):
    model.weights.data.fill_(np.nan)
    return x


def empty(model, x):
    return torch.zeros_like(x)


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("spoil", [still, broken, empty])
def test_nothing_to_measure_is_no_success(linear, spoil, number):
    given = [(spoil(linear, x),) for (x,) in samples(number, 20, 5)]
    found = measure_faithfulness(linear, given, {"truth": truth})
    row = found.table.set_index("ranking").loc["truth"]
    assert row["verdict"] == "not measurable"
    assert np.isnan(row["p"])
    assert faithfulness_verdict(found.table, "truth") == (
        "truth is not measurable: the target is not a number, or never differs from that of the training mean."
    )


def test_an_order_that_all_share_is_no_better_than_random(linear):
    x = torch.zeros(1, 20, 5)
    x[0, 3, 1] = 2.0
    row = measure_faithfulness(linear, [(x,)], {"truth": truth}).table.set_index("ranking").loc["truth"]
    assert (row["p"], row["verdict"]) == (1.0, "no better than random")


def test_equal_scores_are_in_random_order(linear):
    equal = {"equal": lambda model, inputs, target: [torch.zeros(20, 5)]}
    row = measure_faithfulness(linear, samples(32, 20, 5), equal).table.set_index("ranking").loc["equal"]
    assert row["low"] < 0 < row["high"]


def test_a_verdict_on_one_sample_comes_from_its_random_orders(linear):
    found = measure_faithfulness(linear, samples(1, 20, 5), {"truth": truth, "reverse": reverse})
    assert np.isnan(found.table.set_index("ranking").loc["truth", "low"])
    assert dict(zip(found.table["ranking"], found.table["verdict"], strict=True)) == {
        "truth": "better than random",
        "|input|": "no better than random",
        "random": "",
        "reverse": "no better than random",
    }


def test_the_band_holds_nine_of_ten_random_orders(linear):
    """Half of a linear model's parts, drawn without order, have a known mean and variance."""
    given = samples(1, 20, 5)
    found = measure_faithfulness(linear, given, {"truth": truth}, orders=2000)
    parts = (given[0][0][0] * linear.weights.detach()).flatten().double().numpy()
    parts /= parts.sum()
    deviation = np.sqrt(50 * parts.var(ddof=1) * (1 - 50 / 100))
    band = found.curves.query("ranking == 'random' and kind == 'deletion' and fraction == 0.5").iloc[0]
    assert band["low"] == pytest.approx(0.5 - 1.645 * deviation, abs=0.15 * deviation)
    assert band["high"] == pytest.approx(0.5 + 1.645 * deviation, abs=0.15 * deviation)


def test_what_is_at_the_training_mean_has_no_rank(linear):
    x = samples(1, 20, 5)[0][0]
    x[..., 2:] = 0.0
    found = measure_faithfulness(linear, [(x,)], {"truth": truth})
    assert len(found.scores["truth"][0]) == 40
    ranked = np.sort(found.scores["truth"][0])[::-1]
    curve = found.curves.query("ranking == 'truth' and kind == 'insertion'").set_index("fraction")["value"]
    assert curve[0.1] == pytest.approx(ranked[:4].sum() / ranked.sum(), abs=1e-4)


def test_days_move_whole(linear):
    given = samples(3, 20, 5)
    days = {"truth": lambda model, inputs, target: [truth(model, inputs, target)[0].sum(dim=-1)]}
    found = measure_faithfulness(linear, given, days)
    assert found.unit == "day"
    curves = np.zeros(2)
    for (x,) in given:
        parts = (x[0] * linear.weights.detach()).sum(dim=-1).double().numpy()
        sign = np.sign(parts.sum())
        curves += [np.sort(sign * parts)[::-1][:4].sum(), abs(parts.sum())]
    curve = found.curves.query("ranking == 'truth' and kind == 'insertion'").set_index("fraction")["value"]
    assert curve[0.2] == pytest.approx(curves[0] / curves[1], abs=1e-4)


def test_agreement_is_spearmans(linear):
    given = samples(3, 20, 5)
    found = measure_faithfulness(linear, given, {"truth": truth, "reverse": reverse, "noise": noise})
    table = found.agreement()
    assert table.loc["truth", "reverse"] == pytest.approx(-1.0)
    expected = []
    for (x,) in given:
        parts = (x[0] * linear.weights.detach()).flatten()
        ranks = parts if parts.sum() > 0 else -parts
        expected.append(spearmanr(ranks, noise(linear, (x,), None)[0].flatten())[0])
    assert table.loc["truth", "noise"] == table.loc["noise", "truth"] == pytest.approx(np.mean(expected))


def test_random_weights_give_another_picture_unless_the_method_shows_the_input(linear):
    given = samples(4, 20, 5)

    class Ignores(nn.Module):
        """Has weights, and does not use them."""

        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(2, 2)

        def forward(self, x):
            return x.sum(dim=(1, 2))

    alike = randomisation_check(Ignores(), given, ["input_x_gradient"]).iloc[0]
    assert (alike["signed"], alike["absolute"]) == (pytest.approx(1.0), pytest.approx(1.0))
    torch.manual_seed(11)
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 1, bias=False), nn.Flatten(0))
    before = copy.deepcopy(model.state_dict())
    found = randomisation_check(model, given, ["gradient", "input_x_gradient"]).set_index("method")
    own = model[1].weight[0].detach()
    signed, absolute = [], []
    for seed in range(5):
        torch.manual_seed(seed)
        other = nn.Linear(100, 1, bias=False).weight[0].detach()
        signed.append(spearmanr(own, other)[0])
        absolute.append(spearmanr(own.abs(), other.abs())[0])
    for name, each in (("signed", signed), ("absolute", absolute)):
        assert found.loc["gradient", name] == pytest.approx(np.mean(each), abs=1e-6)
        assert found.loc["gradient", f"{name}_std"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)
    constant = nn.Linear(100, 1, bias=False)
    nn.init.zeros_(constant.weight)
    silent = randomisation_check(nn.Sequential(nn.Flatten(), constant, nn.Flatten(0)), given, ["gradient"])
    assert silent[["signed", "absolute"]].isna().all(axis=None)  # it ranks nothing: no success either
    shuffled = randomisation_check(linear, given, ["gradient"])  # weights of no module that torch can reset
    assert abs(shuffled["signed"].iloc[0]) < 0.5
    # The input's size alone makes the magnitudes alike.
    assert found.loc["input_x_gradient", "absolute"] > 0.3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_attention_effects_are_those_of_models_changed_by_hand(model, inputs):
    one = tuple(part[:1] for part in inputs)
    table = attention_effects(model, *one).set_index(["kind", "layer"])
    assert len(table) == 2 + 2 + 1
    by_hand = copy.deepcopy(model)
    attention = by_hand.cross_attn_layers[1].cross_attn
    with torch.no_grad():
        attention.in_proj_weight[:8].zero_()
        attention.in_proj_bias[:8].zero_()
        column = int(model(*one).argmax())
        margins = [output[0, column] - output[0, 1 - column] for output in (by_hand(*one), model(*one))]
    assert table.loc[("cross", 1), "flat"] == pytest.approx(float(margins[0] - margins[1]), abs=1e-6)
    assert (table["permuted"] != 0).all()


def test_a_row_is_the_same_whichever_other_rows_there_are(linear):
    given = samples(6, 20, 5)
    equal = {"equal": lambda model, inputs, target: [torch.zeros(20, 5)]}
    alone = measure_faithfulness(linear, given, equal)
    beside = measure_faithfulness(linear, given, {"noise": noise, "truth": truth, **equal})
    rows = [one.table.set_index("ranking").drop(columns=["p_holm", "verdict"]) for one in (alone, beside)]
    for name in ("equal", "|input|", "random"):
        assert rows[0].loc[name].equals(rows[1].loc[name])
        curves = [one.curves[one.curves["ranking"] == name].reset_index(drop=True) for one in (alone, beside)]
        assert curves[0].equals(curves[1])


def test_equal_scores_are_ordered_anew_in_every_window(linear):
    x = torch.ones(1, 20, 5)
    equal = {"equal": lambda model, inputs, target: [torch.zeros(20, 5)]}
    one, two = (measure_faithfulness(linear, [(x,)] * number, equal).curves for number in (1, 2))
    value = [
        table.query("ranking == 'equal' and kind == 'insertion' and fraction == 0.5")["value"] for table in (one, two)
    ]
    assert float(value[0].iloc[0]) != float(value[1].iloc[0])


def test_random_orders_come_with_their_reverses(linear):
    """What an order leaves is what its reverse puts back, so the mean gap of random orders is 0."""
    for model in (linear, planted_model()):
        given = samples(3, 20, 5) if model is linear else [planted_inputs()]
        row = measure_faithfulness(model, given, {"equal": rank_by_size}).table.set_index("ranking").loc["random"]
        assert row["gap"] == pytest.approx(0.0, abs=1e-9)


def test_the_size_of_the_input_is_measured_beside_every_ranking(linear):
    given = samples(3, 20, 5)
    table = measure_faithfulness(linear, given, {"mine": rank_by_size}).table.set_index("ranking")
    numbers = table.drop(columns=["verdict"])
    assert numbers.loc["mine"].equals(numbers.loc["|input|"])  # no scores are equal, so ties do not matter


def test_the_fixed_formula_of_a_linear_model_is_the_model(linear):
    given = samples(12, 20, 5)
    table = measure_faithfulness(linear, given, {"truth": truth, "noise": noise}, training=samples(5, 20, 5)).table
    rows = table.set_index("ranking")
    assert rows.loc["fixed linear", "gap"] == pytest.approx(rows.loc["truth", "gap"], abs=1e-6)
    assert rows.loc["truth", "verdict"] == "better than input size"  # not than its like
    assert rows.loc["fixed linear", "verdict"] == "better than input size"
    assert rows.loc["noise", "verdict"] == "no better than random"


def test_an_explanation_of_the_window_beats_the_formula_that_is_fixed_for_all():
    """The sign of the first cell says which way all others count."""

    class Switched(nn.Module):
        def forward(self, x):
            return x[:, 0, 0].sign() * (x[:, 1:] * torch.linspace(-1.0, 1.0, 95).view(19, 5)).sum(dim=(1, 2))

    def knows(model, inputs, target):
        x = inputs[0][0]
        weights = torch.cat([torch.zeros(1, 5), torch.linspace(-1.0, 1.0, 95).view(19, 5)])
        return [target.sign * x[0, 0].sign() * weights * x]

    found = measure_faithfulness(Switched(), samples(24, 20, 5), {"knows": knows}, training=samples(200, 20, 5)[100:])
    rows = found.table.set_index("ranking")
    assert rows.loc["knows", "verdict"].startswith("better than ")
    assert rows.loc["knows", "verdict"] != "better than random"
    assert rows.loc["knows", "gap"] > rows.loc["fixed linear", "gap"]


def test_one_block_is_no_test(linear):
    found = measure_faithfulness(linear, samples(6, 20, 5), {"truth": truth}, blocks=[0] * 6)
    row = found.table.set_index("ranking").loc["truth"]
    assert found.blocks == 1
    assert np.isnan(row["low"])
    assert row["verdict"] == "better than random"  # of random orders; there is no test against |input|


def test_rankings_that_know_nothing_are_seldom_better_than_random(linear):
    """At random once for all windows or in every one: of 40 rankings about two have a p below 0.05."""
    given = samples(10, 20, 5)

    def once(number):
        scores = torch.rand(20, 5, generator=torch.Generator().manual_seed(number))
        return lambda model, inputs, target: [scores]

    def anew(number):
        generator = torch.Generator().manual_seed(number)
        return lambda model, inputs, target: [torch.rand(20, 5, generator=generator)]

    for make in (once, anew):
        found = measure_faithfulness(linear, given, {f"null {number}": make(number) for number in range(40)})
        nulls = found.table[found.table["ranking"].str.startswith("null")]
        assert (nulls["p"] <= 0.05).sum() <= 7  # the 99.9 % quantile of a binomial of 40 at 0.05
        assert (nulls["verdict"] == "no better than random").all()


def test_the_same_call_gives_the_same_numbers(linear):
    given = samples(2, 20, 5)
    one, other = (measure_faithfulness(linear, given, {"truth": truth}) for _ in range(2))
    assert one.table.equals(other.table)


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ([], {}, "there are no samples to measure on"),
        (samples(1, 20, 5), {"rankings": {}}, r"expected rankings to measure, .* found \[\]"),
        (
            samples(1, 20, 5),
            {"rankings": {"random": truth}},
            "none of them called random, .input., fixed linear; found",
        ),
        (
            samples(1, 20, 5),
            {"rankings": {"a": lambda m, x, t: [truth(m, x, t)[0][:, :3]]}},
            r"a gives scores of shapes \[\[20, 3\]\], expected \[\[20, 5\]\]",
        ),
        (
            samples(1, 20, 5),
            {"rankings": {"a": truth}, "orders": 5},
            "orders is 5, expected at least 39 for 2 rankings with the references",
        ),
        (samples(2, 20, 5), {"blocks": [0]}, "there are 1 blocks for 2 samples, expected one each"),
        (
            samples(1, 20, 5),
            {"rankings": {"a": truth, "b": lambda m, x, t: [truth(m, x, t)[0].sum(dim=-1)]}},
            "some rankings are of cells and some of days: measure them separately",
        ),
    ],
)
def test_errors(linear, given, options, message):
    with pytest.raises(ValueError, match=message):
        measure_faithfulness(linear, given, **options)


def test_the_shipped_model_and_its_methods(sample):
    """Every ranking runs on a real window; absent features cannot be moved."""
    dataset, model = sample
    window = dataset.window(100)
    rankings = {name: CELL_RANKINGS[name] for name in ("integrated_gradients", "gradient")}
    found = measure_faithfulness(model, [(window.x[None], window.market_x[None])], rankings)
    assert len(found.scores["gradient"][0]) <= 60 * (41 + 11 - len(dataset.unavailable))
    ends = found.curves.pivot(index=["ranking", "kind"], columns="fraction", values="value")
    np.testing.assert_allclose(ends.xs("deletion", level="kind")[[0.0, 1.0]], [[1.0, 0.0]] * 4, atol=1e-4)
    np.testing.assert_allclose(ends.xs("insertion", level="kind")[[0.0, 1.0]], [[0.0, 1.0]] * 4, atol=1e-4)


def other_by_hand(model, given, others):
    """Both curves of a linear model with the mean of other windows in place of what is taken out."""
    curves, scale = np.zeros((2, len(FRACTIONS))), 0.0
    for (x,), each in zip(given, others, strict=True):
        (mean,) = (torch.stack(parts).mean(dim=0) for parts in zip(*each, strict=True))
        parts = ((x - mean)[0] * model.weights.detach()).flatten().double().numpy()
        parts *= np.sign(parts.sum())
        # The truth of the sample itself ranks, not that of its difference from the others.
        own = (x[0] * model.weights.detach()).flatten().double().numpy()
        own *= np.sign(float(model(x - mean).item()))
        ranked = parts[np.argsort(-own)]
        taken = np.array([ranked[: round(share * len(parts))].sum() for share in FRACTIONS])
        curves += [parts.sum() - taken, taken]
        scale += parts.sum()
    return curves / scale


def test_other_windows_take_the_place_of_what_is_taken_out(linear):
    given = samples(4, 20, 5)
    generator = torch.Generator().manual_seed(9)
    others = [[(torch.randn(1, 20, 5, generator=generator),) for _ in range(3)] for _ in given]
    found = measure_faithfulness(linear, given, {"truth": truth}, others=others)
    for result, expected in ((found, by_hand(linear, given)), (found.second, other_by_hand(linear, given, others))):
        curves = result.curves[result.curves["ranking"] == "truth"]
        for kind, values in zip(("deletion", "insertion"), expected, strict=True):
            np.testing.assert_allclose(curves.loc[curves["kind"] == kind, "value"], values, atol=1e-4)
    assert found.table.equals(measure_faithfulness(linear, given, {"truth": truth}).table)
    # Alone and beside others, a sample has the same curves.
    alone = measure_faithfulness(linear, given[2:3], {"truth": truth}, others=others[2:3]).second
    np.testing.assert_array_equal(alone.scores["truth"][0], found.second.scores["truth"][2])


def test_a_feature_that_only_the_mean_moves(linear):
    """Other windows that agree with the sample in a cell leave nothing to take out there."""
    (x,) = samples(1, 20, 5)[0]
    other = x.clone()
    other[..., :2] += 1.0
    found = measure_faithfulness(linear, [(x,)], {"truth": truth}, others=[[(other,)]])
    assert len(found.scores["truth"][0]) == 100
    assert len(found.second.scores["truth"][0]) == 40


def test_sentences_of_both_removals(linear):
    given = samples(12, 20, 5)
    # Windows that are the sample but for noise: nothing of its own is taken out.
    generator = torch.Generator().manual_seed(9)
    others = [[(x + torch.randn(x.shape, generator=generator),)] for (x,) in given]
    found = measure_faithfulness(linear, given, {"truth": truth, "noise": noise}, others=others)
    second = found.second.table
    verdicts = {name: each.set_index("ranking")["verdict"] for name, each in (("one", found.table), ("two", second))}
    assert (verdicts["one"]["truth"], verdicts["two"]["truth"]) == (
        "better than input size",
        "no better than random",
    )
    for name, agree in (("truth", "disagree"), ("noise", "agree")):
        said = faithfulness_verdict(found.table, name, second)
        assert said.startswith(faithfulness_verdict(found.table, name))
        gap = second.set_index("ranking").loc[name, "gap"]
        assert f" With other windows in place of the training mean it is {verdicts['two'][name]}" in said
        assert f", gap {gap:.2f} (random 0.00, |input| " in said
        assert said.endswith(f": the two {agree}.")
    largest = [each.query("ranking in ('truth', 'noise')")["gap"].max() for each in (found.table, second)]
    assert summarize_faithfulness(found).verdict.endswith(
        " With other windows in place of the training mean: 0 of 2; the verdicts on 1 are the same, and the "
        f"largest gap is {largest[1]:.2f} instead of {largest[0]:.2f}."
    )


def test_random_rankings_are_seldom_better_with_other_windows():
    """A small version of `benchmarks/faithfulness_level.py`: aimed at is at most 5 %."""
    wrong, rng = 0, np.random.default_rng(0)
    for panel in range(40):
        model = Linear(4, 3, seed=panel)
        given = [(torch.from_numpy(rng.normal(size=(1, 4, 3))).float(),) for _ in range(8)]
        others = [[(torch.from_numpy(rng.normal(size=(1, 4, 3))).float(),) for _ in range(2)] for _ in given]
        scores = torch.from_numpy(rng.random((4, 3)))
        one = {"one": lambda model, inputs, target, scores=scores: [scores]}
        table = measure_faithfulness(model, given, one, others=others, orders=40).second.table
        wrong += table.set_index("ranking").loc["one", "verdict"] != "no better than random"
    assert wrong <= 6  # with a chance of 5 % at most this many in 99.7 % of all runs


def test_other_windows_that_do_not_fit(linear):
    given = samples(2, 20, 5)
    for others, message in (
        ([[given[1]]], "there are other windows for 1 of 2 samples, expected some for each"),
        ([[given[1]], []], "there is no other window for sample 1 of those to measure, expected at least one"),
        ([[given[1]], [(given[0][0][:, :7],)]], "another window for sample 1 has inputs [[1, 7, 5]], expected [[1, 20"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            measure_faithfulness(linear, given, {"truth": truth}, others=others)


def test_all_that_share_the_largest_gap_are_named(linear):
    found = measure_faithfulness(linear, samples(12, 20, 5), {"truth": truth, "noise": noise, "twin": truth})
    best = [f"{name} (better than input size)" for name in ("truth", "twin")]
    verdict = summarize_faithfulness(found).verdict
    assert any(f"; the largest gap is that of {' and '.join(order)}." in verdict for order in (best, best[::-1]))


def test_one_block_of_days_is_said(linear):
    found = measure_faithfulness(linear, samples(3, 20, 5), {"truth": truth}, blocks=[0, 0, 0])
    assert np.isnan(found.table.set_index("ranking").loc["truth", "low"])
    assert summarize_faithfulness(found).verdict.endswith(" All are in one block of days, so there is no interval.")


def test_windows_of_one_day(make_table):
    dataset = StockDataset(make_table(), ["f0", "f1"], ["m0"], lookback=1, target_col="close_3d_fwd_return")
    others, note = other_windows(dataset, [0, 30])
    assert note == ""
    assert [len(each) for each in others] == [OTHERS, OTHERS]
    model = create_model(2, "binary", None, {"d_model": 4, "nhead": 1, "num_layers": 1, "market_feature_dim": 1})
    given = [dataset.window(index).inputs for index in (0, 30)]
    ranking = {"gradient": CELL_RANKINGS["gradient"]}
    found = measure_faithfulness(model, given, ranking, others=others)
    assert len(found.second.scores["gradient"][0]) == 3
