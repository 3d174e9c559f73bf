"""Attention on the gradient path: weights, the vectors they carry, and gradients of a target.

The weights that `nn.MultiheadAttention` returns are off the gradient path, and
its fused kernels return none. Here every attention is computed from its own
parameters, so that a target can be differentiated with respect to its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.explainability.attention.capture import AttentionExtractor, call_path
from stockformer.explainability.attention.recording import called_weights
from stockformer.explainability.attention.weights import (
    attention_call,
    attention_output,
    batch_first,
    value_vectors,
)
from stockformer.forward import forward_hooks, in_eval_mode, in_full_precision, original, unfused, with_gradients
from stockformer.model import PooledTransformer
from stockformer.targets import Target, choose_target, only_value


@dataclass(frozen=True)
class AttentionTrace:
    """One attention of one sample. Tensors are detached and on the CPU, half precision as float32.

    Attributes:
        weights: [heads, query, key].
        gradient: of the target with respect to the weights, [heads, query, key].
        vectors: what each key adds at weight 1, [heads, key, d], see `value_vectors`.
        bias: of the output projection, [d].
        stream: what the queries were made from, [query, d].
        gate: factors of the attention's output, [query, d]; None without a gate.
    """

    weights: Tensor
    gradient: Tensor
    vectors: Tensor
    bias: Tensor
    stream: Tensor
    gate: Tensor | None

    def of_head(self, head: int | None) -> AttentionTrace:
        """The trace of one head alone; that of all heads for None."""
        which = slice(None) if head is None else slice(head, head + 1)
        return replace(self, weights=self.weights[which], gradient=self.gradient[which], vectors=self.vectors[which])

    @property
    def output(self) -> Tensor:
        """Output of the attention, before a gate: [query, d]."""
        with in_full_precision():
            return torch.einsum("hqk,hke->qe", self.weights, self.vectors) + self.bias


@dataclass(frozen=True)
class Trace:
    """What one sample's attention carried, and how the target changes with it.

    Attributes:
        kinds: kind of attention, as in `Capture.kinds` -> its layers.
        pooling: pooling weights [T]; None if the model has none.
        pooling_gradient: of the target with respect to the pooling weights, [T].
        target: what was differentiated.
        value: the target of the sample.
    """

    kinds: Mapping[str, list[AttentionTrace]]
    pooling: Tensor | None
    pooling_gradient: Tensor | None
    target: Target
    value: float


def trace_attention(model: nn.Module, *inputs: Tensor, target: Target | None = None) -> Trace:
    """Run one sample in eval mode with its attention on the gradient path.

    The output is that of the plain pass up to rounding.

    Args:
        model: called as ``model(*inputs)``; returns [B] or [B, outputs].
        inputs: of one sample.
        target: by default that of `choose_target`.

    Raises:
        ValueError: the model has no attention, the output of one cannot be recomputed, see `Capture.caveats`, or
            no gradient reaches any of them.
    """
    model = in_eval_mode(model)
    with with_gradients(), explicit_attention(model) as calls:
        with AttentionExtractor(model) as extractor:
            leaves = [part.detach().clone().requires_grad_(part.is_floating_point()) for part in inputs]
            output = model(*leaves)
        target = choose_target(model, output) if target is None else target
        value = only_value(target, output)
        pooling = [] if calls.pooling is None else [calls.pooling]
        on_path = [call.weights for call in calls.attention.values()] + pooling
        _check_gradients(calls, value)
        reached = torch.autograd.grad(value, on_path, allow_unused=True)
        if all(gradient is None for gradient in reached):
            raise ValueError(
                f"no gradient of the output reaches the attention of {type(model).__name__}: "
                "a later module, such as a quantised one, has none"
            )
        gradients = [
            torch.zeros_like(weights) if gradient is None else gradient
            for weights, gradient in zip(on_path, reached, strict=True)
        ]
    by_path = dict(zip(calls.attention, gradients, strict=False))
    capture = extractor.capture
    kinds = {
        kind: [_layer(calls.attention[path], by_path[path], capture.gates.get(_gate_path(path))) for path in paths]
        for kind, paths in capture.paths.items()
    }
    return Trace(
        kinds=kinds,
        pooling=_first(pooling[0])[:, 0] if pooling else None,
        pooling_gradient=_first(gradients[-1])[:, 0] if pooling else None,
        target=target,
        value=float(value.detach()),
    )


def _check_gradients(calls: _Calls, value: Tensor) -> None:
    """Raise if attention ran without gradients: the output would seem not to depend on its weights."""
    if not calls.attention:
        raise ValueError("the model has attention, but its forward pass did not run it")
    without = [path for path, call in calls.attention.items() if not call.differentiable]
    if without or not value.requires_grad:
        raise ValueError(
            f"{', '.join(without) or 'the attention'} runs with gradients off, so the output's dependence on it "
            "is not known: neither torch.no_grad nor torch.utils.checkpoint with use_reentrant=True may be around it"
        )


@dataclass
class _Call:
    module: nn.MultiheadAttention
    stream: Tensor
    value: Tensor
    weights: Tensor
    differentiable: bool


@dataclass
class _Calls:
    attention: dict[str, _Call]
    pooling: Tensor | None = None


@contextmanager
def explicit_attention(model: nn.Module) -> Iterator[_Calls]:
    """Make forward passes of `model` in this thread compute attention from weights that gradients flow through.

    Inside `changed_model`, these are the changed weights. Yields the calls by
    module path; the hooks are removed when the context closes, also after an exception.
    """
    paths = {original(module): path for path, module in model.named_modules()}
    pooled = isinstance(model, PooledTransformer)
    calls = _Calls({})

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        known = original(module)
        if isinstance(module, nn.MultiheadAttention) and known in paths:
            call = attention_call(module, args, kwargs)
            weights = _on_path(called_weights(module, call, output))
            path = call_path(paths[known], calls.attention)
            calls.attention[path] = _Call(module, call["query"], call["value"], weights, torch.is_grad_enabled())
            return attention_output(module, call, weights, output)
        if pooled and paths.get(known) == "pooling":
            calls.pooling = output
        return None

    with forward_hooks(after=after), unfused():
        yield calls


def _on_path(weights: Tensor) -> Tensor:
    """Weights that a gradient can be taken with respect to, even if they are constants, such as flat ones."""
    return weights if weights.requires_grad else weights.detach().requires_grad_()


def _layer(call: _Call, gradient: Tensor, gate: Tensor | None) -> AttentionTrace:
    vectors = value_vectors(call.module, call.value)
    bias = call.module.out_proj.bias
    return AttentionTrace(
        weights=_first(call.weights),
        gradient=_first(gradient),
        vectors=_first(vectors),
        bias=_plain(vectors.new_zeros(vectors.size(-1)) if bias is None else bias),
        stream=_first(batch_first(call.module, call.stream)),
        gate=None if gate is None else _first(gate),
    )


def _gate_path(attention: str) -> str:
    """Where the gate of an attention would be: beside it."""
    path, _, number = attention.partition("#")
    parent = path.rpartition(".")[0]
    return (f"{parent}.gate" if parent else "gate") + (f"#{number}" if number else "")


def _first(batch: Tensor) -> Tensor:
    return _plain(batch[0])


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().to(torch.promote_types(tensor.dtype, torch.float32))
