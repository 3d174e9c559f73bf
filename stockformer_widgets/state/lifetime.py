"""Widgets that open completely or not at all, and close completely, even if the kernel is interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, TypeVar, cast

from ipywidgets import Widget

from stockformer.restoring import undone

Init = TypeVar("Init", bound=Callable[..., None])


class _Making(threading.local):
    """Widgets made by this thread, one list per open `opens_whole`; an inner one's are in the outer one's list too."""

    def __init__(self) -> None:
        self.openings: list[list[Widget]] = []


_making = _Making()
_earlier_callback = Widget._widget_construction_callback


def _collect(widget: Widget) -> None:
    for widgets in _making.openings:
        widgets.append(widget)
    if _earlier_callback is not None:
        _earlier_callback(widget)


# Collected on construction: a half-built widget does not yet hold its children, and ipywidgets keeps each one alive.
Widget.on_widget_constructed(_collect)


def opens_whole(init: Init) -> Init:
    """An `__init__` that closes every widget it made if it raises."""

    @wraps(init)
    def opened(self: Any, *args: Any, **kwargs: Any) -> None:
        widgets: list[Widget] = []
        outer = _making.openings

        def undo() -> None:
            for widget in reversed(widgets):
                with suppress(Exception):  # a half-built widget may lack attributes that its own close needs
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
    """A `close` that may be called twice, and is called again if an interrupt cuts it short."""

    @wraps(close)
    def closed(self: Any) -> None:
        try:
            close(self)
        except KeyboardInterrupt:
            close(self)
            raise

    return closed
