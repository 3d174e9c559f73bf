"""The trainer learns what is there, and nothing from the future."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from stockformer.dataset import StockDataset
from stockformer.explainability import compute_input_saliency
from stockformer.training import FitResult, fit, prediction_loss, temporal_split

TINY = {"d_model": 16, "nhead": 2, "num_layers": 1, "dim_feedforward": 16, "market_layers": 1, "dropout": 0.0}
FEATURES, MARKET = ["signal", "noise", "tenth", "gone"], ["m_signal", "m_tenth"]


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def planted(days=400, source="signal", seed=0):
    """The next day's return has the sign of `source` today; other columns say nothing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "date": pd.bdate_range("2018-01-01", periods=days),
            "symbol": "AAA",
            "signal": rng.normal(4, 2, days),
            "noise": rng.normal(0, 1, days),
            "tenth": 0.1,
            "gone": np.nan,
            "m_signal": rng.normal(-1, 3, days),
            "m_tenth": 0.3,
        }
    )
    up = table[source] > table[source].mean()
    returns = np.where(up, 0.01, -0.01) * rng.uniform(0.5, 1.5, days)
    close = 100 * np.cumprod(np.r_[1, 1 + returns[:-1]])
    prices = dict.fromkeys(("open", "high", "low", "adjusted_close"), close)
    return table.assign(**prices, volume=1.0)


def dataset_of(table, **options):
    settings = {
        "feature_cols": FEATURES,
        "market_feature_cols": MARKET,
        "target_col": "close_1d_fwd_return",
        "lookback": 4,
    }
    return StockDataset(table, **(settings | options))


def quick(dataset, **options):
    return fit(dataset, TINY | {"market_feature_dim": 2} | options.pop("cfg", {}), **({"epochs": 2} | options))


# The split


def last_day_of_label(dataset, table):
    """The day whose price decides each sample's label, counted in its ticker's own rows."""
    days = {ticker: rows["date"].tolist() for ticker, rows in table.groupby("symbol")}
    ends = zip(dataset.end_tickers, dataset.end_dates, strict=True)
    return pd.DatetimeIndex([days[t][days[t].index(day) + dataset.horizon] for t, day in ends])


def gaps(table, ticker, share):
    """Without every other day of one ticker in the later part of the dates."""
    days = sorted(table["date"].unique())
    gone = days[int(share * len(days)) :: 2]
    return table[~((table["symbol"] == ticker) & table["date"].isin(gone))]


@pytest.mark.parametrize("horizon", [1, 3, 10])
@pytest.mark.parametrize("gap", [None, 0.5, 0.75])
def test_split(make_table, horizon, gap):
    table = make_table(days=120)
    if gap is not None:
        table = gaps(table, "BBB", gap)
    target = f"close_{horizon}d_fwd_return"
    dataset = StockDataset(table, ["f0"], None, target, lookback=5)
    split, decided = temporal_split(dataset), last_day_of_label(dataset, table)
    parts = [split.train, split.validation, split.test]
    assert sum(map(len, parts)) == len({*split.train, *split.validation, *split.test}) <= len(dataset)
    for earlier, later in pairwise(parts):
        assert decided[earlier].max() < dataset.end_dates[later].min()
    assert decided[split.train].max() <= dataset.train_end


def test_split_leaves_out_only_labels_that_reach_over(make_table):
    table = make_table(days=100)
    dataset = StockDataset(table, ["f0"], None, "close_3d_fwd_return", lookback=5)
    split = temporal_split(dataset)
    # 70 training days, 15 and 15: windows end from the 5th day on, labels need 3 more
    assert [len(part) for part in (split.train, split.validation, split.test)] == [2 * 63, 2 * 12, 2 * 12]


def test_split_follows_train_end(make_table):
    table = make_table(days=100)
    dataset = StockDataset(table, ["f0"], None, "close_1d_fwd_return", lookback=5, train_end=table["date"][49])
    split = temporal_split(dataset)
    assert dataset.end_dates[split.train].max() == table["date"][48]
    assert dataset.end_dates[split.validation].min() == table["date"][50]


@pytest.mark.parametrize(
    ("train_end", "message"),
    [
        ("2030-01-01", "no dates are left after 2030-01-01"),
        ("2020-01-03", "no window of 5 days and what they predict fall into the training part"),
    ],
)
def test_split_with_an_empty_part(make_table, train_end, message):
    dataset = StockDataset(make_table(), ["f0"], None, lookback=5, train_end=train_end)
    with pytest.raises(ValueError, match=message):
        temporal_split(dataset)


# Learning


@pytest.mark.parametrize(
    ("source", "model_type"), [("signal", "encoder"), ("signal", "cross_attention"), ("m_signal", "cross_attention")]
)
def test_a_planted_signal_is_learned(source, model_type):
    market = MARKET if model_type == "cross_attention" else None
    dataset = dataset_of(planted(600, source), market_feature_cols=market)
    result = quick(dataset, epochs=12, learning_rate=5e-3, patience=12)
    assert result.metrics["test_base_rate"] < 0.7
    assert result.metrics["test_accuracy"] > 0.85
    assert result.metrics["test_loss"] < 0.7 * result.metrics["test_base_loss"]
    assert result.verdict.endswith("which is worse.")


def test_noise_is_not_learned():
    """Returns that no feature foretells: the trainer must not find anything."""
    table = planted(600)
    table["signal"] = np.random.default_rng(9).normal(size=len(table))
    result = quick(dataset_of(table), epochs=5)
    assert abs(result.metrics["test_accuracy"] - result.metrics["test_base_rate"]) < 0.2
    assert result.metrics["test_loss"] > 0.9 * result.metrics["test_base_loss"]


@pytest.mark.parametrize(
    ("metrics", "score", "guess", "skill"),
    [
        ({"test_loss": 0.5, "test_base_loss": 0.6, "test_accuracy": 0.4, "test_base_rate": 0.5}, "0.5", "0.6", True),
        ({"test_loss": 0.6, "test_base_loss": 0.6}, "0.6", "0.6", False),
        ({"test_accuracy": 0.5, "test_base_rate": 0.4}, "0.5", "0.4", True),
        ({"test_accuracy": 0.4, "test_base_rate": 0.5}, "0.4", "0.5", False),
    ],
)
def test_a_training_says_whether_the_model_beats_a_guess(metrics, score, guess, skill):
    verdict = FitResult(nn.Identity(), pd.DataFrame(), metrics).verdict
    name = "loss" if "test_loss" in metrics else "accuracy"
    assert f"the {name} is {score}; a guess from the training labels alone has {guess}, " in verdict
    assert ("no worse" in verdict) != skill


@pytest.mark.parametrize(
    ("label_mode", "edges", "cfg"),
    [
        ("regression", None, {}),
        ("buckets", [-0.5, 0.0, 0.5], {}),
        ("buckets", [-0.5, 0.0, 0.5], {"loss_name": "coral"}),
    ],
)
def test_other_labels_are_learned(label_mode, edges, cfg):
    dataset = dataset_of(planted(600), label_mode=label_mode, bucket_edges=edges)
    history = quick(dataset, cfg=cfg, epochs=6, learning_rate=5e-3).history
    assert history["train_loss"].iloc[-1] < 0.8 * history["train_loss"].iloc[0]


@pytest.mark.parametrize("model_type", ["encoder", "cross_attention"])
def test_constant_features_get_no_weight_and_no_saliency(model_type):
    market = MARKET if model_type == "cross_attention" else None
    dataset = dataset_of(planted(), market_feature_cols=market)
    model = quick(dataset, epochs=3).model
    weights = [model.input_proj.weight[:, 2:]]
    if market:
        weights.append(model.market_encoder.input_proj.weight[:, 1:])
    assert not any(weight.any() for weight in weights)
    assert model.input_proj.weight[:, :2].all()
    inputs = [part[None] for part in (dataset[-1][0], *dataset[-1][2:])]
    for method in ("gradient", "input_x_gradient"):
        stock, *rest = compute_input_saliency(model, *inputs, method=method)
        assert not stock[:, 2:].any()
        assert stock[:, :2].any()
        assert all(not values[:, 1].any() and values[:, 0].any() for values in rest)


def test_the_same_seed_gives_the_same_model():
    dataset = dataset_of(planted(200))
    first, second, other = (quick(dataset, seed=seed, cfg={"dropout": 0.2}) for seed in (3, 3, 4))
    assert equal_weights(first.model, second.model)
    assert first.metrics == second.metrics
    pd.testing.assert_frame_equal(first.history, second.history)
    assert not equal_weights(first.model, other.model)


def equal_weights(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# What is reported


def predictions(model, dataset, part):
    with torch.no_grad():
        x, y, market_x = (torch.stack(column) for column in zip(*(dataset[int(i)] for i in part), strict=True))
        return model(x, market_x), y


def test_metrics_of_classes():
    dataset = dataset_of(planted(200))
    result, split = quick(dataset, epochs=3), temporal_split(dataset)
    train_labels = np.array([dataset[int(i)][1].item() for i in split.train])
    share = np.array([np.mean(train_labels == k) for k in (0, 1)])
    for name, part in (("validation", split.validation), ("test", split.test)):
        output, y = predictions(result.model, dataset, part)
        scores = {
            "samples": len(part),
            "loss": float(-output.log_softmax(1)[torch.arange(len(y)), y].mean()),
            "base_loss": float(np.mean([-np.log(share[label]) for label in y])),
            "accuracy": float(np.mean(output.argmax(1).numpy() == y.numpy())),
            "base_rate": float(np.mean(y.numpy() == share.argmax())),
        }
        found = {key: result.metrics[f"{name}_{key}"] for key in scores}
        assert found == pytest.approx(scores, rel=1e-5)


def test_metrics_of_a_regression():
    dataset = dataset_of(planted(200), label_mode="regression")
    result, split = quick(dataset), temporal_split(dataset)
    output, y = predictions(result.model, dataset, split.test)
    mean = torch.stack([dataset[int(i)][1] for i in split.train]).mean()
    assert result.metrics["test_loss"] == pytest.approx(((output - y) ** 2).mean().item(), rel=1e-5)
    assert result.metrics["test_base_loss"] == pytest.approx(((mean - y) ** 2).mean().item(), rel=1e-5)
    assert "test_accuracy" not in result.metrics


def test_coral_loss_by_hand():
    dataset = dataset_of(planted(200), label_mode="buckets", bucket_edges=[-0.5, 0.5])
    result, split = quick(dataset, cfg={"loss_name": "coral"}), temporal_split(dataset)
    output, y = predictions(result.model, dataset, split.test)
    above = torch.tensor([[float(label > k) for k in range(2)] for label in y])
    expected = -(above * F.logsigmoid(output) + (1 - above) * F.logsigmoid(-output)).mean()
    assert result.metrics["test_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_best_epoch_is_kept_and_patience_ends_it():
    result = quick(dataset_of(planted(200)), epochs=40, patience=2, learning_rate=2e-2)
    losses = result.history["validation_loss"]
    best = int(result.metrics["best_epoch"])
    assert result.metrics["validation_loss"] == losses.min() == losses[best - 1]
    assert list(result.history["epoch"]) == list(range(1, len(losses) + 1))
    assert len(losses) == best + 2 < 40
    assert not result.model.training


def test_without_epochs():
    with pytest.raises(ValueError, match="epochs is 0"):
        quick(dataset_of(planted(100)), epochs=0)


def test_a_loss_that_is_no_number():
    """Weights of 1e30 overflow: one clear error, not a model of NaNs."""
    with pytest.raises(ValueError, match="loss"):
        quick(dataset_of(planted(100), label_mode="regression"), learning_rate=1e30)


def test_a_loss_of_ones_own_is_what_is_minimised(capsys):
    def loss(model, inputs, y):
        return prediction_loss(model, inputs, y) * 0 + 7

    data = dataset_of(planted())
    result = quick(data, loss=loss, progress=False)
    assert (result.history["train_loss"] == 7).all()
    assert (result.history["validation_loss"] < 7).all()
    assert capsys.readouterr() == ("", "")
    own, default = (quick(data, seed=1, **options).model for options in ({"loss": prediction_loss}, {}))
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), default.parameters(), strict=True))
