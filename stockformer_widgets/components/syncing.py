"""Tells a person's changes of controls from those that bring controls in line with the state."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Syncing(threading.local):
    """Whether this thread is bringing controls in line with the state.

    A kernel handles messages of a page in several threads, so a person can move a control while another thread is
    syncing.
    """

    running = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Changes inside are not a person's."""
        self.running = True
        try:
            yield
        finally:
            self.running = False
