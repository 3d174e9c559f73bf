"""Which features the prediction hangs on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from ipywidgets import Dropdown, HBox, Layout, Widget
from matplotlib.figure import Figure
from torch import Tensor

from stockformer.explainability import Summary, plot_feature_bars
from stockformer_widgets.explaining import EXPLAINS
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.attributed import AttributedView
from stockformer_widgets.views.bars import BarsView
from stockformer_widgets.views.parts import STREAM_COLORS, neighbour, notes_html, percent, swatches, text
from stockformer_widgets.views.trust import completeness_note, control_note, trust_notes

_SHOWN = 14
_ALL = "all days"


class SaliencyBars(AttributedView, BarsView):
    """The session's attribution by feature: the strongest of stock and market together.

    Over all days the values of the days are added up, absolute or signed; or
    those of the selected query day alone. A click selects the feature. Features
    that the data has no value for are named below.
    """

    label = "Saliency by feature"
    follows_session = ("reading", *EXPLAINS, "faithfulness", "sample_faithfulness")
    follows = ("query", "feature")
    vertical = "feature"
    row_height, left = 19, 150

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    def to_frame(self) -> pd.DataFrame:
        """Columns ``input, feature, value``: every feature, strongest first."""
        values, names, stream = self._by_feature()
        frame = pd.DataFrame({"input": stream, "feature": names, "value": values})
        return frame.sort_values("value", key=np.abs, ascending=False, kind="stable", ignore_index=True)

    def _controls(self) -> tuple[Widget, ...]:
        style, layout = {"description_width": "auto"}, Layout(width="auto")
        self.span = Dropdown(options=[_ALL, "selected day"], description="over", style=style, layout=layout)
        self.sign = Dropdown(options=["absolute", "signed"], description="values", style=style, layout=layout)
        for control in (self.span, self.sign):
            control.observe(self._redraw, "value")
        return (HBox([self.span, self.sign], layout=Layout(flex_flow="row wrap", margin=f"0 0 0 {self.indent}px")),)

    def _parts(self) -> list[Tensor]:
        """The attribution on the chosen days, one [days, features] an input."""
        parts = self.session.saliency()
        if self.span.value == _ALL:
            return list(parts)
        days = [self.selection.place("query", len(part)) for part in parts]
        return [part[day : day + 1] for part, day in zip(parts, days, strict=True)]

    def _by_feature(self) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Value, name and input number of every feature, over the chosen days with the chosen sign."""
        parts = [part.numpy() for part in self._parts()]
        values = [(np.abs(part) if self.sign.value == "absolute" else part).sum(axis=0) for part in parts]
        names = self.session.feature_names
        stream = np.repeat(np.arange(len(parts)), [len(group) for group in names])
        return np.concatenate(values), [name for group in names for name in group], stream

    def _draw(self) -> None:
        values, names, stream = self._by_feature()
        top = np.argsort(-np.abs(values), kind="stable")[:_SHOWN]
        self._draw_bars(
            [names[feature] for feature in top],
            values[top],
            [STREAM_COLORS[stream[feature] % len(STREAM_COLORS)] for feature in top],
            self.selection.feature,
            f"{self._scale()} for {self.session.target_name}, {self._when()}",
        )

    def _scale(self) -> str:
        """What the bars measure."""
        method = self.session.method_name
        return f"|{method}|" if self.sign.value == "absolute" else method

    def _when(self) -> str:
        """The chosen days in words."""
        if self.span.value == _ALL:
            return "all days"
        length = len(self.session.reading.inputs[0][0])
        return self.session.reading.days(length)[self.selection.place("query", length)]

    def _describe(self, place: int | None) -> str:
        feature = self.selection.feature
        if place is None and feature is not None:  # selected, but not among the strongest
            values, names, _ = self._by_feature()
            return f"{text(feature)} <b>{values[names.index(feature)]:.4g}</b>"
        return super()._describe(place)

    def _notes(self) -> str:
        lines = []
        parts = self._parts()
        if len(parts) == 2:
            totals = np.array([float(part.abs().sum()) for part in parts])
            shares = [percent(share) for share in totals / (totals.sum() or 1.0)]
            lines.append("share of all magnitudes: " + swatches(STREAM_COLORS, ("stock", "market"), shares))
        lines += [completeness_note(self.session), control_note(self.session)]
        lines.append(notes_html(trust_notes(self.session, self.session.method, "cell")))
        return "<br>".join(filter(None, lines))

    def _select(self, place: int) -> None:
        name = self.names[place]
        self.selection.feature = None if name == self.selection.feature else name

    def _step(self, name: str, by: int) -> None:
        if name == "feature":
            self.selection.feature = neighbour(self.names, self.selection.feature, by)
        else:
            super()._step(name, by)

    def _summary(self) -> Summary:
        return self._summary_of(self._parts())

    def _plot(self) -> Figure:
        values, colors = pd.Series(np.asarray(self.bars.y), index=list(self.names)), list(self.bars.colors)
        return plot_feature_bars(values, colors=colors, title=self.plot.title, xlabel=self._scale())
