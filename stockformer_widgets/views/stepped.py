"""Views of results that take long to compute."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, ClassVar

import pandas as pd
from ipywidgets import Button, Widget

from stockformer.charts.chart import Chart, Panels
from stockformer.explainability import Summary
from stockformer.steps import Steps
from stockformer_widgets.components.progress import ProgressBar
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import View
from stockformer_widgets.views.panels import PanelsView

_STOPPED = "Stopped. It starts again with another sample, or when this tab is opened again."


class SteppedView(View):
    """A view of a result computed in steps while it is on the screen, with a progress bar and a stop button.

    A result that is outdated before it is ready is dropped.
    """

    #: Beside the progress bar.
    doing: ClassVar[str]

    def _waits(self) -> bool:
        """Whether the result has to be computed before it can be drawn."""
        raise NotImplementedError

    def _steps(self) -> Iterator[float]:
        """Compute the result."""
        raise NotImplementedError

    def _halted(self) -> bool:
        """Whether a person has stopped the computation for now."""
        return False

    def _stop(self, button: Button) -> None:
        """A person stopped the computation."""
        raise NotImplementedError

    def _begin(self) -> None:
        """A computation begins."""

    def _build(self) -> tuple[Widget, ...]:
        self.progress = ProgressBar(self.doing, self.message)
        self.progress.layout.margin = f"0 0 0 {self.indent}px"
        self.progress.stopper.on_click(self._stop)
        #: State that the running or stopped computation is for.
        self._computing: tuple[Any, ...] = ()
        return self.progress, *super()._build()

    def _update(self) -> None:
        visible, waits = not self.paused and self.keyboard.visible, self._waits()
        if not visible or not waits or self._halted():
            self.progress.stop()
            self._computing = ()
            if not waits:
                super()._update()
        elif (state := (self._state(()), self.chosen)) != self._computing:
            self._computing = state
            self._begin()
            self.progress.start(self._steps(), self._catch_up)

    def _on_mouse(self, event: str, at: dict[str, float]) -> None:
        if not self._waits():
            super()._on_mouse(event, at)


class SteppedResult(SteppedView):
    """A view of a result that takes long; there is no picture before it is ready."""

    follows_explanations = ("target",)
    attributed = True
    doing = "measuring"

    def _ready(self) -> bool:
        """Whether the result is computed."""
        raise NotImplementedError

    def _build(self) -> tuple[Widget, ...]:
        progress, *self._pictures = super()._build()
        return progress, *self._pictures

    def _waits(self) -> bool:
        return all(map(self.shows, self._drawn_sessions())) and not self._ready()

    def _catch_up(self) -> None:
        super()._catch_up()
        self._set_visibility("visible")

    def _begin(self) -> None:
        # The picture is of another sample.
        self._drawn = ()
        self._say("")
        self._set_visibility("hidden")

    def _set_visibility(self, visibility: str) -> None:
        for picture in self._pictures:
            picture.layout.visibility = visibility

    def _stop(self, button: Button) -> None:
        self._say(_STOPPED)

    def _say(self, words: str) -> None:
        """Say something in place of a result."""
        self.caption.read([])
        self._tell(Chart("", Panels(()), summary=Summary(words, ())))


class SteppedPanels(SteppedResult, PanelsView):
    """Panels of a result that takes long."""

    attention = "all"

    #: Name of the result, see `Explanations.has`.
    what: ClassVar[str]

    def _steps_of(self, session: ExtractorSession) -> Steps[pd.DataFrame]:
        """Compute the result of a session."""
        raise NotImplementedError

    def _steps(self) -> Iterator[float]:
        return chain.from_iterable(map(self._steps_of, self._drawn_sessions()))

    def _ready(self) -> bool:
        return all(one.explanations.has(self.what) for one in self._drawn_sessions())
