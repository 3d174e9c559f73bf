"""A live model, the sample in it, and what its last forward pass showed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from traitlets import Bool, Dict, Enum, Instance, Int, TraitError, default, observe, validate

from stockformer.config import BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset, Window
from stockformer.explainability import (
    DAY_RANKINGS,
    GROUPS,
    METHODS,
    Attribution,
    Capture,
    Faithfulness,
    OutputDistribution,
    Summary,
    Target,
    Trace,
    WhatIf,
    attention_effects,
    attribute,
    can_attribute,
    capture_attention,
    change_inputs,
    changed_model,
    choose_target,
    class_names,
    describe_outputs,
    faithfulness_steps,
    head_importance,
    measure_windows,
    output_batches,
    randomisation_steps,
    spread_windows,
    summarize_change,
    trace_attention,
)
from stockformer.explainability.faithfulness import Ranking, rank_cells, run_to_end
from stockformer.model import CrossAttentionStockTransformer, StockTransformer, input_widths
from stockformer.training import Model
from stockformer_widgets.followed import Followed

if TYPE_CHECKING:
    from stockformer_widgets.comparison import SampleComparison

#: Windows that `ExtractorSession.find` knows.
LANDMARKS = ("calmest", "most volatile", "most confident", "most wrong")
#: What methods that move from or to a baseline take for "nothing known".
BASELINES = ("training mean", "calm window", "random training windows")
_DRAWN = 8  # random training windows

Result = TypeVar("Result")
#: Traits of a session that say what is explained, and how.
EXPLAINS = ("target", "method", "baseline", "groups")
_BATCH = 64


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

    def __repr__(self) -> str:
        inputs = " and ".join(str(list(tensor.shape)) for tensor in self.inputs)
        return f"Reading(inputs {inputs}; {self.capture})"

    def days(self, length: int) -> list[str]:
        """Names of `length` steps: their dates, or their numbers where no dates are known."""
        if len(self._day_names) != length:
            return [f"step {step}" for step in range(length)]
        return self._day_names

    @cached_property
    def _day_names(self) -> list[str]:
        return [] if self.dates is None else [str(date.date()) for date in self.dates]


class ExtractorSession(Followed):
    """Runs a model and keeps what it showed; views follow `reading`.

    Setting another `sample` or calling `run`, `refresh` or `what_if` runs the model
    again. A run that fails leaves the session as it was. `close` closes every view of the session too;
    the session is a context manager that does so at its end.

    Args:
        model: any module that holds `nn.MultiheadAttention`.
        inputs: what to call it with: tensors, arrays or nested lists, for a stock
            transformer [T, features] or [1, T, features]. Views show the first
            sample of another model's batch.
        dataset: where `sample` looks; without inputs, its `index` is the first.
        feature_names: one list an input; known for a dataset and for the
            standard 41 + 11 features.
        dates: the T trading days of the inputs.

    Raises:
        TypeError: `model` is no module, or `dataset` no `StockDataset`.
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
    #: What `what_if` changed; nothing at first. It stays when the sample changes.
    change = Instance(WhatIf, args=(), read_only=True)
    #: Column of the model's output that is explained, or None for the default of
    #: `stockformer.explainability.choose_target`.
    target = Int(None, allow_none=True)
    #: How the output is attributed to the inputs, one of `stockformer.explainability.METHODS`.
    method = Enum(METHODS, METHODS[0])
    #: From where, one of `BASELINES`; methods that need no baseline ignore it.
    baseline = Enum(BASELINES, BASELINES[0])
    #: What occlusion and Shapley sampling move together, one of `stockformer.explainability.GROUPS`.
    groups = Enum(GROUPS, GROUPS[0])
    #: What `check` measured last; None where that is no longer so.
    faithfulness = Instance(Faithfulness, allow_none=True, read_only=True)
    #: Method -> rank correlation, signed and absolute, with the same of a model with random weights; see
    #: `randomised_steps`.
    randomised = Dict(read_only=True)
    #: Whether `close` was called.
    closed = Bool(False, read_only=True)

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
            raise ValueError("a session needs inputs for the model or a dataset, found neither")
        self.model = model
        self.dataset = dataset
        self._feature_names = feature_names
        self._outputs: OutputDistribution | None = None
        self._read_sample: int | None = None
        self._next: tuple[Reading, Reading, int] | None = None
        self._past: list[WhatIf] = []
        self._explained: dict[tuple[Any, ...], Any] = {}
        if dataset is not None:
            _check_widths(model, tuple(len(names) for names in self._dataset_columns()), "the dataset has")
            _check_labels(model, dataset)
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
        self._check_open()
        original = self._read(inputs, None if dates is None else pd.DatetimeIndex(list(dates)), None)
        reading = self._changed(original, self.change)
        with self.hold_trait_notifications():
            self._publish(original, reading, None)
            self.sample = None
        return reading

    def refresh(self) -> Reading:
        """Run the model again on what it was run on last, for instance after its weights changed."""
        self._check_open()
        last, sample = self._original, self._read_sample
        original = self._read(last.inputs, last.dates, last.window)
        self._outputs = None
        self.set_trait("faithfulness", None)
        self._publish(original, self._changed(original, self.change), sample)
        return self.reading

    def what_if(self, **change: Any) -> Reading:
        """Run the model with parts of it changed, or with nothing changed; the views follow.

        The model itself stays as it is. `undo` takes the last change back.

        Args:
            change: fields of `stockformer.explainability.WhatIf`; they replace those of the last change.

        Raises:
            ValueError, IndexError: something that does not exist is to be changed; all stays as it was.

        Example:
            >>> session.what_if(gate={2: 0.0}, heads_off=[(1, 3)], market_from=500)
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

    def undo(self) -> Reading:
        """Go back to before the last `what_if`; without one nothing happens."""
        self._check_open()
        if self._past:
            self._change(self._past[-1])
            self._past.pop()
        return self.reading

    @property
    def original(self) -> Reading:
        """The reading without the change of `what_if`; the same object as `reading` where there is none."""
        self._check_open()
        return self._original

    def effect(self) -> Summary:
        """What the change does to the output, in words and numbers.

        Raises:
            TypeError: the model is no stock transformer, so its output has no known meaning.
        """
        return summarize_change(self.prediction(original=True), self.prediction(), self.class_names or None)

    def attribution(self) -> Attribution:
        """Attribution of what is explained, by `method` from `baseline`; see `stockformer.explainability.attribute`."""

        def compute(model: nn.Module, *inputs: Tensor, target: Target) -> Attribution:
            options: dict[str, Any] = {"method": self.method, "groups": self.groups, "baselines": self._baselines()}
            return attribute(model, *inputs, target=target, progress=self.groups != GROUPS[0], **options)

        return self._explain(compute, "attribution", self.method, self.baseline, self.groups)

    def saliency(self) -> tuple[Tensor, ...]:
        """The signed parts of `attribution`, one [T, features] in float32 an input."""
        return tuple(part.float() for part in self.attribution().parts)

    def trace(self) -> Trace:
        """What attention carried, with its gradients; see `stockformer.explainability.trace_attention`."""
        return self._explain(trace_attention, "trace")

    def head_importance(self) -> pd.DataFrame:
        """How much what is explained hangs on each head; see `stockformer.explainability.head_importance`."""
        trace = self.trace()

        def compute(model: nn.Module, *inputs: Tensor, target: Target) -> pd.DataFrame:
            return head_importance(model, *inputs, trace=trace)

        return self._explain(compute, "heads")

    def attention_effects(self) -> pd.DataFrame:
        """What flat and shuffled attention do; see `stockformer.explainability.attention_effects`."""
        return self._explain(attention_effects, "effects")

    def check(self, windows: int | None = None, unit: str = "cell") -> Faithfulness:
        """Measure whether to believe the explanations, with a progress bar; sets `faithfulness`.

        See `stockformer.explainability.measure_faithfulness`.

        Args:
            windows: how many of the dataset, evenly spread; by default the sample alone.
            unit: ``cell`` ranks every feature of every day by every method, from `baseline` and in
                `groups`; ``day`` ranks days, also by attention.

        Raises:
            ValueError: another unit, more windows than there are, a session without dataset, one with a change,
                or a model that cannot be attributed.
        """
        return run_to_end(self.check_steps(windows, unit), "faithfulness")

    def check_steps(self, windows: int | None = None, unit: str = "cell") -> Generator[float, None, Faithfulness]:
        """`check` in steps: yields the share that is done. One that is left early changes nothing.

        Raises:
            RuntimeError: between two steps something changed that the check is of.
        """
        self._check_open()
        rankings, samples = self._rankings(unit), self._checked(windows)
        found = yield from self._unless_changed(
            faithfulness_steps(self.model, samples, rankings, column=self.target),
            lambda: (self.target, self.baseline, self.groups, self.reading if windows is None else None),
        )
        self.set_trait("faithfulness", found)
        return found

    def randomised_steps(self) -> Generator[float, None, pd.DataFrame]:
        """`stockformer.explainability.randomisation_check` of the sample in steps; sets `randomised`.

        Raises:
            RuntimeError: between two steps the sample changed.
        """
        self._check_open()
        found = yield from self._unless_changed(
            randomisation_steps(self.model, self._checked(None)), lambda: (self.reading,)
        )
        rows = found.itertuples(index=False)
        self.set_trait("randomised", {row.method: (row.signed, row.absolute) for row in rows})
        return found

    def _unless_changed(
        self, steps: Generator[float, None, Result], asked: Callable[[], tuple[Any, ...]]
    ) -> Generator[float, None, Result]:
        """Take the steps for as long as what is asked for stays the same."""
        before = asked()
        while True:
            try:
                share = next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            yield share
            if asked() != before:
                raise RuntimeError("what was measured has changed meanwhile: measure again")

    def _rankings(self, unit: str) -> Mapping[str, Ranking]:
        if unit not in ("cell", "day"):
            raise ValueError(f"unit is {unit!r}, expected cell or day")
        if not can_attribute(self.reading.inputs, self.reading.capture.output):
            raise ValueError(f"{type(self.model).__name__} cannot be attributed: it has no inputs [B, T, features]")
        if unit == "day":
            if self.reading.capture.pooling is None:
                raise ValueError("days are ranked for stock transformers only")
            return DAY_RANKINGS
        options: dict[str, Any] = {"baselines": self._baselines(), "groups": self.groups}
        return {method: partial(rank_cells, method, **options) for method in METHODS}

    def _checked(self, windows: int | None) -> list[tuple[Tensor, ...]]:
        """Inputs to measure on."""
        if self.change:
            raise ValueError("the model is measured as it is: take the change back first")
        if windows is None:
            return [self.reading.inputs]
        if self.dataset is None:
            raise ValueError("windows need a session with a dataset")
        like = self.reading.inputs[0]
        return [tuple(part.to(like) for part in inputs) for inputs in spread_windows(self.dataset, windows)]

    def _explain(self, compute: Callable[..., Result], *key: str) -> Result:
        """``compute(model, *inputs, target=...)`` of the reading, with its change; each is computed once."""
        self._check_open()
        which = (*key, self.target)
        if which not in self._explained:
            with changed_model(self.model, self.change, self._original.capture):
                self._explained[which] = compute(self.model, *self.reading.inputs, target=self._target())
        found: Result = self._explained[which]
        return found

    def _target(self) -> Target:
        """What is explained."""
        return choose_target(self.model, self.reading.capture.output, self.target)

    def _baselines(self) -> tuple[Tensor, ...] | None:
        """Inputs for `baseline`, each [N, T, features]; None for the training mean."""
        if self.baseline == BASELINES[0]:
            return None
        assert self.dataset is not None
        training = np.flatnonzero(self.dataset.end_dates <= self.dataset.train_end)
        if self.baseline == "calm window":
            chosen = training[[np.nanargmin(self.dataset.volatility[training])]]
        else:
            chosen = np.random.default_rng(0).choice(training, min(_DRAWN, len(training)), replace=False)
        windows = [self.dataset.window(int(index)) for index in chosen]
        parts = zip(*((one.x, one.market_x) for one in windows), strict=True)
        return tuple(torch.stack(part) for part in parts if part[0] is not None)

    def measures(self) -> dict[str, float]:
        """The sample's `stockformer.explainability.MEASURES`.

        Raises:
            TypeError: the model is no stock transformer.
        """
        self._check_open()
        with changed_model(self.model, self.change, self._original.capture):
            found = measure_windows(self._stock_model(), *self.reading.inputs)
        return {name: float(value) for name, value in found.items()}

    def prediction(self, *, original: bool = False) -> OutputDistribution:
        """What the sample's output says, with its label where a dataset has one.

        Args:
            original: the output without the change of `what_if`.

        Raises:
            TypeError: the model is no stock transformer, so its output has no known meaning.
        """
        self._check_open()
        reading = self.original if original else self.reading
        window = reading.window
        self._stock_model()
        return self._describe(reading.capture.output, None if window is None else window.y.reshape(1))

    def _describe(self, outputs: Tensor, labels: Tensor | None) -> OutputDistribution:
        return describe_outputs(outputs.float(), self._stock_model(), labels)

    def _stock_model(self) -> Model:
        if not isinstance(self.model, CrossAttentionStockTransformer | StockTransformer):
            raise TypeError(f"the output of {type(self.model).__name__} has no known meaning")
        return self.model

    def knows(self, landmark: str) -> bool:
        """Whether `find` can tell without running the model over the dataset."""
        return self._outputs is not None or landmark in ("calmest", "most volatile")

    def find(self, landmark: str) -> int:
        """The index of a remarkable window of the dataset, one of `LANDMARKS`.

        ``calmest`` and ``most volatile`` by the standard deviation of the daily
        returns inside the window; ``most confident`` by the probability of the
        predicted class, or the magnitude of a regression's value; ``most wrong`` by
        the probability that the true class did not get, or the error of the value.
        The last two run the model, as it is, over the whole dataset, once, with a progress bar.

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
                raise ValueError("no window has the prices that tell its volatility")
            return int(np.nanargmin(volatility) if landmark == "calmest" else np.nanargmax(volatility))
        if self._outputs is None:
            for _ in tqdm(self.scan(), desc="scanning", unit="batch", total=-(-len(self.dataset) // _BATCH)):
                pass
        assert self._outputs is not None
        if landmark == "most wrong":
            return int(self._outputs.errors.argmax())
        shown = self._outputs
        return int((shown.outputs.abs() if shown.probabilities is None else shown.confidence).argmax())

    def scan(self) -> Iterator[float]:
        """Run the model over the dataset for `find`; yields the share that is done.

        A scan that is left early keeps nothing.
        """
        self._check_open()
        if self.dataset is None:
            raise ValueError("this session has no dataset to search")
        outputs, labels = [], []
        for part, label in output_batches(self._stock_model(), self.dataset, batch_size=_BATCH):
            outputs.append(part)
            labels.append(label)
            yield sum(map(len, labels)) / len(self.dataset)
        self._outputs = self._describe(torch.cat(outputs), torch.cat(labels))

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
                setattr(other, name, getattr(self, name))
        except BaseException:
            other.close()
            raise
        return other

    def compare(self, *others: Any) -> SampleComparison:
        """A `SampleComparison` with another session, or of two samples of the dataset by their indices."""
        from stockformer_widgets.comparison import SampleComparison  # it is built on sessions

        return SampleComparison(self, *others)

    def close(self) -> None:
        """Close the views of this session and let go of model, dataset and tensors."""
        if self.closed:
            return
        self.set_trait("closed", True)
        self.unobserve_all()
        self._followers.clear()
        self._explained.clear()
        self._outputs = self._next = None
        self.set_trait("faithfulness", None)
        self._trait_values.pop("reading", None)
        del self._original
        self.model, self.dataset = nn.Module(), None

    def __enter__(self) -> ExtractorSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def title(self) -> str:
        """Whose day the sample is, and what `what_if` changed, in words."""
        window = self.reading.window
        named = "tensors given by hand" if window is None else f"{window.ticker}, {window.dates[-1].date()}"
        return f"{named} ({self.change})" if self.change else named

    @property
    def targets(self) -> list[str]:
        """What the columns of the output stand for; none where the output is one value."""
        output = self.reading.capture.output
        if not isinstance(output, Tensor) or output.dim() != 2:
            return []
        if input_widths(self.model) is None:
            return [f"output {column}" for column in range(output.size(1))]
        if self.model.use_coral:
            edges = self._bucket_edges()
            columns = range(output.size(1))
            return [f"P(at least {edges[k]:g} %)" if edges else f"P(class > {k})" for k in columns]
        return self.class_names

    @property
    def target_name(self) -> str:
        """What is explained, in words."""
        if not self.targets:
            return "the value"
        target = self._target()
        if target.kind == "rank":
            return "the expected rank"
        assert target.column is not None
        name = self.targets[target.column]
        return f"{name} over {self.targets[1 - target.column]}" if target.kind == "margin" else name

    @property
    def explained_column(self) -> int | None:
        """The column of the output that is explained; None for a value or an expected rank."""
        return self._target().column

    @property
    def method_name(self) -> str:
        """How the output is attributed, in words."""
        return str(self.method).replace("_", " ")

    @property
    def class_names(self) -> list[str]:
        """What a stock transformer's classes stand for; none for a regression and other models."""
        return [] if input_widths(self.model) is None else class_names(self._stock_model(), self._bucket_edges())

    def _bucket_edges(self) -> Sequence[float]:
        """The edges between classes as returns in percent; none where no dataset tells them."""
        return () if self.dataset is None else self.dataset.bucket_edges or ()

    @property
    def feature_names(self) -> list[list[str]]:
        """Names of the features, one list an input."""
        return self._names_of(self.reading.inputs)

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

    @property
    def unavailable_features(self) -> list[str]:
        """Features that the dataset has no value for."""
        return [] if self.dataset is None or self.reading.window is None else list(self.dataset.unavailable)

    def __repr__(self) -> str:
        if self.closed:
            return "ExtractorSession(closed)"
        where = "tensors given by hand" if self.dataset is None else f"sample {self.sample} of {len(self.dataset)}"
        return f"ExtractorSession({type(self.model).__name__}, {where})"

    @default("reading")
    def _no_reading(self) -> Reading:
        raise RuntimeError("this session is closed")

    @validate("target")
    def _check_target(self, proposal: Any) -> int | None:
        target: int | None = proposal["value"]
        if target is not None and not 0 <= target < len(self.targets):
            raise TraitError(f"target is {target}, but the model's output has {len(self.targets)} columns")
        return target

    @observe("target", "baseline", "groups")
    def _forget_the_check(self, change: Any) -> None:
        self.set_trait("faithfulness", None)

    @validate("baseline")
    def _check_baseline(self, proposal: Any) -> str:
        if proposal["value"] != BASELINES[0] and self.dataset is None:
            raise TraitError(f"{proposal['value']!r} needs a session with a dataset")
        return str(proposal["value"])

    @validate("sample")
    def _run_sample(self, proposal: Any) -> int | None:
        # Run before the value changes: a run that fails leaves the old sample standing.
        self._check_open()
        index: int | None = proposal["value"]
        if index is None:
            return None
        if self.dataset is None:
            raise TraitError("this session has no dataset to take a sample from: call session.run(x, market_x)")
        window = self.dataset.window(index)
        index %= len(self.dataset)
        if index != self._read_sample:
            inputs = (window.x[None],) if window.market_x is None else (window.x[None], window.market_x[None])
            original = self._read(inputs, window.dates, window)
            self._next = original, self._changed(original, self.change), index
        return index

    @observe("sample")
    def _show_sample(self, change: Any) -> None:
        index = change["new"]
        # Unless its check was skipped: by an error while notifications were held.
        if index is not None and self._next is None and index != self._read_sample:
            self._run_sample({"value": index})
        if index is not None and self._next is not None:
            self._publish(*self._next)

    def _read(self, inputs: Sequence[Any], dates: pd.DatetimeIndex | None, window: Window | None) -> Reading:
        tensors = _as_inputs(self.model, inputs)
        if self._feature_names is not None:
            _check_names(self._feature_names, tensors)
        if dates is not None:
            _check_dates(self.model, dates, tensors[0])
        return Reading(tensors, capture_attention(self.model, *tensors), dates, window)

    def _change(self, change: WhatIf) -> Reading:
        reading = self._changed(self._original, change)
        with self.hold_trait_notifications():
            self._publish(self._original, reading, self._read_sample)
            self.set_trait("change", change)
        return reading

    def _changed(self, original: Reading, change: WhatIf) -> Reading:
        """A reading with a change applied."""
        if not change:
            return original
        inputs = original.inputs
        if change.changes_inputs:
            inputs = change_inputs(change, inputs, self._names_of(inputs), self._market(change.market_from))
        with changed_model(self.model, change, original.capture):
            return replace(original, inputs=inputs, capture=capture_attention(self.model, *inputs))

    def _market(self, index: int | None) -> Tensor | None:
        """The market sequence of another window."""
        if index is None:
            return None
        if self.dataset is None:
            raise ValueError("market_from needs a session with a dataset")
        market = self.dataset.window(index).market_x
        return None if market is None else market[None]

    def _publish(self, original: Reading, reading: Reading, sample: int | None) -> None:
        self._original, self._read_sample, self._next = original, sample, None
        self._explained.clear()
        with self.hold_trait_notifications():
            if self.faithfulness is not None and self.faithfulness.samples == 1:
                self.set_trait("faithfulness", None)
            self.set_trait("randomised", {})
            self.set_trait("reading", reading)
            if self.target is not None and self.target >= len(self.targets):
                self.target = None

    def _check_open(self) -> None:
        if self.closed:
            raise RuntimeError("this session is closed")

    def _dataset_columns(self) -> list[list[str]]:
        assert self.dataset is not None
        columns = [self.dataset.feature_cols, self.dataset.market_feature_cols]
        return [list(names) for names in columns if names is not None]


def _as_inputs(model: nn.Module, inputs: Sequence[Any]) -> tuple[Tensor, ...]:
    parameter = next(model.parameters(), torch.empty(0))
    tensors = tuple(_as_tensor(number, values).to(parameter.device) for number, values in enumerate(inputs))
    if input_widths(model) is not None or all(tensor.is_floating_point() for tensor in tensors):
        tensors = tuple(tensor.to(parameter.dtype) for tensor in tensors)
    # Another model may take a mask, where -inf is what hides a day.
    unfit = torch.isnan if input_widths(model) is None else lambda tensor: ~torch.isfinite(tensor)
    for number, tensor in enumerate(tensors):
        bad = int(unfit(tensor).sum())
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
    twice = [name for name, times in Counter(name for group in names for name in group).items() if times > 1]
    if twice:
        raise ValueError(f"feature_names has {len(twice)} names more than once, {twice[0]!r} for one")


def _check_widths(model: nn.Module, found: tuple[int, ...], whose: str) -> None:
    expected = input_widths(model)
    if expected is not None and expected != found:
        raise ValueError(f"{whose} {_words(found)} features, but {type(model).__name__} takes {_words(expected)}")


def _check_dates(model: nn.Module, dates: pd.DatetimeIndex, first: Tensor) -> None:
    # Which dimension of another model's input is time, nobody knows.
    steps = [first.size(1)] if input_widths(model) is not None else list(first.shape)
    if len(dates) not in steps:
        raise ValueError(f"there are {len(dates)} dates for {' or '.join(map(str, steps))} steps")


def _check_labels(model: nn.Module, dataset: StockDataset) -> None:
    if not isinstance(model, CrossAttentionStockTransformer | StockTransformer):
        return
    if model.label_mode != dataset.label_mode:
        raise ValueError(f"the model's label_mode is {model.label_mode!r}, the dataset's is {dataset.label_mode!r}")
    edges = len(dataset.bucket_edges or ())
    if model.label_mode == "buckets" and edges + 1 != model.num_buckets:
        raise ValueError(
            f"the model has {model.num_buckets} buckets, the dataset's {edges} bucket_edges make {edges + 1}"
        )


def _words(widths: tuple[int, ...]) -> str:
    return " + ".join(str(width) for width in widths) or "no"
