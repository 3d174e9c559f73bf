"""Attribution of one output column, here called saliency, and attributions as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from stockformer.explainability.attribution.attribute import attribute, check_choice
from stockformer.explainability.attribution.methods import METHODS
from stockformer.forward import in_eval_mode, without_gradients
from stockformer.inputs import Inputs
from stockformer.targets import Target


def compute_input_saliency(
    model: nn.Module,
    *inputs: Tensor,
    method: str = "input_x_gradient",
    target_class: int | None = None,
    sample: int = 0,
    absolute: bool = True,
) -> tuple[Tensor, ...]:
    """`attribute` one column of the output, for one sample of a batch.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        inputs: each [B, T, features].
        method: one of `stockformer.explainability.METHODS`.
        target_class: the column of the output that is explained; by default its
            largest, the predicted class of a softmax model. Not for outputs [B].
        sample: index in the batch.
        absolute: return magnitudes; else keep the sign.

    Returns:
        One [T, features] per input, on the CPU.

    Raises:
        ValueError: an unknown method, or a sample or target that does not exist.
    """
    check_choice("method", method, METHODS)
    batch = inputs[0].size(0)
    if not 0 <= sample < batch:
        raise ValueError(f"sample is {sample}, expected 0 to {batch - 1} for a batch of {batch}")
    chosen, mean = (tuple(part[sample : sample + 1] for part in parts) for parts in (inputs, Inputs(inputs).baseline))
    target = _column(model, chosen, target_class)
    parts = attribute(model, *chosen, method=method, target=target, baselines=mean).parts
    return tuple(part.abs() for part in parts) if absolute else parts


def saliency_frame(
    parts: Sequence[Tensor], feature_names: Sequence[Sequence[str]], dates: Sequence[Any] | None = None
) -> pd.DataFrame:
    """Every attribution, one row each: ``input, feature, day, value``.

    Args:
        parts: as from `compute_input_saliency`, one [T, features] per input.
        feature_names: one list per input.
        dates: names of the days, for inputs with as many days; the others keep their step numbers.

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


def _column(model: nn.Module, inputs: tuple[Tensor, ...], target_class: int | None) -> Target:
    with without_gradients():
        output = in_eval_mode(model)(*inputs)
    if output.dim() == 1:
        if target_class not in (None, 0):
            raise ValueError(f"target_class is {target_class}, but the model returns a single value")
        return Target("value")
    columns = output.size(1)
    if target_class is not None and not 0 <= target_class < columns:
        raise ValueError(f"target_class is {target_class}, expected 0 to {columns - 1} for an output of {columns}")
    return Target("logit", int(output[0].argmax()) if target_class is None else target_class)
