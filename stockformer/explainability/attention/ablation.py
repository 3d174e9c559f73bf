"""How the target changes without a head, or without the pattern of a layer's attention."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.explainability.attention.capture import Capture, capture_attention
from stockformer.explainability.attention.trace import Trace
from stockformer.explainability.attention.what_if import WhatIf, changed_copies
from stockformer.forward import in_eval_mode, without_gradients
from stockformer.steps import Steps, run_to_end
from stockformer.targets import Target, explained

_COPIES = 16  # of a sample in one pass, fewer where its maps are large
_CELLS = 2**22  # of the maps of one attention


def head_importance(model: nn.Module, *inputs: Tensor, trace: Trace) -> pd.DataFrame:
    """How much the target depends on each head, by gradient and by switching it off.

    Args:
        model, inputs: those that `trace` was made from.

    Returns:
        One row per head: ``kind, layer, head``; ``gradient``, ``|sum A * dt/dA|``
        (Michel et al. 2019); ``ablation``, the drop in target without the head.
    """
    return run_to_end(head_importance_steps(model, *inputs, trace=trace), "heads", progress=False)


def head_importance_steps(model: nn.Module, *inputs: Tensor, trace: Trace) -> Steps[pd.DataFrame]:
    """`head_importance` in steps."""
    heads = [
        (kind, number, head, abs(float((weights * gradient).sum())))
        for kind, layers in trace.kinds.items()
        for number, layer in enumerate(layers)
        for head, (weights, gradient) in enumerate(zip(layer.weights, layer.gradient, strict=True))
    ]
    changes = yield from _changes(model, inputs, trace.target, [WhatIf(heads_off=[head[:3]]) for head in heads])
    rows = [(*head, -change) for head, change in zip(heads, changes, strict=True)]
    return pd.DataFrame(rows, columns=["kind", "layer", "head", "gradient", "ablation"])


def attention_effects(model: nn.Module, *inputs: Tensor, target: Target | None = None) -> pd.DataFrame:
    """How the target changes if one layer's attention is flat, or shuffled within its rows (Jain and Wallace 2019).

    If it does not change, the prediction does not depend on where that layer looks.

    Args:
        model: called as ``model(*inputs)``; returns [B] or [B, outputs].
        inputs: of one sample.
        target: by default that of `choose_target`.

    Returns:
        One row per layer: ``kind, layer, flat, permuted``, changes of the target.
    """
    return run_to_end(attention_effects_steps(model, *inputs, target=target), "effects", progress=False)


def attention_effects_steps(model: nn.Module, *inputs: Tensor, target: Target | None = None) -> Steps[pd.DataFrame]:
    """`attention_effects` in steps."""
    kinds = capture_attention(model, *inputs).kinds
    layers = [(kind, layer) for kind, maps in kinds.items() for layer in range(len(maps))]
    what_ifs = [what_if for layer in layers for what_if in (WhatIf(flat=[layer]), WhatIf(permuted=[layer]))]
    changes = yield from _changes(model, inputs, target, what_ifs)
    rows = [(*layer, *pair) for layer, pair in zip(layers, zip(changes[::2], changes[1::2], strict=True), strict=True)]
    return pd.DataFrame(rows, columns=["kind", "layer", "flat", "permuted"])


def _changes(
    model: nn.Module, inputs: tuple[Tensor, ...], target: Target | None, what_ifs: Sequence[WhatIf]
) -> Steps[list[float]]:
    """How the target of a sample moves with each of several changes of attention.

    Copies of the sample go through the model together, one change each. The first copy is unchanged, so that the
    values that are compared went through the same arithmetic.
    """
    model = in_eval_mode(model)
    capture = capture_attention(model, *inputs)
    target, _ = explained(model, *inputs, target=target)
    maps = capture.attention.values()
    # Attention over another batch dimension, such as days, would mix the copies: they run one at a time.
    apart = any(len(weights) != 1 for weights in maps)
    together = min(_COPIES, max(2, _CELLS // max(weights.numel() for weights in maps))) - 1
    changes: list[float] = []
    while len(changes) < len(what_ifs):
        yield len(changes) / len(what_ifs)
        copies = [WhatIf(), *what_ifs[len(changes) : len(changes) + together]]
        batches = [[copy] for copy in copies] if apart else [copies]
        values = torch.cat([_targets(model, inputs, target, batch, capture) for batch in batches]).double()
        changes += (values[1:] - values[0]).tolist()
    return changes


def _targets(
    model: nn.Module, inputs: tuple[Tensor, ...], target: Target, what_ifs: Sequence[WhatIf], capture: Capture
) -> Tensor:
    """The target of copies of a sample, each with its own change: [copies]."""
    with without_gradients(), changed_copies(model, what_ifs, capture):
        return target(model(*(torch.cat([part] * len(what_ifs)) for part in inputs)))
