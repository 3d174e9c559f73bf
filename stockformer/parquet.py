"""Parquet files and Arrow tables as pandas tables. Needs pyarrow, the extra ``history``."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows read from a file at once.
BATCH = 1 << 16


class ArrowStream(Protocol):
    """A table of any library, handed over by the Arrow PyCapsule interface: polars, pyarrow, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any: ...


def frame_from_arrow(table: ArrowStream) -> pd.DataFrame:
    """A table as pandas has it; dates as days, decimals as floats, categoricals as their values.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the table cannot be handed over.
    """
    arrow = _pyarrow("a table that is not of pandas")
    try:
        taken = arrow.table(table)
    except (arrow.ArrowException, TypeError, ValueError) as error:
        raise ValueError(f"the {type(table).__name__} cannot be read: {' '.join(str(error).split())}") from None
    return _frame(taken)


def parquet_columns(path: Path) -> list[str]:
    """Names of a file's columns, those in the names of its folders (``symbol=AAPL``) last.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: it is not a Parquet file.
    """
    with _opened(path) as file:
        names = list(file.schema_arrow.names)
    return names + [name for name in _of_folders(path) if name not in names]


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """The rows of a file in batches; a column that the file lacks is missing, one in the names of its folders is text.

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: it is not a Parquet file, or damaged.
    """
    import pyarrow as pa

    with _opened(path) as file:
        inside = [name for name in columns if name in file.schema_arrow.names]
        constant = {name: text for name, text in _of_folders(path).items() if name in columns and name not in inside}
        for batch in file.iter_batches(BATCH, columns=inside):
            yield _frame(pa.Table.from_batches([batch])).assign(**constant)


def empty_on_disk(shape: tuple[int, int], dtype: type) -> np.ndarray:
    """An array in an unnamed temporary file, which is gone with the array.

    Raises:
        OSError: the folder of temporary files has too little space.
    """
    size, folder = int(np.prod(shape)) * np.dtype(dtype).itemsize, tempfile.gettempdir()
    if not size:
        return np.empty(shape, dtype)
    # A memory map of a file that does not fit kills the process at the first write.
    if size > disk_usage(folder).free:
        raise OSError(
            errno.ENOSPC, f"temporary files need {size / 1e9:.1f} GB, more than is free (TMPDIR names another)", folder
        )
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ImportError(f"{what} needs pyarrow: pip install 'stockformer-widgets[history]'") from None
    return pyarrow


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    arrow = _pyarrow(f"{path}, a Parquet file,")
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (arrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # an error of the file system, which names the file
        raise ValueError(f"{path} is not a Parquet file, or damaged: {' '.join(str(error).split())}") from None


def _of_folders(path: Path) -> dict[str, str]:
    pairs = [folder.partition("=") for folder in path.parts[:-1]]
    return {name: unquote(text) for name, equals, text in pairs if name and equals}


def _frame(table: pa.Table) -> pd.DataFrame:
    import pyarrow as pa

    plain = pa.Table.from_arrays([_plain(column) for column in table.columns], names=table.column_names)
    # Without pandas' own notes, which would make an index of the dates or tickers.
    frame: pd.DataFrame = plain.to_pandas(date_as_object=False, ignore_metadata=True)
    categorical = frame.select_dtypes("category").columns
    return frame.astype(dict.fromkeys(categorical, object))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

    if pa.types.is_decimal(column.type):
        return column.cast(pa.string()).cast(pa.float64())  # by its digits, as in a CSV: correctly rounded
    if pa.types.is_boolean(column.type):
        return column.cast(pa.float64())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        try:
            return column.cast(pa.large_string())  # text that an older writer did not mark as text
        except pa.ArrowInvalid:
            return column
    return column
