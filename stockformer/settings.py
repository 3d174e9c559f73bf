"""Settings of a dataset as stored in a file: plain values, which may have been written by anybody."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from stockformer.preprocessing import Normalization, Preprocessing


def read_settings(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments for `StockDataset` from what `save_checkpoint` wrote.

    Raises:
        ValueError: a key is unknown, or its value has the wrong type.
    """
    unknown = [str(key) for key in stored if key not in _KINDS]
    if unknown:
        raise ValueError(f"dataset_settings has unknown keys: {', '.join(unknown)}")
    settings = dict(stored)
    for name, value in settings.items():
        kind, fits = _KINDS[name]
        if value is not None and not fits(value):
            raise ValueError(f"{name} of dataset_settings is {_short(value)}, expected {kind}")
    if settings.get("normalization") is not None:
        settings["normalization"] = _normalization(settings["normalization"])
    if settings.get("preprocessing") is not None:
        settings["preprocessing"] = _preprocessing(settings["preprocessing"])
    return settings


def _names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_number, value))


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "feature_cols": ("names of features", _names),
    "market_feature_cols": ("names of features", _names),
    "target_col": ("the name of a column", lambda value: isinstance(value, str)),
    "lookback": ("a number of days", _integer),
    "label_mode": ("a name", lambda value: isinstance(value, str)),
    "threshold": ("a number", _number),
    "bucket_edges": ("numbers", _numbers),
    "train_end": ("a date", lambda value: isinstance(value, str)),
    "normalization": ("columns, mean and std", lambda value: isinstance(value, Mapping)),
    "preprocessing": ("a dict", lambda value: isinstance(value, Mapping)),
    "assumed": ("sentences", _names),
}


def _normalization(stored: Mapping[str, Any]) -> Normalization:
    problem = ValueError(
        "the normalisation statistics are malformed, expected columns, and per ticker a mean and a std for each of them"
    )
    if set(stored) != {"columns", "mean", "std"} or not _names(stored["columns"]):
        raise problem
    for statistic in (stored["mean"], stored["std"]):
        if not isinstance(statistic, Mapping) or set(statistic) != set(stored["mean"]):
            raise problem
        for ticker, values in statistic.items():
            if not isinstance(ticker, str) or not _numbers(values) or len(values) != len(stored["columns"]):
                raise problem
    return Normalization(list(stored["columns"]), stored["mean"], stored["std"])


def _preprocessing(stored: Mapping[str, Any]) -> Preprocessing:
    kinds: dict[str, Callable[[Any], bool]] = {
        "recomputed": _names,
        "raw": _names,
        "bucket_edges": lambda value: value is None or _numbers(value),
        "fewest_training_rows": _integer,
        "ticker_column": lambda value: value in ("symbol", "ticker"),
        "price_column": lambda value: value in ("adjusted_close", "close"),
        "split_by": lambda value: value in ("rows", "windows"),
    }
    checked: dict[str, Any] = {}
    for field in fields(Preprocessing):
        value = stored.get(field.name, field.default)
        fits = kinds.get(field.name, _number if isinstance(field.default, float) else _flag)
        if not fits(value):
            raise ValueError(f"{field.name} of preprocessing is {_short(value)}, which is not a valid value")
        checked[field.name] = tuple(value) if isinstance(value, list) else value
    unknown = [str(key) for key in stored if key not in checked]
    if unknown:
        raise ValueError(f"preprocessing has unknown keys: {', '.join(unknown)}")
    return Preprocessing(**checked)


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
