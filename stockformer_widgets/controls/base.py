"""The base class of controls, and their building blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ipywidgets import Button, HBox, Layout

from stockformer.charts.figures import well_formed
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.components.syncing import Syncing
from stockformer_widgets.state.observable import Observable
from stockformer_widgets.state.session import ExtractorSession

#: The option for None, which a Dropdown takes to mean "nothing chosen".
DEFAULT = "default"


class Controls(HBox):
    """Controls that set traits and display their values; a refused value is reported in the message line."""

    def __init__(self, message: MessageLine) -> None:
        super().__init__(layout=Layout(flex_flow="row wrap", align_items="center"))
        self.message = message
        self._syncing = Syncing()
        self._owners: tuple[Observable, ...] = ()

    def _on_change(self, control: Any, act: Callable[[Any], None]) -> None:
        """Call ``act(value)`` when a person changes a control."""

        def changed(change: Any) -> None:
            if not self._syncing.running:
                with self.message.reporting():
                    act(change["new"])
                self._sync()

        control.observe(changed, "value")

    def _bind(self, control: Any, owner: Observable, name: str) -> None:
        """Set a trait when a person changes a control."""
        self._on_change(control, lambda value: setattr(owner, name, None if value == DEFAULT else value))

    def _on_click(self, button: Button, act: Callable[[], Any]) -> None:
        def clicked(button: Button) -> None:
            with self.message.reporting():
                act()

        button.on_click(clicked)

    def _follow(self, *owners: Observable) -> None:
        """Keep the controls in line with the traits of these, from now until `close`."""
        self._owners = owners
        for owner in owners:
            owner.follow(self._keep_up)
        self._sync()

    def _keep_up(self) -> None:
        if not any(isinstance(owner, ExtractorSession) and owner.closed for owner in self._owners):
            self._sync()

    def close(self) -> None:
        """Stop following."""
        if self.comm is None:
            return
        for owner in self._owners:
            owner.unfollow(self._keep_up)
        super().close()

    def _sync(self) -> None:
        """Bring the controls in line with the traits."""
        raise NotImplementedError


def show(control: Any, visible: bool) -> None:
    control.layout.display = None if visible else "none"


def offer(
    control: Any, values: Sequence[Any], value: Any, names: Sequence[str] | None = None, default: str | None = None
) -> None:
    """Set options and value of a control where they differ; `default` is the name of the option for None."""
    options = list(zip(map(well_formed, names or map(str, values)), values, strict=True))
    if default is not None:
        options.insert(0, (default, DEFAULT))
    if tuple(control.options) != tuple(options):
        control.options = options
    chosen = DEFAULT if value is None else value
    if control.value != chosen:
        control.value = chosen


def wide(description: int, whole: int) -> dict[str, Any]:
    """Widths of a control in pixels."""
    return {"style": {"description_width": f"{description}px"}, "layout": Layout(width=f"{whole}px")}
