"""State that the package's own parts follow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from traitlets import HasTraits

#: Held while state changes and while it is drawn: a kernel runs cells in one thread, messages of the page in another.
LOCK = threading.RLock()

Follower = Callable[[], None]


class Followed(HasTraits):
    """Traits with followers, who hear of every change whatever an observer of it raises.

    traitlets stops at the first observer that fails; a user's must not keep the
    screen on the old state. The first error is raised when all have heard. One
    change at a time is told, whatever threads they come from: else the picture of an
    older one, which took longer, could be the last one drawn.
    """

    def __init__(self) -> None:
        self._followers: list[Follower] = []
        super().__init__()

    def follow(self, follower: Follower) -> None:
        """Call `follower()` after each change, until `unfollow`."""
        self._followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        """Stop calling a follower; one that does not follow is left alone."""
        if follower in self._followers:
            self._followers.remove(follower)

    def notify_change(self, change: Any) -> None:
        """Tell the observers, then the followers."""
        errors = []
        with LOCK:
            for tell in (lambda: HasTraits.notify_change(self, change), *self._followers):
                try:
                    tell()
                except Exception as error:
                    errors.append(error)
        if errors:
            raise errors[0]
