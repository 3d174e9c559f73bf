"""What the model says, and how sure it is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from stockformer.explainability import Summary, plot_prediction, summarize_outputs
from stockformer.model import input_widths
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.bars import BarsView
from stockformer_widgets.views.parts import NEUTRAL, STREAM_COLORS, neighbour, percent, text


class Prediction(BarsView):
    """Class probabilities, or the value of a regression, with the truth where it is known.

    Below the classes of a CORAL model stand its cumulative probabilities. A click
    selects what saliency explains: a class, or one of CORAL's thresholds.
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
        """Columns ``outcome, value, true``: a probability or a regression's value a row; `true` marks the class."""
        names, values = self._outcomes()
        return pd.DataFrame({"outcome": names, "value": values, "true": [name == self._truth() for name in names]})

    def _outcomes(self) -> tuple[list[str], np.ndarray]:
        """Names and values of the bars."""
        shown = self.session.prediction()
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
        return names[int(window.y)] if window is not None and names else None

    def _draw(self) -> None:
        names, values = self._outcomes()
        classes = len(self.session.class_names)
        colors = [NEUTRAL if number < classes or not classes else STREAM_COLORS[1] for number in range(len(names))]
        target = self.session.target
        explained = None if target is None else self.session.targets[target]
        best = int(values[:classes].argmax()) if classes else 0
        said = f"{names[best]} {percent(values[best])}" if classes else f"{values[0]:+.4g}"
        if not np.isfinite(values[best]):
            said = "not a number"
        self._draw_bars(names, values, colors, explained, f"Prediction: {said}", top=1.0 if classes else 0.0)

    def _describe(self, place: int | None) -> str:
        truth = self._truth()
        known = "" if truth is None else f"; true: <b>{text(truth)}</b>"
        if place is None:
            return f"saliency explains <b>{text(self.session.target_name)}</b>{known}"
        return super()._describe(place) + known

    def _select(self, place: int) -> None:
        targets, name = self.session.targets, self.names[place]
        if name in targets:
            chosen = targets.index(name)
            self.session.target = None if chosen == self.session.target else chosen

    def _step(self, name: str, by: int) -> None:
        targets = self.session.targets
        if name != "target":
            super()._step(name, by)
        elif targets:
            self.session.target = targets.index(neighbour(targets, self.session.target_name, by))

    def _summary(self) -> Summary:
        return summarize_outputs(self.session.prediction())

    def _plot(self) -> Figure:
        return plot_prediction(self.session.prediction(), self.session.class_names or None, title=self.figure.title)
