"""Groups of windows: against a plain loop over single windows, and planted differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import entr
from scipy.stats import entropy
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.explainability import (
    WhatIf,
    capture_attention,
    changed_model,
    compare_groups,
    measure_windows,
    window_groups,
)
from stockformer.explainability.groups.comparison import GroupComparison
from stockformer.model import create_model
from stockformer.preprocessing import TRAINED_HERE

STOCK, MARKET = ["f0", "f1", "f2"], ["m0", "m1"]
SIZES = {"d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 12, "market_layers": 1, "market_feature_dim": 2}


def make_dataset(label_mode="binary", market=True, **options) -> StockDataset:
    rng = np.random.default_rng(0)
    tables = []
    for ticker in ("AAA", "BBB"):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 40)))
        prices = dict.fromkeys(("open", "high", "low", "adjusted_close"), close)
        features = {name: rng.normal(size=40) for name in STOCK + MARKET}
        dates = pd.bdate_range("2020-01-01", periods=40)
        tables.append(pd.DataFrame({"date": dates, "symbol": ticker, **prices, "volume": 1.0, **features}))
    edges = [-1.0, 0.0, 1.0] if label_mode == "buckets" else None
    columns = STOCK, MARKET if market else None
    options = {"label_mode": label_mode, "bucket_edges": edges, **options}
    return StockDataset(pd.concat(tables), *columns, lookback=8, **options)


def make_model(label_mode="binary", model_type="cross_attention", **more) -> nn.Module:
    torch.manual_seed(0)
    edges = [-1.0, 0.0, 1.0] if label_mode == "buckets" else None
    model = create_model(3, label_mode, edges, SIZES | more, model_type).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(2.0)
    return model


@pytest.fixture(scope="module")
def dataset() -> StockDataset:
    return make_dataset()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return make_model()


def one_window(model, dataset, index) -> dict[str, float]:
    """Every measure of one window by numpy."""
    inputs = [part[None] for part in (dataset.window(index).x, dataset.window(index).market_x) if part is not None]
    shown = capture_attention(model, *inputs)
    found = {f"gate layer {n}": float(gate.numpy().mean()) for n, gate in enumerate(shown.gates.values())}
    for kind, layers in shown.kinds.items():
        entropies, recent = [], []
        for weights in layers:
            for row in weights.numpy().reshape(-1, 8).astype(float):
                entropies.append(entropy(row) / math.log(8))
                recent.append(row[-2:].sum())
        found |= {f"{kind} diffuseness": np.mean(entropies), f"{kind} recency": np.mean(recent)}
    found["pooling recency"] = float(shown.pooling[0, -2:].sum())
    leaves = [part.clone().requires_grad_() for part in inputs]
    output = model(*leaves)[0]
    if model.label_mode == "binary":
        (output.max() - output.min()).backward()
    elif model.use_coral:
        (1 / (1 + (-output).exp())).sum().backward()
    else:
        output.max().backward()
    if len(leaves) == 2:
        sums = [float((leaf.grad * leaf).abs().sum()) for leaf in leaves]
        found["market share"] = sums[1] / sum(sums)
    output = output.detach().numpy().astype(float)
    if model.label_mode == "regression":
        return found | {"value": float(output)}
    if model.use_coral:
        above = 1 / (1 + np.exp(-output))
        shares, predicted = -np.diff(np.r_[1.0, sorted(above, reverse=True), 0.0]), (above > 0.5).sum()
    else:
        shares, predicted = np.exp(output - output.max()) / np.exp(output - output.max()).sum(), output.argmax()
    return found | {"confidence": shares[predicted], "relative entropy": entr(shares).sum() / math.log(len(shares))}


CASES = {
    "binary": (lambda: make_model(), lambda: make_dataset()),
    "regression": (lambda: make_model("regression"), lambda: make_dataset("regression")),
    "coral": (lambda: make_model("buckets", loss_name="coral"), lambda: make_dataset("buckets")),
    "encoder": (lambda: make_model(model_type="encoder"), lambda: make_dataset(market=False)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_window_is_as_alone(name):
    model, dataset = (make() for make in CASES[name])
    group_a, group_b = range(20, 40, 2), range(21, 40, 2)  # the last windows of one ticker, the first of the other
    found = compare_groups(model, dataset, group_a, group_b, batch_size=7, resamples=20)
    assert found.windows["sample"].tolist() == list(range(20, 40))
    expected = pd.DataFrame([one_window(model, dataset, index) for index in range(20, 40)])
    assert list(found.windows.columns[3:]) == list(expected.columns)
    np.testing.assert_allclose(found.windows[expected.columns], expected, rtol=2e-4, atol=2e-5)
    means = expected[::2].mean().to_numpy(), expected[1::2].mean().to_numpy()
    np.testing.assert_allclose(found.table["mean_a"], means[0], rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(found.table["difference"], means[0] - means[1], rtol=0.02, atol=2e-5)


def test_mean_maps(model, dataset):
    found = compare_groups(model, dataset, [3, 4, 9], [30, 31], batch_size=2, resamples=10)
    for number, group in enumerate(([3, 4, 9], [30, 31])):
        shown = [dataset.window(index) for index in group]
        captures = [capture_attention(model, one.x[None], one.market_x[None]) for one in shown]
        for kind, layers in captures[0].kinds.items():
            for layer in range(len(layers)):
                mean = torch.stack([capture.map(kind, layer) for capture in captures]).mean(dim=0)
                torch.testing.assert_close(found.maps[kind][layer, number], mean, atol=1e-6, rtol=1e-5)


def test_batches_do_not_matter(model, dataset):
    tables = [
        compare_groups(model, dataset, range(20), range(25, 45), batch_size=size, resamples=50).table.drop(
            columns="measure"
        )
        for size in (1, 13)
    ]
    np.testing.assert_allclose(*tables, rtol=1e-3, atol=1e-5)


def test_a_mask_and_negative_indices_are_windows_too(model, dataset):
    mask = np.zeros(len(dataset), dtype=bool)
    mask[-3:] = True
    by_mask = compare_groups(model, dataset, mask, [0, 1], resamples=10).windows
    by_index = compare_groups(model, dataset, [-1, -2, -3, -3], [1, 0], resamples=10).windows
    pd.testing.assert_frame_equal(by_mask, by_index)
    assert by_mask["group"].tolist() == ["b", "b", "a", "a", "a"]


def test_windows_in_neither_group_serve_the_shifts_only(model, dataset):
    random = np.random.default_rng(0).permutation(len(dataset))
    comparison = compare_groups(model, dataset, random[:20], random[20:40])
    assert sorted(comparison.windows["sample"]) == sorted(random[:40])
    expected = pd.DataFrame([one_window(model, dataset, index) for index in np.sort(random[:40])])
    np.testing.assert_allclose(comparison.windows[expected.columns], expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(comparison.table["std"], expected.std(ddof=0), rtol=0.02, atol=2e-5)
    assert 0 < comparison.shifts < dataset.end_dates.nunique()


def test_shifts_move_over_all_days_of_the_tickers(model, dataset):
    """Shifts between the first and the last grouped day would make neighbours of the two in each of them."""
    days = np.unique(dataset.end_dates)
    inside = np.flatnonzero(np.isin(dataset.end_dates, days[3:-3]))
    group_a, group_b = inside[np.isin(inside % 5, (0, 3))][:20], inside[np.isin(inside % 5, (1, 2, 4))][:20]
    assert compare_groups(model, dataset, group_a, group_b).shifts == len(days) - 1


def test_a_group_of_few_windows_is_not_tested(model, dataset):
    for fewer, tested in ((19, False), (20, True)):
        comparison = compare_groups(model, dataset, range(1, 2 * fewer + 1, 2), range(0, len(dataset), 2))
        assert comparison.table[["low", "high", "p", "p_adjusted"]].notna().any(axis=None) == tested
        assert comparison.verdict.startswith("Not tested: too few windows (19 in a); ") != tested


def test_one_stretch_against_the_next_has_no_p_value(model, dataset):
    days = np.unique(dataset.end_dates)
    comparison = compare_groups(
        model,
        dataset,
        np.isin(dataset.end_dates, days[:10]),
        np.isin(dataset.end_dates, days[12:22]),
    )
    assert comparison.table[["low", "high", "p", "p_adjusted"]].isna().all(axis=None)
    assert comparison.verdict.startswith("Too few changes between a and b to tell a difference from a trend: ")
    assert not comparison.differs.any()


def test_tickers_are_compared_day_by_day(model, dataset, monkeypatch):
    monkeypatch.setattr(dataset, "lookback", 5)  # 33 days hold five blocks of 5 days, not of 8
    comparison = compare_groups(model, dataset, *window_groups(model, dataset, "ticker").values())
    assert comparison.shifts == 0
    assert comparison.table[["low", "high", "p"]].notna().all(axis=None)
    outside = (comparison.table["low"] > 0) | (comparison.table["high"] < 0)
    assert (outside == (comparison.table["p"] < 0.05)).all()


def test_heads_that_are_switched_off_have_no_part_in_the_measures(model, dataset):
    x, _, market = dataset[0]
    shown = capture_attention(model, x[None], market[None])
    with changed_model(model, WhatIf(heads_off=[("self", 1, 0)]), shown):
        without = measure_windows(model, x[None], market[None])
        changed = capture_attention(model, x[None], market[None])
    first, second = (layer[0].numpy() for layer in changed.kinds["self"])
    assert not second[0].any()
    rows = [entr(first).sum(axis=-1).mean(), entr(second[1]).sum(axis=-1).mean()]
    assert float(without["self diffuseness"]) == pytest.approx(np.mean(rows) / math.log(8), rel=1e-5)


def test_window_groups(model, dataset):
    groups = window_groups(model, dataset, "volatility")
    volatility = dataset.volatility
    assert volatility[groups["calm"]].max() < volatility[groups["volatile"]].min()
    assert len(groups["calm"]) == pytest.approx(len(dataset) / 4, abs=1)
    tickers = window_groups(model, dataset, "ticker")
    assert list(tickers) == ["AAA", "BBB"]
    assert set(dataset.end_tickers[tickers["BBB"]]) == {"BBB"}
    correct = window_groups(model, dataset, "correct")
    for name, right in (("right", True), ("wrong", False)):
        for index in correct[name]:
            x, y, market = dataset[int(index)]
            with torch.no_grad():
                assert (int(model(x[None], market[None]).argmax()) == int(y)) == right
    assert len(correct["right"]) + len(correct["wrong"]) == len(dataset)


def test_the_verdict(model, dataset):
    names = ("even", "odd")
    groups = range(0, len(dataset), 2), range(1, len(dataset), 2)
    verdict = compare_groups(model, dataset, *groups, names=names, resamples=10).verdict
    assert verdict.startswith("Not tested: shifts of the calendar give too few groups other than even and odd (")
    assert "Little data: the windows of even end on " in verdict
    assert verdict.endswith("days; 8 in a row share days.")


@pytest.mark.parametrize(
    ("group_a", "group_b", "error", "message"),
    [
        ([], [1, 2], ValueError, "group 'a' has 0 windows, expected at least 2"),
        ([1, 2], [5], ValueError, "group 'b' has 1 windows, expected at least 2"),
        ([1, 2], [2, 3], ValueError, "1 windows are in both groups, 2 for one"),
        ([1, 99], [2, 3], IndexError, "group 'a' has window 99, but the dataset has"),
        ([0.5, 1.5], [2, 3], TypeError, "group 'a' holds float64, expected indices"),
        (np.ones(3, dtype=bool), [2, 3], ValueError, "group 'a' has 3 booleans for"),
    ],
)
def test_groups_that_cannot_be_compared(model, dataset, group_a, group_b, error, message):
    with pytest.raises(error, match=message):
        compare_groups(model, dataset, group_a, group_b)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": 0}, "resamples is 0, expected at least 1"),
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        ({"names": ("x", "x")}, r"names is \('x', 'x'\), expected two different ones"),
        ({"names": ("x", "y", "z")}, "expected two different ones"),
    ],
)
def test_options_that_make_no_sense(model, dataset, options, message):
    with pytest.raises(ValueError, match=message):
        compare_groups(model, dataset, [0, 1], [2, 3], **options)


def test_other_models_and_groupings(model, dataset):
    with pytest.raises(TypeError, match="the output of Linear has no known meaning"):
        compare_groups(nn.Linear(3, 3), dataset, [0, 1], [2, 3])
    with pytest.raises(ValueError, match="by is 'moon', expected one of volatility, correct, ticker"):
        window_groups(model, dataset, "moon")
    with pytest.raises(ValueError, match="not right or wrong"):
        window_groups(make_model("regression"), make_dataset("regression"), "correct")


def test_the_model_is_as_it_was(dataset):
    model = make_model().train()
    model.final_norm.eval()
    before = [module.training for module in model.modules()]
    compare_groups(model, dataset, [0, 1], [2, 3], resamples=10)
    assert [module.training for module in model.modules()] == before
    assert all(weights.grad is None for weights in model.parameters())
    assert not nn.modules.module._global_forward_hooks
    x, _, market = dataset[0]
    assert set(measure_windows(model, x[None], market[None])) >= {"market share", "gate layer 1"}


def comparison_of(p, difference, shifts=200, tickers=((5, 5), (5, 5))):
    """Measures a, b, ... with these adjusted p-values and differences in standard deviations."""
    count = len(p)
    table = pd.DataFrame({"measure": list("abcde"[:count]), "mean_b": 0.0, "std": 2.0, "p": p, "p_adjusted": p})
    table["mean_a"] = table["difference"] = 2.0 * np.array(difference)
    windows = pd.DataFrame({"group": ["one", "other"] * 500, "date": pd.bdate_range("2020-01-01", periods=1000)})
    share = pd.DataFrame(tickers, index=["AAA", "BBB"], columns=["one", "other"])
    return GroupComparison(("one", "other"), windows, table, {}, 5, shifts, share)


@pytest.mark.parametrize(
    ("p", "difference", "words"),
    [
        (
            [1 / 201, 0.3],
            [1, 2],
            "1 of 2 measures differs; clearest: a is higher in one (2) than in other (0), p < 0.005",
        ),
        (
            [0.04, 0.012],
            [1, -1],
            "2 of 2 measures differ; clearest: b is lower in one (-2) than in other (0), p = 0.012",
        ),
        (
            [1 / 201, 1 / 201, 0.04],
            [1, -3, 4],
            "3 of 3 measures differ; of 2 with the smallest p, the largest in deviations: b is lower",
        ),
        (
            [1 / 201],
            [1],
            "1 of 1 measure differs; clearest: a is higher in one (2) than in other (0), p < 0.005 after ",
        ),
    ],
)
def test_the_clearest_difference(p, difference, words):
    assert comparison_of(p, difference).verdict.startswith(words)


def test_a_difference_that_the_tickers_may_make():
    alike = "No measure tells one from other: the differences could be chance."
    assert comparison_of([0.5], [1]).verdict == alike
    assert comparison_of([0.5], [1], tickers=((50, 55), (50, 45))).verdict == alike
    assert comparison_of([0.5], [1], tickers=((40, 1), (10, 9))).verdict == (
        f"{alike[:-1]}, or due to the tickers, whose shares of the groups differ (AAA: 80 % of one and 10 % of other)."
    )


def test_the_market_share_is_measured_from_the_training_mean(model, dataset):
    raw = make_dataset(preprocessing=replace(TRAINED_HERE, market_is_normalized=False))
    values = compare_groups(model, raw, [0, 2, 4], [1, 3, 5], resamples=10).windows
    for place, index in enumerate(values["sample"]):
        window = raw.window(int(index))
        leaves = [part.clone().requires_grad_() for part in window.inputs]
        output = model(*leaves)[0]
        (output.max() - output.min()).backward()
        sums = [
            float((leaf.grad * (leaf.detach() - mean)).abs().sum())
            for leaf, mean in zip(leaves, window.means, strict=True)
        ]
        assert values["market share"][place] == pytest.approx(sums[1] / sum(sums), rel=1e-4)
