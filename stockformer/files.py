"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def check_writable(path: Path) -> None:
    """Raise an OSError unless there is a folder to write this file into; ask before long work."""
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, expected a file to write")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} into")


def write_whole(files: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write neighbours, then rename them all: a reader never sees a part, a failure changes nothing."""
    for path in files:
        check_writable(path)
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in files}
    try:
        for path, write in files.items():
            write(parts[path])
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
