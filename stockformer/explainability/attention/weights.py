"""Multi-head attention written out, from an `nn.MultiheadAttention`'s own parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stockformer.forward import in_full_precision


class AttentionOutput(tuple[Any, ...]):
    """The return value of an attention call: the output, and weights in the form in which the call returned them.

    Attributes:
        by_head: the weights that the output was computed from, [B, heads, L, S].
        added: what patched heads added to the output, in its layout.
    """

    by_head: Tensor
    added: Tensor


def attention_output(module: nn.MultiheadAttention, call: dict[str, Any], weights: Tensor, output: Any) -> Any:
    """The return value of a call that returned `output`, computed with other weights [B, heads, L, S].

    Args:
        call: see `attention_call`.

    Returns:
        An `AttentionOutput`, or a tensor if `output` is one; with ``by_head``, and with ``added`` if `output` has it.
    """
    attended, added = mix_values(module, weights, call["value"]), getattr(output, "added", None)
    return _output(call, attended if added is None else attended + added, weights, added, output)


def patched_output(
    module: nn.MultiheadAttention, call: dict[str, Any], weights: Tensor, output: Any, heads: Tensor, donor: Tensor
) -> Any:
    """The return value of a call that returned `output`, with the outputs of some heads replaced by a donor's.

    Args:
        call: see `attention_call`.
        weights: those that `output` was computed from, [B, heads, L, S].
        heads: which heads, bool [B or 1, heads].
        donor: outputs of the heads for the donor, see `head_outputs`.

    Returns:
        As `attention_output`, with weights of 0 for these heads, whose contribution is ``added``.
    """
    chosen = heads.to(weights.device)[:, :, None, None]
    own = head_outputs(module, weights, call["value"])
    added = _join_heads(module, donor.to(own).where(chosen, 0.0), like=call["value"])
    attended = output[0] if isinstance(output, tuple) else output
    # A difference, so that it is exactly 0 if the donor is the sample itself.
    change = _join_heads(module, (donor.to(own) - own).where(chosen, 0.0), like=call["value"])
    return _output(call, attended + change, weights.masked_fill(chosen, 0.0), added, output)


def _output(call: dict[str, Any], attended: Tensor, weights: Tensor, added: Tensor | None, output: Any) -> Any:
    """`attended` in the form of `output`."""
    result: Any = attended
    if isinstance(output, tuple):
        forms = [weights, weights.mean(dim=1)]
        forms = [form[0] for form in forms] if call["query"].dim() == 2 else forms
        more = [
            next((form for form in forms if isinstance(part, Tensor) and part.shape == form.shape), part)
            for part in output[1:]
        ]
        result = AttentionOutput((result, *more))
    result.by_head = weights
    if added is not None:
        result.added = added
    return result


def attention_weights(
    module: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
) -> Tensor:
    """softmax(Q K^T / sqrt(head_dim) + masks), from the module's own parameters.

    Vaswani et al. 2017, equation 1. Unlike the weights that the module returns,
    these are on the gradient path and before dropout. Half precision is widened to float32 after the projections.

    Args:
        query, key: as passed to the module: [B, L, E] or [L, B, E] by its
            ``batch_first``, or without batch [L, E].
        attn_mask: [L, S] or [B * heads, L, S]; True or -inf forbids.
        key_padding_mask: [B, S] or [S]; True or -inf forbids.

    Returns:
        Weights [B, heads, L, S]; B is 1 without batch. S includes a ``bias_k`` or
        an added zero step. A row without any allowed key is NaN.
    """
    scores = _scores(module, query, key, attn_mask, key_padding_mask)
    # In place where there is no gradient: a second tensor of this size costs more than the softmax itself.
    return scores.softmax(dim=-1) if torch.is_grad_enabled() else torch.softmax(scores, dim=-1, out=scores)


def _scores(
    module: nn.MultiheadAttention,
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
) -> Tensor:
    """Q K^T / sqrt(head_dim) + masks."""
    q, k = (_project(module, part, batch_first(module, tensor)) for part, tensor in enumerate((query, key)))
    k = _with_added_steps(module, k, module.bias_k)
    q, k = (wide(_by_head(module, tensor)) for tensor in (q, k))  # [B, heads, steps, head_dim]
    with in_full_precision(q.device.type):
        scores = (q / math.sqrt(module.head_dim)) @ k.transpose(-2, -1)
    if attn_mask is not None:
        by_head = attn_mask.view(scores.size(0), -1, *attn_mask.shape[1:]) if attn_mask.dim() == 3 else attn_mask
        scores = _masked(scores, by_head)
    if key_padding_mask is not None:
        scores = _masked(scores, key_padding_mask.view(-1, 1, 1, key_padding_mask.size(-1)))
    return scores


def key_mask(shape: Sequence[int], attn_mask: Tensor | None, key_padding_mask: Tensor | None) -> Tensor | None:
    """Where the masks of a call forbid a query to attend to a key; None if they forbid nothing.

    Args:
        shape: of the weights, [B, heads, L, S].
        attn_mask, key_padding_mask: as in `attention_weights`.

    Returns:
        Bool [B, heads or 1, L, S] on the CPU, True where it is forbidden; steps that the module added are allowed.
    """
    batch, _, queries, keys = shape
    mask = torch.zeros(batch, 1, queries, keys, dtype=torch.bool)
    if attn_mask is not None:
        by_head = attn_mask.view(batch, -1, *attn_mask.shape[1:]) if attn_mask.dim() == 3 else attn_mask
        mask = mask | _forbidden(by_head, keys)
    if key_padding_mask is not None:
        mask = mask | _forbidden(key_padding_mask.view(-1, 1, 1, key_padding_mask.size(-1)), keys)
    return mask if mask.any() else None


def _forbidden(mask: Tensor, keys: int) -> Tensor:
    forbidden = mask if mask.dtype == torch.bool else mask.isneginf()
    return F.pad(forbidden.detach().cpu(), (0, keys - mask.size(-1)))


def mix_values(module: nn.MultiheadAttention, weights: Tensor, value: Tensor) -> Tensor:
    """Output of the module for these weights: ``concat_h(A_h V_h) W_o + b_o``.

    Args:
        weights: [B, heads, L, S] as from `attention_weights`.
        value: as passed to the module.

    Returns:
        The module's output in its own layout: [B, L, E], [L, B, E] or [L, E].
    """
    return _join_heads(module, head_outputs(module, weights, value), like=value, bias=module.out_proj.bias)


def head_outputs(module: nn.MultiheadAttention, weights: Tensor, value: Tensor) -> Tensor:
    """Output of each head before the output projection: ``A_h V_h``, [B, heads, L, head_dim].

    Args:
        weights, value: as for `mix_values`.
    """
    v = _with_added_steps(module, _project(module, 2, batch_first(module, value)), module.bias_v)
    return weights.to(v.dtype) @ _by_head(module, v)


def _join_heads(module: nn.MultiheadAttention, heads: Tensor, *, like: Tensor, bias: Tensor | None = None) -> Tensor:
    """The output projection of `head_outputs`, in the layout of `like`."""
    output = F.linear(heads.transpose(1, 2).flatten(start_dim=2), module.out_proj.weight, bias)
    if like.dim() == 2:
        return output.squeeze(0)
    return output if module.batch_first else output.transpose(0, 1)


def value_vectors(module: nn.MultiheadAttention, value: Tensor) -> Tensor:
    """What each key adds to the output at weight 1: ``V_h W_o^h``, [B, heads, S, E].

    Weighted by `attention_weights` and summed over heads and keys they are the
    module's output without ``b_o`` (Kobayashi et al. 2020).

    Args:
        value: as passed to the module.
    """
    v = _by_head(module, _with_added_steps(module, _project(module, 2, batch_first(module, value)), module.bias_v))
    out = module.out_proj.weight.view(module.embed_dim, module.num_heads, module.head_dim)
    return torch.einsum("bhkc,ehc->bhke", v, out)


_FORWARD = inspect.signature(nn.MultiheadAttention.forward)
_NAMES = tuple(_FORWARD.parameters)[1:]


def attention_call(module: nn.MultiheadAttention, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call of an attention, under their names in `nn.MultiheadAttention.forward`.

    In an overridden forward, arguments with other names are taken as query, key and value, in that order; a missing key
    is the query, and a missing value the key. A nested tensor is padded: ``key_padding_mask`` is then True at the
    padding, and ``nested`` is True.

    Raises:
        TypeError: the call has no tensor.
    """
    call = _by_name(module, args, kwargs)
    missing = [name for name in ("query", "key", "value") if name not in call]
    others = [name for name, value in call.items() if name not in _NAMES and isinstance(value, Tensor)]
    for name, other in zip(missing, others, strict=False):
        call[name] = call.pop(other)
    if "query" not in call:
        raise TypeError(f"{type(module).__name__} was called without a query, with {', '.join(call) or 'nothing'}")
    call.setdefault("key", call["query"])
    call.setdefault("value", call["key"])
    if call["query"].is_nested:  # torch nests in self-attention only
        steps, padding = padded(call["query"])
        call |= {"query": steps, "key": steps, "value": steps, "key_padding_mask": padding, "nested": True}
    return call


def _by_name(module: nn.MultiheadAttention, args: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments under the names of the module's own forward; those that it takes as ``*args``, under torch's names."""
    if not has_own_method(module, "forward", nn.MultiheadAttention):
        return _FORWARD.bind(module, *args, **kwargs).arguments
    signature = inspect.signature(module.forward)
    call: dict[str, Any] = {}
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            call |= dict(zip(_NAMES[len(call) :], value, strict=False))
        elif kind is inspect.Parameter.VAR_KEYWORD:
            call |= value
        else:
            call[name] = value
    return call


def has_own_method(module: nn.Module, name: str, kind: type[nn.Module]) -> bool:
    """Whether a module's method is not that of `kind`: overridden in a subclass, or set on the object."""
    return getattr(getattr(module, name), "__func__", None) is not getattr(kind, name)


def padded(nested: Tensor) -> tuple[Tensor, Tensor]:
    """A nested tensor as [B, T, E] with zeros, and which steps are padding [B, T]."""
    steps = nested.to_padded_tensor(0.0)
    lengths = torch.tensor([len(part) for part in nested.unbind()], device=steps.device)
    return steps, torch.arange(steps.size(1), device=steps.device) >= lengths[:, None]


def wide(tensor: Tensor) -> Tensor:
    """A tensor in single precision at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def batch_first(module: nn.MultiheadAttention, tensor: Tensor) -> Tensor:
    """A query, key, value or output as [B, steps, E]."""
    if tensor.dim() == 2:
        return tensor.unsqueeze(0)
    return tensor if module.batch_first else tensor.transpose(0, 1)


def _by_head(module: nn.MultiheadAttention, tensor: Tensor) -> Tensor:
    batch, steps, _ = tensor.shape
    return tensor.view(batch, steps, module.num_heads, module.head_dim).transpose(1, 2)


def _project(module: nn.MultiheadAttention, part: int, tensor: Tensor) -> Tensor:
    """Q, K or V (part 0, 1, 2) of a batch-first tensor."""
    rows = slice(part * module.embed_dim, (part + 1) * module.embed_dim)
    if module.in_proj_weight is not None:
        weight = module.in_proj_weight[rows]
    else:
        weight = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)[part]
    return F.linear(tensor, weight, None if module.in_proj_bias is None else module.in_proj_bias[rows])


def _with_added_steps(module: nn.MultiheadAttention, tensor: Tensor, bias: Tensor | None) -> Tensor:
    """Keys or values [B, S, E] with the steps that the module adds at their end."""
    if bias is not None:
        tensor = torch.cat([tensor, bias.expand(tensor.size(0), 1, -1)], dim=1)
    if module.add_zero_attn:
        tensor = torch.cat([tensor, tensor.new_zeros(tensor.size(0), 1, tensor.size(2))], dim=1)
    return tensor


def _masked(scores: Tensor, mask: Tensor) -> Tensor:
    """Apply a mask to the leading keys; steps that the module added stay allowed."""
    mask = F.pad(mask, (0, scores.size(-1) - mask.size(-1)))
    return scores.masked_fill(mask, -math.inf) if mask.dtype == torch.bool else scores + mask
