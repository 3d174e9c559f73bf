"""Views in tabs, and what a person chose in them: undo, redo, state."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.snapshot import SnapshotBox
from stockformer_widgets.components.toolbar import Toolbar
from stockformer_widgets.options import ViewOptions
from stockformer_widgets.state.undo import Undo
from stockformer_widgets.tabs import ViewTabs


class Screen(SnapshotBox):
    """Base class of explorer and comparison. A subclass makes its `tabs`, then calls `_start_undo`."""

    tabs: ViewTabs

    def __init__(self) -> None:
        super().__init__()
        self.add_class("stockformer-screen")
        self.message = MessageLine()
        self.toolbar = Toolbar({"undo": self.undo, "redo": self.redo})
        self._options = ViewOptions(self._remember)

    @property
    def state(self) -> dict[str, Any]:
        """What is chosen, for `restore`: a dictionary for JSON.

        It holds what `save_state` does; the title of the ``tab``; under ``options``, by the name of a view, what is
        chosen in it; of an explorer the ``history``, of a comparison ``sample_A`` and ``sample_B``.
        """
        return self._with_tab(self._save())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Choose what a `state` holds, from this or another notebook.

        What this model or dataset does not have stays as it is; a warning and the message line say what that is.

        Raises:
            ValueError: it is not a state, or is one of another version.
        """
        if failures := self._restore(state):
            warnings.warn("; ".join(failures), stacklevel=2)

    def undo(self) -> None:
        """Take back what a person chose last; does nothing without it."""
        with self.message.reporting():
            self._undo.undo()
            self._show_undo()

    def redo(self) -> None:
        """Choose again what `undo` took back."""
        with self.message.reporting():
            self._undo.redo()
            self._show_undo()

    def _is_open(self) -> bool:
        """Whether there is still something to choose."""
        raise NotImplementedError

    def _save_chosen(self) -> dict[str, Any]:
        """What is chosen beside tab and options."""
        raise NotImplementedError

    def _restore_chosen(self, state: Mapping[str, Any]) -> list[str]:
        """Choose that again; returns a sentence for everything that is not restored."""
        raise NotImplementedError

    def _start_undo(self) -> None:
        self._adopt()
        self._undo = Undo(self._save, self._restore)
        self.tabs.observe(self._turned, "selected_index")
        self._show_undo()

    def _remember(self) -> None:
        """Remember the present choices for a later undo."""
        if self._is_open():
            self._undo.note()
            self._show_undo()

    def _show_undo(self) -> None:
        with self.toolbar.hold_sync():
            self.toolbar.undoes, self.toolbar.redoes = self._undo.undoes, self._undo.redoes
            self.toolbar.state = json.dumps(self._with_tab(self._undo.now))

    def _turned(self, change: Any) -> None:
        self._adopt()
        self._show_undo()

    def _adopt(self) -> None:
        """Make choices in the views of a newly opened tab undoable too."""
        if failures := self._options.adopt(self.tabs.views):
            self.message.say("; ".join(failures))

    def _save(self) -> dict[str, Any]:
        return {**self._save_chosen(), "options": self._options.save()}

    def _with_tab(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {**state, "tab": self.tabs.titles[self.tabs.selected_index]}

    def _restore(self, state: Mapping[str, Any]) -> list[str]:
        """Restore a state; returns and shows a sentence for everything that is not restored."""
        failures = self._restore_chosen(state)
        if (tab := state.get("tab")) in self.tabs.titles:
            self.tabs.selected_index = self.tabs.titles.index(tab)
        elif tab is not None:
            failures.append(f"tab is not restored: there is no {tab!r}")
        failures += self._options.restore(state.get("options", {}))
        self.message.say("; ".join(failures))
        return failures
