"""Rankings of a sample's cells or days: what an explanation says counts most."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.explainability.attribution import METHODS, attribute
from stockformer.explainability.capture import capture_attention
from stockformer.explainability.flow import joint_rollout, mean_attention, relevance
from stockformer.explainability.targets import Target
from stockformer.explainability.trace import trace_attention

Inputs = tuple[Tensor, ...]
#: Scores of a sample for a target: one [T, features] an input, or one [T] an input to rank days.
Ranking = Callable[[nn.Module, Inputs, Target], Sequence[Tensor]]

#: Methods that say how much the target would change, not what it got from an input; ranked by magnitude.
SENSITIVITIES = ("gradient", "smooth_grad")


def rank_cells(method: str, model: nn.Module, inputs: Inputs, target: Target, **options: Any) -> list[Tensor]:
    """Scores of every feature of every day by one of `METHODS`; `options` are those of `attribute`."""
    parts = attribute(model, *inputs, method=method, target=target, **options).parts
    return [part.abs() if method in SENSITIVITIES else part for part in parts]


def _rank_days(model: nn.Module, inputs: Inputs, target: Target, *, method: str) -> list[Tensor]:
    parts = attribute(model, *inputs, method=method, target=target, groups="day").parts
    return [part.sum(dim=-1) for part in parts]


def _rank_by_pooling(model: nn.Module, inputs: Inputs, target: Target) -> list[Tensor]:
    pooling = capture_attention(model, *inputs).pooling
    assert pooling is not None
    return [pooling[0], *(torch.zeros(part.size(1)) for part in inputs[1:])]


#: Name -> ranking of every feature of every day.
CELL_RANKINGS: Mapping[str, Ranking] = {method: partial(rank_cells, method) for method in METHODS}
#: Name -> ranking of the days: what attention says, beside two methods that ask the model.
DAY_RANKINGS: Mapping[str, Ranking] = {
    "mean attention": lambda model, inputs, target: mean_attention(trace_attention(model, *inputs, target=target)),
    "rollout": lambda model, inputs, target: joint_rollout(trace_attention(model, *inputs, target=target)).days,
    "relevance": lambda model, inputs, target: relevance(trace_attention(model, *inputs, target=target)).days,
    "pooling": _rank_by_pooling,
    "integrated_gradients": partial(_rank_days, method="integrated_gradients"),
    "occlusion": partial(_rank_days, method="occlusion"),
}
