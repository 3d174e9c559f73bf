"""Faithfulness of the explanations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ipywidgets import HTML, Button, Layout, Widget

from stockformer.charts.chart import Chart, Note, Panels
from stockformer.charts.faithfulness import faithfulness, ranking_colors
from stockformer.explainability import (
    METHODS,
    Faithfulness,
    Summary,
    faithfulness_verdict,
    has_inflow,
    summarize_faithfulness,
)
from stockformer.sample import shipped_name
from stockformer_widgets.components.caption import Phrase
from stockformer_widgets.components.drawing import clicked_step, neighbour, text
from stockformer_widgets.components.progress import ProgressBar
from stockformer_widgets.state.explanations import EXPLAINS
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import View
from stockformer_widgets.views.doubts import control_note
from stockformer_widgets.views.panels import LEFT, PanelsPicture

_UNITS = {"features by day": "cell", "days": "day"}
#: Choice -> number of windows, None for the sample.
_WINDOWS = {"this sample": None, "16 windows": 16, "64 windows": 64}
_NOT_YET = (
    "Not measured yet. What a method ranks first is taken out of the input, or put back first; "
    "trust a method as far as it beats random orders, the size of the input and a fixed linear formula."
)
_SHIPPED = "Until then, badges show the measurement on 64 windows that is shipped with this model."


class FaithfulnessCheck(View):
    """Deletion and insertion curves of every method and of its references, with a verdict for each.

    Nothing is measured before the button is pressed: one sample takes seconds, many windows take minutes. Results on
    the sample and over windows are kept apart; the view shows the chosen one, and the verdict of the other below it. A
    click on a curve, or an arrow key, selects its method.
    """

    label = "Faithfulness of the explanations"
    attributed = True
    follows_explanations = (*EXPLAINS, "faithfulness", "sample_faithfulness", "randomised")
    horizontal = vertical = "ranking"
    indent = LEFT

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        return False  # each session has its own button

    @classmethod
    def choices(cls, session: ExtractorSession) -> Mapping[str, Sequence[str]]:
        units = list(_UNITS) if has_inflow(session.model) else list(_UNITS)[:1]
        windows = 0 if session.dataset is None else len(session.dataset)
        return {"rank": units, "on": [name for name, number in _WINDOWS.items() if (number or 0) <= windows]}

    @property
    def _measured(self) -> list[Faithfulness]:
        return _results(self.session, **self.chosen)

    def close(self) -> None:
        if self.comm is not None:
            self.progress.stop()
            self.picture.grid.children = [picture.plot for picture in self.picture.pictures]  # closed with the view
        super().close()

    def _build(self) -> tuple[Widget, ...]:
        self.measure = Button(description="measure", tooltip="deletion and insertion", layout=Layout(width="90px"))
        self.randomise = Button(
            description="random weights",
            tooltip="the same methods on a model with random weights, this sample",
            layout=Layout(width="130px"),
        )
        self.progress = ProgressBar("measuring", self.message)
        self.progress.observe(self._enable, "running")
        self.measure.on_click(self._measure)
        self.randomise.on_click(self._randomise)
        self.controls_row.children += (self.measure, self.randomise, self.progress)
        self.picture = PanelsPicture(self._listen, narrowest=320, height=260, ticks=4)
        self.table = HTML(layout=Layout(margin=f"0 0 0 {self.indent}px"))
        return self.picture.grid, self.table

    def _measure(self, button: Button) -> None:
        with self.message.reporting():
            on, unit = _WINDOWS[self.chosen["on"]], _UNITS[self.chosen["rank"]]
            self.progress.start(self.session.explanations.check_steps(on, unit))

    def _randomise(self, button: Button) -> None:
        with self.message.reporting():
            self.progress.start(self.session.explanations.randomised_steps())

    def _enable(self, change: Any) -> None:
        """One computation at a time."""
        for button in (self.measure, self.randomise):
            button.disabled = self.progress.running

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection, rank: str, on: str) -> Chart:
        results = _results(session, rank, on)
        if not results:
            shipped = Note(_SHIPPED if shipped_name(session.model) else "")
            return Chart("Faithfulness: not measured yet", Panels(()), summary=Summary(_NOT_YET, ())).noting(shipped)
        return faithfulness(results[0], session.explanations.method)

    def _draw(self) -> None:
        self.picture.draw(self._body, {})
        self._names, sections = [], []
        for result in self._measured[:1]:
            self._names = list(result.table["ranking"])
            sections = [_verdicts(result), _agreement(result)] if self._body.panels else []
        if randomised := self.session.explanations.randomised:
            sections.append(_random(randomised))
        self.table.value = "".join(sections)

    def _selected(self) -> int | None:
        method = self.session.explanations.method
        return self._names.index(method) if method in self._names else None

    def _place(self, x: float, y: float) -> int:
        """The nearest curve of either figure, which share the mouse."""
        share = clicked_step(x, len(self._body.axes[0].names))
        lines = [enumerate(body.lines) for _, body in self._body.panels]
        gaps = {
            (abs(line.values[share] - y), place) for each in lines for place, line in each if line.shape != "dashed"
        }
        return min(gaps)[1]

    def _select(self, place: int | None) -> None:
        if place is not None and self._names[place] in METHODS:
            self.session.explanations.method = self._names[place]

    def _step(self, name: str, by: int) -> None:
        if name != "ranking":
            super()._step(name, by)
        elif methods := [name for name in self._names if name in METHODS]:
            explanations = self.session.explanations
            explanations.method = neighbour(methods, explanations.method, by)

    def _describe(self, place: int | None) -> list[Phrase]:
        if place is None or not self._measured:
            return []
        result = self._measured[0]
        second = None if result.second is None else result.second.table
        return [Phrase(faithfulness_verdict(result.table, self._names[place], second))]

    def _notes(self) -> list[Note]:
        changed = "measured on the model without the change" if self.session.change and self._measured else ""
        others = [Note(summarize_faithfulness(other).verdict) for other in self._measured[1:]]
        return [*others, Note(changed), control_note(self.session)]


def _results(session: ExtractorSession, rank: str, on: str) -> list[Faithfulness]:
    """Results of a unit over windows and on the sample, the chosen one first."""
    unit, windows = _UNITS[rank], _WINDOWS[on] is not None
    measured = session.explanations.faithfulness, session.explanations.sample_faithfulness
    results = [each[unit] for each in measured if unit in each]
    return sorted(dict.fromkeys(results), key=lambda result: (result.samples > 1) != windows)


def _verdicts(result: Faithfulness) -> str:
    colors, rows = ranking_colors(result), []
    for row in result.table.to_dict("records"):
        name = str(row["ranking"])
        mark = f'<span style="color: {colors[name]}">■</span>'
        numbers = [_number(row[column], 3 if column.startswith("p") else 2) for column in _COLUMNS]
        rows.append([f"{mark} {text(_words(name))}", *numbers, row["verdict"]])
    columns = [f'<abbr title="{text(meaning)}">{_words(name)}</abbr>' for name, meaning in _COLUMNS.items()]
    head = ["ranking", *columns, "verdict"]
    if result.second is not None:
        others = result.second.table.set_index("ranking").loc[result.table["ranking"]]
        for cells, gap, verdict in zip(rows, others["gap"], others["verdict"], strict=True):
            cells += [_number(gap), verdict]
        head += [f'<abbr title="{text(_OTHERS)}">gap, other windows</abbr>', "verdict"]
    return _html_table(head, rows)


_COLUMNS = {
    "deletion": "area under the target while what ranks first is taken out; low is good",
    "insertion": "area under the target while what ranks first is put back; high is good",
    "gap": "insertion - deletion",
    "p": "share of random orders that do as well, or the p-value of a t-test over blocks of days where it is larger",
    "p_holm": "p corrected for the number of rankings (Holm 1979)",
    "comprehensiveness": "how far the target falls without the first 1 to 50 %; high is good (DeYoung et al. 2020)",
    "sufficiency": "how far it falls with these alone; low is good (DeYoung et al. 2020)",
}


_OTHERS = "values of other windows of the ticker are put in place of what is taken out, not the training mean"


def _agreement(result: Faithfulness) -> str:
    table = result.agreement()
    rows = [[text(_words(name)), *(_number(value) for value in row)] for name, row in table.iterrows()]
    head = ["ranking", *(text(_words(name)) for name in table.columns)]
    return f"<details><summary>rank correlation between them</summary>{_html_table(head, rows)}</details>"


def _random(rows: dict[str, dict[str, float]]) -> str:
    cells = [
        [text(_words(name)), *(f"{_number(row[of])} ± {_number(row[f'{of}_std'])}" for of in ("signed", "absolute"))]
        for name, row in rows.items()
    ]
    meaning = (
        "Rank correlation with the same on models with random weights, mean and standard deviation over the models: "
        "near 1, a method shows the input, not the model."
    )
    return f"<p>{meaning}</p>{_html_table(['method', 'signed', 'magnitudes'], cells)}"


def _html_table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="stockformer-table"><table><tr>{top}</tr>{body}</table></div>'


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _number(value: Any, decimals: int = 2) -> str:
    return "" if np.isnan(value) else f"{value:.{decimals}f}"
