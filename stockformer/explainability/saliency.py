"""Which inputs an output hangs on, by its gradient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import InputXGradient, Saliency
from torch import Tensor, nn

from stockformer.explainability.capture import evaluating

METHODS = ("input_x_gradient", "gradient")


def compute_input_saliency(
    model: nn.Module,
    *inputs: Tensor,
    method: str = "input_x_gradient",
    target_class: int | None = None,
    sample: int = 0,
    absolute: bool = True,
) -> tuple[Tensor, ...]:
    """Attribute one sample's output to every feature of every day.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        inputs: each [B, T, features].
        method: ``input_x_gradient`` (Shrikumar et al. 2016) or ``gradient``
            (Simonyan et al. 2014).
        target_class: the column of the output that is explained; by default its
            largest, the predicted class of a softmax model. Not for outputs [B].
        sample: which of the batch.
        absolute: give magnitudes; else keep the sign.

    Returns:
        One [T, features] a given input, on the CPU.

    Raises:
        ValueError: an unknown method, or a sample or target that does not exist.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(METHODS)}")
    batch = inputs[0].size(0)
    if not 0 <= sample < batch:
        raise ValueError(f"sample is {sample}, expected 0 to {batch - 1} for a batch of {batch}")
    chosen = tuple(tensor[sample : sample + 1].detach().clone() for tensor in inputs)
    with evaluating(model):
        target = _target(model, chosen, target_class)
        attributed = _attribute(model, method, chosen, target)
    return tuple(_magnitude(part, absolute).squeeze(0).detach().cpu() for part in attributed)


def can_attribute(inputs: Sequence[Tensor], output: object) -> bool:
    """Whether `compute_input_saliency` applies: inputs [B, T, features], output [B] or [B, outputs]."""
    return isinstance(output, Tensor) and output.dim() in (1, 2) and all(part.dim() == 3 for part in inputs)


def saliency_frame(
    parts: Sequence[Tensor], feature_names: Sequence[Sequence[str]], dates: Sequence[Any] | None = None
) -> pd.DataFrame:
    """Every attribution, one row each: ``input, feature, day, value``.

    Args:
        parts: as from `compute_input_saliency`, one [T, features] an input.
        feature_names: one list an input.
        dates: names the days of every input that has as many; the others keep their step numbers.

    Raises:
        ValueError: names that do not fit the features.
    """
    tables = []
    for number, (part, names) in enumerate(zip(parts, feature_names, strict=True)):
        days, features = part.shape
        if len(names) != features:
            raise ValueError(f"feature_names[{number}] has {len(names)} names for {features} features")
        known = dates if dates is not None and len(dates) == days else range(days)
        columns = {"feature": np.tile(np.array(names, dtype=object), days), "day": np.repeat(list(known), features)}
        tables.append(pd.DataFrame({"input": number, **columns, "value": part.flatten().numpy()}))
    return pd.concat(tables, ignore_index=True)


def _target(model: nn.Module, inputs: tuple[Tensor, ...], target_class: int | None) -> int | None:
    with torch.no_grad():
        output = model(*inputs)
    if output.dim() == 1:
        if target_class not in (None, 0):
            raise ValueError(f"target_class is {target_class}, but the model returns a single value")
        return None
    columns = output.size(1)
    if target_class is None:
        return int(output[0].argmax())
    if not 0 <= target_class < columns:
        raise ValueError(f"target_class is {target_class}, expected 0 to {columns - 1} for an output of {columns}")
    return target_class


def _attribute(model: nn.Module, method: str, inputs: tuple[Tensor, ...], target: int | None) -> tuple[Tensor, ...]:
    with warnings.catch_warnings(), torch.enable_grad():
        # captum says so whenever it has to ask for gradients of the inputs.
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
        if method == "gradient":
            return Saliency(model).attribute(inputs, target=target, abs=False)  # type: ignore[no-any-return]
        return InputXGradient(model).attribute(inputs, target=target)  # type: ignore[no-any-return]


def _magnitude(attribution: Tensor, absolute: bool) -> Tensor:
    return attribution.abs() if absolute else attribution
