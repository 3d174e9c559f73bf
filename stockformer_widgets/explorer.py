"""The dashboard: controls and linked views of one session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ipywidgets import HTML, Dropdown, HBox, IntSlider, Layout, SelectionSlider, ToggleButtons, VBox

from stockformer.explainability import class_probabilities
from stockformer.model import input_widths
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views import AttentionHeatmap, AttentionRow, GateTimeline, SaliencyBars, View
from stockformer_widgets.views.base import BINARY_NAMES, check_state, close_parts, text

_KIND_NAMES = {"cross": "stock → market", "self": "stock → stock", "market": "market → market"}
_MEAN = "mean"  # a Dropdown takes None for "nothing chosen"


class AttentionExplorer(VBox):
    """A session on the screen: choose sample, map, layer, head and day; click to look closer.

    Views that the model has nothing for are left out: an encoder-only model has
    no cross-attention and no gates. `close` frees every widget.

    Args:
        session: what to look at.
        selection: shared with other views; a new one by default.

    Example:
        >>> explorer = AttentionExplorer(ExtractorSession.from_dataset(model, dataset))
        >>> explorer.selection.layer = 2
    """

    def __init__(self, session: ExtractorSession, selection: Selection | None = None) -> None:
        check_state(session, selection)
        super().__init__()
        self.add_class("stockformer-explorer")
        self.session = session
        self._owns_selection = selection is None
        self.selection = selection or Selection(session)
        session.observe(self._on_change, ["sample", "reading"])
        self.selection.observe(self._on_change, ["kind", "layer", "head", "query"])
        self.views: list[View] = []
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop following, and close the views and every other widget of this explorer."""
        if self.comm is None:
            return
        self.session.unobserve(self._on_change, ["sample", "reading"])
        self.selection.unobserve(self._on_change, ["kind", "layer", "head", "query"])
        for view in self.views:
            view.close()
        if self._owns_selection:
            self.selection.close()
        close_parts(self)
        super().close()

    def __enter__(self) -> AttentionExplorer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        where = self.selection
        return f"AttentionExplorer(sample {self.session.sample}, {where.kind}, layer {where.layer})"

    def _build(self) -> None:
        for view in (AttentionHeatmap, AttentionRow, GateTimeline, SaliencyBars):
            if view.shows(self.session):
                self.views.append(view(self.session, self.selection))
        self._make_controls()
        self.headline = HTML()
        self.message = HTML(layout=Layout(display="none"))
        self.children = (self.headline, self._control_bar(), self.message, self._columns())
        self._sync()

    def _columns(self) -> HBox:
        left = VBox(self.views[:2], layout=Layout(flex="1 1 520px", min_width="320px"))
        right = VBox(self.views[2:], layout=Layout(flex="1 1 480px", min_width="320px"))
        return HBox([left, right], layout=Layout(flex_flow="row wrap", width="100%"))

    def _make_controls(self) -> None:
        wide = {"description_width": "52px"}
        self.kind_control = ToggleButtons(style={"button_width": "auto"}, tooltip="which attention to show")
        self.layer_control = Dropdown(description="layer", style=wide, layout=Layout(width="130px"))
        self.head_control = Dropdown(description="head", style=wide, layout=Layout(width="150px"))
        self.day_control = SelectionSlider(options=[0], description="day", style=wide, layout=Layout(width="340px"))
        samples = 0 if self.session.dataset is None else len(self.session.dataset)
        self.sample_control = IntSlider(
            max=max(0, samples - 1),
            description="sample",
            style=wide,
            continuous_update=False,
            layout=Layout(width="380px", display=None if samples else "none"),
        )
        for control, owner, name in (
            (self.kind_control, self.selection, "kind"),
            (self.layer_control, self.selection, "layer"),
            (self.head_control, self.selection, "head"),
            (self.day_control, self.selection, "query"),
            (self.sample_control, self.session, "sample"),
        ):
            control.observe(self._setter(owner, name), "value")

    def _control_bar(self) -> HBox:
        controls = [self.sample_control, self.kind_control, self.layer_control, self.head_control, self.day_control]
        return HBox(controls, layout=Layout(flex_flow="row wrap", align_items="center"))

    def _setter(self, owner: Selection | ExtractorSession, name: str) -> Any:
        def set_value(change: Any) -> None:
            if not self._syncing:
                with self._reporting():
                    setattr(owner, name, None if change["new"] == _MEAN else change["new"])

        return set_value

    _syncing = False

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Show what goes wrong inside, where the person looks, and put the controls back."""
        self._say("")
        try:
            yield
        except Exception as error:  # whatever a user's model raises belongs on the screen
            self._say(str(error))
            self._sync()

    def _say(self, message: str) -> None:
        self.message.value = f'<span style="color: var(--jp-error-color1, #c00)">{text(message)}</span>'
        self.message.layout.display = None if message else "none"

    def _on_change(self, change: Any) -> None:
        self._sync()

    def _sync(self) -> None:
        """Bring the controls in line with session and selection."""
        where, reading = self.selection, self.session.reading
        size = where.sizes()
        days = [(reading.day(step, size["query"]), step) for step in range(size["query"])]
        heads = [("mean", _MEAN), *((str(head), head) for head in range(size["head"]))]
        self._syncing = True
        try:
            _offer(self.kind_control, [(_KIND_NAMES.get(kind, kind), kind) for kind in where.kinds], where.kind)
            _offer(self.layer_control, [(str(layer), layer) for layer in range(size["layer"])], where.layer)
            _offer(self.head_control, heads, _MEAN if where.head is None else where.head)
            _offer(self.day_control, days, where.query)
            if self.session.sample is not None:
                self.sample_control.value = self.session.sample
            self.headline.value = _headline(self.session)
        finally:
            self._syncing = False


def _offer(control: Any, options: list[tuple[str, Any]], value: Any) -> None:
    """Set options and value of a control, each only where it differs."""
    if tuple(control.options) != tuple(options):
        control.options = options
    if control.value != value:
        control.value = value


def _headline(session: ExtractorSession) -> str:
    """Whose day it is, what the model says, and what came of it."""
    window = session.reading.window
    who = "tensors given by hand" if window is None else f"{window.ticker}, {window.dates[-1].date()}"
    facts = [_prediction(session)]
    if window is not None and session.dataset is not None:
        facts.append(f"return of the next {session.dataset.horizon} days: {window.forward_return:+.1%}")
    return f'<span style="font-size: 16px"><b>{text(who)}</b></span> &nbsp; {text("; ".join(filter(None, facts)))}'


def _prediction(session: ExtractorSession) -> str:
    """What a stock transformer's output says, in words; nothing for other models."""
    model, output = session.model, session.reading.capture.output
    if input_widths(model) is None:
        return ""
    if model.label_mode == "regression":
        return f"model: {float(output[0]):+.4g}"
    probabilities = class_probabilities(output.float(), coral=bool(model.use_coral))[0]
    best = int(probabilities.argmax())
    name = BINARY_NAMES[best] if model.label_mode == "binary" else f"class {best}"
    return f"model: {name}, probability {float(probabilities[best]):.1%}"
