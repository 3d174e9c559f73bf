"""Which inputs an output depends on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stockformer.explainability.attribution import methods
from stockformer.explainability.attribution.methods import (
    BY_NAME,
    METHODS,
    TOLERANCE,
    Explained,
    Parts,
    tolerance,
    total,
)
from stockformer.forward import in_eval_mode, with_gradients, without_gradients
from stockformer.inputs import Inputs
from stockformer.steps import Steps, run_to_end
from stockformer.targets import Target, explained

#: What occlusion and Shapley sampling move to the baseline together.
GROUPS = ("feature", "day", "week x feature")
_WEEK = 5  # trading days


@dataclass(frozen=True)
class Attribution:
    """What each input contributes to a sample's target.

    Attributes:
        parts: signed, one [T, features] per input, on the CPU.
        method: one of `METHODS`.
        target: what was explained.
        value: the target of the sample.
        reference: the target at the baseline, the mean where there are several;
            None for methods without one.
    """

    parts: tuple[Tensor, ...]
    method: str
    target: Target
    value: float
    reference: float | None

    @property
    def completeness_error(self) -> float | None:
        """``sum of the parts - (value - reference)``; None for methods that are not complete.

        GradientSHAP and Shapley sampling are complete on average over their draws.
        """
        if not BY_NAME[self.method].complete or self.reference is None:
            return None
        return total(self.parts) - (self.value - self.reference)

    @property
    def adds_up(self) -> bool:
        """Whether `completeness_error` is at most 1 % of the target's distance from the baseline.

        Or at most 100 units in the last place of the target, if the distance itself is no larger. True for methods
        that are not complete.
        """
        error = self.completeness_error
        if error is None or self.reference is None:
            return True
        return abs(error) <= tolerance(self.parts, self.value, self.reference)

    @property
    def caveat(self) -> str:
        """How far the sum of integrated gradients is from the target's change, where it is too far; else empty."""
        error = self.completeness_error
        if self.method != "integrated_gradients" or self.reference is None or error is None:
            return ""
        if self.adds_up or not math.isfinite(error):  # sums that are not finite say nothing
            return ""
        change = self.value - self.reference
        return (
            f"integrated gradients do not add up within {TOLERANCE:.0%} with {methods.MOST_POINTS} points: they sum to "
            f"{change + error:.4g}, and the target changes by {change:.4g}; between the baseline and the input the "
            "model is too rough for them"
        )


def attribute(
    model: nn.Module,
    *inputs: Tensor,
    method: str = METHODS[0],
    target: Target | None = None,
    baselines: Sequence[Tensor] | None = None,
    groups: str = GROUPS[0],
    progress: bool = False,
) -> Attribution:
    """Attribute one sample's target to every feature of every day.

    ==================== ==========================================================================
    integrated_gradients Sundararajan et al. 2017, 64 Gauss-Legendre points between baseline and input; where they do
                         not add up, more until they do, at most 8192, see `Attribution.adds_up`
    input_x_gradient     Shrikumar et al. 2016
    gradient             Simonyan et al. 2014
    smooth_grad          Smilkov et al. 2017, 50 draws of noise of 15 % of the input's range
    gradient_shap        Lundberg and Lee 2017, 50 points between baselines and input
    occlusion            Zeiler and Fergus 2014: drop in target with a group at the baseline
    shapley_sampling     Strumbelj and Kononenko 2010, 25 orders of the groups
    ==================== ==========================================================================

    Random methods are seeded, so that equal calls give equal numbers. Integrated gradients that do not add up
    with the largest number of points raise a warning.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        inputs: of one sample, each [1, T, features].
        target: by default that of `choose_target`.
        baselines: inputs that carry no information, one [N, T, features] per input; the
            attribution is the mean over the N. By default the training mean, which tensors of `Window.inputs` know;
            for others 0, the training mean of normalised features. Input x gradient takes the input's distance from
            them.
        groups: for occlusion and Shapley sampling, one of `GROUPS`; weeks are five
            days, counted from the last day. A group's attribution is spread evenly over those of its cells that
            are not at the baseline.
        progress: show a progress bar.

    Raises:
        ValueError: an unknown method or group, inputs of another shape, or baselines that do not fit.
    """
    steps = attribution_steps(model, *inputs, method=method, target=target, baselines=baselines, groups=groups)
    return run_to_end(steps, method.replace("_", " "), progress=progress)


def attribution_steps(
    model: nn.Module,
    *inputs: Tensor,
    method: str = METHODS[0],
    target: Target | None = None,
    baselines: Sequence[Tensor] | None = None,
    groups: str = GROUPS[0],
) -> Steps[Attribution]:
    """`attribute` in steps, one for most methods; between them the model is as it was."""
    check_choice("method", method, METHODS)
    check_choice("groups", groups, GROUPS)
    model = in_eval_mode(model)
    with with_gradients():
        chosen = tuple(part.detach().clone() for part in inputs)
    bases = _baselines(inputs, baselines)
    target, value = explained(model, *chosen, target=target)
    reference = None
    if BY_NAME[method].from_baseline:
        with without_gradients():
            reference = float(target(model(*bases)).mean())
    masks = tuple(mask.to(chosen[0].device) for mask in group_masks([part.shape[1:] for part in chosen], groups))
    wrapped = Explained(model, target, chosen, value, reference)
    parts = yield from BY_NAME[method].run(wrapped, chosen, bases, masks)
    attribution = Attribution(tuple(part[0].detach().cpu() for part in parts), method, target, value, reference)
    if attribution.caveat:
        warnings.warn(attribution.caveat, stacklevel=2)
    return attribution


def can_attribute(inputs: Sequence[Tensor], output: object) -> bool:
    """Whether `attribute` applies: inputs [B, T, features], output [B] or [B, outputs]."""
    return (
        isinstance(output, Tensor)
        and output.dim() in (1, 2)
        and all(part.dim() == 3 and len(part) == len(output) for part in inputs)
    )


def attribution_runs(method: str, shapes: Sequence[Sequence[int]], groups: str) -> int:
    """How often `attribute` runs the model per baseline, counting forward and backward as one.

    For integrated gradients, the number before any refinement.
    """
    known = BY_NAME[method]
    return known.passes * (int(group_masks(shapes, groups)[-1].max()) + 1 if known.by_group else 1)


def group_masks(shapes: Sequence[Sequence[int]], groups: str) -> Parts:
    """The number of every cell's group, one [1, T, features] per input.

    Numbers run from 0 without gaps, and no two inputs share one.

    Args:
        shapes: (T, features) of every input.
        groups: one of `GROUPS`.
    """
    masks, start = [], 0
    for days, features in shapes:
        day, feature = torch.meshgrid(torch.arange(days), torch.arange(features), indexing="ij")
        week = day.flip(0) // _WEEK
        mask = {"feature": feature, "day": day, "week x feature": week * features + feature}[groups]
        masks.append(mask[None] + start)
        start += int(mask.max()) + 1
    return tuple(masks)


def _baselines(inputs: Parts, baselines: Sequence[Tensor] | None) -> Parts:
    if any(part.dim() != 3 or len(part) != 1 for part in inputs):
        shapes = " and ".join(str(list(part.shape)) for part in inputs)
        raise ValueError(f"expected one sample, inputs [1, T, features], found {shapes}")
    if baselines is None:
        return Inputs(inputs).baseline
    if len(baselines) != len(inputs):
        raise ValueError(f"there are {len(baselines)} baselines for {len(inputs)} inputs")
    bases = tuple(base.to(part) for base, part in zip(baselines, inputs, strict=True))
    fitting = [base.shape[1:] == part.shape[1:] for base, part in zip(bases, inputs, strict=True)]
    if not all(fitting) or len({len(base) for base in bases}) != 1:
        shapes, expected = (" and ".join(str(list(part.shape)) for part in parts) for parts in (bases, inputs))
        raise ValueError(f"the baselines are {shapes}, expected [N, ...] and otherwise the inputs' {expected}")
    return bases


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
