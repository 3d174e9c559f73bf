"""Activation patching: how the target changes with another window's activation at one layer and day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.explainability.attention.activations import (
    Activations,
    check_donor,
    record_activations,
    stream_days,
    stream_paths,
)
from stockformer.explainability.attention.capture import Capture, capture_attention
from stockformer.explainability.attention.what_if import WhatIf, changed_copies
from stockformer.forward import in_eval_mode, without_gradients
from stockformer.steps import Steps, run_to_end
from stockformer.targets import Target, explained

_CELLS = 2**22  # of the maps of one attention in one pass


@dataclass(frozen=True, eq=False)
class Patching:
    """How the target of a sample changes with activations of a donor (Vig et al. 2020, Meng et al. 2022).

    Attributes:
        table: one row per ``stream, layer, day``, see `stream_paths`; days count from 0. ``effect``, the target with
            the donor's stream on that day after that layer, minus the target of the sample; ``share``,
            the effect as a part of `difference`, NaN where that is 0; ``random_mean, random_low, random_high``,
            mean, smallest and largest of the effects of random donors there, NaN without any.
        value: the target of the sample.
        donor_value: the target of the donor.
        random_largest: of each random donor the largest magnitude of its effects, of any stream, layer and day.
        target: what was measured.
    """

    table: pd.DataFrame
    value: float
    donor_value: float
    random_largest: np.ndarray
    target: Target

    @property
    def difference(self) -> float:
        """The effect of patching everything, so that the sample becomes the donor."""
        return self.donor_value - self.value

    @property
    def largest(self) -> pd.Series:
        """The row of `table` with the effect of the largest magnitude."""
        return self.table.iloc[int(self.table["effect"].abs().to_numpy().argmax())]

    @property
    def random_as_large(self) -> int:
        """How many random donors have an effect of at least the largest one's magnitude, anywhere."""
        return int((self.random_largest >= abs(self.largest["effect"])).sum())


def activation_patching(
    model: nn.Module,
    inputs: Sequence[Tensor],
    donor_inputs: Sequence[Tensor],
    *,
    target: Target | None = None,
    random_donors: Sequence[Sequence[Tensor]] = (),
) -> Patching:
    """Patch one day of one stream after one layer at a time, with a progress bar.

    The model runs the sample with that one activation taken from the donor: if the target moves by the whole
    difference between the two, that activation accounts for it. Copies of the sample go through the model together, one
    day each; sample, donor and copies in batches of one size, so that a sample that is its own donor has effects of
    exactly 0.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        inputs: of one sample, each [1, T, features].
        donor_inputs: of the donor, of the same shapes; their days are the sample's by position.
        target: by default that of `choose_target` for the sample.
        random_donors: inputs of other donors, see `draw_donors`, as a reference: how much any window would do.

    Raises:
        ValueError: a donor of other shapes, a model without streams, or one whose streams are not by sample and day.
    """
    steps = patching_steps(model, inputs, donor_inputs, target=target, random_donors=random_donors)
    return run_to_end(steps, "patching")


def patching_steps(
    model: nn.Module,
    inputs: Sequence[Tensor],
    donor_inputs: Sequence[Tensor],
    *,
    target: Target | None = None,
    random_donors: Sequence[Sequence[Tensor]] = (),
) -> Steps[Patching]:
    """`activation_patching` in steps."""
    donors = [donor_inputs, *random_donors]
    for one in donors:
        check_donor(inputs, one)
    model = in_eval_mode(model)
    target, value = explained(model, *inputs, target=target)
    _, donor_value = explained(model, *donor_inputs, target=target)
    copies = _Copies(model, inputs, target)
    effects: list[np.ndarray] = []
    done, total = 0, len(donors) * copies.passes
    for one in donors:
        parts = []
        for part in copies.effects(one):
            parts.append(part)
            done += 1
            yield done / total
        effects.append(np.concatenate(parts))
    random = np.stack(effects[1:]) if random_donors else np.full((1, len(effects[0])), np.nan)
    table = pd.DataFrame(copies.places, columns=["stream", "layer", "day"])
    table["effect"] = effects[0]
    table["share"] = effects[0] / (donor_value - value) if donor_value != value else np.nan
    for name, statistic in (("mean", np.mean), ("low", np.min), ("high", np.max)):
        table[f"random_{name}"] = statistic(random, axis=0)
    largest = np.abs(random).max(axis=1) if random_donors else np.empty(0)
    return Patching(table, value, donor_value, largest, target)


class _Copies:
    """A sample in copies that go through a model together, each patched at another place.

    Attributes:
        places: each stream, layer and day.
        passes: how many times `effects` yields.
    """

    def __init__(self, model: nn.Module, inputs: Sequence[Tensor], target: Target) -> None:
        self._model, self._target = model, target
        self._capture: Capture = capture_attention(model, *inputs)
        streams = stream_paths(self._capture)
        if not streams:
            raise ValueError(f"{type(model).__name__} has no stream to patch: no layer of its own holds its attention")
        for path, weights in self._capture.attention.items():
            if len(weights) != 1:
                raise ValueError(f"{path} runs on a batch of {len(weights)} for one sample, expected 1 to patch by day")
        self._paths = [path for paths in streams.values() for path in paths]
        self.places = [
            (stream, layer, day)
            for stream, paths in streams.items()
            for layer, path in enumerate(paths)
            for day in range(stream_days(self._capture, path))
        ]
        cells = max(weights.numel() for weights in self._capture.attention.values())
        days = max(stream_days(self._capture, path) for path in self._paths)
        self._number = max(1, min(days, _CELLS // cells))
        self.passes = -(-len(self.places) // self._number)
        self._inputs = self._repeated(inputs)
        self._values = self._read([WhatIf()], {})

    def effects(self, donor_inputs: Sequence[Tensor]) -> Iterator[np.ndarray]:
        """The effects of patching from a donor, of as many of `places` as go through the model together."""
        donor = record_activations(self._model, self._repeated(donor_inputs), self._paths)
        for start in range(0, len(self.places), self._number):
            places = self.places[start : start + self._number]
            # Which window the donor is does not matter here: its activations are at hand.
            patched = [WhatIf(patch_from=0, patch_days=[place]) for place in places]
            unchanged = [WhatIf()] * (self._number - len(places))
            yield (self._read([*patched, *unchanged], donor) - self._values)[: len(places)]

    def _read(self, what_ifs: Sequence[WhatIf], donor: Activations) -> np.ndarray:
        """The target of every copy."""
        with without_gradients(), changed_copies(self._model, what_ifs, self._capture, donor):
            values: np.ndarray = self._target(self._model(*self._inputs)).double().cpu().numpy()
        return values

    def _repeated(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        return [torch.cat([part] * self._number) for part in inputs]
