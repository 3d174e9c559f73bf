"""Small sessions of every sort, and what the tests ask of the widgets on them."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from functools import cache
from itertools import starmap
from typing import Any

import numpy as np
import pandas as pd
import torch
from ipywidgets import HTML, Widget
from ipywidgets.widgets import widget as registry
from matplotlib import colormaps
from PIL import Image
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.model import create_model
from stockformer_widgets import (
    ActivationPatching,
    AttentionEffects,
    DayScores,
    ExtractorSession,
    FaithfulnessCheck,
    FlowHeatmap,
    GateHeatmap,
    GateTimeline,
    HeadImportance,
    MarketEntry,
    PoolingBars,
    Prediction,
    PriceStrip,
    SaliencyBars,
    SaliencyHeatmap,
    View,
)
from stockformer_widgets.catalogue import PAGES
from stockformer_widgets.components.caption import Phrase, spoken

STOCK, MARKET = ["f0", "f1", "f2", "f3", "f4"], ["m0", "spy_ret_1d"]
DAYS = 8
EDGES = (-1.0, 0.0, 1.0)
_SIZES = {
    "d_model": 8,
    "nhead": 2,
    "num_layers": 2,
    "dim_feedforward": 12,
    "market_layers": 1,
    "market_feature_dim": len(MARKET),
}


@cache
def table(days: int = 30) -> pd.DataFrame:
    """Random walks of two tickers; f4 has no value anywhere."""
    rng = np.random.default_rng(0)
    walks = []
    for ticker in ("AAA", "BBB"):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, days)))
        prices = dict.fromkeys(("open", "high", "low", "adjusted_close"), close)
        features = {name: rng.normal(0, 1, days) for name in ("f0", "f1", "f2", "f3", "m0")}
        walk = {"date": pd.bdate_range("2020-01-01", periods=days), "symbol": ticker, **prices, "volume": 1.0}
        walks.append(pd.DataFrame(walk | features | {"f4": np.nan, "spy_ret_1d": rng.normal(0, 0.01, days)}))
    return pd.concat(walks, ignore_index=True)


@cache
def dataset(
    label_mode: str = "binary", market: bool = True, lookback: int = DAYS, days: int = 30, edges: tuple = EDGES
) -> StockDataset:
    return StockDataset(
        table(days),
        STOCK,
        MARKET if market else None,
        lookback=lookback,
        label_mode=label_mode,
        bucket_edges=edges if label_mode == "buckets" else None,
    )


def model(label_mode: str = "binary", model_type: str = "cross_attention", **sizes: Any) -> Any:
    """A model in eval mode with fixed weights, large enough that the maps are not flat."""
    torch.manual_seed(0)
    made = create_model(
        len(STOCK), label_mode, EDGES if label_mode == "buckets" else None, _SIZES | sizes, model_type
    ).eval()
    with torch.no_grad():
        for weights in made.parameters():
            weights.mul_(1.5)
    return made


def inputs(stock_days: int, market_days: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randn(stock_days, len(STOCK), generator=generator),
        torch.randn(market_days, len(MARKET), generator=generator),
    )


class Bare(nn.Module):
    """Attention and nothing else that the views know; returns [B, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.MultiheadAttention(6, heads, batch_first=True) for heads in (2, 3)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x, x, x)[0]
        return x.mean(dim=1)[:, :3]


def not_a_number(made: nn.Module) -> nn.Module:
    """A model that was trained to pieces."""
    with torch.no_grad():
        for weights in made.parameters():
            weights.fill_(float("nan"))
    return made


def _coral(**more: Any) -> Any:
    return model("buckets", loss_name="coral", **more)


def _encoder(label_mode: str = "binary", **more: Any) -> Any:
    return model(label_mode, "encoder", **more)


def _of(made: nn.Module, **options: Any) -> ExtractorSession:
    return ExtractorSession(made, dataset=dataset(**options), index=5)


def _by_hand(made: nn.Module, stock_days: int = 6, market_days: int = 6, **options: Any) -> ExtractorSession:
    return ExtractorSession(made, *inputs(stock_days, market_days), **options)


def _seeded(make: Callable[[], nn.Module], *shapes: tuple[int, ...]) -> ExtractorSession:
    torch.manual_seed(0)
    return ExtractorSession(make().eval(), *(torch.randn(shape) for shape in shapes))


def _decoder() -> nn.Module:
    return nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2)


ALL_VIEWS = tuple(kind for columns in PAGES.values() for column in columns for kind in column)
#: Views of every model with attention, of one that can be attributed, of a stock transformer, and of one with a market.
_CROSS = set(ALL_VIEWS) - {ActivationPatching, PriceStrip}
_ENCODER = _CROSS - {GateHeatmap, GateTimeline, MarketEntry}
_EXPLAINED = {AttentionEffects, FaithfulnessCheck, FlowHeatmap, HeadImportance, SaliencyBars, SaliencyHeatmap}
_MAPS = _ENCODER - _EXPLAINED - {DayScores, PoolingBars, Prediction}

#: Name -> how to make the session, and the views that it has something for.
SESSIONS: dict[str, tuple[Callable[[], ExtractorSession], set[type[View]]]] = {
    "dataset": (lambda: _of(model()), set(ALL_VIEWS)),
    "by hand": (lambda: _by_hand(model()), _CROSS),
    "dated": (lambda: _by_hand(model(), dates=pd.bdate_range("2020-01-01", periods=6)), _CROSS),
    "market longer": (lambda: _by_hand(model(), 6, 9), _CROSS),
    "stock longer": (lambda: _by_hand(model(), 9, 6), _CROSS),
    "coral": (lambda: _of(_coral(), label_mode="buckets"), set(ALL_VIEWS)),
    "coral by hand": (lambda: _by_hand(_coral()), _CROSS),
    "buckets": (lambda: _of(model("buckets"), label_mode="buckets"), set(ALL_VIEWS)),
    "buckets by hand": (lambda: _by_hand(model("buckets")), _CROSS),
    "regression": (lambda: _of(model("regression"), label_mode="regression"), set(ALL_VIEWS)),
    "regression by hand": (lambda: _by_hand(model("regression")), _CROSS),
    "encoder": (lambda: _of(_encoder(), market=False), _ENCODER | {ActivationPatching, PriceStrip}),
    "float64": (lambda: _of(model().double()), set(ALL_VIEWS)),
    "bfloat16": (lambda: _of(model().bfloat16()), set(ALL_VIEWS)),
    "one day": (lambda: _of(model(), lookback=1), set(ALL_VIEWS)),
    "one layer, one head": (lambda: _of(model(num_layers=1, nhead=1)), set(ALL_VIEWS)),
    "one day, layer, head": (lambda: _of(model(num_layers=1, nhead=1), lookback=1), set(ALL_VIEWS)),
    "one of everything": (
        lambda: _of(_encoder(num_layers=1, nhead=1), market=False, lookback=1),
        _ENCODER | {ActivationPatching, PriceStrip},
    ),
    "nan": (lambda: _of(not_a_number(model())), set(ALL_VIEWS)),
    "nan regression": (
        lambda: _of(not_a_number(model("regression")), label_mode="regression"),
        set(ALL_VIEWS),
    ),
    "nan coral": (lambda: _by_hand(not_a_number(_coral())), _CROSS),
    "nn.Transformer": (
        lambda: _seeded(lambda: nn.Transformer(8, 2, 1, 2, 16, batch_first=True), (1, 6, 8), (1, 4, 8)),
        _MAPS,
    ),
    "nn.TransformerDecoder": (lambda: _seeded(_decoder, (1, 5, 8), (1, 7, 8)), _MAPS),
    "nn.TransformerEncoderLayer": (
        lambda: _seeded(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 5, 8)),
        _MAPS,
    ),
    "bare attention": (lambda: _seeded(Bare, (1, 5, 6)), _MAPS | _EXPLAINED),
}
#: Every view of every session.
PAIRS = [(name, kind) for name, (_, kinds) in SESSIONS.items() for kind in ALL_VIEWS if kind in kinds]


def make_session(name: str = "dataset", method: str | None = None) -> ExtractorSession:
    session = SESSIONS[name][0]()
    if method is not None:
        session.explanations.method = method
    return session


@cache
def session_of(name: str) -> ExtractorSession:
    """One for all tests, which leave it as it is; explained once, by a method that is fast even where there is NaN."""
    return make_session(name, "input_x_gradient")


def widgets() -> set[str]:
    """Every widget that was not closed."""
    return set(registry._instances)


def observers(owner: Any) -> int:
    """How many callbacks a session or a selection holds."""
    observing = sum(len(calls) for kinds in owner._trait_notifiers.values() for calls in kinds.values())
    return observing + len(owner._followers)


def global_hooks() -> int:
    """Hooks that torch calls for every module."""
    module = torch.nn.modules.module
    return len(module._global_forward_hooks) + len(module._global_forward_pre_hooks)


def parts(widget: Widget) -> list[Widget]:
    """A widget and its children, theirs too."""
    return [widget, *(part for child in getattr(widget, "children", ()) for part in parts(child))]


def figures(view: View) -> list[Any]:
    return [part for part in parts(view) if hasattr(part, "marks")]


def drawn(view: Any, shape: str) -> tuple[np.ndarray, np.ndarray]:
    """x and y [lines, points] of a view's lines of one shape."""
    mark = view.picture.lines[shape]
    return np.atleast_2d(mark.x), np.atleast_2d(mark.y)  # bqplot drops dimensions of length 1


def marker(view: Any, field: str = "sets") -> list[float]:
    """x of both ends of the line that marks the selected place."""
    mark = view.picture.markers[("sets", "also").index(field)]
    assert mark.visible
    return list(mark.x)


def plain(markup: str) -> str:
    """HTML as one reads it."""
    read = re.sub("<.*?>", "", markup.replace("<br>", "\n"))
    return html.unescape(read).replace("\xa0", " ").strip()


def lines(view: View) -> list[str]:
    """Below a view: the place under the mouse, or the selected one, the legend, the notes, and how far to trust it."""
    text = view.caption.text
    notes = [note["text"] for note in text["notes"]]
    doubt = [text["doubt"]["text"]] if text["doubt"] else []
    read = spoken(starmap(Phrase, view.caption.reading))
    return [read, *filter(None, [", ".join(name for name, _ in text["legend"])]), *notes, *doubt]


def explained_on_hover(view: View) -> str:
    """What the notes of a view and its doubt say to the mouse."""
    text = view.caption.text
    return " ".join(one["detail"] for one in [*text["notes"], *filter(None, [text["doubt"]])])


def in_percent(share: float, keys: int = 0) -> str:
    """A share with three digits, and of so many keys how many times the even one."""
    digits = np.format_float_positional(100 * share, precision=3, unique=False, fractional=False).rstrip(".")
    digits = digits if share == 0 or share >= 1e-5 else "<0.001"
    times = share * keys
    ratio = f"{min(times, 1.99):.2f}" if times < 2 else f"{times:.{1 if times < 9.95 else 0}f}"
    return f"{digits} % ({ratio} x even)" if keys else f"{digits} %"


def told(view: View) -> str:
    """What the caption of a view says of the picture, with its numbers."""
    text = view.caption.text
    summary = text["summary"]
    numbers = [f"{one['name']} {one['value'] or 0:.3g}" for one in summary["findings"]]
    return " | ".join(
        [*(f"⚠ {caveat}" for caveat in text["caveats"]), summary["verdict"], summary["subject"], *numbers]
    )


def words(view: Widget) -> str:
    """Everything that a view says: text, titles of figures, and what a screen reader gets."""
    said = [part.value for part in parts(view) if isinstance(part, HTML)]
    said += ["\n".join([*lines(part), told(part)]) for part in parts(view) if isinstance(part, View)]
    said += [part.title for part in parts(view) if hasattr(part, "title")]
    said += [part.announcement for part in parts(view) if hasattr(part, "announcement")]
    return plain(" | ".join(said))


def shown_message(owner: Any) -> str:
    """What the message line of a view or an explorer says; empty where it takes no room."""
    line = owner.message
    return plain(line.value) if line.layout.display is None else ""


def mouse(figure: Any, event: str, x: float = 0.0, y: float = 0.0) -> None:
    """A mouse event as the page sends it, with data coordinates."""
    content = {"event": event, "pixel": {"x": 1, "y": 1}, "domain": {"x": x, "y": y}}
    message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
    figure.interaction._handle_msg(message)


def tell(view: View, page: float = 0.5, places: int = 1, **pressed: int) -> None:
    """What a page tells of a view."""
    view.keyboard.set_state({"page": {"id": page, "places": places, "pressed": pressed, "asks": 0}})


def press(view: View, key: str, times: int = 1) -> None:
    """Keys as a page counts them."""
    pressed = view.keyboard._pressed.get(0.5, {})
    tell(view, **pressed | {key: pressed.get(key, 0) + times})


def pixels(view: Any, palette: str, low: float, high: float) -> np.ndarray:
    """The values that the colours of a map stand for, to half a level of 254; NaN where the cell is grey."""
    picture = Image.open(io.BytesIO(view.image.image.value))
    colors = np.array(picture.getpalette()[:768]).reshape(-1, 3)
    expected = 255 * colormaps[palette](np.linspace(0, 1, 255))[:, :3]
    # matplotlib's map has 256 colours and the picture 255: they may be one apart.
    np.testing.assert_allclose(colors[:255], expected, atol=4)
    assert tuple(colors[255]) == (150, 150, 150)
    levels = np.asarray(picture)
    return np.where(levels == 255, np.nan, low + levels / 254 * (high - low))


def days_of(session: ExtractorSession) -> list[str]:
    """The days of a session's sample, from its dataset's table."""
    window = session.dataset.window(session.sample)
    return [day.strftime("%Y-%m-%d") for day in window.prices["date"]]


def input_times_gradient(session: ExtractorSession, target: int | None = None) -> list[np.ndarray]:
    """input x gradient of what a target explains of the session's sample, one [T, features] an input."""
    return [part * tensor for part, tensor in zip(gradients(session, target), _arrays(session), strict=True)]


def gradients(session: ExtractorSession, target: int | None = None) -> list[np.ndarray]:
    tensors = [tensor.clone().requires_grad_() for tensor in session.reading.inputs]
    explained(session, session.model(*tensors)[0], target).backward()
    return [tensor.grad[0].numpy() for tensor in tensors]


def explained(session: ExtractorSession, output: torch.Tensor, target: int | None = None) -> torch.Tensor:
    """Value, margin over the other class, expected rank or one output."""
    if output.dim() == 0:
        return output
    if getattr(session.model, "use_coral", False) and target is None:
        return (1 / (1 + (-output).exp())).sum()
    column = int(output.argmax()) if target is None else target
    binary = getattr(session.model, "label_mode", "") == "binary"
    return output[column] - output[1 - column] if binary else output[column]


def explained_name(session: ExtractorSession, target: int | None = None) -> str:
    """What is explained of a model that says DOWN or UP."""
    column = int(session.reading.capture.output[0].argmax()) if target is None else target
    return ["DOWN over UP", "UP over DOWN"][column]


def _arrays(session: ExtractorSession) -> list[np.ndarray]:
    return [tensor[0].numpy() for tensor in session.reading.inputs]


def unpacked(value: Any, bundle: dict, data: bytes) -> Any:
    """A value of a bundle with its texts and arrays, as `js/src/page/bundle.ts` reads it."""
    if isinstance(value, list):
        return [unpacked(one, bundle, data) for one in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("text"), int):
        return bundle["texts"][value["text"]]
    if "array" in value:
        first, size = value["array"]
        return np.frombuffer(data, "<f4")[first : first + size]
    return {name: unpacked(one, bundle, data) for name, one in value.items()}


def labels(control: Any) -> list[str]:
    return [label for label, _ in control.options]


def shown_sample(explorer: Any) -> tuple:
    """Index, ticker and date in the sample controls."""
    samples = explorer.samples
    return samples.slider.value, samples.ticker.value, samples.date.value


def sample_of(session: ExtractorSession, index: int) -> tuple:
    """Index, ticker and date of a window."""
    made = session.dataset
    return index, made.end_tickers[index], made.end_dates[index].date()
