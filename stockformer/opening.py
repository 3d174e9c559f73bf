"""Opening a checkpoint together with its data."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from stockformer.checkpoint import CheckpointInfo, read_checkpoint
from stockformer.config import BASE_FEATURE_COLUMNS, ENCODER_FEATURE_COLUMNS, LOOKBACK, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset
from stockformer.model import PooledTransformer, warn_of_arch
from stockformer.parquet import ArrowStream
from stockformer.preprocessing import TRAINED_ELSEWHERE, Preprocessing
from stockformer.source import source_of
from stockformer.target_column import TargetColumn

_HORIZON = re.compile(r"(?<![a-z])(?:bin(?:ary)?|buck(?:ets?)?|reg(?:ression)?)_([1-9]\d*)d(?![a-z\d])")


def open_model(
    checkpoint: str | Path,
    data: str | Path | pd.DataFrame | ArrowStream,
    *,
    horizon: int | None = None,
    threshold: float | None = None,
    bucket_edges: Sequence[float] | Literal["auto"] | None = None,
    min_return: float | None = None,
    validation_fraction: float | None = None,
    lookback: int | None = None,
) -> tuple[StockDataset, PooledTransformer]:
    """Open a model, and windows whose inputs are made like those it was trained on.

    What the checkpoint says is used: one that `stockformer.checkpoint.save_checkpoint` wrote has statistics and
    settings. One without statistics is read as `stockformer.preprocessing.TRAINED_ELSEWHERE` says; its file name
    (``model_bin_3d.pt``, ``coral_buck_10d.pt``) gives the horizon and, where shapes leave it open, the label mode.
    Whatever neither of them says is assumed, and one warning lists the assumptions.

    Args:
        checkpoint: a ``.pt`` file.
        data: a CSV or Parquet file, a folder or glob of them, or a table of pandas, polars or pyarrow, as
            `stockformer.table.read_table` takes: one row per ticker and day. Parquet files are read as by
            `StockDataset.from_parquet`, which need not hold them in memory. Market features are columns, or come from
            rows of ETFs and a column ``sector``.
        horizon: how many rows ahead the target is. Where it is not known, no window has a label.
        threshold: the smallest return whose binary label is 1, a fraction; assumed: 0.015.
        bucket_edges: in percent, or ``auto`` for quantiles of all targets; assumed: -1 and 1 for three buckets,
            else ``auto``.
        min_return: for classes, windows with a return closer to 0 are left out; assumed: 0.0025.
        validation_fraction: share of the windows' dates, the last ones, kept out of the statistics; assumed: 0.2.
        lookback: days per window; assumed: 60.

    Returns:
        The dataset and the model, in eval mode on the CPU.

    Raises:
        FileNotFoundError: there is no such checkpoint, or no data.
        ValueError: one of them cannot be read, they do not fit each other, or an argument has no effect on this
            checkpoint.

    Example:
        >>> dataset, model = open_model("model_bin_3d.pt", "data/")
    """
    model, info = read_checkpoint(checkpoint)
    name, classes = Path(checkpoint).name, info.arch["num_buckets"]
    _check_effect(name, info, threshold, bucket_edges, min_return, validation_fraction)
    target = TargetColumn.of_name(info.dataset_settings.get("target_col") or "close_3d_fwd_return")
    overrides = {
        "target_col": None if horizon is None else target.of_horizon(horizon).name,
        "threshold": threshold,
        "bucket_edges": bucket_edges,
        "lookback": lookback,
    }
    settings = info.dataset_settings | {key: value for key, value in overrides.items() if value is not None}
    assumptions: list[_Assumption] = []
    if settings["preprocessing"] is None:
        settings["preprocessing"] = TRAINED_ELSEWHERE
        settings = feature_columns(name, info) | _target(name) | settings
        assumptions = list(_assumptions(info, settings, min_return, validation_fraction))
        settings |= {assumption.setting: assumption.value for assumption in assumptions if assumption.setting}
        settings["assumed"] = [assumption.words for assumption in assumptions if assumption.of_labels]
    settings["preprocessing"] = _changed(settings["preprocessing"], min_return, validation_fraction)
    if info.nhead_is_guessed:
        words = f"{info.arch['nhead']} heads, where a wrong count draws wrong maps"
        assumptions.append(_Assumption(words, f'{{"nhead": 8}} in {name}.meta'))
    if settings["label_mode"] == "buckets":
        settings["bucket_edges"] = _edges(name, classes, settings.get("bucket_edges"))
    longest = info.arch["max_len"]
    if isinstance(settings["lookback"], int) and settings["lookback"] > longest:
        raise ValueError(f"lookback is {settings['lookback']}, and {name} takes at most {longest} days")
    dataset = StockDataset(source_of(data), **settings)
    contradictions, named = list(info.contradictions), _target(name).get("target_col")
    if horizon is None and named not in (None, settings.get("target_col", named)):
        target_col = settings["target_col"]
        contradictions.append(f"its name says {named}, the file {target_col}: read as {target_col}")
    warn_of_arch(name, None, contradictions)
    if assumptions:
        listed = "; ".join(f"{assumption.words} ({assumption.otherwise})" for assumption in assumptions)
        warnings.warn(
            f"{name} does not say everything. Assumed, with the argument to change it: {listed}", stacklevel=2
        )
    return dataset, model


@dataclass(frozen=True)
class _Assumption:
    """A value assumed for a setting that no file gives.

    Attributes:
        words: the assumption.
        otherwise: an argument that changes it.
        setting, value: the argument of `StockDataset` that it sets, if any.
        of_labels: whether labels depend on it.
    """

    words: str
    otherwise: str
    setting: str = ""
    value: Any = None
    of_labels: bool = False


def _assumptions(
    info: CheckpointInfo, settings: Mapping[str, Any], min_return: float | None, validation_fraction: float | None
) -> Iterator[_Assumption]:
    default, mode, classes = TRAINED_ELSEWHERE, info.arch["output_mode"], info.arch["num_buckets"]
    if "target_col" not in settings:
        yield _Assumption("the horizon is not known, so no window has a label", "horizon=3", "target_col")
    elif mode == "binary" and "threshold" not in settings:
        words = f"UP from a return of {100 * default.threshold:+g} %"
        yield _Assumption(words, "threshold=0.02", "threshold", default.threshold, True)
    elif mode == "buckets" and settings.get("bucket_edges") is None:
        known = default.bucket_edges if classes == 3 else None
        words = "edges at -1 and 1 %" if known else "edges at the quantiles of all targets in these data"
        example = [2 * k for k in range(2 - classes, classes, 2)]
        yield _Assumption(words, f"bucket_edges={example}", "bucket_edges", list(known) if known else classes, True)
    if mode != "regression" and min_return is None and settings.get("target_col"):
        yield _Assumption(
            f"no window ends on a day with a return within {100 * default.min_return:g} % of 0", "min_return=0"
        )
    if validation_fraction is None:
        words = f"statistics from the first {100 * default.training_fraction:g} % of the windows' dates"
        yield _Assumption(words, "validation_fraction=0.3")
    if "lookback" not in settings:
        yield _Assumption(f"{LOOKBACK} days per window", "lookback=30", "lookback", LOOKBACK)


def feature_columns(name: str, info: CheckpointInfo) -> dict[str, list[str] | None]:
    """The stock and market features that a model reads: those its file names, else the known ones of that number.

    Raises:
        ValueError: the file `name` does not name them, and no known features have that number.
    """
    settings = info.dataset_settings
    if "feature_cols" in settings and "market_feature_cols" in settings:
        return {key: settings[key] for key in ("feature_cols", "market_feature_cols")}
    stock = {len(columns): columns for columns in (BASE_FEATURE_COLUMNS, ENCODER_FEATURE_COLUMNS)}
    market: dict[int | None, list[str] | None] = {None: None, len(MARKET_FEATURE_COLUMNS): MARKET_FEATURE_COLUMNS}
    widths = info.arch["feature_dim"], info.arch.get("market_dim")
    if widths[0] not in stock or widths[1] not in market:
        raise ValueError(
            f"{name} takes {widths[0]} stock and {widths[1] or 0} market features, and does not name them: expected "
            f"{' or '.join(map(str, stock))} stock and 0 or {len(MARKET_FEATURE_COLUMNS)} market features"
        )
    return {"feature_cols": stock[widths[0]], "market_feature_cols": market[widths[1]]}


def _check_effect(
    name: str, info: CheckpointInfo, threshold: Any, bucket_edges: Any, min_return: Any, validation_fraction: Any
) -> None:
    """Raise ValueError for an argument that has no effect on this checkpoint."""
    mode, statistics = info.arch["output_mode"], info.dataset_settings.get("normalization") is not None
    for argument, value, without, why in (
        ("threshold", threshold, mode != "binary", f"its label mode is {mode}"),
        ("bucket_edges", bucket_edges, mode != "buckets", f"its label mode is {mode}"),
        ("min_return", min_return, mode == "regression", f"its label mode is {mode}"),
        ("validation_fraction", validation_fraction, statistics, "it has statistics of its own"),
    ):
        if value is not None and without:
            raise ValueError(f"{argument} has no effect on {name}: {why}")


def _edges(name: str, classes: int, setting: Any) -> list[float] | int:
    """Edges in percent that fit the model's buckets, or the number of buckets, for quantiles."""
    number = not isinstance(setting, bool) and isinstance(setting, int | np.integer)
    if (isinstance(setting, str) and setting == "auto") or (number and setting == classes):
        return classes
    try:
        edges = [] if isinstance(setting, str) else [float(edge) for edge in setting]
    except (TypeError, ValueError):
        edges = []
    if len(edges) + 1 != classes:
        raise ValueError(
            f"{name} has {classes} buckets, expected {classes - 1} bucket_edges in percent, or 'auto', "
            f"found {edges or setting!r}"
        )
    return edges


def _target(name: str) -> dict[str, str]:
    match = _HORIZON.search(name.lower())
    return {} if match is None else {"target_col": f"close_{match[1]}d_fwd_return"}


def _changed(
    preprocessing: Preprocessing, min_return: float | None, validation_fraction: float | None
) -> Preprocessing:
    if min_return is not None:
        if not 0 <= min_return < math.inf:
            raise ValueError(f"min_return is {min_return}, expected a fraction such as 0.0025, or 0")
        preprocessing = replace(preprocessing, min_return=min_return)
    if validation_fraction is not None:
        if not 0 < validation_fraction < 1:
            raise ValueError(f"validation_fraction is {validation_fraction}, expected more than 0 and less than 1")
        preprocessing = replace(preprocessing, training_fraction=1 - validation_fraction)
    return preprocessing
