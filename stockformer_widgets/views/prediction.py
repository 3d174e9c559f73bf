"""What the model says, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import bqplot as bq
import numpy as np
import pandas as pd
import torch
from ipywidgets import Widget
from matplotlib.figure import Figure

from stockformer.explainability import Summary, plot_prediction, summarize_outputs
from stockformer.model import input_widths
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.bars import BarsView
from stockformer_widgets.views.parts import (
    HIGHLIGHT,
    NEUTRAL,
    STREAM_COLORS,
    finite,
    neighbour,
    percent,
    points,
    set_marks,
    summary_html,
    text,
)


class Prediction(BarsView):
    """Class probabilities, or the value of a regression, with the truth where it is known.

    Below the classes of a CORAL model stand its cumulative probabilities. A click
    selects what saliency explains: a class, or one of CORAL's thresholds. While
    `ExtractorSession.what_if` changes the model, circles show the values before.
    """

    label = "Prediction"
    follows_session = ("reading", "target")
    follows = ()
    vertical = "target"
    row_height, left = 24, 150

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return input_widths(session.model) is not None

    def to_frame(self) -> pd.DataFrame:
        """Columns ``outcome, value, before, true``: a probability or a regression's value a row.

        `before` is without the change of `what_if`; `true` marks the class.
        """
        names, values = self._outcomes()
        before = self._outcomes(original=True)[1]
        truth = [name == self._truth() for name in names]
        return pd.DataFrame({"outcome": names, "value": values, "before": before, "true": truth})

    def _build(self) -> tuple[Widget, ...]:
        built = super()._build()
        self.before = bq.Scatter(
            x=[0, 0],
            y=[0, 0],
            scales=self.scales,
            colors=[HIGHLIGHT],
            fill=False,
            default_size=50,
            stroke_width=2,
            visible=False,
        )
        self.figure.marks = [*self.figure.marks, self.before]
        return built

    def _outcomes(self, *, original: bool = False) -> tuple[list[str], np.ndarray]:
        """Names and values of the bars."""
        shown = self.session.prediction(original=original)
        if shown.probabilities is None:
            values = shown.outputs if shown.labels is None else torch.cat([shown.outputs, shown.labels])
            return ["predicted", "true"][: len(values)], values.numpy()
        above = torch.empty(0) if shown.above is None else shown.above[0]
        names = self.session.class_names + (self.session.targets if len(above) else [])
        return names, torch.cat([shown.probabilities[0], above]).numpy()

    def _truth(self) -> str | None:
        """The name of the true class, where it is known."""
        window = self.session.reading.window
        names = self.session.class_names
        return names[int(window.y)] if window is not None and window.y is not None and names else None

    def _draw(self) -> None:
        names, values = self._outcomes()
        classes = len(self.session.class_names)
        colors = [NEUTRAL if number < classes or not classes else STREAM_COLORS[1] for number in range(len(names))]
        target = self.session.target
        explained = None if target is None else self.session.targets[target]
        title = f"Prediction: {self._said(names, values)}"
        before: np.ndarray = np.empty(0)
        if self.session.change:
            before = self._outcomes(original=True)[1]
            title += f" (before: {self._said(names, before, original=True)})"
            set_marks(self.before, **points(finite(before), np.arange(len(names)) + 0.5))
        self.before.visible = bool(self.session.change)
        self._draw_bars(names, values, colors, explained, title, also=before, top=1.0 if classes else 0.0)

    def _said(self, names: Sequence[str], values: np.ndarray, *, original: bool = False) -> str:
        """The outcome in a few words: the predicted class, which of a CORAL model need not be the likeliest."""
        classes = len(self.session.class_names)
        best = int(self.session.prediction(original=original).predictions[0]) if classes else 0
        if not np.isfinite(values[best]):
            return "not a number"
        return f"{names[best]} {percent(values[best])}" if classes else f"{values[0]:+.4g}"

    def _notes(self) -> str:
        change = self.session.change
        return f"what if <b>{text(change)}</b>: {summary_html(self.session.effect())}" if change else ""

    def _describe(self, place: int | None) -> str:
        truth = self._truth()
        assumption = self.session.prediction().assumption
        known = "" if truth is None else f"; true: <b>{text(truth)}</b>{f' ({text(assumption)})' if assumption else ''}"
        if place is None:
            return f"saliency explains <b>{text(self.session.target_name)}</b>{known}"
        return super()._describe(place) + known

    def _select(self, place: int) -> None:
        targets, name = self.session.targets, self.names[place]
        if name in targets:
            chosen = targets.index(name)
            self.session.target = None if chosen == self.session.target else chosen

    def _unselect(self) -> None:
        super()._unselect()
        self.session.target = None

    def _step(self, name: str, by: int) -> None:
        targets = self.session.targets
        if name != "target":
            super()._step(name, by)
        elif targets:
            column = self.session.explained_column
            now = None if column is None else targets[column]
            self.session.target = targets.index(neighbour(targets, now, by))

    def _summary(self) -> Summary:
        return summarize_outputs(self.session.prediction(), self.session.class_names or None)

    def _plot(self) -> Figure:
        return plot_prediction(self.session.prediction(), self.session.class_names or None, title=self.plot.title)
