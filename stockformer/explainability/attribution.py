"""Which inputs an output depends on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import (
    FeatureAblation,
    GradientShap,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
    ShapleyValueSampling,
)
from torch import Tensor, nn

from stockformer.explainability.steps import Steps, run_to_end
from stockformer.explainability.targets import Target, explained
from stockformer.forward import in_eval_mode, with_gradients, without_gradients
from stockformer.seeding import seeded

#: How `attribute` can attribute. DeepLift is none of them: through layer norms and softmaxes
#: captum's has no rules, and silently gives input x gradient.
METHODS = (
    "integrated_gradients",
    "input_x_gradient",
    "gradient",
    "smooth_grad",
    "gradient_shap",
    "occlusion",
    "shapley_sampling",
)
#: What occlusion and Shapley sampling move to the baseline together.
GROUPS = ("feature", "day", "week x feature")
#: Methods whose attributions sum to the target's distance from its value at the baseline.
COMPLETE = ("integrated_gradients", "gradient_shap", "shapley_sampling")
#: Methods that move from or to a baseline.
AGAINST_BASELINE = (*COMPLETE, "occlusion")
#: Methods that move groups of cells.
BY_GROUP = ("occlusion", "shapley_sampling")

_POINTS, _HALF = 64, 16  # of integrated gradients on the whole path, and on half a stretch that is rough
_MOST_POINTS = 8192
_TOLERANCE = 0.01  # of the sum of integrated gradients, as a share of the target's distance from the baseline
_ROUNDING = 100  # units in the last place of the target: a smaller distance is rounding
_DRAWS = 50  # of SmoothGrad's noise, and of GradientSHAP's points
_NOISE = 0.15  # of SmoothGrad, as a share of the input's range; Smilkov et al. use 0.1 to 0.2
_PERMUTATIONS = 25
_BATCH = 128
_WEEK = 5  # trading days


Parts = tuple[Tensor, ...]


@dataclass(frozen=True)
class Attribution:
    """What each input contributes to a sample's target.

    Attributes:
        parts: signed, one [T, features] an input, on the CPU.
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
        """``sum of the parts - (value - reference)``; None for methods that do not promise 0.

        GradientSHAP and Shapley sampling promise it on average over their draws.
        """
        if self.method not in COMPLETE or self.reference is None:
            return None
        return _sum(self.parts) - (self.value - self.reference)

    @property
    def adds_up(self) -> bool:
        """Whether `completeness_error` is at most 1 % of the target's distance from the baseline.

        Or at most 100 units in the last place of the target, where the distance itself is no larger. True for methods
        that do not promise to add up.
        """
        error = self.completeness_error
        if error is None or self.reference is None:
            return True
        return abs(error) <= _tolerance(self.parts, self.value, self.reference)

    @property
    def caveat(self) -> str:
        """How far integrated gradients are from adding up, where they do not; else empty."""
        error = self.completeness_error
        if self.method != "integrated_gradients" or self.reference is None or error is None:
            return ""
        if self.adds_up or not math.isfinite(error):  # of values that are not finite nothing can be said to add up
            return ""
        change = self.value - self.reference
        return (
            f"integrated gradients do not add up to {_TOLERANCE:.0%} with {_MOST_POINTS} points: they sum to "
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
    integrated_gradients Sundararajan et al. 2017, 64 Gauss-Legendre points on the way from the baseline, and more
                         where they do not add up, at most 8192, until all do, see `Attribution.adds_up`
    input_x_gradient     Shrikumar et al. 2016
    gradient             Simonyan et al. 2014
    smooth_grad          Smilkov et al. 2017, 50 draws of noise of 15 % of the input's range
    gradient_shap        Lundberg and Lee 2017, 50 points on the way from the baselines
    occlusion            Zeiler and Fergus 2014: the target's fall when a group is at the baseline
    shapley_sampling     Strumbelj and Kononenko 2010, 25 orders of the groups
    ==================== ==========================================================================

    Random methods are seeded, so that a call gives the same numbers twice. Integrated gradients that do not add up
    with the most points give a warning.

    Args:
        model: called as ``model(*inputs)``, in eval mode; returns [B] or [B, outputs].
        inputs: of one sample, each [1, T, features].
        target: by default that of `choose_target`.
        baselines: where nothing is known, one [N, T, features] an input; the
            attribution is the mean over the N. By default 0, the training mean
            of normalised features. Input x gradient takes the input's distance from them.
        groups: for occlusion and Shapley sampling, one of `GROUPS`; weeks are five
            days and count from the last. A group's share is spread evenly over those of its cells that
            are not at the baseline.
        progress: show a bar.

    Raises:
        ValueError: an unknown method or group, inputs of another shape, or baselines that do not fit.
    """
    steps = attribution_steps(model, *inputs, method=method, target=target, baselines=baselines, groups=groups)
    return run_to_end(steps, method.replace("_", " "), shown=progress)


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
    bases = _baselines(chosen, baselines)
    target, value = explained(model, *chosen, target=target)
    reference = None
    if method in AGAINST_BASELINE:
        with without_gradients():
            reference = float(target(model(*bases)).mean())
    asked = _Explained(model, target, chosen)
    if method in BY_GROUP:
        parts = yield from _by_group(method, asked, chosen, bases, groups)
    elif method == "integrated_gradients":
        assert reference is not None
        parts = yield from _integrated_gradients(asked, chosen, bases, value, reference)
    else:
        with _asking():
            parts = _GRADIENT_METHODS[method](asked, chosen, bases)
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


#: What torch says where no gradient reaches an input.
_UNREACHED = ("does not require grad", "not have been used in the graph")


class _Explained(nn.Module):
    """A model that returns its target: what captum differentiates."""

    def __init__(self, model: nn.Module, target: Target, inputs: Parts) -> None:
        super().__init__()
        self.model, self.target = model, target
        self._types = [part.dtype for part in inputs]

    def forward(self, *inputs: Tensor) -> Tensor:
        # captum's noise and random points are in single precision.
        same = (part.to(dtype) for part, dtype in zip(inputs, self._types, strict=True))
        return self.target(self.model(*same))


@contextmanager
def _asking(seed: int = 0) -> Iterator[None]:
    """captum may run the model: gradients, the same random draws at every call."""
    try:
        with seeded(seed), _quiet(), with_gradients():
            yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _UNREACHED):
            raise
        raise ValueError(
            "no gradient of the output reaches the inputs: a part of the model, such as a quantised one, has none; "
            f"{' and '.join(BY_GROUP)} need none"
        ) from error


def _integrated_gradients(
    explained: _Explained, inputs: Parts, bases: Parts, value: float, reference: float
) -> Steps[Parts]:
    """Mean over the baselines; until it sums to value - reference, the worst stretch of the path is halved.

    On each stretch the parts should sum to the target's change there, so the points go where the model is rough.
    """
    many = tuple(part.expand(len(bases[0]), *part.shape[1:]) for part in inputs)
    stretches = [_stretch(explained, many, bases, 0.0, 1.0, _POINTS)]
    spent = _POINTS
    while True:
        total = tuple(torch.stack(part).sum(dim=0) for part in zip(*(each.parts for each in stretches), strict=True))
        error = _sum(total) - (value - reference)  # no number where the model gives none: more points do not help
        if not abs(error) > _tolerance(total, value, reference) or spent + 2 * _HALF > _MOST_POINTS:
            return total
        yield spent / _MOST_POINTS
        worst = max(stretches, key=lambda each: abs(each.error))
        middle = (worst.start + worst.end) / 2
        stretches.remove(worst)
        stretches += [
            _stretch(explained, many, bases, start, end, _HALF)
            for start, end in ((worst.start, middle), (middle, worst.end))
        ]
        spent += 2 * _HALF


@dataclass(frozen=True, eq=False)
class _Stretch:
    """Integrated gradients between two shares of the way, and how far they are from the target's change there."""

    start: float
    end: float
    parts: Parts
    error: float


def _stretch(explained: _Explained, inputs: Parts, bases: Parts, start: float, end: float, points: int) -> _Stretch:
    ends = [
        tuple(torch.lerp(base, part, share) for base, part in zip(bases, inputs, strict=True)) for share in (start, end)
    ]
    with _asking():
        paths = IntegratedGradients(explained).attribute(ends[1], ends[0], n_steps=points, internal_batch_size=_BATCH)
    parts = tuple(part.detach().mean(dim=0, keepdim=True) for part in paths)
    with without_gradients():
        before, after = (float(explained(*each).mean()) for each in ends)
    return _Stretch(start, end, parts, _sum(parts) - (after - before))


def _sum(parts: Parts) -> float:
    return float(sum(part.double().sum() for part in parts))


def _tolerance(parts: Parts, value: float, reference: float) -> float:
    """How far integrated gradients may be from adding up: a share of the distance, or the target's own rounding."""
    distance = abs(value - reference)
    rounding = _ROUNDING * torch.finfo(parts[0].dtype).eps * max(abs(value), abs(reference))
    return rounding if distance <= rounding else _TOLERANCE * distance


def _input_x_gradient(explained: nn.Module, inputs: Parts, bases: Parts) -> Parts:
    gradients = _gradient(explained, inputs, bases)
    return tuple(
        (part - base.mean(dim=0)) * gradient for part, base, gradient in zip(inputs, bases, gradients, strict=True)
    )


def _gradient(explained: nn.Module, inputs: Parts, bases: Parts) -> Parts:
    return Saliency(explained).attribute(inputs, abs=False)  # type: ignore[no-any-return]


def _smooth_grad(explained: nn.Module, inputs: Parts, bases: Parts) -> Parts:
    noise = tuple(_NOISE * float(part.max() - part.min()) for part in inputs)
    tunnel = NoiseTunnel(Saliency(explained))
    return tunnel.attribute(inputs, nt_samples=_DRAWS, stdevs=noise, abs=False)  # type: ignore[no-any-return]


def _gradient_shap(explained: nn.Module, inputs: Parts, bases: Parts) -> Parts:
    # As often from every baseline: captum draws them, and those drawn more often would not add up.
    draws = -(-_DRAWS // len(bases[0]))
    found = [
        GradientShap(explained).attribute(inputs, tuple(part[None] for part in base), n_samples=draws)
        for base in zip(*bases, strict=True)
    ]
    return tuple(torch.stack(part).mean(dim=0) for part in zip(*found, strict=True))


_GRADIENT_METHODS: dict[str, Callable[[nn.Module, Parts, Parts], Parts]] = {
    "input_x_gradient": _input_x_gradient,
    "gradient": _gradient,
    "smooth_grad": _smooth_grad,
    "gradient_shap": _gradient_shap,
}


def _by_group(method: str, explained: _Explained, inputs: Parts, bases: Parts, groups: str) -> Steps[Sequence[Tensor]]:
    masks = tuple(mask.to(inputs[0].device) for mask in group_masks([part.shape[1:] for part in inputs], groups))
    options: dict[str, Any] = {"feature_mask": masks, "perturbations_per_eval": _BATCH}
    if method == "occlusion":
        explainer: Any = FeatureAblation(explained)
        rounds = 1
    else:
        explainer = ShapleyValueSampling(explained)
        rounds, options["n_samples"] = _PERMUTATIONS, 1
    number = len(bases[0])
    sums = [torch.zeros_like(part) for part in inputs]
    for turn in range(number * rounds):
        base = tuple(part[turn // rounds][None] for part in bases)
        with _asking(seed=turn):
            found = explainer.attribute(inputs, base, **options)
        # A cell that is at the baseline already has no part in what its group does.
        moved = [part != other for part, other in zip(inputs, base, strict=True)]
        sizes = torch.bincount(torch.cat([mask[cells] for mask, cells in zip(masks, moved, strict=True)]))
        for total, part, mask, cells in zip(sums, found, masks, moved, strict=True):
            total[cells] += part.detach()[cells] / sizes[mask[cells]]
        yield (turn + 1) / (number * rounds)
    return [total / (number * rounds) for total in sums]


def attribution_runs(method: str, shapes: Sequence[Sequence[int]], groups: str) -> int:
    """How often `attribute` runs the model from one baseline, forward and back counted as one.

    Of integrated gradients as often as they do at first.
    """
    once = {"integrated_gradients": _POINTS, "smooth_grad": _DRAWS, "gradient_shap": _DRAWS}
    if method not in BY_GROUP:
        return once.get(method, 1)
    number = int(group_masks(shapes, groups)[-1].max()) + 1
    return number * (1 if method == "occlusion" else _PERMUTATIONS)


def group_masks(shapes: Sequence[Sequence[int]], groups: str) -> Parts:
    """For every cell the number of its group, one [1, T, features] an input.

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


def _baselines(inputs: Parts, given: Sequence[Tensor] | None) -> Parts:
    if any(part.dim() != 3 or len(part) != 1 for part in inputs):
        shapes = " and ".join(str(list(part.shape)) for part in inputs)
        raise ValueError(f"expected one sample, inputs [1, T, features], found {shapes}")
    if given is None:
        return tuple(torch.zeros_like(part) for part in inputs)
    if len(given) != len(inputs):
        raise ValueError(f"there are {len(given)} baselines for {len(inputs)} inputs")
    bases = tuple(base.to(part) for base, part in zip(given, inputs, strict=True))
    fitting = [base.shape[1:] == part.shape[1:] for base, part in zip(bases, inputs, strict=True)]
    if not all(fitting) or len({len(base) for base in bases}) != 1:
        found, wanted = (" and ".join(str(list(part.shape)) for part in parts) for parts in (bases, inputs))
        raise ValueError(f"the baselines are {found}, expected [N, ...] and otherwise the inputs' {wanted}")
    return bases


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # captum says so whenever it has to ask for gradients of the inputs.
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
        yield


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(known)}")
