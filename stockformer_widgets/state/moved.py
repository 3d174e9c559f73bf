"""Deprecated names of a session, which its explanations have instead; they work in this version, with a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from traitlets import All, HasTraits

_SAME = (
    "attention_effects attention_effects_steps attribution attribution_steps baseline check check_randomised "
    "check_steps donors explained_column faithfulness groups head_importance head_importance_steps method "
    "method_name patching patching_steps randomised randomised_steps saliency sample_faithfulness settings stopped "
    "takes_long target target_name targets trace"
)
#: Name of a session -> name of its explanations.
MOVED = {name: name for name in _SAME.split()} | {"explains": "available", "is_explained": "has"}

Session = TypeVar("Session", bound=type[HasTraits])


class _Moved:
    """An attribute of a session that reads and sets that of its explanations."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, session: Any, owner: type[Any]) -> Any:
        return self if session is None else getattr(_explanations(session, self.name), MOVED[self.name])

    def __set__(self, session: Any, value: Any) -> None:
        setattr(_explanations(session, self.name, depth=4), MOVED[self.name], value)


def _explanations(session: Any, name: str, depth: int = 3) -> Any:
    words = f"session.{name} is deprecated: use session.explanations.{MOVED[name]}"
    warnings.warn(words, DeprecationWarning, stacklevel=depth)
    return session.explanations


def moved_to_explanations(session: Session) -> Session:
    """Decorate a class of sessions, so that it has the names of `MOVED` too."""

    def moved(inherited: Callable[..., None]) -> Callable[..., None]:
        def method(self: Any, handler: Any, names: Any = All, type: Any = "change") -> None:
            for name in names if isinstance(names, list | tuple) else [names]:
                if name in MOVED:
                    getattr(_explanations(self, name), inherited.__name__)(handler, MOVED[name], type)
                else:
                    inherited(self, handler, name, type)

        return wraps(inherited)(method)

    for each in (session.observe, session.unobserve):
        setattr(session, each.__name__, moved(each))
    for name in MOVED:
        setattr(session, name, _Moved(name))
    return session
