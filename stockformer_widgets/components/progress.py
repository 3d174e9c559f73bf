"""A progress bar and a stop button for long computations in the kernel's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from ipywidgets import Button, FloatProgress, HBox, Layout

from stockformer_widgets.components.drawing import MessageLine


class ProgressBar(HBox):
    """Progress of one computation at a time, with a stop button; hidden while none runs.

    The kernel handles other messages between the steps. Without an event loop,
    where nobody could press stop, a computation runs to its end at once.

    Args:
        description: beside the bar.
        message: shows a failure.
    """

    def __init__(self, description: str, message: MessageLine) -> None:
        self.bar = FloatProgress(max=1.0, description=description, layout=Layout(width="220px"))
        self.stopper = Button(description="stop", tooltip=f"stop {description}", layout=Layout(width="60px"))
        self.stopper.on_click(lambda button: self.stop())
        self._message = message
        self._task: asyncio.Task[None] | None = None
        super().__init__([self.bar, self.stopper])
        self._show(False)

    @property
    def running(self) -> bool:
        return self.layout.display is None

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
            self._task = loop.create_task(self._run(steps, then))
            self._show(True)

    def stop(self) -> None:
        """Abandon the computation and its partial results."""
        # A click or a cell may be in another thread than the task, which checks for itself:
        # `Task.cancel` may only be called in the thread of its loop.
        self._task = None
        self._show(False)

    def close(self) -> None:
        if self.comm is not None:
            self.stop()
        super().close()

    async def _run(self, steps: Iterator[float], then: Callable[[], None]) -> None:
        task = asyncio.current_task()
        try:
            with self._message.reporting():
                for share in steps:
                    self.bar.value = share
                    await asyncio.sleep(0.001)
                    if self._task is not task:
                        return
                then()
        finally:
            if self._task is task:
                self.stop()

    def _show(self, running: bool) -> None:
        self.bar.value = 0.0
        self.layout.display = None if running else "none"
