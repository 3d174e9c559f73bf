"""The dashboard: controls and linked views of one session."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ipywidgets import HTML, HBox, Layout, Tab, ToggleButton, VBox

from stockformer_widgets.changes import WhatIfControls
from stockformer_widgets.controls import SampleControls, SelectionControls
from stockformer_widgets.export import pack_samples, write_page
from stockformer_widgets.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.picture import Pictured, arrange
from stockformer_widgets.reading import Reading
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views import (
    AttentionEffects,
    AttentionHeatmap,
    AttentionRow,
    DayScores,
    FaithfulnessCheck,
    FlowHeatmap,
    GateHeatmap,
    GateTimeline,
    HeadGrid,
    HeadImportance,
    HeadSpecialization,
    LayerEvolution,
    MarketEntry,
    PoolingBars,
    Prediction,
    PriceStrip,
    SaliencyBars,
    SaliencyHeatmap,
    View,
)
from stockformer_widgets.views.base import check_state, close_parts
from stockformer_widgets.views.parts import HIGHLIGHT, MessageLine, text

Columns = tuple[tuple[type[View], ...], ...]

#: Title of a tab -> its views by column.
_PAGES: dict[str, Columns] = {
    "Overview": (
        (AttentionHeatmap, PriceStrip),
        (AttentionRow, GateTimeline, PoolingBars),
        (Prediction, SaliencyBars),
    ),
    "Layers and heads": ((LayerEvolution, HeadSpecialization),),
    "Head grid": ((HeadGrid,),),
    "Gates": ((GateHeatmap, MarketEntry),),
    "Features": ((SaliencyHeatmap,),),
    "Flow": ((FlowHeatmap,), (DayScores, HeadImportance)),
    "Faithfulness": ((FaithfulnessCheck, AttentionEffects),),
}


class AttentionExplorer(Pictured):
    """A session on the screen: choose sample, map, layer, head and day; click to look closer.

    Views that the model has nothing for are left out: an encoder-only model has
    no cross-attention and no gates. Views on a tab that is not shown are not
    drawn. `close` frees every widget; so does closing the session.

    Args:
        session: what to look at.
        selection: shared with other views; a new one by default.

    Example:
        >>> explorer = AttentionExplorer(ExtractorSession.from_dataset(model, dataset))
        >>> explorer.selection.layer = 2
    """

    @opens_whole
    def __init__(self, session: ExtractorSession, selection: Selection | None = None) -> None:
        check_state(session, selection)
        super().__init__()
        self.add_class("stockformer-explorer")
        self.session = session
        self.selection = selection or Selection(session)
        self._pages: list[_Page] = []
        self._read: Reading | None = session.reading
        try:
            session.follow(self._follow)
            self._build()
        except BaseException:
            self.close()
            raise

    @property
    def views(self) -> list[View]:
        """The views of the tabs that were opened so far."""
        return [view for page in self._pages for view in page.views]

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
        shown = [[view for view in box.children if view.shows(self.session)] for box in self._pages[0].children]
        return arrange([[view._png(dpi) for view in views] for views in shown if views], self.session.title, dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Stop following, and close the views and every other widget of this explorer."""
        if self.comm is None:
            return
        self.session.unfollow(self._follow)
        self._read = None
        for view in self.views:
            view.close()
        close_parts(self)
        super().close()

    def __enter__(self) -> AttentionExplorer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.selection
        return f"AttentionExplorer(sample {self.session.sample}, {where.kind}, layer {where.layer})"

    def _build(self) -> None:
        self.headline, self.message = HTML(), MessageLine()
        self.changing = ToggleButton(
            description="what if…",
            tooltip="change parts of the model",
            layout=Layout(width="84px", margin="0 0 0 16px"),
        )
        self.changes = WhatIfControls(self.session, self.selection, self.message)
        self.changing.observe(self._show_changes, "value")
        self.look = SelectionControls(self.session, self.selection, self.message)
        bars = [self.look]
        if self.session.dataset is not None:
            self.samples = SampleControls(self.session, self.session.dataset, self.message)
            bars.insert(0, self.samples)
        pages = {title: columns for title, columns in _PAGES.items() if any(_shown(self.session, columns))}
        self._pages = [_Page(self.session, self.selection, columns, self.message) for columns in pages.values()]
        self.tabs = Tab(children=self._pages, titles=list(pages), selected_index=0)
        self.tabs.observe(self._turn, "selected_index")
        self._turn()
        top = HBox([self.headline, self.changing], layout=Layout(flex_flow="row wrap", align_items="center"))
        self.children = (top, *bars, self.changes, self.message, self.tabs)
        self._write_headline()
        self._show_changes()

    def _turn(self, change: Any = None) -> None:
        """Draw the tab that is shown and only that."""
        if self.comm is None:
            return
        for number, page in enumerate(self._pages):
            page.show(number == self.tabs.selected_index)

    def _follow(self) -> None:
        if self.session.closed:
            self.close()
        elif self.session.reading is not self._read:
            self._read = self.session.reading
            self._turn()
            self._write_headline()

    def _write_headline(self) -> None:
        change = self.session.change
        changed = f' &nbsp; <b style="color: {HIGHLIGHT}">what if: {text(change)}</b>' if change else ""
        self.headline.value = f'<span style="font-size: 15px">{_headline(self.session)}{changed}</span>'

    def _show_changes(self, change: Any = None) -> None:
        self.changes.layout.display = None if self.changing.value else "none"


class _Page(HBox):
    """The views of one tab, made when it is shown for the first time and the session has something for them."""

    def __init__(self, session: ExtractorSession, selection: Selection, columns: Columns, message: MessageLine) -> None:
        super().__init__(layout=Layout(flex_flow="row wrap", width="100%"))
        self.session, self.selection, self.message = session, selection, message
        self.columns = columns
        self.children = [VBox(layout=Layout(flex="1 1 400px", min_width="300px")) for _ in columns]
        self._made: dict[type[View], View] = {}

    @property
    def views(self) -> list[View]:
        """The views that were made so far."""
        return list(self._made.values())

    def show(self, shown: bool) -> None:
        """Draw the views, or leave them undrawn until they are shown again."""
        if shown:
            self._make()
        for view in self.views:
            view.paused = not shown

    def _make(self) -> None:
        """Make the views that there are not yet; one that fails does not keep the others away."""
        failures: dict[str, list[str]] = {}  # what was said -> of which views
        missing = [kind for kind in _shown(self.session, self.columns) if kind not in self._made]
        for kind in missing:
            try:
                self._made[kind] = kind(self.session, self.selection)
            except Exception as error:
                failures.setdefault(str(error), []).append(kind.__name__)
        for box, kinds in zip(self.children, self.columns, strict=True):
            views = tuple(self._made[kind] for kind in kinds if kind in self._made)
            box.layout.display = None if views else "none"
            if views != box.children:
                box.children = views
        if missing:
            self.message.say("; ".join(f"{', '.join(views)}: {words}" for words, views in failures.items()))


def _shown(session: ExtractorSession, columns: Columns) -> list[type[View]]:
    """The kinds of view that the session has something for."""
    return [kind for column in columns for kind in column if kind.shows(session)]


def _headline(session: ExtractorSession) -> str:
    """Whose day it is, and what came of it."""
    window, dataset = session.reading.window, session.dataset
    if window is None or dataset is None:
        batch = next(iter(session.reading.capture.attention.values())).size(0)
        return "<b>tensors given by hand</b>" + (f", the first of the batch's {batch}" if batch > 1 else "")
    said = [f"<b>{text(window.ticker)}, {window.dates[-1].date()}</b>"]
    if dataset.horizon is not None:
        said.append(f"return of the next {dataset.horizon} days: {window.forward_return:+.1%}")
    return " &nbsp; ".join([*said, *map(text, filter(None, [dataset.assumption, session.doubt]))])
