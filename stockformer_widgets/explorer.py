"""The dashboard: controls and linked views of one session."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ipywidgets import Button, HBox, Layout, ToggleButton, VBox, Widget

from stockformer.survey import Survey
from stockformer_widgets.catalogue import PAGES
from stockformer_widgets.comparison import SampleComparison
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.snapshot import SnapshotBox, arrange
from stockformer_widgets.components.toolbar import Toolbar
from stockformer_widgets.controls.base import show
from stockformer_widgets.controls.explaining import ExplainControls
from stockformer_widgets.controls.maps import MapControls
from stockformer_widgets.controls.samples import SampleControls
from stockformer_widgets.controls.tools import CompareControls, ExportControls, Tools, keys_help
from stockformer_widgets.controls.what_if import WhatIfControls
from stockformer_widgets.export import pack_samples, write_page
from stockformer_widgets.headline import Headline
from stockformer_widgets.history import HistorySelection, HistoryView
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.state.reading import Reading
from stockformer_widgets.state.saved import noting, restore_state, save_state
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.state.undo import Undo
from stockformer_widgets.tabs import Shown, ViewTabs, pages_of, with_controls, with_history
from stockformer_widgets.views.base import View, check_state, close_children


class AttentionExplorer(SnapshotBox):
    """A session on the screen: choose sample, map, layer, head and day; click to look closer.

    Views that the model has nothing for are left out: an encoder-only model has
    no cross-attention and no gates. Views on a tab that is not open are not
    drawn. `close` frees every widget; so does closing the session.

    Args:
        session: what to look at.
        selection: shared with other views; a new one by default.
        survey: of the windows of the session's dataset, for the tab "History"; without it that tab offers to survey
            them.

    Example:
        >>> explorer = AttentionExplorer(ExtractorSession.from_dataset(model, dataset))
        >>> explorer.selection.layer = 2
    """

    @opens_whole
    def __init__(
        self, session: ExtractorSession, selection: Selection | None = None, survey: Survey | None = None
    ) -> None:
        check_state(session, selection)
        super().__init__()
        self.add_class("stockformer-explorer")
        self.session = session
        self.selection = selection or Selection(session)
        self._read: Reading | None = session.reading
        self._survey = survey
        self.comparison: SampleComparison | None = None
        self._history: HistorySelection | None = None
        self._adopted: set[View] = set()
        #: Name of a view that is not made yet -> its options; and what is chosen in a history that is not.
        self._later: dict[str, dict[str, str]] = {}
        self._later_history: dict[str, Any] = {}
        try:
            self._build(survey)
            for owner in (session, session.explanations):
                owner.follow(self._follow)
            self.selection.follow(self._remember)
        except BaseException:
            self.close()
            raise

    @property
    def views(self) -> list[Shown]:
        """The views of the tabs that were opened so far."""
        return self.tabs.views

    @property
    def state(self) -> dict[str, Any]:
        """What is chosen, for `restore`: a dictionary for JSON, as of `save_state`, with the title of the ``tab``, what
        is chosen in the ``history``, and under ``options`` by the name of a view what is chosen in it.
        """
        return self._with_tab(self._save())

    def restore(self, state: Mapping[str, Any]) -> None:
        """Choose what a `state` holds, from this or another notebook.

        What this model or dataset does not have stays as it is; a warning and the message line say what that is.

        Raises:
            ValueError: it is no state, or one of another version.
        """
        if failures := self._restore(state):
            warnings.warn("; ".join(failures), stacklevel=2)

    def undo(self) -> None:
        """Take back what a person chose last; does nothing without anything."""
        with self.message.reporting():
            self._undo.undo()
            self._show_undo()

    def redo(self) -> None:
        """Choose again what `undo` took back."""
        with self.message.reporting():
            self._undo.redo()
            self._show_undo()

    def export_html(self, path: str | Path, samples: Iterable[int] | None = None) -> Path:
        """Write the explorer as one HTML file, linked and clickable without Python or network.

        Of several samples it holds their history too, if there is a survey.

        Args:
            path: of the file.
            samples: indices into the session's dataset to choose from; the session's sample by default.

        Raises:
            IndexError: there is no such sample.
            ValueError: samples of a session without dataset, or none at all.
            OSError: the file cannot be written.
        """
        made = (view.survey for view in self.views if isinstance(view, HistoryView))
        return write_page(path, *pack_samples(self.session, self.selection, samples, next(made, self._survey)))

    def _png(self, dpi: int) -> bytes:
        return arrange(self.tabs.pictures(dpi), self.session.title, dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Stop following, and close the views and every other widget of this explorer."""
        if self.comm is None:
            return
        for owner in (self.session, self.session.explanations):
            owner.unfollow(self._follow)
        self.selection.unfollow(self._remember)
        self._read = None
        self._close_comparison()
        for view in self.views if hasattr(self, "tabs") else []:
            view.close()
        self._adopted.clear()
        close_children(self)
        if hasattr(self, "explain"):  # a model without attribution has no place for it
            close_children(self.explain)
            self.explain.close()
        super().close()

    def __enter__(self) -> AttentionExplorer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.selection
        return f"AttentionExplorer(sample {self.session.sample}, {where.kind}, layer {where.layer})"

    def _build(self, survey: Survey | None) -> None:
        session, selection = self.session, self.selection
        self.add_class("stockformer-screen")
        self.message = MessageLine()
        self.headline, self._beside = Headline(session), VBox()
        self.look = MapControls(session, selection, self.message)
        self.explain = ExplainControls(session, self.message)
        self.changes = WhatIfControls(session, selection, self.message)
        self.toolbar = Toolbar({"undo": self.undo, "redo": self.redo})
        self.tools = self._make_tools()
        self.opener = ToggleButton(
            description="tools", tooltip="what if, compare, export, keys", layout=Layout(width="64px")
        )
        self.opener.observe(lambda change: show(self.tools, change["new"]), "value")
        bar, status = [], [self.message]
        if session.dataset is not None:
            self.samples = SampleControls(session, self.message)
            bar, status = [self.samples], [self.message, self.samples.scan]
        pages = with_controls(pages_of(session), self.look, self.explain)
        pages = with_history(pages, survey, session, self._open_history)
        self.tabs = ViewTabs(pages, selection, self.message)
        self.tabs.turn()
        self._adopt()
        self.children = (
            _row("stockformer-bar", [*bar, self.opener, self.toolbar]),
            self.headline,
            _row("stockformer-status", status),
            _row("stockformer-body", [self.tabs, self.tools]),
            self._beside,
        )
        self._undo = Undo(self._save, self._restore)
        self.tabs.observe(self._turned, "selected_index")
        self._remember()

    def _make_tools(self) -> Tools:
        session = self.session
        sections: dict[str, Widget] = {"What if": self.changes}
        if session.dataset is not None:
            sections["Compare"] = CompareControls(session, self._compare, self.message)
        writers = {".html": self.export_html, ".png": self.save_png}
        return Tools(sections | {"Export": ExportControls(writers, self.message), "Keys": keys_help()})

    def _compare(self, index: int) -> None:
        """Show another sample beside this one, below the views."""
        if self.session.sample is None:
            raise ValueError(
                "the tensors on the screen are not a sample of the dataset, so there is nothing to compare"
            )
        self._close_comparison()
        self.comparison = SampleComparison(self.session, self.session.sample, index)
        closer = Button(description="close the comparison", layout=Layout(width="auto"))
        closer.on_click(lambda button: self._close_comparison())
        self._beside.children = (closer, self.comparison)

    def _close_comparison(self) -> None:
        if self.comparison is None:
            return
        closer, _ = self._beside.children
        self._beside.children = ()
        self.comparison.close()
        self.comparison = None
        close_children(closer)
        closer.close()

    def _follow(self) -> None:
        if self.session.closed:
            self.close()
        elif self.comm is not None:
            if self.session.reading is not self._read:
                self._read = self.session.reading
                self.tabs.turn()
                self._adopt()
            self.headline.write()
            self._remember()

    def _remember(self) -> None:
        """Let what is chosen now be what an undo comes back to."""
        if not self.session.closed:
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
        """Let what is chosen in the views of a tab that has just been opened be undone too."""
        for view in self.views:
            if isinstance(view, View) and view not in self._adopted:
                self._adopted.add(view)
                failures: list[str] = []
                with noting(failures, "an option"):
                    view.choose(self._later.pop(type(view).__name__, {}))
                if failures:
                    self.message.say("; ".join(failures))
                for control in view.controls.values():
                    control.observe(lambda change: self._remember(), "value")

    def _open_history(self, view: HistoryView) -> None:
        """Let what is chosen in the history be undone too."""
        self._history, chosen = view.selection, self._later_history
        failures: list[str] = []
        with noting(failures, "history"):
            view.selection.restore(chosen)
        if failures:
            self.message.say("; ".join(failures))
        view.selection.follow(self._remember)

    def _save(self) -> dict[str, Any]:
        history = self._later_history if self._history is None else self._history.save()
        changed = {type(view).__name__: view.changed for view in self._adopted}
        options = {name: one for name, one in sorted((changed | self._later).items()) if one}
        return {**save_state(self.session, self.selection), "history": history, "options": options}

    def _with_tab(self, state: Mapping[str, Any]) -> dict[str, Any]:
        return {**state, "tab": self.tabs.titles[self.tabs.selected_index]}

    def _restore(self, state: Mapping[str, Any]) -> list[str]:
        """Restore a state; returns and says what is not restored."""
        failures = restore_state(self.session, self.selection, state)
        if (tab := state.get("tab")) in self.tabs.titles:
            self.tabs.selected_index = self.tabs.titles.index(tab)
        elif tab is not None:
            failures.append(f"tab is not restored: there is no {tab!r}")
        options = dict(state.get("options", {}))
        known = {kind.__name__ for columns in PAGES.values() for column in columns for kind in column}
        for name in sorted(options.keys() - known):
            del options[name]
            failures.append(f"an option is not restored: there is no view {name!r}")
        for view in self._adopted:
            with noting(failures, "an option"):
                view.choose(options.pop(type(view).__name__, {}))
        self._later = options
        self._later_history = dict(state.get("history", {}))
        if self._history is not None:
            with noting(failures, "history"):
                self._history.restore(self._later_history)
        self.message.say("; ".join(failures))
        return failures


def _row(name: str, children: Sequence[Widget]) -> HBox:
    row = HBox(list(children))
    row.add_class(name)
    return row
