"""Measure every window of a dataset once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.explainability.measures import DETAILS, Chunk, MeasuredChunk, measure_chunk
from stockformer.fingerprint import fingerprint
from stockformer.model import as_forecaster
from stockformer.outputs import class_names, describe_outputs
from stockformer.steps import Steps, run_to_end
from stockformer.survey.context import index_of, price_context
from stockformer.survey.store import SCHEMA, Store
from stockformer.survey.table import Survey, check_installed, column_of, open_survey
from stockformer.table import listed
from stockformer.workers import Engine, check_engine, run_chunks

if TYPE_CHECKING:
    import pyarrow as pa

#: Windows per chunk: a chunk is computed in one go, and stored in one file.
CHUNK = 512
#: Mean maps by ticker are kept for at most so many tickers.
MOST_TICKERS = 32
_TOP_FEATURES = 3


def survey(
    model: nn.Module,
    dataset: StockDataset,
    to: str | Path,
    *,
    measures: Collection[str] = ("layers", "features"),
    sectors: Mapping[str, str] | pd.Series | None = None,
    engine: Engine = None,
    progress: bool = True,
) -> Survey:
    """Measure every window of a dataset, and store what is measured in a folder.

    A survey that was stopped is resumed: chunks of windows that are done are kept, unless their file is damaged. The
    numbers do not depend on the engine.

    Args:
        to: a folder, which is made; or one that holds an unfinished survey of the same model, dataset and measures.
        measures: what to measure besides `stockformer.explainability.MEASURES`: names of
            `stockformer.explainability.measures.DETAILS`.
        sectors: ticker -> name of its sector, which windows can then be filtered and grouped by; it can also be given
            to a finished survey, or changed. By default those that the folder has.
        engine: None for this process, a number of worker processes, or a `dask.distributed.Client`.
        progress: show a progress bar.

    Raises:
        TypeError: the model is not a `stockformer.model.Forecaster`, or an argument of another type.
        ValueError: unknown measures, sectors of other tickers, or the folder holds something else.
        BlockingIOError: another process writes to the folder.
        ImportError: pyarrow or duckdb is not installed, the extra ``history``.
        OSError: the folder cannot be written, or the disk is full; what is done is kept.

    Example:
        >>> history = survey(model, dataset, "runs/volatility", engine=2)
        >>> history.query("SELECT ticker, avg(market_share) FROM windows GROUP BY ticker")
    """
    steps = survey_steps(model, dataset, to, measures=measures, sectors=sectors, engine=engine)
    next(steps)  # raises on bad arguments before a progress bar is shown
    return run_to_end(steps, "survey", progress=progress)


def survey_steps(
    model: nn.Module,
    dataset: StockDataset,
    to: str | Path,
    *,
    measures: Collection[str] = ("layers", "features"),
    sectors: Mapping[str, str] | pd.Series | None = None,
    engine: Engine = None,
) -> Steps[Survey]:
    """`survey` in steps: one when everything is checked, and one per chunk."""
    if isinstance(measures, str):
        raise TypeError(f"measures is {measures!r}, expected a list of names of {', '.join(DETAILS)}")
    unknown = sorted(set(measures) - set(DETAILS))
    if unknown:
        raise ValueError(f"measures holds {unknown[0]!r}, expected names of {', '.join(DETAILS)}")
    check_installed()
    check_engine(engine)
    plan = _Plan(model, dataset, tuple(name for name in DETAILS if name in measures), _known_sectors(dataset, sectors))
    store = Store(to)
    with store.writing():
        store.begin(plan.manifest)
        rows = {place: len(windows) for place, windows in enumerate(plan.chunks)}
        missing = store.missing(rows)
        done = len(rows) - len(missing)
        yield done / len(rows)
        for place, measured in run_chunks(measure_chunk, model, plan.chunk, missing, engine):
            store.add(place, plan.table(place, measured), measured.maps)
            done += 1
            yield done / len(rows)
        store.finish(len(rows))
    return open_survey(to)


def _known_sectors(dataset: StockDataset, sectors: Mapping[str, str] | pd.Series | None) -> dict[str, str]:
    """The sectors of the dataset's tickers."""
    if sectors is None:
        return {}
    if not isinstance(sectors, Mapping | pd.Series):
        raise TypeError(f"sectors is {type(sectors).__name__}, expected the sector of every ticker: {{ticker: sector}}")
    tickers, by_ticker = set(dataset.end_tickers), {str(ticker): sector for ticker, sector in sectors.items()}
    known = {
        ticker: str(by_ticker[ticker]) for ticker in sorted(tickers & set(by_ticker)) if pd.notna(by_ticker[ticker])
    }
    if not known:
        named = listed(list(by_ticker)) if by_ticker else "no ticker"
        raise ValueError(f"sectors names {named}, and none of the tickers, which are {listed(sorted(tickers))}")
    return known


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which windows are measured together, and what is known of them without the model."""

    model: nn.Module
    dataset: StockDataset
    details: tuple[str, ...]
    sectors: Mapping[str, str]

    @cached_property
    def chunks(self) -> list[np.ndarray]:
        """Indices of the windows of every chunk: by date, and by ticker on the same date."""
        order = np.lexsort((self.dataset.end_tickers.astype(str), self.dataset.end_dates.to_numpy()))
        return np.split(order, range(CHUNK, len(order), CHUNK))

    @cached_property
    def manifest(self) -> dict[str, Any]:
        dataset, model = self.dataset, as_forecaster(self.model)
        return {
            "schema": SCHEMA,
            "model": {"class": type(self.model).__name__, "weights": fingerprint(self.model)},
            "data": dataset.fingerprint,
            "index": index_of(dataset),
            "details": list(self.details),
            "chunk": CHUNK,
            "windows": len(dataset),
            "lookback": dataset.lookback,
            "horizon": dataset.horizon,
            "target": dataset.target_col,
            "classes": class_names(model, dataset.bucket_edges or ()),
            "train_end": str(dataset.train_end.date()),
            "assumption": dataset.assumption,
            "sectors": dict(self.sectors),
            "features": [*dataset.feature_cols, *(dataset.market_feature_cols or [])],
        }

    @cached_property
    def context(self) -> pd.DataFrame:
        """One row per window: what prices and labels say."""
        dataset = self.dataset
        labels = dataset.labels[torch.from_numpy(dataset.ends)].double().numpy()
        named = {"window": np.arange(len(dataset)), "date": dataset.end_dates, "ticker": dataset.end_tickers}
        known = {"label": labels if dataset.horizon is not None else np.full(len(dataset), np.nan)}
        return pd.DataFrame(named).join(price_context(dataset)).assign(**known)

    @cached_property
    def groupings(self) -> pd.DataFrame:
        """The groups whose mean maps are kept, of every window."""
        groups = pd.DataFrame(
            {"month": self.context["date"].dt.strftime("%Y-%m"), "regime": self.context["regime"].astype(str)}
        )
        few = self.context["ticker"].nunique() <= MOST_TICKERS
        return groups.assign(ticker=self.context["ticker"].astype(str)) if few else groups

    def chunk(self, place: int) -> Chunk:
        windows = self.chunks[place]
        groups = {str(name): column.to_numpy()[windows] for name, column in self.groupings.items()}
        return Chunk(self.dataset.inputs(windows), groups, self.details)

    def table(self, place: int, measured: MeasuredChunk) -> pa.Table:
        """One row per window of a chunk."""
        import pyarrow as pa

        context = self.context.iloc[self.chunks[place]].reset_index(drop=True)
        columns = {str(name): column.to_numpy() for name, column in context.items()}
        columns |= self._outputs(measured.outputs, columns["label"])
        columns |= {column_of(name): values.astype(np.float32) for name, values in measured.values.items()}
        return pa.table(columns | (self._top_features(measured.features) if "features" in self.details else {}))

    def _outputs(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
        """Predictions, and how far off they are where the label is known."""
        known = np.isfinite(labels)
        described = describe_outputs(
            torch.from_numpy(outputs), self.model, torch.from_numpy(np.where(known, labels, 0))
        )
        columns = {
            "prediction": described.predictions.double().numpy(),
            "score": described.scores.double().numpy(),
            "error": np.where(known, described.errors.double().numpy(), np.nan),
        }
        if described.probabilities is not None:
            right = (described.predictions.numpy() == labels).astype(np.float64)
            columns["correct"] = np.where(known, right, np.nan)
        return columns

    def _top_features(self, sensitivity: np.ndarray) -> dict[str, np.ndarray]:
        """The features with the largest shares of a window's sensitivity, and these shares."""
        shares = sensitivity / sensitivity.sum(axis=1, keepdims=True)
        order = np.argsort(-shares, axis=1, kind="stable")[:, :_TOP_FEATURES]
        names = np.array(self.manifest["features"])
        columns: dict[str, np.ndarray] = {}
        for rank, feature in enumerate(order.T, 1):
            columns[f"feature_{rank}"] = names[feature]
            columns[f"feature_{rank}_share"] = np.take_along_axis(shares, feature[:, None], axis=1)[:, 0]
        return columns
