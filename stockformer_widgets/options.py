"""What is chosen in the views of tabs, for undo and state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stockformer_widgets.catalogue import PAGES
from stockformer_widgets.state.saved import check_dictionary, noting
from stockformer_widgets.tabs import Shown
from stockformer_widgets.views.base import View


class ViewOptions:
    """The options of views, including those that are made later.

    Args:
        changed: called when a person chooses one.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._views: list[View] = []
        #: Name of a view that is not made yet -> its options.
        self._later: dict[str, dict[str, str]] = {}

    def adopt(self, views: Sequence[Shown]) -> list[str]:
        """Follow new views and restore their saved options; a sentence for each option that is refused."""
        failures: list[str] = []
        known = len(self._views)
        self._views += [view for view in views if isinstance(view, View) and view not in self._views]
        for name, view in list(self._named())[known:]:
            with noting(failures, "an option"):
                view.choose(self._later.pop(name, {}))
            for control in view.controls.values():
                control.observe(lambda change: self._changed(), "value")
        return failures

    def save(self) -> dict[str, dict[str, str]]:
        """Name of a view -> what is chosen in it, without the defaults."""
        changed = {name: view.changed for name, view in self._named()}
        return {name: chosen for name, chosen in sorted((changed | self._later).items()) if chosen}

    def restore(self, options: Mapping[str, Any]) -> list[str]:
        """Choose these options, and the default of all others; a sentence for each that is refused."""
        known = {kind.__name__ for columns in PAGES.values() for column in columns for kind in column}
        failures: list[str] = []
        self._later = {}
        for name, one in options.items():
            with noting(failures, "an option"):
                if _kind(name) not in known:
                    raise ValueError(f"there is no view {name!r}")
                check_dictionary(name, one)
                self._later[name] = dict(one)
        for name, view in self._named():
            with noting(failures, "an option"):
                view.choose(self._later.pop(name, {}))
        return failures

    def _named(self) -> Iterator[tuple[str, View]]:
        """The views by the name of their class; further views of a class are numbered."""
        counts: dict[str, int] = {}
        for view in self._views:
            name = type(view).__name__
            counts[name] = counts.get(name, 0) + 1
            yield (name if counts[name] == 1 else f"{name} {counts[name]}"), view


def _kind(name: str) -> str:
    return name.removeprefix("Compared").split(" ")[0]
