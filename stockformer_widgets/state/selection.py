"""The selection: an attention map, and the query and key in it."""

from __future__ import annotations

import weakref
from difflib import get_close_matches
from typing import Any

from traitlets import Bool, Int, TraitError, Tuple, Unicode, validate

from stockformer_widgets.state.observable import Observable, reacts
from stockformer_widgets.state.session import ExtractorSession

#: Selected day -> trait of the days in view.
_RANGES = {"query": "shown_queries", "key": "shown_keys"}
_CLOSEST = 8  # days


class Selection(Observable):
    """Attention kind, layer, head, query step, key step and feature.

    Views that share a selection are linked. Values outside of what the
    sessions' models have are refused; when the kind or the sample changes, the
    rest moves to the nearest that exists. The selected days are always in view.

    Args:
        sessions: a value must exist in each of them.
        where: initial values of the traits below; by default the last query day, and the key that it attends to most.
    """

    #: Kind of attention: ``cross``, ``self`` or ``market`` for a stock transformer.
    kind = Unicode()
    #: Layer, from 0.
    layer = Int(0)
    #: Head, from 0, or None for the mean of the heads.
    head = Int(None, allow_none=True)
    #: Step of the stock day that attends, from 0 = oldest.
    query = Int(0)
    #: Step of the day attended to.
    key = Int(0)
    #: Name of a feature, or None.
    feature = Unicode(None, allow_none=True)
    #: First and last query that views show, or None for all.
    shown_queries = Tuple(Int(), Int(), default_value=None, allow_none=True)
    #: First and last key that views show, or None for all.
    shown_keys = Tuple(Int(), Int(), default_value=None, allow_none=True)
    #: Whether the colours of maps that begin at 0 are logarithmic.
    log_colors = Bool(False)

    def __init__(self, *sessions: ExtractorSession, **where: Any) -> None:
        super().__init__()
        if not sessions or not all(isinstance(session, ExtractorSession) for session in sessions):
            types = ", ".join(type(session).__name__ for session in sessions) or "nothing"
            raise TypeError(f"a selection needs ExtractorSessions, got {types}")
        self.sessions = sessions
        if not self.kinds:
            raise ValueError("the sessions have no kind of attention in common")
        self.kind = where.pop("kind", self.kinds[0])
        size = self.sizes()
        self.query = size["query"] - 1
        self.key = self._strongest(size["key"])
        for name, value in where.items():
            if not self.has_trait(name):
                raise TypeError(f"a selection has no {name!r}: it has {', '.join(self.trait_names())}")
            setattr(self, name, value)
        for session in sessions:
            _follow(self, session)

    def _strongest(self, keys: int) -> int:
        """The key that the query attends to most, by the mean of the heads; the last one of equals."""
        row = self.sessions[0].reading.capture.map(self.kind, self.layer)[self.query][-keys:]
        return keys - 1 - int(row.nan_to_num().flip(0).argmax())

    @property
    def kinds(self) -> list[str]:
        """The kinds of attention that every session has."""
        first, *others = (session.reading.capture.kinds for session in self.open_sessions)
        return [kind for kind in first if all(kind in other for other in others)]

    def sizes(self) -> dict[str, int]:
        """Numbers of layers, heads, queries and keys to select from."""
        layers = [session.reading.capture.kinds[self.kind] for session in self.open_sessions]
        number = min(len(maps) for maps in layers)
        layer = min(self.layer, number - 1)
        shapes = [maps[layer].shape[1:] for maps in layers]
        heads, queries, keys = (min(sizes) for sizes in zip(*shapes, strict=True))
        return {"layer": number, "head": heads, "query": queries, "key": keys}

    @property
    def open_sessions(self) -> list[ExtractorSession]:
        """The sessions that are not closed; all of them if none is open."""
        return [session for session in self.sessions if not session.closed] or list(self.sessions)

    def step(self, name: str, by: int) -> None:
        """Move ``layer``, ``query`` or ``key`` by so many, up to the first or the last.

        ``head`` wraps around: the mean, then head 0 and so on.
        """
        size = self.sizes()[name]
        if name == "head":
            place = (0 if self.head is None else self.head + 1) + by
            place %= size + 1
            self.head = place - 1 if place else None
        else:
            setattr(self, name, min(max(getattr(self, name) + by, 0), size - 1))

    def place(self, name: str, length: int) -> int:
        """Place of the ``query`` or ``key`` day in a sequence of `length` days.

        Sequences of different lengths end on the same day; a day before the
        sequence begins is its first.
        """
        step: int = getattr(self, name)
        return max(length - self.sizes()[name] + step, 0)

    def span(self, name: str, length: int) -> tuple[int, int]:
        """Begin and end of the ``query`` or ``key`` days in view in a sequence of `length` days; see `place`."""
        days = getattr(self, _RANGES[name])
        if days is None:
            return 0, length
        before = length - self.sizes()[name]
        return max(days[0] + before, 0), max(days[1] + before + 1, 1)

    def show(self, queries: tuple[int, int] | None, keys: tuple[int, int] | None) -> None:
        """Bring these days into view, or all of them; the selected days move into view."""
        with self.hold_trait_notifications():
            for name, days in (("query", queries), ("key", keys)):
                if days is not None:
                    setattr(self, name, min(max(getattr(self, name), days[0]), days[1]))
                setattr(self, _RANGES[name], days)

    def zoom(self, times: int) -> None:
        """Halve the days in view so many times, around the selected ones; a negative number doubles them."""
        spans = {}
        for name in _RANGES:
            size = self.sizes()[name]
            first, stop = self.span(name, size)
            length = min(max(round((stop - first) / 2**times), min(_CLOSEST, size)), size)
            start = min(max(getattr(self, name) - length // 2, 0), size - length)
            spans[name] = None if length == size else (start, start + length - 1)
        self.show(spans["query"], spans["key"])

    def pan(self, steps: int) -> None:
        """Move the view to later days, or with a negative number to earlier ones: a step is a quarter of it."""
        spans = {}
        for name in _RANGES:
            size = self.sizes()[name]
            first, stop = self.span(name, size)
            start = min(max(first + steps * max(1, (stop - first) // 4), 0), size - (stop - first))
            spans[name] = None if stop - first == size else (start, start + stop - first - 1)
        self.show(spans["query"], spans["key"])

    def select(self, name: str, place: int, length: int) -> None:
        """Select the ``query`` or ``key`` day at `place` of `length`; see the method `place`."""
        setattr(self, name, max(self.sizes()[name] - length + place, 0))

    @validate("kind")
    def _check_kind(self, proposal: Any) -> str:
        if proposal["value"] not in self.kinds:
            raise TraitError(f"kind is {proposal['value']!r}, expected one of {', '.join(self.kinds)}")
        return str(proposal["value"])

    @validate("layer", "head", "query", "key")
    def _check_step(self, proposal: Any) -> int | None:
        name: str = proposal["trait"].name
        value: int | None = proposal["value"]
        size = self.sizes()[name]
        if value is not None and not 0 <= value < size:
            raise TraitError(f"{name} is {value}, expected 0 to {size - 1} for {self.kind} attention")
        return value

    @validate("shown_queries", "shown_keys")
    def _check_range(self, proposal: Any) -> tuple[int, int] | None:
        name: str = proposal["trait"].name
        days: tuple[int, int] | None = proposal["value"]
        size = self.sizes()["query" if name == "shown_queries" else "key"]
        if days is not None and not 0 <= days[0] < days[1] < size:
            raise TraitError(f"{name} is {days}, expected the first and the last of some from 0 to {size - 1}")
        return days

    @reacts("query", "key")
    def _keep_in_view(self, change: Any) -> None:
        """Move the days in view along with the selected one."""
        days = getattr(self, _RANGES[change["name"]])
        if days is not None:
            beyond = change["new"] - min(max(change["new"], days[0]), days[1])
            setattr(self, _RANGES[change["name"]], (days[0] + beyond, days[1] + beyond))

    @reacts("shown_queries", "shown_keys")
    def _stay_in_view(self, change: Any) -> None:
        if change["new"] is not None:
            name = "query" if change["name"] == "shown_queries" else "key"
            setattr(self, name, min(max(getattr(self, name), change["new"][0]), change["new"][1]))

    @validate("feature")
    def _check_feature(self, proposal: Any) -> str | None:
        name: str | None = proposal["value"]
        known = {feature for session in self.open_sessions for group in session.feature_names for feature in group}
        if name is not None and name not in known:
            near = get_close_matches(name, known, 1)
            raise TraitError(f"there is no feature {name!r}" + (f", the nearest is {near[0]!r}" if near else ""))
        return name

    @reacts("kind", "layer")
    def _fit(self, change: Any = None) -> None:
        """Move what no longer exists to the nearest that does."""
        if all(session.closed for session in self.sessions):
            return
        with self.hold_trait_notifications():
            if self.kind not in self.kinds:
                self.kind = self.kinds[0]
            size = self.sizes()
            for name, days in _RANGES.items():
                span = getattr(self, days)
                if span is not None and span[1] >= size[name]:
                    setattr(self, days, None)
            self.layer = min(self.layer, size["layer"] - 1)
            self.query = min(self.query, size["query"] - 1)
            self.key = min(self.key, size["key"] - 1)
            if self.head is not None and self.head >= size["head"]:
                self.head = None


def _follow(selection: Selection, session: ExtractorSession) -> None:
    """Fit a selection to every reading of a session for as long as the selection is referenced."""
    this = weakref.ref(selection)

    def fit() -> None:
        alive = this()
        if alive is not None:
            alive._fit()

    session.follow(fit)
    weakref.finalize(selection, session.unfollow, fit).atexit = False
