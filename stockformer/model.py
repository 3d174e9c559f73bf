"""The stock transformers: with gated cross-attention to the market, and without.

Parameter names and shapes are a file format: checkpoints trained elsewhere load
into these classes as they are. Shapes use ``B`` batch, ``T`` trading days,
``F`` stock features, ``M`` market features, ``d`` model width, ``K`` classes.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from stockformer.config import DEFAULT_MODEL_CONFIG

LABEL_MODES = ("regression", "binary", "buckets")
#: Words for the label modes in file names.
_WORDS = {
    "regression": {"reg", "regression"},
    "binary": {"bin", "binary"},
    "buckets": {"buck", "bucket", "buckets"},
}
#: Label modes that a model with one class, or with two, can have.
_MODES = {1: ("regression",), 2: ("binary", "buckets")}
_LARGEST_META = 2**16  # bytes
MODEL_TYPES = ("cross_attention", "encoder")


class PositionalEncoding(nn.Module):
    """Add sinusoidal positions (Vaswani et al. 2017) to [B, T, d].

    Sine fills the even and cosine the odd dimensions, base 10000.
    """

    pe: Tensor

    def __init__(self, d_model: int, max_len: int) -> None:
        super().__init__()
        # On the CPU: for a model without storage ("meta") torch would first load its compiler, which takes seconds.
        position = torch.arange(max_len, device="cpu").unsqueeze(1)
        frequency = torch.exp(torch.arange(0, d_model, 2, device="cpu") * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * frequency)
        pe[0, :, 1::2] = torch.cos(position * frequency[: d_model // 2])
        self.register_buffer("pe", pe)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3:
            raise ValueError(f"a stock transformer takes batches [B, T, features], found {x.dim()} dimensions")
        steps, limit = x.size(1), self.pe.size(1)
        if steps > limit:
            raise ValueError(f"the sequence has {steps} steps, but the model takes at most {limit} (max_len)")
        return x + self.pe[:, :steps]


class Encoder(nn.Module):
    """Self-attention layers, optionally followed by a norm. [B, T, d] -> [B, T, d]."""

    def __init__(self, layers: nn.ModuleList, layer_drop: float, norm: nn.Module | None) -> None:
        super().__init__()
        self.layers = layers
        self.norm = norm
        self.layer_drop = layer_drop

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            if not _dropped(self, self.layer_drop):
                x = layer(x)
        return x if self.norm is None else self.norm(x)


class MarketEncoder(nn.Module):
    """The market sequence [B, T, M] -> [B, T, d]."""

    def __init__(self, feature_dim: int, d_model: int, max_len: int, layers: nn.ModuleList) -> None:
        super().__init__()
        self.input_proj = nn.Linear(feature_dim, d_model)
        self.pos_encoder = PositionalEncoding(d_model, max_len)
        self.encoder = Encoder(layers, layer_drop=0.0, norm=None)

    def forward(self, market_x: Tensor) -> Tensor:
        return self.encoder(self.pos_encoder(self.input_proj(market_x)))  # type: ignore[no-any-return]


class GatedCrossAttention(nn.Module):
    """Let the market into the stock stream through a gate.

    ``a = attention(query=stock, key=market, value=market)``,
    ``g = sigmoid(W [stock, a] + b)``, result ``LayerNorm(stock + g * a)``.
    Stock [B, T, d], market [B, S, d] -> [B, T, d].
    """

    def __init__(self, d_model: int, nhead: int, dropout: float) -> None:
        super().__init__()
        self.cross_attn = nn.MultiheadAttention(d_model, nhead, dropout, batch_first=True)
        self.gate = nn.Sequential(nn.Linear(2 * d_model, d_model), nn.Sigmoid())
        self.norm = nn.LayerNorm(d_model)

    def forward(self, stock: Tensor, market: Tensor) -> Tensor:
        context, _ = self.cross_attn(stock, market, market, need_weights=False)
        gate = self.gate(torch.cat([stock, context], dim=-1))
        return self.norm(stock + gate * context)  # type: ignore[no-any-return]


@runtime_checkable
class Forecaster(Protocol):
    """A model whose inputs and outputs have a known meaning: any `nn.Module` with these attributes.

    Its inputs are [B, T, features]: the stock's, and the market's if there are two.

    Attributes:
        input_widths: number of features of each input.
        label_mode: meaning of its output: ``regression``, a value [B]; ``binary``, the logits of down and up [B, 2];
            ``buckets``, the logits of ordered classes [B, K].
        num_buckets: the number of classes K; 1 for a regression.
        use_coral: whether it returns the logits of P(class > k) [B, K-1] for ``buckets`` (Cao et al. 2020).
    """

    @property
    def input_widths(self) -> tuple[int, ...]: ...
    @property
    def label_mode(self) -> str: ...
    @property
    def num_buckets(self) -> int: ...
    @property
    def use_coral(self) -> bool: ...


def as_forecaster(model: nn.Module) -> Forecaster:
    """The model itself, if it is a `Forecaster`.

    Raises:
        TypeError: it is not a `Forecaster`.
    """
    if not isinstance(model, Forecaster):
        raise TypeError(
            f"the output of {type(model).__name__} has no known meaning: "
            "expected a model with input_widths, label_mode, num_buckets and use_coral"
        )
    return model


class PooledTransformer(nn.Module):
    """Attention pooling over time and the output heads, shared by both models.

    The regression, binary and bucket heads all exist, as in the checkpoints;
    ``label_mode`` and ``use_coral`` choose the one that is used.

    Attributes:
        checkpoint: the `stockformer.checkpoint.CheckpointInfo` of the file that the weights come from;
            None without a file.
    """

    checkpoint: Any = None
    #: One of `MODEL_TYPES`.
    model_type: ClassVar[str]

    def __init__(self, d_model: int, label_mode: str, num_buckets: int, use_coral: bool, dropout: float) -> None:
        super().__init__()
        self.label_mode = label_mode
        self.num_buckets = num_buckets
        self.use_coral = use_coral
        self.attn_pool = nn.Linear(d_model, 1)
        self.pooling = nn.Softmax(dim=1)  # a module, so that hooks see what it returns
        self.reg_head = _head(d_model, 1, dropout)
        self.cls_head = _head(d_model, 2, dropout)
        self.bucket_head = _head(d_model, num_buckets, dropout)
        if use_coral:
            self.coral_head = _head(d_model, num_buckets - 1, dropout)

    @property
    def input_layers(self) -> tuple[nn.Linear, ...]:
        """The layer that reads the features of each input."""
        raise NotImplementedError

    @property
    def input_widths(self) -> tuple[int, ...]:
        """Number of features of each input."""
        return tuple(layer.in_features for layer in self.input_layers)

    def _classify(self, stock: Tensor) -> Tensor:
        pooling = self.pooling(self.attn_pool(stock))  # [B, T, 1]
        pooled = (pooling * stock).sum(dim=1)  # [B, d]
        if self.label_mode == "regression":
            return self.reg_head(pooled).squeeze(-1)  # type: ignore[no-any-return]
        if self.label_mode == "binary":
            return self.cls_head(pooled)  # type: ignore[no-any-return]
        return self.coral_head(pooled) if self.use_coral else self.bucket_head(pooled)  # type: ignore[no-any-return]


class CrossAttentionStockTransformer(PooledTransformer):
    """Stock days attend to themselves, then through gates to the market days.

    Call with stock [B, T, F] and market [B, S, M]. Returns the regression value
    [B], binary logits [B, 2], bucket logits [B, K], or with CORAL the logits of
    P(class > k) [B, K-1].
    """

    model_type = "cross_attention"

    def __init__(
        self,
        feature_dim: int,
        market_feature_dim: int,
        d_model: int,
        nhead: int,
        num_layers: int,
        dim_feedforward: int,
        dropout: float,
        market_layers: int,
        layer_drop: float,
        max_len: int,
        label_mode: str,
        num_buckets: int,
        use_coral: bool,
    ) -> None:
        super().__init__(d_model, label_mode, num_buckets, use_coral, dropout)
        self.market_encoder = MarketEncoder(
            market_feature_dim, d_model, max_len, _layers(market_layers, d_model, nhead, dim_feedforward, dropout)
        )
        self.input_proj = nn.Linear(feature_dim, d_model)
        self.pos_encoder = PositionalEncoding(d_model, max_len)
        self.stock_layers = _layers(num_layers, d_model, nhead, dim_feedforward, dropout)
        self.cross_attn_layers = nn.ModuleList(GatedCrossAttention(d_model, nhead, dropout) for _ in range(num_layers))
        self.final_norm = nn.LayerNorm(d_model)
        self.layer_drop = layer_drop

    @property
    def input_layers(self) -> tuple[nn.Linear, ...]:
        return self.input_proj, self.market_encoder.input_proj

    def forward(self, x: Tensor, market_x: Tensor) -> Tensor:
        market = self.market_encoder(market_x)
        stock = self.pos_encoder(self.input_proj(x))
        for stock_layer, cross_layer in zip(self.stock_layers, self.cross_attn_layers, strict=True):
            if not _dropped(self, self.layer_drop):
                stock = cross_layer(stock_layer(stock), market)
        return self._classify(self.final_norm(stock))


class StockTransformer(PooledTransformer):
    """Stock days attend to themselves only. Call with stock [B, T, F]; outputs
    as in `CrossAttentionStockTransformer`."""

    model_type = "encoder"

    def __init__(
        self,
        feature_dim: int,
        d_model: int,
        nhead: int,
        num_layers: int,
        dim_feedforward: int,
        dropout: float,
        layer_drop: float,
        max_len: int,
        label_mode: str,
        num_buckets: int,
        use_coral: bool,
    ) -> None:
        super().__init__(d_model, label_mode, num_buckets, use_coral, dropout)
        self.input_proj = nn.Linear(feature_dim, d_model)
        self.pos_encoder = PositionalEncoding(d_model, max_len)
        norm = nn.LayerNorm(d_model) if layer_drop else None
        self.encoder = Encoder(_layers(num_layers, d_model, nhead, dim_feedforward, dropout), layer_drop, norm)

    @property
    def input_layers(self) -> tuple[nn.Linear, ...]:
        return (self.input_proj,)

    def forward(self, x: Tensor) -> Tensor:
        return self._classify(self.encoder(self.pos_encoder(self.input_proj(x))))


def create_model(
    feature_dim: int,
    label_mode: str,
    bucket_edges: Sequence[float] | None,
    cfg: Mapping[str, Any],
    model_type: str = "cross_attention",
) -> PooledTransformer:
    """Build a model with fresh weights.

    Args:
        feature_dim: number of stock features F.
        label_mode: ``regression``, ``binary`` or ``buckets``.
        bucket_edges: edges in percent for ``buckets`` (K = edges + 1 classes), else None.
        cfg: any of the keys of `DEFAULT_MODEL_CONFIG`; ``loss_name="coral"``
            with ``buckets`` gives the ordinal CORAL head (Cao et al. 2020).
            Other keys are ignored.
        model_type: ``cross_attention`` or ``encoder``.

    Raises:
        ValueError: an unknown mode or type, missing edges, or a head count
            that does not divide the width.
    """
    if label_mode not in LABEL_MODES:
        raise ValueError(f"label_mode is {label_mode!r}, expected one of {', '.join(LABEL_MODES)}")
    if model_type not in MODEL_TYPES:
        raise ValueError(f"model_type is {model_type!r}, expected one of {', '.join(MODEL_TYPES)}")
    if label_mode == "buckets" and not bucket_edges:
        raise ValueError("label_mode 'buckets' needs at least one bucket edge, found none")
    settings = DEFAULT_MODEL_CONFIG | {k: v for k, v in cfg.items() if k in DEFAULT_MODEL_CONFIG}
    for name in ("d_model", "num_layers"):
        if settings[name] < 1:
            raise ValueError(f"{name} is {settings[name]}, expected at least 1")
    _check_heads(settings["d_model"], settings["nhead"])
    classes = {"regression": 1, "binary": 2, "buckets": len(bucket_edges or ()) + 1}[label_mode]
    use_coral = settings.pop("loss_name") == "coral" and label_mode == "buckets"
    market = {name: settings.pop(name) for name in ("market_feature_dim", "market_layers")}
    settings |= {
        "feature_dim": feature_dim,
        "label_mode": label_mode,
        "num_buckets": classes,
        "use_coral": use_coral,
    }
    if model_type == "encoder":
        return StockTransformer(**settings)
    return CrossAttentionStockTransformer(**settings, **market)


def input_widths(model: nn.Module) -> tuple[int, ...] | None:
    """Feature counts of a model's inputs, (F,) or (F, M); None if it is not a `Forecaster`."""
    return model.input_widths if isinstance(model, Forecaster) else None


def _check_heads(d_model: int, nhead: int) -> None:
    if not isinstance(nhead, int) or isinstance(nhead, bool) or nhead < 1 or d_model % nhead:
        raise ValueError(f"nhead is {nhead!r}, expected a head count that divides d_model = {d_model}")


def infer_arch_from_state_dict(
    state_dict: Mapping[str, Tensor],
    path: str | Path | None = None,
    *,
    nhead: int | None = None,
    output_mode: str | None = None,
) -> dict[str, Any]:
    """Read the hyperparameters back from parameter names and shapes.

    Args:
        state_dict: a model's parameters and buffers.
        path: where it came from. A ``.meta`` beside it gives ``nhead``, and its
            name (``binary_3d_best.pt``, ``model_reg_10d.pt``) settles an output
            mode that the shapes leave open.
        nhead: head count, where the caller knows it.
        output_mode: ``regression``, ``binary`` or ``buckets``, where the caller knows it.

    Returns:
        ``feature_dim, d_model, nhead, num_layers, dim_feedforward, max_len,
        layer_drop, num_buckets, use_coral, output_mode, model_type`` and, for a
        cross-attention model, ``market_layers, market_dim``.

    Raises:
        ValueError: a parameter that both models have is missing, the ``.meta``
            is malformed, or the head count does not divide the width.

    The head count is in no tensor. When neither the caller nor a ``.meta`` gives
    it, the first of 4, 8, 2, 1 that divides the width is taken, with a warning.
    """
    arch, guessed, contradictions = read_arch(state_dict, path, nhead=nhead, output_mode=output_mode)
    warn_of_arch(path, arch["nhead"] if guessed else None, contradictions)
    return arch


def warn_of_arch(path: str | Path | None, guessed_heads: int | None, contradictions: Sequence[str]) -> None:
    if guessed_heads is not None:
        warnings.warn(
            f"the head count is not in the checkpoint and there is no .meta beside it: {guessed_heads} heads assumed; "
            "a wrong count loads without error and draws wrong maps, so pass nhead= if it differs",
            stacklevel=3,
        )
    if contradictions:
        warnings.warn(f"{path} contradicts itself: {'; '.join(contradictions)}", stacklevel=3)


def read_arch(
    state_dict: Mapping[str, Tensor],
    path: str | Path | None,
    *,
    nhead: int | None,
    output_mode: str | None,
    stored_nhead: int | None = None,
) -> tuple[dict[str, Any], bool, list[str]]:
    """The result of `infer_arch_from_state_dict`, whether the head count is a guess, and contradictions in words.

    Args:
        stored_nhead: head count stored with the weights, used unless the caller passes one.
    """
    meta = _read_meta(path)
    cross = "market_encoder.input_proj.weight" in state_dict
    layers = "stock_layers" if cross else "encoder.layers"
    try:
        d_model, feature_dim = _shape(state_dict, "input_proj.weight", 2)
        feedforward = _shape(state_dict, f"{layers}.0.linear1.weight", 2)[0]
        num_buckets = _shape(state_dict, "bucket_head.3.bias", 1)[0]
        _, max_len, width = _shape(state_dict, "pos_encoder.pe", 3)
    except KeyError as error:
        raise ValueError(f"not a StockFormer state dict: it lacks {error.args[0]!r}") from None
    if width != d_model:
        raise ValueError(f"not a StockFormer state dict: its positions have {width} dimensions, its model {d_model}")
    use_coral = "coral_head.3.bias" in state_dict
    arch: dict[str, Any] = {
        "feature_dim": feature_dim,
        "d_model": d_model,
        "nhead": next((count for count in (nhead, stored_nhead, meta.get("nhead")) if count is not None), None),
        "num_layers": _count(state_dict, layers),
        "dim_feedforward": feedforward,
        "max_len": max_len,
        "layer_drop": 0.1 if "encoder.norm.weight" in state_dict else 0.0,
        "num_buckets": num_buckets,
        "use_coral": use_coral,
        "output_mode": output_mode or _output_mode(num_buckets, use_coral, path),
        "model_type": "cross_attention" if cross else "encoder",
    }
    guessed = arch["nhead"] is None
    if guessed:
        arch["nhead"] = next(n for n in (4, 8, 2, 1) if d_model % n == 0)
    if cross:
        arch["market_layers"] = _count(state_dict, "market_encoder.encoder.layers")
        arch["market_dim"] = _shape(state_dict, "market_encoder.input_proj.weight", 2)[1]
    _check_heads(d_model, arch["nhead"])
    modes = ("buckets",) if use_coral else _MODES.get(num_buckets, ("buckets",))
    if output_mode in set(LABEL_MODES) - set(modes):
        raise ValueError(f"output_mode is {output_mode!r}, but the weights are for {_outputs(arch)}")
    contradictions = _of_name(path, arch)
    if meta.get("model_type") in {*MODEL_TYPES} - {arch["model_type"]}:
        named, built = meta["model_type"], arch["model_type"]
        contradictions.append(f"its .meta says {named}, its weights are of {built}: read as {built}")
    if nhead is None and arch["nhead"] != meta.get("nhead", arch["nhead"]):
        contradictions.append(f"its .meta says {meta['nhead']} heads, the file {stored_nhead}: read as {stored_nhead}")
    return arch, guessed, contradictions


def _of_name(path: str | Path | None, arch: Mapping[str, Any]) -> list[str]:
    """Where the file's name disagrees with the weights, in words."""
    words = _words(path)
    modes = [mode for mode in LABEL_MODES if mode != arch["output_mode"] and words & _WORDS[mode]]
    modes += ["coral"] if "coral" in words and not arch["use_coral"] else []
    read = f"its weights are for {_outputs(arch)}: read as {arch['output_mode']}"
    return [f"its name says {' and '.join(modes)}, {read}"] if modes else []


def _outputs(arch: Mapping[str, Any]) -> str:
    classes = arch["num_buckets"]
    return "a regression" if classes == 1 else f"{classes} classes{', CORAL' if arch['use_coral'] else ''}"


def _words(path: str | Path | None) -> set[str]:
    return set() if path is None else set(re.split(r"[^a-z]+", Path(path).stem.lower()))


def _read_meta(path: str | Path | None) -> dict[str, Any]:
    """The JSON object in ``PATH.meta``, or an empty one where there is none."""
    file = Path(f"{path}.meta")
    if path is None or not file.is_file():
        return {}
    if file.stat().st_size > _LARGEST_META:
        raise ValueError(f"{file} has {file.stat().st_size:,} bytes, expected a small JSON object")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(meta, dict) or not isinstance(meta.get("nhead", 1), int):
        raise ValueError(f"{file} holds {reprlib.repr(meta)}, expected an object with an integer 'nhead'")
    return meta


def _shape(state_dict: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    shape = tuple(state_dict[name].shape)
    if len(shape) != dimensions:
        raise ValueError(
            f"not a StockFormer state dict: {name} has shape {list(shape)}, expected {dimensions} dimensions"
        )
    return shape


def _output_mode(num_buckets: int, use_coral: bool, path: str | Path | None) -> str:
    """One class is a regression, two are a binary model unless the name of the file says buckets."""
    if num_buckets == 1:
        return "regression"
    if use_coral or num_buckets > 2 or _words(path) & _WORDS["buckets"]:
        return "buckets"
    return "binary"


def _count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {int(m[1]) for name in state_dict if (m := re.match(rf"{re.escape(prefix)}\.(\d+)\.", name))}
    return len(numbers)


def _layers(number: int, d_model: int, nhead: int, dim_feedforward: int, dropout: float) -> nn.ModuleList:
    return nn.ModuleList(
        nn.TransformerEncoderLayer(d_model, nhead, dim_feedforward, dropout, batch_first=True, norm_first=True)
        for _ in range(number)
    )


def _head(d_model: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(d_model, d_model // 2), nn.GELU(), nn.Dropout(dropout), nn.Linear(d_model // 2, outputs)
    )


def _dropped(module: nn.Module, probability: float) -> bool:
    return module.training and probability > 0 and torch.rand(()).item() < probability
