"""Changes of state that is not this package's, taken back also where an interrupt of the kernel comes between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo`, which may be called twice, at the end. What it undoes is done inside: it is known before."""
    try:
        yield
    finally:
        try:
            undo()
        except BaseException:  # an interrupt: start again
            undo()
            raise
