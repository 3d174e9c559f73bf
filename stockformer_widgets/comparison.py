"""Two samples side by side, under one selection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ipywidgets import HTML, HBox
from traitlets import link

from stockformer.explainability.attention.statistics import divergence
from stockformer.model import Forecaster
from stockformer.survey.words import number_words
from stockformer_widgets.catalogue import PAGES, AttentionHeatmap, Prediction, View
from stockformer_widgets.components.drawing import STREAM_COLORS, text
from stockformer_widgets.components.snapshot import arrange
from stockformer_widgets.controls.explaining import ExplainControls
from stockformer_widgets.controls.maps import MapControls
from stockformer_widgets.controls.samples import SampleControls
from stockformer_widgets.export import PageSample, pack, write_page
from stockformer_widgets.screen import Screen
from stockformer_widgets.state.explanations import EXPLAINS
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.state.observable import changing
from stockformer_widgets.state.reading import Reading
from stockformer_widgets.state.saved import noting, restore_sample, restore_state, save_sample, save_state
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.tabs import Columns, Slot, ViewTabs
from stockformer_widgets.views.base import close_children


class SampleComparison(Screen):
    """Two samples, A and B, under one selection: maps on one colour scale and their difference, the rest overlaid.

    The tabs are those of the explorer; what cannot be drawn as one is side by side. Days align by their distance
    from the prediction. What only one of the two has is left out, and listed above the views. `close` frees every
    widget, and the sessions that the comparison made itself.

    Args:
        session: the first sample.
        others: the second session, for instance of the same sample under another checkpoint; or two indices into the
            session's dataset.

    Raises:
        TypeError: the arguments are neither two sessions nor a session and two indices.
        ValueError: the sessions have different features, or no kind of attention in common.
        IndexError: there is no such sample.

    Example:
        >>> SampleComparison(session, dataset.index_of("2006-11-21"), dataset.index_of("2008-10-15"))
    """

    @opens_whole
    def __init__(self, session: ExtractorSession, *others: Any) -> None:
        sessions, self._own = _two_sessions(session, others)
        try:
            _check_features(*sessions)
            self.selection = Selection(*sessions)
            super().__init__()
        except BaseException:
            for one in self._own:
                one.close()
            raise
        self.sessions = sessions
        self._written: list[Reading] = []
        self.add_class("stockformer-comparison")
        shared = set(EXPLAINS)
        first, second = (session.explanations for session in sessions)
        if first.targets != second.targets:
            shared.discard("target")
        if any(one.dataset is None for one in sessions):
            shared.discard("baseline")
        self._links: list[link] = []
        try:
            for name in sorted(shared):
                self._links.append(link((first, name), (second, name)))
            self._build()
            for owner in (*sessions, first):
                owner.follow(self._follow)
            self.selection.follow(self._remember)
        except BaseException:
            self.close()
            raise

    @property
    def views(self) -> list[View]:
        """The views of the tabs that were opened so far, by column."""
        return self.tabs.views

    def to_frame(self) -> pd.DataFrame:
        """Columns ``measure, a, b, difference``.

        The measures are those of `stockformer.explainability.MEASURES`, and for
        every kind of attention whose maps have one shape the Jensen-Shannon
        divergence of the mean maps (of heads), averaged over the layers, in nats,
        as the difference.
        """
        one, other = (_measure(session) for session in self.sessions)
        rows = [(name, one[name], other[name], one[name] - other[name]) for name in one if name in other]
        kinds = [session.reading.capture.kinds for session in self.sessions]
        for kind in self.selection.kinds:
            pairs = list(zip(kinds[0][kind], kinds[1][kind], strict=False))
            if all(a.shape[-2:] == b.shape[-2:] for a, b in pairs):
                means = [(a[0].mean(dim=0), b[0].mean(dim=0)) for a, b in pairs]
                values = [float(divergence(a, b)) for a, b in means if a.any() and b.any()]  # neither switched off
                rows.append((f"{kind} divergence", math.nan, math.nan, float(np.mean(values)) if values else math.nan))
        return pd.DataFrame(rows, columns=["measure", "a", "b", "difference"])

    def export_html(self, path: str | Path) -> Path:
        """Write both samples as one HTML file, linked and clickable without Python or network.

        Raises:
            OSError: the file cannot be written.
        """
        title = " and ".join(map(": ".join, zip("AB", self._titles(), strict=True)))
        page = PageSample(title, Selection(*self.sessions), self._pages)
        return write_page(path, *pack([page], self.selection, self.sessions))

    def _png(self, dpi: int) -> bytes:
        captions = "; ".join(map(": ".join, zip("AB", self._titles(), strict=True)))
        return arrange(self.tabs.pictures(dpi), captions, dpi)

    @closes_to_the_end
    def close(self) -> None:
        """Close the views and every other widget, and the sessions that this comparison made."""
        if self.comm is None:
            return
        while self._links:
            self._links.pop().unlink()
        for owner in (*self.sessions, self.sessions[0].explanations):
            owner.unfollow(self._follow)
        self.selection.unfollow(self._remember)
        self._written = []
        for view in self.views if hasattr(self, "tabs") else []:
            view.close()
        close_children(self)
        for session in self._own:
            session.close()
        super().close()

    def __enter__(self) -> SampleComparison:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SampleComparison({' and '.join(repr(session) for session in self.sessions)})"

    def _build(self) -> None:
        self.headline, self.numbers = HTML(), HTML()
        self.look = MapControls(self.sessions[0], self.selection, self.message)
        self.explain = ExplainControls(self.sessions[0], self.message)
        self.samples = [
            _bar(_name(number), SampleControls(session, self.message))
            for number, session in enumerate(self.sessions)
            if session.dataset is not None
        ]
        self.headings = [HTML() for _ in self.sessions]
        self._pages = {title: _columns(columns, self.sessions, self.headings) for title, columns in PAGES.items()}
        self.tabs = ViewTabs(self._pages, self.selection, self.message)
        self.tabs.turn()
        self.children = (
            self.headline,
            *self.samples,
            HBox([self.look, self.explain, self.toolbar]),
            self.message,
            self.tabs,
            self.numbers,
        )
        self._write()
        self._start_undo()

    def _readings(self) -> list[Reading]:
        return [session.reading for session in self.sessions]

    def _write(self) -> None:
        self._written = self._readings()
        with self.message.reporting():
            for number, (heading, title) in enumerate(zip(self.headings, self._titles(), strict=True)):
                heading.value = f'<b style="font-size: 15px">{_name(number)}: {text(title)}</b>'
            self.headline.value = "<br>".join(text(line) for line in self._left_out())
            self.headline.layout.display = None if self.headline.value else "none"
            self.numbers.value = _table(self.to_frame())

    def _titles(self) -> list[str]:
        one, other = self.sessions
        return [one.title, other.title + (" (another model)" if other.model is not one.model else "")]

    def _left_out(self) -> list[str]:
        """Sentences on what only one of the two has."""
        kinds = [session.reading.capture.kinds for session in self.sessions]
        lines = [
            f"Only {'AB'[number]} has {kind} attention: left out."
            for number, (own, others) in enumerate((kinds, kinds[::-1]))
            for kind in own
            if kind not in others
        ]
        for kind in self.selection.kinds:
            shapes = [[len(layers), *layers[0].shape[1:]] for layers in (one[kind] for one in kinds)]
            if shapes[0] != shapes[1]:
                words = " and ".join(f"{n} layers, {h} heads, {q} x {k} days" for n, h, q, k in shapes)
                lines.append(f"{kind} attention: A and B have {words}; what both have is compared.")
        if all(map(Prediction.shows, self.sessions)) and not Prediction.compares(*self.sessions):
            lines.append("A and B predict different things: their predictions are side by side.")
        return lines

    def _follow(self) -> None:
        if any(session.closed for session in self.sessions):
            self.close()
        elif self.comm is not None:
            if self._readings() != self._written:
                self._write()
            self._remember()

    def _is_open(self) -> bool:
        return not any(session.closed for session in self.sessions)

    def _save_chosen(self) -> dict[str, Any]:
        samples = {f"sample_{name}": save_sample(one) for name, one in zip("AB", self.sessions, strict=True)}
        return {**save_state(self.sessions[0], self.selection), "sample": None, **samples}

    def _restore_chosen(self, state: Mapping[str, Any]) -> list[str]:
        failures: list[str] = []
        with changing():
            failures += restore_state(self.sessions[0], self.selection, {**state, "sample": None})
            for name, session in zip("AB", self.sessions, strict=True):
                with noting(failures, f"sample {name}"):
                    restore_sample(session, state.get(f"sample_{name}"))
        return failures


def _bar(name: str, samples: SampleControls) -> HBox:
    bar = HBox([HTML(f"<b>{name}</b>"), samples, samples.scan])
    bar.add_class("stockformer-bar")
    return bar


def _columns(
    columns: Sequence[Sequence[type[View]]], pair: tuple[ExtractorSession, ExtractorSession], headings: Sequence[HTML]
) -> Columns:
    """The places of a tab's views; what cannot be one view is side by side, and so are the maps."""
    kinds = [kind for column in columns for kind in column if all(map(kind.shows, pair))]
    apart = [kind for kind in kinds if kind is AttentionHeatmap or not kind.compares(*pair)]
    sides = [
        [heading, *(Slot(kind, (session,)) for kind in apart)] for heading, session in zip(headings, pair, strict=True)
    ]
    return [*sides, *([Slot(kind, pair) for kind in column if kind.compares(*pair)] for column in columns)]


def _two_sessions(
    session: ExtractorSession, others: tuple[Any, ...]
) -> tuple[tuple[ExtractorSession, ExtractorSession], list[ExtractorSession]]:
    """Both sessions, and those of them that were made here."""
    if isinstance(session, ExtractorSession) and len(others) == 1 and isinstance(others[0], ExtractorSession):
        if others[0] is session:
            raise ValueError("a session cannot be compared with itself: give another one, or two indices")
        return (session, others[0]), []
    if not isinstance(session, ExtractorSession) or len(others) != 2 or not all(map(_is_index, others)):
        raise TypeError("expected two ExtractorSessions, or one and two indices into its dataset")
    one = session.at(others[0])
    try:
        other = session.at(others[1])
    except BaseException:
        one.close()
        raise
    return (one, other), [one, other]


def _is_index(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_features(one: ExtractorSession, other: ExtractorSession) -> None:
    if one.feature_names != other.feature_names:
        sizes = (" + ".join(str(len(names)) for names in session.feature_names) for session in (one, other))
        raise ValueError(f"the sessions have different features: {' and '.join(sizes)}, expected the same names")


def _measure(session: ExtractorSession) -> dict[str, float]:
    """The measures of a session's sample; none where the meaning of the model's output is not known."""
    return session.measures() if isinstance(session.model, Forecaster) else {}


def _name(number: int) -> str:
    """A or B in its colour, as HTML."""
    return f'<span style="color: {STREAM_COLORS[number]}">■</span> {"AB"[number]}'


def _number(measure: str, value: float, difference: bool) -> str:
    """A difference of percentages is in percentage points."""
    if math.isnan(value):
        return ""
    if measure.endswith(" divergence"):
        return f"{value:.3g} nats"
    words = number_words(measure, value)
    return words.replace(" %", " points") if difference else words


def _table(frame: pd.DataFrame) -> str:
    rows = "".join(
        f"<tr><td>{text(name)}</td>"
        + "".join(f"<td>{_number(name, one, place == 2)}</td>" for place, one in enumerate(numbers))
        for name, *numbers in frame.itertuples(index=False)
    )
    return (
        '<table class="stockformer-numbers" '
        'style="line-height: 1.4; text-align: right; margin-left: 20px; border-spacing: 10px 0">'
        f"<tr><th>measure</th><th>A</th><th>B</th><th>A - B</th></tr>{rows}</table>"
    )
