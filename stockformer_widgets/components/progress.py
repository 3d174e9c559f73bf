"""A progress bar and a stop button for long computations in the kernel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator

from ipywidgets import HTML, Button, FloatProgress, HBox, Layout
from traitlets import Bool

from stockformer_widgets.components.drawing import MessageLine

_QUIET = 0.3  # seconds: what is done sooner shows no bar
_PAUSE = 0.02  # seconds in which another change replaces this one
_TELLING = 2.0  # seconds


class ProgressBar(HBox):
    """Progress of one computation at a time, with the time left and a stop button; hidden while none takes long.

    The kernel handles other messages between the steps. Without an event loop,
    where nobody could press stop, a computation runs to its end at once.

    Args:
        description: beside the bar.
        message: shows a failure.
        in_thread: whether steps that take seconds each are taken in a thread, so that the kernel handles other messages
            during a step.
    """

    #: Whether a computation runs.
    running = Bool(False)

    def __init__(self, description: str, message: MessageLine, *, in_thread: bool = False) -> None:
        self.bar = FloatProgress(max=1.0, description=description, layout=Layout(width="220px"))
        self.stopper = Button(description="stop", tooltip=f"stop {description}", layout=Layout(width="60px"))
        self.stopper.on_click(lambda button: self.stop())
        self.left = HTML()
        self._message, self._in_thread = message, in_thread
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        super().__init__([self.bar, self.stopper, self.left])
        self._show(None)

    def start(self, steps: Iterator[float], then: Callable[[], None] = lambda: None) -> None:
        """Take steps that yield the share done, then call `then`; a running computation is stopped first."""
        self.stop()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            for _ in steps:
                pass
            then()
        else:
            self._show(loop.create_task(self._run(steps, then)))
            loop.call_later(_QUIET, self._appear, self._task)

    def stop(self) -> None:
        """Abandon the computation and its partial results."""
        # A click or a cell may be in another thread than the task, which checks for itself:
        # `Task.cancel` may only be called in the thread of its loop.
        self._show(None)

    def close(self) -> None:
        if self.comm is not None:
            self.stop()
        super().close()

    async def _run(self, steps: Iterator[float], then: Callable[[], None]) -> None:
        task = asyncio.current_task()
        try:
            async with self._turn:  # one that was stopped may still be at its last step, in a thread
                await asyncio.sleep(_PAUSE)
                with self._message.reporting():
                    begun = time.monotonic()
                    while self._task is task and (share := await self._next(steps)) is not None:
                        self.bar.value = share
                        self.left.value = _left(time.monotonic() - begun, share)
                    if self._task is task:
                        then()
                    elif isinstance(steps, Generator):
                        steps.close()  # frees what it holds before the next computation begins
        finally:
            if self._task is task:
                self.stop()

    async def _next(self, steps: Iterator[float]) -> float | None:
        """The next share done, None after the last one; meanwhile the kernel handles other messages."""
        if self._in_thread:
            return await asyncio.to_thread(next, steps, None)
        await asyncio.sleep(0.001)
        return next(steps, None)

    def _show(self, task: asyncio.Task[None] | None) -> None:
        self._task, self.running = task, task is not None
        self.bar.value, self.left.value = 0.0, ""
        self.layout.display = "none"

    def _appear(self, task: asyncio.Task[None] | None) -> None:
        if self.running and self._task is task and self.bar.value < 1:
            self.layout.display = None


def _left(seconds: float, share: float) -> str:
    """The time left in words, once it can be told."""
    if not share or seconds < _TELLING:
        return ""
    left = seconds * (1 - share) / share
    return f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left"
