"""Explanations of a session's sample: target, method, results, and their faithfulness."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from traitlets import Bool, Dict, Enum, Int, TraitError, validate

from stockformer.dataset import StockDataset
from stockformer.explainability import (
    DAY_RANKINGS,
    GROUPS,
    METHODS,
    Attribution,
    Faithfulness,
    Patching,
    Target,
    Trace,
    WhatIf,
    attribution_runs,
    attribution_steps,
    calendar_blocks,
    can_attribute,
    choose_target,
    draw_donors,
    faithfulness_steps,
    has_inflow,
    other_windows,
    patching_steps,
    randomisation_steps,
    spread_indices,
    trace_attention,
    training_windows,
)
from stockformer.explainability.attention.ablation import attention_effects_steps, head_importance_steps
from stockformer.explainability.attribution.methods import BY_NAME
from stockformer.explainability.faithfulness.rankings import Ranking, choose_baselines, rank_cells
from stockformer.inputs import Inputs
from stockformer.model import Forecaster
from stockformer.steps import Steps, run_to_end
from stockformer.target_column import TargetColumn
from stockformer.workers import Engine
from stockformer_widgets.state.observable import Follower, Observable, reacts
from stockformer_widgets.state.reading import Reading

#: Baselines of the methods that have one: the inputs that stand for "nothing known".
BASELINES = ("training mean", "calm window", "random training windows")
#: Traits that define the target and how it is attributed.
EXPLAINS = ("target", "method", "baseline", "groups")
_DRAWN = 8  # random training windows
_LONG = 1000  # runs of the model, some seconds

Result = TypeVar("Result")


#: Trait -> the field of a method that says whether it changes the attribution.
_MATTERS = {"baseline": "from_baseline", "groups": "by_group"}


def _changed_by(trait: str) -> list[str]:
    """The methods that a trait changes."""
    return [name for name, method in BY_NAME.items() if getattr(method, _MATTERS[trait])]


def patching_from(donor: int) -> str:
    """Name of the result of `Explanations.patching`, see `Explanations.has`."""
    return f"patching from {donor}"


class Explained(Protocol):
    """What explanations need of a session, see `stockformer_widgets.ExtractorSession`."""

    model: nn.Module
    dataset: StockDataset | None
    refreshed: int

    @property
    def reading(self) -> Reading: ...
    @property
    def change(self) -> WhatIf: ...
    @property
    def closed(self) -> bool: ...
    @property
    def class_names(self) -> list[str]: ...
    @property
    def bucket_edges(self) -> Sequence[float]: ...
    @property
    def target_column(self) -> TargetColumn | None: ...
    def as_changed(self) -> AbstractContextManager[None]: ...
    def follow(self, follower: Follower) -> None: ...


class Explanations(Observable):
    """Explanations of what a session's model predicts for its sample; each is computed once.

    They follow the session: results for an earlier sample, change or weights are dropped.

    Args:
        session: an open session, which has a reading.
    """

    #: Column of the model's output that is explained, or None for the default of
    #: `stockformer.explainability.choose_target`.
    target = Int(None, allow_none=True)
    #: How the output is attributed to the inputs, one of `stockformer.explainability.METHODS`.
    method = Enum(METHODS, METHODS[0])
    #: The baseline, one of `BASELINES`; methods without one ignore it.
    baseline = Enum(BASELINES, BASELINES[0])
    #: Cells that occlusion and Shapley sampling move together, one of `stockformer.explainability.GROUPS`.
    groups = Enum(GROUPS, GROUPS[0])
    #: Results of `check` by unit: ``cell`` or ``day`` -> `stockformer.explainability.Faithfulness`. Over windows of the
    #: dataset, or on the sample if no windows were measured.
    faithfulness = Dict(read_only=True)
    #: Results of `check` on the sample alone, by unit.
    sample_faithfulness = Dict(read_only=True)
    #: Result of `check_randomised`: method -> the row of `stockformer.explainability.randomisation_check`.
    randomised = Dict(read_only=True)
    #: Whether a person stopped a long attribution; False again when target, method or sample change.
    stopped = Bool(False, read_only=True)

    def __init__(self, session: Explained) -> None:
        super().__init__()
        self.session = session
        self._reading: Reading | None = session.reading
        self._refreshed = session.refreshed
        self._results: dict[tuple[Any, ...], Any] = {}
        session.follow(self._fit)

    def __repr__(self) -> str:
        if self.session.closed:
            return "Explanations(closed)"
        return f"Explanations({self.target_name}, {self.method_name})" if self.available else "Explanations(none)"

    @property
    def available(self) -> bool:
        """Whether the model's output can be attributed to its inputs."""
        return can_attribute(self.session.reading.inputs, self.session.reading.capture.output)

    def attribution(self) -> Attribution:
        """Attribution of the target by `method` from `baseline`; see `stockformer.explainability.attribute`."""
        return run_to_end(self.attribution_steps(), self.method_name, progress=self.takes_long)

    def attribution_steps(self) -> Steps[Attribution]:
        """`attribution` in steps.

        Raises:
            RuntimeError: the reading, the target or a setting changed between two steps.
        """

        def compute() -> Steps[Attribution]:
            sample = self.session.reading.first_sample
            return attribution_steps(
                self.session.model,
                *sample,
                method=self.method,
                target=self._target(),
                baselines=choose_baselines(sample, self.method, self._baselines()),
                groups=self.groups,
            )

        return self._once(self._attribution_key, compute)

    @property
    def attributed(self) -> bool:
        """Whether `attribution` is computed."""
        return self._attribution_key() in self._results

    @property
    def takes_long(self) -> bool:
        """Whether `attribution` would take seconds, so that scripts show a progress bar."""
        if self.attributed:
            return False
        bases = _DRAWN if self.baseline == BASELINES[2] else 1
        shapes = [part.shape[1:] for part in self.session.reading.inputs]
        return bases * attribution_runs(self.method, shapes, self.groups) > _LONG

    def saliency(self) -> tuple[Tensor, ...]:
        """The signed parts of `attribution`, one [T, features] in float32 per input."""
        return tuple(part.float() for part in self.attribution().parts)

    def trace(self) -> Trace:
        """Values that attention carried, with gradients; see `stockformer.explainability.trace_attention`."""
        key = self._key("trace")
        if key not in self._results:
            with self.session.as_changed():
                model = self.session.model
                self._results[key] = trace_attention(model, *self.session.reading.first_sample, target=self._target())
        trace: Trace = self._results[key]
        return trace

    def head_importance(self) -> pd.DataFrame:
        """How much the target depends on each head; see `stockformer.explainability.head_importance`."""
        return run_to_end(self.head_importance_steps(), "heads", progress=False)

    def head_importance_steps(self) -> Steps[pd.DataFrame]:
        """`head_importance` in steps.

        Raises:
            RuntimeError: the reading, the target or a setting changed between two steps.
        """
        return self._steps("heads", partial(head_importance_steps, trace=self.trace()))

    def attention_effects(self) -> pd.DataFrame:
        """Effects of flat and shuffled attention on the target; see `stockformer.explainability.attention_effects`."""
        return run_to_end(self.attention_effects_steps(), "effects", progress=False)

    def attention_effects_steps(self) -> Steps[pd.DataFrame]:
        """`attention_effects` in steps.

        Raises:
            RuntimeError: the reading, the target or a setting changed between two steps.
        """
        return self._steps("effects", partial(attention_effects_steps, target=self._target()))

    def patching(self, donor: int) -> Patching:
        """Effects of patching in activations of another window; see `stockformer.explainability.activation_patching`.

        Random windows of the sample's ticker are measured as a reference; the sample must come from a dataset.

        Args:
            donor: index of a window of the dataset.

        Raises:
            ValueError: the sample does not come from a dataset, or the model has no stream to patch.
            IndexError: there is no such window.
        """
        return run_to_end(self.patching_steps(donor), "patching", progress=False)

    def patching_steps(self, donor: int) -> Steps[Patching]:
        """`patching` in steps.

        Raises:
            RuntimeError: the reading, the target or a setting changed between two steps.
        """
        dataset, sample = self.session.dataset, self.session.reading.sample
        if dataset is None or sample is None:
            raise ValueError("patching needs a sample of a dataset, whose other windows are the donors")
        windows = [donor, *draw_donors(dataset, sample, without=[donor % len(dataset)])]
        donor_inputs, *random_donors = self._like_the_sample(dataset.window(index).inputs for index in windows)

        def compute(model: nn.Module, *inputs: Tensor) -> Steps[Patching]:
            return patching_steps(model, inputs, donor_inputs, target=self._target(), random_donors=random_donors)

        return self._steps(patching_from(donor), compute)

    def donors(self) -> dict[str, int]:
        """Other windows of the sample's ticker by name: the calmest and the most volatile one if prices are known, and
        one drawn at random; empty if the ticker has no other window.

        Raises:
            ValueError: the sample does not come from a dataset.
        """
        dataset, sample = self.session.dataset, self.session.reading.sample
        if dataset is None or sample is None:
            raise ValueError("donors are windows of a dataset, and the sample is not of one")
        others = np.array(draw_donors(dataset, sample, len(dataset)), dtype=int)
        volatility = dataset.volatility[others]
        donors = {}
        if np.isfinite(volatility).any():
            donors["calmest window"] = int(others[np.nanargmin(volatility)])
            donors["most volatile window"] = int(others[np.nanargmax(volatility)])
        return donors | ({"random window": int(others[0])} if len(others) else {})

    def has(self, what: str) -> bool:
        """Whether ``heads`` (`head_importance`), ``effects`` (`attention_effects`) or `patching_from` were computed."""
        return self._key(what) in self._results

    def check(self, windows: int | None = None, unit: str = "cell", *, engine: Engine = None) -> Faithfulness:
        """Measure the faithfulness of the explanations, with a progress bar; sets `faithfulness`.

        Results over windows are kept when the sample is measured, which also sets `sample_faithfulness`.
        See `stockformer.explainability.measure_faithfulness`; the fixed linear formula is made from training windows
        of the dataset.

        Args:
            windows: number of windows of the dataset, evenly spread; by default the sample alone.
            unit: ``cell`` ranks every feature of every day by every method, from `baseline` and in
                `groups`; ``day`` ranks days, also by attention. Both move them to the training mean.
            engine: what measures the windows, see `stockformer.workers.run_chunks`.

        Raises:
            ValueError: unknown unit, fewer than two windows or more than there are, a session without dataset or
                with a change, or a model that cannot be attributed.
        """
        return run_to_end(self.check_steps(windows, unit, engine=engine), "faithfulness")

    def check_steps(
        self, windows: int | None = None, unit: str = "cell", *, engine: Engine = None
    ) -> Steps[Faithfulness]:
        """`check` in steps. One that is abandoned changes nothing.

        Raises:
            RuntimeError: the reading, the target or a setting changed between two steps.
        """
        rankings, samples = self._rankings(unit), self._checked(windows)
        blocks = None if self.session.dataset is None or windows is None else self._blocks(windows)
        others, note = self._others(windows)
        result = yield from self._unless_changed(
            faithfulness_steps(
                self.session.model,
                samples,
                rankings,
                training=self._training(),
                others=others,
                blocks=blocks,
                column=self.target,
                engine=engine,
            ),
            lambda: (
                self.target,
                (self.baseline, self.groups) if unit == "cell" else None,
                self.session.reading if windows is None else None,
            ),
        )
        result = replace(result, note=note)
        if windows is None:
            self._keep(self._over_windows(), {**self.sample_faithfulness, unit: result})
        else:
            self._keep({**self._over_windows(), unit: result}, self.sample_faithfulness)
        return result

    def _over_windows(self) -> dict[str, Faithfulness]:
        return {unit: result for unit, result in self.faithfulness.items() if result.samples > 1}

    def _keep(self, windows: Mapping[str, Faithfulness], sample: Mapping[str, Faithfulness]) -> None:
        with self.hold_trait_notifications():
            self.set_trait("sample_faithfulness", dict(sample))
            self.set_trait("faithfulness", {**sample, **windows})

    def check_randomised(self) -> pd.DataFrame:
        """Attribute the sample on a model with random weights too, with a progress bar; sets `randomised`.

        See `stockformer.explainability.randomisation_check`.

        Raises:
            ValueError: a session with a change, or a model that cannot be attributed.
        """
        return run_to_end(self.randomised_steps(), "random weights")

    def randomised_steps(self) -> Steps[pd.DataFrame]:
        """`check_randomised` in steps. One that is abandoned changes nothing.

        Raises:
            RuntimeError: the reading, the target or a setting changed between two steps.
        """
        samples = self._checked(None)
        options: dict[str, Any] = {"baselines": self._baselines(), "groups": self.groups}
        table = yield from self._unless_changed(
            randomisation_steps(self.session.model, samples, column=self.target, **options),
            lambda: (self.target, self.baseline, self.groups, self.session.reading),
        )
        self.set_trait("randomised", table.set_index("method").to_dict("index"))
        return table

    @property
    def targets(self) -> list[str]:
        """Names of the output's columns; empty if the output is a single value."""
        output = self.session.reading.capture.output
        if not isinstance(output, Tensor) or output.dim() != 2:
            return []
        if not isinstance(self.session.model, Forecaster):
            return [f"output {column}" for column in range(output.size(1))]
        if self.session.model.use_coral:
            edges = self.session.bucket_edges
            columns = range(output.size(1))
            return [f"P(at least {edges[k]:g} %)" if edges else f"P(class > {k})" for k in columns]
        return self.session.class_names

    @property
    def target_name(self) -> str:
        """The target in words."""
        if not self.targets:
            column = self.session.target_column
            return "the value" if column is None else column.words
        target = self._target()
        if target.kind == "rank":
            return "the expected rank"
        assert target.column is not None
        name = self.targets[target.column]
        return f"{name} over {self.targets[1 - target.column]}" if target.kind == "margin" else name

    @property
    def explained_column(self) -> int | None:
        """The output column of the target; None for a value or an expected rank."""
        return self._target().column

    @property
    def method_name(self) -> str:
        """The method in words."""
        return str(self.method).replace("_", " ")

    def _key(self, what: str) -> tuple[Any, ...]:
        # With the reading: another thread may finish a result only after the next reading.
        return what, self.session.reading, self.target

    def _attribution_key(self) -> tuple[Any, ...]:
        return *self._key("attribution"), self.method, *self.settings(self.method).values()

    def settings(self, ranking: str) -> dict[str, str]:
        """The traits among `baseline` and `groups` that change a ranking."""
        return {name: getattr(self, name) for name in _MATTERS if ranking in _changed_by(name)}

    def _unless_changed(
        self, steps: Steps[Result], state: Callable[[], tuple[Any, ...]], *, changed: bool = False
    ) -> Steps[Result]:
        """Take the steps for as long as what `state` returns stays the same.

        Args:
            changed: run each step with the change of `what_if`, which is undone between steps.
        """
        before, refreshed = state(), self.session.refreshed
        while True:
            try:
                with self.session.as_changed() if changed else nullcontext():
                    share = next(steps)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            yield share
            if self.session.closed or state() != before or self.session.refreshed != refreshed:
                raise RuntimeError("the sample or the settings changed during the measurement: measure again")

    def _rankings(self, unit: str) -> Mapping[str, Ranking]:
        if unit not in ("cell", "day"):
            raise ValueError(f"unit is {unit!r}, expected cell or day")
        if not self.available:
            raise ValueError(
                f"{type(self.session.model).__name__} cannot be attributed: it has no inputs [B, T, features]"
            )
        if unit == "day":
            if not has_inflow(self.session.model):
                raise ValueError("days are ranked for stock transformers only")
            return DAY_RANKINGS
        options: dict[str, Any] = {"baselines": self._baselines(), "groups": self.groups}
        return {method: partial(rank_cells, method, **options) for method in METHODS}

    def _checked(self, windows: int | None) -> list[Inputs]:
        """Inputs to measure faithfulness on."""
        if self.session.change:
            raise ValueError("faithfulness is measured on the unchanged model: undo the what-if first")
        if windows is None:
            return [self.session.reading.first_sample]
        if self.session.dataset is None:
            raise ValueError("windows need a session with a dataset")
        if windows < 2:
            raise ValueError(f"windows is {windows}, expected at least 2; without it the sample is measured")
        return self._like_the_sample(
            self.session.dataset.window(index).inputs for index in spread_indices(self.session.dataset, windows)
        )

    def _blocks(self, windows: int) -> np.ndarray:
        assert self.session.dataset is not None
        return calendar_blocks(self.session.dataset, spread_indices(self.session.dataset, windows))

    def _others(self, windows: int | None) -> tuple[list[list[Inputs]], str]:
        """Inputs of other windows to measure with; or none, and the reason in a sentence."""
        index = self.session.reading.sample
        if self.session.dataset is None or index is None:
            return [], "Not measured with other windows: the sample does not come from a dataset."
        indices = [index] if windows is None else spread_indices(self.session.dataset, windows)
        others, note = other_windows(self.session.dataset, indices)
        return [self._like_the_sample(each) for each in others], note

    def _training(self) -> list[Inputs]:
        """Inputs of training windows; none without a dataset, or if the sample does not come from it."""
        if self.session.reading.window is None or self.session.dataset is None:
            return []
        return self._like_the_sample(training_windows(self.session.dataset))

    def _like_the_sample(self, windows: Iterable[Inputs]) -> list[Inputs]:
        return [inputs.to(self.session.reading.inputs[0]) for inputs in windows]

    def _steps(self, what: str, compute: Callable[..., Steps[Result]]) -> Steps[Result]:
        """``compute(model, *inputs)`` of the reading, with its change, `_once`."""
        return self._once(
            partial(self._key, what), lambda: compute(self.session.model, *self.session.reading.first_sample)
        )

    def _once(self, key: Callable[[], tuple[Any, ...]], compute: Callable[[], Steps[Result]]) -> Steps[Result]:
        """A result in steps, computed once for as long as its key stays the same."""
        which = key()
        if which not in self._results:
            self._results[which] = yield from self._unless_changed(compute(), key, changed=True)
        result: Result = self._results[which]
        return result

    def _target(self) -> Target:
        """The target."""
        return choose_target(self.session.model, self.session.reading.capture.output, self.target)

    def _baselines(self) -> tuple[Tensor, ...] | None:
        """Inputs for `baseline`, each [N, T, features]; None for the training mean, which each sample knows."""
        if self.baseline == BASELINES[0]:
            return None
        assert self.session.dataset is not None
        training = np.flatnonzero(self.session.dataset.end_dates <= self.session.dataset.train_end)
        if self.baseline == "calm window":
            volatility = self.session.dataset.volatility[training]
            if np.isnan(volatility).all():
                raise ValueError("no training window has prices, which the calm one is chosen by")
            chosen = training[[np.nanargmin(volatility)]]
        else:
            chosen = np.random.default_rng(0).choice(training, min(_DRAWN, len(training)), replace=False)
        windows = [self.session.dataset.window(int(index)).inputs for index in chosen]
        return tuple(torch.cat(part) for part in zip(*windows, strict=True))

    def _fit(self) -> None:
        """Drop results of an earlier reading, and a target that the output no longer has."""
        session = self.session
        reading = None if session.closed else session.reading
        if reading is self._reading:
            return
        old_weights = reading is None or session.refreshed != self._refreshed
        self._results.clear()
        self._keep({} if old_weights else self._over_windows(), {})
        self.set_trait("randomised", {})
        self.set_trait("stopped", False)
        if reading is not None and self.target is not None and self.target >= len(self.targets):
            self.target = None
        self._reading, self._refreshed = reading, session.refreshed

    @validate("target")
    def _check_target(self, proposal: Any) -> int | None:
        target: int | None = proposal["value"]
        if target is not None and not 0 <= target < len(self.targets):
            raise TraitError(f"target is {target}, but the model's output has {len(self.targets)} columns")
        return target

    @validate("baseline")
    def _check_baseline(self, proposal: Any) -> str:
        if proposal["value"] != BASELINES[0] and self.session.dataset is None:
            raise TraitError(f"{proposal['value']!r} needs a session with a dataset")
        return str(proposal["value"])

    @reacts(*EXPLAINS)
    def _no_longer_stopped(self, change: Any) -> None:
        self.set_trait("stopped", False)

    @reacts("target", "baseline", "groups")
    def _forget_the_checks(self, change: Any) -> None:
        if change["name"] == "target":
            self._keep({}, {})
            self.set_trait("randomised", {})
            return
        stale = _changed_by(change["name"])
        # Days are ranked from the training mean, whatever is set.
        self._keep(
            *(
                {unit: result.without(stale) if unit == "cell" else result for unit, result in results.items()}
                for results in (self._over_windows(), self.sample_faithfulness)
            )
        )
        self.set_trait("randomised", {name: row for name, row in self.randomised.items() if name not in stale})
