"""The base class of all views."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import bqplot as bq
import pandas as pd
from bqplot_image_gl.interacts import MouseInteraction
from ipywidgets import Dropdown, HBox, Layout, Widget
from matplotlib.figure import Figure
from traitlets import Bool, observe

from stockformer.charts.chart import Axis, Chart, Note
from stockformer.charts.draw import draw
from stockformer.charts.figures import closing_on_error, render
from stockformer_widgets.components.caption import Caption, Phrase, spoken, table_of
from stockformer_widgets.components.drawing import HIGHLIGHT, MARGIN, MessageLine
from stockformer_widgets.components.keyboard import PAN, STEPS, ZOOM, Keyboard
from stockformer_widgets.components.snapshot import SnapshotBox
from stockformer_widgets.state.lifetime import closes_to_the_end, opens_whole
from stockformer_widgets.state.observable import Observable, changing
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession

_CAPTION = 90  # characters of a line below a saved picture


class View(SnapshotBox):
    """A widget that draws a session under a selection, and follows both.

    Views with the same session and selection are linked. Without a selection a view
    makes its own. When the view has the focus, arrow keys move what a click
    selects, ``[`` and ``]`` the layer, ``h`` and ``H`` the head, Home and End
    go to the first and the last day, and Escape selects no feature and no class.
    ``+`` and ``-`` halve and double the days in view around the selected ones, ``<`` and ``>`` move to earlier and
    later ones, ``0`` shows all.

    Raises:
        ValueError: the model has nothing to show in this view.
    """

    #: Name of the view for screen readers.
    label = ""
    #: Traits of the selection and of the session's explanations that change the picture; so does every reading.
    follows: tuple[str, ...] = ()
    follows_explanations: tuple[str, ...] = ()
    #: Which attention is drawn: that of the selected ``layer``, of the selected ``kind``, ``all`` or none.
    attention: ClassVar[str] = ""
    #: Whether the view needs a model whose output can be attributed to its inputs.
    attributed: ClassVar[bool] = False
    #: What the arrow keys move.
    horizontal, vertical = "key", "query"
    #: Pixels left of what is above and below the figure.
    indent: ClassVar[int] = MARGIN

    #: Fields of the selection that the chart depends on; the others only move marks.
    content: ClassVar[tuple[str, ...]] = ()
    #: Whether the view compares two sessions in one chart.
    compared: ClassVar[bool] = False
    #: Base class for the comparison of two sessions if it is more than both charts in one, see `views.compared`.
    comparison: ClassVar[type[Any] | None] = None
    #: Largest number of named rows or bars; all by default.
    most: ClassVar[int | None] = None

    #: While True the view draws nothing; it catches up afterwards.
    paused = Bool(False)

    _chart: Chart | None = None
    _made_of: tuple[Any, ...] = ()
    #: The chart that the caption is about.
    _captioned: Chart | None = None

    @opens_whole
    def __init__(self, session: ExtractorSession, selection: Selection | None = None) -> None:
        check_state(session, selection)
        if not self.shows(session):
            raise ValueError(f"{type(self).__name__} has nothing to show of {type(session.model).__name__}")
        super().__init__()
        self.add_class("stockformer-view")
        self.add_class(f"stockformer-{type(self).__name__}")
        self.session = session
        self.selection = selection or Selection(session)
        self._drawn: tuple[Any, ...] = ()
        try:
            for owner in self._owners():
                owner.follow(self._follow)
            self.message = MessageLine()
            self.keyboard = Keyboard(self.label, self._on_key)
            self.keyboard.observe(self._refresh, "visible")
            self.caption = Caption(self._table)
            built = *self._build_controls(), *self._build()
            self.children = (*self._arranged(built), self.message, self.keyboard)
            self._update()
        except BaseException:
            self._unfollow()
            raise

    @classmethod
    def shows(cls, session: ExtractorSession) -> bool:
        """Whether the session has something to show in this view."""
        return session.explanations.available or not cls.attributed

    @classmethod
    def compares(cls, one: ExtractorSession, other: ExtractorSession) -> bool:
        """Whether one view can show both sessions, see `views.compared`."""
        return cls.shows(one) and cls.shows(other)

    @classmethod
    def choices(cls, session: ExtractorSession) -> Mapping[str, Sequence[str]]:
        """Options of `chart_of` with a control in the view: name -> values, the default first."""
        return {}

    @classmethod
    def defaults(cls, session: ExtractorSession) -> dict[str, str]:
        """The options of `chart_of` that a view opens with."""
        return {name: values[0] for name, values in cls.choices(session).items()}

    @classmethod
    def chart_of(cls, session: ExtractorSession, where: Selection, *args: Any, **options: Any) -> Chart:
        """The chart of a session under a selection, without marks of the selected place."""
        raise NotImplementedError

    @classmethod
    def caveats_of(cls, session: ExtractorSession, where: Selection, *args: Any, **options: Any) -> list[str]:
        """Reasons why the chart may not be true of the model."""
        if not cls.attention:
            return []
        kind = None if cls.attention == "all" else where.kind
        return session.reading.capture.caveats_of(kind, where.layer if cls.attention == "layer" else None)

    @classmethod
    def chart_for(cls, sessions: Sequence[ExtractorSession], where: Selection, options: Mapping[str, str]) -> Chart:
        """The chart of a view of these sessions, with its caveats: on the screen, in a picture and on a page."""
        (session,) = sessions
        caveats = tuple(cls.caveats_of(session, where, **options))
        return replace(cls.chart_of(session, where, **options), caveats=caveats)

    @property
    def filled(self) -> bool:
        """Whether every drawn session has something to show."""
        return all(map(self.shows, self._drawn_sessions()))

    def to_frame(self) -> pd.DataFrame:
        """The numbers of the chart, `Chart.table`."""
        return self.chart.table.copy()

    @property
    def chart(self) -> Chart:
        """The chart, without marks of the selected place."""
        made_of = self._state(self.content)
        if self._chart is None or made_of != self._made_of:
            self._chart = self.chart_for(self._drawn_sessions(), self.selection, self.chosen)
            self._made_of = made_of
        return self._chart

    @property
    def chosen(self) -> dict[str, str]:
        """The chosen options of `chart_of`."""
        return {name: control.value for name, control in self.controls.items()}

    @property
    def changed(self) -> dict[str, str]:
        """The chosen options that are not the default."""
        return {name: control.value for name, control in self.controls.items() if control.value != control.options[0]}

    def choose(self, options: Mapping[str, str]) -> None:
        """Choose these options of `chart_of`, and the defaults of the others.

        Raises:
            ValueError: the view has no such option, or the option no such value.
        """
        for name, value in options.items():
            if name not in self.controls or value not in self.controls[name].options:
                raise ValueError(f"{type(self).__name__} has no {name} {value!r}")
        for name, control in self.controls.items():
            control.value = options.get(name, control.options[0])

    @property
    def _body(self) -> Any:
        """The body of the chart; each view draws one type."""
        return self.chart.body

    @closing_on_error
    def _png(self, dpi: int) -> bytes:
        if not self.filled:
            raise ValueError(f"{type(self).__name__} has nothing to show of {self.session.title}")
        self._catch_up()
        figure = self._plot()
        if self.chart.caveats:
            words = "\n".join(textwrap.fill(caveat, _CAPTION) for caveat in self.chart.caveats)
            figure.supxlabel(words, fontsize=8, color=HIGHLIGHT, parse_math=False)
        return render(figure, dpi)

    def _build_controls(self) -> tuple[Widget, ...]:
        """Make a control for each of the `choices`."""
        look = {"style": {"description_width": "auto"}, "layout": {"width": "auto"}}
        self.controls = {
            name: Dropdown(options=values, description=name, **look)
            for name, values in self.choices(self.session).items()
        }
        for control in self.controls.values():
            control.observe(self._redraw, "value")
        if not self.controls:
            return ()
        row = Layout(flex_flow="row wrap", margin=f"0 0 0 {self.indent}px")
        self.controls_row = HBox(list(self.controls.values()), layout=row)
        return (self.controls_row,)

    def _build(self) -> tuple[Widget, ...]:
        """Make the widgets, once."""
        raise NotImplementedError

    def _arranged(self, built: tuple[Widget, ...]) -> tuple[Widget, ...]:
        """The order of the widgets: those of `_build`, and the caption."""
        return *built, self.caption

    def _draw(self) -> None:
        """Update the widgets to session and selection."""
        raise NotImplementedError

    def _place(self, x: float, y: float) -> Any:
        """The place at data coordinates."""
        raise NotImplementedError

    def _selected(self) -> Any:
        """The selected place."""
        raise NotImplementedError

    def _select(self, place: Any) -> None:
        """Select a place."""
        raise NotImplementedError

    def _describe(self, place: Any) -> list[Phrase]:
        """A place in words and numbers."""
        raise NotImplementedError

    def _notes(self) -> list[Note]:
        """Notes below the picture that depend on more than the chart."""
        return []

    def _drawn_sessions(self) -> tuple[ExtractorSession, ...]:
        """The sessions that are drawn."""
        return (self.session,)

    def _marked(self) -> dict[str, int]:
        """Field of the selection -> its place on the axis that sets or marks it."""
        fields = [(field, axis) for axis in self._body.axes for field in (axis.sets, axis.also) if field]
        places = {field: self._place_on(axis, field) for field, axis in fields}
        return {field: place for field, place in places.items() if place is not None}

    def _place_on(self, axis: Axis, field: str) -> int | None:
        """The place of an axis that a field of the selection names, if any."""
        names, value = list(axis.names), getattr(self.selection, field)
        if field == "feature":
            return names.index(value) if value in names else None
        return self.selection.place(field, len(names)) if field in ("query", "key") else value

    def _select_on(self, axis: Axis, place: int) -> None:
        """Set the field of the selection that an axis sets, if any."""
        if axis.sets == "feature":
            self.selection.feature = axis.names[place]
        elif axis.of_days:
            self.selection.select(axis.sets, place, len(axis.names))
        elif axis.sets:
            setattr(self.selection, axis.sets, place)

    def _spans(self) -> dict[str, tuple[int, int]]:
        """Field -> the first place to show on the axis of days that sets it, and the one after the last."""
        axes = [axis for axis in self._body.axes if axis.of_days]
        return {axis.sets: self.selection.span(axis.sets, len(axis.names)) for axis in axes}

    def _plot(self) -> Figure:
        return draw(self.chart, self._marked(), spans=self._spans())

    @observe("paused")
    def _refresh(self, change: Any = None) -> None:
        """Redraw after a change; a view that fails shows its error and does not stop the others."""
        with changing():
            if not self.session.closed:
                with self.message.reporting():
                    self._update()

    def _update(self) -> None:
        """Draw, unless paused or no longer in a page."""
        if not self.paused and self.keyboard.visible:
            self._catch_up()

    def _catch_up(self) -> None:
        """Draw, unless the picture is up to date."""
        state = self._state(self.follows)
        if state == self._drawn:
            return
        # Another sample may lack what this one has, prices for instance.
        self.layout.display = None if self.filled else "none"
        if self.filled:
            self._draw()
            self._read_out()
            self._tell(self.chart.noting(*self._notes()))
        self._drawn = state

    def _state(self, of_selection: Sequence[str]) -> tuple[Any, ...]:
        """The state that a picture depends on; equal states give equal pictures."""
        sessions = self.selection.open_sessions
        return (
            *(session.reading for session in sessions),
            *(getattr(session.explanations, name) for session in sessions for name in self.follows_explanations),
            *(getattr(self.selection, name) for name in of_selection),
        )

    def _owners(self) -> tuple[Observable, ...]:
        # The colours of a map and a comparison depend on every session of the selection.
        sessions = self.selection.sessions
        return *sessions, *(session.explanations for session in sessions), self.selection

    def _follow(self) -> None:
        if self.session.closed:
            self.close()
        elif self.comm is not None:
            self._refresh()

    def _unfollow(self) -> None:
        for owner in self._owners():
            owner.unfollow(self._follow)

    def _redraw(self, change: Any = None) -> None:
        """Draw after a change of the view's own controls."""
        self._chart, self._drawn = None, ()
        self._refresh()

    def _listen(self, figure: bq.Figure) -> None:
        """Make a click on a figure select, and the caption describe the place under the mouse."""
        mouse = MouseInteraction(
            x_scale=figure.scale_x,
            y_scale=figure.scale_y,
            move_throttle=60,
            events=["click", "mousemove", "mouseleave"],
        )

        def receive(widget: Widget, content: dict[str, Any], buffers: Any) -> None:
            with self.message.reporting():
                self._on_mouse(content["event"], content.get("domain") or {})

        mouse.on_msg(receive)
        figure.interaction = mouse

    def _on_mouse(self, event: str, at: dict[str, float]) -> None:
        if event == "mouseleave":
            self._read_out()
        elif at.get("x") is not None and at.get("y") is not None:
            place = self._place(at["x"], at["y"])
            if event == "click":
                with self.selection.hold_trait_notifications():
                    self._select(place)
            else:
                self.caption.read(self._describe(place), at_pointer=True)

    def _read_out(self) -> None:
        """Describe the selected place, on the screen and for a screen reader."""
        phrases = self._describe(self._selected())
        self.caption.read(phrases)
        self.keyboard.announcement = spoken(phrases)

    def _tell(self, chart: Chart) -> None:
        """Update the caption to a chart."""
        if chart is not self._captioned:
            self._captioned = chart
            self.caption.tell(chart)

    def _table(self) -> dict[str, Any] | None:
        """The values of the picture, for its caption."""
        with self.message.reporting():
            return table_of(self.chart)
        return None

    def _on_key(self, key: str, times: int) -> None:
        # A key moves what is selected at that time: one of another page, in another thread, comes before or after it.
        with self.message.reporting(), changing():
            if key == "Escape":
                self._unselect()
            elif key in ZOOM:
                self.selection.zoom(ZOOM[key] * times)
            elif key in PAN:
                self.selection.pan(PAN[key] * times)
            elif key == "0":
                self.selection.show(None, None)
            elif key in STEPS:
                what, by = STEPS[key]
                self._step(getattr(self, what, what), by * times)

    def _unselect(self) -> None:
        """Clear the optional part of the selection."""
        self.selection.feature = None

    def _step(self, name: str, by: int) -> None:
        self.selection.step(name, by)

    @closes_to_the_end
    def close(self) -> None:
        """Stop following, and close every widget of this view."""
        if self.comm is None:
            return
        self._unfollow()
        self._chart, self._captioned, self._made_of, self._drawn = None, None, (), ()
        close_children(self)
        super().close()

    def __enter__(self) -> View:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.selection.kind}, layer {self.selection.layer})"


def check_state(session: ExtractorSession, selection: Selection | None) -> None:
    """Raise unless these are an open session and None or a selection of it."""
    if not isinstance(session, ExtractorSession):
        raise TypeError(f"expected an ExtractorSession, got {type(session).__name__}")
    if session.closed:
        raise ValueError("the session is closed")
    if selection is None:
        return
    if not isinstance(selection, Selection):
        raise TypeError(f"expected a Selection, got {type(selection).__name__}")
    if session not in selection.sessions:
        raise ValueError("the selection belongs to another session")


def close_children(widget: Widget) -> None:
    """Close every widget inside a widget; ipywidgets closes only the outer one."""
    for one in list(_descendants(widget)):
        if one is not widget:
            one.close()


def _descendants(widget: Widget) -> Iterator[Widget]:
    """A widget and every widget inside it, each once."""
    seen: set[int] = set()
    stack: list[Any] = [widget]
    while stack:
        item = stack.pop()
        if isinstance(item, Widget):
            if id(item) in seen:
                continue
            seen.add(id(item))
            yield item
            stack.extend(getattr(item, name) for name in item.keys if item.has_trait(name))
        elif isinstance(item, list | tuple):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
