"""Readings: a sample and the capture of the model's pass over it, and the checks of a session's inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.dataset import StockDataset, Window
from stockformer.explainability import Capture
from stockformer.explainability.attention.activations import Activations
from stockformer.inputs import Inputs
from stockformer.model import Forecaster, input_widths
from stockformer.preprocessing import Normalization
from stockformer.table import listed


@dataclass(frozen=True, eq=False)
class Reading:
    """One sample and the capture of the model's pass over it.

    Attributes:
        inputs: the tensors that the model was called with, each [1, T, features].
        capture: attention, gates and output of the pass.
        dates: the T trading days, or None if unknown.
        window: the window of the dataset, or None for tensors passed by the user.
        sample: its index, or None.
        donor: activations of another sample that the model was run with, see `stockformer.explainability.WhatIf`.
    """

    inputs: tuple[Tensor, ...]
    capture: Capture
    dates: pd.DatetimeIndex | None = None
    window: Window | None = None
    sample: int | None = None
    donor: Activations = field(default_factory=dict)

    def __repr__(self) -> str:
        inputs = " and ".join(str(list(tensor.shape)) for tensor in self.inputs)
        return f"Reading(inputs {inputs}; {self.capture})"

    @property
    def first_sample(self) -> Inputs:
        """The inputs of the first sample: another model may have a batch."""
        return Inputs((part[:1] for part in self.inputs), None if self.window is None else self.window.means)

    def days(self, length: int) -> list[str]:
        """Names of `length` steps: their dates, or their numbers if dates are unknown."""
        return self.dates_of(length) or [f"step {step}" for step in range(length)]

    def dates_of(self, length: int) -> list[str] | None:
        """The dates of `length` steps, or None if unknown."""
        return self._day_names if len(self._day_names) == length else None

    @cached_property
    def _day_names(self) -> list[str]:
        return [] if self.dates is None else [str(date.date()) for date in self.dates]


def as_inputs(model: nn.Module, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    parameter = next(model.parameters(), torch.empty(0))
    tensors = tuple(_as_tensor(number, values).to(parameter.device) for number, values in enumerate(inputs))
    if isinstance(model, Forecaster) or all(tensor.is_floating_point() for tensor in tensors):
        tensors = tuple(tensor.to(parameter.dtype) for tensor in tensors)
    if not isinstance(model, Forecaster):
        return tensors
    tensors = tuple(tensor.unsqueeze(0) if tensor.dim() == 2 else tensor for tensor in tensors)
    for number, tensor in enumerate(tensors):
        if tensor.dim() != 3 or tensor.size(0) != 1 or not tensor.size(1):
            shape = list(tensor.shape)
            raise ValueError(
                f"input {number} has shape {shape}, expected one sample: [T, features] or [1, T, features]"
            )
    check_widths(model, tuple(tensor.size(-1) for tensor in tensors), "the inputs have")
    return tensors


def _as_tensor(number: int, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().clone()
    try:
        return torch.tensor(np.asarray(values))
    except (TypeError, ValueError):
        raise ValueError(f"input {number} is no array of numbers: {type(values).__name__}") from None


def check_names(names: Sequence[Sequence[str]], tensors: Sequence[Tensor]) -> None:
    named = tuple(len(group) for group in names)
    expected = tuple(tensor.size(-1) for tensor in tensors)
    if named != expected:
        raise ValueError(f"feature_names has {_words(named)} names for {_words(expected)} features")
    twice = [name for name, times in Counter(name for group in names for name in group).items() if times > 1]
    if twice:
        raise ValueError(f"feature_names has {len(twice)} names more than once, {twice[0]!r} for one")


def check_finite(
    model: nn.Module,
    tensors: Sequence[Tensor],
    names: Sequence[Sequence[str]] | None,
    dates: pd.DatetimeIndex | None,
) -> None:
    # Another model may take a mask, in which -inf hides a day.
    other = not isinstance(model, Forecaster)
    unfit = torch.isnan if other else lambda tensor: ~torch.isfinite(tensor)
    for number, tensor in enumerate(tensors):
        places = unfit(tensor).nonzero().tolist()
        if places:
            where = f"at {places[0]}" if other else _place(places[0], names[number] if names else None, dates)
            raise ValueError(
                f"input {number} has {len(places)} values that are NaN or infinite, the first {where}, expected none"
            )


def _place(index: Sequence[int], names: Sequence[str] | None, dates: pd.DatetimeIndex | None) -> str:
    _, day, feature = index
    when = f"day {day}" if dates is None else dates[day].date()
    return f"in {names[feature] if names else f'feature {feature}'} on {when}"


def check_widths(model: nn.Module, widths: tuple[int, ...], whose: str) -> None:
    expected = input_widths(model)
    if expected is not None and expected != widths:
        raise ValueError(f"{whose} {_words(widths)} features, but {type(model).__name__} takes {_words(expected)}")


def check_dates(model: nn.Module, dates: pd.DatetimeIndex, first: Tensor) -> None:
    # The time dimension of another model's input is unknown.
    steps = [first.size(1)] if isinstance(model, Forecaster) else list(first.shape)
    if len(dates) not in steps:
        raise ValueError(f"there are {len(dates)} dates for {' or '.join(map(str, steps))} steps")


def check_labels(model: nn.Module, dataset: StockDataset) -> None:
    if not isinstance(model, Forecaster):
        return
    if model.label_mode != dataset.label_mode:
        raise ValueError(f"the model's label_mode is {model.label_mode!r}, the dataset's is {dataset.label_mode!r}")
    edges = len(dataset.bucket_edges or ())
    if model.label_mode == "buckets" and edges + 1 != model.num_buckets:
        raise ValueError(
            f"the model has {model.num_buckets} buckets, the dataset's {edges} bucket_edges make {edges + 1}"
        )


def doubt_inputs(model: nn.Module, dataset: StockDataset) -> str:
    """Why the dataset's inputs may differ from those that the model was trained on; empty if nothing suggests it."""
    checkpoint = getattr(model, "checkpoint", None)
    if checkpoint is None:
        return ""
    known: Normalization | None = checkpoint.dataset_settings.get("normalization")
    if known is None:
        if dataset.preprocessing.recomputed:
            return ""
        return (
            "the checkpoint has no normalisation statistics, and these inputs are normalised as stockformer's own "
            "trainer does it, so the model may never have seen such inputs: open it with stockformer.open_model"
        )
    other = [ticker for ticker in dict.fromkeys(dataset.tickers) if not _agree(known, dataset.normalization, ticker)]
    if not other:
        return ""
    return (
        f"the inputs of {listed(other)} are normalised with other statistics than the checkpoint's, so the model "
        "never saw such inputs: open it with stockformer.open_model"
    )


def _agree(one: Normalization, other: Normalization, ticker: str) -> bool:
    """Whether two sets of statistics agree for a ticker, up to rounding."""
    if list(one.columns) != list(other.columns) or ticker not in one.mean:
        return False
    pairs = (one.mean, other.mean), (one.std, other.std)
    return all(np.allclose(a[ticker], b[ticker], rtol=1e-6, atol=1e-9) for a, b in pairs)


def _words(widths: tuple[int, ...]) -> str:
    return " + ".join(str(width) for width in widths) or "no"
