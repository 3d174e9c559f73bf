"""Views of two sessions under one selection."""

from __future__ import annotations

from dataclasses import replace

from stockformer.charts.attribution import saliency_bars
from stockformer.charts.chart import Chart
from stockformer.charts.compare import overlay
from stockformer.charts.difference import difference
from stockformer.charts.prediction import prediction
from stockformer_widgets.explaining import EXPLAINS
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views.attention_heatmap import AttentionHeatmap
from stockformer_widgets.views.attention_row import AttentionRow
from stockformer_widgets.views.bars import FeatureBarsView
from stockformer_widgets.views.base import ChartView, View
from stockformer_widgets.views.day_scores import DayScores
from stockformer_widgets.views.gate_timeline import GateTimeline
from stockformer_widgets.views.lines import LinesView
from stockformer_widgets.views.market_entry import MarketEntry
from stockformer_widgets.views.pooling_bars import PoolingBars
from stockformer_widgets.views.prediction import Prediction
from stockformer_widgets.views.price_strip import PriceStrip
from stockformer_widgets.views.saliency_bars import SaliencyBars

_NAMED = 3
_SHOWN = 14


class ComparedView(View):
    """A view of the two sessions of a selection, called A and B.

    Days align by their distance from the prediction: both sequences end with day 0.
    """

    def __init__(self, selection: Selection) -> None:
        if len(selection.sessions) != 2:
            raise ValueError(f"a comparison needs a selection in two sessions, this one has {len(selection.sessions)}")
        if not self.compares(*selection.sessions):
            raise ValueError(f"{type(self).__name__} has nothing to compare in these sessions")
        self.other: ExtractorSession = selection.sessions[1]
        super().__init__(selection.sessions[0], selection)

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        """Whether both sessions have what this view draws."""
        return cls.shows(one) and cls.shows(other)

    @property
    def pair(self) -> tuple[ExtractorSession, ExtractorSession]:
        """A and B."""
        return self.session, self.other

    def _drawn_sessions(self) -> tuple[ExtractorSession, ...]:
        return self.pair

    def _follow(self) -> None:
        if self.other.closed:
            self.close()
        else:
            super()._follow()


class AttentionDifference(ComparedView, AttentionHeatmap):
    """A's map minus B's: diverging colours, 0 in the middle. A click selects query and key."""

    label = "Difference of the attention maps"

    def _make_chart(self) -> Chart:
        one, other = map(self.chart_of, self.pair)
        return difference(one, other)


class OverlaidView(ComparedView, ChartView):
    """A's and B's chart in one."""

    def _make_chart(self) -> Chart:
        one, other = map(self.chart_of, self.pair)
        return overlay(one, other, self._title())

    def _title(self) -> str:
        """Above the figure, where A and B have titles of their own."""
        return self.label


class ComparedLines(OverlaidView, LinesView):
    """A's and B's emphasised lines in one figure; a click selects the day."""

    height = 140


class ComparedRow(ComparedLines, AttentionRow):
    """The selected query's attention in both samples."""

    label = "Attention of the selected day in both"

    def _title(self) -> str:
        before = self.selection.sizes()["query"] - 1 - self.selection.query
        return f"What day {-before} attends to (0: the last)"


class ComparedPrices(ComparedLines, PriceStrip):
    """Close and SPY over both windows."""

    label = "Change since the first day in both, %"


class ComparedGate(ComparedLines, GateTimeline):
    """The selected layer's mean gate in both samples."""

    label = "Mean gate by day in both"


class ComparedEntry(ComparedLines, MarketEntry):
    """How much market the selected layer's gate lets in, in both samples."""

    label = "Market that enters by day in both"


class ComparedPooling(ComparedLines, PoolingBars):
    """The pooling weights of both samples."""

    label = "Pooling weight by day in both"


class ComparedScores(ComparedLines, DayScores):
    """What reaches the prediction from each day, in both samples."""

    label = "What reaches the prediction by day in both"


class ComparedSaliency(OverlaidView, FeatureBarsView):
    """|Attribution| of both samples by feature, over all days; the features that differ most. A click selects one."""

    label = "Saliency by feature in both"
    follows_session = ("reading", *EXPLAINS)
    follows = ("feature",)
    shows = SaliencyBars.shows

    def chart_of(self, session: ExtractorSession) -> Chart:
        method, target = session.method_name, session.target_name
        return saliency_bars(session.saliency(), session.feature_names, method, target, most=None)

    def _make_chart(self) -> Chart:
        one, other = map(self.chart_of, self.pair)
        explained = " and ".join(dict.fromkeys(session.target_name for session in self.pair))
        chart = overlay(one, other, "", most=_SHOWN)
        return replace(chart, title=f"|{self.session.method_name}| for {explained}, most different")


class ComparedPrediction(OverlaidView, Prediction):
    """What the model says of both samples."""

    label = "Prediction of both"

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        return super().compares(one, other) and one.class_names == other.class_names

    def chart_of(self, session: ExtractorSession) -> Chart:
        outputs = replace(session.prediction(), labels=None)
        return prediction(outputs, session.class_names or None, session.targets)
