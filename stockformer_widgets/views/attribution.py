"""Views of the attribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from ipywidgets import HTML, Button, HBox, Layout, Widget
from torch import Tensor

from stockformer.explainability import Summary, summarize_saliency
from stockformer_widgets.state.explanations import Explanations
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.stepped import SteppedView

_MOVED_TOGETHER = (
    "The features of a day were moved together, so they cannot be told apart: each day's value is spread evenly over "
    "them. The contribution of each day is in the tab Flow, by attribution."
)

_OUTDATED = "stockformer-outdated"  # dims the picture


class AttributedView(SteppedView):
    """A view that draws the session's attribution, after everything else.

    While it is computed the last picture stays, dimmed, as it does after a stop, until the computation
    is resumed or the target or method changes.
    """

    attributed = True
    doing = "explaining"

    def _build(self) -> tuple[Widget, ...]:
        self.stopped = HTML()
        resume = Button(
            description="resume", tooltip="compute the attribution from the start", layout=Layout(width="80px")
        )
        resume.on_click(lambda button: self._set_stopped(False))
        self.halt = HBox([self.stopped, resume], layout=Layout(display="none", align_items="center"))
        self._pictured = False
        return self.halt, *super()._build()

    @classmethod
    def attributes(cls, **options: str) -> bool:
        """Whether `chart_of` with these options shows the attribution."""
        return True

    @classmethod
    def caveats_of(cls, session: ExtractorSession, where: Selection, *args: Any, **options: str) -> list[str]:
        caveat = session.explanations.attribution().caveat if cls.attributes(**options) else ""
        return [*super().caveats_of(session, where), *([caveat] if caveat else [])]

    def _waits(self) -> bool:
        return self._pictured and self.attributes(**self.chosen) and bool(self._unknown())

    def _steps(self) -> Iterator[float]:
        return chain.from_iterable(one.attribution_steps() for one in self._unknown())

    def _begin(self) -> None:
        self.add_class(_OUTDATED)

    def _halted(self) -> bool:
        return any(one.stopped for one in self._explanations())

    def _stop(self, button: Button) -> None:
        self._set_stopped(True)

    def _set_stopped(self, stopped: bool) -> None:
        for explanations in self._explanations():
            explanations.set_trait("stopped", stopped)

    def _explanations(self) -> list[Explanations]:
        return [session.explanations for session in self._drawn_sessions()]

    def _unknown(self) -> list[Explanations]:
        """The explanations whose attribution is not computed yet."""
        return [one for one in self._explanations() if one.available and not one.attributed]

    def _update(self) -> None:
        halted = self._waits() and self._halted()
        self.halt.layout.display = None if halted else "none"
        method = self.session.explanations.method_name
        self.stopped.value = f"stopped: {method} is not computed, the picture is the previous one"
        super()._update()

    def _catch_up(self) -> None:
        super()._catch_up()
        self._pictured = True
        self.remove_class(_OUTDATED)


def attribution_summary(session: ExtractorSession, parts: Sequence[Tensor]) -> Summary:
    """Summary of an attribution by feature, one [days, features] per input."""
    explanations = session.explanations
    together = explanations.settings(explanations.method).get("groups") == "day"
    return Summary(_MOVED_TOGETHER, ()) if together else summarize_saliency(list(parts))
