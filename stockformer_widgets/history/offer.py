"""The history of a session that has no survey yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from ipywidgets import HTML, Button, HBox, Layout, Widget
from traitlets import Bool, observe

from stockformer.fingerprint import fingerprint
from stockformer.survey import survey_steps
from stockformer.table import counted
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.progress import ProgressBar
from stockformer_widgets.components.snapshot import SnapshotBox
from stockformer_widgets.history.view import HistoryView
from stockformer_widgets.state.lifetime import closes_to_the_end
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.base import close_children

_OFFER = (
    "One window cannot say when the model listens to the market. A survey measures every window once, of the model "
    "without any what-if. This one is kept until the explorer is closed; "
    "<code>stockformer.survey.survey(model, dataset, folder)</code> keeps it in a folder."
)


class SurveyOffer(SnapshotBox):
    """A button that surveys every window of a session's dataset, and then the `HistoryView` of that survey.

    A survey that was stopped is resumed when the button is pressed again.

    Args:
        session: with a dataset, of a `stockformer.model.Forecaster`.
        opened: called with the history.
    """

    #: While True the history draws nothing; afterwards it catches up.
    paused = Bool(False)
    #: The history, once every window is surveyed.
    view: HistoryView | None = None

    def __init__(self, session: ExtractorSession, opened: Callable[[HistoryView], None] = lambda view: None) -> None:
        assert session.dataset is not None
        super().__init__()
        self.session, self._opened = session, opened
        self._folder = TemporaryDirectory(prefix="survey-", ignore_cleanup_errors=True)
        self.message = MessageLine()
        words = f"survey all {counted(len(session.dataset), 'window')}"
        self.button = Button(description=words, layout=Layout(width="auto"))
        self.button.on_click(self._start)
        self.progress = ProgressBar("surveying", self.message, in_thread=True)
        self.progress.observe(self._enable, "running")
        offer: tuple[Widget, ...] = HTML(_OFFER), HBox([self.button, self.progress]), self.message
        self.children = offer

    @property
    def filled(self) -> bool:
        """Whether there is a history to show."""
        return self.view is not None

    def _start(self, button: Button) -> None:
        with self.message.reporting():
            self.progress.start(self._steps(), self._show)

    def _enable(self, change: object) -> None:
        self.button.disabled = self.progress.running

    def _steps(self) -> Iterator[float]:
        model, dataset = self.session.model, self.session.dataset
        assert dataset is not None
        # A folder for each state of the weights: those of a survey that was stopped may have changed since.
        folder = Path(self._folder.name, fingerprint(model))
        self._survey = yield from survey_steps(model, dataset, folder)

    def _show(self) -> None:
        self.view = HistoryView(self._survey, self.session)
        self.view.paused = self.paused
        for part in self.children:
            close_children(part)
            part.close()
        self.children = (self.view,)
        self._opened(self.view)

    @observe("paused")
    def _pause(self, change: object) -> None:
        if self.view is not None:
            self.view.paused = self.paused

    def _png(self, dpi: int) -> bytes:
        if self.view is None:
            raise ValueError("no window is surveyed yet")
        return self.view._png(dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Stop the survey, delete what it measured, and close all its widgets."""
        if self.comm is None:
            return
        self.progress.stop()
        self._folder.cleanup()
        close_children(self)
        super().close()

    def __repr__(self) -> str:
        return f"SurveyOffer({self.view or 'not surveyed'})"
