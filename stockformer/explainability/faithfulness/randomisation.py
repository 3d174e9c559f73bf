"""Sanity checks: an explanation that ignores the model, or credits features without data, fails them."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.explainability.attention.statistics import spearman
from stockformer.explainability.attribution.methods import METHODS
from stockformer.explainability.faithfulness.rankings import attribute_from_mean
from stockformer.forward import with_gradients, without_gradients
from stockformer.inputs import Inputs
from stockformer.seeding import seeded
from stockformer.steps import Steps, run_to_end
from stockformer.targets import explained

#: How many models with random weights an attribution is compared with.
MODELS = 5


def randomisation_check(
    model: nn.Module,
    samples: Sequence[Sequence[Tensor]],
    methods: Sequence[str] = METHODS,
    *,
    column: int | None = None,
    models: int = MODELS,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """Similarity of an attribution to those of models with random weights (Adebayo et al. 2018), with a progress bar.

    A method whose picture stays the same shows the input, not the model.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        samples: each a sample's inputs, [1, T, features].
        methods: some of `METHODS`.
        column: of the output, see `choose_target`.
        models: how many random models.
        seed: of the first one's weights; the others' follow.
        options: of `attribute`: baselines, by default the training mean of each sample, and groups.

    Returns:
        One row per method: ``method, signed, absolute``, the Spearman correlation of the
        values and of their magnitudes, mean over samples and models; ``signed_std, absolute_std``, the standard
        deviation between the models' means. NaN where a method ranks nothing.
    """
    steps = randomisation_steps(model, samples, methods, column=column, models=models, seed=seed, **options)
    return run_to_end(steps, "random weights")


def randomisation_steps(
    model: nn.Module,
    samples: Sequence[Sequence[Tensor]],
    methods: Sequence[str] = METHODS,
    *,
    column: int | None = None,
    models: int = MODELS,
    seed: int = 0,
    **options: Any,
) -> Steps[pd.DataFrame]:
    """`randomisation_check` in steps."""
    random = [_randomised(model, seed + number) for number in range(models)]
    rows = []
    total, done = len(methods) * len(samples) * (models + 1), 0
    for method in methods:
        correlations = np.empty((len(samples), models, 2))
        for sample, inputs in enumerate(samples):
            target, _ = explained(model, *inputs, column=column)
            for number, one in enumerate([model, *random]):
                values = _moved(inputs, attribute_from_mean(one, inputs, method, target=target, **options))
                if number == 0:
                    own = values
                else:
                    correlations[sample, number - 1] = spearman(own, values), spearman(own.abs(), values.abs())
                done += 1
                yield done / total
        by_model = correlations.mean(axis=0)  # [models, 2]
        rows.append((method, *by_model.mean(axis=0), *by_model.std(axis=0, ddof=1 if models > 1 else 0)))
    return pd.DataFrame(rows, columns=["method", "signed", "absolute", "signed_std", "absolute_std"])


def negative_control(
    parts: Sequence[Tensor], feature_names: Sequence[Sequence[str]], unavailable: Sequence[str]
) -> float:
    """The largest magnitude that an attribution gives to features without data: 0, or the attribution is not faithful.

    Gradient and SmoothGrad say what the model would do with such a feature, so for them the control says
    nothing.

    Args:
        parts: as from `attribute`, one [T, features] per input.
        feature_names: one list per input.
        unavailable: those without data, see `StockDataset`; NaN where there are none.
    """
    largest = [
        float(part[:, number].abs().max())
        for part, names in zip(parts, feature_names, strict=True)
        for number, name in enumerate(names)
        if name in unavailable
    ]
    return max(largest, default=np.nan)


def _moved(inputs: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    """The attributions of the cells that are not at the training mean: the others are 0 whatever the weights."""
    return torch.cat([part[cells[0].cpu() != 0] for part, cells in zip(parts, Inputs(inputs).distance, strict=True)])


@with_gradients()  # parameters that are copied in inference mode could have none
def _randomised(model: nn.Module, seed: int) -> nn.Module:
    """A copy with fresh weights; weights that their module cannot initialise are shuffled."""
    # Weights that an old hook computes (weight norm, pruning) are not leaf tensors, and deepcopy takes no others.
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


@without_gradients()
def _shuffle(parameters: Iterable[Tensor]) -> None:
    for values in parameters:
        values.copy_(values.flatten()[torch.randperm(values.numel())].view_as(values))
