"""Passes in eval mode, hooks of one thread, and what another thread sees of them: nothing."""

from __future__ import annotations

import copy
import threading
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn.modules import module as torch_module

from stockformer.explainability import (
    AttentionExtractor,
    WhatIf,
    attribute,
    capture_attention,
    changed_model,
    trace_attention,
)
from stockformer.forward import evaluating, forward_hooks, in_eval_mode, original, unfused


def encoder() -> nn.Module:
    """A model whose layers take torch's fused path, where no module has a hook."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten(1))


@contextmanager
def beside(loop):
    """Run `loop()` over and over in another thread; it must hold at every turn, and turns often enough."""
    stop, failures, turns = threading.Event(), [], [0]

    def run() -> None:
        try:
            loop()  # torch's own first pass in a thread can differ from all later ones in the last bit
            while not stop.is_set():
                assert loop()
                turns[0] += 1
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures, failures
    assert turns[0] > 10


# in_eval_mode


def test_a_model_in_eval_mode_is_itself(model):
    assert in_eval_mode(model) is model


def test_a_copy_computes_what_the_model_would_in_eval_mode(model, inputs):
    model.double()
    expected = model(*(part.double() for part in inputs))
    model.train()
    running = in_eval_mode(model)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in running.modules())
    assert torch.equal(running(*(part.double() for part in inputs)), expected)
    assert [name for name, _ in running.named_modules()] == [name for name, _ in model.named_modules()]
    assert all(a is b for a, b in zip(running.parameters(), model.parameters(), strict=True))
    assert all(a is b for a, b in zip(running.buffers(), model.buffers(), strict=True))


def test_a_copy_knows_its_originals_and_keeps_modules_that_are_used_twice():
    layer = nn.Linear(2, 2)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    running = in_eval_mode(model)
    assert running[0] is running[2]
    assert original(running[0]) is layer
    assert original(original(running)) is model


def test_state_that_a_pass_sets_stays_in_the_copy():
    class Counts(nn.Linear):
        def forward(self, x):
            self.calls = getattr(self, "calls", 0) + 1
            self.register_buffer("last", x)
            return super().forward(x)

    model = Counts(2, 2)
    in_eval_mode(model)(torch.ones(1, 2))
    assert not hasattr(model, "calls")
    assert not hasattr(model, "last")


def test_hooks_of_the_user_run_on_a_copy_too():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    model[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    x = torch.ones(1, 2)
    assert torch.equal(in_eval_mode(model)(x), nn.functional.linear(2 * x, model[0].weight, model[0].bias))


def test_a_method_that_replaced_forward_runs_on_the_copy():
    model = nn.Dropout(0.5)
    model.forward = (lambda self, x: nn.functional.dropout(x, self.p, self.training) + 1).__get__(model)
    assert torch.equal(in_eval_mode(model)(torch.ones(9)), torch.full((9,), 2.0))


def test_a_function_that_replaced_forward_is_refused_in_training_mode():
    """It may call the module it was made for, and that would run in training mode."""
    model = nn.Sequential(nn.Dropout(0.5))
    plain = model[0].forward
    model[0].forward = lambda x: plain(x) + 1
    with pytest.raises(ValueError, match=r"Dropout.forward was replaced .* call model.eval\(\) first"):
        in_eval_mode(model)
    model.eval()
    assert in_eval_mode(model) is model


def test_compiled_and_scripted_modules_have_copies():
    model = nn.Sequential(torch.compile(nn.Dropout(0.5)), torch.jit.script(nn.Dropout(0.5)))
    assert torch.equal(in_eval_mode(model)(torch.ones(9)), torch.ones(9))
    assert all(module.training for module in model.modules())


def test_evaluating_undoes_what_an_interrupt_left_half_done(model, monkeypatch):
    model.train()
    plain = nn.Module.eval

    def interrupted(module):
        plain(module)
        raise KeyboardInterrupt

    monkeypatch.setattr(nn.Module, "eval", interrupted)
    with pytest.raises(KeyboardInterrupt), evaluating(model):
        pass
    assert all(module.training for module in model.modules())


# forward_hooks, unfused


def test_hooks_go_also_after_an_exception(model, inputs):
    seen = []
    with pytest.raises(TypeError), forward_hooks(before=lambda *call: seen.append(call), after=lambda *call: None):
        model(*inputs[:1])
    number = len(seen)
    model(*inputs)
    assert len(seen) == number > 0
    for hooks in ("_global_forward_pre_hooks", "_global_forward_hooks", "_global_forward_hooks_with_kwargs"):
        assert not getattr(torch_module, hooks)


def test_hooks_that_an_interrupted_exit_left_are_gone_with_their_context(model):
    extractor = AttentionExtractor(model)
    extractor.__enter__()
    del extractor
    assert not torch_module._global_forward_hooks


def test_unfused_layers_call_their_attention():
    model, x, seen = encoder().eval(), torch.randn(2, 5, 8), []
    with torch.no_grad(), forward_hooks(after=lambda module, *call: seen.append(type(module))):
        model(x)
        assert nn.MultiheadAttention not in seen
        with unfused():
            model(x)
    assert seen.count(nn.MultiheadAttention) == 2


# Another thread, which knows nothing of this package

EVERYTHING = {
    "capture": lambda model, inputs, first: capture_attention(model, *inputs),
    "what-if": lambda model, inputs, first: changed(model, inputs, first),
    "trace": lambda model, inputs, first: trace_attention(model, *(part[:1] for part in inputs)),
    "attribution": lambda model, inputs, first: attribute(model, *(part[:1] for part in inputs), method="gradient"),
}


def changed(model, inputs, first):
    kind = next(iter(first.kinds))
    with changed_model(model, WhatIf(flat=[(kind, 0)], heads_off=[(kind, 1, 1)]), first):
        return capture_attention(model, *inputs)


@pytest.fixture(params=["stock", "encoder"])
def example(request, model, inputs):
    """A model and what it is called with."""
    return (model, inputs) if request.param == "stock" else (encoder().eval(), (torch.randn(2, 5, 8),))


@pytest.mark.parametrize("what", EVERYTHING)
def test_a_plain_pass_of_another_thread_stays_the_same_to_the_last_bit(example, what):
    model, inputs = example
    first = capture_attention(model, *inputs)
    with torch.no_grad():
        expected = model(*inputs)

    def plain() -> bool:
        with torch.no_grad():
            return torch.equal(model(*inputs), expected)

    with beside(plain):
        for _ in range(20):
            EVERYTHING[what](model, inputs, first)


def test_a_training_pass_of_another_thread_stays_the_same(example):
    model, inputs = example
    model.train()
    other = copy.deepcopy(model)
    torch.manual_seed(1)
    expected = other(*inputs)

    def train() -> bool:
        torch.manual_seed(1)
        return torch.equal(model(*inputs), expected)

    first = capture_attention(model, *inputs)
    with beside(train):
        for _ in range(20):
            capture_attention(model, *inputs)
            changed(model, inputs, first)
            trace_attention(model, *(part[:1] for part in inputs))


def test_captures_beside_a_plain_pass_of_another_thread_are_those_alone(example):
    model, inputs = example
    first, other = capture_attention(model, *inputs), [3 * part for part in inputs]
    what_if = changed(model, inputs, first)
    with beside(lambda: model(*other) is not None):
        for _ in range(40):
            for found, alone in ((capture_attention(model, *inputs), first), (changed(model, inputs, first), what_if)):
                assert list(found.attention) == list(alone.attention)
                assert all(torch.equal(found.attention[path], weights) for path, weights in alone.attention.items())
                assert torch.equal(found.output, alone.output)


def test_a_change_of_the_original_holds_for_its_copy_in_eval_mode(model, inputs):
    first = capture_attention(model, *inputs)
    expected = changed(model, inputs, first)
    model.train()
    found = changed(model, inputs, first)
    assert torch.equal(found.output, expected.output)
    assert not torch.equal(found.output, first.output)
