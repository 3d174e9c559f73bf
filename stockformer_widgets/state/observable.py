"""Observable state, changed by one thread at a time: notifications are serialised across threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from traitlets import Bunch, HasTraits, TraitError

Follower = Callable[[], None]
Method = TypeVar("Method", bound=Callable[..., None])

_LOCK = threading.RLock()


class _Turn:
    """Changes by the thread that holds the lock, not yet announced."""

    open = False
    changes: ClassVar[list[tuple[Observable, Any]]] = []  # for observers
    owners: ClassVar[dict[Observable, None]] = {}  # for followers


@contextmanager
def changing() -> Iterator[None]:
    """Change state and redraw it while no other thread does either.

    A kernel runs cells in one thread and messages from the page in others. At the end of the outermost of these
    contexts the followers of every changed object are called while the lock is still held, then the observers
    without it: observers belong to the user and may wait for another thread. The first error is raised after all
    have been called.
    """
    if _LOCK._is_owned():  # type: ignore[attr-defined]
        yield
        return
    errors: list[Exception] = []
    with _LOCK:
        try:
            yield
        except Exception as error:
            errors.append(error)
        while _Turn.owners:
            next(iter(_Turn.owners)).call_followers(errors)
        changes = _Turn.changes[:]
        _Turn.changes.clear()
    for owner, change in changes:
        try:
            HasTraits.notify_change(owner, change)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def reacts(*names: str) -> Callable[[Method], Method]:
    """Mark a method of an `Observable` that changes dependent state when these traits change; it takes the change."""

    def mark(method: Method) -> Method:
        method.reacts_to = names  # type: ignore[attr-defined]
        return method

    return mark


class Observable(HasTraits):
    """Traits with followers, which are called after every change even if an observer of it raises.

    Values are validated and set, and `reacts` methods and followers called, inside `changing`, so that a slow redraw
    can never overwrite a newer one or draw half a change. Observers are called outside it.
    """

    #: Trait -> names of the methods that react to it.
    _reactions: ClassVar[dict[str, list[str]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._reactions = {}
        for method in dir(cls):
            for name in getattr(getattr(cls, method, None), "reacts_to", ()):
                cls._reactions.setdefault(name, []).append(method)

    def __init__(self) -> None:
        self._followers: list[Follower] = []
        self._held: dict[str, Any] | None = None  # trait -> change, while notifications are held
        super().__init__()

    def follow(self, follower: Follower) -> None:
        """Call `follower()` after each change, until `unfollow`."""
        self._followers.append(follower)

    def unfollow(self, follower: Follower) -> None:
        """Stop calling a follower; does nothing if it is not one."""
        if follower in self._followers:
            self._followers.remove(follower)

    def __setattr__(self, name: str, value: Any) -> None:
        if self.has_trait(name):
            with changing():
                super().__setattr__(name, value)
        else:
            super().__setattr__(name, value)

    def set_trait(self, name: str, value: Any) -> None:
        """Set a trait, even a read-only one."""
        with changing():
            super().set_trait(name, value)

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Validate and announce several changes together at the end; other threads wait.

        As in traitlets, all of them are undone if one is refused. Unlike there, an interrupt leaves nothing held.
        """
        state, held = vars(self), dict[str, Any]()
        with changing():
            if self._cross_validation_lock:  # held already
                yield
                return
            try:
                state.update(_held=held, _cross_validation_lock=True)
                try:
                    yield
                except KeyboardInterrupt:
                    self._check(held)
                    raise
                self._check(held)
            except TraitError:
                for name, change in held.items():
                    self._trait_values[name] = change["old"]
                held.clear()
                raise
            finally:
                state.update(_held=None, _cross_validation_lock=False)
                for change in held.values():
                    self.notify_change(change)

    def _check(self, held: dict[str, Any]) -> None:
        for name in list(held):
            self.set_trait(name, self.traits()[name]._cross_validate(self, getattr(self, name)))

    def notify_change(self, change: Any) -> None:
        """Update dependent state now; followers and observers are called at the end of `changing`."""
        with changing():
            if self._held is not None:
                self._held[change["name"]] = Bunch(change, old=self._held.get(change["name"], change)["old"])
                return
            _Turn.changes.append((self, change))
            _Turn.owners[self] = None
            for name in self._reactions.get(change["name"], ()):
                getattr(self, name)(change)

    def call_followers(self, errors: list[Exception]) -> None:
        """Call the followers now instead of at the end of `changing`, and collect what they raise in `errors`."""
        _Turn.owners.pop(self, None)
        try:
            for follower in list(self._followers):
                try:
                    follower()
                except Exception as error:
                    errors.append(error)
        except BaseException:  # an interrupt: they are called with the next change
            _Turn.owners[self] = None
            raise
