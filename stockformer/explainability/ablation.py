"""What the target does without a head, or without the pattern of a layer's attention."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.explainability.capture import capture_attention
from stockformer.explainability.targets import Target, explained
from stockformer.explainability.trace import Trace
from stockformer.explainability.what_if import WhatIf, changed_model
from stockformer.forward import in_eval_mode


def head_importance(model: nn.Module, *inputs: Tensor, trace: Trace) -> pd.DataFrame:
    """How much the target hangs on each head, by gradient and by switching it off.

    Args:
        model, inputs: what `trace` was made from.

    Returns:
        One row a head: ``kind, layer, head``; ``gradient``, ``|sum A * dt/dA|``
        (Michel et al. 2019); ``ablation``, the target's fall when the head adds nothing.
    """
    change = _changes(model, inputs, trace.target)
    rows = [
        (kind, number, head, abs(float((weights * gradient).sum())), -change(WhatIf(heads_off=[(kind, number, head)])))
        for kind, layers in trace.kinds.items()
        for number, layer in enumerate(layers)
        for head, (weights, gradient) in enumerate(zip(layer.weights, layer.gradient, strict=True))
    ]
    return pd.DataFrame(rows, columns=["kind", "layer", "head", "gradient", "ablation"])


def attention_effects(model: nn.Module, *inputs: Tensor, target: Target | None = None) -> pd.DataFrame:
    """What the target does when one layer's attention is flat, or shuffled within its rows (Jain and Wallace 2019).

    Where it does nothing, the prediction does not use where that layer looks.

    Args:
        model: called as ``model(*inputs)``; returns [B] or [B, outputs].
        inputs: of one sample.
        target: by default that of `choose_target`.

    Returns:
        One row a layer: ``kind, layer, flat, permuted``, changes of the target.
    """
    change = _changes(model, inputs, target)
    rows = [
        (kind, layer, change(WhatIf(flat=[(kind, layer)])), change(WhatIf(permuted=[(kind, layer)])))
        for kind, layers in capture_attention(model, *inputs).kinds.items()
        for layer in range(len(layers))
    ]
    return pd.DataFrame(rows, columns=["kind", "layer", "flat", "permuted"])


def _changes(model: nn.Module, inputs: tuple[Tensor, ...], target: Target | None) -> Callable[[WhatIf], float]:
    """How the target of a sample moves with a change."""
    model = in_eval_mode(model)
    shown = capture_attention(model, *inputs)
    target, value = explained(model, *inputs, target=target)

    def change(what_if: WhatIf) -> float:
        with torch.no_grad(), changed_model(model, what_if, shown):
            return float(target(model(*inputs))[0]) - value

    return change
