"""The dashboard: controls and linked views of one session."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ipywidgets import Button, HBox, Layout, ToggleButton, VBox, Widget

from stockformer.survey import Survey
from stockformer_widgets.comparison import SampleComparison
from stockformer_widgets.components.snapshot import arrange
from stockformer_widgets.controls.base import show
from stockformer_widgets.controls.explaining import ExplainControls
from stockformer_widgets.controls.maps import MapControls
from stockformer_widgets.controls.samples import SampleControls
from stockformer_widgets.controls.tools import CompareControls, ExportControls, Tools, keys_help
from stockformer_widgets.controls.what_if import WhatIfControls
from stockformer_widgets.export import pack_samples, write_page
from stockformer_widgets.headline import Headline
from stockformer_widgets.history import HistorySelection, HistoryView
from stockformer_widgets.screen import Screen
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.state.reading import Reading
from stockformer_widgets.state.saved import restore_state, save_state
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.tabs import Shown, ViewTabs, pages_of, with_controls, with_history
from stockformer_widgets.views.base import check_state, close_children


class AttentionExplorer(Screen):
    """A session on the screen: choose sample, map, layer, head and day; click to look closer.

    Views that the model has nothing for are left out: an encoder-only model has
    no cross-attention and no gates. Views on a tab that is not open are not
    drawn. `close` frees every widget; so does closing the session.

    Args:
        session: model and sample.
        selection: shared with other views; a new one by default.
        survey: of the windows of the session's dataset, for the tab "History"; without it that tab offers to make one.

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
        #: State of a history that is not open yet.
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

    @cached_property
    def tools(self) -> Tools:
        """The side panel, made when it is first opened."""
        session = self.session
        sections: dict[str, Widget] = {"What if": WhatIfControls(session, self.selection, self.message)}
        if session.dataset is not None:
            sections["Compare"] = CompareControls(session, self._compare, self.message)
        writers = {".html": self.export_html, ".png": self.save_png}
        tools = Tools(sections | {"Export": ExportControls(writers, self.message), "Keys": keys_help()})
        self._body.children = (*self._body.children, tools)
        return tools

    def export_html(self, path: str | Path, samples: Iterable[int] | None = None) -> Path:
        """Write the explorer as one HTML file, linked and clickable without Python or network.

        With several samples and a survey it also holds their history.

        Args:
            path: of the file.
            samples: indices into the session's dataset to choose from; the session's sample by default.

        Raises:
            IndexError: there is no such sample.
            ValueError: samples of a session without dataset, or none at all.
            OSError: the file cannot be written.
        """
        surveys = (view.survey for view in self.views if isinstance(view, HistoryView))
        return write_page(path, *pack_samples(self.session, self.selection, samples, next(surveys, self._survey)))

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
        close_children(self)
        if hasattr(self, "explain"):  # which a model without attribution lacks
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
        self.headline, self._beside = Headline(session), VBox()
        self.look = MapControls(session, selection, self.message)
        self.explain = ExplainControls(session, self.message)
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
        self._body = _row("stockformer-body", [self.tabs])
        self.children = (
            _row("stockformer-bar", [*bar, self.opener, self.toolbar]),
            self.headline,
            _row("stockformer-status", status),
            self._body,
            self._beside,
        )
        self._start_undo()

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

    def _open_history(self, view: HistoryView) -> None:
        """Make choices in the history undoable too."""
        self._history, chosen = view.selection, self._later_history
        if failures := view.selection.restore(chosen):
            self.message.say("; ".join(failures))
        view.selection.follow(self._remember)

    def _is_open(self) -> bool:
        return not self.session.closed

    def _save_chosen(self) -> dict[str, Any]:
        history = self._later_history if self._history is None else self._history.save()
        return {**save_state(self.session, self.selection), "history": history}

    def _restore_chosen(self, state: Mapping[str, Any]) -> list[str]:
        failures = restore_state(self.session, self.selection, state)
        self._later_history = dict(state.get("history", {}))
        if self._history is not None:
            failures += self._history.restore(self._later_history)
        return failures


def _row(name: str, children: Sequence[Widget]) -> HBox:
    row = HBox(list(children))
    row.add_class(name)
    return row
