"""Checks that an explanation fails which does not look at the model, or sees features that are not there."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.explainability.attribution import METHODS, attribute
from stockformer.explainability.rankings import Inputs
from stockformer.explainability.statistics import spearman
from stockformer.explainability.steps import Steps, run_to_end
from stockformer.explainability.targets import explained
from stockformer.forward import with_gradients
from stockformer.seeding import seeded


def randomisation_check(
    model: nn.Module,
    samples: Sequence[Inputs],
    methods: Sequence[str] = METHODS,
    *,
    column: int | None = None,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """How like an attribution is to that of a model with random weights (Adebayo et al. 2018), with a progress bar.

    A method whose picture stays the same shows the input, not the model.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        samples: each a sample's inputs, [1, T, features].
        methods: some of `METHODS`.
        column: of the output, see `choose_target`.
        seed: of the random weights.
        options: of `attribute`: baselines and groups.

    Returns:
        One row a method: ``method, signed, absolute``: Spearman correlation of the
        values and of their magnitudes, mean over the samples; NaN where a method ranks nothing.
    """
    steps = randomisation_steps(model, samples, methods, column=column, seed=seed, **options)
    return run_to_end(steps, "random weights")


def randomisation_steps(
    model: nn.Module,
    samples: Sequence[Inputs],
    methods: Sequence[str] = METHODS,
    *,
    column: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Steps[pd.DataFrame]:
    """`randomisation_check` in steps."""
    random = _randomised(model, seed)
    rows = []
    for number, method in enumerate(methods):
        found = []
        for done, inputs in enumerate(samples):
            target, _ = explained(model, *inputs, column=column)
            own, other = (
                _moved(inputs, attribute(one, *inputs, method=method, target=target, **options).parts)
                for one in (model, random)
            )
            found.append((spearman(own, other), spearman(own.abs(), other.abs())))
            yield (number + (done + 1) / len(samples)) / len(methods)
        signed, absolute = np.mean(found, axis=0)
        rows.append((method, float(signed), float(absolute)))
    return pd.DataFrame(rows, columns=["method", "signed", "absolute"])


def negative_control(
    parts: Sequence[Tensor], feature_names: Sequence[Sequence[str]], unavailable: Sequence[str]
) -> float:
    """The largest magnitude that an attribution gives to features without data: 0, or it is not to be believed.

    Gradient and SmoothGrad say what the model would do with such a feature, so for them the control says
    nothing.

    Args:
        parts: as from `attribute`, one [T, features] an input.
        feature_names: one list an input.
        unavailable: those without data, see `StockDataset`; NaN where there are none.
    """
    found = [
        float(part[:, number].abs().max())
        for part, names in zip(parts, feature_names, strict=True)
        for number, name in enumerate(names)
        if name in unavailable
    ]
    return max(found, default=np.nan)


def _moved(inputs: Inputs, parts: Sequence[Tensor]) -> Tensor:
    """The attributions of the cells that are not at the training mean: the others are 0 whatever the weights."""
    return torch.cat([part[cells[0].cpu() != 0] for part, cells in zip(parts, inputs, strict=True)])


@with_gradients()  # parameters that are copied in inference mode could have none
def _randomised(model: nn.Module, seed: int) -> nn.Module:
    """A copy with fresh weights; those that a module has no fresh ones for, in random order."""
    # Weights that an old hook computes (weight norm, pruning) are no leaves, which deepcopy refuses.
    tensors = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    fresh = copy.deepcopy(model, {id(value): value.detach().clone() for value in tensors if not value.is_leaf})
    with seeded(seed):
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            before = [values.detach().clone() for values in module.parameters(recurse=False)]
            if reset is not None:
                reset()
            _shuffle(
                values
                for values, trained in zip(module.parameters(recurse=False), before, strict=True)
                if torch.equal(values, trained)
            )
    return fresh


@torch.no_grad()
def _shuffle(parameters: Iterable[Tensor]) -> None:
    for values in parameters:
        values.copy_(values.flatten()[torch.randperm(values.numel())].view_as(values))
