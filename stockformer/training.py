"""A small trainer that compares the model with guessing."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from tqdm.auto import tqdm

from stockformer.config import DEFAULT_MODEL_CONFIG
from stockformer.dataset import StockDataset
from stockformer.forward import without_gradients
from stockformer.model import PooledTransformer, create_model
from stockformer.outputs import OutputDistribution, describe_outputs, outputs_of
from stockformer.seeding import kept_random_state
from stockformer.table import listed
from stockformer.threads import few_threads

#: Loss of a batch, computed from a model, its inputs and their labels.
Loss = Callable[[PooledTransformer, Sequence[Tensor], Tensor], Tensor]


def prediction_loss(model: PooledTransformer, inputs: Sequence[Tensor], y: Tensor) -> Tensor:
    """Cross-entropy, squared error or the CORAL loss (Cao et al. 2020), depending on the model's outputs."""
    return _criterion(model, model(*inputs), y)


@dataclass(frozen=True)
class TemporalSplit:
    """Sample indices by the date of the prediction; no label reaches into the next part."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class FitResult:
    """A trained model with its scores.

    Attributes:
        model: the weights of the epoch with the lowest validation loss, in eval mode.
        history: one row per epoch: ``epoch, train_loss, validation_loss``.
        metrics: ``{part}_{score}`` for the parts validation and test: ``loss`` and
            ``base_loss`` (of the training labels' distribution or mean), for
            classes also ``accuracy`` and ``base_rate`` (of always predicting the
            training labels' most frequent class); ``{part}_samples``; ``best_epoch``.
    """

    model: PooledTransformer
    history: pd.DataFrame
    metrics: dict[str, float]

    @property
    def verdict(self) -> str:
        """Whether the model predicts the test dates better than the training labels alone do, in a sentence."""
        score, guess = ("loss", "base_loss") if "test_base_loss" in self.metrics else ("accuracy", "base_rate")
        reached, guessed = self.metrics[f"test_{score}"], self.metrics[f"test_{guess}"]
        against = f"On the test dates the {score} is {reached:.4g}; a guess from the training labels alone has "
        if (reached < guessed) if score == "loss" else (reached > guessed):
            return f"{against}{guessed:.4g}, which is worse."
        return (
            f"{against}{guessed:.4g}, which is no worse: pictures of this model show how it computes, not the market."
        )


def temporal_split(dataset: StockDataset) -> TemporalSplit:
    """Train up to the dataset's `train_end`, then validation and test in equal halves.

    A window whose target reaches past the last day of its part belongs to no part.

    Raises:
        ValueError: a part would be empty.
    """
    if dataset.horizon is None:
        raise ValueError("the dataset has no labels to train on: its horizon is not known")
    days = pd.DatetimeIndex(np.sort(dataset.prices["date"].unique()))
    later = days[days > dataset.train_end]
    if len(later) < 2:
        raise ValueError(f"no dates are left after {dataset.train_end.date()} for validation and test")
    bounds = [days[0], later[0], later[len(later) // 2], days[-1] + pd.Timedelta(days=1)]
    end, known = dataset.end_dates, pd.DatetimeIndex(dataset.target_dates)
    parts = [np.flatnonzero((end >= start) & (known < stop)) for start, stop in pairwise(bounds)]
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        if not len(part):
            raise ValueError(
                f"no window of {dataset.lookback} days and what they predict fall into the {name} part of the dates "
                f"{days[0].date()} to {days[-1].date()}: expected a shorter lookback or horizon, or more rows"
            )
    return TemporalSplit(*parts)


@kept_random_state()
def fit(
    dataset: StockDataset,
    cfg: Mapping[str, Any] | None = None,
    *,
    epochs: int = 40,
    patience: int = 4,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    batch_size: int = 64,
    seed: int = 0,
    loss: Loss = prediction_loss,
    progress: bool = True,
) -> FitResult:
    """Train on the early dates, stop by the middle ones, score on the late ones.

    A dataset without market features trains an encoder-only model.

    AdamW. Weights of features that are constant in training start at 0 and stay there:
    nothing could be learned about them. A regression starts from the mean of the training labels.

    Args:
        cfg: as for `create_model`.
        patience: epochs without a lower validation loss after which training stops.
        loss: the loss that is minimised; validation and scores use `prediction_loss`.
        progress: show a progress bar.

    Raises:
        ValueError: no epoch to train, a part of the dates without windows, or a
            loss that is no longer finite.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}, expected at least 1")
    torch.manual_seed(seed)
    split = temporal_split(dataset)
    market_cols = dataset.market_feature_cols
    model = create_model(
        len(dataset.feature_cols),
        dataset.label_mode,
        dataset.bucket_edges,
        {
            "max_len": max(DEFAULT_MODEL_CONFIG["max_len"], dataset.lookback),
            **(cfg or {}),
            "market_feature_dim": len(market_cols or ()),
        },
        "encoder" if market_cols is None else "cross_attention",
    )
    _silence_constant_features(model, dataset, split.train)
    train_labels = dataset.labels[dataset.ends[split.train]]
    if model.label_mode == "regression":
        _start_from(model, train_labels.mean())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    loader = DataLoader(Subset(dataset, split.train.tolist()), batch_size, shuffle=True)

    best, best_loss, history = copy.deepcopy(model.state_dict()), math.inf, []
    bar = tqdm(total=epochs * len(loader), desc="training", unit="batch", disable=not progress)
    with few_threads(model), bar:
        for epoch in range(1, epochs + 1):
            bar.set_description(f"epoch {epoch} of {epochs}")
            train_loss = _train_epoch(model, loader, optimizer, device, loss, bar)
            validation_loss = _loss(model, _outputs(model, dataset, split.validation, batch_size))
            history.append({"epoch": epoch, "train_loss": train_loss, "validation_loss": validation_loss})
            bar.set_postfix(train=f"{train_loss:.4f}", validation=f"{validation_loss:.4f}")
            if not math.isfinite(train_loss + validation_loss):
                raise ValueError(f"the loss is {train_loss} in epoch {epoch}: lower learning_rate, now {learning_rate}")
            if validation_loss < best_loss:
                best, best_loss, best_epoch = copy.deepcopy(model.state_dict()), validation_loss, epoch
            elif epoch - best_epoch >= patience:
                break

    model.load_state_dict(best)
    metrics: dict[str, float] = {"best_epoch": float(best_epoch)}
    for name, part in (("validation", split.validation), ("test", split.test)):
        scores = _scores(model, _outputs(model, dataset, part, batch_size), train_labels)
        metrics |= {f"{name}_{score}": value for score, value in scores.items()}
    return FitResult(model.cpu().eval(), pd.DataFrame(history), metrics)


def _silence_constant_features(model: PooledTransformer, dataset: StockDataset, train: np.ndarray) -> None:
    inputs = zip(*(dataset[int(index)][::2] for index in train), strict=True)  # (x, y, market_x) without y
    names = (dataset.feature_cols, dataset.market_feature_cols or [])
    with without_gradients():
        for projection, windows, columns in zip(model.input_layers, inputs, names, strict=False):
            values = torch.cat(windows)
            unfit = [
                name for name, finite in zip(columns, torch.isfinite(values).all(dim=0), strict=True) if not finite
            ]
            if unfit:
                raise ValueError(f"{listed(unfit)} is NaN or infinite in the training windows, expected finite numbers")
            projection.weight[:, (values == values[0]).all(dim=0)] = 0.0


def _start_from(model: PooledTransformer, value: Tensor) -> None:
    """Make `value` the bias of a regression's output, which would take a few hundred steps to learn."""
    output = [module for module in model.reg_head.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.constant_(output.bias, float(value))


def _train_epoch(
    model: PooledTransformer, loader: Any, optimizer: torch.optim.Optimizer, device: torch.device, loss: Loss, bar: Any
) -> float:
    model.train()
    total = 0.0
    for x, y, *market in loader:
        value = loss(model, [part.to(device) for part in (x, *market)], y.to(device))
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += value.item() * len(y)
        bar.update()
    return total / len(loader.dataset)


def _criterion(model: PooledTransformer, output: Tensor, y: Tensor) -> Tensor:
    if model.label_mode == "regression":
        return F.mse_loss(output, y)
    if model.use_coral:
        above = (y[:, None] > torch.arange(output.size(1), device=y.device)).to(output.dtype)
        return F.binary_cross_entropy_with_logits(output, above)
    return F.cross_entropy(output, y)


def _outputs(model: PooledTransformer, dataset: StockDataset, part: np.ndarray, batch_size: int) -> OutputDistribution:
    # Not by an engine, which has one thread for a large model too.
    batches = np.split(part, range(batch_size, len(part), batch_size))
    outputs = torch.cat([outputs_of(model, dataset.inputs(batch)) for batch in batches])
    return describe_outputs(outputs, model, dataset.labels[dataset.ends[part]])


def _loss(model: PooledTransformer, distribution: OutputDistribution) -> float:
    assert distribution.labels is not None
    return float(_criterion(model, distribution.outputs, distribution.labels))


def _scores(model: PooledTransformer, distribution: OutputDistribution, train_labels: Tensor) -> dict[str, float]:
    assert distribution.labels is not None
    y = distribution.labels
    scores = {"samples": float(len(y)), "loss": _loss(model, distribution)}
    if distribution.probabilities is None:
        return scores | {"base_loss": float(F.mse_loss(train_labels.mean().expand_as(y), y))}
    share = torch.bincount(train_labels, minlength=distribution.probabilities.size(1)) / len(train_labels)
    if not model.use_coral:
        scores["base_loss"] = float(F.nll_loss(share.log().expand(len(y), -1), y))
    scores["accuracy"] = float((distribution.predictions == y).float().mean())
    scores["base_rate"] = float((y == share.argmax()).float().mean())
    return scores
