"""Which features the prediction hangs on."""

from __future__ import annotations

import bqplot as bq
import numpy as np
from ipywidgets import HTML, HBox, Layout, ToggleButtons, Widget

from stockformer.explainability import can_attribute
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.base import BINARY_NAMES, NEUTRAL, View, axis, figure, set_range, text, tick_range

#: Stock and market features, from the palette of Okabe and Ito (2008).
_COLORS = [NEUTRAL, "#e69f00"]
_SHOWN = 14


class SaliencyBars(View):
    """Input x gradient by feature: the strongest of stock and market together.

    Over all days the values of the days are added up, ``sum over t of |x * dy/dx|``
    or signed, where y is the largest of the model's outputs, named in the title;
    or those of the selected query day alone. Features that the data has no value for are named
    below: they get exactly 0.
    """

    follows = ("query",)

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return can_attribute(session.reading.inputs, session.reading.capture.output)

    def _build(self) -> tuple[Widget, ...]:
        self.scales = {"x": bq.LinearScale(), "y": bq.LinearScale(reverse=True)}
        self.bars = bq.Bars(
            x=[0], y=[0], scales={"x": self.scales["y"], "y": self.scales["x"]}, orientation="horizontal", padding=0.25
        )
        self.x_axis = axis(self.scales["x"], tick_format="~g", label_offset="34px")
        self.y_axis = axis(self.scales["y"], side="left", grid_lines="none")
        self.figure = figure(self.scales, [self.bars], [self.x_axis, self.y_axis], height=340, left=190)
        style = {"button_width": "auto"}
        self.span = ToggleButtons(options=["all days", "selected day"], style=style)
        self.sign = ToggleButtons(options=["absolute", "signed"], style=style)
        for control in (self.span, self.sign):
            control.observe(self._redraw, "value")
        self.note = HTML(layout=Layout(margin="0 8px"))
        return HBox([self.span, self.sign], layout=Layout(flex_flow="row wrap")), self.figure, self.note

    def _draw(self) -> None:
        streams = [part.float().numpy() for part in self.session.saliency()]
        names = self.session.feature_names
        value = np.concatenate([self._by_feature(part) for part in streams])
        label = [name for group in names for name in group]
        stream = np.repeat(np.arange(len(streams)), [len(group) for group in names])
        top = np.argsort(-np.abs(value), kind="stable")[:_SHOWN]
        with self.bars.hold_sync():
            self.bars.x, self.bars.y = np.arange(len(top)) + 0.5, value[top]
            self.bars.colors = [_COLORS[stream[feature] % len(_COLORS)] for feature in top]
        low, high = min(0.0, float(value.min())), max(0.0, float(value.max())) or 1e-9
        set_range(self.scales["x"], low, high)
        tick_range(self.x_axis, low, high)
        set_range(self.scales["y"], 0, len(top))
        with self.y_axis.hold_sync():
            self.y_axis.tick_values = np.arange(len(top)) + 0.5
            self.y_axis.tick_labels = {str(i + 0.5): label[feature] for i, feature in enumerate(top)}
        self.x_axis.label = "|input x gradient|" if self.sign.value == "absolute" else "input x gradient"
        self.figure.title = f"Features that {explained_output(self.session)} hangs on, {self.span.value}"
        self._write_note(streams)

    def _by_feature(self, attribution: np.ndarray) -> np.ndarray:
        """[T, features] -> [features], over the chosen days with the chosen sign."""
        values = np.abs(attribution) if self.sign.value == "absolute" else attribution
        day = min(self.selection.query, len(values) - 1)
        return np.asarray(values.sum(axis=0) if self.span.value == "all days" else values[day])

    def _write_note(self, streams: list[np.ndarray]) -> None:
        totals = np.array([np.abs(part).sum() for part in streams])
        lines = []
        if len(streams) > 1:
            share = " &nbsp; ".join(
                f'<span style="color: {color}">■</span> {stream} <b>{total / totals.sum():.1%}</b>'
                for color, stream, total in zip(_COLORS, ("stock", "market"), totals, strict=True)
            )
            lines.append(f"share of all |input x gradient|: {share}")
        unavailable = self.session.unavailable_features
        if unavailable:
            lines.append(
                '<span style="color: var(--jp-ui-font-color3, #777)">not in this data, so exactly 0: '
                + ", ".join(text(name) for name in unavailable)
                + "</span>"
            )
        self.note.value = "<br>".join(lines)


def explained_output(session: ExtractorSession) -> str:
    """Which of the model's outputs the saliency is of, in words."""
    output, model = session.reading.capture.output, session.model
    if output.dim() == 1:
        return "the value"
    column = int(output[0].argmax())
    if getattr(model, "use_coral", False):
        return f"P(class > {column})"
    return BINARY_NAMES[column] if getattr(model, "label_mode", None) == "binary" else f"output {column}"
