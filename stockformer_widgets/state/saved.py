"""What a person chose, as a small dictionary for JSON, and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from traitlets import TraitError

from stockformer.dataset import Window
from stockformer.explainability import WhatIf
from stockformer_widgets.state.explanations import EXPLAINS
from stockformer_widgets.state.observable import changing
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession

#: Of the dictionary.
VERSION = 1
_WINDOWS = ("market_from", "patch_from")  # fields of a what-if that are indices of windows
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
        ValueError: this is no such state, or one of another version.
    """
    if not isinstance(state, Mapping) or "version" not in state:
        raise ValueError(f"expected a state as `explorer.state` returns it, found {state!r:.60}")
    if state["version"] != VERSION:
        raise ValueError(f"the state is of version {state['version']}, expected {VERSION}")
    failures: list[str] = []
    with changing():
        with noting(failures, "sample"):
            restore_sample(session, state.get("sample"))
        with noting(failures, "what if"):
            session.what_if(**_restore_change(session, state.get("what_if", {})))
        for name, value in _known(state, "explanations", EXPLAINS):
            with noting(failures, name):
                setattr(session.explanations, name, value)
        for name, value in _known(state, "selection", _SELECTED):
            with noting(failures, name):
                setattr(selection, name, _tupled(value))
    return failures


def save_sample(session: ExtractorSession) -> dict[str, str] | None:
    """The chosen sample by ticker and day; None for tensors by hand."""
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
    except (AttributeError, IndexError, KeyError, TraitError, TypeError, ValueError) as error:
        failures.append(f"{what} is not restored: {error.args[0] if error.args else error}")


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
            restored[field] = dict(value) if field == "gate" else _tupled(value)
    return restored


def _named(window: Window | None) -> dict[str, str] | None:
    """A window by ticker and last day."""
    return None if window is None else {"ticker": window.ticker, "day": str(window.dates[-1].date())}


def _index(session: ExtractorSession, named: Mapping[str, str]) -> int:
    if session.dataset is None:
        raise ValueError("this session has no dataset")
    if not isinstance(named, Mapping):
        raise ValueError(f"expected a window by its ticker and day, found {named!r}")
    return session.dataset.index_of(named["day"], named["ticker"])


def _tupled(value: Any) -> Any:
    """Lists as tuples, all the way down: JSON has no tuples."""
    return tuple(map(_tupled, value)) if isinstance(value, list) else value
