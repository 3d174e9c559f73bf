"""Temporary changes of state that is not this package's, undone even if the kernel is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def undone(undo: Callable[[], None]) -> Iterator[None]:
    """Call `undo`, which has to be safe to call twice, at the end.

    Make the change inside this context, so that it is undone even if an interrupt comes right after it.
    """
    try:
        yield
    finally:
        try:
            undo()
        except BaseException:  # an interrupt: start again
            undo()
            raise
