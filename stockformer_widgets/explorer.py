"""The dashboard: controls and linked views of one session."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ipywidgets import HTML, HBox, Layout, ToggleButton

from stockformer.survey import Survey
from stockformer_widgets.components.drawing import HIGHLIGHT, MessageLine, text
from stockformer_widgets.components.snapshot import SnapshotBox, arrange
from stockformer_widgets.controls.selectors import SampleControls, SelectionControls
from stockformer_widgets.controls.what_if import WhatIfControls
from stockformer_widgets.export import pack_samples, write_page
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.state.reading import Reading
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.tabs import Shown, ViewTabs, pages_of, with_history
from stockformer_widgets.views.base import check_state, close_children


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
        try:
            session.follow(self._follow)
            self._build(survey)
        except BaseException:
            self.close()
            raise

    @property
    def views(self) -> list[Shown]:
        """The views of the tabs that were opened so far."""
        return self.tabs.views

    def export_html(self, path: str | Path, samples: Iterable[int] | None = None) -> Path:
        """Write the explorer as one HTML file, linked and clickable without Python or network.

        Args:
            path: of the file.
            samples: indices into the session's dataset to choose from; the session's sample by default.

        Raises:
            IndexError: there is no such sample.
            ValueError: samples of a session without dataset, or none at all.
            OSError: the file cannot be written.
        """
        return write_page(path, *pack_samples(self.session, self.selection, samples))

    def _png(self, dpi: int) -> bytes:
        return arrange(self.tabs.pictures(dpi), self.session.title, dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Stop following, and close the views and every other widget of this explorer."""
        if self.comm is None:
            return
        self.session.unfollow(self._follow)
        self._read = None
        for view in self.views if hasattr(self, "tabs") else []:
            view.close()
        close_children(self)
        super().close()

    def __enter__(self) -> AttentionExplorer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.selection
        return f"AttentionExplorer(sample {self.session.sample}, {where.kind}, layer {where.layer})"

    def _build(self, survey: Survey | None) -> None:
        self.headline, self.message = HTML(), MessageLine()
        self.changing = ToggleButton(
            description="what if…",
            tooltip="change gates, attention, heads or inputs",
            layout=Layout(width="84px", margin="0 0 0 16px"),
        )
        self.changes = WhatIfControls(self.session, self.selection, self.message)
        self.changing.observe(self._show_changes, "value")
        self.look = SelectionControls(self.session, self.selection, self.message)
        bars = [self.look]
        if self.session.dataset is not None:
            self.samples = SampleControls(self.session, self.session.dataset, self.message)
            bars.insert(0, self.samples)
        pages = with_history(pages_of(self.session), survey, self.session)
        self.tabs = ViewTabs(pages, self.selection, self.message)
        self.tabs.turn()
        top = HBox([self.headline, self.changing], layout=Layout(flex_flow="row wrap", align_items="center"))
        self.children = (top, *bars, self.changes, self.message, self.tabs)
        self._write_headline()
        self._show_changes()

    def _follow(self) -> None:
        if self.session.closed:
            self.close()
        elif self.session.reading is not self._read:
            self._read = self.session.reading
            self.tabs.turn()
            self._write_headline()

    def _write_headline(self) -> None:
        change = self.session.change
        changed = f' &nbsp; <b style="color: {HIGHLIGHT}">what if: {text(change)}</b>' if change else ""
        self.headline.value = f'<span style="font-size: 15px">{_headline(self.session)}{changed}</span>'

    def _show_changes(self, change: Any = None) -> None:
        self.changes.layout.display = None if self.changing.value else "none"


def _headline(session: ExtractorSession) -> str:
    """Ticker, day and outcome of the sample."""
    window, dataset = session.reading.window, session.dataset
    if window is None or dataset is None:
        batch = next(iter(session.reading.capture.attention.values())).size(0)
        return "<b>tensors given by hand</b>" + (f", the first of the batch's {batch}" if batch > 1 else "")
    facts = [f"<b>{text(window.ticker)}, {window.dates[-1].date()}</b>"]
    if dataset.target_column is not None:
        facts.append(dataset.target_column.describe(window.target_value))
    return " &nbsp; ".join([*facts, *map(text, filter(None, [dataset.assumption, session.doubt]))])
