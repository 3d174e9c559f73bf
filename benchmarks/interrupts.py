"""Interrupt public calls at random moments, and look for what is left behind.

``python benchmarks/interrupts.py [TIMES]`` raises KeyboardInterrupt in the main thread, TIMES times over all calls,
from a thread that knows nothing of this package, at a random moment of the call's usual duration. After each one the
model's modules and weights, torch's hooks and modes, both random states, open widgets and figures, and the session
and selection are as they were, or work as before.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import io
import pickle
import random
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from ipywidgets.widgets import widget as ipywidget
from torch.nn.modules import module as torch_module

from stockformer.explainability import (
    AttentionExtractor,
    WhatIf,
    attention_effects,
    attribute,
    capture_attention,
    changed_model,
    evaluating,
    trace_attention,
)
from stockformer.model import create_model
from stockformer_widgets import (
    AttentionExplorer,
    AttentionHeatmap,
    ExtractorSession,
    SampleComparison,
    Selection,
)
from stockformer_widgets.state.observable import _LOCK

SIZES = {
    "d_model": 8,
    "nhead": 2,
    "num_layers": 2,
    "dim_feedforward": 12,
    "market_layers": 1,
    "market_feature_dim": 3,
    "dropout": 0.0,
}


class Subject:
    """A model in training mode, as it may be while it is explored, and a session with a selection."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = create_model(5, "binary", None, SIZES).train()
        self.model.stock_layers[0].eval()
        generator = torch.Generator().manual_seed(1)
        self.inputs = [torch.randn(1, 8, size, generator=generator) for size in (5, 3)]
        self.others = [2 * part for part in self.inputs]
        self.session = ExtractorSession(self.model, *self.inputs)
        self.selection = Selection(self.session)
        self.first = capture_attention(self.model, *self.inputs)

    def calls(self) -> dict[str, Callable[[], Any]]:
        model, inputs, session, selection = self.model, self.inputs, self.session, self.selection

        def what_if() -> None:
            with changed_model(model, WhatIf(flat=[0], gate={0: 0.5}), self.first):
                capture_attention(model, *inputs)

        def extractor() -> None:
            with AttentionExtractor(model):
                model(*inputs)

        def in_eval_mode() -> None:
            with evaluating(model):  # without torch.no_grad, which an interrupt can leave on
                model(*inputs)

        def select() -> None:
            with selection.hold_trait_notifications():
                selection.layer, selection.query = 1 - selection.layer, 7 - selection.query

        def explorer() -> None:
            with AttentionExplorer(session, selection) as opened:
                opened.tabs.selected_index = 1

        def view() -> None:
            with AttentionHeatmap(session, selection) as opened:
                opened._png(50)

        def compare() -> None:
            with ExtractorSession(model, *self.others) as other, SampleComparison(session, other):
                pass

        return {
            "capture": lambda: capture_attention(model, *inputs),
            "extractor": extractor,
            "evaluating": in_eval_mode,
            "what-if": what_if,
            "trace": lambda: trace_attention(model, *inputs),
            "effects": lambda: attention_effects(model, *inputs),
            "attribute": lambda: attribute(model, *inputs),
            "attribute, random": lambda: attribute(model, *inputs, method="smooth_grad"),
            "session.run": lambda: session.run(*random.choice((self.inputs, self.others))),
            "session.what_if": lambda: session.what_if(gate={0: random.random()}),
            "session.undo": session.undo,
            "select": select,
            "view": view,
            "explorer": explorer,
            "comparison": compare,
        }

    def left(self) -> dict[str, Any]:
        """What an interrupted call must not change."""
        gc.collect()
        return {
            "mode": [module.training for module in self.model.modules()],
            "weights": torch.cat([part.flatten() for part in self.model.parameters()]).detach().numpy().tobytes(),
            "hooks": [
                len(getattr(torch_module, name))
                for name in ("_global_forward_hooks", "_global_forward_pre_hooks", "_global_forward_hooks_with_kwargs")
            ],
            "module hooks": sum(len(module._forward_hooks) for module in self.model.modules()),
            "autograd": torch.is_grad_enabled(),
            "function modes": torch._C._len_torch_function_stack(),
            "torch's random state": torch.get_rng_state().numpy().tobytes(),
            "numpy's random state": pickle.dumps(np.random.get_state()),  # noqa: NPY002
            "warning filters": len(warnings.filters),
            "figures": plt.get_fignums(),
            "widgets": len(ipywidget._instances),
            "followers": (len(self.session._followers), len(self.selection._followers)),
            "lock": _LOCK._is_owned(),  # type: ignore[attr-defined]
            "held": any(
                owner._held is not None or owner._cross_validation_lock for owner in (self.selection, self.session)
            ),
        }

    def dead(self) -> list[str]:
        """What no longer works."""
        heard: list[str] = []
        self.selection.observe(lambda change: heard.append("observer"), "key")
        self.selection.follow(lambda: heard.append("follower"))
        try:
            self.selection.key = (self.selection.key + 1) % 8
            alive = heard.count("observer") == 1 and "follower" in heard
            same = torch.equal(capture_attention(self.model, *self.inputs).output, self.first.output)
            session = self.session
            whole = session.change or session.original is session.reading
            runs = torch.equal(session.run(*self.inputs).inputs[0], self.inputs[0])
            checks = {"selection": alive, "model": same, "session": whole and runs}
            return [name for name, good in checks.items() if not good]
        finally:
            self.selection.unobserve_all("key")
            self.selection._followers.pop()


def interrupt_main(after: float, armed: threading.Event) -> None:
    """Raise KeyboardInterrupt in the main thread, unless its call has ended."""
    ending = time.perf_counter() + after
    while time.perf_counter() < ending:
        time.sleep(0)
    if armed.is_set():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(threading.main_thread().ident or 0), ctypes.py_object(KeyboardInterrupt)
        )


def attempt(call: Callable[[], Any], longest: float) -> bool:
    """Whether a call was interrupted at a random moment of so many seconds."""
    armed = threading.Event()
    armed.set()
    thread = threading.Thread(target=interrupt_main, args=(random.uniform(0, longest), armed))
    interrupted = False
    try:
        thread.start()
        try:
            call()
            armed.clear()
        finally:
            armed.clear()
        thread.join()
        for _ in range(3):  # one that is still on its way
            time.sleep(0)
    except KeyboardInterrupt:
        interrupted = True
    thread.join()
    return interrupted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("times", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    torch.set_num_threads(1)
    sys.setswitchinterval(1e-5)
    subject = Subject()
    calls = subject.calls()
    durations = {}
    with redirect_stderr(io.StringIO()):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            durations[name] = time.perf_counter() - start
    counts, failures = Counter[str](), Counter[str]()
    turn = 0
    while sum(counts.values()) < options.times:
        name = list(calls)[turn % len(calls)]
        turn += 1
        before = subject.left()
        if not attempt(calls[name], durations[name]):
            continue
        counts[name] += 1
        if sum(counts.values()) % 100 == 0:
            print(f"{sum(counts.values())} interrupts, {sum(failures.values())} failures", flush=True)
        after = subject.left()
        for what in before:
            if before[what] != after[what]:
                failures[f"{name}: {what}"] += 1
                print(f"{name}: {what}: {str(before[what])[:80]} -> {str(after[what])[:80]}", flush=True)
        for what in subject.dead():
            failures[f"{name}: {what}"] += 1
            print(f"{name}: {what} no longer works", flush=True)
    print(f"{sum(counts.values())} interrupts ({', '.join(f'{name} {n}' for name, n in counts.items())})")
    print("nothing left behind" if not failures else dict(failures))


if __name__ == "__main__":
    main()
