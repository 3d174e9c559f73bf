"""The prediction and its confidence."""

from __future__ import annotations

from dataclasses import replace

from stockformer.charts.chart import Axis, Chart, Note
from stockformer.charts.prediction import prediction
from stockformer.model import Forecaster
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import neighbour
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.bars import BarsView


class Prediction(BarsView):
    """Class probabilities, or the value of a regression, with the truth where it is known.

    Below the classes of a CORAL model are its cumulative probabilities. A click
    selects what is explained: a class, or one of CORAL's thresholds. While
    `ExtractorSession.what_if` changes the model, circles show the values before.
    """

    label = "Prediction"
    follows_explanations = ("target",)
    vertical = "target"
    row_height, left = 24, 150

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return isinstance(session.model, Forecaster)

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        return super().compares(one, other) and one.class_names == other.class_names

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection) -> Chart:
        outputs, classes, targets = session.prediction(), session.class_names, session.explanations.targets
        if cls.compared:  # by class: the true one and what was before are of one sample
            return prediction(replace(outputs, labels=None), classes or None, targets, target=session.target_column)
        before = session.prediction(original=True) if session.change else None
        chart = prediction(outputs, classes or None, targets, before=before, target=session.target_column)
        chart = chart.noting(_effect_note(session), _value_note(session))
        if not classes or outputs.labels is None:
            return chart
        assumption = f" ({outputs.assumption})" if outputs.assumption else ""
        return chart.noting(Note(f"true: {classes[int(outputs.labels[0])]}{assumption}"))

    @property
    def _first_target(self) -> int:
        """The place of the first bar that can be explained: CORAL's thresholds are below the classes."""
        return len(self._body.names.names) - len(self.session.explanations.targets)

    def _place_on(self, axis: Axis, field: str) -> int | None:
        target = self.session.explanations.target
        return None if target is None else self._first_target + target

    def _select(self, place: int) -> None:
        chosen, explanations = place - self._first_target, self.session.explanations
        if explanations.targets and chosen >= 0:
            explanations.target = None if chosen == explanations.target else chosen

    def _unselect(self) -> None:
        super()._unselect()
        self.session.explanations.target = None

    def _step(self, name: str, by: int) -> None:
        explanations = self.session.explanations
        targets = explanations.targets
        if name != "target":
            super()._step(name, by)
        elif targets:
            column = explanations.explained_column
            now = None if column is None else targets[column]
            explanations.target = targets.index(neighbour(targets, now, by))

    def _describe(self, place: int | None) -> list[Phrase]:
        if place is None:
            return [Phrase("attribution explains", self.session.explanations.target_name)]
        return super()._describe(place)


def _value_note(session: ExtractorSession) -> Note:
    """The model's own output, which is what is explained; empty where the bars show it."""
    target, outputs = session.target_column, session.prediction()
    if target is None or target.kind != "volatility" or outputs.probabilities is not None:
        return Note("")
    truth = "" if outputs.labels is None else f" (true: {float(outputs.labels[0]):.4g})"
    return Note(f"explained is the {target.unit}: {float(outputs.outputs[0]):.4g}{truth}")


def _effect_note(session: ExtractorSession) -> Note:
    """Effect of the change of `what_if` on the output."""
    if not session.change:
        return Note("")
    effect = session.effect()
    numbers = " · ".join(f"{one.name.replace('_', ' ')} {one.value:.3g}" for one in effect.findings)
    formulas = "; ".join(f"{one.name} = {one.formula}. {one.reading}" for one in effect.findings)
    return Note(f"what if {session.change}: {effect.verdict} {numbers}", formulas)
