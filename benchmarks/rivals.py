"""What the explorer is measured against; the kernel of the benchmark's notebooks imports it."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from itertools import count
from typing import Any

import bqplot as bq
import matplotlib.pyplot as plt
import numpy as np
import psutil
import torch
from IPython import get_ipython
from ipywidgets import Button, Dropdown, GridBox, HBox, Label, Layout, SelectionSlider, VBox, Widget, interact
from ipywidgets.widgets import widget as registry
from torch.nn.modules import module as hooks

from stockformer.dataset import StockDataset
from stockformer.model import PositionalEncoding, create_model
from stockformer.sample import load_sample, sample_table
from stockformer_widgets import ExtractorSession, HeadGrid, Selection

SHOWN_FEATURES = 14


def make_session(length: int) -> ExtractorSession:
    """The shipped model on the shipped data, in windows of `length` days."""
    dataset, model = load_sample()
    if length != dataset.lookback:
        dataset = StockDataset(sample_table(), **dataset.settings | {"lookback": length})
        for part in (model, model.market_encoder):
            part.pos_encoder = PositionalEncoding(model.attn_pool.in_features, length)  # it has no weights
    return ExtractorSession.from_dataset(model, dataset, index=1000)


class Numbers:
    """The arrays that the four panels show."""

    def __init__(self, session: ExtractorSession) -> None:
        capture = session.reading.capture
        self.maps = [capture.map("cross", layer).numpy() for layer in range(len(capture.kinds["cross"]))]
        self.gates = np.stack([gate[0].mean(dim=-1).numpy() for gate in capture.gates.values()])  # [layers, T]
        self.days = session.reading.days(len(self.maps[0]))
        features = [name for names in session.feature_names for name in names]
        totals = np.concatenate([part.abs().sum(dim=0).numpy() for part in session.explanations.saliency()])
        strongest = np.argsort(-totals)[:SHOWN_FEATURES]
        self.features, self.saliency = [features[i] for i in strongest], totals[strongest]


def matplotlib_panels(session: ExtractorSession) -> None:
    """Map, row, gates and saliency in one matplotlib figure under `interact`."""
    numbers = Numbers(session)

    def draw(layer: int, query: int) -> None:
        _, ((map_ax, row_ax), (gate_ax, saliency_ax)) = plt.subplots(2, 2, figsize=(12, 9), gridspec_kw={"wspace": 0.4})
        map_ax.imshow(numbers.maps[layer], cmap="viridis", aspect="auto")
        map_ax.axhline(query, color="tab:red")
        map_ax.set_title(f"Cross-attention, layer {layer}")
        row_ax.fill_between(range(len(numbers.days)), numbers.maps[layer][query], step="post")
        row_ax.set_title(f"Attention of {numbers.days[query]}")
        for number, gate in enumerate(numbers.gates):
            gate_ax.plot(gate, alpha=1.0 if number == layer else 0.4)
        gate_ax.axvline(query, color="tab:red")
        gate_ax.set_title("Mean gate by layer")
        saliency_ax.barh(numbers.features, numbers.saliency)
        saliency_ax.invert_yaxis()
        saliency_ax.set_title("Saliency")
        plt.show()

    interact(draw, **_controls(numbers))


def bqplot_panels(session: ExtractorSession) -> VBox:
    """The same four panels in bqplot, the map as a `GridHeatMap`."""
    numbers = Numbers(session)
    layer, day = (control for control in _controls(numbers).values())
    length = len(numbers.days)
    grid = bq.GridHeatMap(
        color=numbers.maps[0],
        scales={
            "row": bq.OrdinalScale(reverse=True),
            "column": bq.OrdinalScale(),
            "color": bq.ColorScale(colors=["#440154", "#21918c", "#fde725"]),
        },
        stroke="transparent",
    )
    row = _lines(length, numbers.maps[0][-1], interpolation="step-after", fill="bottom")
    gates = _lines(length, numbers.gates)
    marker = bq.Lines(x=[0, 0], y=[0, 1], scales={"x": gates.scales["x"], "y": bq.LinearScale(min=0, max=1)})
    bars = bq.Bars(
        x=numbers.features,
        y=numbers.saliency,
        scales={"x": bq.OrdinalScale(reverse=True), "y": bq.LinearScale()},
        orientation="horizontal",
    )
    figures = [_figure([grid], []), _figure([row]), _figure([gates, marker]), _figure([bars], left=150)]

    def update(change: Any = None) -> None:
        if change is None or change["owner"] is layer:
            grid.color = numbers.maps[layer.value]
            gates.opacities = [1.0 if number == layer.value else 0.4 for number in range(len(numbers.gates))]
            figures[0].title = f"Cross-attention, layer {layer.value}"
        row.y = numbers.maps[layer.value][day.value]
        marker.x = [day.value] * 2
        figures[1].title = f"Attention of {numbers.days[day.value]}"

    update()
    for control in (layer, day):
        control.observe(update, "value")
    return VBox([HBox([layer, day]), GridBox(figures, layout=Layout(grid_template_columns="1fr 1fr"))])


def round_trip() -> HBox:
    """A button that sets a label: what one message to the kernel and back costs."""
    numbers = count()
    return _button("count", lambda: str(next(numbers)))


def sample_buttons(session: ExtractorSession) -> HBox:
    """One button takes the next sample, the other counts what the kernel holds."""

    def next_sample() -> str:
        session.sample = (session.sample + 17) % len(session.dataset)
        return str(session.sample)

    return HBox([_button("next", next_sample), _button("held", lambda: json.dumps(held(session)))])


class HeadGridCell:
    """A head grid over a model with random weights, and a button that turns to another kind of attention."""

    def __init__(self, layers: int, heads: int, length: int) -> None:
        config = {
            "num_layers": layers,
            "market_layers": layers,
            "nhead": heads,
            "d_model": 4 * heads,
            "max_len": length,
        }
        model = create_model(41, "regression", None, config).eval()
        self.session = ExtractorSession(model, torch.randn(1, length, 41), torch.randn(1, length, 11))
        self.selection = Selection(self.session)

    def show(self) -> VBox:
        def turn() -> str:
            self.selection.kind = "market" if self.selection.kind == "cross" else "cross"
            return self.selection.kind

        return VBox([_button("turn", turn), HeadGrid(self.session, self.selection)])


def held(session: ExtractorSession) -> dict[str, float]:
    """What the kernel holds now."""
    gc.collect()
    global_hooks = len(hooks._global_forward_hooks) + len(hooks._global_forward_pre_hooks)
    own_hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in session.model.modules())
    return {
        "kernel memory, MB": psutil.Process(os.getpid()).memory_info().rss / 1e6,
        "widgets": len(registry._instances),
        "open comms": len(get_ipython().kernel.comm_manager.comms),
        "hooks": global_hooks + own_hooks,
    }


def _button(name: str, act: Callable[[], str]) -> HBox:
    button, label = Button(description=name), Label()
    label.add_class(f"said-{name}")
    button.on_click(lambda _: setattr(label, "value", act()))
    return HBox([button, label])


def _controls(numbers: Numbers) -> dict[str, Widget]:
    """The explorer's controls: the same widgets, so that they cost the same."""
    days = [(name, step) for step, name in enumerate(numbers.days)]
    return {
        "layer": Dropdown(description="layer", options=range(len(numbers.maps))),
        "query": SelectionSlider(description="query", options=days, value=len(days) - 1),
    }


def _lines(length: int, y: np.ndarray, **look: Any) -> bq.Lines:
    return bq.Lines(x=np.arange(length), y=y, scales={"x": bq.LinearScale(), "y": bq.LinearScale()}, **look)


def _figure(marks: list[bq.Mark], axes: list[bq.Axis] | None = None, left: int = 60) -> bq.Figure:
    scales = marks[0].scales
    if axes is None:
        axes = [bq.Axis(scale=scales["x"]), bq.Axis(scale=scales["y"], orientation="vertical")]
        if isinstance(marks[0], bq.Bars):
            axes[0].orientation, axes[1].orientation = "vertical", "horizontal"
    margin = {"top": 40, "bottom": 40, "left": left, "right": 20}
    return bq.Figure(marks=marks, axes=axes, fig_margin=margin, layout=Layout(height="400px", width="100%"))
