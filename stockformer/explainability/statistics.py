"""Numbers that describe attention maps and gates.

Every function takes attention weights ``[..., query, key]`` whose rows sum to 1,
with any leading dimensions (batch, heads), and reduces the last two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.capture import Capture


def row_entropy(weights: Tensor) -> Tensor:
    """Entropy of every query's row in nats, ``-sum_k w log w``: [..., query]."""
    terms: Tensor = torch.special.entr(weights)
    return terms.sum(dim=-1)


def effective_number(shares: Tensor) -> Tensor:
    """exp(entropy): how many equal parts would be as spread out as these shares, [..., n] -> [...]."""
    return row_entropy(shares).exp()


def spearman(one: Tensor, other: Tensor) -> float:
    """Rank correlation of two tensors of one shape; NaN where one of them ranks nothing."""
    ranks = [pd.Series(part.flatten().numpy()).rank() for part in (one, other)]
    return float("nan") if any(part.nunique() < 2 for part in ranks) else float(ranks[0].corr(ranks[1]))


def top_share(shares: Tensor, k: int) -> Tensor:
    """What the `k` largest of n shares hold together, [..., n] -> [...]."""
    return shares.topk(min(k, shares.size(-1)), dim=-1).values.sum(dim=-1)


def entropy(weights: Tensor) -> Tensor:
    """`row_entropy` averaged over the queries. 0 for one key a row, log n for uniform rows."""
    return row_entropy(weights).mean(dim=-1)


def entropy_of_mean_head(weights: Tensor) -> Tensor:
    """`entropy` of the map averaged over heads, [..., heads, query, key] -> [...].

    Never below the mean of the heads' own entropies: heads that look at
    different days average to a diffuse map.
    """
    return entropy(weights.mean(dim=-3))


def diffuseness(weights: Tensor) -> Tensor:
    """`entropy` / log n, from 0 (each query attends to one key) to 1 (to all alike)."""
    return entropy(weights) / math.log(max(weights.size(-1), 2))


def sparsity(weights: Tensor) -> Tensor:
    """Hoyer's sparsity of the rows, averaged (Hoyer 2004).

    ``(sqrt(n) - |w|_1 / |w|_2) / (sqrt(n) - 1)``: 1 for one key a row, 0 for uniform rows.
    """
    root = math.sqrt(weights.size(-1))
    ratio = weights.sum(dim=-1) / weights.square().sum(dim=-1).sqrt()
    return ((root - ratio) / max(root - 1, 1e-12)).mean(dim=-1)


def distance(weights: Tensor) -> Tensor:
    """Mean distance in steps between a query and what it attends to, ``sum_k w |q - k|``."""
    return (weights * _offsets(weights).abs()).sum(dim=-1).mean(dim=-1)


def recency(weights: Tensor, share: float = 0.25) -> Tensor:
    """Share of the attention on the last `share` of the keys; `share` itself for uniform rows."""
    return weights[..., -recent_days(weights.size(-1), share) :].sum(dim=-1).mean(dim=-1)


def recent_days(days: int, share: float = 0.25) -> int:
    """How many days the last `share` of them are, at least 1."""
    return max(1, round(share * days))


def diagonal_share(weights: Tensor) -> Tensor:
    """Share of the attention on the query's own step, ``sum_q w[q, q] / queries``."""
    return weights.diagonal(dim1=-2, dim2=-1).sum(dim=-1) / weights.size(-2)


def stripe_share(weights: Tensor) -> Tensor:
    """Share of the attention that all queries have in common, ``sum_k min_q w[q, k]``.

    1 where every query attends to the same keys (vertical stripes, and also a
    uniform map: read it with `diffuseness`), 0 for a diagonal.
    """
    return weights.amin(dim=-2).sum(dim=-1)


def past_share(weights: Tensor) -> Tensor:
    """Share of the attention on the query's own step and earlier ones; 1 for a causal map."""
    return (weights * (_offsets(weights) <= 0)).sum(dim=-1).mean(dim=-1)


def peak(weights: Tensor) -> Tensor:
    """The key with the most attention over all queries: [...], integers."""
    return weights.mean(dim=-2).argmax(dim=-1)


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the rows of two maps in nats (Lin 1991), averaged over the queries: [...].

    0 for equal maps, log 2 for maps that share no key.
    """
    return entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2


def head_divergence(weights: Tensor) -> Tensor:
    """`divergence` between heads, [..., heads, query, key] -> [..., heads, heads]."""
    heads = weights.size(-3)
    alone = entropy(weights)
    found = alone.new_zeros(*alone.shape, heads)
    for first, second in combinations(range(heads), 2):  # it is symmetric
        both = entropy((weights[..., first, :, :] + weights[..., second, :, :]) / 2)
        apart = both - (alone[..., first] + alone[..., second]) / 2
        found[..., first, second] = found[..., second, first] = apart
    return found


def redundancy(weights: Tensor) -> Tensor:
    """How much a head repeats its most similar fellow: ``1 - min JSD / log 2``, [..., heads].

    1 for a head that another one equals, 0 for one that shares no key with any;
    not a number for a single head.
    """
    heads = weights.size(-3)
    divergence = head_divergence(weights) + torch.diag(torch.full((heads,), math.inf))
    nearest = divergence.amin(dim=-1)
    return torch.where(nearest.isinf(), math.nan, 1 - nearest / math.log(2))


def _offsets(weights: Tensor) -> Tensor:
    """key - query, [query, key]."""
    queries, keys = weights.shape[-2:]
    return torch.arange(keys, device=weights.device) - torch.arange(queries, device=weights.device).unsqueeze(-1)


@dataclass(frozen=True)
class Statistic:
    """A number that a view shows, with how to read it.

    Attributes:
        name: its column in tables.
        compute: what it describes -> the number; a map statistic takes [..., query, key] -> [...].
        formula: as text.
        reading: one sentence.
    """

    name: str
    compute: Callable[[Any], Tensor | float]
    formula: str
    reading: str


#: What is shown of every map [..., query, key], in this order.
MAP_STATISTICS: tuple[Statistic, ...] = (
    Statistic("entropy", entropy, "mean over queries of -sum w log w", "Low: focused on few days; high: spread out."),
    Statistic("diffuseness", diffuseness, "entropy / log n", "Near 1: no day matters more than another."),
    Statistic("sparsity", sparsity, "(sqrt n - 1 / |w|) / (sqrt n - 1)", "Near 1: each query attends to one day."),
    Statistic(
        "distance",
        distance,
        "mean over queries of sum w |q - k|",
        "In days. 0: the same day; high: links distant days.",
    ),
    Statistic(
        "recency", recency, "attention on the last quarter", "Above 0.25: recent days get more than their share."
    ),
    Statistic("diagonal_share", diagonal_share, "mean of w[q, q]", "High: days attend to the same day."),
    Statistic("stripe_share", stripe_share, "sum over k of min over q of w", "High: all days attend to the same days."),
    Statistic("past_share", past_share, "attention on k <= q", "1: only the past, as in a causal model."),
)

#: What is shown of a layer's gate [T, d].
GATE_STATISTICS: tuple[Statistic, ...] = (
    Statistic("mean", torch.mean, "mean over days and dimensions", "0: the market stays out; 1: all of it comes in."),
    Statistic(
        "std",
        lambda gate: gate.std(correction=0),
        "standard deviation over days and dimensions",
        "0: all dimensions are alike on all days.",
    ),
    Statistic(
        "open_share", lambda gate: (gate > 0.5).float().mean(), "share of values > 0.5", "How many are rather open."
    ),
    Statistic(
        "saturated_share",
        lambda gate: ((gate < 0.05) | (gate > 0.95)).float().mean(),
        "share of values < 0.05 or > 0.95",
        "High: gates that are stuck shut or open, whatever the input.",
    ),
    Statistic(
        "day_std",
        lambda gate: gate.mean(dim=-1).std(correction=0),
        "standard deviation over days of the day's mean",
        "Near 0: on average the gate does not answer to the day.",
    ),
)


def head_statistics(layers: Sequence[Tensor]) -> pd.DataFrame:
    """What sets the heads of a kind of attention apart, one row a head.

    Args:
        layers: one [heads, query, key] a layer.

    Returns:
        Columns ``layer, head, diffuseness, recency, redundancy``.
    """
    tables = [
        pd.DataFrame(
            {
                "layer": layer,
                "head": range(len(maps)),
                **{of.__name__: of(maps.float()).numpy() for of in (diffuseness, recency, redundancy)},
            }
        )
        for layer, maps in enumerate(layers)
    ]
    return pd.concat(tables, ignore_index=True)


def map_statistics(capture: Capture, sample: int = 0) -> pd.DataFrame:
    """`MAP_STATISTICS`, peak and redundancy of every head of every map.

    Returns:
        One row a ``kind, layer, head``, with a column for each statistic.
    """
    tables = []
    for kind, layers in capture.kinds.items():
        for layer, weights in enumerate(layers):
            maps = weights[sample].float()  # [heads, query, key]
            columns: dict[str, Any] = {one.name: one.compute(maps) for one in MAP_STATISTICS}
            columns |= {"peak": peak(maps), "redundancy": redundancy(maps)}
            table = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
            table.insert(0, "head", range(len(table)))
            table.insert(0, "layer", layer)
            table.insert(0, "kind", kind)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def gate_statistics(capture: Capture, sample: int = 0) -> pd.DataFrame:
    """`GATE_STATISTICS` of every layer: one row a ``layer``, with a column for each."""
    gates = [gate[sample].float() for gate in capture.gates.values()]  # each [query, d]
    rows = ({one.name: float(one.compute(gate)) for one in GATE_STATISTICS} for gate in gates)
    return pd.DataFrame({"layer": layer} | row for layer, row in enumerate(rows))
