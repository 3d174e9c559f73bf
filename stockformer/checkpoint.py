"""Checkpoint files: a state dict, what its inputs looked like, and a ``.meta``."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.config import ENCODER_FEATURE_COLUMNS
from stockformer.files import write_whole
from stockformer.model import (
    CrossAttentionStockTransformer,
    StockTransformer,
    create_model,
    read_arch,
    warn_of_heads,
)
from stockformer.preprocessing import Normalization, Preprocessing


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says besides its weights.

    Attributes:
        arch: what `infer_arch_from_state_dict` read from the shapes.
        dataset_settings: keyword arguments for `StockDataset` that make the
            inputs as the model was trained on them; without normalisation
            statistics where the file has none.
        metrics: scores that the trainer wrote.
        nhead_is_guessed: neither file nor ``.meta`` gives the head count.
    """

    arch: dict[str, Any]
    dataset_settings: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    nhead_is_guessed: bool = False


def load_checkpoint(
    path: str | Path, *, nhead: int | None = None, output_mode: str | None = None
) -> tuple[CrossAttentionStockTransformer | StockTransformer, CheckpointInfo]:
    """Load a model in eval mode, on the CPU, without running code from the file.

    Args:
        path: a ``.pt`` file: a bare state dict, or a dict that holds one under
            ``model_state_dict``. ``PATH.meta`` beside it may give ``nhead``.
        nhead: head count, overriding file and ``.meta``.
        output_mode: ``regression``, ``binary`` or ``buckets``, where shapes and
            file name leave it open.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, would run code when unpickled, or is
            not a StockFormer checkpoint.
    """
    model, info = read_checkpoint(path, nhead=nhead, output_mode=output_mode)
    if info.nhead_is_guessed:
        warn_of_heads(info.arch["nhead"])
    return model, info


def read_checkpoint(
    path: str | Path, *, nhead: int | None = None, output_mode: str | None = None
) -> tuple[CrossAttentionStockTransformer | StockTransformer, CheckpointInfo]:
    """As `load_checkpoint`, which warns where the head count is a guess."""
    path = Path(path)
    content = _read(path)
    state_dict = content.get("model_state_dict", content)
    if not isinstance(state_dict, Mapping) or not all(isinstance(v, Tensor) for v in state_dict.values()):
        raise ValueError(f"{path} holds no state dict: expected parameter names with tensors")
    settings = _mapping(content, "dataset_settings")
    mode = output_mode or settings.get("label_mode")
    arch, guessed = read_arch(
        state_dict, path, nhead=content.get("nhead") if nhead is None else nhead, output_mode=mode
    )
    model = _build(arch, settings.get("bucket_edges"))
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise ValueError(f"{path} is no {arch['model_type']} checkpoint: {' '.join(str(error).split())}") from None
    if settings.get("normalization") is not None:
        settings["normalization"] = _normalization(path, settings["normalization"])
        settings["preprocessing"] = Preprocessing(**settings.get("preprocessing", {}))
    else:
        settings["preprocessing"] = None
    broken = sum(int((~torch.isfinite(tensor)).sum()) for tensor in state_dict.values())
    if broken:
        raise ValueError(f"{path} has {broken} weights that are NaN or infinite, expected none")
    settings["label_mode"] = arch["output_mode"]
    if arch["model_type"] == "encoder":
        settings["market_feature_cols"] = None
        if arch["feature_dim"] == len(ENCODER_FEATURE_COLUMNS):
            settings.setdefault("feature_cols", ENCODER_FEATURE_COLUMNS)
    return model.eval(), CheckpointInfo(arch, settings, _mapping(content, "metrics"), guessed)


def save_checkpoint(
    path: str | Path,
    model: CrossAttentionStockTransformer | StockTransformer,
    dataset_settings: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model, and beside it ``PATH.meta`` with its head count and type.

    Args:
        dataset_settings: `StockDataset.settings` of the training data, so that
            normalisation statistics and label settings travel with the weights.
        metrics: plain numbers to keep.

    Both files appear whole or not at all.
    """
    if not isinstance(model, CrossAttentionStockTransformer | StockTransformer):
        raise TypeError(f"expected a stock transformer, got {type(model).__name__}")
    path = Path(path)
    nhead = next(m.num_heads for m in model.modules() if isinstance(m, nn.MultiheadAttention))
    model_type = "cross_attention" if isinstance(model, CrossAttentionStockTransformer) else "encoder"
    settings = dict(dataset_settings or {"label_mode": model.label_mode})
    if isinstance(settings.get("normalization"), Normalization):
        settings["normalization"] = asdict(settings["normalization"])
    if isinstance(settings.get("preprocessing"), Preprocessing):
        settings["preprocessing"] = asdict(settings["preprocessing"])
    content = {
        "model_state_dict": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
        "nhead": nhead,
        "dataset_settings": settings,
        "metrics": dict(metrics or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = json.dumps({"model_type": model_type, "nhead": nhead})
    write_whole(
        {
            path: lambda file: torch.save(content, file),
            Path(f"{path}.meta"): lambda file: file.write_text(meta, encoding="utf-8"),
        }
    )
    return path


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds, for damage and for refusal
        if isinstance(error, pickle.UnpicklingError) and ("global" in str(error) or "function" in str(error)):
            raise ValueError(f"{path} was refused: it would run code, expected tensors and plain values") from None
        raise ValueError(f"{path} is damaged or was not written by torch.save") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict")
    return content


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An entry of ours; other programs may use its name for something else."""
    value = content.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def _normalization(path: Path, stored: Any) -> Normalization:
    try:
        return Normalization(**stored)
    except TypeError:
        raise ValueError(f"{path} holds normalisation statistics that are not columns, mean and std") from None


def _build(
    arch: Mapping[str, Any], bucket_edges: list[float] | None
) -> CrossAttentionStockTransformer | StockTransformer:
    edges = bucket_edges or [float(edge) for edge in range(arch["num_buckets"] - 1)]
    cfg = {
        **arch,
        "dropout": 0.1,
        "market_feature_dim": arch.get("market_dim"),
        "loss_name": "coral" if arch["use_coral"] else None,
    }
    return create_model(arch["feature_dim"], arch["output_mode"], edges, cfg, arch["model_type"])
