"""What a person chose, as a small dictionary for JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from traitlets import Bool, Enum, HasTraits, Int, List, TraitError, TraitType, Tuple, Unicode

from stockformer.dataset import Window
from stockformer.explainability import WhatIf
from stockformer.table import listed
from stockformer_widgets.state.explanations import EXPLAINS
from stockformer_widgets.state.observable import changing
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession

#: Of the dictionary.
VERSION = 1
_PARTS = ("what_if", "explanations", "selection", "options", "history")  # dictionaries, where a state has them
_WINDOWS = ("market_from", "patch_from")  # fields of a what-if that are indices of windows
_FORMS = {
    Bool: "true or false",
    Int: "a whole number",
    Unicode: "a name",
    List: "a list of names",
    Tuple: "the first and the last day",
}
# The days in view follow the selected ones, so they come last.
_SELECTED = ("kind", "layer", "head", "query", "key", "feature", "shown_queries", "shown_keys", "log_colors")


def save_state(session: ExtractorSession, selection: Selection) -> dict[str, Any]:
    """The chosen sample, what-if, explanation and selection.

    Returns:
        ``version``; ``sample``, which like the windows of a what-if is named by ticker and day, so that it can be found
        in a dataset of other dates; ``what_if``, ``explanations`` and ``selection`` with a value per field.
    """
    chosen = {
        "version": VERSION,
        "sample": save_sample(session),
        "what_if": dict(_save_change(session)),
        "explanations": {name: getattr(session.explanations, name) for name in EXPLAINS},
        "selection": {name: getattr(selection, name) for name in _SELECTED},
    }
    state: dict[str, Any] = json.loads(json.dumps(chosen))
    return state


def restore_state(session: ExtractorSession, selection: Selection, state: Mapping[str, Any]) -> list[str]:
    """Choose what a state of `save_state` holds, as far as model and dataset have it.

    Returns:
        A sentence for everything that could not be restored.

    Raises:
        ValueError: it is not a state, or is one of another version; nothing is restored.
    """
    _check(state)
    failures: list[str] = []
    with changing():
        with noting(failures, "sample"):
            restore_sample(session, state.get("sample"))
        with noting(failures, "what if"):
            session.what_if(**_restore_change(session, state.get("what_if", {})))
        for name, value in _known(state, "explanations", EXPLAINS):
            with noting(failures, name):
                choose(session.explanations, name, value)
        for name, value in _known(state, "selection", _SELECTED):
            with noting(failures, name):
                choose(selection, name, _tupled(value))
    return failures


def save_sample(session: ExtractorSession) -> dict[str, str] | None:
    """The chosen sample by ticker and day; None for tensors given by hand."""
    return _named(session.reading.window)


def restore_sample(session: ExtractorSession, named: Mapping[str, str] | None) -> None:
    """Choose the sample of `save_sample`; None for the present one."""
    if named is not None and named != save_sample(session):
        session.sample = _index(session, named)


@contextmanager
def noting(failures: list[str], what: str) -> Iterator[None]:
    """Add a sentence on what could not be restored, instead of an error."""
    try:
        yield
    except (IndexError, TraitError, TypeError, ValueError) as error:
        failures.append(f"{what} is not restored: {error}")


def choose(owner: HasTraits, name: str, value: Any) -> None:
    """Set a trait.

    Raises:
        TraitError: the value has the wrong type, or is refused.
    """
    trait = owner.traits()[name]
    if value is not None or not trait.allow_none:
        try:
            trait.validate(owner, value)  # type: ignore[attr-defined]  # every type here has it
        except TraitError as error:
            raise TraitError(f"found {value!r:.60}, expected {_form(trait)}") from error
    setattr(owner, name, value)


def check_dictionary(name: str, value: Any) -> None:
    """Raise ValueError unless a value is a dictionary."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is {value!r:.60}, expected a dictionary")


def _check(state: Any) -> None:
    if not isinstance(state, Mapping) or "version" not in state:
        raise ValueError(f"expected a state as `explorer.state` returns it, found {state!r:.60}")
    if state["version"] != VERSION:
        raise ValueError(f"the state is of version {state['version']}, expected {VERSION}")
    for part in _PARTS:
        check_dictionary(f"the state's {part}", state.get(part, {}))


def _form(trait: TraitType[Any, Any]) -> str:
    """The values that a trait takes, in words."""
    if isinstance(trait, Enum):
        words = f"one of {listed(list(trait.values or ()), 20)}"
    else:
        words = next((words for kind, words in _FORMS.items() if isinstance(trait, kind)), trait.info())
    return f"{words} or None" if trait.allow_none else words


def _known(state: Mapping[str, Any], part: str, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """The fields of a part of a state that are in it, in the order of the names."""
    values = state.get(part, {})
    return ((name, values[name]) for name in names if name in values)


def _save_change(session: ExtractorSession) -> Iterator[tuple[str, Any]]:
    """The fields of the what-if that change something."""
    for field, value in vars(session.change).items():
        if value == getattr(WhatIf(), field):
            continue
        if field in _WINDOWS:
            assert session.dataset is not None
            yield field, _named(session.dataset.window(value))
        else:
            yield field, list(value.items()) if isinstance(value, Mapping) else value


def _restore_change(session: ExtractorSession, change: Mapping[str, Any]) -> dict[str, Any]:
    unknown = set(change) - {field.name for field in fields(WhatIf)}
    if unknown:
        raise ValueError(f"there is no {', '.join(sorted(unknown))}")
    restored: dict[str, Any] = {}
    for field, value in change.items():
        if field in _WINDOWS:
            restored[field] = _index(session, value)
        else:
            restored[field] = _gates(value) if field == "gate" else _tupled(value)
    return restored


def _gates(pairs: Any) -> dict[Any, Any]:
    try:
        return dict(pairs)
    except (TypeError, ValueError):
        raise ValueError(f"gate is {pairs!r:.60}, expected a list of [layer, value]") from None


def _named(window: Window | None) -> dict[str, str] | None:
    """A window by ticker and last day."""
    return None if window is None else {"ticker": window.ticker, "day": str(window.dates[-1].date())}


def _index(session: ExtractorSession, named: Mapping[str, str]) -> int:
    if session.dataset is None:
        raise ValueError("this session has no dataset")
    if not isinstance(named, Mapping) or not all(isinstance(named.get(name), str) for name in ("ticker", "day")):
        raise ValueError(f"expected a window by its ticker and day, found {named!r:.60}")
    return session.dataset.index_of(named["day"], named["ticker"])


def _tupled(value: Any) -> Any:
    """Lists as tuples, all the way down: JSON has no tuples."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
