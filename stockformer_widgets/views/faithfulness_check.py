"""How far to trust the explanations."""

from __future__ import annotations

from typing import Any

import bqplot as bq
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ipywidgets import HTML, Button, Dropdown, HBox, Layout, Widget
from matplotlib.figure import Figure

from stockformer.explainability import (
    METHODS,
    UNMEASURED,
    Faithfulness,
    Summary,
    faithfulness_verdict,
    has_inflow,
    plot_faithfulness,
    summarize_faithfulness,
)
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.base import View
from stockformer_widgets.views.parts import (
    Titled,
    axis,
    figure,
    neighbour,
    notes_html,
    set_marks,
    set_range,
    text,
    tick_range,
)
from stockformer_widgets.views.trust import control_note
from stockformer_widgets.work import Work

_TITLES = {
    "deletion": "deletion: target left (1: all, 0: mean)",
    "insertion": "insertion: target reached (1: all, 0: mean)",
}
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c564b", "#7a5195", "#d55e00", "#999933")
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
    follows = ()
    horizontal = vertical = "ranking"
    indent = 48

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        return session.explains

    def to_frame(self) -> pd.DataFrame:
        """The table of `stockformer.explainability.Faithfulness`; empty before it was measured."""
        result = self._result()
        return pd.DataFrame() if result is None else result.table.copy()

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
            self.curves.children = [panel.plot for panel in self.panels]  # closed with the view
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
        self.panels = [_Panel() for _ in _TITLES]
        for panel in self.panels:
            self._listen(panel.figure)
        self.curves = HBox(layout=Layout(flex_flow="row wrap", width="100%"))
        self.table = HTML(layout=Layout(margin=f"0 0 0 {self.indent}px"))
        margin = f"0 0 0 {self.indent}px"
        return HBox(controls, layout=Layout(flex_flow="row wrap", margin=margin)), self.curves, self.table

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

    def _draw(self) -> None:
        result = self._result()
        # A figure that is in the page without a size would be an error there.
        drawn = result is not None and not (result.table["verdict"] == UNMEASURED).any()
        self.curves.children = [panel.plot for panel in self.panels] if drawn else []
        self._names = [] if result is None else [name for name in result.table["ranking"] if name != "random"]
        parts = []
        if result is not None and drawn:
            for panel, kind in zip(self.panels, _TITLES, strict=True):
                curves = result.curves[result.curves["kind"] == kind]
                panel.draw(curves, self._names, self._colors(), self._selected(), _TITLES[kind])
            parts = [_verdicts(result, self._names, self._colors()), _agreement(result)]
        if self.session.randomised:
            parts.append(_random(self.session.randomised))
        self.table.value = "".join(parts)

    def _colors(self) -> list[str]:
        """Colours by name, so that a ranking keeps its own; methods come first, so that they have one in both units."""
        result = self._result()
        order = [] if result is None else sorted(result.scores, key=lambda name: name not in METHODS)
        return [_COLORS[order.index(name) % len(_COLORS)] for name in self._names]

    def _selected(self) -> int | None:
        method = self.session.method
        return self._names.index(method) if method in self._names else None

    def _place(self, x: float, y: float) -> int | None:
        result = self._result()
        if result is None:
            return None
        # Both figures share the mouse; the nearest curve of either is meant.
        curves = result.curves[result.curves["ranking"] != "random"]
        heights = {
            (name, kind): float(np.interp(x, rows["fraction"], rows["value"]))
            for (name, kind), rows in curves.groupby(["ranking", "kind"])
        }
        name, _ = min(heights, key=lambda which: abs(heights[which] - y))
        return self._names.index(name)

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

    def _summary(self) -> Summary:
        result = self._result()
        return Summary(_NOT_YET, ()) if result is None else summarize_faithfulness(result)

    def _plot(self) -> Figure:
        result = self._result()
        return _placeholder() if result is None else plot_faithfulness(result)


def _placeholder() -> Figure:
    empty = plt.figure(figsize=(6, 2), layout="constrained")
    empty.text(0.5, 0.5, "Faithfulness: not measured yet", ha="center", va="center")
    return empty


class _Panel:
    """Curves of one kind: every ranking, the random line and its band."""

    def __init__(self) -> None:
        self.scales = {"x": bq.LinearScale(min=0, max=1), "y": bq.LinearScale()}
        scales = self.scales
        self.band = bq.Lines(
            x=[0, 1],
            y=[[0, 0], [0, 0]],
            scales=scales,
            fill="between",
            fill_colors=["gray"],
            fill_opacities=[0.25],
            stroke_width=0,
            opacities=[0.0],
        )
        self.chance = bq.Lines(x=[0, 1], y=[0, 0], scales=scales, colors=["gray"], line_style="dashed")
        self.lines = bq.Lines(x=[0, 1], y=[[0, 0]], scales=scales, stroke_width=2)
        self.x_axis = axis(scales["x"], grid_lines="none", tick_format="~%")
        self.y_axis = axis(scales["y"], side="left", tick_format="~g")
        marks = [self.band, self.chance, self.lines]
        self.figure = figure(scales, marks, [self.x_axis, self.y_axis], 260, left=48)
        self.plot = Titled(self.figure, left=48)
        self.plot.layout.flex = "1 1 320px"
        self.x_axis.tick_values = [0, 0.25, 0.5, 0.75, 1]

    def draw(self, curves: pd.DataFrame, names: list[str], colors: list[str], selected: int | None, title: str) -> None:
        chance = curves[curves["ranking"] == "random"]
        fractions = chance["fraction"].to_numpy()
        values = np.stack([curves[curves["ranking"] == name]["value"].to_numpy() for name in names])
        band = chance[["low", "high"]].to_numpy().T
        set_marks(self.band, x=fractions, y=band)
        set_marks(self.chance, x=fractions, y=chance["value"].to_numpy())
        opacities = [1.0 if selected in (None, number) else 0.45 for number in range(len(names))]
        set_marks(self.lines, x=fractions, y=values, colors=colors, opacities=opacities)
        low, high = float(min(values.min(), band.min(), 0.0)), float(max(values.max(), band.max(), 1.0))
        set_range(self.scales["y"], low, high)
        tick_range(self.y_axis, low, high)
        self.plot.title = title


def _verdicts(result: Faithfulness, names: list[str], colors: list[str]) -> str:
    by_name = dict(zip(names, colors, strict=True))
    rows = []
    for row in result.table.to_dict("records"):
        name = str(row["ranking"])
        mark = f'<span style="color: {by_name.get(name, "gray")}">■</span>'
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
    return f'<table style="line-height: 1.4; text-align: right; border-spacing: 10px 0"><tr>{top}</tr>{body}</table>'


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _number(value: Any, decimals: int = 2) -> str:
    return "" if np.isnan(value) else f"{value:.{decimals}f}"
