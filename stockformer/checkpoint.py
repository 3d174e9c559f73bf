"""Checkpoint files: a state dict, what its inputs looked like, and a ``.meta``."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.config import DEFAULT_MODEL_CONFIG, ENCODER_FEATURE_COLUMNS
from stockformer.files import write_whole
from stockformer.model import (
    PooledTransformer,
    create_model,
    read_arch,
    warn_of_arch,
)
from stockformer.preprocessing import TRAINED_HERE, Normalization, Preprocessing
from stockformer.settings import read_settings

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_LAYER_TENSORS = 12  # of one self-attention layer


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says besides its weights.

    Attributes:
        arch: what `infer_arch_from_state_dict` read from the shapes.
        dataset_settings: keyword arguments for `StockDataset` that make
            inputs like those the model was trained on; without normalisation
            statistics if the file has none.
        metrics: scores that the trainer wrote.
        nhead_is_guessed: neither file nor ``.meta`` gives the head count.
        contradictions: where the file's name or its ``.meta`` disagrees with the file, in words.
    """

    arch: dict[str, Any]
    dataset_settings: dict[str, Any]
    metrics: dict[str, Any] = field(default_factory=dict)
    nhead_is_guessed: bool = False
    contradictions: tuple[str, ...] = ()


def load_checkpoint(
    path: str | Path, *, nhead: int | None = None, output_mode: str | None = None
) -> tuple[PooledTransformer, CheckpointInfo]:
    """Load a model in eval mode, on the CPU, without running code from the file.

    The model is no larger than the file. A damaged file is refused. A file of torch before 1.6 has no checksums, so
    damage to its numbers alone cannot be detected: it loads with a warning.

    Args:
        path: a ``.pt`` file: a bare state dict, or a dict that holds one under
            ``model_state_dict``. ``PATH.meta`` beside it may give ``nhead``.
        nhead: head count, overriding file and ``.meta``.
        output_mode: ``regression``, ``binary`` or ``buckets``, where shapes and
            file name leave it open.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, would run code when unpickled, claims more than it holds,
            or is not a StockFormer checkpoint with finite floating-point weights.
    """
    model, info = read_checkpoint(path, nhead=nhead, output_mode=output_mode)
    warn_of_arch(path, info.arch["nhead"] if info.nhead_is_guessed else None, info.contradictions)
    return model, info


def read_checkpoint(
    path: str | Path, *, nhead: int | None = None, output_mode: str | None = None
) -> tuple[PooledTransformer, CheckpointInfo]:
    """`load_checkpoint` without its warnings about a guessed head count and contradictions."""
    path = Path(path)
    content, size = _read(path)
    state_dict = _checked_weights(path, content.get("model_state_dict", content), size)
    try:
        settings = read_settings(_mapping(content, "dataset_settings"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    mode = output_mode or settings.get("label_mode")
    try:
        arch, guessed, contradictions = read_arch(
            state_dict, path, nhead=nhead, output_mode=mode, stored_nhead=content.get("nhead")
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    model = _build(path, arch, state_dict)
    # Without statistics nobody knows how inputs were made, whatever else is stored.
    known = settings.get("normalization") is not None
    settings["preprocessing"] = (settings.get("preprocessing") or TRAINED_HERE) if known else None
    settings["label_mode"] = arch["output_mode"]
    if arch["model_type"] == "encoder":
        settings["market_feature_cols"] = None
        if arch["feature_dim"] == len(ENCODER_FEATURE_COLUMNS):
            settings.setdefault("feature_cols", ENCODER_FEATURE_COLUMNS)
    model.checkpoint = CheckpointInfo(arch, settings, _mapping(content, "metrics"), guessed, tuple(contradictions))
    return model.eval(), model.checkpoint


def save_checkpoint(
    path: str | Path,
    model: PooledTransformer,
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
    if not isinstance(model, PooledTransformer):
        raise TypeError(f"expected a stock transformer, got {type(model).__name__}")
    path = Path(path)
    nhead = next(m.num_heads for m in model.modules() if isinstance(m, nn.MultiheadAttention))
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
    file = io.BytesIO()
    torch.save(content, file)
    meta = json.dumps({"model_type": model.model_type, "nhead": nhead})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(dict(zip(checkpoint_files(path), (file.getvalue(), meta.encode()), strict=True)))
    return path


def checkpoint_files(path: Path) -> tuple[Path, Path]:
    """The two files that `save_checkpoint` writes: the checkpoint, and the ``.meta`` beside it."""
    return path, path.parent / f"{path.name}.meta"


def _read(path: Path) -> tuple[Mapping[str, Any], int]:
    """The content of a file, and its size in bytes."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    file = path.read_bytes()  # once, so that what is checked is what is loaded
    archive = file.startswith(b"PK")
    checked = io.BytesIO(_checked_archive(path, file) if archive else file)
    try:
        content = torch.load(checked, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds, for damage and for refusal
        if isinstance(error, pickle.UnpicklingError) and ("global" in str(error) or "function" in str(error)):
            raise ValueError(f"{path} was refused: it would run code, expected tensors and plain values") from None
        raise ValueError(f"{path} is damaged or was not written by torch.save") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected a dict")
    if not archive:
        warnings.warn(
            f"{path} is a file of torch before 1.6, which has no checksums: damaged numbers in it cannot be detected; "
            "save it again with torch.save to add them",
            stacklevel=4,
        )
    return content, len(file)


def _checked_archive(path: Path, file: bytes) -> bytes:
    """The zip file again, packed from members that match their checksums and are no larger than it.

    torch does not compare checksums, and may read a damaged directory differently from zipfile; both read the copy
    alike. torch never compresses.
    """
    copy = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive, zipfile.ZipFile(copy, "w") as checked:
            members = archive.infolist()
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
            bounded = stored and sum(member.file_size for member in members) <= len(file)
            for member in members if bounded else ():
                checked.writestr(member.filename, archive.read(member))
    except Exception:  # zipfile raises half a dozen kinds
        raise ValueError(f"{path} is damaged or was not written by torch.save") from None
    if not bounded:
        raise ValueError(f"{path} was refused: it unpacks to more than its size, expected a file of torch.save")
    return copy.getvalue()


def _checked_weights(path: Path, weights: Any, size: int) -> dict[str, Tensor]:
    """Weights in the form that a model loads; `size` is that of the file, in bytes."""
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(values, Tensor) for name, values in weights.items()
    ):
        raise ValueError(f"{path} holds no state dict: expected parameter names with tensors")
    for name, values in weights.items():
        if values.dtype not in _DTYPES or values.layout != torch.strided or values.device.type != "cpu":
            described = f"{values.dtype}, {values.layout} on {values.device}".replace("torch.", "")
            raise ValueError(f"{path} has weights {name!r} of {described}, expected floating-point numbers")
    # A tensor may repeat a few numbers in any shape.
    claimed = sum(values.numel() * values.element_size() for values in weights.values())
    if claimed > size:
        raise ValueError(f"{path} was refused: its weights would take {claimed:,} bytes, and the file has {size:,}")
    broken = sum(int((~torch.isfinite(values)).sum()) for values in weights.values())
    if broken:
        raise ValueError(f"{path} has {broken} weights that are NaN or infinite, expected none")
    dtype = torch.get_default_dtype()
    return {name: values.to(dtype).clone(memory_format=torch.contiguous_format) for name, values in weights.items()}


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An entry that this package writes; other programs may use its name for something else."""
    value = content.get(key)
    return dict(value) if isinstance(value, Mapping) else {}


def _build(path: Path, arch: Mapping[str, Any], weights: Mapping[str, Tensor]) -> PooledTransformer:
    """A model with these weights, made without memory for initial ones and without drawing random numbers."""
    layers = arch["num_layers"] + arch.get("market_layers", 0)
    if layers * _LAYER_TENSORS > len(weights):  # before so many modules are made
        raise ValueError(f"{path} names {layers} layers but holds only {len(weights)} tensors")
    cfg = {
        **arch,
        "dropout": DEFAULT_MODEL_CONFIG["dropout"],
        "market_feature_dim": arch.get("market_dim"),
        "loss_name": "coral" if arch["use_coral"] else None,
    }
    edges = [float(edge) for edge in range(arch["num_buckets"] - 1)]
    with torch.device("meta"):
        model = create_model(arch["feature_dim"], arch["output_mode"], edges, cfg, arch["model_type"])
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"{path} is not a checkpoint of type {arch['model_type']}: {' '.join(str(error).split())}"
        ) from None
    return model
