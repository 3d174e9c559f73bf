"""Record what a model attends to while it runs, without changing what it computes.

Hooks recompute the attention weights of every `nn.MultiheadAttention` from its
inputs and parameters. The module's own call does not change, so the model's
output stays bit for bit that of a plain forward pass, in every mode. The output
of each attention is compared with the output that the weights give; where they
differ, a caveat says so.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from stockformer.explainability.attention.recording import AttentionRecord, record_call, record_fused
from stockformer.explainability.attention.weights import has_own_method, wide
from stockformer.forward import forward_hooks, in_eval_mode, original, refuse_compiled, without_gradients

#: Short names for the attention of the stock transformers.
KINDS: dict[str, str] = {
    "cross_attn_layers.*.cross_attn": "cross",
    "stock_layers.*.self_attn": "self",
    "encoder.layers.*.self_attn": "self",
    "market_encoder.encoder.layers.*.self_attn": "market",
}

_NONE = "it contains no nn.MultiheadAttention"
_KIND_NAMES = {
    "cross": "stock to market attention",
    "self": "stock self-attention",
    "market": "market self-attention",
}


def kind_name(kind: str) -> str:
    """A kind of attention in a sentence; for kinds of other models, the kind itself."""
    return _KIND_NAMES.get(kind, kind)


def kind_title(kind: str) -> str:
    """A kind of attention in a title; for kinds of other models, the kind itself."""
    return _KIND_NAMES[kind].capitalize() if kind in _KIND_NAMES else kind


@dataclass(frozen=True)
class Capture:
    """A recorded forward pass. Tensors are detached and on the CPU.

    Attributes:
        attention: module path -> weights [batch, heads, query, key], rows sum to 1; half precision as float32.
        gates: module path -> gate values [batch, query, d_model] in 0..1.
        pooling: pooling weights [batch, time], or None where the model has none.
        output: what the model returned.
        masks: module path -> bool [batch, heads or 1, query, key], True where a query may not attend to the key;
            only for attentions in which something is masked. The weights of a query with every key masked are NaN.
        discrepancy: module path -> how far the attention's output is from the one that its weights give, as the norm
            of the difference over that of the output; about 1e-7 in single precision. NaN if it is not known.
        caveats: module path -> a sentence, if the output may have been computed from other weights, or if the weights
            could not be recorded.
    """

    attention: Mapping[str, Tensor]
    gates: Mapping[str, Tensor]
    pooling: Tensor | None
    output: Any
    masks: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    discrepancy: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    caveats: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __repr__(self) -> str:
        maps = (f"{len(layers)} {kind} {list(layers[0].shape)}" for kind, layers in self.kinds.items())
        return f"Capture({', '.join(maps)})"

    @cached_property
    def kinds(self) -> dict[str, list[Tensor]]:
        """Kind of attention -> its maps by layer, each [batch, heads, query, key].

        A stock transformer has ``cross``, ``self`` and ``market``, in this order.
        The kinds of other models are their module paths with ``*`` for the layer
        number, such as ``decoder.layers.*.multihead_attn``, in the order in which they ran.
        """
        return {kind: [self.attention[path] for path in paths] for kind, paths in self.paths.items()}

    @cached_property
    def paths(self) -> dict[str, list[str]]:
        """Kind of attention -> the module paths of its layers; a second call in one pass is ``path#1``."""
        # Pooling tells a stock transformer from, say, an nn.Transformer's encoder.
        names = {} if self.pooling is None else KINDS
        by_kind: dict[str, list[str]] = {}
        for path in self.attention:
            pattern = _layer_pattern(path)
            by_kind.setdefault(names.get(pattern, pattern), []).append(path)
        order = dict.fromkeys([*names.values(), *by_kind])
        return {kind: by_kind[kind] for kind in order if kind in by_kind}

    def caveats_of(self, kind: str | None = None, layer: int | None = None) -> list[str]:
        """Caveats of a layer, of a kind, or of all attention, each with its module path.

        Those of attention that could not be recorded are always included: its kind is not known.
        """
        paths = set(self.attention)
        if kind is not None:
            paths = set(self.paths[kind] if layer is None else [self.paths[kind][layer]])
        return [
            f"{path or 'attention'}: {caveat}"
            for path, caveat in self.caveats.items()
            if path in paths or path not in self.attention
        ]

    def to_dict(self) -> dict[str, Any]:
        """The dictionary that the plots take.

        Keys:
            ``cross_attn_weights``, ``self_attn_weights`` (of the stock stream),
            ``market_attn_weights``: one [batch, heads, query, key] per layer.
            ``gate_values``: one [batch, query, d_model] per layer.
            ``pool_weights``: [batch, time], or None.
            ``kinds``: kind of attention -> one [batch, heads, query, key] per layer.
            ``attention``: module path -> [batch, heads, query, key], every map.
            ``masks``: kind of attention -> one entry of `masks` per layer, None where nothing is masked.

        Lists are empty for what the model lacks.
        """
        kinds = self.kinds
        return {
            "cross_attn_weights": kinds.get("cross", []),
            "self_attn_weights": kinds.get("self", []),
            "market_attn_weights": kinds.get("market", []),
            "gate_values": list(self.gates.values()),
            "pool_weights": self.pooling,
            "kinds": kinds,
            "attention": dict(self.attention),
            "masks": {kind: [self.masks.get(path) for path in paths] for kind, paths in self.paths.items()},
        }

    def map(self, kind: str, layer: int, head: int | None = None, sample: int = 0) -> Tensor:
        """One map [query, key] in float32: of one head, or the mean of all heads.

        Raises:
            KeyError, IndexError: there is no such kind, layer, head or sample.
        """
        if kind not in self.kinds:
            raise KeyError(f"there is no {kind!r} attention, only {', '.join(map(repr, self.kinds))}")
        if not 0 <= layer < len(self.kinds[kind]):
            raise IndexError(f"layer is {layer}, {kind} attention has {len(self.kinds[kind])} layers")
        weights = self.kinds[kind][layer][sample].float()
        return weights.mean(dim=0) if head is None else weights[head]

    def layer_mask(self, kind: str, layer: int, sample: int = 0) -> Tensor | None:
        """The mask of a layer, bool [heads or 1, query, key]; None if nothing is masked."""
        mask = self.masks.get(self.paths[kind][layer])
        return None if mask is None else mask[sample]

    def mask(self, kind: str, layer: int, head: int | None = None, sample: int = 0) -> Tensor | None:
        """The mask of one `map`, bool [query, key]; for the mean of the heads, True where every head is masked."""
        mask = self.layer_mask(kind, layer, sample)
        if mask is None:
            return None
        return mask.all(dim=0) if head is None or len(mask) == 1 else mask[head]

    def to_frame(self, sample: int = 0) -> pd.DataFrame:
        """Every weight of one sample, one row each: ``kind, layer, head, query, key, weight``."""
        tables = []
        for kind, layers in self.kinds.items():
            for layer, weights in enumerate(layers):
                maps = weights[sample].float().numpy()  # [heads, query, key]
                steps = dict(zip(("head", "query", "key"), np.indices(maps.shape).reshape(3, -1), strict=True))
                tables.append(pd.DataFrame({"kind": kind, "layer": layer, **steps, "weight": maps.ravel()}))
        return pd.concat(tables, ignore_index=True)


class AttentionExtractor:
    """Context manager that captures the forward passes made inside it.

    Works on any module that holds `nn.MultiheadAttention`. Gates are the modules
    named ``gate`` beside one; pooling comes from the scores of a module named ``attn_pool``.
    A second forward pass replaces the capture of the first.

    Args:
        model: watched while the context is open; hooks are removed when it closes,
            also after an exception.

    Raises:
        TypeError: `model` is not a module.
        ValueError: it has no `nn.MultiheadAttention`; on entering, one of its modules is compiled.

    Example:
        >>> with torch.no_grad(), AttentionExtractor(model) as extractor:
        ...     output = model(x, market_x)
        >>> extractor.get_data()["cross_attn_weights"][0].shape  # [batch, heads, stock, market]
    """

    def __init__(self, model: nn.Module) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
        if not any(isinstance(module, nn.MultiheadAttention) for module in model.modules()):
            reason = "its attention is scripted, where it cannot be seen" if _scripted(model) else _NONE
            raise ValueError(f"{type(model).__name__} has no attention to show: {reason}")
        self.model = model
        self._hooks: AbstractContextManager[None] | None = None
        self._capture: Capture | None = None
        self._start()

    def __enter__(self) -> AttentionExtractor:
        if self._hooks is not None:
            raise RuntimeError("this extractor is open already")
        refuse_compiled(self.model)
        try:
            self._hooks = self._watch()
            self._hooks.__enter__()
        except BaseException:
            self._hooks = None
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        hooks, self._hooks = self._hooks, None
        if hooks is not None:
            hooks.__exit__(*exception)
        if exception[0] is None and self._capture is not None and self._capture.caveats:
            first, *others = self._capture.caveats_of()
            more = f" (and {len(others)} more, see Capture.caveats)" if others else ""
            warnings.warn(first + more, stacklevel=2)

    @property
    def capture(self) -> Capture:
        """The last forward pass.

        Raises:
            RuntimeError: there was none since the start or the last `clear`.
        """
        if self._capture is None:
            raise RuntimeError("nothing captured yet: run the model inside 'with extractor:'")
        return self._capture

    def get_data(self) -> dict[str, Any]:
        """The last forward pass as a dictionary, see `Capture.to_dict`."""
        return self.capture.to_dict()

    def clear(self) -> None:
        """Forget what was captured. Dictionaries and captures handed out before stay valid."""
        self._capture = None
        self._start()

    def _start(self) -> None:
        self._attention: dict[str, Tensor] = {}
        self._masks: dict[str, Tensor] = {}
        self._discrepancy: dict[str, float] = {}
        self._caveats: dict[str, str] = {}
        self._gates: dict[str, Tensor] = {}
        self._pooling: Tensor | None = None
        self._ran: set[nn.Module] = set()

    def _watch(self) -> AbstractContextManager[None]:
        root = original(self.model)
        paths = {original(module): path for path, module in self.model.named_modules()}
        gates = {
            original(gate)
            for module in self.model.modules()
            if (gate := dict(module.named_children()).get("gate")) is not None and _holds_attention(module)
        }
        # Weakly, so that hooks that an interrupt drops without closing them are closed at once.
        this = weakref.proxy(self)

        def before(module: nn.Module, args: Any) -> None:
            if original(module) is root:
                this._start()

        def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            path = paths.get(original(module))
            if path is None:
                return
            if isinstance(module, nn.MultiheadAttention):
                this._record_attention(path, module, args, kwargs, output)
            elif isinstance(module, nn.TransformerEncoderLayer):
                this._record_fused(path, module, args, kwargs, output)
            elif original(module) in gates:
                this._gates[call_path(path, this._gates)] = wide(_detach(output))
            elif path.rpartition(".")[2] == "attn_pool":
                this._pooling = _detach(torch.softmax(wide(output), dim=1).squeeze(-1))
            if original(module) is root:
                this._finish(output)

        return forward_hooks(before=before, after=after)

    def _record_attention(self, path: str, module: nn.MultiheadAttention, *call: Any) -> None:
        self._ran.add(module)
        self._record(path, lambda: record_call(module, *call))

    def _record_fused(self, path: str, layer: nn.TransformerEncoderLayer, *call: Any) -> None:
        """The attention of an encoder layer whose fused kernel did not call it."""
        if layer.self_attn in self._ran:
            self._ran.discard(layer.self_attn)
            return

        def record() -> AttentionRecord:
            fused = record_fused(layer, *call)
            if has_own_method(layer, "forward", nn.TransformerEncoderLayer) and fused.caveat:
                raise ValueError(
                    f"its layer, {type(layer).__name__}, has a forward of its own and did not call it; "
                    "torch.backends.mha.set_fastpath_enabled(False) shows attention that torch's fused kernel hides"
                )
            return fused

        self._record(f"{path}.self_attn" if path else "self_attn", record)

    def _record(self, path: str, make: Callable[[], AttentionRecord]) -> None:
        name = call_path(path, {**self._attention, **self._caveats})
        try:
            record = make()
        except Exception as error:  # the pass is the user's: a failed recording must not end it
            self._caveats[name] = f"there is no map of it: {error}"
            return
        self._attention[name], self._discrepancy[name] = record.weights, record.discrepancy
        if record.mask is not None:
            self._masks[name] = record.mask
        if record.caveat:
            self._caveats[name] = record.caveat

    def _finish(self, output: Any) -> None:
        self._caveats |= dict.fromkeys(
            _scripted(self.model), "there is no map of it: it is scripted, and cannot be seen"
        )
        self._capture = Capture(
            MappingProxyType(self._attention),
            MappingProxyType(self._gates),
            self._pooling,
            _detach(output),
            MappingProxyType(self._masks),
            MappingProxyType(self._discrepancy),
            MappingProxyType(self._caveats),
        )


make_extractor = AttentionExtractor


def capture_attention(model: nn.Module, *inputs: Tensor) -> Capture:
    """Run `model` once in eval mode without gradients and return its `Capture`.

    The model itself does not change, see `stockformer.forward.in_eval_mode`.

    Raises:
        ValueError: the model has no attention, or did not run it.
    """
    model = in_eval_mode(model)
    with without_gradients(), AttentionExtractor(model) as extractor:
        model(*inputs)
    if not extractor.capture.attention:
        reasons = "; ".join(extractor.capture.caveats_of()) or "its forward pass did not run it"
        raise ValueError(f"{type(model).__name__} has attention, but {reasons}")
    return extractor.capture


def _layer_pattern(path: str) -> str:
    """A module path with ``*`` for its numbers; layers of one kind share it."""
    module = path.partition("#")[0]
    return ".".join("*" if part.isdigit() else part for part in module.split(".")) or "attention"


def _scripted(model: nn.Module) -> list[str]:
    """Module paths of attention in TorchScript, which runs without hooks."""
    return [
        path
        for path, module in model.named_modules()
        if isinstance(module, torch.jit.ScriptModule) and module.original_name == nn.MultiheadAttention.__name__
    ]


def _holds_attention(module: nn.Module) -> bool:
    return any(isinstance(child, nn.MultiheadAttention) for child in module.children())


def call_path(path: str, taken: Mapping[str, Any]) -> str:
    """`path`, or ``path#1``, ``path#2``... if the module runs again in the same pass."""
    calls = sum(name.partition("#")[0] == path for name in taken)
    return f"{path}#{calls}" if calls else path


def _detach(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value
