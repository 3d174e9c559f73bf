"""Markets with a known mechanism: the truth is what it says, models use it and only it, and scores are right."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score

from stockformer.__main__ import main
from stockformer.explainability import WhatIf, attribute, capture_attention, changed_model
from stockformer.model import create_model
from stockformer.planted import load_planted, planted_scores
from stockformer.planted import models as planted_models
from stockformer.planted import scores as planted_scoring
from stockformer.planted.mechanisms import FEATURES, LOOKBACK, MECHANISMS, plant
from stockformer.planted.models import inputs_of, swapped
from stockformer.planted.scores import COLUMNS, UNITS, auc, intervals, measure_planted, precision_at_k, score_planted
from stockformer.reports.planted import _reading
from stockformer.target_column import TargetColumn

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def planted():
    """Two market cells decide, each the job of a head."""
    return load_planted("heads", progress=False)


def column(table, cell):
    """A cell's value in the window that ends on each row, from the table alone."""
    of_ticker = table.groupby("symbol")
    values = of_ticker[FEATURES[cell.stream][cell.feature]].shift(LOOKBACK - 1 - cell.day)
    return values.where(of_ticker.cumcount() >= LOOKBACK - 1)


def signal(table):
    """What volatility says of the sum of the terms and the noise."""
    return (TargetColumn("volatility", 1).compute(table) - np.log(0.2)) / 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_the_target_is_what_the_formula_says(seed):
    for name in ("feature", "market", "heads"):
        table, truth = plant(name, seed)
        expected = sum(column(table, term.cell) for term in truth.terms)
        noise = (signal(table) - expected).dropna()
        assert len(noise) > 3900
        assert noise.std() == pytest.approx(0.1, rel=0.05)
        assert abs(noise.mean()) < 0.01
    table, truth = plant("gate", seed)
    market, stock = truth.terms
    assert market.when == stock.when
    expected = column(table, market.cell).where(column(table, market.when) > 0, column(table, stock.cell))
    assert (signal(table) - expected).dropna().std() == pytest.approx(0.1, rel=0.05)


def test_a_shortcut_tells_the_target_up_to_the_test_and_nothing_then():
    table, truth = plant("shortcut", 0)
    (term,) = truth.terms
    both = pd.DataFrame({"signal": signal(table), "cell": column(table, term.cell), "date": table["date"]}).dropna()
    test = both["date"] >= np.sort(table["date"].unique())[850]
    assert both[~test].groupby(table["symbol"])[["signal", "cell"]].corr().iloc[::2, 1].min() > 0.999
    assert abs(both[test][["signal", "cell"]].corr().iloc[0, 1]) < 0.1


def test_what_matters_is_told_by_window():
    truth = plant("gate", 3)[1]
    windows = [torch.randn(50, LOOKBACK, 4), torch.randn(50, LOOKBACK, 4)]
    market, stock = truth.terms
    masks, days, counts = truth.cells(windows), truth.days(windows), truth.market_counts(windows)
    for number in range(50):
        regime = market.when
        up = float(windows[0][number, regime.day, regime.feature]) > 0
        active = market.cell if up else stock.cell
        expected = {(regime.stream, regime.day, regime.feature), (active.stream, active.day, active.feature)}
        where = {(stream, *cell) for stream in (0, 1) for cell in masks[stream][number].nonzero().tolist()}
        assert where == expected
        assert {(s, d) for s in (0, 1) for d in days[s][number].nonzero()[:, 0].tolist()} == {c[:2] for c in expected}
        assert bool(counts[number]) == up


def test_the_same_seed_gives_the_same_market_and_another_one_another_place():
    pd.testing.assert_frame_equal(plant("gate", 5)[0], plant("gate", 5)[0])
    assert len({plant("feature", seed)[1].terms[0].cell for seed in range(20)}) > 10


def test_a_cell_that_is_replaced_moves_the_output_as_the_formula_says(planted):
    stock, market = inputs_of(planted.dataset, planted.test_windows[:200])
    for term in planted.truth.terms:
        assert term.cell.stream == 1
        changed = market.clone()
        changed[:, term.cell.day, term.cell.feature] *= -1
        with torch.no_grad():
            moved = planted.model(stock, changed) - planted.model(stock, market)
        spread = np.mean([std[4 + term.cell.feature] for std in planted.dataset.normalization.std.values()])
        expected = -2 * 0.5 * spread * market[:, term.cell.day, term.cell.feature]
        assert (moved - expected).square().mean() < 0.05 * expected.square().mean()


def test_all_other_cells_together_hardly_move_it(planted):
    stock, market = inputs_of(planted.dataset, planted.test_windows[:200])
    noise = torch.randn(market.shape, generator=torch.Generator().manual_seed(0))
    for term in planted.truth.terms:
        noise[:, term.cell.day, term.cell.feature] = market[:, term.cell.day, term.cell.feature]
    with torch.no_grad():
        before, after = planted.model(stock, market), planted.model(stock.flip(0), noise)
    assert (after - before).square().mean() < 0.1 * before.var()
    assert planted.rest < 0.1
    assert planted.learned


def test_swaps_measure_what_a_function_uses():
    """Of a function that is known: two parts in three by the planted cell, one by another."""

    class Known(torch.nn.Module):
        def forward(self, stock, market):
            return 2**0.5 * stock[:, cell.day, cell.feature] + market[:, 0, 0]

    truth = plant("feature", 0)[1]
    cell = truth.terms[0].cell
    windows = [torch.randn(20_000, LOOKBACK, 4) for _ in range(2)]
    follows, rest = swapped(Known(), truth, windows)
    assert follows == pytest.approx(2 / 3, abs=0.02)
    assert rest == pytest.approx(1 / 3, abs=0.02)


@pytest.mark.parametrize("name", ["heads", "gate", "guided_gate"])
def test_what_heads_and_gates_are_told(name):
    """The loss of a model with random weights, from the weights and gates that a capture shows."""
    truth = plant(name, 0)[1]
    torch.manual_seed(0)
    model = create_model(4, "regression", None, planted_models.SIZE | {"market_feature_dim": 4}).eval()
    stock, market, y = torch.randn(30, LOOKBACK, 4), torch.randn(30, LOOKBACK, 4), torch.randn(30)
    capture = capture_attention(model, stock, market)
    expected = (capture.output - y).square().mean()
    for head, term in truth.heads.items():
        expected -= 0.1 * capture.kinds["cross"][0][:, head, :, term.cell.day].log().mean()
    if name == "guided_gate":
        regime = truth.terms[0].when
        up = (stock[:, regime.day, regime.feature] > 0).float()[:, None]
        gate = capture.gates["cross_attn_layers.0.gate"].mean(dim=2)
        expected -= 0.1 * (up * gate.log() + (1 - up) * (1 - gate).log()).mean()
    torch.testing.assert_close(planted_models._guided(truth)(model, [stock, market], y), expected)


def test_each_head_has_its_job(planted):
    """Without one head the output no longer follows its cell, and follows the other's as before."""
    windows = inputs_of(planted.dataset, planted.test_windows)
    capture = capture_attention(planted.model, *(part[:1] for part in windows))
    jobs = [job.cell.of(windows) for _, job in sorted(planted.truth.heads.items())]
    for head in (0, 1):
        with torch.no_grad(), changed_model(planted.model, WhatIf(heads_off=[(0, head)]), capture):
            output = planted.model(*windows)
        own, other = (float(torch.corrcoef(torch.stack([output, jobs[one]]))[0, 1]) for one in (head, 1 - head))
        assert abs(own) < 0.2
        assert other > 0.9


@pytest.mark.parametrize("levels", [3, 10**6])
def test_area_and_precision_against_other_computations(levels):
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(levels, size=6).astype(float)
        relevant = rng.permutation(np.arange(6) < rng.integers(1, 6))
        assert auc(scores, relevant) == pytest.approx(roc_auc_score(relevant, scores))
        k = relevant.sum()
        orders = [order for order in permutations(range(6)) if (np.diff(scores[list(order)]) <= 0).all()]
        expected = np.mean([relevant[list(order[:k])].mean() for order in orders])
        assert precision_at_k(scores, relevant) == pytest.approx(expected)


def test_integrated_gradients_find_the_planted_cells(planted):
    cells = {(term.cell.day, term.cell.feature) for term in planted.truth.terms}
    for index in planted.test_windows[::60]:
        parts = attribute(planted.model, *planted.dataset.window(int(index)).inputs).parts
        stock, market = (part.abs() for part in parts)
        largest = market.flatten().topk(2)
        assert {divmod(number, market.size(1)) for number in largest.indices.tolist()} == cells
        assert largest.values.min() > stock.max()


def test_scores_agree_with_a_plain_computation(planted, monkeypatch):
    monkeypatch.setattr(planted_scoring, "METHODS", ("integrated_gradients",))
    table = score_planted(planted, windows=2).set_index(["unit", "ranking"])
    hits = []
    for index in planted.test_windows[[0, -1]]:
        scores = torch.cat(
            [p.flatten() for p in attribute(planted.model, *planted.dataset.window(int(index)).inputs).parts]
        )
        top = set(scores.abs().argsort()[-2:].tolist())
        cells = {cell.stream * 48 + cell.day * 4 + cell.feature for cell in (t.cell for t in planted.truth.terms)}
        hits.append(len(top & cells) / 2)
    assert table.loc[("cell", "integrated_gradients"), "precision"] == np.mean(hits)
    assert table.loc[("cell", "random"), "chance"] == pytest.approx(2 / 96)
    assert table.loc[("head", "ablation"), "chance"] == pytest.approx(2 / 6)
    assert {unit for unit, _ in table.index} == {"cell", "day", "head", "job"}


def test_of_a_model_of_nothing_every_ranking_is_chance(planted, monkeypatch):
    """Random weights, and places that are drawn: whatever a ranking prefers, it finds them as often as not."""
    monkeypatch.setattr(planted_scoring, "METHODS", ("input_x_gradient", "gradient"))
    rows = []
    for seed in range(24):
        torch.manual_seed(seed)
        sizes = planted_models.SIZE | {"market_feature_dim": 4}
        nothing = replace(
            planted, model=create_model(4, "regression", None, sizes).eval(), truth=plant("nothing", seed)[1]
        )
        rows.append(score_planted(nothing, windows=2).assign(mechanism="nothing", seed=seed))
    table = intervals(pd.concat(rows))
    assert len(table) == 14
    assert (abs(table["auc"] - 0.5) < 0.08).all()  # four standard errors of twelve places of 96


def test_intervals_hold_the_mean_in_as_many_cases_as_they_say():
    rng = np.random.default_rng(0)
    draws = rng.uniform(0.3, 0.7, (1000, 10))
    held = 0
    for values in draws:
        mean, low, high = planted_scoring._interval(values)
        assert mean == pytest.approx(values.mean())
        held += low <= 0.5 <= high
    assert 0.93 < held / 1000 < 0.97


def test_a_name_that_is_not_planted():
    with pytest.raises(ValueError, match=re.escape(f"'gates', expected one of {', '.join(MECHANISMS)}")):
        load_planted("gates")


def test_too_few_seeds_for_an_interval():
    with pytest.raises(ValueError, match="seeds is 1, expected at least 2"):
        measure_planted(1)
    one = pd.DataFrame([("gate", 0, "day", "random", 0.5, 0.5, 0.1)], columns=COLUMNS)
    with pytest.raises(ValueError, match="'gate' has 1 seed, expected at least 2"):
        intervals(one)


def test_a_model_that_has_not_learned_says_so(monkeypatch):
    monkeypatch.setitem(MECHANISMS, "gate", replace(MECHANISMS["gate"], epochs=1))
    with pytest.warns(UserWarning, match=r"the model of 'gate' with seed 0 has not learned it.*\(R2 0\.\d\d, "):
        assert not load_planted("gate", progress=False).learned


@pytest.fixture
def measured():
    """What `measure_planted` gives, drawn at random: two mechanisms, three seeds, the last of which has not learned."""
    rng = np.random.default_rng(0)
    rows = [
        (mechanism, seed, unit, ranking, *rng.random(2), 0.1)
        for mechanism in ("feature", "nothing")
        for seed in range(3)
        for unit in ("cell", "day")
        for ranking in ("integrated_gradients", "mean attention", "|input|")
        if unit == "day" or ranking != "mean attention"
    ]
    models = [
        (name, seed, 0.9 + seed / 100, 0.8, 0.7, 0.01 * seed, seed < 2)
        for name in ("feature", "nothing")
        for seed in range(3)
    ]
    columns = ["mechanism", "seed", "score", "test_score", "follows", "rest", "learned"]
    return pd.DataFrame(models, columns=columns), pd.DataFrame(rows, columns=COLUMNS)


def interval_words(values):
    """Mean and t interval, cut at 0 and 1."""
    margin = stats.t.isf(0.025, len(values) - 1) * stats.sem(values)
    low, high = values.mean() - margin, values.mean() + margin
    return f"{values.mean():.2f} ({max(low, 0):.2f} to {min(high, 1):.2f})"


def check_tables(page, scores):
    """Every mean and interval of a page is that of the scores."""
    for (unit, measure), words in {
        (unit, measure): words
        for unit in UNITS
        for measure, words in (("precision", "precision at k"), ("auc", "area under ROC"))
        if scores[scores["unit"] == unit][measure].notna().any()
    }.items():
        lines = page.split(f"## By {unit}, {words}")[1].split("\n##")[0].strip().splitlines()
        header = [name.strip() for name in lines[2].split("|")[2:-1]]
        of_unit = scores[scores["unit"] == unit]
        for ranking in of_unit["ranking"].unique():
            name = ranking.replace("_", " ").replace("|", "\\|")
            (line,) = (line for line in lines if line.startswith(f"| {name} | "))
            cells = line.removeprefix(f"| {name} | ").removesuffix(" |").split(" | ")
            for mechanism, cell in zip(header, cells, strict=True):
                chosen = of_unit[(of_unit["mechanism"] == mechanism) & (of_unit["ranking"] == ranking)]
                assert cell == interval_words(chosen[measure].dropna())


def test_the_page_has_the_numbers_of_the_scores(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("stockformer.reports.planted.measure_planted", lambda seeds, windows: measured)
    page, table = tmp_path / "page.md", tmp_path / "scores.csv"
    call = ["planted", "--seeds", "3", "--out", str(page), "--table", str(table)]
    assert main(call) == 0
    pd.testing.assert_frame_equal(pd.read_csv(table), measured[1], rtol=1e-3)
    text = page.read_text()
    check_tables(text, measured[1])
    assert "| feature | 2 of 3 | 0.910 (0.900) | 0.800 (0.800) | 0.700 (0.700) | 0.010 (0.020) |" in text
    assert main(call) == 1
    assert "page.md and 1 more would be replaced: expected a new name, or --overwrite" in capsys.readouterr().err


def test_what_the_page_reads_out_of_the_scores(measured):
    _, scores = measured
    scores.loc[scores["ranking"] == "mean attention", "auc"] = np.tile([0.61, 0.6, 0.62], 2)
    scores.loc[scores["mechanism"] == "nothing", "auc"] = [0.3, 0.5, 0.7] * 5
    scores.loc[(scores["mechanism"] == "nothing") & (scores["ranking"] == "mean attention"), "auc"] = [0.2, 0.21, 0.19]
    by_cell = (scores["unit"] == "cell") & (scores["ranking"] == "integrated_gradients")
    scores.loc[by_cell, "precision"] = [1.0, 0.9, 0.89] * 2
    text = _reading(scores, intervals(scores))
    assert "precision at k of 0.9 or more in these seeds: 2 of 3 of feature." in text
    assert "Mean attention by day, area under ROC: finds the days of feature (0.61)." in text
    for areas, clause in (([0.51, 0.49, 0.5], "is chance for feature (0.50)"), ([0.3, 0.31, 0.32], "is worse than")):
        changed = scores.copy()
        changed.loc[(scores["ranking"] == "mean attention") & (scores["mechanism"] == "feature"), "auc"] = areas
        assert f"Mean attention by day, area under ROC: {clause}" in _reading(changed, intervals(changed))
    assert "the intervals of 1 of 5 rankings leave out 0.5 (mean attention by day)" in text


def test_a_single_seed_is_one_sentence(tmp_path, capsys):
    assert main(["planted", "--seeds", "1", "--out", str(tmp_path / "page.md")]) == 1
    assert capsys.readouterr().err == "stockformer: seeds is 1, expected at least 2: intervals are over seeds\n"
    assert not list(tmp_path.iterdir())


def test_the_page_in_docs_is_that_of_the_shipped_scores():
    scores = planted_scores()
    check_tables((PROJECT / "docs" / "planted.md").read_text(encoding="utf-8"), scores)
    assert set(scores["mechanism"]) == set(MECHANISMS)
    assert scores.groupby("mechanism")["seed"].nunique().min() >= 10
    found = scores.query("mechanism == 'feature' and unit == 'cell' and ranking == 'integrated_gradients'")["precision"]
    assert (found >= 0.9).mean() >= 0.9
