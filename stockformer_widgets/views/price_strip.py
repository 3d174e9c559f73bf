"""What stock and market did over the lookback."""

from __future__ import annotations

import bqplot as bq
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stockformer.dataset import Window
from stockformer.explainability import Summary, plot_prices, summarize_prices
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.days import DayView
from stockformer_widgets.views.parts import HIGHLIGHT, STREAM_COLORS, points, set_marks, swatches, text

_SERIES = {"adjusted_close": "close", "spy": "SPY"}


class PriceStrip(DayView):
    """Close and SPY over the lookback, in percent of change since its first day.

    The solid line marks the selected query, the dashed one the selected key. A
    click selects the query.
    """

    label = "Prices"
    follows = ("query", "key", "shown_queries")
    height = 140

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.reading.window is not None

    def to_frame(self) -> pd.DataFrame:
        """Columns ``day, adjusted_close`` and ``close_change`` (and ``SPY_change``) in percent, one row a day."""
        window = self._window()
        changes = {f"{name}_change": change for name, change in zip(*self._changes(), strict=True)}
        days = self.session.reading.days(len(window.dates))
        return pd.DataFrame({"day": days, "adjusted_close": window.prices["adjusted_close"], **changes})

    def _window(self) -> Window:
        window = self.session.reading.window
        assert window is not None
        return window

    def _changes(self) -> tuple[list[str], np.ndarray]:
        """Names, and percent since the first day [series, T]."""
        prices = self._window().prices
        columns = [column for column in _SERIES if column in prices]
        levels = prices[columns].bfill()  # what has no price yet stands at its first one
        return [_SERIES[column] for column in columns], 100 * (levels / levels.iloc[0] - 1).to_numpy().T

    def _marks(self) -> list[bq.Mark]:
        self.lines = bq.Lines(x=[0, 1], y=[[0, 0]], scales=self.scales, colors=list(STREAM_COLORS))
        self.key_marker = bq.Lines(
            x=[0, 0],
            y=[0, 1],
            scales={"x": self.scales["x"], "y": bq.LinearScale(min=0, max=1)},
            colors=[HIGHLIGHT],
            stroke_width=1.5,
            line_style="dashed",
        )
        return [self.lines, self.key_marker]

    def _draw(self) -> None:
        window = self._window()
        names, changes = self._changes()
        length = changes.shape[1]
        set_marks(self.lines, **points(np.arange(length) + 0.5, changes))
        days = self.session.reading.days(length)
        low, high = float(np.nanmin(changes)), float(np.nanmax(changes))
        title = f"{' and '.join([window.ticker, *names[1:]])}, % since {days[0]}"
        self._frame(title, days, low, high if high > low else low + 1)
        self.key_marker.x = [self.selection.place("key", length) + 0.5] * 2

    def _describe(self, place: int) -> str:
        names, changes = self._changes()
        close = self._window().prices["adjusted_close"].iloc[place]
        price = f"close <b>{close:.2f}</b>" if np.isfinite(close) else "no price"
        values = [f"{change:+.1f} %" for change in changes[:, place]]
        legend = swatches(STREAM_COLORS[: len(names)], names, values)
        return f"{text(self.days[place])}: {price}, {legend}"

    def _summary(self) -> Summary:
        return summarize_prices(self._window().prices)

    def _plot(self) -> Figure:
        prices = self._window().prices
        query, key = (self.selection.place(name, len(prices)) for name in ("query", "key"))
        return plot_prices(prices, query=query, key=key, title=self.plot.title)
