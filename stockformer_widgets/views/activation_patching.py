"""The effect of another window's activations on the prediction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ipywidgets import Button, Layout, Widget

from stockformer.charts.chart import Chart
from stockformer.charts.patching import patching_map
from stockformer.explainability import stream_paths
from stockformer_widgets.state.explanations import patching_from
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.views.compared import ComparedView
from stockformer_widgets.views.heatmap import HeatmapView
from stockformer_widgets.views.stepped import SteppedResult


class PatchedByOther(ComparedView):
    """A with the activations of B: which days of B make the difference?"""

    @classmethod
    def chart_for(cls, sessions: Sequence[ExtractorSession], where: Selection, options: Mapping[str, str]) -> Chart:
        one, other = sessions
        assert other.sample is not None
        return _map(one, other.sample, options["stream"], f"B: {other.title}")

    def _donor(self) -> int:
        sample = self.pair[1].sample
        assert sample is not None
        return sample


class ActivationPatching(SteppedResult, HeatmapView):
    """Effect on the target of one activation of another window, the donor, by stream, layer and day.

    The donor is another window of the sample's ticker, by default the calmest; in a comparison A is patched
    with B. Random windows of the ticker are measured as a reference. A click selects layer and day, and a button adds
    the selected patch to the session's what-if, beside other patches from the same donor.
    """

    label = "Activation patching"
    follows = ("layer", "query", "key", "shown_queries", "shown_keys")
    horizontal, vertical = "query", "layer"
    height = 220
    indent = 20
    comparison = PatchedByOther

    #: The row that was clicked: layers of the market stream are not those of the selection.
    _clicked: int | None = None

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        patched = session.sample is not None and bool(stream_paths(session.reading.capture))
        return super().shows(session) and patched and bool(session.explanations.donors())

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        """Only with the same model and inputs made in the same way: other activations mean something else."""
        return super().compares(one, other) and one.model is other.model and one.dataset is other.dataset

    @classmethod
    def choices(cls, session: ExtractorSession) -> Mapping[str, Sequence[str]]:
        streams = {"stream": list(stream_paths(session.reading.capture))}
        return streams if cls.compared else {**streams, "donor": list(session.explanations.donors())}

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection, stream: str, donor: str) -> Chart:
        index = session.explanations.donors()[donor]
        assert session.dataset is not None
        window = session.dataset.window(index)
        name = f"the {donor} of {window.ticker}, {window.dates[-1].date()} (sample {index})"
        return _map(session, index, stream, name)

    def _build_controls(self) -> tuple[Widget, ...]:
        built = super()._build_controls()
        display = "none" if self.compared else None  # a comparison has no what-if row to undo it with
        self.apply = Button(description="apply this patch", layout=Layout(width="auto", display=display))
        self.apply.on_click(self._apply)
        self.controls_row.children += (self.apply,)
        return built

    def _begin(self) -> None:
        super()._begin()
        self.apply.disabled = True

    def _draw(self) -> None:
        super()._draw()
        refusal = self._refusal()
        self.apply.disabled = bool(refusal)
        self.apply.tooltip = refusal or "run the sample with this activation of the donor; undo is in the what-if row"

    def _refusal(self) -> str:
        """Why the selected patch as a what-if would not do what the map says; empty where it would."""
        change = self.session.change
        besides = replace(change, patch_from=None, patch_days=(), patch_heads=(), patch_gates=())
        if self._selected()[0] is None:
            return "click a cell first"
        if besides.changes_model:
            return "undo the other changes of the model first: a what-if patches from the model as it is"
        if change.patch_from not in (None, self._donor()):
            return f"undo the patch from sample {change.patch_from} first: a what-if has one donor"
        return ""

    def _apply(self, button: Button) -> None:
        with self.message.reporting():
            change, (layer, day) = self.session.change, self._selected()
            assert layer is not None
            places = (*change.patch_days, (self.chosen["stream"], layer, day))
            self.session.what_if(**vars(replace(change, patch_from=self._donor(), patch_days=places)))

    def _selected(self) -> tuple[int | None, int]:
        row, column = super()._selected()
        return self._clicked if row is None else row, column

    def _select(self, place: tuple[int, int]) -> None:
        self._clicked, self._drawn = place[0], ()
        super()._select(place)
        self._refresh()

    def _redraw(self, change: object = None) -> None:
        self._clicked = None  # it was of another stream or donor
        super()._redraw(change)

    def _donor(self) -> int:
        return self.session.explanations.donors()[self.chosen["donor"]]

    def _steps(self) -> Iterator[float]:
        return self.session.explanations.patching_steps(self._donor())

    def _ready(self) -> bool:
        return self.session.explanations.has(patching_from(self._donor()))


def _map(session: ExtractorSession, donor: int, stream: str, name: str) -> Chart:
    result, target = session.explanations.patching(donor), session.explanations.target_name
    assert session.dataset is not None
    donor_days = [str(date.date()) for date in session.dataset.window(donor).dates]
    lengths = result.table.groupby("stream", sort=False)["day"].max() + 1
    days = {str(one): session.reading.days(int(length)) for one, length in lengths.items()}
    return patching_map(result, stream, days, dict.fromkeys(days, donor_days), name, target)
