"""The folder of a survey: a manifest, and Parquet files and maps that are written whole."""

from __future__ import annotations

import errno
import io
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from stockformer.files import write_whole
from stockformer.table import listed

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = 1
_ROWS = 2**14  # per row group of the finished table: as many are in memory when chunks are joined
#: Entries in which manifests have to agree -> their names in messages.
_IDENTITY = {
    "schema": "the form of the store",
    "model": "the model",
    "data": "the dataset",
    "details": "the measures",
    "chunk": "the chunks",
}
#: Other entries that a survey reads.
_NEEDED = {"index", "windows", "lookback", "horizon", "classes", "train_end"}
#: Errors of a full disk, and of a folder that may not be written.
_FULL, _FORBIDDEN = (errno.ENOSPC, errno.EDQUOT), (errno.EACCES, errno.EPERM, errno.EROFS)
#: Sums of maps by grouping, name of the group and kind of attention: [layers, query, key].
Maps = Mapping[tuple[str, str, str], np.ndarray]


class Store:
    """Chunks of a survey in a folder, and the finished table that they become.

    While a survey runs there is a file ``chunks/00007.parquet`` and one ``chunks/00007.npz`` for each chunk that is
    done. When all are there they become ``windows.parquet`` and ``maps.npz``.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.table, self.maps_file = self.folder / "windows.parquet", self.folder / "maps.npz"
        self._chunks = self.folder / "chunks"

    @property
    def manifest(self) -> dict[str, Any]:
        """What was measured of which windows.

        Raises:
            FileNotFoundError: there is no survey in the folder.
            ValueError: its manifest is damaged, or of another version.
        """
        path = self.folder / "manifest.json"
        if not path.is_file():
            raise FileNotFoundError(f"{self.folder} holds no survey: there is no manifest.json")
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            schema = manifest["schema"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is damaged: expected the manifest of a survey") from None
        if schema != SCHEMA:
            raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}")
        missing = sorted((_NEEDED | set(_IDENTITY)) - set(manifest))
        if missing:
            raise ValueError(f"{path} is damaged: it lacks {listed(missing)}")
        return manifest

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Make the folder for this survey, or resume the one in it, whose sectors may differ.

        Raises:
            ValueError: the folder holds a survey of something else, or other files.
            OSError: it cannot be written.
        """
        if not (self.folder / "manifest.json").exists():
            others = [path.name for path in self.folder.glob("*") if path.name != "writing.lock"]
            if others:
                raise ValueError(f"{self.folder} holds {listed(sorted(others))}, expected an empty folder or a survey")
            self._chunks.mkdir(parents=True, exist_ok=True)
            write_whole({self.folder / "manifest.json": json.dumps(manifest, indent=2).encode()})
            return
        stored = self.manifest
        other = [words for key, words in _IDENTITY.items() if stored[key] != manifest[key]]
        if other:
            raise ValueError(
                f"{self.folder} holds another survey, which differs in {listed(other)}; choose another folder"
            )
        if manifest["sectors"] and manifest["sectors"] != stored.get("sectors"):
            write_whole({self.folder / "manifest.json": json.dumps(manifest, indent=2).encode()})
        self._chunks.mkdir(exist_ok=True)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in _FULL:  # `writing` has words for a full disk
                raise
            raise type(error)(f"the folder {self.folder} cannot be made: {error.strerror}") from None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing to the folder.

        Raises:
            BlockingIOError: another process writes to it.
            OSError: the disk is full, or the folder cannot be written.
        """
        try:
            if self.folder.exists() and not self.folder.is_dir():
                raise NotADirectoryError(f"{self.folder} is a file, expected a folder")
            self._make_folder()
            lock = FileLock(self.folder / "writing.lock", timeout=0)
            with lock:
                yield
        except Timeout:
            raise BlockingIOError(f"{self.folder} is being written by another process") from None
        except OSError as error:
            if error.errno in _FULL:
                raise OSError(error.errno, f"no space left for {self.folder}; what is done is kept") from None
            if error.errno in _FORBIDDEN and str(error.filename).startswith(str(self.folder)):
                raise PermissionError(
                    f"the folder {self.folder} cannot be written: {error.strerror}; what is done is kept"
                ) from None
            raise

    def missing(self, rows: Mapping[int, int]) -> list[int]:
        """The chunks that are missing or damaged.

        Args:
            rows: chunk -> its number of windows.
        """
        if self._is_whole(self.table, sum(rows.values())) and _readable(self.maps_file):
            return []
        return [place for place, number in rows.items() if not self._is_done(place, number)]

    def add(self, place: int, table: pa.Table, maps: Maps) -> None:
        """Write a chunk."""
        # The table last: a chunk is done when it is there.
        write_whole({self._maps_of(place): _packed(maps), self._table_of(place): _parquet(table)})

    def finish(self, chunks: int) -> None:
        """Join all chunks, in their order."""
        if not list(self._chunks.glob("*.parquet")):
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        joined, together = self.table.with_suffix(".part"), max(1, _ROWS // self.manifest["chunk"])
        with pq.ParquetWriter(joined, pq.read_schema(self._table_of(0)), write_page_checksum=True) as writer:
            for first in range(0, chunks, together):
                places = range(first, min(chunks, first + together))
                table = pa.concat_tables(pq.read_table(self._table_of(place)) for place in places)
                writer.write_table(table.combine_chunks(), row_group_size=_ROWS)
        totals: dict[tuple[str, str, str], np.ndarray] = {}
        for place in range(chunks):
            for key, total in _unpacked(self._maps_of(place)).items():
                totals[key] = totals[key] + total if key in totals else total
        write_whole({self.maps_file: _packed(totals)})
        joined.replace(self.table)
        shutil.rmtree(self._chunks)

    @property
    def maps(self) -> dict[tuple[str, str, str], np.ndarray]:
        """The sums of maps of a finished survey.

        Raises:
            ValueError: they are missing or damaged.
        """
        if not _readable(self.maps_file):
            raise ValueError(f"{self.maps_file} is missing or damaged; run survey again")
        return _unpacked(self.maps_file)

    def check_table(self) -> None:
        """Raise ValueError unless the finished table has every row, each page as it was written."""
        rows = self.manifest["windows"]
        if not self._is_whole(self.table, rows):  # DuckDB reads changed numbers without a word
            raise ValueError(f"{self.table} is damaged: expected {rows:,} whole rows; run survey again")

    def tables(self) -> list[Path]:
        """The existing Parquet files."""
        return [self.table] if self.table.exists() else sorted(self._chunks.glob("*.parquet"))

    def _is_done(self, place: int, rows: int) -> bool:
        return self._is_whole(self._table_of(place), rows) and _readable(self._maps_of(place))

    def _is_whole(self, path: Path, rows: int) -> bool:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                return bool(rows == sum(batch.num_rows for batch in file.iter_batches(_ROWS)))
        except (pa.ArrowException, OSError):
            return False

    def _table_of(self, place: int) -> Path:
        return self._chunks / f"{place:05}.parquet"

    def _maps_of(self, place: int) -> Path:
        return self._chunks / f"{place:05}.npz"


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()


def _packed(maps: Maps) -> bytes:
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {json.dumps(key): total for key, total in maps.items()}
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _unpacked(path: Path) -> dict[tuple[str, str, str], np.ndarray]:
    with np.load(path) as archive:
        return {_key(name): archive[name] for name in archive.files}


def _key(name: str) -> tuple[str, str, str]:
    grouping, group, kind = json.loads(name)
    return grouping, group, kind


def _readable(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False
