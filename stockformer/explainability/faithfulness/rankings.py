"""Rankings of a sample's cells or days by importance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.explainability.attention.capture import capture_attention
from stockformer.explainability.attention.flow import joint_rollout, mean_attention, relevance
from stockformer.explainability.attention.trace import trace_attention
from stockformer.explainability.attribution.attribute import attribute
from stockformer.explainability.attribution.methods import BY_NAME, METHODS
from stockformer.forward import in_eval_mode, with_gradients
from stockformer.inputs import Inputs
from stockformer.targets import Target

#: Scores of a sample for a target: [T, features] per input, or [T] per input to rank days.
Ranking = Callable[[nn.Module, Inputs, Target], Sequence[Tensor]]

#: What an explanation is compared with: names in a table -> what a verdict calls them.
REFERENCES: Mapping[str, str] = {
    "random": "random",
    "|input|": "input size",
    "fixed linear": "a fixed linear formula",
}
_BATCH = 64


def choose_baselines(
    inputs: Sequence[Tensor], method: str, baselines: Sequence[Tensor] | None = None
) -> Sequence[Tensor]:
    """`baselines` for methods that start from a baseline; for others, and without any, the training mean."""
    return baselines if baselines is not None and BY_NAME[method].from_baseline else Inputs(inputs).baseline


def attribute_from_mean(
    model: nn.Module,
    inputs: Sequence[Tensor],
    method: str,
    baselines: Sequence[Tensor] | None = None,
    **options: Any,
) -> tuple[Tensor, ...]:
    """Parts of `attribute` with the baselines of `choose_baselines`."""
    chosen = choose_baselines(inputs, method, baselines)
    return attribute(model, *inputs, method=method, baselines=chosen, **options).parts


def rank_cells(method: str, model: nn.Module, inputs: Inputs, target: Target, **options: Any) -> list[Tensor]:
    """Scores of every feature of every day by one of `METHODS`; `options` are those of `attribute_from_mean`."""
    parts = attribute_from_mean(model, inputs, method, target=target, **options)
    return [part.abs() if BY_NAME[method].sensitivity else part for part in parts]


def rank_by_size(model: nn.Module, inputs: Inputs, target: Target) -> list[Tensor]:
    """``|input|``, its distance from the training mean: a ranking that ignores the model."""
    return [part[0].abs() for part in Inputs(inputs).distance]


class LinearFormula:
    """A ranking by fixed weights times the input's distance from the training mean.

    The weights are the target's mean gradient over training windows.

    An explanation that does no better than this formula says nothing about the sample itself.

    Args:
        training: inputs of the training windows, each [1, T, features].
    """

    def __init__(self, training: Sequence[Sequence[Tensor]]) -> None:
        self._training = training
        self._weights: dict[Target, list[Tensor]] = {}

    def __call__(self, model: nn.Module, inputs: Inputs, target: Target) -> list[Tensor]:
        upwards = replace(target, sign=1)
        if upwards not in self._weights:
            self._weights[upwards] = _mean_gradient(model, self._training, upwards)
        return [
            target.sign * weights * part[0]
            for weights, part in zip(self._weights[upwards], Inputs(inputs).distance, strict=True)
        ]


def _mean_gradient(model: nn.Module, windows: Sequence[Sequence[Tensor]], target: Target) -> list[Tensor]:
    sums = [torch.zeros_like(part[0]) for part in windows[0]]
    for start in range(0, len(windows), _BATCH):
        with with_gradients():
            batch = [torch.cat(parts).requires_grad_() for parts in zip(*windows[start : start + _BATCH], strict=True)]
            # The windows of a batch do not see each other, so the gradient of the sum is that of each.
            gradients = torch.autograd.grad(target(in_eval_mode(model)(*batch)).sum(), batch)
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient.sum(dim=0)
    return [total / len(windows) for total in sums]


def _rank_days(model: nn.Module, inputs: Inputs, target: Target, *, method: str) -> list[Tensor]:
    parts = attribute_from_mean(model, inputs, method, target=target, groups="day")
    return [part.sum(dim=-1) for part in parts]


def _rank_by_pooling(model: nn.Module, inputs: Inputs, target: Target) -> list[Tensor]:
    pooling = capture_attention(model, *inputs).pooling
    assert pooling is not None
    return [pooling[0], *(torch.zeros(part.size(1)) for part in inputs[1:])]


#: Name -> ranking of every feature of every day.
CELL_RANKINGS: Mapping[str, Ranking] = {method: partial(rank_cells, method) for method in METHODS}
#: Name -> ranking of the days: scores from attention, and from two methods that run the model.
DAY_RANKINGS: Mapping[str, Ranking] = {
    "mean attention": lambda model, inputs, target: mean_attention(trace_attention(model, *inputs, target=target)),
    "rollout": lambda model, inputs, target: joint_rollout(trace_attention(model, *inputs, target=target)).days,
    "relevance": lambda model, inputs, target: relevance(trace_attention(model, *inputs, target=target)).days,
    "pooling": _rank_by_pooling,
    "integrated_gradients": partial(_rank_days, method="integrated_gradients"),
    "occlusion": partial(_rank_days, method="occlusion"),
}
