"""The windows of a survey as a table: queries, groups, comparisons and mean maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from stockformer.explainability.groups.comparison import (
    GroupComparison,
    Panel,
    check_names,
    compare_measures,
    window_indices,
)
from stockformer.survey.context import REGIMES
from stockformer.survey.store import Store
from stockformer.survey.words import VALUES, named, number_words
from stockformer.table import listed
from stockformer.target_column import TargetColumn

if TYPE_CHECKING:
    import duckdb

#: Columns that are not measures of the model.
CONTEXT = ("window", "date", "ticker", "volatility", "window_return", "drawdown", "regime", "outcome", "label")
OUTPUTS = ("prediction", "score", "error", "correct")
#: The column of sectors, where a survey has them, and the sector of a ticker that none was given for.
SECTOR, NO_SECTOR = "sector", "none"


class Survey:
    """What was measured of every window of a dataset.

    The table ``windows`` has one row per window: its index in the dataset, date and ticker, prices in and after it
    (`stockformer.survey.context.price_context`), the model's output, and the measures, whose names have ``_`` for
    spaces: ``gate_layer_0``, ``cross_diffuseness``.

    Made by `survey`, or by `open_survey` from a folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self._store = Store(folder)
        self.manifest = self._store.manifest

    @property
    def folder(self) -> Path:
        """Where it is stored."""
        return self._store.folder

    def __repr__(self) -> str:
        return f"Survey({str(self.folder)!r}, {len(self):,} windows)"

    def __len__(self) -> int:
        return int(self.manifest["windows"])

    @cached_property
    def columns(self) -> list[str]:
        """The columns of ``windows``."""
        return list(self._connection.table("windows").columns)

    @cached_property
    def measures(self) -> list[str]:
        """The columns that hold measures of the model."""
        others = {*CONTEXT, *OUTPUTS, SECTOR}
        return [name for name in self.columns if name not in others and not name.startswith("feature_")]

    @cached_property
    def numeric(self) -> list[str]:
        """The columns that can be drawn: measures, outputs and prices."""
        numbers = self.query("SELECT column_name FROM (DESCRIBE windows) WHERE column_type IN ('DOUBLE', 'FLOAT')")
        return [*self.measures, *(name for name in numbers["column_name"] if name not in self.measures)]

    def in_words(self, column: str, value: float) -> str:
        """A number of a column as people write it: in percent, or in the usual unit of the target; empty for NaN."""
        if np.isnan(value):
            return ""
        name, regression = self.manifest["target"], not self.manifest["classes"]
        if name and column in (VALUES if regression else ("outcome",)):
            return TargetColumn.of_name(name).in_percent(value)
        return number_words(column, value)

    def to_frame(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """One row per window, in the dataset's order.

        Args:
            columns: which; all by default.
        """
        names = "*" if columns is None else ", ".join(f'"{name}"' for name in columns)
        return self.query(f'SELECT {names} FROM windows ORDER BY "window"')

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """The result of one SELECT of DuckDB over the table ``windows``, which it cannot change.

        ``window`` is a keyword of SQL: the column is ``"window"``. DESCRIBE, SUMMARIZE and a PIVOT that names its
        columns by IN count as one SELECT; any other PIVOT is several statements.

        Raises:
            ValueError: DuckDB cannot run it, or it is not one SELECT that only reads.
        """
        import duckdb

        try:
            with self._connection.cursor() as cursor:
                statement = _only_select(cursor.extract_statements(sql))
                # A SELECT may hold a DELETE, which only the transaction refuses.
                cursor.execute("BEGIN TRANSACTION READ ONLY")
                frame = cursor.execute(statement, list(parameters)).df()
        except duckdb.TransactionException:
            raise ValueError(f"{_EXPECTED}, found one that writes") from None
        except duckdb.Error as error:
            raise ValueError(f"the query failed: {str(error).splitlines()[0]}") from None
        categories = [name for name in frame if isinstance(frame[name].dtype, pd.CategoricalDtype)]
        return frame.astype(dict.fromkeys(categories, str))

    def groups(self, by: str | Mapping[str, str]) -> dict[str, np.ndarray]:
        """Indices of windows by group, for `compare_groups`.

        Args:
            by: ``regime``, ``sector``, ``ticker`` or ``correct``; ``volatility`` for the quarters of the windows with
                the least and the most, ``calm`` and ``volatile``: windows of any day, so that calm tickers have more of
                the calm ones, whereas all tickers share the regime of a day; or name -> condition in SQL, such as
                ``{"before": "date < '2008-09-15'", "after": "date >= '2008-09-15'"}``.

        Windows without a volatility, or on days without a regime, are in no such group.

        Raises:
            ValueError: there is no such column, it has too many values, or a condition is not SQL.
        """
        if not isinstance(by, str):
            return {name: self._where(condition) for name, condition in by.items()}
        if by == "volatility":
            low, high = self.to_frame(["volatility"])["volatility"].quantile([0.25, 0.75])
            # To DuckDB NaN is larger than every number.
            volatile = self._where("volatility >= ? AND NOT isnan(volatility)", high)
            return {"calm": self._where("volatility <= ?", low), "volatile": volatile}
        if by == "correct":
            if by not in self.columns:
                raise ValueError("a regression's values are not right or wrong")
            return {"right": self._where("correct = 1"), "wrong": self._where("correct = 0")}
        if by == SECTOR and by not in self.columns:
            raise ValueError("this survey has no sectors: survey(..., sectors={ticker: sector}) adds them")
        if by not in ("regime", "ticker", SECTOR):
            raise ValueError(
                f"by is {by!r}, expected volatility, regime, correct, sector, ticker, or conditions in SQL by name"
            )
        names = self.query(f"SELECT DISTINCT {by} AS name FROM windows ORDER BY name")["name"]
        ordered = [name for name in REGIMES if name in set(names)] if by == "regime" else list(names)
        return {str(name): self._where(f"{by} = ?", name) for name in ordered}

    def compare_groups(
        self,
        group_a: Sequence[int] | np.ndarray,
        group_b: Sequence[int] | np.ndarray,
        *,
        names: tuple[str, str] = ("a", "b"),
        measures: Sequence[str] | None = None,
        resamples: int = 10_000,
    ) -> GroupComparison:
        """`stockformer.explainability.compare_groups` of stored measures, which does not run the model.

        Args:
            group_a, group_b: indices of windows, or a boolean for every window of the dataset.
            names: names of the groups.
            measures: columns to compare; by default those that `compare_groups` has. The more there are, the clearer a
                difference has to be.
            resamples: see `compare_groups`.

        Returns:
            A comparison without maps.
        """
        check_names(names)
        chosen = self.main_measures if measures is None else list(measures)
        missing = sorted(set(chosen) - set(self.measures))
        if missing:
            raise ValueError(f"there is no measure {missing[0]!r}, only {listed(self.measures, 12)}")
        frame = self.to_frame(["date", "ticker", *chosen])
        groups = [window_indices(len(frame), one, name) for one, name in zip((group_a, group_b), names, strict=True)]
        panel = Panel(
            pd.DatetimeIndex(frame["date"]), frame["ticker"].to_numpy(dtype=object), self.manifest["lookback"]
        )
        values = frame[chosen].astype(np.float64).rename(columns=named)

        def measure(samples: np.ndarray, group: np.ndarray) -> tuple[pd.DataFrame, dict[str, Tensor]]:
            return values.iloc[samples].reset_index(drop=True), {}

        return compare_measures(panel, groups, names, measure, resamples)

    def mean_maps(self, by: str) -> dict[str, dict[str, Tensor]]:
        """Mean maps of groups of windows: name of the group -> kind of attention -> [layers, query, key].

        Args:
            by: ``month``, ``regime``, or ``ticker`` where the dataset has few enough.

        Raises:
            ValueError: there are none.
        """
        counts = self.query(f"SELECT {_GROUPS.get(by, by)} AS name, count(*) AS n FROM windows GROUP BY name")
        sizes = dict(zip(counts["name"], counts["n"], strict=True))
        maps: dict[str, dict[str, Tensor]] = {}
        for (grouping, name, kind), total in self._store.maps.items():
            if grouping == by:
                maps.setdefault(name, {})[kind] = torch.from_numpy(total / sizes[name]).float()
        if not maps:
            raise ValueError(f"there are no mean maps by {by!r}, expected month, regime or, of few tickers, ticker")
        return maps

    @property
    def main_measures(self) -> list[str]:
        """The measures that every survey has: none of a single head, and of single layers only the gates."""
        return [name for name in self.measures if "_layer_" not in name or name.startswith("gate_")]

    def _where(self, condition: str, *parameters: Any) -> np.ndarray:
        sql = f'SELECT "window" FROM windows WHERE {condition} ORDER BY "window"'
        return self.query(sql, parameters)["window"].to_numpy()

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        connection = duckdb.connect()
        files = [str(path) for path in self._store.tables()]
        try:
            stored = connection.read_parquet(files)
            texts = [name for name, kind in zip(stored.columns, stored.types, strict=True) if kind == "VARCHAR"]
            for name in texts:
                # Filters compare the numbers of an enumeration several times faster than texts.
                connection.execute(f'CREATE TYPE "{name}" AS ENUM (SELECT DISTINCT "{name}" FROM stored ORDER BY ALL)')
            enumerated = ", ".join(f'CAST("{name}" AS "{name}") AS "{name}"' for name in texts)
            connection.execute(f"CREATE TABLE windows AS SELECT * REPLACE ({enumerated}) FROM stored")
            if sectors := self.manifest.get("sectors"):
                _add_sectors(connection, sectors)
        except duckdb.Error as error:
            raise ValueError(
                f"{self._store.folder} is damaged: {str(error).splitlines()[0]}; run survey again"
            ) from None
        return connection


_EXPECTED = "a query is one SELECT that only reads"


def _only_select(statements: Sequence[duckdb.Statement]) -> duckdb.Statement:
    import duckdb

    if not statements:
        raise ValueError("the query is empty, expected SQL")
    if len(statements) > 1:
        raise ValueError(f"{_EXPECTED}, found {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError(f"{_EXPECTED}, found {statements[0].type.name}")
    return statements[0]


#: SQL of the groupings whose mean maps are kept.
_GROUPS = {"month": "strftime(date, '%Y-%m')"}


def _add_sectors(connection: duckdb.DuckDBPyConnection, sectors: Mapping[str, str]) -> None:
    connection.register("names", pd.DataFrame(sectors.items(), columns=["ticker", "sector"]))
    connection.execute(
        f"CREATE TYPE {SECTOR} AS ENUM (SELECT DISTINCT sector FROM (SELECT sector FROM names "
        f"UNION SELECT '{NO_SECTOR}') ORDER BY ALL)"
    )
    connection.execute(f"ALTER TABLE windows ADD COLUMN {SECTOR} {SECTOR} DEFAULT '{NO_SECTOR}'")
    connection.execute(f"UPDATE windows SET {SECTOR} = names.sector FROM names WHERE windows.ticker = names.ticker")


def check_installed() -> None:
    """Raise ImportError unless the libraries of a survey are installed."""
    try:
        import duckdb  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(f"a survey needs {error.name}: pip install 'stockformer-widgets[history]'") from None


def open_survey(folder: str | Path) -> Survey:
    """A survey that was made before.

    Raises:
        FileNotFoundError: there is none in the folder.
        ValueError: it is not finished, or damaged.
        ImportError: pyarrow or duckdb is not installed, the extra ``history``.
    """
    check_installed()
    history, store = Survey(folder), Store(folder)
    if not store.table.exists():
        raise ValueError(f"the survey in {folder} is not finished: run survey again to resume it")
    store.check_table()
    if set(history.columns) < set(CONTEXT):
        raise ValueError(f"{folder} is damaged: windows.parquet lacks columns; run survey again")
    return history


def column_of(measure: str) -> str:
    """The column of a measure."""
    return measure.replace(" ", "_")
