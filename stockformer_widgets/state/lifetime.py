"""Widgets that open whole or not at all, and close to the end, also where an interrupt of the kernel comes between."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar, cast

from ipywidgets import Widget

from stockformer.undoing import undone

Init = TypeVar("Init", bound=Callable[..., None])


class _Making(threading.local):
    """The widgets that this thread has made, by the opening that it is in; an inner one's are also the outer one's."""

    def __init__(self) -> None:
        self.openings: list[list[Widget]] = []


_making = _Making()
_heard_before = Widget._widget_construction_callback


def _made(widget: Widget) -> None:
    for widgets in _making.openings:
        widgets.append(widget)
    if _heard_before is not None:
        _heard_before(widget)


# Not found through what holds them: what is half built holds little, and ipywidgets keeps every open widget alive.
Widget.on_widget_constructed(_made)


def opens_whole(init: Init) -> Init:
    """An `__init__` that closes every widget it made where it raises."""

    @wraps(init)
    def opened(self: Any, *args: Any, **kwargs: Any) -> None:
        widgets: list[Widget] = []
        outer = _making.openings

        def undo() -> None:
            for widget in reversed(widgets):
                with suppress(Exception):  # what is half built may lack what its own close needs
                    widget.close()
                Widget.close(widget)

        try:
            _making.openings = [*outer, widgets]
            init(self, *args, **kwargs)
        except BaseException:
            with undone(undo):
                raise
        finally:
            _making.openings = outer

    return cast(Init, opened)


def closes_to_the_end(close: Callable[[Any], None]) -> Callable[[Any], None]:
    """A `close` that may be called twice, and is where an interrupt cuts it short."""

    @wraps(close)
    def closed(self: Any) -> None:
        try:
            close(self)
        except KeyboardInterrupt:
            close(self)
            raise

    return closed
