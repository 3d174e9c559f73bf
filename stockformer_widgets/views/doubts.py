"""How far to trust the explanation in a view."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal

import pandas as pd

from stockformer.charts.chart import Doubt, Note
from stockformer.explainability import faithfulness_verdict, negative_control
from stockformer.explainability.attribution.methods import BY_NAME
from stockformer.explainability.faithfulness.result import NO_BETTER, REMOVALS, UNMEASURED
from stockformer.sample import sample_faithfulness, shipped_name
from stockformer_widgets.state.explanations import Explanations
from stockformer_widgets.state.session import ExtractorSession

_SEE = "The tab Faithfulness measures it."
_WORST_LAST = ("sure", "unmeasured", "doubtful")


def faithfulness_doubt(session: ExtractorSession, ranking: str, unit: str) -> Doubt:
    """Which references a ranking of cells or days beats: over windows, measured here or shipped, and on the sample."""
    if session.change:
        return Doubt("faithfulness not measured for the changed model", "unmeasured", _SEE)
    explanations = session.explanations
    measured = explanations.faithfulness.get(unit), explanations.sample_faithfulness.get(unit)
    verdicts = [
        _verdict(
            ranking, f"on {result.measured_on}", result.table, None if result.second is None else result.second.table
        )
        for result in dict.fromkeys(measured)
        if result is not None and ranking in result.scores
    ]
    over_windows = measured[0] is not None and measured[0].samples > 1 and ranking in measured[0].scores
    usual = _is_usual(explanations, ranking, unit)
    if not over_windows and usual and (name := shipped_name(session.model)) is not None:
        verdicts.insert(0, _shipped(ranking, unit, name))
    if not verdicts:
        return Doubt("faithfulness not measured yet", "unmeasured", _SEE)
    level = max((one.level for one in verdicts), key=_WORST_LAST.index)
    return Doubt("; ".join(one.text for one in verdicts), level, " ".join(one.detail for one in verdicts))


def _is_usual(explanations: Explanations, ranking: str, unit: str) -> bool:
    """Whether target and settings are those that the shipped table was measured with."""
    settings = explanations.settings(ranking) if unit == "cell" else {}
    matters = {"target": explanations.target, **settings}
    return all(value == explanations.traits()[name].default_value for name, value in matters.items())


@cache
def _shipped(ranking: str, unit: str, name: str) -> Doubt:
    """The verdict of the table that is shipped with a model."""
    doubt = _verdict(ranking, "on shipped data", *(sample_faithfulness(unit, name, removal) for removal in REMOVALS))
    return replace(doubt, detail=f"{doubt.detail} Measured on 64 windows of the shipped sample.")


def _verdict(ranking: str, on: str, table: pd.DataFrame, second: pd.DataFrame | None = None) -> Doubt:
    """The verdict of a table, and that of the second measurement if it differs."""
    verdict = str(table.set_index("ranking")["verdict"][ranking])
    other = verdict if second is None else str(second.set_index("ranking")["verdict"][ranking])
    but = f", with other windows {other}" if other != verdict else ""
    level: Literal["sure", "doubtful", "unmeasured"] = "doubtful" if NO_BETTER in (verdict, other) else "sure"
    if UNMEASURED in (verdict, other):
        level = "unmeasured"
    return Doubt(f"{verdict} {on}{but}", level, faithfulness_verdict(table, ranking, second))


def control_note(session: ExtractorSession) -> Note:
    """Whether features without data get exactly 0, as they must; empty if there are none, or before it is known."""
    unavailable, explanations = session.unavailable_features, session.explanations
    if not unavailable or explanations.takes_long:
        return Note("")
    largest = negative_control(explanations.saliency(), session.feature_names, unavailable)
    number = f"{len(unavailable)} of {sum(map(len, session.feature_names))} features"
    if largest == 0:
        sentence = f"{number} have no data; their attribution is exactly 0, as expected"
    elif BY_NAME[explanations.method].sensitivity:
        sentence = f"{number} have no data, but would count if they had (at most {largest:.3g})"
    else:
        sentence = f"{number} have no data, but one has an attribution of {largest:.3g}: do not trust this picture"
    return Note(sentence, ", ".join(unavailable), aside=largest == 0)


def completeness_note(session: ExtractorSession) -> Note:
    """Error of the attribution's sum, for methods that are complete."""
    attribution = session.explanations.attribution()
    error = attribution.completeness_error
    if error is None or attribution.reference is None:
        return Note("")
    change = attribution.value - attribution.reference
    sums = f"all days sum to {change + error:.4g}; the target changes by {change:.4g} (error {abs(error):.1g})"
    return Note(sums, aside=True)
