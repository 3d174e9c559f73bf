"""A live model, a sample, and the capture of the model's last pass over it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib import import_module
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from traitlets import Bool, Instance, Int, TraitError, default, validate

from stockformer.config import BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset, Window
from stockformer.explainability import (
    OutputDistribution,
    Summary,
    WhatIf,
    capture_attention,
    change_inputs,
    changed_model,
    class_names,
    describe_outputs,
    donor_activations,
    in_eval_mode,
    measure_windows,
    output_batches,
    summarize_change,
)
from stockformer.explainability.attention.activations import Activations, check_donor
from stockformer.forward import uncompiled
from stockformer.model import Forecaster, as_forecaster
from stockformer.target_column import TargetColumn
from stockformer.workers import Engine
from stockformer_widgets.state.explanations import EXPLAINS, Explanations
from stockformer_widgets.state.lifetime import closes_to_the_end
from stockformer_widgets.state.moved import moved_to_explanations
from stockformer_widgets.state.observable import Observable, changing, reacts
from stockformer_widgets.state.reading import (
    Reading,
    as_inputs,
    check_dates,
    check_finite,
    check_labels,
    check_names,
    check_widths,
    doubt_inputs,
)

#: Windows that `ExtractorSession.find` knows.
LANDMARKS = ("calmest", "most volatile", "most confident", "most wrong")
_BATCH = 64


@moved_to_explanations
class ExtractorSession(Observable):
    """Runs a model on a sample and keeps the capture, `reading`, which views and `explanations` follow.

    Setting another `sample` or calling `run`, `refresh` or `what_if` runs the model
    again. A run that fails leaves the session as it was. `close` closes every view of the session too;
    the session is a context manager that does so at its end.

    Args:
        model: any module that holds `nn.MultiheadAttention`.
        inputs: arguments of the model: tensors, arrays or nested lists, for a stock
            transformer [T, features] or [1, T, features]. Of another model's batch,
            views show the first sample.
        dataset: the windows that `sample` indexes; without inputs, the session opens at its `index`.
        feature_names: one list per input; by default those of the dataset or the
            standard 41 + 11 features.
        dates: the T trading days of the inputs.

    Attributes:
        doubt: why the dataset's inputs may differ from those that the model was trained on, also raised as a warning;
            empty if nothing suggests it.
        explanations: of the reading: attribution, head importance, patching, faithfulness.
        refreshed: how often `refresh` ran the model with other weights.

    Raises:
        TypeError: `model` is not a module, or `dataset` not a `StockDataset`.
        ValueError: the model has no attention, or the inputs do not fit it.

    Example:
        >>> session = ExtractorSession.from_dataset(model, dataset, index=-1)
        >>> session.sample = 100
        >>> session.reading.capture.map("cross", layer=0).shape
    """

    #: The last successful run.
    reading = Instance(Reading, allow_none=False, read_only=True)
    #: What `what_if` changed; nothing at first. It stays when the sample changes.
    change = Instance(WhatIf, args=(), read_only=True)
    #: Whether `close` was called.
    closed = Bool(False, read_only=True)
    #: Index into the dataset, or None for tensors passed to `run`.
    sample = Int(None, allow_none=True)

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
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a torch.nn.Module as the model, got {type(model).__name__}")
        if not isinstance(dataset, StockDataset | None):
            raise TypeError(f"expected a StockDataset as the dataset, got {type(dataset).__name__}")
        if not inputs and dataset is None:
            raise ValueError("a session needs inputs for the model or a dataset, got neither")
        model = self.model = uncompiled(model)
        self.dataset = dataset
        self._outputs: OutputDistribution | None = None
        self.refreshed = 0
        self._feature_names = feature_names
        self._original: Reading | None = None
        self._next: tuple[Reading, Reading] | None = None
        self._past: list[WhatIf] = []
        self.doubt = ""
        if dataset is not None:
            check_widths(model, tuple(len(names) for names in self._dataset_columns()), "the dataset has")
            check_labels(model, dataset)
            self.doubt = doubt_inputs(model, dataset)
            if self.doubt:
                warnings.warn(self.doubt, stacklevel=2)
        if inputs:
            self.run(*inputs, dates=dates)
        else:
            self.sample = index
        self.explanations = Explanations(self)

    @classmethod
    def from_dataset(cls, model: nn.Module, dataset: StockDataset, index: int = -1) -> ExtractorSession:
        """A session on the sample at `index` of a dataset.

        Raises:
            IndexError: there is no such sample.
            ValueError: model and dataset have different features.
        """
        return cls(model, dataset=dataset, index=index)

    @changing()
    def run(self, *inputs: Any, dates: Sequence[Any] | None = None) -> Reading:
        """Run the model on these tensors; `sample` becomes None.

        Raises:
            ValueError: their number, shape or values do not fit the model.
        """
        self._check_open()
        original = self._read(inputs, None if dates is None else pd.DatetimeIndex(list(dates)))
        reading = self._changed(original, self.change)
        with self.hold_trait_notifications():
            self._publish(original, reading)
            self.sample = None
        return reading

    @changing()
    def refresh(self) -> Reading:
        """Run the model again on its last inputs, for instance after its weights changed."""
        last = self.original
        original = self._read(last.inputs, last.dates, last.window, last.sample)
        self._outputs = None
        self.refreshed += 1
        self._publish(original, self._changed(original, self.change))
        return self.reading

    @changing()
    def what_if(self, **change: Any) -> Reading:
        """Run the model with a change to its attention, gates, heads or inputs, or with none; the views follow.

        The model itself is not modified. `undo` reverts the last change.

        Args:
            change: fields of `stockformer.explainability.WhatIf`; they replace those of the last change.

        Raises:
            ValueError, IndexError: the change names something that does not exist; the session stays as it was.

        Example:
            >>> session.what_if(gate={2: 0.0}, heads_off=[(1, 3)], market_from=100)
            >>> session.what_if(patch_from=100, patch_days=[("stock", 1, 57)])
            >>> session.effect().verdict
            >>> session.what_if()  # the model as it is
        """
        self._check_open()
        past, wanted = self.change, WhatIf(**change)
        if wanted == past:
            return self.reading
        reading = self._change(wanted)
        self._past.append(past)
        return reading

    @changing()
    def undo(self) -> Reading:
        """Revert the last `what_if`; does nothing without one."""
        self._check_open()
        if self._past:
            self._change(self._past[-1])
            self._past.pop()
        return self.reading

    @property
    def original(self) -> Reading:
        """The reading without the change of `what_if`; the same object as `reading` if there is none."""
        self._check_open()
        assert self._original is not None
        return self._original

    def as_changed(self) -> AbstractContextManager[None]:
        """A context in which the model runs with the change of `what_if`."""
        return changed_model(in_eval_mode(self.model), self.change, self.original.capture, self.reading.donor)

    @property
    def feature_names(self) -> list[list[str]]:
        """Names of the features, one list per input."""
        return self._names_of(self.reading.inputs)

    @property
    def unavailable_features(self) -> list[str]:
        """Features without data in the dataset."""
        if self.dataset is None or self.reading.window is None:
            return []
        columns, names = (chain.from_iterable(groups) for groups in (self._dataset_columns(), self.feature_names))
        return [name for column, name in zip(columns, names, strict=True) if column in self.dataset.unavailable]

    @property
    def bucket_edges(self) -> Sequence[float]:
        """The edges between classes as returns in percent; empty without a dataset of buckets."""
        return () if self.dataset is None else self.dataset.bucket_edges or ()

    @property
    def class_names(self) -> list[str]:
        """Names of a stock transformer's classes; none for a regression and other models."""
        return class_names(self.model, self.bucket_edges) if isinstance(self.model, Forecaster) else []

    @property
    def target_column(self) -> TargetColumn | None:
        """What the model predicts, where the dataset says so."""
        return None if self.dataset is None else self.dataset.target_column

    def effect(self) -> Summary:
        """Effect of the change on the output, in words and numbers.

        Raises:
            TypeError: the model is no `stockformer.model.Forecaster`, so its output has no known meaning.
        """
        before, after = self.prediction(original=True), self.prediction()
        return summarize_change(before, after, self.class_names or None, self.target_column)

    def measures(self) -> dict[str, float]:
        """The sample's `stockformer.explainability.MEASURES`.

        Raises:
            TypeError: the model is no `stockformer.model.Forecaster`.
        """
        self._check_open()
        with self.as_changed():
            measures = measure_windows(self.model, *self.reading.first_sample)
        return {name: float(value) for name, value in measures.items()}

    def prediction(self, *, original: bool = False) -> OutputDistribution:
        """The sample's output as a distribution, with its label if the dataset has one.

        Args:
            original: the output without the change of `what_if`.

        Raises:
            TypeError: the model is no `stockformer.model.Forecaster`, so its output has no known meaning.
        """
        self._check_open()
        reading = self.original if original else self.reading
        window = reading.window
        as_forecaster(self.model)
        return self._describe(
            reading.capture.output, None if window is None or window.y is None else window.y.reshape(1)
        )

    def _describe(self, outputs: Tensor, labels: Tensor | None) -> OutputDistribution:
        assumption = "" if self.dataset is None else self.dataset.assumption
        return describe_outputs(outputs.float(), self.model, labels, assumption=assumption)

    def knows(self, landmark: str) -> bool:
        """Whether `find` can answer without running the model over the dataset."""
        return self._outputs is not None or landmark in ("calmest", "most volatile")

    def find(self, landmark: str, *, engine: Engine = None) -> int:
        """The index of a remarkable window of the dataset, one of `LANDMARKS`.

        ``calmest`` and ``most volatile`` by the standard deviation of the daily
        returns inside the window; ``most confident`` by the probability of the
        predicted class, or the magnitude of a regression's value; ``most wrong`` by
        one minus the probability of the true class, or the error of the value.
        The last two run the model, as it is, over the whole dataset, once, with a progress bar.

        Args:
            engine: what runs the model, see `stockformer.workers.run_chunks`.

        Raises:
            ValueError: no such landmark, or a session without dataset.
        """
        self._check_open()
        if landmark not in LANDMARKS:
            raise ValueError(f"landmark is {landmark!r}, expected one of {', '.join(LANDMARKS)}")
        if self.dataset is None:
            raise ValueError("this session has no dataset to search")
        if landmark in ("calmest", "most volatile"):
            volatility = self.dataset.volatility
            if np.isnan(volatility).all():
                raise ValueError("no window has prices, which volatility is computed from")
            return int(np.nanargmin(volatility) if landmark == "calmest" else np.nanargmax(volatility))
        if self._outputs is None:
            for _ in tqdm(self.scan(engine), desc="scanning", unit="batch", total=-(-len(self.dataset) // _BATCH)):
                pass
        assert self._outputs is not None
        if landmark == "most wrong":
            return int(self._outputs.errors.argmax())
        outputs = self._outputs
        return int((outputs.outputs.abs() if outputs.probabilities is None else outputs.confidence).argmax())

    def scan(self, engine: Engine = None) -> Iterator[float]:
        """Run the model over the dataset for `find`; yields the share done.

        A scan that is abandoned keeps nothing.
        """
        self._check_open()
        if self.dataset is None:
            raise ValueError("this session has no dataset to search")
        as_forecaster(self.model)
        outputs, labels, refreshed = [], [], self.refreshed
        for part, label in output_batches(self.model, self.dataset, batch_size=_BATCH, engine=engine):
            outputs.append(part)
            labels.append(label)
            yield sum(map(len, labels)) / len(self.dataset)
            if self.refreshed != refreshed:
                raise RuntimeError("the weights changed during the scan: scan again")
        known = None if self.dataset.horizon is None else torch.cat(labels)
        self._outputs = self._describe(torch.cat(outputs), known)

    def at(self, index: int) -> ExtractorSession:
        """Another session, on another sample of the dataset, with the same change, explained in the same way.

        Raises:
            IndexError: there is no such sample.
            ValueError: this session has no dataset.
        """
        self._check_open()
        if self.dataset is None:
            raise ValueError("another sample needs a session with a dataset")
        other = ExtractorSession.from_dataset(self.model, self.dataset, index)
        try:
            other.what_if(**vars(self.change))
            for name in EXPLAINS:
                setattr(other.explanations, name, getattr(self.explanations, name))
        except BaseException:
            other.close()
            raise
        return other

    def compare(self, *others: Any) -> Any:
        """The same as ``SampleComparison(session, *others)``, which replaces it."""
        words = "ExtractorSession.compare is deprecated: use stockformer_widgets.SampleComparison(session, ...)"
        warnings.warn(words, DeprecationWarning, stacklevel=2)
        return import_module("stockformer_widgets").SampleComparison(self, *others)

    @closes_to_the_end
    def close(self) -> None:
        """Close the views of this session and release model, dataset and tensors."""
        errors: list[Exception] = []
        try:
            with changing():
                self.set_trait("closed", True)
                self.call_followers(errors)
                self._followers.clear()
                self._outputs = self._next = self._original = None
                self._trait_values.pop("reading", None)
                self.model, self.dataset = nn.Module(), None
        finally:
            self.unobserve_all()
            self.explanations.unobserve_all()
        if errors:
            raise errors[0]

    def __enter__(self) -> ExtractorSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def title(self) -> str:
        """Ticker and last day of the sample, and the change of `what_if`, in words."""
        window = self.reading.window
        named = "tensors given by hand" if window is None else f"{window.ticker}, {window.dates[-1].date()}"
        return f"{named} ({self.change})" if self.change else named

    def __repr__(self) -> str:
        if self.closed:
            return "ExtractorSession(closed)"
        where = "tensors given by hand" if self.dataset is None else f"sample {self.sample} of {len(self.dataset)}"
        return f"ExtractorSession({type(self.model).__name__}, {where})"

    @validate("sample")
    def _run_sample(self, proposal: Any) -> int | None:
        # Run before the value changes: a run that fails leaves the old sample in place.
        self._check_open()
        index: int | None = proposal["value"]
        if index is None:
            return None
        if self.dataset is None:
            raise TraitError("this session has no dataset to take a sample from: call session.run(x, market_x)")
        window = self.dataset.window(index)
        index %= len(self.dataset)
        if index != self._read_sample:
            original = self._read(window.inputs, window.dates, window, index)
            self._next = original, self._changed(original, self.change)
        return index

    @property
    def _read_sample(self) -> int | None:
        """Index of the reading's sample: not yet `sample` while notifications are held."""
        return None if self._original is None else self._original.sample

    @reacts("sample")
    def _show_sample(self, change: Any) -> None:
        index = change["new"]
        # Validation is skipped if an error occurs while notifications are held.
        if index is not None and self._next is None and index != self._read_sample:
            self._run_sample({"value": index})
        if index is not None and self._next is not None:
            try:
                self._publish(*self._next)
            except BaseException:
                if index != self._read_sample:  # an interrupt: the old sample stays
                    self._trait_values["sample"] = change["old"]
                raise

    def _read(
        self,
        inputs: Sequence[Any],
        dates: pd.DatetimeIndex | None,
        window: Window | None = None,
        sample: int | None = None,
    ) -> Reading:
        tensors = as_inputs(self.model, inputs)
        if self._feature_names is not None:
            check_names(self._feature_names, tensors)
        if dates is not None:
            check_dates(self.model, dates, tensors[0])
        check_finite(self.model, tensors, self._names_of(tensors), dates)
        return Reading(tensors, capture_attention(self.model, *tensors), dates, window, sample)

    def _change(self, change: WhatIf) -> Reading:
        reading = self._changed(self.original, change)
        with self.hold_trait_notifications():
            self._publish(self.original, reading)
            self.set_trait("change", change)
        return reading

    def _changed(self, original: Reading, change: WhatIf) -> Reading:
        """A reading with a change applied."""
        if not change:
            return original
        inputs = original.inputs
        if change.changes_inputs:
            means = None if original.window is None else original.window.means
            inputs = change_inputs(change, inputs, self._names_of(inputs), self._market(change.market_from), means)
        donor = self._donor(change, original)
        with changed_model(in_eval_mode(self.model), change, original.capture, donor):
            return replace(original, inputs=inputs, capture=capture_attention(self.model, *inputs), donor=donor)

    def _donor(self, change: WhatIf, original: Reading) -> Activations:
        """The activations that a change patches in, from the window that it names."""
        if change.patch_from is None:
            return {}
        if self.dataset is None:
            raise ValueError("patch_from needs a session with a dataset")
        inputs = as_inputs(self.model, self.dataset.window(change.patch_from).inputs)
        check_donor(original.inputs, inputs)
        return donor_activations(self.model, change, original.capture, inputs)

    def _market(self, index: int | None) -> Tensor | None:
        """The market sequence of another window."""
        if index is None:
            return None
        if self.dataset is None:
            raise ValueError("market_from needs a session with a dataset")
        market = self.dataset.window(index).market_x
        return None if market is None else market[None]

    def _publish(self, original: Reading, reading: Reading) -> None:
        before = self._original, self._next, self._trait_values.get("reading")
        try:
            self.set_trait("reading", reading)
            self._original, self._next = original, None
        except BaseException:  # an interrupt: what belongs together stays together
            self._original, self._next, self._trait_values["reading"] = before
            raise

    def _names_of(self, inputs: Sequence[Tensor]) -> list[list[str]]:
        if self._feature_names is not None:
            return [list(names) for names in self._feature_names]
        if self.dataset is not None:
            return self._dataset_columns()
        standard = {len(names): list(names) for names in (BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS)}
        return [
            standard.get(part.size(-1), [f"input {number} feature {i}" for i in range(part.size(-1))])
            for number, part in enumerate(inputs)
        ]

    def _dataset_columns(self) -> list[list[str]]:
        assert self.dataset is not None
        columns = [self.dataset.feature_cols, self.dataset.market_feature_cols]
        return [list(names) for names in columns if names is not None]

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("this session is closed")

    @default("reading")
    def _no_reading(self) -> Reading:
        raise RuntimeError("this session is closed")
