"""Undo and redo of everything a person chose."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

State = Mapping[str, Any]
_MOST = 200
_TOGETHER = 0.5  # seconds
_FLAT = ("explanations", "selection", "history")  # whose fields have names of their own
_WORDS = {"where": "filter", "by": "drawn", "log_colors": "log colours", "maps_of": "mean maps"}
_DRAGGED = ["query"], ["key"]  # not both, which a click on a map changes


class Undo:
    """The states that a person left behind, and those that were undone.

    Args:
        save: the present state.
        restore: brings a state back.

    Attributes:
        now: the present state, as of the last `note`, `undo` or `redo`.

    `note` is called after every change. Days that a slider is dragged over, or a key held down, are one change.
    """

    def __init__(self, save: Callable[[], State], restore: Callable[[State], Any]) -> None:
        self._save, self._restore = save, restore
        self._past: list[State] = []
        self._future: list[State] = []
        self.now = save()
        self._changed_at = float("-inf")
        self._restoring = False

    @property
    def undoes(self) -> str:
        """What `undo` would take back, in words; empty if there is nothing."""
        return self._words(self._past)

    @property
    def redoes(self) -> str:
        """What `redo` would choose again, in words; empty if there is nothing."""
        return self._words(self._future)

    def note(self) -> None:
        """Remember the present state if it is a new one."""
        state = self._save()
        if self._restoring or state == self.now:
            return
        at = time.monotonic()
        fields = _changed(self.now, state)
        dragged = (
            self._past
            and at - self._changed_at < _TOGETHER
            and fields in _DRAGGED
            and fields == _changed(self._past[-1], self.now)
        )
        if not dragged:
            self._past.append(self.now)
            del self._past[:-_MOST]
        self.now, self._changed_at = state, at
        self._future.clear()

    def undo(self) -> None:
        """Bring back the state before the last change; does nothing without one."""
        self._go(self._past, self._future)

    def redo(self) -> None:
        """Bring back what was undone last; does nothing if a change came after it."""
        self._go(self._future, self._past)

    def _go(self, states: list[State], others: list[State]) -> None:
        if not states:
            return
        state = states.pop()
        others.append(self.now)
        self._restoring = True
        try:
            self._restore(state)
        finally:
            self._restoring = False
            self.now, self._changed_at = self._save(), float("-inf")

    def _words(self, states: list[State]) -> str:
        return ", ".join(_changed(states[-1], self.now)) if states else ""


def _changed(one: State, other: State) -> list[str]:
    """Names of the fields that differ."""
    names = []
    for name in _different(one, other):
        a, b = one.get(name, {}), other.get(name, {})
        if name in _FLAT:
            names += _different(a, b)
        elif name == "options":
            names += [option for view in _different(a, b) for option in _different(a.get(view, {}), b.get(view, {}))]
        else:
            names.append(name)
    return [field_words(name) for name in names]


def field_words(name: str) -> str:
    """What a field of a state is called on the screen."""
    return _WORDS.get(name, name.replace("_", " "))


def _different(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields of two mappings that differ."""
    return [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
