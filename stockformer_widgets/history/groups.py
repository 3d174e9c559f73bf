"""Two groups of windows, each made by a filter, and how they differ."""

from __future__ import annotations

from functools import partial

import numpy as np
from ipywidgets import HTML, Button, HBox, Layout, VBox, Widget

from stockformer.survey import history
from stockformer.survey.history import ALL, Filter
from stockformer.table import counted
from stockformer_widgets.components.drawing import MessageLine, text
from stockformer_widgets.history.part import Part
from stockformer_widgets.history.selection import GROUPS
from stockformer_widgets.views.group_differences import GroupDifferences


class Groups(Part):
    """Keep the filtered windows as a group, and compare two groups; one inside the other is compared with the rest."""

    content = ("groups",)

    def _build(self) -> tuple[Widget, ...]:
        self.buttons = {name: _button(f"keep as {name}", f"these windows are group {name}", 96) for name in GROUPS}
        for name, button in self.buttons.items():
            button.on_click(partial(self._keep, name))
        self.comparing = _button("compare A with B", "which measures differ by more than chance", 150)
        self.comparing.on_click(self._compare)
        self.words, self.comparison, self.refusal = HTML(), VBox(), MessageLine()
        row = [*self.buttons.values(), self.comparing, self.words]
        return HBox(row, layout=Layout(flex_flow="row wrap", align_items="center")), self.refusal, self.comparison

    def _draw(self) -> None:
        self._drop()  # it was of other groups
        self.words.value = "; ".join(
            f"<b>{name}</b>: {text(self._name(where))}, {history.count_words(self.survey, where)}"
            for name, where in sorted(self.selection.groups.items())
        )

    def _mark(self, window: int | None) -> None:
        """No window of a group is marked."""

    def _name(self, where: Filter) -> str:
        return where.words or "all windows"

    def _keep(self, name: str, button: Button) -> None:
        self.selection.groups = {**self.selection.groups, name: self.selection.where}

    def _drop(self) -> None:
        """Show no comparison."""
        self.refusal.say("")
        for old in self.comparison.children:
            old.close()
        self.comparison.children = ()

    def _compare(self, button: Button) -> None:
        with self.refusal.reporting():
            if len(self.selection.groups) < len(GROUPS):
                raise ValueError("a comparison needs two groups: filter and keep as A, filter again and keep as B")
            filters = [self.selection.groups[name] for name in GROUPS]
            names = [self._name(where) for where in filters]
            if names[0] == names[1]:
                raise ValueError(f"both groups are {names[0]}: expected two different ones")
            windows = [history.windows_where(self.survey, where) for where in filters]
            container = _container(*windows)
            if container is not None:
                windows[container] = np.setdiff1d(windows[container], windows[1 - container])
                whole = filters[container] == ALL
                names[container] = "all other windows" if whole else f"the rest of {names[container]}"
            compared = self.survey.compare_groups(*windows, names=(names[0], names[1]))
            self._drop()
            self.comparison.children = (GroupDifferences(compared),)
            if container is not None:
                outer, inner = GROUPS[container], GROUPS[1 - container]
                self.refusal.note(f"{outer} contains {inner}: {inner} is compared with the rest of {outer}.")


def _container(one: np.ndarray, other: np.ndarray) -> int | None:
    """Which of two groups of windows contains the other, 0 or 1; None if they share no window.

    Raises:
        ValueError: they have the same windows, or only some in common.
    """
    both = len(np.intersect1d(one, other))
    if not both:
        return None
    if both == len(one) == len(other):
        raise ValueError("A and B have the same windows: expected two different groups")
    if both < min(len(one), len(other)):
        raise ValueError(
            f"A and B have {counted(both, 'window')} in common: expected groups that share none, or one that contains "
            "the other"
        )
    return int(both == len(one))


def _button(words: str, tooltip: str, width: int) -> Button:
    return Button(description=words, tooltip=tooltip, layout=Layout(width=f"{width}px"))
