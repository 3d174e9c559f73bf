"""What it costs to capture the attention of a forward pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import psutil
import torch
from tables import against_aim, ms, table
from torch import Tensor, nn

from stockformer.config import BASE_FEATURE_COLUMNS, DEFAULT_MODEL_CONFIG, MARKET_FEATURE_COLUMNS
from stockformer.explainability import capture_attention
from stockformer.model import create_model

BATCHES, LENGTHS = (1, 32, 256), (60, 120, 252)
AIM = 1.1
SECONDS = 5.0  # for one shape
ROUNDS = 2  # at least
MEMORY_LIMIT = 12e9

Durations = dict[str, list[float]]


def report() -> str:
    """Measure every shape; Markdown."""
    rows, ratios = [], []
    with _one_thread():
        for batch in BATCHES:
            for length in LENGTHS:
                shape = f"{batch} x {length}"
                print(f"capture: {shape}", flush=True)
                need, free = _bytes(batch, length), psutil.virtual_memory().available
                if need > min(MEMORY_LIMIT, free):
                    rows.append([shape, f"left out: about {need / 1e9:.0f} GB, {free / 1e9:.0f} GB free", *[""] * 6])
                    continue
                taken = measure(batch, length)
                middle = {what: median(times) for what, times in taken.items()}
                ratios.append((middle["capture"] / middle["unfused"], shape))
                rows.append(
                    [
                        shape,
                        *(ms(times) for times in taken.values()),
                        *(f"{middle['capture'] / middle[what]:.2f}" for what in ("fused", "unfused", "weights")),
                        len(taken["capture"]),
                    ]
                )
    head = [
        "batch x length",
        "fused, ms",
        "unfused, ms",
        "returns weights, ms",
        "capture, ms",
        "capture / fused",
        "capture / unfused",
        "capture / returns weights",
        "rounds",
    ]
    least, most = min(ratios), max(ratios)
    return "\n\n".join(
        [
            _EXPLANATION.format(**DEFAULT_MODEL_CONFIG),
            table(head, rows),
            "\n".join(
                against_aim(f"Capture / unfused, the {which} ratio, at {shape}", ratio, AIM)
                for which, (ratio, shape) in (("smallest", least), ("largest", most))
            ),
        ]
    )


def measure(batch: int, length: int) -> Durations:
    """Seconds of every way to run the model, one of each in every round."""
    torch.manual_seed(0)
    stock_features, market_features = len(BASE_FEATURE_COLUMNS), len(MARKET_FEATURE_COLUMNS)
    model = create_model(stock_features, "binary", None, {"max_len": max(LENGTHS)}).eval()
    inputs = torch.randn(batch, length, stock_features), torch.randn(batch, length, market_features)
    ways: dict[str, Callable[[], Any]] = {
        "fused": lambda: _forward(model, inputs, fast_path=True),
        "unfused": lambda: _forward(model, inputs, fast_path=False),
        "weights": lambda: _forward_with_weights(model, inputs),
        "capture": lambda: list(capture_attention(model, *inputs).attention.values()),
    }
    taken: Durations = {what: [] for what in ways}
    start = time.perf_counter()
    while len(taken["capture"]) < ROUNDS or time.perf_counter() - start < SECONDS:
        for what, run in ways.items():
            begin = time.perf_counter()
            run()
            taken[what].append(time.perf_counter() - begin)
    # The first round warms up, where it is not half of what there is.
    return {what: times[1:] if len(times) > ROUNDS else times for what, times in taken.items()}


def _forward(model: nn.Module, inputs: tuple[Tensor, ...], *, fast_path: bool) -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast_path)
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _forward_with_weights(model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    """The plain pass with every attention asked to return its weights by head."""

    def ask(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, kwargs | {"need_weights": True, "average_attn_weights": False}

    attentions = [module for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    kept: list[Tensor] = []
    hooks = [module.register_forward_pre_hook(ask, with_kwargs=True) for module in attentions]
    hooks += [module.register_forward_hook(lambda m, args, output: kept.append(output[1])) for module in attentions]
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()


def _bytes(batch: int, length: int) -> float:
    """What a capture holds at its peak, about: every map, and three more while one is made."""
    maps = 2 * DEFAULT_MODEL_CONFIG["num_layers"] + DEFAULT_MODEL_CONFIG["market_layers"]
    return 4.0 * batch * DEFAULT_MODEL_CONFIG["nhead"] * length**2 * (maps + 3)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


_EXPLANATION = """\
`capture_attention(model, x, market_x)` beside the plain forward pass of the default model ({num_layers} layers,
{market_layers} market layers, {nhead} heads, width {d_model}), in eval mode without gradients, on one thread.
Medians; every round runs each way once.

- fused: `model(x, market_x)`, `nn.TransformerEncoderLayer` on its fast path.
- unfused: the same after `torch.backends.mha.set_fastpath_enabled(False)`. Its attention is still torch's
  `scaled_dot_product_attention`, which never holds the weights.
- returns weights: hooks that ask every attention for its weights (`need_weights=True`), as one would write by
  hand. Its output differs from the plain pass in the last bits.
- capture: the output is bit for bit that of the fused pass, and all weights of every map are recorded.

What limits the capture: every attention runs unchanged, so that the output does not change, and the weights are
computed in addition. One map of the largest shape is half a gigabyte; most of the time goes into writing ten."""
