"""Views of the attribution of what is explained."""

from __future__ import annotations

from typing import Any

from ipywidgets import Button, Widget

from stockformer.explainability import METHODS
from stockformer_widgets.views.base import View
from stockformer_widgets.work import Work


class AttributedView(View):
    """A view that draws the session's attribution; one that takes long is computed in steps, to watch and to stop.

    Meanwhile the last picture stays. A stop goes back to the default method.
    """

    def _build(self) -> tuple[Widget, ...]:
        self.work = Work("explaining", self.message)
        self.work.stopper.on_click(self._stopped)
        self._asked: tuple[Any, ...] = ()
        return self.work, *super()._build()

    def _waits(self) -> bool:
        """Whether what is to be drawn has to be computed first."""
        return bool(self._drawn) and self.session.takes_long

    def _update(self) -> None:
        if not self._waits():
            self.work.stop()
            super()._update()
            return
        asked = self._state(())
        if not self.paused and not self._gone and not (self.work.running and asked == self._asked):
            self._asked = asked
            self.work.start(self.session.attribution_steps(), self._catch_up)

    def _stopped(self, button: Button) -> None:
        self.session.method = METHODS[0]

    def _on_mouse(self, event: str, at: dict[str, float]) -> None:
        if not self._waits():
            super()._on_mouse(event, at)
