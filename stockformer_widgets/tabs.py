"""Tabs of views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from ipywidgets import HBox, Tab, VBox, Widget

from stockformer.model import Forecaster
from stockformer.survey import Survey
from stockformer_widgets.catalogue import PAGES, View
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.history import HistoryView, SurveyOffer, check_fit
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.compared import compared


@dataclass(frozen=True)
class Slot:
    """The place of a view of one session, or of one that compares two."""

    kind: type[View]
    sessions: tuple[ExtractorSession, ...]

    @property
    def filled(self) -> bool:
        """Whether there is something to show."""
        return all(map(self.kind.shows, self.sessions))

    @property
    def name(self) -> str:
        return self.kind.__name__

    @property
    def view(self) -> type[View]:
        """The class of the view."""
        return self.kind if len(self.sessions) == 1 else compared(self.kind)  # type: ignore[arg-type]  # can be hashed

    def make(self, selection: Selection) -> View:
        if len(self.sessions) == 1:
            return self.kind(*self.sessions, selection)
        return compared(self.kind)(selection)  # type: ignore[arg-type]


@dataclass(frozen=True)
class HistorySlot:
    """The place of the history of one session, which is surveyed there if it has no survey.

    Attributes:
        opened: called with the history.
    """

    survey: Survey | None
    session: ExtractorSession
    opened: Callable[[HistoryView], None]
    name: ClassVar[str] = "HistoryView"
    filled: ClassVar[bool] = True

    def make(self, selection: Selection) -> HistoryView | SurveyOffer:
        if self.survey is None:
            return SurveyOffer(self.session, self.opened)
        view = HistoryView(self.survey, self.session)
        self.opened(view)
        return view


#: What is in a tab, by column, from the top.
Columns = Sequence[Sequence[Slot | HistorySlot | Widget]]
#: What has something to show.
Shown: TypeAlias = View | HistoryView


def pages_of(session: ExtractorSession) -> dict[str, Columns]:
    """The places of every view of one session, by the title of its tab."""
    return {
        title: [[Slot(kind, (session,)) for kind in column] for column in columns] for title, columns in PAGES.items()
    }


def with_controls(pages: Mapping[str, Columns], maps: Widget, explaining: Widget) -> dict[str, Columns]:
    """These pages and, where a view needs them, the controls of maps and of what is explained.

    A view needs the controls of a trait that it follows. They are above the first such view of a page.
    """
    with_maps = {title: _placed(columns, maps, _needs_map) for title, columns in pages.items()}
    return {title: _placed(columns, explaining, _needs_target) for title, columns in with_maps.items()}


def _placed(columns: Columns, controls: Widget, needs: Callable[[type[View]], bool]) -> Columns:
    """These columns with a widget above the first view that needs it."""
    for number, column in enumerate(columns):
        for place, item in enumerate(column):
            if isinstance(item, Slot) and item.filled and needs(item.kind):
                with_it = [*column[:place], controls, *column[place:]]
                return [*columns[:number], with_it, *columns[number + 1 :]]
    return columns


def _needs_map(kind: type[View]) -> bool:
    return bool({"kind", "layer", "head"} & set(kind.content))


def _needs_target(kind: type[View]) -> bool:
    return kind.attributed or "method" in kind.follows_explanations


def with_history(
    pages: Mapping[str, Columns],
    survey: Survey | None,
    session: ExtractorSession,
    opened: Callable[[HistoryView], None],
) -> dict[str, Columns]:
    """These pages and, after the first one, the history; without a survey if the session's windows can be surveyed.

    Args:
        opened: called with the history, once there is one.

    Raises:
        ValueError: the survey is of windows or weights other than the session's.
    """
    if survey is not None:
        check_fit(survey, session)
    elif session.dataset is None or not isinstance(session.model, Forecaster):
        return dict(pages)
    (first, overview), *others = pages.items()
    return {first: overview, "History": [[HistorySlot(survey, session, opened)]], **dict(others)}


def slots(columns: Columns) -> list[Slot]:
    """The views of a tab that have a chart."""
    return [slot for slot in _slots(columns) if isinstance(slot, Slot)]


def _slots(columns: Columns) -> list[Slot | HistorySlot]:
    """What is made when a tab is shown."""
    return [item for column in columns for item in column if not isinstance(item, Widget)]


class ViewTabs(Tab):
    """Views in tabs. A view is made when its tab is first opened and it has something to show.

    Args:
        pages: title of a tab -> its views by column; an empty tab is left out.
        message: reports why a view could not be made.

    `turn` makes the views of the open tab, at first those of the first one.
    """

    def __init__(self, pages: Mapping[str, Columns], selection: Selection, message: MessageLine) -> None:
        used = {title: columns for title, columns in pages.items() if any(slot.filled for slot in _slots(columns))}
        page_widgets = [_Page(columns, selection, message) for columns in used.values()]
        super().__init__(children=page_widgets, titles=list(used), selected_index=0)
        self.observe(self.turn, "selected_index")

    @property
    def views(self) -> list[Shown]:
        """The views of the tabs that were opened so far."""
        return [view for page in self.children for view in page.views]

    def turn(self, change: Any = None) -> None:
        """Draw the open tab and no other."""
        if self.comm is not None:
            for number, page in enumerate(self.children):
                page.show(number == self.selected_index)

    def pictures(self, dpi: int) -> list[list[bytes]]:
        """The first tab by column."""
        columns = [[view._png(dpi) for view in column if view.filled] for column in self.children[0].columns]
        return [column for column in columns if column]


class _Page(HBox):
    """The views of one tab."""

    def __init__(self, columns: Columns, selection: Selection, message: MessageLine) -> None:
        super().__init__()
        self.add_class("stockformer-columns")
        if len(columns) == 3:
            self.add_class("stockformer-three")
        self.items, self.selection, self.message = columns, selection, message
        self._boxes: tuple[VBox, ...] = ()  # one per column
        self._made: dict[Slot | HistorySlot, Shown | SurveyOffer] = {}

    @property
    def views(self) -> list[Shown]:
        """The views that were made so far; a history is one of them once it is surveyed."""
        made = (one.view if isinstance(one, SurveyOffer) else one for one in self._made.values())
        return [view for view in made if view is not None]

    @property
    def columns(self) -> list[list[Shown]]:
        """What was made so far, by column."""
        return [[self._made[slot] for slot in _slots([column]) if slot in self._made] for column in self.items]

    def show(self, visible: bool) -> None:
        """Draw the views, or pause them until they are visible again."""
        if visible:
            self._make()
        for made in self._made.values():
            made.paused = not visible

    def _make(self) -> None:
        """Make the missing views; one that fails does not affect the others."""
        if not self._boxes:
            self.children = self._boxes = tuple(VBox() for _ in self.items)
        failures: dict[str, list[str]] = {}  # message -> names of views
        missing = [slot for slot in _slots(self.items) if slot.filled and slot not in self._made]
        if missing:
            self.message.say("")
        for slot in missing:
            try:
                self._made[slot] = slot.make(self.selection)
            except Exception as error:
                failures.setdefault(str(error), []).append(slot.name)
        for box, items, made in zip(self._boxes, self.items, self.columns, strict=True):
            box.layout.display = None if made else "none"
            placed = [item if isinstance(item, Widget) else self._made.get(item) for item in items]
            children = tuple(item for item in placed if item is not None)
            if children != box.children:
                box.children = children
        if failures:
            self.message.say("; ".join(f"{', '.join(kinds)}: {words}" for words, kinds in failures.items()))
