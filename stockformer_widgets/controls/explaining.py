"""What is explained, by which method."""

from __future__ import annotations

from ipywidgets import Dropdown, HBox, Layout, ToggleButton

from stockformer.explainability import GROUPS, METHODS
from stockformer.explainability.attribution.methods import BY_NAME
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.controls.base import Controls, offer, show, wide
from stockformer_widgets.state.explanations import BASELINES, EXPLAINS
from stockformer_widgets.state.session import ExtractorSession


class ExplainControls(Controls):
    """Target, method, baseline and groups behind one button that names them."""

    def __init__(self, session: ExtractorSession, message: MessageLine) -> None:
        super().__init__(message)
        self.add_class("stockformer-explain")
        self.session = session
        self.chip = ToggleButton(icon="caret-down", tooltip="what is explained, and how", layout=Layout(width="auto"))
        self.target = Dropdown(description="explain", **wide(58, 250))
        self.method = Dropdown(
            options=[(name.replace("_", " "), name) for name in METHODS], description="by", **wide(58, 250)
        )
        self.baseline = Dropdown(options=BASELINES, description="from", **wide(58, 250))
        self.groups = Dropdown(options=GROUPS, description="groups of", **wide(58, 250))
        self.choices = HBox(
            [self.target, self.method, self.baseline, self.groups], layout=Layout(flex_flow="row wrap", display="none")
        )
        self.chip.observe(lambda change: show(self.choices, change["new"]), "value")
        self.children = (self.chip, self.choices)
        for name in EXPLAINS:
            self._bind(getattr(self, name), session.explanations, name)
        self._follow(session, session.explanations)

    def _sync(self) -> None:
        explanations = self.session.explanations
        available, method = explanations.available, BY_NAME[explanations.method]
        targets, target = explanations.targets, explanations.target
        show(self, available)
        show(self.target, available and bool(targets))
        if not available:
            return
        default = f"predicted: {explanations.target_name}" if target is None else "predicted"
        with self._syncing():
            offer(self.target, range(len(targets)), target, targets, default=default)
            for name in ("method", "baseline", "groups"):
                getattr(self, name).value = getattr(explanations, name)
        show(self.baseline, self.session.dataset is not None and method.from_baseline)
        show(self.groups, method.by_group)
        self.chip.description = " ".join(self._words(method.from_baseline, method.by_group))

    def _words(self, from_baseline: bool, by_group: bool) -> list[str]:
        """What is explained; settings that are not the default are named."""
        explanations = self.session.explanations
        words = [f"explained: {explanations.target_name} by {explanations.method_name}"]
        if from_baseline and explanations.baseline != BASELINES[0]:
            words.append(f"from {explanations.baseline}")
        if by_group and explanations.groups != GROUPS[0]:
            words.append(f"in groups of {explanations.groups}")
        return words
