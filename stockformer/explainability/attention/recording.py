"""The weights of one attention call, and whether its output was computed from them.

The weights are recomputed from inputs and parameters, because torch's kernels keep none.
Anything between those and the output (an overridden forward, a hook, a parametrization)
could make them silently wrong, so the output is recomputed from them and compared.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import ParametrizationList

from stockformer.explainability.attention.weights import (
    attention_call,
    attention_weights,
    batch_first,
    has_own_method,
    key_mask,
    mix_values,
    padded,
    wide,
)
from stockformer.forward import in_full_precision, without_gradients
from stockformer.restoring import undone

_LAYER = inspect.signature(nn.TransformerEncoderLayer.forward)
_NOTHING = (nn.modules.dropout._DropoutNd, nn.Identity)  # modules that do nothing in eval mode
_PROBES = 4
_ROWS = 4
# Units in the last place of the output. Over 400 random modules, masks and paths, with parameters up to 10 times
# torch's initial ones, rounding was at most 5 units in half precision and 13 in single and double.
_HALF, _FULL = 8, 1000


@dataclass(frozen=True)
class AttentionRecord:
    """One attention call.

    Attributes:
        weights: [B, heads, L, S]; [B, 1, L, S] where only the mean of the heads is known.
        mask: where they are forbidden, see `key_mask`.
        discrepancy: relative difference between the output that the weights give and the module's; NaN if it
            is not known.
        caveat: why the module may have used other weights, in a sentence; empty if the weights agree.
    """

    weights: Tensor
    mask: Tensor | None
    discrepancy: float
    caveat: str = ""


def record_call(module: nn.MultiheadAttention, args: Any, kwargs: dict[str, Any], output: Any) -> AttentionRecord:
    """Record a call that returned `output`. Tensors are detached and on the CPU."""
    with without_gradients(), parameters_at_rest(module):
        call = attention_call(module, args, kwargs)
        weights, difference, source = _call_weights(module, call, output)
        caveat = _caveat(difference, source, output)
        if _drops(module):
            caveat = "dropout is on: these are the weights before it"
        return _record(weights, call, difference, caveat)


def record_fused(
    layer: nn.TransformerEncoderLayer, args: Any, kwargs: dict[str, Any], output: Tensor
) -> AttentionRecord:
    """Record the attention of an encoder layer that returned `output` from torch's fused kernel, without calling it."""
    with without_gradients(), parameters_at_rest(layer):
        call = _LAYER.bind(layer, *args, **kwargs).arguments
        src, padding = call["src"], call.get("src_key_padding_mask")
        output = getattr(output, "unpatched", output)
        if src.is_nested:
            src, padding = padded(src)
            output = output.to_padded_tensor(0.0)
        stream = _norm(layer.norm1, src) if layer.norm_first else src
        masks = {"attn_mask": call.get("src_mask"), "key_padding_mask": padding}
        weights = attention_weights(layer.self_attn, stream, stream, **masks)
        used = None if padding is None else ~(padding if padding.dtype == torch.bool else padding.isneginf())
        difference = _layer_discrepancy(layer, weights, src, stream, output, used)
        return _record(weights, masks, difference, _caveat(difference, "recomputed", output) or _skipped(layer))


def _skipped(layer: nn.TransformerEncoderLayer) -> str:
    """A caveat if torch's fused kernel leaves out methods or modules of a layer's own."""
    blocks = [name for name in ("_sa_block", "_ff_block") if has_own_method(layer, name, nn.TransformerEncoderLayer)]
    dropouts = [name for name in ("dropout", "dropout1", "dropout2") if not isinstance(getattr(layer, name), _NOTHING)]
    if not blocks + dropouts:
        return ""
    return (
        f"torch's fused kernel left out the {' and '.join(blocks + dropouts)} of its layer, a {type(layer).__name__}: "
        "gradients and what-ifs run it, the prediction does not; with torch.backends.mha.set_fastpath_enabled(False) "
        "it always runs"
    )


def called_weights(module: nn.MultiheadAttention, call: dict[str, Any], output: Any) -> Tensor:
    """The weights of a call that returned `output`, [B, heads, L, S], on the gradient path.

    Raises:
        ValueError: they do not give that output.
    """
    weights, difference, source = _call_weights(module, call, output)
    caveat = _caveat(difference, source, output)
    if caveat:
        raise ValueError(
            f"the attention of a {type(module).__name__} can be shown but neither changed nor differentiated: {caveat}"
        )
    return weights


def discrepancy(module: nn.MultiheadAttention, call: dict[str, Any], weights: Tensor, output: Tensor) -> float:
    """How far a module's output is from its values mixed by the weights, ``|output - mixed| / |output|``.

    Norms are over all samples and queries; that of the difference is estimated from random sums of the queries
    (Freivalds 1977), which costs a fraction of the attention itself. Queries without an allowed key do not count.

    Args:
        call: see `attention_call`.
        weights: [B, heads, L, S].
        output: what the module returned, without its weights.

    Returns:
        NaN if dropout is on, or if no query has an allowed key.
    """
    if _drops(module):
        return float("nan")
    with without_gradients():
        rows = wide(output.to_padded_tensor(0.0) if output.is_nested else batch_first(module, output))
        bias = 0.0 if module.out_proj.bias is None else wide(module.out_proj.bias)
        counted = ~weights[..., 0].isnan().any(dim=1)  # [B, L]
        if call.get("nested"):
            counted = counted & ~call["key_padding_mask"]
        if not counted.any():
            return float("nan")
        size = torch.linalg.vector_norm(rows[counted])
        rows = rows - bias
        if not counted.all():
            weights = weights.masked_fill(~counted[:, None, :, None], 0.0)
            rows = rows.masked_fill(~counted[..., None], 0.0)
        probes = _probes(rows.size(1)).to(rows)
        with in_full_precision(rows.device.type):
            sums, expected = probes @ weights.to(rows.dtype), probes @ rows
        mixed = wide(batch_first(module, mix_values(module, sums, call["value"]))) - bias
        return _relative(torch.linalg.vector_norm(expected - mixed), size)


@cache
def _probes(queries: int) -> Tensor:
    """Coefficients of random sums of queries, [probes, queries], always the same."""
    normal: Tensor = torch.randn(_PROBES, queries, generator=torch.Generator().manual_seed(0))
    return normal.div(_PROBES**0.5)


def tolerance(dtype: torch.dtype) -> float:
    """The largest `discrepancy` that counts as rounding."""
    eps = torch.finfo(dtype).eps
    return eps * (_HALF if eps > torch.finfo(torch.float32).eps else _FULL)


@contextmanager
def parameters_at_rest(module: nn.Module) -> Iterator[None]:
    """Read parameters as they were in the last forward pass.

    In training mode some parametrizations, such as spectral norm, change whenever they are read.
    """
    lists = [child for child in module.modules() if isinstance(child, ParametrizationList)]
    moving = [child for parametrizations in lists for child in parametrizations.modules() if child.training]

    def move() -> None:
        for child in moving:
            child.training = True

    with undone(move):
        for child in moving:
            child.training = False
        yield


def _call_weights(module: nn.MultiheadAttention, call: dict[str, Any], output: Any) -> tuple[Tensor, float, str]:
    """The weights of a call, their discrepancy, and their origin: recomputed if they agree with the output, else those
    that the module itself returned."""
    if hasattr(output, "by_head"):
        return output.by_head, 0.0, "given"
    attended = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(attended, Tensor):
        raise TypeError(
            f"{type(module).__name__} returned a {type(output).__name__}, expected a tensor or a tuple that begins "
            "with one"
        )
    returned = _returned(call, output) if has_own_method(module, "forward", nn.MultiheadAttention) else None
    if returned is not None and returned.size(1) == module.num_heads:
        return returned, discrepancy(module, call, returned, attended), "returned"
    weights = attention_weights(module, call["query"], call["key"], call.get("attn_mask"), call.get("key_padding_mask"))
    difference = discrepancy(module, call, weights, attended)
    if returned is None or not difference > tolerance(attended.dtype):
        return weights, difference, "recomputed"
    return returned, difference, "mean"


def _returned(call: dict[str, Any], output: Any) -> Tensor | None:
    """The weights that a call returned, [B, heads, L, S] or [B, 1, L, S]; None if it returned none."""
    if not isinstance(output, tuple) or len(output) < 2 or not isinstance(output[1], Tensor):
        return None
    weights = output[1] if call["query"].dim() == 3 else output[1].unsqueeze(0)
    weights = wide(weights.unsqueeze(1) if weights.dim() == 3 else weights)
    sums = weights.sum(dim=-1)
    shares = weights.dim() == 4 and bool(((sums - 1).abs() < 0.01).logical_or(sums.isnan()).all())
    return weights if shares else None


def _caveat(difference: float, source: str, output: Any) -> str:
    if source == "mean":
        return "this is the mean of its heads, as returned by its own forward; the heads themselves are not known"
    attended = output[0] if isinstance(output, tuple) else output
    if not difference > tolerance(attended.dtype):
        return ""
    off = f"{100 * difference:.2g} % off"
    if source == "returned":
        return f"these are the weights that its own forward returned, but they do not give its output ({off})"
    return (
        "these weights are recomputed from its inputs and parameters, but they do not give its output "
        f"({off}): what it attended to is not known"
    )


def _record(weights: Tensor, call: dict[str, Any], difference: float, caveat: str) -> AttentionRecord:
    mask = key_mask(weights.shape, call.get("attn_mask"), call.get("key_padding_mask"))
    return AttentionRecord(wide(weights.detach()).cpu(), mask, difference, caveat)


def _layer_discrepancy(
    layer: nn.TransformerEncoderLayer,
    weights: Tensor,
    src: Tensor,
    stream: Tensor,
    output: Tensor,
    used: Tensor | None,
) -> float:
    """How far some rows of the first sample's output are from those that the weights give."""
    steps = torch.arange(src.size(1), device=src.device) if used is None else used[0].nonzero()[:, 0]
    steps = steps[~weights[0][:, steps, 0].isnan().any(dim=0)]
    if not len(steps):
        return float("nan")
    rows = steps[torch.linspace(0, len(steps) - 1, min(_ROWS, len(steps))).long()]
    attended = mix_values(layer.self_attn, weights[:1, :, rows], stream[:1])
    joined, norms = src[:1, rows] + attended, (layer.norm1, layer.norm2)
    if layer.norm_first:
        expected = joined + _feed_forward(layer, _norm(norms[1], joined))
    else:
        joined = _norm(norms[0], joined)
        expected = _norm(norms[1], joined + _feed_forward(layer, joined))
    actual = wide(output[:1, rows])
    return _relative(torch.linalg.vector_norm(actual - wide(expected)), torch.linalg.vector_norm(actual))


def _norm(norm: Any, tensor: Tensor) -> Tensor:
    """Layer norm as the fused kernel computes it from the parameters, whatever module holds them."""
    return F.layer_norm(tensor, tensor.shape[-1:], norm.weight, norm.bias, norm.eps)


def _feed_forward(layer: Any, tensor: Tensor) -> Tensor:
    hidden = layer.activation(F.linear(tensor, layer.linear1.weight, layer.linear1.bias))
    return F.linear(hidden, layer.linear2.weight, layer.linear2.bias)


def _relative(difference: Tensor, size: Tensor) -> float:
    if difference == 0:
        return 0.0
    if not size.isfinite():
        return float("nan")
    return float("inf") if size == 0 or not difference.isfinite() else float(difference / size)


def _drops(module: nn.MultiheadAttention) -> bool:
    return module.training and module.dropout > 0
