"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

_KINDS = {"d": "a folder", "p": "a pipe", "s": "a socket", "c": "a device", "b": "a device"}
_PROBE = bytes(2**16)


def check_writable(
    outputs: Iterable[Path], inputs: Iterable[Path] = (), *, make_folders: bool = False, overwrite: bool = True
) -> None:
    """Raise unless every output can be written; call it before a long computation.

    A probe of 64 KiB is written beside each output and removed.

    Args:
        inputs: files that are read, and so may not be outputs.
        make_folders: whether missing folders will be made; they are not made here.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: an output exists and may not be replaced.
        OSError: an output is a folder, device, pipe or socket, may not be written, or its disk is full.
        ValueError: two outputs are one file, or an output is an input.
    """
    outputs = list(outputs)
    targets = _targets(outputs, inputs)
    existing = [] if overwrite else [path for path in outputs if path.exists()]
    if existing:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise FileExistsError(f"{existing[0]}{more} would be replaced: expected a new name, or --overwrite")
    for target in targets:
        folder = target.parent
        while make_folders and not folder.exists():
            folder = folder.parent
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file, expected a folder to write into")
        probe = _neighbour(folder)
        try:
            _write(probe, _PROBE)
        finally:
            probe.unlink(missing_ok=True)


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Write files beside these, then rename them in order: no reader sees half a file, a failed write changes nothing.

    A link stays a link, and the file that it leads to is replaced. A replaced file keeps its
    permissions; a new one has those of the umask.

    Raises:
        OSError: a path is a folder, device, pipe or socket, or it cannot be written.
        ValueError: two paths are one file.
    """
    targets = _targets(files)
    neighbours = [_neighbour(target.parent) for target in targets]
    try:
        for target, neighbour, content in zip(targets, neighbours, files.values(), strict=True):
            _write(neighbour, content, target.stat().st_mode & 0o777 if target.exists() else None)
        for target, neighbour in zip(targets, neighbours, strict=True):
            neighbour.replace(target)
    finally:
        for neighbour in neighbours:
            neighbour.unlink(missing_ok=True)


def _targets(outputs: Iterable[Path], inputs: Iterable[Path] = ()) -> list[Path]:
    """The path of each output with all links resolved."""
    taken = {_identity(path): f"is read as {path}" for path in inputs}
    targets = []
    for path in outputs:
        _check_regular(path)
        identity = _identity(path)
        if identity in taken:
            raise ValueError(f"{path} is an output and {taken[identity]}: expected different files")
        taken[identity] = f"written as {path}"
        targets.append(Path(os.path.realpath(path)))
    return targets


def _check_regular(path: Path) -> None:
    if not path.exists():
        if os.path.islink(os.path.realpath(path)):
            raise OSError(f"{path} is a link that leads back to itself")
        return
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.filemode(mode)[0], "not a regular file")
        raise (IsADirectoryError if stat.S_ISDIR(mode) else OSError)(f"{path} is {kind}, expected a file to write")
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{path} is read-only")


def _identity(path: Path) -> object:
    """A value that is equal for two names of the same file."""
    if not path.exists():
        return os.path.realpath(path)
    status = path.stat()
    return status.st_dev, status.st_ino


def _neighbour(folder: Path) -> Path:
    """An unpredictable name, short however long the file's own name is."""
    return folder / f".{secrets.token_hex(8)}.part"


def _write(path: Path, content: bytes, mode: int | None = None) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write into")
    with path.open("xb") as file:  # exclusive: never through a link, never over a file
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
