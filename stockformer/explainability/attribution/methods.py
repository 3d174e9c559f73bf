"""The methods of attribution, in one table."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.forward import with_gradients, without_gradients
from stockformer.seeding import seeded
from stockformer.steps import Steps
from stockformer.targets import Target

Parts = tuple[Tensor, ...]

#: For integrated gradients: the largest number of points, and how far their sum may be off, as a share of the target's
#: distance from the baseline.
MOST_POINTS, TOLERANCE = 8192, 0.01

_POINTS, _HALF = 64, 16  # of integrated gradients on the whole path, and on each half of a rough stretch
_ROUNDING = 100  # units in the last place of the target: a smaller distance is rounding
_DRAWS = 50  # of SmoothGrad's noise, and of GradientSHAP's points
_NOISE = 0.15  # of SmoothGrad, as a share of the input's range; Smilkov et al. use 0.1 to 0.2
_PERMUTATIONS = 25
_BATCH = 128

#: What torch says if no gradient reaches an input.
_UNREACHED = ("does not require grad", "not have been used in the graph")


class Explained(nn.Module):
    """A model that returns its target, for captum to differentiate.

    Attributes:
        value: the target of the sample.
        reference: the mean of the target over the baselines; None for methods without baselines.
    """

    def __init__(self, model: nn.Module, target: Target, inputs: Parts, value: float, reference: float | None) -> None:
        super().__init__()
        self.model, self.target, self.value, self.reference = model, target, value, reference
        self._types = [part.dtype for part in inputs]

    def forward(self, *inputs: Tensor) -> Tensor:
        # captum's noise and random points are in single precision.
        same = (part.to(dtype) for part, dtype in zip(inputs, self._types, strict=True))
        return self.target(self.model(*same))


#: Computes an attribution in steps, ``run(explained, inputs, baselines, masks)``: baselines are [N, T, features] each,
#: masks number the groups.
Run = Callable[[Explained, Parts, Parts, Parts], Steps[Parts]]


@dataclass(frozen=True)
class Method:
    """A method of attribution.

    Attributes:
        paper: where it is described.
        run: computes the parts.
        passes: how often it runs the model per baseline, counting forward and backward as one; per group if it works
            by group; for integrated gradients, before any refinement.
        complete: whether the parts sum to the target's distance from its value at the baseline.
        from_baseline: whether it moves the input from or to a baseline.
        by_group: whether it moves groups of cells.
        sensitivity: whether it is a slope of the target, whose absolute value counts.
    """

    name: str
    paper: str
    run: Run
    passes: int = 1
    complete: bool = False
    from_baseline: bool = False
    by_group: bool = False
    sensitivity: bool = False


@contextmanager
def _running_captum(seed: int = 0) -> Iterator[None]:
    """Run captum with gradients on and with the same random draws at every call."""
    try:
        with seeded(seed), _quiet(), with_gradients():
            yield
    except RuntimeError as error:
        if not any(words in str(error) for words in _UNREACHED):
            raise
        raise ValueError(
            "no gradient of the output reaches the inputs: a module of the model, such as a quantised one, has none; "
            f"{' and '.join(one.name for one in BY_NAME.values() if one.by_group)} need no gradients"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # captum warns whenever it has to turn on gradients of the inputs.
        warnings.filterwarnings("ignore", message="Input Tensor .* did not already require gradients")
        yield


def _integrated_gradients(explained: Explained, inputs: Parts, bases: Parts, masks: Parts) -> Steps[Parts]:
    """Mean over the baselines; the worst stretch of the path is halved until the sum matches the target's change.

    On each stretch the parts should sum to the target's change there, so new points go where the model is rough.
    """
    assert explained.reference is not None
    many = tuple(part.expand(len(bases[0]), *part.shape[1:]) for part in inputs)
    stretches = [_stretch(explained, many, bases, 0.0, 1.0, _POINTS)]
    spent = _POINTS
    while True:
        parts = tuple(torch.stack(part).sum(dim=0) for part in zip(*(each.parts for each in stretches), strict=True))
        # NaN if the model returns NaN: more points do not help.
        error = total(parts) - (explained.value - explained.reference)
        if not abs(error) > tolerance(parts, explained.value, explained.reference) or spent + 2 * _HALF > MOST_POINTS:
            return parts
        yield spent / MOST_POINTS
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
    """Integrated gradients between two points of the path, 0 to 1, and how far their sum is off the target's change."""

    start: float
    end: float
    parts: Parts
    error: float


def _stretch(explained: Explained, inputs: Parts, bases: Parts, start: float, end: float, points: int) -> _Stretch:
    from captum import attr

    ends = [
        tuple(torch.lerp(base, part, share) for base, part in zip(bases, inputs, strict=True)) for share in (start, end)
    ]
    with _running_captum():
        paths = attr.IntegratedGradients(explained).attribute(
            ends[1], ends[0], n_steps=points, internal_batch_size=_BATCH
        )
    parts = tuple(part.detach().mean(dim=0, keepdim=True) for part in paths)
    with without_gradients():
        before, after = (float(explained(*each).mean()) for each in ends)
    return _Stretch(start, end, parts, total(parts) - (after - before))


def total(parts: Parts) -> float:
    return float(sum(part.double().sum() for part in parts))


def tolerance(parts: Parts, value: float, reference: float) -> float:
    """How far the sum of integrated gradients may be off: a share of the distance, or the target's own rounding."""
    distance = abs(value - reference)
    rounding = _ROUNDING * torch.finfo(parts[0].dtype).eps * max(abs(value), abs(reference))
    return rounding if distance <= rounding else TOLERANCE * distance


def _input_x_gradient(explained: Explained, inputs: Parts, bases: Parts) -> Parts:
    gradients = _gradient(explained, inputs, bases)
    return tuple(
        (part - base.mean(dim=0)) * gradient for part, base, gradient in zip(inputs, bases, gradients, strict=True)
    )


def _gradient(explained: Explained, inputs: Parts, bases: Parts) -> Parts:
    from captum import attr

    return attr.Saliency(explained).attribute(inputs, abs=False)  # type: ignore[no-any-return]


def _smooth_grad(explained: Explained, inputs: Parts, bases: Parts) -> Parts:
    from captum import attr

    noise = tuple(_NOISE * float(part.max() - part.min()) for part in inputs)
    tunnel = attr.NoiseTunnel(attr.Saliency(explained))
    return tunnel.attribute(inputs, nt_samples=_DRAWS, stdevs=noise, abs=False)  # type: ignore[no-any-return]


def _gradient_shap(explained: Explained, inputs: Parts, bases: Parts) -> Parts:
    from captum import attr

    # Baseline by baseline, each equally often: captum would draw them, some more often, and the sum would be off.
    draws = -(-_DRAWS // len(bases[0]))
    by_baseline = [
        attr.GradientShap(explained).attribute(inputs, tuple(part[None] for part in base), n_samples=draws)
        for base in zip(*bases, strict=True)
    ]
    return tuple(torch.stack(part).mean(dim=0) for part in zip(*by_baseline, strict=True))


def _occlusion(explained: Explained, inputs: Parts, bases: Parts, masks: Parts) -> Steps[Parts]:
    from captum import attr

    return (yield from _by_group(attr.FeatureAblation(explained), inputs, bases, masks))


def _shapley_sampling(explained: Explained, inputs: Parts, bases: Parts, masks: Parts) -> Steps[Parts]:
    from captum import attr

    explainer = attr.ShapleyValueSampling(explained)
    return (yield from _by_group(explainer, inputs, bases, masks, _PERMUTATIONS, n_samples=1))


def _by_group(
    explainer: Any, inputs: Parts, bases: Parts, masks: Parts, rounds: int = 1, **options: Any
) -> Steps[Parts]:
    """The effect of each group, mean over baselines and rounds, spread over the group's cells."""
    options |= {"feature_mask": masks, "perturbations_per_eval": _BATCH}
    number = len(bases[0])
    sums = [torch.zeros_like(part) for part in inputs]
    for turn in range(number * rounds):
        base = tuple(part[turn // rounds][None] for part in bases)
        with _running_captum(seed=turn):
            effects = explainer.attribute(inputs, base, **options)
        # A cell that is at the baseline already does not contribute to its group's effect.
        moved = [part != other for part, other in zip(inputs, base, strict=True)]
        sizes = torch.bincount(torch.cat([mask[cells] for mask, cells in zip(masks, moved, strict=True)]))
        for total_effect, effect, mask, cells in zip(sums, effects, masks, moved, strict=True):
            total_effect[cells] += effect.detach()[cells] / sizes[mask[cells]]
        yield (turn + 1) / (number * rounds)
    return tuple(total_effect / (number * rounds) for total_effect in sums)


def _at_once(attribute: Callable[[Explained, Parts, Parts], Parts]) -> Run:
    """A method that runs in one step."""

    def run(explained: Explained, inputs: Parts, bases: Parts, masks: Parts) -> Steps[Parts]:
        yield from ()
        with _running_captum():
            return attribute(explained, inputs, bases)

    return run


#: By name. DeepLift is not among them: captum's has no rules for layer norms and softmaxes, and silently returns input
#: x gradient.
BY_NAME = {
    method.name: method
    for method in (
        Method(
            "integrated_gradients",
            "Sundararajan et al. 2017",
            _integrated_gradients,
            passes=_POINTS,
            complete=True,
            from_baseline=True,
        ),
        Method("input_x_gradient", "Shrikumar et al. 2016", _at_once(_input_x_gradient)),
        Method("gradient", "Simonyan et al. 2014", _at_once(_gradient), sensitivity=True),
        Method("smooth_grad", "Smilkov et al. 2017", _at_once(_smooth_grad), passes=_DRAWS, sensitivity=True),
        Method(
            "gradient_shap",
            "Lundberg and Lee 2017",
            _at_once(_gradient_shap),
            passes=_DRAWS,
            complete=True,
            from_baseline=True,
        ),
        Method("occlusion", "Zeiler and Fergus 2014", _occlusion, from_baseline=True, by_group=True),
        Method(
            "shapley_sampling",
            "Strumbelj and Kononenko 2010",
            _shapley_sampling,
            passes=_PERMUTATIONS,
            complete=True,
            from_baseline=True,
            by_group=True,
        ),
    )
}
#: Names of the methods.
METHODS = tuple(BY_NAME)
