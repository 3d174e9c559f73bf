"""Run a model with parts of it changed: what does the prediction do then?

Hooks replace what a gate or an attention returns while a context is open; the
model's weights and modules are never touched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.explainability.attention.capture import Capture
from stockformer.explainability.attention.recording import called_weights
from stockformer.explainability.attention.weights import attention_call, attention_output
from stockformer.forward import forward_hooks, original, refuse_compiled, unfused


@dataclass(frozen=True)
class WhatIf:
    """What is different. Layers, heads and days count from 0.

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
        days: first and last day on which they are, or on which every feature is where `features` is empty.

    Raises:
        TypeError: a field is of another form.
    """

    gate: Mapping[int, float] = field(default_factory=dict)
    heads_off: Sequence[tuple[int, int] | tuple[str, int, int]] = ()
    flat: Sequence[int | tuple[str, int]] = ()
    permuted: Sequence[int | tuple[str, int]] = ()
    market_from: int | None = None
    features: Sequence[str] = ()
    days: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _expect(
            "gate",
            self.gate,
            "a dictionary of layer: value",
            isinstance(self.gate, Mapping)
            and all(_is_int(layer) and isinstance(value, Real) for layer, value in self.gate.items()),
        )
        heads = "a list of (layer, head) or (kind, layer, head)"
        _expect("heads_off", self.heads_off, heads, _all(self.heads_off, lambda one: _is_place(one, numbers=2)))
        for name in ("flat", "permuted"):
            places = getattr(self, name)
            good = _all(places, lambda one: _is_int(one) or _is_place(one, numbers=1))
            _expect(name, places, "a list of layers or (kind, layer)", good)
        names = self.features
        _expect("features", names, "a list of names", _all(names, lambda one: isinstance(one, str)))
        market = self.market_from
        _expect("market_from", market, "the index of a sample", market is None or _is_int(market))
        _expect("days", self.days, "(first, last)", self.days is None or _is_place(self.days, numbers=2))
        # Copies: what the caller does with its own list must not change what happened.
        object.__setattr__(self, "gate", dict(self.gate))
        for name in ("heads_off", "flat", "permuted", "features"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))

    def __bool__(self) -> bool:
        """Whether anything is different."""
        return self.changes_model or self.changes_inputs

    @property
    def changes_model(self) -> bool:
        return bool(self.gate or self.heads_off or self.flat or self.permuted)

    @property
    def changes_inputs(self) -> bool:
        return self.market_from is not None or bool(self.features) or self.days is not None

    def __str__(self) -> str:
        said = [f"gate of layer {layer} = {value:g}" for layer, value in self.gate.items()]
        said += [f"{_words(*place)}head {head} off" for *place, head in self.heads_off]
        said += [f"{_words(*_place(one))}flat" for one in self.flat]
        said += [f"{_words(*_place(one))}permuted" for one in self.permuted]
        if self.market_from is not None:
            said.append(f"market of sample {self.market_from}")
        if self.features or self.days is not None:
            names = ", ".join(self.features) or "every feature"
            span = "" if self.days is None else f" on days {self.days[0]} to {self.days[1]}"
            said.append(f"{names} at the training mean{span}")
        return "; ".join(said) or "nothing changed"


def change_inputs(
    what_if: WhatIf,
    inputs: Sequence[Tensor],
    feature_names: Sequence[Sequence[str]],
    market: Tensor | None = None,
    means: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """The inputs with `what_if` applied; the given ones stay as they are.

    Args:
        inputs: each [B, T, features].
        feature_names: one list an input.
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
        changed[1] = market.to(changed[1])
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
def changed_model(model: nn.Module, what_if: WhatIf, shown: Capture) -> Iterator[None]:
    """Forward passes of `model` inside compute what it would with `what_if` applied, in this thread.

    Gradients flow through what was changed, and contexts nest. `capture_attention` inside sees the
    changed gates and weights. The hooks go when the context closes, also after
    an exception.

    Args:
        shown: a capture of the unchanged model, which tells its layers.

    Raises:
        ValueError: the model has no gates, or no such kind, layer or head; a gate outside of 0..1; a part of the
            model is compiled; or an attention's output cannot be recomputed, see `Capture.caveats`.
    """
    with _changed(model, _changed_gates(model, what_if, shown), _changed_attentions(model, what_if, shown)):
        yield


@contextmanager
def changed_copies(model: nn.Module, what_ifs: Sequence[WhatIf], shown: Capture) -> Iterator[None]:
    """As `changed_model`, but each sample of a batch has a change of its own.

    Args:
        what_ifs: one per sample; they change attention alone.
    """
    by_sample: dict[nn.Module, _BySample] = defaultdict(_BySample)
    for sample, what_if in enumerate(what_ifs):
        for module, edit in _changed_attentions(model, what_if, shown).items():
            by_sample[module].edits[sample] = edit
    with _changed(model, {}, by_sample):
        yield


@contextmanager
def _changed(
    model: nn.Module, gates: Mapping[nn.Module, float], attentions: Mapping[nn.Module, _Edit | _BySample]
) -> Iterator[None]:
    """While open, gates have a value and weights of attentions are edited, in this thread."""
    if gates or attentions:
        refuse_compiled(model)

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        known = original(module)
        if known in gates:
            return torch.full_like(output, gates[known])
        if known in attentions:
            assert isinstance(module, nn.MultiheadAttention)
            return _attend(module, attentions[known], args, kwargs, output)
        return None

    with ExitStack() as stack:
        if gates or attentions:
            stack.enter_context(forward_hooks(after=after))
        if attentions:
            stack.enter_context(unfused())
        yield


@dataclass
class _Edit:
    """What happens to the weights of one attention."""

    heads_off: list[int] = field(default_factory=list)
    flat: bool = False
    permuted: bool = False

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


@dataclass
class _BySample:
    """What happens to the weights of one attention in some samples of a batch."""

    edits: dict[int, _Edit] = field(default_factory=dict)

    def __call__(self, weights: Tensor) -> Tensor:
        return torch.cat([self.edits.get(sample, _Edit())(one[None]) for sample, one in enumerate(weights)])


def _changed_gates(model: nn.Module, what_if: WhatIf, shown: Capture) -> dict[nn.Module, float]:
    gates = _modules(model, shown.gates)
    if what_if.gate and not gates:
        raise ValueError(f"{type(model).__name__} has no gates")
    for layer, value in what_if.gate.items():
        _check("gate's layer", layer, len(gates))
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"the gate of layer {layer} is {value}, expected 0 to 1")
    return {gates[layer]: float(value) for layer, value in what_if.gate.items()}


def _changed_attentions(model: nn.Module, what_if: WhatIf, shown: Capture) -> dict[nn.Module, _Edit]:
    edits: dict[nn.Module, _Edit] = defaultdict(_Edit)

    def find(*place: Any) -> Any:
        kind, layer = place if len(place) == 2 else (next(iter(shown.paths)), *place)
        if kind not in shown.paths:
            raise ValueError(f"there is no {kind!r} attention, only {', '.join(shown.paths)}")
        _check("layer", layer, len(shown.paths[kind]))
        return _modules(model, shown.paths[kind])[layer]

    for *place, head in what_if.heads_off:
        module = find(*place)
        _check("head", head, module.num_heads)
        edits[module].heads_off.append(head)
    for one in what_if.flat:
        edits[find(*_place(one))].flat = True
    for one in what_if.permuted:
        edits[find(*_place(one))].permuted = True
    return dict(edits)


def _attend(
    module: nn.MultiheadAttention, edit: _Edit | _BySample, args: Any, kwargs: dict[str, Any], output: Any
) -> Any:
    call = attention_call(module, args, kwargs)
    return attention_output(module, call, edit(called_weights(module, call, output)), output)


def _place(one: Any) -> tuple[Any, ...]:
    return one if isinstance(one, tuple) else (one,)


def _words(*place: Any) -> str:
    """An attention in words: its layer last, its kind before that where it is given."""
    *kind, layer = place
    return " ".join([*kind, f"layer {layer} "])


def _modules(model: nn.Module, paths: Iterable[str]) -> list[nn.Module]:
    return [original(model.get_submodule(path.partition("#")[0])) for path in paths]


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
