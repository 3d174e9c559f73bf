"""The controls above the views: sample, map, day and explanation."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from ipywidgets import (
    Button,
    DatePicker,
    Dropdown,
    HBox,
    IntSlider,
    Layout,
    SelectionSlider,
    ToggleButtons,
)

from stockformer.charts.figures import well_formed
from stockformer.dataset import StockDataset
from stockformer.explainability import GROUPS, METHODS, kind_title
from stockformer.explainability.attribution.methods import BY_NAME
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.progress import ProgressBar
from stockformer_widgets.components.syncing import Syncing
from stockformer_widgets.state.explanations import BASELINES, EXPLAINS
from stockformer_widgets.state.observable import Observable
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import LANDMARKS, ExtractorSession

#: The option for None, which a Dropdown takes to mean "nothing chosen".
DEFAULT = "default"


class Controls(HBox):
    """Controls that set traits and display their values; a refused value is reported in the message line."""

    def __init__(self, message: MessageLine) -> None:
        super().__init__(layout=Layout(flex_flow="row wrap", align_items="center"))
        self.message = message
        self._syncing = Syncing()
        self._owners: tuple[Observable, ...] = ()

    def _on_change(self, control: Any, act: Callable[[Any], None]) -> None:
        """Call ``act(value)`` when a person changes a control."""

        def changed(change: Any) -> None:
            if not self._syncing.running:
                with self.message.reporting():
                    act(change["new"])
                self._sync()

        control.observe(changed, "value")

    def _on_click(self, button: Button, act: Callable[[], Any]) -> None:
        def clicked(button: Button) -> None:
            with self.message.reporting():
                act()

        button.on_click(clicked)

    def _follow(self, *owners: Observable) -> None:
        """Keep the controls in line with the traits of these, from now until `close`."""
        self._owners = owners
        for owner in owners:
            owner.follow(self._keep_up)
        self._sync()

    def _keep_up(self) -> None:
        if not any(isinstance(owner, ExtractorSession) and owner.closed for owner in self._owners):
            self._sync()

    def close(self) -> None:
        """Stop following."""
        if self.comm is None:
            return
        for owner in self._owners:
            owner.unfollow(self._keep_up)
        super().close()

    def _sync(self) -> None:
        """Bring the controls in line with the traits."""
        raise NotImplementedError


class SampleControls(Controls):
    """Which of the dataset's windows: by ticker and date, by index, one on or back, or a remarkable one."""

    def __init__(self, session: ExtractorSession, dataset: StockDataset, message: MessageLine) -> None:
        super().__init__(message)
        self.session = session
        self._ends, self._tickers = dataset.end_dates, dataset.end_tickers
        tickers = list(dict.fromkeys(self._tickers))
        self.ticker = Dropdown(description="ticker", options=tickers, **wide(46, 150))
        self.date = DatePicker(description="last day", **wide(54, 210))
        self.previous = Button(description="◀", tooltip="previous window", layout=Layout(width="36px"))
        self.next = Button(description="▶", tooltip="next window", layout=Layout(width="36px"))
        self.index = IntSlider(max=len(dataset) - 1, description="sample", continuous_update=False, **wide(50, 330))
        self.jump = Dropdown(
            options=[("…", ""), *((name, name) for name in LANDMARKS)],
            value="",
            description="jump to",
            **wide(52, 190),
        )
        self.scan = ProgressBar("scanning", message)
        self.children = (
            self.ticker,
            self.date,
            self.previous,
            self.index,
            self.next,
            self.jump,
            self.scan,
        )
        self._on_change(self.ticker, lambda ticker: self._go_to(ticker, self.date.value or self._ends.max().date()))
        self.date.observe(self._date_typed, "value")
        self._on_change(self.index, self._go)
        self._on_change(self.jump, self._jump)
        self._on_click(self.previous, lambda: self._walk(-1))
        self._on_click(self.next, lambda: self._walk(1))
        self._follow(session)

    def close(self) -> None:
        """Stop scanning and following."""
        if self.comm is not None:
            self.scan.stop()
        super().close()

    def _sync(self) -> None:
        with self._syncing():
            self.jump.value = ""
            window, sample = self.session.reading.window, self.session.sample
            if window is None or sample is None:
                self.date.value = None
                return
            self.index.value = sample
            self.ticker.value = window.ticker
            # A date that already names the sample stays as typed: rewriting it would disturb the typing.
            if self.date.value is None or self._last_until(window.ticker, self.date.value) != sample:
                self.date.value = window.dates[-1].date()

    def _go(self, index: int) -> None:
        self.session.sample = index

    def _walk(self, by: int) -> None:
        self._go(min(max(self.index.value + by, 0), self.index.max))

    def _date_typed(self, change: Any) -> None:
        """Go to a date, unless it is still being typed: the page sends every step, such as the year 20."""
        day = change["new"]
        if not self._syncing.running and day is not None and day.year >= 1000:
            with self.message.reporting():
                self._go_to(self.ticker.value, day)

    def _go_to(self, ticker: str, day: datetime.date) -> None:
        until = self._last_until(ticker, day)
        if until is None:
            first = self._ends[np.flatnonzero(self._tickers == ticker)[0]].date()
            raise ValueError(f"no window of {ticker} ends by {day}: the first ends on {first}")
        self._go(until)

    def _last_until(self, ticker: str, day: datetime.date) -> int | None:
        """The last window of a ticker that ends on a day or before it."""
        of_ticker = np.flatnonzero(self._tickers == ticker)
        until = of_ticker[self._ends[of_ticker] <= pd.Timestamp(day)]
        return int(until[-1]) if len(until) else None

    def _jump(self, name: str) -> None:
        if not name:
            return
        if self.session.knows(name):
            self._go(self.session.find(name))
            return
        asked_at = self.session.reading

        def go() -> None:
            if self.session.reading is asked_at:  # else the person has moved on, and may ask again
                self._go(self.session.find(name))

        self.scan.start(self.session.scan(), go)


class SelectionControls(Controls):
    """Which map, layer, head and day; what saliency explains, and how."""

    def __init__(self, session: ExtractorSession, selection: Selection, message: MessageLine) -> None:
        super().__init__(message)
        self.session, self.selection = session, selection
        self.kind = ToggleButtons(style={"button_width": "auto"}, tooltip="which attention to show")
        self.layer = Dropdown(description="layer", **wide(36, 92))
        self.head = Dropdown(description="head", **wide(36, 116))
        self.day = SelectionSlider(options=[0], description="day", **wide(32, 290))
        self.target = Dropdown(description="explain", **wide(48, 275))
        self.method = Dropdown(
            options=[(name.replace("_", " "), name) for name in METHODS], description="by", **wide(18, 190)
        )
        self.baseline = Dropdown(options=BASELINES, description="from", **wide(32, 200))
        self.groups = Dropdown(options=GROUPS, description="in groups of", **wide(76, 190))
        explaining = self.target, self.method, self.baseline, self.groups
        self.children = (self.kind, self.layer, self.head, self.day, *explaining)
        for control, owner, name in self._bound():
            self._on_change(control, self._setter(owner, name))
        self._follow(session, session.explanations, selection)

    def _bound(self) -> list[tuple[Any, Observable, str]]:
        return [
            (self.kind, self.selection, "kind"),
            (self.layer, self.selection, "layer"),
            (self.head, self.selection, "head"),
            (self.day, self.selection, "query"),
            *((getattr(self, name), self.session.explanations, name) for name in EXPLAINS),
        ]

    def _setter(self, owner: Observable, name: str) -> Callable[[Any], None]:
        return lambda value: setattr(owner, name, None if value == DEFAULT else value)

    def _sync(self) -> None:
        where, session, explanations = self.selection, self.session, self.session.explanations
        size, reading = where.sizes(), session.reading
        days = reading.days(size["query"])
        available, method = explanations.available, BY_NAME[explanations.method]
        with self._syncing():
            offer(self.kind, where.kinds, where.kind, [kind_title(kind) for kind in where.kinds])
            offer(self.layer, range(size["layer"]), where.layer)
            offer(self.head, range(size["head"]), where.head, default="mean")
            offer(self.day, range(len(days)), where.query, days)
            targets, target = explanations.targets, explanations.target
            predicted = f"predicted: {explanations.target_name}" if available and target is None else "predicted"
            offer(self.target, range(len(targets)), target, targets, default=predicted)
            for name in ("method", "baseline", "groups"):
                getattr(self, name).value = getattr(explanations, name)
            _show(self.target, available and bool(targets))
            _show(self.method, available)
            _show(self.baseline, available and session.dataset is not None and method.from_baseline)
            _show(self.groups, available and method.by_group)


def _show(control: Any, visible: bool) -> None:
    control.layout.display = None if visible else "none"


def offer(
    control: Any, values: Sequence[Any], value: Any, names: Sequence[str] | None = None, default: str | None = None
) -> None:
    """Set options and value of a control, each only where it differs; `default` names the option None."""
    options = list(zip(map(well_formed, names or map(str, values)), values, strict=True))
    if default is not None:
        options.insert(0, (default, DEFAULT))
    if tuple(control.options) != tuple(options):
        control.options = options
    chosen = DEFAULT if value is None else value
    if control.value != chosen:
        control.value = chosen


def wide(description: int, whole: int) -> dict[str, Any]:
    """Widths of a control in pixels."""
    return {"style": {"description_width": f"{description}px"}, "layout": Layout(width=f"{whole}px")}
