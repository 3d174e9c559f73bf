"""Numbers that describe attention maps and gates.

Every function takes attention weights ``[..., query, key]`` whose rows sum to 1,
with any leading dimensions (batch, heads), and reduces the last two. `mask`, bool, is True where a query may
not attend to a key: masked weights are missing rather than small, so n is the number of allowed keys, and a query
with every key masked is left out.
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

from stockformer.explainability.attention.capture import Capture


def row_entropy(weights: Tensor) -> Tensor:
    """Entropy of every query's row in nats, ``-sum_k w log w``: [..., query]."""
    terms: Tensor = torch.special.entr(weights)
    return terms.sum(dim=-1)


def effective_number(shares: Tensor) -> Tensor:
    """exp(entropy): the number of equal shares that would be as spread out as these, [..., n] -> [...]."""
    return row_entropy(shares).exp()


def spearman(one: Tensor, other: Tensor) -> float:
    """Rank correlation of two tensors of one shape; NaN if all values of one are equal."""
    ranks = [pd.Series(values.flatten().double().numpy()).rank() for values in (one, other)]
    return float("nan") if any(order.nunique() < 2 for order in ranks) else float(ranks[0].corr(ranks[1]))


def top_share(shares: Tensor, k: int) -> Tensor:
    """Sum of the `k` largest of n shares, [..., n] -> [...]."""
    return shares.topk(min(k, shares.size(-1)), dim=-1).values.sum(dim=-1)


def allowed_keys(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Which keys each query may attend to, bool [..., query, key]."""
    return torch.ones_like(weights, dtype=torch.bool) if mask is None else (~mask).expand(weights.shape)


def even_weights(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Weights that are equal over all keys that a query may attend to, [..., query, key]."""
    allowed = allowed_keys(weights, mask)
    return allowed / allowed.sum(dim=-1, keepdim=True).clamp(min=1)


def entropy(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """`row_entropy` averaged over the queries. 0 for one key per row, log n for uniform rows."""
    return _mean(row_entropy(_unmasked(weights, mask)), _key_counts(weights, mask) > 0)


def entropy_of_mean_head(weights: Tensor) -> Tensor:
    """`entropy` of the map averaged over heads, [..., heads, query, key] -> [...].

    Never below the mean of the heads' own entropies: heads that look at
    different days average to a diffuse map.
    """
    return entropy(weights.mean(dim=-3))


def diffuseness(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Entropy / log n of the rows, averaged: 0 if each query attends to one key, 1 if it attends to all equally.

    n is how many keys a query may attend to; queries without a choice, n < 2, are left out.
    """
    keys = _key_counts(weights, mask)
    return _mean(row_entropy(_unmasked(weights, mask)) / keys.clamp(min=2).log(), keys > 1)


def sparsity(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Hoyer's sparsity of the rows, averaged (Hoyer 2004).

    ``(sqrt(n) - |w|_1 / |w|_2) / (sqrt(n) - 1)``: 1 for one key per row, 0 for uniform rows. n as in `diffuseness`.
    """
    weights, keys = _unmasked(weights, mask), _key_counts(weights, mask)
    root = keys.clamp(min=2).sqrt()
    ratio = weights.sum(dim=-1) / weights.square().sum(dim=-1).sqrt()
    return _mean((root - ratio) / (root - 1), keys > 1)


def distance(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean distance in days between a query and the keys it attends to, ``sum_k w |q - k|`` (Raghu et al. 2021).

    The last query and the last key are the same day.
    """
    return _mean_over_queries(_unmasked(weights, mask) * _offsets(weights).abs(), weights, mask)


def recency(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of the attention on the last quarter of the keys that any query may attend to."""
    last = recent_keys(allowed_keys(weights, mask).any(dim=-2)).unsqueeze(-2)
    return _mean_over_queries(_unmasked(weights, mask) * last, weights, mask)


def recent_days(days: int, share: float = 0.25) -> int:
    """Number of days in the last `share` of them, at least 1."""
    return max(1, round(share * days))


def recent_keys(usable: Tensor, share: float = 0.25) -> Tensor:
    """The last `share` of the keys that are usable, at least one of them: bool [..., key] -> bool [..., key]."""
    from_end = usable.flip(-1).cumsum(dim=-1).flip(-1)
    number = (share * usable.sum(dim=-1, keepdim=True)).round().clamp(min=1)
    return usable & (from_end <= number)


def diagonal_share(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of the attention on the query's own step, the mean of ``w[q, q]``."""
    return _mean_over_queries(_unmasked(weights, mask) * (_offsets(weights) == 0), weights, mask)


def stripe_share(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of the attention that all queries have in common, ``sum_k min_q w[q, k]``.

    1 if every query attends to the same keys (vertical stripes, but also a
    uniform map: read it with `diffuseness`), 0 for a diagonal. A single query that
    looks elsewhere brings it down to 0.
    """
    idle = (_key_counts(weights, mask) == 0).unsqueeze(-1)
    lowest = _unmasked(weights, mask).masked_fill(idle, math.inf).amin(dim=-2).sum(dim=-1)
    return torch.where(idle.all(dim=-2).squeeze(-1), math.nan, lowest)


def past_share(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Share of the attention on the query's own step and earlier ones; 1 for a causal map."""
    return _mean_over_queries(_unmasked(weights, mask) * (_offsets(weights) <= 0), weights, mask)


def key_shares(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention on each key, mean over the queries, [..., query, key] -> [..., key]."""
    some = (_key_counts(weights, mask) > 0).unsqueeze(-1)
    return (_unmasked(weights, mask) * some).sum(dim=-2) / some.sum(dim=-2)


def peak(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """The key with the most attention, mean over the queries: [...], integers."""
    return key_shares(weights, mask).argmax(dim=-1)


def peak_times(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """The largest ratio of a key's attention, mean over the queries, to its even share: [...].

    1 for a uniform map, n where all attention is on one of n keys.
    """
    even = key_shares(even_weights(weights, mask), mask)
    times = key_shares(weights, mask) / torch.where(even > 0, even, 1.0)
    return times.amax(dim=-1)


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """Jensen-Shannon divergence of the rows of two maps in nats (Lin 1991), averaged over the queries: [...].

    0 for equal maps, log 2 for maps that share no key.
    """
    return entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2


def head_divergence(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """`divergence` between heads, [..., heads, query, key] -> [..., heads, heads].

    Over the queries that may attend to any key in both heads.
    """
    heads = weights.size(-3)
    some, weights = _key_counts(weights, mask) > 0, _unmasked(weights, mask)
    alone = row_entropy(weights)
    divergences = weights.new_zeros(*alone.shape[:-1], heads)
    for first, second in combinations(range(heads), 2):  # it is symmetric
        both = row_entropy((weights[..., first, :, :] + weights[..., second, :, :]) / 2)
        apart = both - (alone[..., first, :] + alone[..., second, :]) / 2
        mean = _mean(apart, some[..., first, :] & some[..., second, :])
        divergences[..., first, second] = divergences[..., second, first] = mean
    return divergences


def redundancy(weights: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much a head repeats the head most similar to it: ``1 - min JSD / log 2``, [..., heads].

    1 for a head that equals another, 0 for one that shares no key with any other;
    NaN for a single head.
    """
    heads = weights.size(-3)
    divergence = head_divergence(weights, mask) + torch.diag(torch.full((heads,), math.inf))
    nearest = divergence.amin(dim=-1)
    return torch.where(nearest.isinf(), math.nan, 1 - nearest / math.log(2))


def _unmasked(weights: Tensor, mask: Tensor | None) -> Tensor:
    """Weights, 0 where masked; also in a row that is fully masked, where the model has NaN."""
    return weights if mask is None else weights.masked_fill(mask, 0.0)


def _key_counts(weights: Tensor, mask: Tensor | None) -> Tensor:
    """How many keys each query may attend to, [..., query]."""
    if mask is None:
        return torch.full(weights.shape[:-1], weights.size(-1), device=weights.device)
    return allowed_keys(weights, mask).sum(dim=-1)


def _mean_over_queries(terms: Tensor, weights: Tensor, mask: Tensor | None) -> Tensor:
    """Sums over the keys of [..., query, key], averaged over the queries that may attend to any."""
    return _mean(terms.sum(dim=-1), _key_counts(weights, mask) > 0)


def _mean(values: Tensor, over: Tensor) -> Tensor:
    """Mean of [..., query] over some of the queries; NaN if there are none."""
    return torch.where(over, values, 0.0).sum(dim=-1) / over.sum(dim=-1)


def _offsets(weights: Tensor) -> Tensor:
    """How many days each key is after each query, [query, key]; both sequences end on the same day."""
    queries, keys = (torch.arange(-length, 0, device=weights.device) for length in weights.shape[-2:])
    return keys - queries.unsqueeze(-1)


@dataclass(frozen=True)
class Statistic:
    """A number that a view shows, with how to read it.

    Attributes:
        name: its column in tables.
        compute: computes the number; a map statistic takes weights [..., query, key] and a mask -> [...].
        formula: as text.
        reading: how to read it, in one sentence.
    """

    name: str
    compute: Callable[..., Tensor | float]
    formula: str
    reading: str


#: For shares of the last quarter of the days, which is rounded: of few days it may be more than 0.25.
RECENCY_READING = "Above these days' share of all days: recent days count more than others."

#: Statistics of every map [..., query, key], in this order.
MAP_STATISTICS: tuple[Statistic, ...] = (
    Statistic("entropy", entropy, "mean over queries of -sum w log w", "Low: focused on few days; high: spread out."),
    Statistic(
        "diffuseness",
        diffuseness,
        "mean over queries of row entropy / log n",
        "1: every query attends to all days equally; 0: to one day.",
    ),
    Statistic("sparsity", sparsity, "(sqrt n - 1 / |w|) / (sqrt n - 1)", "Near 1: each query attends to one day."),
    Statistic(
        "peak_times",
        peak_times,
        "max over keys of mean over queries of w / even share",
        "1: every day gets its even share; 5: one gets five times its share.",
    ),
    Statistic(
        "distance",
        distance,
        "mean over queries of sum w |q - k|",
        "In days. 0: the same day; high: links distant days.",
    ),
    Statistic(
        "recency",
        recency,
        "attention on the last quarter",
        RECENCY_READING,
    ),
    Statistic("diagonal_share", diagonal_share, "mean of w[q, q]", "High: days attend to the same day."),
    Statistic("stripe_share", stripe_share, "sum over k of min over q of w", "High: all days attend to the same days."),
    Statistic("past_share", past_share, "attention on k <= q", "1: only the past, as in a causal model."),
)

#: Statistics of a layer's gate [T, d].
GATE_STATISTICS: tuple[Statistic, ...] = (
    Statistic("mean", torch.mean, "mean over days and dimensions", "0: the market stays out; 1: all of it comes in."),
    Statistic(
        "std",
        lambda gate: gate.std(correction=0),
        "standard deviation over days and dimensions",
        "0: all dimensions are alike on all days.",
    ),
    Statistic("open_share", lambda gate: (gate > 0.5).float().mean(), "share of values > 0.5", "How many are open."),
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
        "Near 0: on average the gate does not react to the day.",
    ),
)


def heads_on(maps: Tensor) -> Tensor:
    """Which heads of [heads, query, key] have any weight above 0: [heads], booleans; the others are switched off."""
    return maps.nan_to_num(0.0).ne(0).any(dim=-1).any(dim=-1)


def head_distances(layers: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None) -> pd.DataFrame:
    """How many days away each head looks, one row per head; see `distance`.

    Args:
        layers: one [heads, query, key] per layer.
        masks: the mask of each layer, bool [heads or 1, query, key], or None.

    Returns:
        Columns ``layer, head``; ``distance``, NaN for a head without weights; and ``even_distance``, that of attention
        to all days equally.
    """
    pairs = enumerate(zip(layers, masks or [None] * len(layers), strict=True))
    frames = [
        {
            "layer": layer,
            "head": range(len(maps)),
            "distance": torch.where(heads_on(maps), distance(maps, mask), math.nan).numpy(),
            "even_distance": distance(even_weights(maps, mask), mask).numpy(),
        }
        for layer, (maps, mask) in pairs
    ]
    return pd.concat(map(pd.DataFrame, frames), ignore_index=True)


def head_statistics(layers: Sequence[Tensor], masks: Sequence[Tensor | None] | None = None) -> pd.DataFrame:
    """Statistics that tell the heads of a kind of attention apart, one row per head.

    Args:
        layers: one [heads, query, key] per layer.
        masks: the mask of each layer, bool [heads or 1, query, key], or None.

    Returns:
        Columns ``layer, head, diffuseness, recency, redundancy``, each of the head's own map; NaN for heads that are
        switched off, which are not compared with others either.
    """
    tables = []
    for layer, (maps, mask) in enumerate(zip(layers, masks or [None] * len(layers), strict=True)):
        on = heads_on(maps)
        masked = None if mask is None else mask.expand(len(maps), -1, -1)[on]
        table = pd.DataFrame({"layer": layer, "head": range(len(maps))})
        for statistic in (diffuseness, recency, redundancy):
            table[statistic.__name__] = float("nan")
            if on.any():
                table.loc[on.numpy(), statistic.__name__] = statistic(maps[on].float(), masked).numpy()
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def map_statistics(capture: Capture, sample: int = 0) -> pd.DataFrame:
    """`MAP_STATISTICS`, peak and redundancy of every head of every map.

    Returns:
        One row per ``kind, layer, head``, with a column for each statistic of the head's own map.
    """
    tables = []
    for kind, layers in capture.kinds.items():
        for layer, weights in enumerate(layers):
            maps, mask = weights[sample].float(), capture.layer_mask(kind, layer, sample)  # [heads, query, key]
            columns: dict[str, Any] = {statistic.name: statistic.compute(maps, mask) for statistic in MAP_STATISTICS}
            columns |= {"peak": peak(maps, mask), "redundancy": redundancy(maps, mask)}
            table = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
            table.insert(0, "head", range(len(table)))
            table.insert(0, "layer", layer)
            table.insert(0, "kind", kind)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def gate_statistics(capture: Capture, sample: int = 0) -> pd.DataFrame:
    """`GATE_STATISTICS` of every gate: one row per ``layer``, with a column for each statistic."""
    gates = [gate[sample].float() for gate in capture.gates.values()]  # each [query, d]
    rows = ({statistic.name: float(statistic.compute(gate)) for statistic in GATE_STATISTICS} for gate in gates)
    return pd.DataFrame({"layer": layer} | row for layer, row in enumerate(rows))
