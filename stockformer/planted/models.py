"""Models that have learned what is planted, and proof that they use it and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stockformer.dataset import StockDataset
from stockformer.explainability.attention.trace import explicit_attention
from stockformer.forward import forward_hooks, without_gradients
from stockformer.model import PooledTransformer
from stockformer.planted.mechanisms import FEATURES, LOOKBACK, MECHANISMS, TARGET, Truth, plant
from stockformer.training import Loss, fit, prediction_loss, temporal_split

SIZE: dict[str, Any] = {
    "d_model": 16,
    "nhead": 2,
    "num_layers": 1,
    "dim_feedforward": 32,
    "market_layers": 1,
    "dropout": 0.0,
}
LEARNING_RATE = 6e-3

#: A model has learned a mechanism if it explains at least this share of the variance, and if cells that should not
#: matter take part in at most that share.
LEAST_SCORE, MOST_REST = 0.9, 0.1

_GUIDANCE = 0.1  # weight of the guidance of heads and gates, beside the squared error


@dataclass(frozen=True)
class Planted:
    """A market with a known mechanism, and a model of it.

    Attributes:
        name, seed: what was asked for.
        dataset: the market.
        model: trained on it, in eval mode.
        truth: what the model's output depends on.
        score: R2 of the model in the validation windows, out of sample.
        test_score: in the test windows.
        follows: squared correlation of the output with the truth, when cells that matter come from other windows.
        rest: Sobol's total index (Jansen 1999) of all cells that should not matter: the part of the output's
            variance that they take part in, 0 where the output ignores them.
    """

    name: str
    seed: int
    dataset: StockDataset
    model: PooledTransformer
    truth: Truth
    score: float
    test_score: float
    follows: float
    rest: float

    @property
    def learned(self) -> bool:
        """Whether the model explains at least `LEAST_SCORE`, and other cells at most `MOST_REST`, of the variance.

        Of a model of nothing, whether it explains nothing.
        """
        if self.truth.made_up:
            return self.score < 1 - LEAST_SCORE
        return self.score >= LEAST_SCORE and self.rest <= MOST_REST

    @property
    def test_windows(self) -> np.ndarray:
        """Indices of the windows of the dataset that had no part in training, [n]."""
        return temporal_split(self.dataset).test


def load_planted(name: str, seed: int = 0, *, progress: bool = True) -> Planted:
    """Make a market with a known mechanism, and train a model on it in seconds; equal seeds give equal results.

    Windows of 12 days, 4 stock and 4 market features that are independent of each other and from day to day. The
    mechanism decides tomorrow's volatility; `docs/planted.md` has the formulas. Where it is in the window, which days
    and features, is drawn by the seed.

    Args:
        name: ``feature``: one stock feature on one day; ``market``: one market feature on one day; ``gate``: by
            the sign of a stock cell, a market cell or another stock cell; ``guided_gate``: the same, and the gate is
            trained to be open where the market cell decides; ``heads``: two market cells, each the job of
            a head; ``shortcut``: a cell that reveals the target in training and validation, but not in the test;
            ``nothing``: noise.
        progress: show a progress bar.

    Raises:
        ValueError: there is no such mechanism.

    Warns:
        UserWarning: the model has not learned it, so that its truth is not known.
    """
    table, truth = plant(name, seed)
    dataset = StockDataset(table, FEATURES[0], FEATURES[1], TARGET, LOOKBACK, "regression")
    result = fit(
        dataset,
        SIZE,
        epochs=MECHANISMS[name].epochs,
        learning_rate=LEARNING_RATE,
        seed=seed,
        loss=_guided(truth),
        progress=progress,
    )
    metrics = result.metrics
    score, test_score = (1 - metrics[f"{part}_loss"] / metrics[f"{part}_base_loss"] for part in ("validation", "test"))
    windows = inputs_of(dataset, temporal_split(dataset).test)
    planted = Planted(
        name, seed, dataset, result.model, truth, score, test_score, *swapped(result.model, truth, windows)
    )
    if not planted.learned:
        warnings.warn(
            f"the model of {name!r} with seed {seed} has not learned it, so its truth is not known (R2 {score:.2f}, "
            f"part of its variance that other cells have {planted.rest:.0%}): try another seed",
            stacklevel=2,
        )
    return planted


def inputs_of(dataset: StockDataset, indices: Sequence[int] | np.ndarray) -> tuple[Tensor, Tensor]:
    """Stock and market inputs of windows of a dataset: [N, T, features] each."""
    stock, market = zip(*(dataset[int(index)][::2] for index in indices), strict=True)
    return torch.stack(stock), torch.stack(market)


def swapped(model: PooledTransformer, truth: Truth, windows: Sequence[Tensor]) -> tuple[float, float]:
    """`Planted.follows` and `Planted.rest`: cells that matter, and all others, are those of another window.

    All cells are independent, so the windows that this makes are as likely as those of the market.
    """
    donors = torch.from_numpy(np.random.default_rng(0).permutation(len(windows[0])))
    masks = truth.cells(windows)
    pairs = list(zip(windows, masks, strict=True))
    same_rest = [torch.where(mask, part[donors], part) for part, mask in pairs]
    same_cells = [torch.where(mask, part, part[donors]) for part, mask in pairs]
    with without_gradients():
        output, moved, unmoved = (model(*parts).double() for parts in (windows, same_rest, same_cells))
    pair = torch.stack([moved, truth.value(same_rest).double()])
    rest = (unmoved - output).square().mean() / (2 * output.var(correction=0))
    return float(torch.corrcoef(pair)[0, 1] ** 2), float(rest)


def _guided(truth: Truth) -> Loss:
    """Squared error, plus how far heads and gate are from their jobs.

    For a head: mean of -log weight of the day of its job. For the gate: cross-entropy between its mean on each day and
    whether the market matters.
    """
    if not truth.heads and not truth.gate_known:
        return prediction_loss

    def loss(model: PooledTransformer, inputs: Sequence[Tensor], y: Tensor) -> Tensor:
        gates: list[Tensor] = []
        gate = model.get_submodule("cross_attn_layers.0.gate")

        def keep(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            if module is gate:
                gates.append(output)

        with explicit_attention(model) as calls, forward_hooks(after=keep):
            error = F.mse_loss(model(*inputs), y)
        weights = calls.attention["cross_attn_layers.0.cross_attn"].weights  # [B, heads, T, T]
        penalties = [-weights[:, head, :, term.cell.day].log().mean() for head, term in truth.heads.items()]
        if truth.gate_known:
            mean = gates[0].mean(dim=-1)  # [B, T]
            penalties.append(
                F.binary_cross_entropy(mean, truth.market_counts(inputs)[:, None].expand_as(mean).to(mean))
            )
        return error + _GUIDANCE * torch.stack(penalties).sum()

    return loss
