"""What-ifs: run a model with parts of it, or of its inputs, changed.

Hooks replace what a gate, an attention or a layer returns while a context is open; the
model's weights and modules are never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn

from stockformer.explainability.attention.activations import (
    Activations,
    calling,
    record_activations,
    stream_days,
    stream_paths,
)
from stockformer.explainability.attention.capture import Capture
from stockformer.explainability.attention.recording import called_weights
from stockformer.explainability.attention.weights import attention_call, attention_output, patched_output
from stockformer.forward import forward_hooks, original, refuse_compiled
from stockformer.table import listed


@dataclass(frozen=True)
class WhatIf:
    """Changes to a model and its inputs. Layers, heads and days count from 0.

    An attention is named by its layer, or by kind and layer where it is not of the first of `Capture.kinds`:
    1 or ``("self", 1)``.

    Attributes:
        gate: layer -> the value that its gate has on every day and in every dimension, 0..1.
        heads_off: heads whose weights are 0, so that they contribute nothing: ``(1, 3)`` or ``("self", 1, 3)``.
        flat: attentions that are uniform over the keys that they use.
        permuted: attentions whose weights are shuffled within every row (Jain and Wallace 2019), always in the
            same way.
        market_from: index of the dataset's window whose market sequence is read instead.
        features: names of the features that are set to their training mean.
        days: first and last day of that; with empty `features`, every feature is set on these days.
        patch_from: index of the dataset's window, the donor, whose activations replace the sample's (activation
            patching: Vig et al. 2020, Meng et al. 2022). The donor is run through the unchanged model.
        patch_days: ``(stream, layer, day)``: what a stream, see `stream_paths`, is on a day after a layer.
        patch_heads: heads whose output is the donor's, named as in `heads_off`.
        patch_gates: layers whose gate is the donor's.

    Raises:
        TypeError: a field has the wrong type.
        ValueError: a donor without anything to patch, or the other way round.
    """

    gate: Mapping[int, float] = field(default_factory=dict)
    heads_off: Sequence[tuple[int, int] | tuple[str, int, int]] = ()
    flat: Sequence[int | tuple[str, int]] = ()
    permuted: Sequence[int | tuple[str, int]] = ()
    market_from: int | None = None
    features: Sequence[str] = ()
    days: tuple[int, int] | None = None
    patch_from: int | None = None
    patch_days: Sequence[tuple[str, int, int]] = ()
    patch_heads: Sequence[tuple[int, int] | tuple[str, int, int]] = ()
    patch_gates: Sequence[int] = ()

    def __post_init__(self) -> None:
        _expect(
            "gate",
            self.gate,
            "a dictionary of layer: value",
            isinstance(self.gate, Mapping)
            and all(_is_int(layer) and isinstance(value, Real) for layer, value in self.gate.items()),
        )
        heads = "a list of (layer, head) or (kind, layer, head)"
        for name in ("heads_off", "patch_heads"):
            places = getattr(self, name)
            _expect(name, places, heads, _all(places, lambda one: _is_place(one, numbers=2)))
        for name in ("flat", "permuted"):
            places = getattr(self, name)
            good = _all(places, lambda one: _is_int(one) or _is_place(one, numbers=1))
            _expect(name, places, "a list of layers or (kind, layer)", good)
        names = self.features
        _expect("features", names, "a list of names", _all(names, lambda one: isinstance(one, str)))
        for name in ("market_from", "patch_from"):
            index = getattr(self, name)
            _expect(name, index, "the index of a sample", index is None or _is_int(index))
        _expect("days", self.days, "(first, last)", self.days is None or _is_place(self.days, numbers=2))
        places = self.patch_days
        good = _all(places, lambda one: _is_place(one, numbers=2) and isinstance(one[0], str))
        _expect("patch_days", places, "a list of (stream, layer, day)", good)
        _expect("patch_gates", self.patch_gates, "a list of layers", _all(self.patch_gates, _is_int))
        if bool(self.patches) != (self.patch_from is not None):
            raise ValueError(
                "patch_days, patch_heads and patch_gates need patch_from, the index of the donor, and it needs one of "
                f"them; found patch_from = {self.patch_from} and {len(self.patches) or 'nothing'} to patch"
            )
        # Copies: what the caller does with its own list must not change what happened.
        object.__setattr__(self, "gate", dict(self.gate))
        for name in ("heads_off", "flat", "permuted", "features", "patch_days", "patch_heads", "patch_gates"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))

    def __bool__(self) -> bool:
        """Whether anything is different."""
        return self.changes_model or self.changes_inputs

    @property
    def changes_model(self) -> bool:
        return bool(self.gate or self.heads_off or self.flat or self.permuted or self.patches)

    @property
    def patches(self) -> tuple[Any, ...]:
        """Every place that is patched."""
        return (*self.patch_days, *self.patch_heads, *self.patch_gates)

    @property
    def changes_inputs(self) -> bool:
        return self.market_from is not None or bool(self.features) or self.days is not None

    def __str__(self) -> str:
        parts = [f"gate of layer {layer} = {value:g}" for layer, value in self.gate.items()]
        parts += [f"{_words(*place)}head {head} off" for *place, head in self.heads_off]
        parts += [f"{_words(*_place(one))}flat" for one in self.flat]
        parts += [f"{_words(*_place(one))}permuted" for one in self.permuted]
        if self.market_from is not None:
            parts.append(f"market of sample {self.market_from}")
        if self.features or self.days is not None:
            names = ", ".join(self.features) or "every feature"
            span = "" if self.days is None else f" on days {self.days[0]} to {self.days[1]}"
            parts.append(f"{names} at the training mean{span}")
        if self.patches:
            parts.append(f"{', '.join(self._patched())} of sample {self.patch_from}")
        return "; ".join(parts) or "nothing changed"

    def _patched(self) -> Iterator[str]:
        """What is patched, in words."""
        days: dict[tuple[str, int], list[int]] = defaultdict(list)
        for stream, layer, day in sorted(self.patch_days):
            days[stream, layer].append(day)
        for (stream, layer), on in days.items():
            together = len(on) > 1 and on == [*range(on[0], on[-1] + 1)]
            span = f"{on[0]} to {on[-1]}" if together else listed(on)
            yield f"{stream} stream after layer {layer} on day{'s' if len(on) > 1 else ''} {span}"
        yield from (f"{_words(*place)}head {head}" for *place, head in self.patch_heads)
        yield from (f"gate of layer {layer}" for layer in self.patch_gates)


def change_inputs(
    what_if: WhatIf,
    inputs: Sequence[Tensor],
    feature_names: Sequence[Sequence[str]],
    market: Tensor | None = None,
    means: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """The inputs with `what_if` applied; `inputs` themselves stay as they are.

    Args:
        inputs: each [B, T, features].
        feature_names: one list per input.
        market: the other market sequence [B, T, M], for `what_if.market_from`.
        means: training means of every input, each [features]; by default 0, as of normalised inputs.

    Raises:
        ValueError: a feature that does not exist, a span outside of the days, or a market that does not fit.
    """
    if any(tensor.dim() != 3 for tensor in inputs):
        raise ValueError("only inputs [B, T, features] can be changed")
    changed = [tensor.clone() for tensor in inputs]
    if what_if.market_from is not None:
        if market is None or len(changed) < 2 or market.shape[2:] != changed[1].shape[2:]:
            raise ValueError("market_from needs a model that reads a market sequence")
        changed[1] = market.to(changed[1], copy=True)
    known = {name for names in feature_names for name in names}
    unknown = [name for name in what_if.features if name not in known]
    if unknown:
        raise ValueError(f"there is no feature {unknown[0]!r}")
    if what_if.features or what_if.days is not None:
        means = means or [tensor.new_zeros(tensor.size(2)) for tensor in changed]
        for tensor, names, mean in zip(changed, feature_names, means, strict=True):
            first, last = _span(what_if.days, tensor.size(1))
            columns = [number for number, name in enumerate(names) if not what_if.features or name in what_if.features]
            tensor[:, first : last + 1, columns] = mean.to(tensor)[columns]
    return tuple(changed)


@contextmanager
def changed_model(
    model: nn.Module, what_if: WhatIf, capture: Capture, donor: Activations = MappingProxyType({})
) -> Iterator[None]:
    """Forward passes of `model` inside compute what it would with `what_if` applied, in this thread.

    Gradients flow through what was changed, and contexts nest. `capture_attention` inside sees the
    changed gates and weights; a patched head has weights of 0. The hooks are removed when the context closes, also
    after an exception.

    Args:
        capture: a capture of the unchanged model, which tells its layers.
        donor: the activations to patch in, see `donor_activations`.

    Raises:
        ValueError: the model has no gates, or no such kind, stream, layer, head or day; a gate outside of 0..1, or
            one that is both set and patched; a part of the model is compiled; an attention's output cannot be
            recomputed, see `Capture.caveats`; or the donor's activations are missing.
    """
    with changed_copies(model, [what_if], capture, donor):
        yield


@contextmanager
def changed_copies(
    model: nn.Module, what_ifs: Sequence[WhatIf], capture: Capture, donor: Activations = MappingProxyType({})
) -> Iterator[None]:
    """As `changed_model`, but each sample of a batch has a change of its own.

    Args:
        what_ifs: one per sample, or a single one for all.
        donor: of one sample, or of one per sample.
    """
    by_path: dict[str, dict[int, _Edit | _Replacement]] = defaultdict(dict)  # path of a module -> sample -> its change
    for sample, what_if in enumerate(what_ifs):
        for path, change in _changes(model, what_if, capture).items():
            by_path[path][sample] = change
    missing = [path for path in _patched(by_path) if path not in donor]
    if missing:
        raise ValueError(f"the donor's activations lack {missing[0]}: expected what donor_activations gives")
    samples = range(len(what_ifs))
    changes = {
        original(model.get_submodule(path)): ([each.get(sample) for sample in samples], donor.get(path))
        for path, each in by_path.items()
    }
    if changes:
        refuse_compiled(model)

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        if original(module) not in changes:
            return None
        change: Callable[..., Any] = _attend if isinstance(module, nn.MultiheadAttention) else _replace
        return change(*changes[original(module)], module, args, kwargs, output)

    with ExitStack() as stack:
        if changes:
            stack.enter_context(forward_hooks(after=after))
        stack.enter_context(calling(model, by_path))
        yield


def donor_activations(model: nn.Module, what_if: WhatIf, capture: Capture, inputs: Sequence[Tensor]) -> Activations:
    """What `what_if` patches, of the sample with these inputs, by the model as it is; see `record_activations`."""
    changes = {path: {0: change} for path, change in _changes(model, what_if, capture).items()}
    return record_activations(model, inputs, _patched(changes))


@dataclass
class _Edit:
    """What happens to the weights of one attention in one sample, and which of its heads are the donor's."""

    heads_off: list[int] = field(default_factory=list)
    flat: bool = False
    permuted: bool = False
    patched: list[int] = field(default_factory=list)

    def __call__(self, weights: Tensor) -> Tensor:
        if self.flat:
            used = (weights > 0).to(weights.dtype)
            weights = used / used.sum(dim=-1, keepdim=True)
        if self.permuted:
            order = torch.rand(weights.shape[1:], generator=torch.Generator().manual_seed(0)).argsort(dim=-1)
            weights = weights.gather(-1, order.to(weights.device).expand_as(weights))
        if self.heads_off:
            kept = torch.ones(weights.size(1), 1, 1, dtype=weights.dtype, device=weights.device)
            kept[self.heads_off] = 0.0
            weights = weights * kept
        return weights

    @property
    def of_weights(self) -> bool:
        return bool(self.flat or self.permuted or self.heads_off)


@dataclass
class _Replacement:
    """What replaces a module's output in one sample: a value, or the donor's output on some days."""

    value: float | None = None
    days: list[int] = field(default_factory=list)
    every_day: bool = False

    @property
    def patched(self) -> bool:
        return self.every_day or bool(self.days)


def _patched(by_path: Mapping[str, Mapping[int, _Edit | _Replacement]]) -> list[str]:
    """The modules of which the donor's activations are needed."""
    return [path for path, each in by_path.items() if any(change.patched for change in each.values())]


def _changes(model: nn.Module, what_if: WhatIf, capture: Capture) -> dict[str, _Edit | _Replacement]:
    """Module path -> the change of its output."""
    return {
        **_gate_changes(model, what_if, capture),
        **_stream_changes(what_if, capture),
        **_attention_changes(model, what_if, capture),
    }


def _gate_changes(model: nn.Module, what_if: WhatIf, capture: Capture) -> dict[str, _Replacement]:
    gates = [path.partition("#")[0] for path in capture.gates]
    layers = {**dict.fromkeys(what_if.patch_gates), **what_if.gate}
    if layers and not gates:
        raise ValueError(f"{type(model).__name__} has no gates")
    changes: dict[str, _Replacement] = {}
    for layer, value in layers.items():
        _check("gate's layer", layer, len(gates))
        if value is None:
            changes[gates[layer]] = _Replacement(every_day=True)
        elif layer in what_if.patch_gates:
            raise ValueError(f"the gate of layer {layer} is both set and patched, expected one of them")
        elif not 0.0 <= value <= 1.0:
            raise ValueError(f"the gate of layer {layer} is {value}, expected 0 to 1")
        else:
            changes[gates[layer]] = _Replacement(float(value))
    return changes


def _stream_changes(what_if: WhatIf, capture: Capture) -> dict[str, _Replacement]:
    changes: dict[str, _Replacement] = defaultdict(_Replacement)
    streams = stream_paths(capture)
    for name, layer, day in what_if.patch_days:
        if name not in streams:
            raise ValueError(f"there is no stream {name!r}, only {', '.join(streams) or 'none'}")
        _check("layer", layer, len(streams[name]))
        path = streams[name][layer]
        _check("day", day, stream_days(capture, path))
        changes[path].days.append(day)
    return dict(changes)


def _attention_changes(model: nn.Module, what_if: WhatIf, capture: Capture) -> dict[str, _Edit]:
    edits: dict[str, _Edit] = defaultdict(_Edit)

    def find(*place: Any) -> str:
        kind, layer = place if len(place) == 2 else (next(iter(capture.paths)), *place)
        if kind not in capture.paths:
            raise ValueError(f"there is no {kind!r} attention, only {', '.join(capture.paths)}")
        _check("layer", layer, len(capture.paths[kind]))
        path: str = capture.paths[kind][layer].partition("#")[0]
        return path

    for name in ("heads_off", "patch_heads"):
        for *place, head in getattr(what_if, name):
            path = find(*place)
            _check("head", head, cast(nn.MultiheadAttention, model.get_submodule(path)).num_heads)
            edit = edits[path]
            (edit.heads_off if name == "heads_off" else edit.patched).append(head)
            if head in edit.heads_off and head in edit.patched:
                raise ValueError(f"{_words(*place)}head {head} is both off and patched, expected one of them")
    for one in what_if.flat:
        edits[find(*_place(one))].flat = True
    for one in what_if.permuted:
        edits[find(*_place(one))].permuted = True
    return dict(edits)


def _replace(
    changes: Sequence[_Replacement | None],
    donor: Tensor | None,
    module: nn.Module,
    args: Any,
    kwargs: dict[str, Any],
    output: Tensor,
) -> Tensor:
    """A module's output with other values in some samples, and those of the donor on some days."""
    batch_first = next((part.batch_first for part in module.modules() if isinstance(part, nn.MultiheadAttention)), True)
    batch, days = (0, 1) if batch_first else (1, 0)
    set_to = torch.full((len(changes),), torch.nan, dtype=output.dtype, device=output.device)
    for sample, change in enumerate(changes):
        if change is not None and change.value is not None:
            set_to[sample] = change.value
    set_to = set_to.view([-1 if dimension == batch else 1 for dimension in range(output.dim())])
    output = torch.where(set_to.isnan(), output, set_to)
    if donor is None:
        return output
    if donor.size(days) != output.size(days):
        raise ValueError(f"the donor has {donor.size(days)} days, expected {output.size(days)} as the sample has")
    patched = torch.zeros(len(changes), output.size(days), dtype=torch.bool, device=output.device)
    for sample, change in enumerate(changes):
        if change is not None:
            patched[sample, slice(None) if change.every_day else change.days] = True
    result = torch.where((patched if batch_first else patched.T)[..., None], donor.to(output), output)
    result.unpatched = getattr(output, "unpatched", output)  # type: ignore[attr-defined]  # for `record_fused`
    return result


def _attend(
    edits: Sequence[_Edit | None],
    donor: Tensor | None,
    module: nn.MultiheadAttention,
    args: Any,
    kwargs: dict[str, Any],
    output: Any,
) -> Any:
    """The output of an attention with its weights edited, and with heads of the donor."""
    call = attention_call(module, args, kwargs)
    weights = called_weights(module, call, output)
    if any(edit.of_weights for edit in edits if edit):
        parts = [weights] if len(edits) == 1 else [part[None] for part in weights]
        weights = torch.cat([edit(part) if edit else part for edit, part in zip(edits, parts, strict=True)])
        output = attention_output(module, call, weights, output)
    if donor is None:
        return output
    heads = torch.zeros(len(edits), module.num_heads, dtype=torch.bool)
    for sample, edit in enumerate(edits):
        heads[sample, edit.patched if edit else []] = True
    return patched_output(module, call, weights, output, heads, donor)


def _place(one: Any) -> tuple[Any, ...]:
    return one if isinstance(one, tuple) else (one,)


def _words(*place: Any) -> str:
    """An attention in words: its layer last, its kind before that where it is given."""
    *kind, layer = place
    return " ".join([*kind, f"layer {layer} "])


def _span(days: tuple[int, int] | None, length: int) -> tuple[int, int]:
    first, last = (0, length - 1) if days is None else days
    if not 0 <= first <= last < length:
        raise ValueError(f"days are {first} to {last}, expected a span inside 0 to {length - 1}")
    return first, last


def _check(what: str, value: int, size: int) -> None:
    if not 0 <= value < size:
        raise ValueError(f"{what} is {value}, expected 0 to {size - 1}")


def _expect(name: str, value: object, expected: str, good: bool) -> None:
    if not good:
        raise TypeError(f"{name} is {value!r}, expected {expected}")


def _is_int(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_place(value: object, numbers: int) -> bool:
    """Whether a tuple holds so many integers, after a kind of attention or without one."""
    if not isinstance(value, tuple):
        return False
    steps = value[1:] if value and isinstance(value[0], str) else value
    return len(steps) == numbers and all(_is_int(step) for step in steps)


def _all(values: object, good: Callable[[Any], bool]) -> bool:
    return isinstance(values, Sequence) and not isinstance(values, str) and all(good(value) for value in values)
