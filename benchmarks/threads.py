"""Explain a model in one thread while another loops plain passes of it, and compare every result, bit for bit.

``python benchmarks/threads.py [TIMES]`` makes TIMES captures, what-ifs, attributions, traces and clicks in the main
thread. The other thread knows nothing of this package: it calls ``model(*inputs)`` over and over and compares each
output with the one from before. Half of its passes have other inputs, which a capture must not see.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stockformer.explainability import (
    WhatIf,
    attribute,
    capture_attention,
    changed_model,
    trace_attention,
)
from stockformer.model import create_model
from stockformer_widgets import AttentionHeatmap, ExtractorSession, Selection

SIZES = {
    "d_model": 8,
    "nhead": 2,
    "num_layers": 2,
    "dim_feedforward": 12,
    "market_layers": 1,
    "market_feature_dim": 3,
    "dropout": 0.0,
}


def plain_loop(model: nn.Module, batches: list[list[Tensor]], stop: threading.Event, counts: dict[str, int]) -> None:
    """What a user's own thread does."""
    with torch.no_grad():
        for inputs in batches:
            model(*inputs)  # torch's own first pass in a thread can differ from all later ones in the last bit
        expected = [model(*inputs) for inputs in batches]
        while not stop.is_set():
            for inputs, output in zip(batches, expected, strict=True):
                counts["passes"] += 1
                counts["changed"] += not torch.equal(model(*inputs), output)


def tensors(result: Any) -> list[Tensor]:
    """Every tensor of a result, in order."""
    if isinstance(result, Tensor):
        return [result]
    if is_dataclass(result):
        return tensors([getattr(result, part.name) for part in fields(result)])
    if isinstance(result, Mapping):
        return tensors(list(result.values()))
    return [tensor for part in result for tensor in tensors(part)] if isinstance(result, (list, tuple)) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("times", type=int, nargs="?", default=1000)
    times = parser.parse_args().times
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-5)
    model = create_model(5, "binary", None, SIZES).eval()
    inputs = [torch.randn(1, 8, size) for size in (5, 3)]
    first = capture_attention(model, *inputs)
    session = ExtractorSession(model, *inputs)
    selection = Selection(session)
    view = AttentionHeatmap(session, selection)

    def what_if() -> Any:
        with changed_model(model, WhatIf(flat=[0], heads_off=[("self", 1, 1)], gate={0: 0.5}), first):
            return capture_attention(model, *inputs)

    def click() -> Any:
        with selection.hold_trait_notifications():
            selection.layer, selection.query = 1 - selection.layer, 7 - selection.query
        session.what_if(gate={0: 0.25})
        changed = session.reading.capture
        session.undo()
        seen = torch.tensor(view.to_frame().select_dtypes("number").to_numpy(float))
        return changed, session.reading.capture, seen if selection.layer else None

    calls: dict[str, Callable[[], Any]] = {
        "capture": lambda: capture_attention(model, *inputs),
        "what-if": what_if,
        "trace": lambda: trace_attention(model, *inputs),
        "gradient": lambda: attribute(model, *inputs, method="gradient").parts,
        "integrated gradients": lambda: attribute(model, *inputs).parts,
        "click and what-if of a session": click,
    }
    alone = {name: [tensors(call()), tensors(call())] for name, call in calls.items()}  # a click and the one back
    stop, counts = threading.Event(), {"passes": 0, "changed": 0}
    others = [[3 * part for part in inputs], inputs]
    thread = threading.Thread(target=plain_loop, args=(model, others, stop, counts))
    thread.start()
    try:
        for name, call in calls.items():
            wrong, start, passes = 0, time.perf_counter(), counts["passes"]
            for turn in range(times):
                found, expected = tensors(call()), alone[name][turn % 2]
                same = len(found) == len(expected) and all(map(torch.equal, found, expected))
                wrong += not same
            seconds = time.perf_counter() - start
            beside = counts["passes"] - passes
            print(f"{name}: {times} times, {wrong} wrong, beside {beside} plain passes, {seconds:.0f} s", flush=True)
    finally:
        stop.set()
        thread.join()
    print(f"plain passes: {counts['passes']}, {counts['changed']} changed")


if __name__ == "__main__":
    main()
