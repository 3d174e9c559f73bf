"""What attention carries from day to day: rollout, gated and norm-based maps, relevance, the market's contribution.

Everything here is a function of a `Trace`. Shapes: T stock days, S market days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import torch
from torch import Tensor, nn

from stockformer.explainability.attention.trace import AttentionTrace, Trace
from stockformer.forward import in_full_precision
from stockformer.model import PooledTransformer


@dataclass(frozen=True)
class Inflow:
    """How much each input day contributes to each stock day after the last layer, and to the prediction.

    Attributes:
        stock: [T, T], from stock days.
        market: [T, S], from market days; None for a model without market.
        market_self: [S, S], from market days within the market stream; None for a model without market.
        pooling: how much each stock day counts in the prediction, [T].
    """

    stock: Tensor
    market: Tensor | None
    market_self: Tensor | None
    pooling: Tensor

    @property
    def days(self) -> tuple[Tensor, ...]:
        """How much each stock day [T] and, with a market, each market day [S] contributes to the prediction."""
        parts = (self.stock,) if self.market is None else (self.stock, self.market)
        with in_full_precision():
            return tuple(self.pooling @ part for part in parts)


def has_inflow(model: nn.Module) -> bool:
    """Whether `joint_rollout` and `relevance` apply to a model: they do to stock transformers."""
    return isinstance(model, PooledTransformer)


@in_full_precision()
def rollout(maps: Sequence[Tensor]) -> Tensor:
    """Attention rollout: the product of ``(A + I) / 2`` over the layers (Abnar and Zuidema 2020).

    Args:
        maps: self-attention, one [heads, T, T] per layer, rows sum to 1; heads are averaged.

    Returns:
        [T, T]; rows sum to 1.
    """
    flow = torch.eye(maps[0].size(-1)).to(maps[0])
    for weights in maps:
        flow = (weights.mean(dim=0) @ flow + flow) / 2
    return flow


@in_full_precision()
def joint_rollout(trace: Trace) -> Inflow:
    """Rollout through both streams.

    Self-attention mixes as in `rollout`. Where a gate with mean g lets the market in, a
    stock day becomes ``1 / (1 + g)`` itself and ``g / (1 + g)`` market: the shares in
    ``stream + g * context`` if both had the same norm. A stock day's rows of
    `Inflow.stock` and `Inflow.market` together sum to 1.

    Raises:
        ValueError: not a stock transformer: pooling or self-attention is missing.
    """
    own, cross, market = _streams(trace)
    stock, across, source = _start(own, cross)
    for layer in market:
        source = _residual(layer, source)
    for self_layer, cross_layer in zip_longest(own, cross):
        stock, across = _residual(self_layer, stock), _residual(self_layer, across)
        if cross_layer is not None:
            gate = _mean_gate(cross_layer)
            entering = cross_layer.weights.mean(dim=0) @ source
            stock, across = stock / (1 + gate), (across + gate * entering) / (1 + gate)
    return _inflow(cross, stock, across, source, trace.pooling)


@in_full_precision()
def relevance(trace: Trace) -> Inflow:
    """Gradient-weighted relevance of every day for the target (Chefer et al. 2021, rules 5 to 10).

    A map counts as the mean over heads of ``max(A * dt/dA, 0)``: what raises the target. Its size, relative to the 1 of
    a day itself, grows with the target's unit, so the sums of stock and market cannot be compared. Market days
    enter by the cross-attention rule; nothing flows back, as the market stream
    is never updated. If a day has no relevance for any other, the published
    normalisation is 0/0; its row is then the identity's. Pooling is one more
    attention, with a single query. A gate of 0 makes the market's relevance exactly 0. In double precision: what other
    days add to a day's own 1 can be far smaller than 1, and the normalisation divides by it.

    Raises:
        ValueError: not a stock transformer: pooling or self-attention is missing.
    """
    own, cross, market = _streams(trace)
    stock, across, source = (part.double() for part in _start(own, cross))
    for layer in market:
        source = source + _share(layer) @ source
    for self_layer, cross_layer in zip_longest(own, cross):
        share = _share(self_layer)
        stock, across = stock + share @ stock, across + share @ across
        if cross_layer is not None:
            across = across + _normalised(stock).T @ _share(cross_layer) @ _normalised(source)
    assert trace.pooling is not None
    assert trace.pooling_gradient is not None
    pooling = (trace.pooling.double() * trace.pooling_gradient.double()).clamp(min=0)
    return _inflow(cross, stock, across, source, pooling)


def _share(layer: AttentionTrace) -> Tensor:
    """Relevance of each key day for each query day, mean over heads, [query, key] in double precision."""
    mean: Tensor = (layer.weights.double() * layer.gradient.double()).clamp(min=0).mean(dim=0)
    return mean


def gated_map(layer: AttentionTrace) -> Tensor:
    """Weights times the query day's mean gate, [heads, query, key]: how much of a key day is let in."""
    return layer.weights * _mean_gate(layer)


@in_full_precision()
def norm_map(layer: AttentionTrace) -> Tensor:
    """Norms of the vectors that each key adds, ``|w v W_o|`` by head (Kobayashi et al. 2020): [heads, query, key].

    A gate multiplies the vectors before the norm is taken.
    """
    if layer.gate is None:
        norms: Tensor = torch.linalg.vector_norm(layer.vectors, dim=-1)  # [heads, key]
        return layer.weights * norms[:, None, :]
    squares: Tensor = torch.einsum("qe,hke->hqk", layer.gate.square(), layer.vectors.square())
    return layer.weights * squares.sqrt()


@in_full_precision()
def mean_norm_map(layer: AttentionTrace) -> Tensor:
    """Norms of the vectors that each key adds through all heads together, [query, key].

    Heads that cancel each other add little, which no mean of `norm_map` can show.
    """
    added: Tensor = torch.einsum("hqk,hke->qke", layer.weights, layer.vectors)
    norms: Tensor = torch.linalg.vector_norm(added if layer.gate is None else added * layer.gate[:, None, :], dim=-1)
    return norms


def gradient_map(layer: AttentionTrace) -> Tensor:
    """``max(A * dt/dA, 0)``: where more weight would raise the target, [heads, query, key] (Chefer et al. 2021)."""
    return (layer.weights * layer.gradient).clamp(min=0)


def market_entry(trace: Trace) -> list[Tensor]:
    """Norm of what the gate lets in over that of the stream it joins, ``|g * c| / |stream|``: one [T] per layer.

    The mean gate alone misleads: it says nothing about the norm of the context c.
    """
    return [
        torch.linalg.vector_norm(layer.gate * layer.output, dim=-1) / torch.linalg.vector_norm(layer.stream, dim=-1)
        for layer in trace.kinds.get("cross", [])
        if layer.gate is not None
    ]


#: Maps of an `AttentionTrace`, each [heads, query, key].
LAYER_MAPS: Mapping[str, Callable[[AttentionTrace], Tensor]] = {
    "gated": gated_map,
    "norm": norm_map,
    "gradient": gradient_map,
}


@in_full_precision()
def mean_attention(trace: Trace) -> tuple[Tensor, ...]:
    """Plain attention, mean over layers and heads, weighted by the pooling: [T] and, with a market, [S].

    Raises:
        ValueError: not a stock transformer: pooling or self-attention is missing.
    """
    own, cross, _ = _streams(trace)
    means = [
        torch.stack([layer.weights.mean(dim=0) for layer in layers]).mean(dim=0) for layers in (own, cross) if layers
    ]
    assert trace.pooling is not None
    return tuple(trace.pooling @ mean for mean in means)


def _streams(trace: Trace) -> tuple[list[AttentionTrace], list[AttentionTrace], list[AttentionTrace]]:
    """Layers of self-attention, of cross-attention and of the market's self-attention."""
    if trace.pooling is None or "self" not in trace.kinds:
        raise ValueError(f"expected a trace of a stock transformer, found {', '.join(trace.kinds)} attention")
    own, cross, market = (trace.kinds.get(kind, []) for kind in ("self", "cross", "market"))
    return own, cross, market


def _start(own: Sequence[AttentionTrace], cross: Sequence[AttentionTrace]) -> tuple[Tensor, Tensor, Tensor]:
    """Before the first layer: each stock day is itself [T, T] without any market [T, S], and each market day is itself
    [S, S]; S is 0 without a market."""
    like = own[0].weights
    days, market_days = like.size(-1), cross[0].weights.size(-1) if cross else 0
    return torch.eye(days).to(like), torch.zeros(days, market_days).to(like), torch.eye(market_days).to(like)


def _inflow(
    cross: Sequence[AttentionTrace], stock: Tensor, across: Tensor, source: Tensor, pooling: Tensor | None
) -> Inflow:
    assert pooling is not None
    return Inflow(stock, across if cross else None, source if cross else None, pooling)


def _residual(layer: AttentionTrace, flow: Tensor) -> Tensor:
    return (layer.weights.mean(dim=0) @ flow + flow) / 2


def _mean_gate(layer: AttentionTrace) -> Tensor | float:
    """[query, 1], or 1 without a gate."""
    return 1.0 if layer.gate is None else layer.gate.mean(dim=-1, keepdim=True)


def _normalised(flow: Tensor) -> Tensor:
    itself = torch.eye(len(flow)).to(flow)
    others = flow - itself
    sums = others.sum(dim=-1, keepdim=True)
    return torch.where(sums > 0, others / sums, 0.0) + itself
