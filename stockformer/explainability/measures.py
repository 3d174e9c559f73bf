"""Measures of windows: one number per window, of how a model read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stockformer.explainability.attention.capture import Capture, capture_attention
from stockformer.explainability.attention.statistics import diffuseness, recency, recent_days, stripe_share
from stockformer.forward import in_eval_mode, with_gradients
from stockformer.inputs import Inputs
from stockformer.outputs import OutputDistribution, describe_outputs
from stockformer.targets import targets_of

#: Measures that every comparison and survey has, and their formulas; those of attention are computed for every kind.
MEASURES: Mapping[str, str] = {
    "gate layer N": "mean of the gate over days and dimensions",
    "diffuseness": "mean over queries, heads and layers of row entropy / log n",
    "recency": "mean share of the attention on the last quarter of the keys",
    "pooling recency": "share of the pooling on the last quarter of the days",
    "market share": (
        "sum of |(input - training mean) x gradient| of the market / of all inputs, for what the explorer explains"
    ),
    "confidence": "probability of the most probable class",
    "relative entropy": "entropy of the class probabilities / log K",
    "value": "the output of a regression",
}
#: Statistics that can also be measured for every layer or head: name -> function, [B, heads, query, key] -> [B, heads].
BY_LAYER: Mapping[str, Callable[[Tensor], Tensor]] = {
    "diffuseness": diffuseness,
    "recency": recency,
    "stripe share": stripe_share,
}
_OVER_LAYERS = ("diffuseness", "recency")
#: What can be measured besides `MEASURES`.
DETAILS: Mapping[str, str] = {
    "layers": "the statistics of attention for every layer, mean over its heads",
    "heads": "the statistics of attention for every head of every layer",
    "features": "the features with the largest |(input - training mean) x gradient|, summed over days",
}

#: Windows per forward pass of `measure_chunk`.
BATCH = 64


@dataclass(frozen=True)
class WindowMeasures:
    """Measures of a batch of windows.

    Attributes:
        values: name -> [B].
        capture: what they were measured from.
        output: the model's outputs.
        features: |(input - training mean) x gradient| of every feature, summed over days, the stock's before the
            market's: [B, features].
    """

    values: Mapping[str, Tensor]
    capture: Capture
    output: OutputDistribution
    features: Tensor


def measure_windows(model: nn.Module, *inputs: Tensor, details: Collection[str] = ()) -> dict[str, Tensor]:
    """Every measure that the model has, one value per window: name -> [B]; see `MEASURES`.

    Args:
        inputs: each [B, T, features]. The market share is of distances from the training mean, which tensors of
            `Window.inputs` know; of others it is taken to be 0, as for normalised inputs.
        details: names of `DETAILS` to measure as well; ``features`` has no measure of its own here.
    """
    return dict(measure_batch(model, Inputs(inputs), details).values)


def measure_batch(model: nn.Module, inputs: Inputs, details: Collection[str] = ()) -> WindowMeasures:
    """Run a model on a batch of windows, with one backward pass, and measure them.

    Raises:
        TypeError: the model is not a `stockformer.model.Forecaster`.
    """
    capture = capture_attention(model, *inputs)
    output = describe_outputs(capture.output.float(), model)
    sensitivity = _sensitivity(model, inputs)
    values = {f"gate layer {layer}": gate.mean(dim=(1, 2)) for layer, gate in enumerate(capture.gates.values())}
    for kind, layers in capture.kinds.items():
        values |= _of_attention(kind, layers, details)
    if capture.pooling is not None:
        values["pooling recency"] = capture.pooling[:, -recent_days(capture.pooling.size(1)) :].sum(dim=1)
    if len(inputs) == 2:
        stock, market = (part.sum(dim=1) for part in sensitivity)
        values["market share"] = market / (stock + market)
    if output.probabilities is None:
        values["value"] = output.outputs
    else:
        classes = torch.tensor(float(output.probabilities.size(1)))
        values |= {"confidence": output.confidence, "relative entropy": output.entropy / classes.log()}
    return WindowMeasures(values, capture, output, torch.cat(sensitivity, dim=1))


def _of_attention(kind: str, layers: list[Tensor], details: Collection[str]) -> dict[str, Tensor]:
    by_head = {name: [_by_head(statistic, maps) for maps in layers] for name, statistic in _statistics(details).items()}
    values = {
        f"{kind} {name}": torch.stack([heads.nanmean(dim=1) for heads in by_head[name]]).nanmean(dim=0)
        for name in _OVER_LAYERS
    }
    for name, per_layer in by_head.items():
        for layer, heads in enumerate(per_layer):
            if "layers" in details:
                values[f"{kind} {name} layer {layer}"] = heads.nanmean(dim=1)
            if "heads" in details:
                values |= {f"{kind} {name} layer {layer} head {head}": one for head, one in enumerate(heads.T)}
    return values


def _statistics(details: Collection[str]) -> dict[str, Callable[[Tensor], Tensor]]:
    by_layer = "layers" in details or "heads" in details
    return {name: statistic for name, statistic in BY_LAYER.items() if by_layer or name in _OVER_LAYERS}


def _by_head(statistic: Callable[[Tensor], Tensor], maps: Tensor) -> Tensor:
    """A statistic of every head, NaN for those that are switched off: [B, heads, query, key] -> [B, heads]."""
    return torch.where(maps.any(dim=-1).any(dim=-1), statistic(maps), math.nan)


def _sensitivity(model: nn.Module, inputs: Inputs) -> list[Tensor]:
    """|(input - training mean) x gradient of the target|, summed over days: [B, features] for every input."""
    model, distances = in_eval_mode(model), inputs.distance
    with with_gradients():
        leaves = [part.detach().clone().requires_grad_() for part in inputs]
        # The windows of a batch do not see each other, so the gradient of the sum is that of each.
        gradients = torch.autograd.grad(targets_of(model, model(*leaves)).sum(), leaves)
    products = zip(distances, gradients, strict=True)
    return [(distance * gradient).abs().sum(dim=1).detach().cpu() for distance, gradient in products]


@dataclass(frozen=True)
class Chunk:
    """Windows that are measured in one go, by any process.

    Attributes:
        inputs: each [n, T, features].
        groups: by grouping, such as ``month``, the name of each window's group: [n].
        details: names of `DETAILS`.
    """

    inputs: Inputs
    groups: Mapping[str, np.ndarray]
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class MeasuredChunk:
    """Measures of the windows of a `Chunk`, and sums of their maps.

    Attributes:
        values: name -> [n], in the model's precision.
        outputs: raw outputs [n] or [n, columns] in single precision.
        features: see `WindowMeasures`, [n, features].
        maps: grouping, name of a group and kind of attention -> the sum over the group's windows of the maps, mean
            over heads, [layers, query, key] in double precision.
    """

    values: Mapping[str, np.ndarray]
    outputs: np.ndarray
    features: np.ndarray
    maps: Mapping[tuple[str, str, str], np.ndarray]


def measure_chunk(model: nn.Module, chunk: Chunk) -> MeasuredChunk:
    """Measure windows in batches of `BATCH`."""
    like = next(model.parameters())
    values: dict[str, list[np.ndarray]] = {}
    outputs, features = [], []
    maps: dict[tuple[str, str, str], np.ndarray] = {}
    for start in range(0, len(chunk.inputs[0]), BATCH):
        batch = chunk.inputs.windows(slice(start, start + BATCH)).to(like)
        measured = measure_batch(model, batch, chunk.details)
        for name, one in measured.values.items():
            values.setdefault(name, []).append(one.detach().cpu().numpy())
        outputs.append(measured.output.outputs.detach().cpu().numpy())
        features.append(measured.features.numpy())
        groups = {grouping: names[start : start + BATCH] for grouping, names in chunk.groups.items()}
        for key, total in _sums_of_maps(measured.capture, groups):
            maps[key] = maps[key] + total if key in maps else total
    joined = {name: np.concatenate(ones) for name, ones in values.items()}
    return MeasuredChunk(joined, np.concatenate(outputs), np.concatenate(features), maps)


def _sums_of_maps(
    capture: Capture, groups: Mapping[str, np.ndarray]
) -> Iterator[tuple[tuple[str, str, str], np.ndarray]]:
    for kind, layers in capture.kinds.items():
        means = torch.stack([weights.double().mean(dim=1) for weights in layers])  # [layers, B, query, key]
        for grouping, names in groups.items():
            for name in dict.fromkeys(names):
                members = torch.from_numpy(np.asarray(names == name))
                yield (grouping, str(name), kind), means[:, members].sum(dim=1).numpy()
