"""Which sample is shown."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pandas as pd
from ipywidgets import Button, DatePicker, Dropdown, Layout, SelectionSlider

from stockformer.dataset import StockDataset
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.progress import ProgressBar
from stockformer_widgets.components.slider_names import SliderNames
from stockformer_widgets.controls.base import Controls, offer, wide
from stockformer_widgets.state.session import LANDMARKS, ExtractorSession


class SampleControls(Controls):
    """Which of the dataset's windows: by ticker and date, the next or previous one, or a remarkable one.

    Attributes:
        scan: progress of the search for a remarkable window; its place is up to the owner.
    """

    def __init__(self, session: ExtractorSession, message: MessageLine) -> None:
        super().__init__(message)
        self.add_class("stockformer-samples")
        self.session = session
        self._offered, self._windows = "", np.arange(0)  # a ticker and its windows
        tickers = list(dict.fromkeys(self._dataset.end_tickers))
        self.ticker = Dropdown(description="ticker", options=tickers, tooltip="ticker of the window", **wide(38, 116))
        self.date = DatePicker(description="day", **wide(24, 158))
        self.previous = Button(description="◀", layout=Layout(width="32px"))
        self.next = Button(description="▶", layout=Layout(width="32px"))
        self.slider = SelectionSlider(
            options=[0],
            tooltip="the windows of the ticker, by their last day",
            continuous_update=False,
            layout=Layout(flex="1 1 200px", min_width="150px", width="auto"),
        )
        self.jump = Dropdown(
            options=[("…", ""), *((name, name) for name in LANDMARKS)],
            value="",
            description="go to",
            tooltip="the calmest window of the dataset, the most volatile, and others that stand out",
            **wide(34, 124),
        )
        self.scan = ProgressBar("scanning", message)
        names = SliderNames("last day of the window")
        self.children = (self.ticker, self.date, self.previous, self.slider, self.next, self.jump, names)
        self._on_change(self.ticker, self._choose_ticker)
        self.date.observe(self._date_typed, "value")
        self._on_change(self.slider, self._go)
        self._on_change(self.jump, self._jump)
        self._on_click(self.previous, lambda: self._walk(-1))
        self._on_click(self.next, lambda: self._walk(1))
        self._follow(session)

    def close(self) -> None:
        """Stop scanning and following."""
        if self.comm is not None:
            self.scan.stop()
        super().close()

    @property
    def _dataset(self) -> StockDataset:
        assert self.session.dataset is not None
        return self.session.dataset

    def _sync(self) -> None:
        with self._syncing():
            self.jump.value = ""
            window, sample = self.session.reading.window, self.session.sample
            if window is None or sample is None:
                self.date.value = None
                return
            if self._offered != window.ticker:
                self._offer_windows(window.ticker)
            self.ticker.value = window.ticker
            self.slider.value = sample
            self._sync_steps(window.ticker, sample)
            # A date that already names the sample stays as typed: rewriting it would disturb the typing.
            if self.date.value is None or not self._names(self.date.value, sample):
                self.date.value = window.dates[-1].date()

    def _offer_windows(self, ticker: str) -> None:
        self._offered = ticker
        self._windows = np.flatnonzero(self._dataset.end_tickers == ticker)
        days = [day.date() for day in self._dataset.end_dates[self._windows]]
        offer(self.slider, self._windows.tolist(), int(self._windows[-1]), list(map(str, days)))
        # Not as its limits: ipywidgets would move a date that is still being typed, such as the year 20, into them.
        self.date.tooltip = f"the last day of the window, {days[0]} to {days[-1]}"

    def _names(self, day: datetime.date, sample: int) -> bool:
        """Whether a day names a sample: the last window that ends by it."""
        place = int(np.searchsorted(self._windows, sample))
        ends = self._dataset.end_dates[self._windows[place : place + 2]]
        return bool(ends[0] <= pd.Timestamp(day) and (len(ends) == 1 or pd.Timestamp(day) < ends[1]))

    def _sync_steps(self, ticker: str, sample: int) -> None:
        """Disable the button that leads past the first or last window of the ticker; its tooltip says why."""
        ends = (self.previous, 0, "previous", "first"), (self.next, -1, "next", "last")
        for button, end, way, name in ends:
            button.disabled = bool(sample == self._windows[end])
            button.tooltip = (
                f"this is the {name} window of {ticker}" if button.disabled else f"{way} window of {ticker}"
            )

    def _go(self, index: int) -> None:
        self.session.sample = index

    def _walk(self, by: int) -> None:
        place = int(np.searchsorted(self._windows, self.slider.value)) + by
        self._go(int(self._windows[min(max(place, 0), len(self._windows) - 1)]))

    def _date_typed(self, change: Any) -> None:
        """Go to a date, unless it is still being typed: the page sends every step, such as the year 20."""
        day = change["new"]
        if not self._syncing.running and day is not None and day.year >= 1000:
            with self.message.reporting():
                self._go_to(self.ticker.value, day)

    def _choose_ticker(self, ticker: str) -> None:
        window = self.session.reading.window  # the date may be one that was refused
        self._go_to(ticker, self._dataset.end_dates.max() if window is None else window.dates[-1])

    def _go_to(self, ticker: str, day: datetime.date) -> None:
        self._go(self._dataset.index_until(pd.Timestamp(day), ticker))

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
