"""A live model, the sample in it, and what its last forward pass showed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from traitlets import HasTraits, Instance, Int, TraitError, observe, validate

from stockformer.config import BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset, Window
from stockformer.explainability import Capture, capture_attention, compute_input_saliency
from stockformer.model import input_widths


@dataclass(frozen=True, eq=False)
class Reading:
    """One sample and what the model did with it.

    Attributes:
        inputs: the tensors that the model was called with, each [1, T, features].
        capture: what it attended to.
        dates: the T trading days, or None where they are not known.
        window: the dataset's sample, or None for tensors given by hand.
    """

    inputs: tuple[Tensor, ...]
    capture: Capture
    dates: pd.DatetimeIndex | None = None
    window: Window | None = None

    def day(self, step: int, length: int) -> str:
        """The name of one of `length` steps: its date, or its number where no date is known."""
        if self.dates is None or len(self.dates) != length:
            return f"step {step}"
        return str(self.dates[step].date())


class ExtractorSession(HasTraits):
    """Runs a model and keeps what it showed; views follow `reading`.

    Setting `sample` or calling `run` runs the model again. A run that fails
    leaves the session as it was.

    Args:
        model: any module that holds `nn.MultiheadAttention`.
        inputs: what to call it with: tensors, arrays or nested lists, for a stock
            transformer [T, features] or [1, T, features].
        dataset: where `sample` looks; without inputs, its `index` is the first.
        feature_names: one list an input; known for a dataset and for the
            standard 41 + 11 features.
        dates: the T trading days of the inputs.

    Raises:
        ValueError: the model has no attention, or the inputs do not fit it.

    Example:
        >>> session = ExtractorSession.from_dataset(model, dataset, index=-1)
        >>> session.sample = 100
        >>> session.reading.capture.map("cross", layer=0).shape
    """

    #: Index into the dataset, or None for tensors given by hand.
    sample = Int(None, allow_none=True)
    #: The last successful run.
    reading = Instance(Reading, allow_none=False, read_only=True)

    def __init__(
        self,
        model: nn.Module,
        *inputs: Any,
        dataset: StockDataset | None = None,
        index: int = -1,
        feature_names: Sequence[Sequence[str]] | None = None,
        dates: Sequence[Any] | None = None,
    ) -> None:
        super().__init__()
        if not inputs and dataset is None:
            raise ValueError("a session needs inputs for the model or a dataset, found neither")
        self.model = model
        self.dataset = dataset
        self._feature_names = feature_names
        self._saliency: dict[str, tuple[Tensor, ...]] = {}
        if dataset is not None:
            _check_widths(model, tuple(len(names) for names in self._dataset_columns()), "the dataset has")
        if inputs:
            self.run(*inputs, dates=dates)
        else:
            self.sample = index

    @classmethod
    def from_dataset(cls, model: nn.Module, dataset: StockDataset, index: int = -1) -> ExtractorSession:
        """A session on the sample at `index` of a dataset.

        Raises:
            IndexError: there is no such sample.
            ValueError: model and dataset have different features.
        """
        return cls(model, dataset=dataset, index=index)

    def run(self, *inputs: Any, dates: Sequence[Any] | None = None) -> Reading:
        """Run the model on tensors given by hand; `sample` becomes None.

        Raises:
            ValueError: their number, shape or values do not fit the model.
        """
        reading = self._read(inputs, None if dates is None else pd.DatetimeIndex(list(dates)), None)
        with self.hold_trait_notifications():
            self._publish(reading)
            self.sample = None
        return reading

    def saliency(self, method: str = "input_x_gradient") -> tuple[Tensor, ...]:
        """Signed attribution of the current sample, one [T, features] an input.

        See `stockformer.explainability.compute_input_saliency`.
        """
        if method not in self._saliency:
            self._saliency[method] = compute_input_saliency(
                self.model, *self.reading.inputs, method=method, absolute=False
            )
        return self._saliency[method]

    @property
    def feature_names(self) -> list[list[str]]:
        """Names of the features, one list an input."""
        if self._feature_names is not None:
            return [list(names) for names in self._feature_names]
        if self.dataset is not None:
            return self._dataset_columns()
        standard = {len(names): list(names) for names in (BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS)}
        widths = [tensor.size(-1) for tensor in self.reading.inputs]
        return [standard.get(width, [f"feature {i}" for i in range(width)]) for width in widths]

    @property
    def unavailable_features(self) -> list[str]:
        """Features that the dataset has no value for."""
        return [] if self.dataset is None else list(self.dataset.unavailable)

    def __repr__(self) -> str:
        where = "tensors given by hand" if self.dataset is None else f"sample {self.sample} of {len(self.dataset)}"
        return f"ExtractorSession({type(self.model).__name__}, {where})"

    @validate("sample")
    def _run_sample(self, proposal: Any) -> int | None:
        # Run before the value changes: a run that fails leaves the old sample standing.
        index: int | None = proposal["value"]
        if index is None:
            return None
        if self.dataset is None:
            raise TraitError("this session has no dataset to take a sample from: call session.run(x, market_x)")
        window = self.dataset.window(index)
        index %= len(self.dataset)
        if index != self.sample:
            inputs = (window.x,) if window.market_x is None else (window.x, window.market_x)
            self._next = self._read(inputs, window.dates, window)
        return index

    @observe("sample")
    def _show_sample(self, change: Any) -> None:
        if change["new"] is not None:
            self._publish(self._next)

    def _read(self, inputs: Sequence[Any], dates: pd.DatetimeIndex | None, window: Window | None) -> Reading:
        tensors = _as_inputs(self.model, inputs)
        if self._feature_names is not None:
            _check_names(self._feature_names, tensors)
        if dates is not None and len(dates) != tensors[0].size(1):
            raise ValueError(f"there are {len(dates)} dates for {tensors[0].size(1)} steps")
        return Reading(tensors, capture_attention(self.model, *tensors), dates, window)

    def _publish(self, reading: Reading) -> None:
        self._saliency.clear()
        self.set_trait("reading", reading)

    def _dataset_columns(self) -> list[list[str]]:
        assert self.dataset is not None
        columns = [self.dataset.feature_cols, self.dataset.market_feature_cols]
        return [list(names) for names in columns if names is not None]


def _as_inputs(model: nn.Module, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    parameter = next(model.parameters(), torch.empty(0))
    tensors = tuple(_as_tensor(number, values).to(parameter.device) for number, values in enumerate(inputs))
    if input_widths(model) is not None or all(tensor.is_floating_point() for tensor in tensors):
        tensors = tuple(tensor.to(parameter.dtype) for tensor in tensors)
    for number, tensor in enumerate(tensors):
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise ValueError(f"input {number} has {bad} values that are NaN or infinite, expected none")
    if input_widths(model) is None:
        return tensors
    tensors = tuple(tensor.unsqueeze(0) if tensor.dim() == 2 else tensor for tensor in tensors)
    for number, tensor in enumerate(tensors):
        if tensor.dim() != 3 or tensor.size(0) != 1 or not tensor.size(1):
            shape = list(tensor.shape)
            raise ValueError(
                f"input {number} has shape {shape}, expected one sample: [T, features] or [1, T, features]"
            )
    _check_widths(model, tuple(tensor.size(-1) for tensor in tensors), "the inputs have")
    return tensors


def _as_tensor(number: int, values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().clone()
    try:
        return torch.tensor(np.asarray(values))
    except (TypeError, ValueError):
        raise ValueError(f"input {number} is no array of numbers: {type(values).__name__}") from None


def _check_names(names: Sequence[Sequence[str]], tensors: Sequence[Tensor]) -> None:
    found = tuple(len(group) for group in names)
    expected = tuple(tensor.size(-1) for tensor in tensors)
    if found != expected:
        raise ValueError(f"feature_names has {_words(found)} names for {_words(expected)} features")


def _check_widths(model: nn.Module, found: tuple[int, ...], whose: str) -> None:
    expected = input_widths(model)
    if expected is not None and expected != found:
        raise ValueError(f"{whose} {_words(found)} features, but {type(model).__name__} takes {_words(expected)}")


def _words(widths: tuple[int, ...]) -> str:
    return " + ".join(str(width) for width in widths) or "no"
