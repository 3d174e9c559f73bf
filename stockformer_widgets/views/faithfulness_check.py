"""How far to trust the explanations."""

from __future__ import annotations

from typing import Any

import numpy as np
from ipywidgets import HTML, Button, Dropdown, HBox, Layout, Widget

from stockformer.charts.chart import Chart, Panels
from stockformer.charts.faithfulness import faithfulness, ranking_colors
from stockformer.explainability import (
    METHODS,
    Faithfulness,
    Summary,
    faithfulness_verdict,
    has_inflow,
    summarize_faithfulness,
)
from stockformer_widgets.parts.drawing import clicked_step, neighbour, notes_html, text
from stockformer_widgets.parts.progress import Work
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import View
from stockformer_widgets.views.doubts import control_note
from stockformer_widgets.views.panels import LEFT, PanelsPicture

_WINDOWS = (16, 64)
_NOT_YET = (
    "Not measured yet. What a method ranks first is taken out of the input, or put back first; "
    "trust a method as far as it beats random orders, |input| and a fixed linear formula."
)


class FaithfulnessCheck(View):
    """Deletion and insertion curves of every method and of what it should beat, and a verdict for each.

    Nothing is measured before the button is pressed: on one sample it takes some
    seconds, on many windows minutes. What was measured on the sample and over windows is kept apart; the view shows
    the one that is chosen, and the verdict of the other below it. A click on a curve makes its method the
    session's; so do the arrow keys.
    """

    label = "Faithfulness of the explanations"
    follows_session = (
        "reading",
        "target",
        "method",
        "baseline",
        "groups",
        "faithfulness",
        "sample_faithfulness",
        "randomised",
    )
    horizontal = vertical = "ranking"
    indent = LEFT

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        return False  # each is measured by its own button

    def _result(self) -> Faithfulness | None:
        """What was measured of the chosen unit: on what is chosen, or else on the other."""
        return next(iter(self._results()), None)

    def _results(self) -> list[Faithfulness]:
        """What was measured of the chosen unit, over windows and on the sample, the chosen one first."""
        unit, session, windows = self.unit.value, self.session, bool(self.windows.value)
        results = [each[unit] for each in (session.faithfulness, session.sample_faithfulness) if unit in each]
        return sorted(dict.fromkeys(results), key=lambda result: (result.samples > 1) != windows)

    def close(self) -> None:
        if self.comm is not None:
            self.work.stop()
            self.picture.grid.children = [picture.plot for picture in self.picture.pictures]  # closed with the view
        super().close()

    def _build(self) -> tuple[Widget, ...]:
        auto = {"style": {"description_width": "auto"}, "layout": Layout(width="auto")}
        units = [("features by day", "cell")]
        if has_inflow(self.session.model):
            units.append(("days", "day"))
        windows = [("this sample", 0)]  # a Dropdown takes None for "nothing chosen"
        if self.session.dataset is not None:
            length = len(self.session.dataset)
            windows += [(f"{number} windows", number) for number in _WINDOWS if number <= length]
        self.unit = Dropdown(options=units, description="rank", **auto)
        self.unit.observe(self._redraw, "value")
        self.windows = Dropdown(options=windows, description="on", **auto)
        self.windows.observe(self._redraw, "value")
        self.measure = Button(description="measure", tooltip="deletion and insertion", layout=Layout(width="90px"))
        self.randomise = Button(
            description="random weights",
            tooltip="the same methods on a model with random weights, this sample",
            layout=Layout(width="130px"),
        )
        self.work = Work("measuring", self.message)
        self.work.layout.observe(self._enable, "display")
        self.measure.on_click(self._measure)
        self.randomise.on_click(self._randomise)
        controls = [self.unit, self.windows, self.measure, self.randomise, self.work]
        self.picture = PanelsPicture(self._listen, narrowest=320, height=260, ticks=4)
        self.table = HTML(layout=Layout(margin=f"0 0 0 {self.indent}px"))
        margin = f"0 0 0 {self.indent}px"
        return HBox(controls, layout=Layout(flex_flow="row wrap", margin=margin)), self.picture.grid, self.table

    def _measure(self, button: Button) -> None:
        with self.message.reporting():
            self.work.start(self.session.check_steps(self.windows.value or None, self.unit.value))

    def _randomise(self, button: Button) -> None:
        with self.message.reporting():
            self.work.start(self.session.randomised_steps())

    def _enable(self, change: Any) -> None:
        """One computation at a time."""
        for button in (self.measure, self.randomise):
            button.disabled = self.work.running

    def chart_of(self, session: ExtractorSession) -> Chart:
        result = self._result()
        if result is None:
            return Chart("Faithfulness: not measured yet", Panels(()), summary=Summary(_NOT_YET, ()))
        return faithfulness(result, session.method)

    def _draw(self) -> None:
        result, drawn = self._result(), self._body
        self.picture.draw(drawn, {})
        self._names = [] if result is None else list(result.table["ranking"])
        parts = [] if result is None or not drawn.panels else [_verdicts(result), _agreement(result)]
        if self.session.randomised:
            parts.append(_random(self.session.randomised))
        self.table.value = "".join(parts)

    def _selected(self) -> int | None:
        method = self.session.method
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
            self.session.method = self._names[place]

    def _step(self, name: str, by: int) -> None:
        if name != "ranking":
            super()._step(name, by)
        elif methods := [name for name in self._names if name in METHODS]:
            self.session.method = neighbour(methods, self.session.method, by)

    def _describe(self, place: int | None) -> str:
        result = self._result()
        return "" if place is None or result is None else text(faithfulness_verdict(result.table, self._names[place]))

    def _notes(self) -> str:
        changed = "measured on the model without the change" if self.session.change and self._result() else ""
        others = [text(summarize_faithfulness(other).verdict) for other in self._results()[1:]]
        return "<br>".join(filter(None, (*others, changed, notes_html([control_note(self.session)]))))


def _verdicts(result: Faithfulness) -> str:
    colors, rows = ranking_colors(result), []
    for row in result.table.to_dict("records"):
        name = str(row["ranking"])
        mark = f'<span style="color: {colors[name]}">■</span>'
        numbers = [_number(row[column], 3 if column.startswith("p") else 2) for column in _COLUMNS]
        rows.append([f"{mark} {text(_words(name))}", *numbers, row["verdict"]])
    head = ["", *(f'<abbr title="{text(meaning)}">{_words(name)}</abbr>' for name, meaning in _COLUMNS.items()), ""]
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


def _agreement(result: Faithfulness) -> str:
    table = result.agreement()
    rows = [[text(_words(name)), *(_number(value) for value in row)] for name, row in table.iterrows()]
    head = ["", *(text(_words(name)) for name in table.columns)]
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
    return f"<p>{meaning}</p>{_html_table(['', 'signed', 'magnitudes'], cells)}"


def _html_table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{name}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    look = "line-height: 1.4; text-align: right; word-break: normal; border-spacing: 10px 0"
    return f'<table style="{look}"><tr>{top}</tr>{body}</table>'


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _number(value: Any, decimals: int = 2) -> str:
    return "" if np.isnan(value) else f"{value:.{decimals}f}"
