"""Where a dataset's rows come from: a table in memory, or Parquet files that memory need not hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from stockformer.parquet import ArrowStream, empty_on_disk, parquet_columns, read_parquet
from stockformer.table import check_unique, dated_parquet, is_parquet, read_table, table_files


class Frame:
    """A table in memory.

    Attributes:
        columns: their names.
    """

    def __init__(self, df: pd.DataFrame) -> None:
        check_unique(list(df.columns), "the table's headers")
        self.columns = list(df.columns)
        self._df = df

    def keys(self, names: Sequence[str]) -> pd.DataFrame:
        """All rows of a few columns."""
        return self._df[list(names)]

    def batches(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """The same rows of other columns, batch by batch."""
        yield self._df[list(names)]

    def empty(self, shape: tuple[int, int], dtype: type) -> np.ndarray:
        """An array for what is made of the rows."""
        return np.empty(shape, dtype)


class ParquetFiles:
    """Parquet files, read in batches; what is made of them is kept in temporary files. See `Frame`.

    Args:
        path: a file, a folder or a glob.

    Raises:
        FileNotFoundError: there is no such file.
        ImportError: pyarrow is not installed.
        ValueError: one of them is not a Parquet file.
    """

    def __init__(self, path: str | Path) -> None:
        self._files = table_files(Path(path))
        other = [file for file in self._files if not is_parquet(file)]
        if other:
            raise ValueError(f"{other[0]} is not a Parquet file: expected *.parquet")
        self.columns = list(dict.fromkeys(name for file in self._files for name in parquet_columns(file)))

    def keys(self, names: Sequence[str]) -> pd.DataFrame:
        return pd.concat([dated_parquet(file, names) for file in self._files], ignore_index=True)

    def batches(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        for file in self._files:
            for batch in read_parquet(file, names):
                yield batch.reindex(columns=list(names))

    def empty(self, shape: tuple[int, int], dtype: type) -> np.ndarray:
        return empty_on_disk(shape, dtype)


def source_of(data: str | Path | pd.DataFrame | ArrowStream) -> pd.DataFrame | ParquetFiles:
    """Parquet files, which memory need not hold, or what `stockformer.table.read_table` reads.

    Raises:
        FileNotFoundError, ImportError, TypeError, ValueError: as for `stockformer.table.read_table`.
    """
    if isinstance(data, str | Path) and all(map(is_parquet, table_files(Path(data)))):
        return ParquetFiles(data)
    return read_table(data)
