"""The chart of how far to trust attributions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from stockformer.charts.chart import Axis, Band, Chart, Line, Lines, Panels, Scale, finite_range, formatted
from stockformer.explainability.attribution.methods import METHODS
from stockformer.explainability.faithfulness.result import UNMEASURED, Faithfulness
from stockformer.explainability.sentences.flow import summarize_faithfulness

_TITLES = {
    "deletion": "deletion: target left (1: all, 0: mean)",
    "insertion": "insertion: target reached (1: all, 0: mean)",
}
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#8c564b", "#7a5195", "#d55e00", "#999933")
_GRAY = "#808080"
#: Curves are drawn in straight lines between the measured shares, read at every hundredth.
_SHARES = np.linspace(0, 1, 101)


def faithfulness(result: Faithfulness, method: str | None = None) -> Chart:
    """Deletion and insertion curves of every ranking beside random orders; `method`, if any, is emphasised."""
    kinds = {} if (result.table["verdict"] == UNMEASURED).any() else _TITLES
    return Chart(
        title="Deletion and insertion",
        body=Panels(tuple((title, _curves(result, kind, method)) for kind, title in kinds.items())),
        make_table=lambda: result.table,
        summary=summarize_faithfulness(result),
    )


def ranking_colors(result: Faithfulness) -> dict[str, str]:
    """Colours by name, so that a ranking keeps its own; methods come first, so that both units give them the same."""
    order = sorted(result.scores, key=lambda name: name not in METHODS)
    return {name: _COLORS[place % len(_COLORS)] for place, name in enumerate(order)} | {"random": _GRAY}


def _curves(result: Faithfulness, kind: str, method: str | None) -> Lines:
    curves = result.curves[result.curves["kind"] == kind].set_index("ranking")
    values = {name: _at_every_share(curves.loc[[name]], "value") for name in result.table["ranking"]}
    low, high = (_at_every_share(curves.loc[["random"]], end) for end in ("low", "high"))
    colors, chosen = ranking_colors(result), method if method in values else None
    lines = [
        Line(
            str(name).replace("_", " "),
            curve,
            formatted(curve, ".3f"),
            colors[name],
            "dashed" if name == "random" else "line",
            emphasis=chosen is None or name in (chosen, "random"),
        )
        for name, curve in values.items()
    ]
    shares = Axis([f"{100 * share:.0f} %" for share in _SHARES], f"share of the {result.unit}s")
    return Lines(
        tuple(lines), shares, Scale(*finite_range([*values.values(), low, high], 0.0, 1.0)), Band(low, high, _GRAY)
    )


def _at_every_share(curve: pd.DataFrame, column: str) -> np.ndarray:
    values: np.ndarray = np.interp(_SHARES, curve["fraction"], curve[column])
    return values
