"""The line above the views: the sample, its prediction, the outcome, and how far to trust them."""

from __future__ import annotations

from dataclasses import replace

from ipywidgets import HTML

from stockformer.charts.chart import Doubt
from stockformer.explainability.sentences.outputs import prediction_in_words, truth_in_words
from stockformer.model import Forecaster
from stockformer_widgets.components.drawing import text
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.doubts import faithfulness_doubt

_SIGNS = {"sure": "✓", "doubtful": "!", "unmeasured": "?"}


class Headline(HTML):
    """Ticker, day, prediction, truth, what-if and doubts of a session's sample; `write` brings it up to date."""

    def __init__(self, session: ExtractorSession) -> None:
        super().__init__()
        self.add_class("stockformer-headline")
        self.session = session
        self.write()

    def write(self) -> None:
        parts = [f"<b>{text(_subject(self.session))}</b>", *map(text, _outcome(self.session))]
        if self.session.change:
            parts.append(f'<b class="stockformer-changed">what if: {text(self.session.change)}</b>')
        self.value = " &nbsp; ".join([*parts, *_doubts(self.session)])


def _subject(session: ExtractorSession) -> str:
    """Ticker and day of the sample."""
    window = session.reading.window
    if window is not None:
        return f"{window.ticker}, {window.dates[-1].date()}"
    batch = next(iter(session.reading.capture.attention.values())).size(0)
    return "tensors given by hand" + (f", the first of the batch's {batch}" if batch > 1 else "")


def _outcome(session: ExtractorSession) -> list[str]:
    """What was predicted and what came true, as far as the meaning of the output is known."""
    if not isinstance(session.model, Forecaster):
        return []
    outputs, names = session.prediction(), session.class_names or None
    target = session.target_column
    unit = target if outputs.probabilities is None else None
    before = session.prediction(original=True) if session.change else None
    facts = [prediction_in_words(outputs, names, unit, before), truth_in_words(outputs, names, unit)]
    prediction = f"predicted {', '.join(filter(None, facts))}"
    window = session.reading.window
    if target is None or window is None:
        return [prediction]
    if unit is not None:
        return [f"{target.title}: {prediction}"]
    return [prediction, target.describe(window.target_value)]


def _doubts(session: ExtractorSession) -> list[str]:
    """Reasons to doubt what is shown, as badges."""
    explanations, dataset = session.explanations, session.dataset
    assumption = "" if dataset is None else dataset.assumption
    doubts = [Doubt(reason, "doubtful") for reason in (session.doubt, assumption) if reason]
    if explanations.available:
        verdict = faithfulness_doubt(session, explanations.method, "cell")
        doubts.append(replace(verdict, text=f"{explanations.method_name}: {verdict.text}"))
    return [
        f'<span class="stockformer-badge stockformer-{one.level}" title="{text(one.detail)}">'
        f"<b>{_SIGNS[one.level]}</b> {text(one.text)}</span>"
        for one in doubts
    ]
