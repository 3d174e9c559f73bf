"""Interrupts of the kernel leave nothing behind; `benchmarks/interrupts.py` does so a thousand times at random."""

from __future__ import annotations

import inspect
import sys

import matplotlib.pyplot as plt
import pytest
import torch
from cases import make_session
from ipywidgets.widgets import widget as ipywidget
from torch.nn.modules import module as torch_module

from stockformer.explainability import (
    AttentionExtractor,
    WhatIf,
    capture_attention,
    changed_model,
    evaluating,
    trace_attention,
)
from stockformer_widgets import AttentionExplorer, AttentionHeatmap, ExtractorSession, SampleComparison, Selection


class Interrupt:
    """Raises KeyboardInterrupt when the n-th function is called, as a signal would: once.

    Counts functions of this package, those of torch that switch gradients, and those of `files`. Not where a
    generator goes on: Python would leave it there without its `finally`, which it does not after a signal.
    """

    def __init__(self, number: int, *files: str) -> None:
        self.left, self.files = number, ("/grad_mode.py", *files)

    def __call__(self, frame, event: str, arg: object) -> None:
        file, goes_on = frame.f_code.co_filename, frame.f_code.co_flags & inspect.CO_GENERATOR
        if event == "call" and not goes_on and ("/stockformer" in file or file.endswith(self.files)):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    def during(self, call) -> bool:
        """Whether a call was interrupted before it ended; Python ignores what is raised while it frees a generator."""
        sys.setprofile(self)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        return self.left <= 0


def left(model, *owners):
    return (
        [module.training for module in model.modules()],
        [len(getattr(torch_module, name)) for name in vars(torch_module) if name.startswith("_global_forward")],
        torch.is_grad_enabled(),
        torch._C._len_torch_function_stack(),
        torch.get_rng_state().tolist(),
        plt.get_fignums(),
        set(ipywidget._instances),
        [len(owner._followers) for owner in owners],
        [owner._held or owner._cross_validation_lock for owner in owners],
    )


def what_if(model, inputs, first):
    with changed_model(model, WhatIf(flat=[0], gate={0: 0.5}), first):
        capture_attention(model, *inputs)


def extract(model, inputs, first):
    with AttentionExtractor(model):
        model(*inputs)


def evaluate(model, inputs, first):
    with evaluating(model):
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda model, inputs, first: capture_attention(model, *inputs),
        lambda model, inputs, first: trace_attention(model, *(part[:1] for part in inputs)),
        what_if,
        extract,
        evaluate,
    ],
    ids=["capture", "trace", "what-if", "extractor", "evaluating"],
)
def test_a_pass_that_is_interrupted_anywhere_leaves_nothing(make_model, inputs, call):
    model = make_model(dropout=0.0).train()
    model.stock_layers[0].eval()
    first = capture_attention(model, *inputs)
    before, number = left(model), 1
    while Interrupt(number).during(lambda: call(model, inputs, first)):
        assert left(model) == before, number
        number += 23 if number > 60 else 1  # every place at first, then some of each kind
    assert number > 1
    assert torch.equal(capture_attention(model, *inputs).output, first.output)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("call", [capture_attention, trace_attention])
def test_gradients_are_on_or_off_as_before_an_interrupt(call, on):
    layer = torch.nn.TransformerEncoderLayer(4, 1, 4, batch_first=True)
    model = torch.nn.Sequential(layer, torch.nn.Flatten(), torch.nn.Linear(12, 1)).eval()
    x, number = torch.randn(1, 3, 4), 1
    with torch.set_grad_enabled(on):
        while Interrupt(number).during(lambda: call(model, x)):
            assert torch.is_grad_enabled() == on, number
            number += 1
    assert number > 100


def test_a_mode_that_torch_puts_back_too_late_is_gone_with_the_next_pass():
    layer = torch.nn.TransformerEncoderLayer(4, 1, 4, batch_first=True)
    model = torch.nn.Sequential(layer, torch.nn.Flatten(), torch.nn.Linear(12, 1)).eval()
    x, number, late = torch.randn(1, 3, 4), 1, 0
    while Interrupt(number, "/contextlib.py").during(lambda: trace_attention(model, x)):
        late += torch._C._len_torch_function_stack()
        capture_attention(model, x)
        assert torch._C._len_torch_function_stack() == 0, number
        number += 1
    assert late


@pytest.mark.parametrize("kind", [AttentionHeatmap, AttentionExplorer])
def test_an_opening_that_is_interrupted_leaves_no_widget(kind):
    session = make_session()
    selection = Selection(session)
    kind(session, selection).close()
    before, number = left(session.model, session, selection), 1
    while Interrupt(number).during(lambda: kind(session, selection).close()):
        assert left(session.model, session, selection) == before, number
        number += 1 + number // 3
    assert number > 20


def test_a_comparison_that_is_interrupted_leaves_no_widget():
    session, other = make_session(), make_session()
    SampleComparison(session, other).close()
    before, number = set(ipywidget._instances), 1
    while Interrupt(number).during(lambda: SampleComparison(session, other).close()):
        assert set(ipywidget._instances) == before, number
        number += 1 + number // 2
    assert number > 20


def test_a_selection_that_is_interrupted_goes_on():
    selection, heard = Selection(make_session()), []
    selection.observe(lambda change: heard.append(change["new"]), "key")

    def several() -> None:
        with selection.hold_trait_notifications():
            selection.layer, selection.query = 1 - selection.layer, 7 - selection.query

    number = 1
    while Interrupt(number).during(several):
        heard.clear()
        selection.key = (selection.key + 1) % 8
        assert heard == [selection.key], number
        with pytest.raises(Exception, match="layer is 99"):
            selection.layer = 99
        number += 1
    assert number > 10


def test_a_session_that_is_interrupted_keeps_sample_reading_and_change_together():
    session = make_session()
    number = 1
    while Interrupt(number).during(lambda: setattr(session, "sample", 3)):
        fresh = ExtractorSession.from_dataset(session.model, session.dataset, session.sample)
        assert torch.equal(session.reading.inputs[0], fresh.reading.inputs[0]), number
        assert torch.equal(session.original.inputs[0], fresh.reading.inputs[0]), number
        session.sample = 5
        number += 1 + number // 6
    assert session.sample == 3
    assert torch.equal(session.reading.inputs[0], session.dataset.window(3).inputs[0])
