"""Views of two sessions under one selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import new_class
from typing import ClassVar, cast

from stockformer.charts.chart import Chart
from stockformer.charts.compare import compare
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import View


class ComparedView(View):
    """A kind of view of both sessions of a selection, called A and B, in one chart; made by `compared`.

    Days align by their distance from the prediction: both sequences end with day 0.
    """

    #: The kind of view.
    kind: ClassVar[type[View]]

    def __init__(self, selection: Selection) -> None:
        if len(selection.sessions) != 2:
            raise ValueError(f"a comparison needs a selection in two sessions, this one has {len(selection.sessions)}")
        if not self.compares(*selection.sessions):
            raise ValueError(f"{type(self).__name__} has nothing to compare in these sessions")
        self.pair = selection.sessions
        super().__init__(selection.sessions[0], selection)

    def _drawn_sessions(self) -> tuple[ExtractorSession, ...]:
        return self.pair

    def _follow(self) -> None:
        if any(session.closed for session in self.pair):
            self.close()
        else:
            super()._follow()

    @classmethod
    def chart_for(cls, sessions: Sequence[ExtractorSession], where: Selection, options: Mapping[str, str]) -> Chart:
        chart_for = super().chart_for
        one, other = (chart_for([session], where, options) for session in sessions)
        return compare(one, other, cls.kind.most)


@cache
def compared(kind: type[View]) -> type[ComparedView]:
    """The view that compares two sessions in a kind of view: ``compared(GateTimeline)(selection)``."""
    traits = {"kind": kind, "label": f"{kind.label}, A and B", "compared": True, "most": None, "__module__": __name__}
    bases = (kind.comparison or ComparedView, kind)
    view = new_class(f"Compared{kind.__name__}", bases, {}, lambda body: body.update(traits))
    return cast(type[ComparedView], view)
