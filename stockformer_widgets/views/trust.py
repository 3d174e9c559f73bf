"""Lines below a view that say whether to believe it."""

from __future__ import annotations

from functools import cache

import pandas as pd

from stockformer.explainability import faithfulness_verdict, negative_control
from stockformer.explainability.rankings import SENSITIVITIES
from stockformer.sample import is_shipped, sample_faithfulness
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.parts import text

_shipped = cache(sample_faithfulness)
_SEE = "see Faithfulness"


def trust_note(session: ExtractorSession, ranking: str, unit: str) -> str:
    """Whether a ranking of cells or days is better than random, as measured here, or for the shipped model with it."""
    if session.change:
        return f"not measured for the changed model, {_SEE}"
    found = session.faithfulness.get(unit)
    if found is not None and ranking in found.scores:
        return _verdict(found.table, ranking, f"on {found.measured_on}")
    if not (_is_usual(session, unit) and is_shipped(session.model)):
        return f"whether to believe it is not measured yet, {_SEE}"
    return _verdict(_shipped(unit), ranking, "on 64 windows")


def _is_usual(session: ExtractorSession, unit: str) -> bool:
    """Whether what is explained is what the shipped table was measured for."""
    matters = ("target", "baseline", "groups") if unit == "cell" else ("target",)
    return all(getattr(session, name) == session.traits()[name].default_value for name in matters)


def _verdict(table: pd.DataFrame, ranking: str, on: str) -> str:
    verdict = str(table.set_index("ranking").loc[ranking, "verdict"])
    return f'<abbr title="{text(faithfulness_verdict(table, ranking))}">{text(f"{verdict} {on}")}</abbr>'


def control_note(session: ExtractorSession) -> str:
    """Whether features without data get exactly 0, as they must; empty where there are none, or nobody knows yet."""
    unavailable = session.unavailable_features
    if not unavailable or session.takes_long:
        return ""
    largest = negative_control(session.saliency(), session.feature_names, unavailable)
    number = f"{len(unavailable)} of {sum(map(len, session.feature_names))} features"
    names = f'<abbr title="{text(", ".join(unavailable))}">{number}</abbr>'
    if largest == 0:
        return f"without data and exactly 0, as must be: {names}"
    if session.method in SENSITIVITIES:
        return f"without data, but would count if they had any (at most {largest:.3g}): {names}"
    return f"without data but not 0 (one gets {largest:.3g}), so do not believe this: {names}"


def completeness_note(session: ExtractorSession) -> str:
    """How far the attribution is from adding up, where its method promises that it does."""
    found = session.attribution()
    error = found.completeness_error
    if error is None or found.reference is None:
        return ""
    return f"adds up to {found.value - found.reference:.4g}, but for {abs(error):.1g}"
