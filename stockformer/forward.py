"""Forward passes of somebody else's model: in eval mode, and watched or changed in one thread only.

A kernel runs cells in one thread and handles messages from the page in another, and torch's hooks are global. What
this module does to a pass affects only the thread that does it, not the model and not the passes of other threads.
"""

from __future__ import annotations

import copy
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import BaseTorchFunctionMode

from stockformer.restoring import undone

#: Called with a module and its arguments, before it runs.
Before = Callable[[nn.Module, tuple[Any, ...]], None]
#: Called with a module, its arguments and its output; returns another output, or None to leave it.
After = Callable[[nn.Module, tuple[Any, ...], dict[str, Any], Any], Any]

_ORIGINAL = "_in_eval_mode_of"


def in_eval_mode(model: nn.Module) -> nn.Module:
    """A model in eval mode that computes what `model` would: itself, or a copy where something has to differ.

    The copy shares parameters and buffers. In it no module is in training mode; none is compiled by
    `torch.compile`, where hooks do not act; and an `nn.TransformerEncoderLayer` with modules other than torch's, which
    the fused kernel cannot read, does not use that kernel. So the model's own modules never change: another thread may
    be training them, and nothing is left to undo.

    Raises:
        TypeError: the model takes inputs by keyword only.
        ValueError: a module in training mode cannot be copied, because its `forward` was replaced by a function
            that may belong to the module itself; or an `nn.MultiheadAttention` has another output projection,
            without weights to read.
    """
    _drop_closed_modes()
    model = uncompiled(model)
    check_runs(model)
    if not any(module.training or is_compiled(module) or _unreadable(module) for module in model.modules()):
        return model
    return _in_eval_mode(model, {})


def uncompiled(model: nn.Module) -> nn.Module:
    """The module that `torch.compile` wrapped, or the module itself."""
    inner: nn.Module = model._modules.get("_orig_mod") or model if is_compiled(model) else model
    return inner


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is compiled by `torch.compile`, as a wrapper or in place."""
    return type(module).__name__ == "OptimizedModule" or module.__dict__.get("_compiled_call_impl") is not None


def refuse_compiled(model: nn.Module) -> None:
    """Raise ValueError if a module of the model is compiled: torch may silently skip hooks there."""
    for path, module in model.named_modules():
        if is_compiled(module):
            raise ValueError(
                f"{path or type(model).__name__} is compiled by torch.compile, where hooks do not act: "
                "run the model that stockformer.explainability.in_eval_mode(model) returns"
            )


def check_runs(model: nn.Module) -> None:
    """Raise if a model cannot be called as ``model(*inputs)``, before torch fails without saying where."""
    parameters = inspect.signature(model.forward).parameters.values()
    named = [one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    if named:
        raise TypeError(
            f"{type(model).__name__}.forward takes {', '.join(named)} by keyword only: "
            "wrap the model in a module whose forward takes its inputs by position"
        )
    for path, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention) and type(module).forward is nn.MultiheadAttention.forward:
            projection, name = module.out_proj, f"{path}.out_proj" if path else "out_proj"
            if not isinstance(getattr(projection, "weight", None), Tensor):
                raise ValueError(
                    f"{name} is a {type(projection).__name__} without a weight, which nn.MultiheadAttention reads: "
                    "give it properties weight and bias that hold the values it computes with"
                )


def original(module: nn.Module) -> nn.Module:
    """The module that `in_eval_mode` copied, or the module itself."""
    source: nn.Module = module.__dict__.get(_ORIGINAL, module)
    return source


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` into eval mode, and afterwards every module back into the mode it was in.

    Other threads see the change too; `in_eval_mode` leaves the model alone.
    """
    training = [module for module in model.modules() if module.training]

    def restore() -> None:
        for module in training:
            module.training = True

    with undone(restore):
        if training:
            model.eval()
        yield


@contextmanager
def forward_hooks(*, before: Before | None = None, after: After | None = None) -> Iterator[None]:
    """Call `before` and `after` around every module that this thread runs while the context is open.

    Hooks on a module itself would run in other threads too, and would take an `nn.TransformerEncoderLayer` off its
    fused path and so change its output in the last bits; torch does not count global ones.
    """
    thread = threading.get_ident()

    # `*call`: torch keeps in another dict whether a hook takes keyword arguments, and another thread may look there a
    # moment too late.
    def guarded_before(module: nn.Module, *call: Any) -> None:
        if before is not None and threading.get_ident() == thread:
            before(module, *call)

    def guarded_after(module: nn.Module, *call: Any) -> Any:
        return after(module, *call) if after is not None and threading.get_ident() == thread else None

    # Not through torch's handles: they are numbered without a lock, so two threads can get one number, and an
    # interrupt between the registration and its handle would leave a hook that nobody can remove.
    pre_hooks: dict[Any, Any] = torch_module._global_forward_pre_hooks
    hooks: dict[Any, Any] = torch_module._global_forward_hooks
    with_kwargs: dict[Any, Any] = torch_module._global_forward_hooks_with_kwargs

    def remove() -> None:
        pre_hooks.pop(guarded_before, None)
        hooks.pop(guarded_after, None)
        with_kwargs.pop(guarded_after, None)

    with undone(remove):
        if before is not None:
            pre_hooks[guarded_before] = guarded_before
        if after is not None:
            with_kwargs[guarded_after] = True
            hooks[guarded_after] = guarded_after
        yield


@contextmanager
def with_gradients() -> Iterator[None]:
    """Turn gradients on, whatever the caller switched off; tensors made inside can have them."""
    with torch.inference_mode(False), _gradients(on=True):
        yield


@contextmanager
def without_gradients() -> Iterator[None]:
    """Turn gradients off."""
    with _gradients(on=False):
        yield


@contextmanager
def _gradients(*, on: bool) -> Iterator[None]:
    if torch.is_grad_enabled() == on:  # what does not change cannot be restored too late, after an outer context
        yield
        return
    # Not through torch.no_grad: an interrupt while that is entered or left keeps gradients off for good.
    with undone(lambda: torch._C._set_grad_enabled(not on)):
        torch._C._set_grad_enabled(on)
        yield


@contextmanager
def in_full_precision(device: str = "cpu") -> Iterator[None]:
    """Turn the caller's autocast off: it is meant for the model, not for numbers computed from captured tensors."""
    # Only where it is on: opening a context that changes nothing costs more than the computation.
    with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
        yield


class _Unfused(BaseTorchFunctionMode):
    """An override mode that changes no function."""

    open = True


@contextmanager
def unfused() -> Iterator[None]:
    """While open, an `nn.TransformerEncoderLayer` that this thread runs calls its attention, not a fused kernel.

    torch takes the fused path only where no function is overridden; this mode overrides each function by itself.
    """
    mode = _Unfused()

    # Not through its own `__exit__`: torch takes the mode off its stack while that runs, and an interrupt may lose it.
    def leave() -> None:
        mode.open = False
        _drop_closed_modes()

    _drop_closed_modes()
    with undone(leave):
        torch._C._push_on_torch_function_stack(mode)
        yield


def _drop_closed_modes() -> None:
    """Remove closed modes from torch's stack.

    torch takes a mode off the stack while a function runs. If an interrupt cuts that short, it puts the mode back only
    when the traceback is freed, which may be after `unfused` was left.
    """
    while size := torch._C._len_torch_function_stack():
        last = torch._C._get_function_stack_at(size - 1)
        if not isinstance(last, _Unfused) or last.open:
            break
        torch._C._pop_torch_function_stack()


def _in_eval_mode(module: nn.Module, copies: dict[nn.Module, nn.Module]) -> nn.Module:
    module = uncompiled(module)
    if module in copies:
        return copies[module]
    if isinstance(module, torch.jit.ScriptModule):
        copies[module] = copy.deepcopy(module).eval() if module.training else module
        return copies[module]
    own = copies[module] = object.__new__(type(module))
    for name, value in module.__dict__.items():
        own.__dict__[name] = copy.copy(value) if isinstance(value, dict) else value
    own.__dict__["training"] = False
    own.__dict__[_ORIGINAL] = module
    own.__dict__["_compiled_call_impl"] = None
    if _unreadable(module):
        own.__dict__["activation_relu_or_gelu"] = 0  # torch's flag for a layer that its fused kernel cannot run
    if isinstance(module, nn.TransformerEncoder) and any(map(_unreadable, module.layers)):
        own.__dict__["use_nested_tensor"] = False
    if "forward" in module.__dict__:
        own.__dict__["forward"] = _bound(module.__dict__["forward"], module, own)
    own.__dict__["_modules"] = {
        name: None if child is None else _in_eval_mode(child, copies) for name, child in module._modules.items()
    }
    return own


def _unreadable(module: nn.Module) -> bool:
    """Whether torch's fused kernel would fail to read a module of an encoder layer, such as an adapter."""
    if not isinstance(module, nn.TransformerEncoderLayer):
        return False
    norms, linear = (module.norm1, module.norm2), (module.linear1, module.linear2)
    width = (module.self_attn.embed_dim,)
    tensors = [getattr(layer, name, None) for layer in (*norms, *linear) for name in ("weight", "bias")]
    if module.self_attn.in_proj_bias is None:  # then torch itself does not try
        tensors = [tensor for tensor in tensors if tensor is not None]
    return (
        not all(isinstance(tensor, Tensor) for tensor in tensors)
        or not all(hasattr(norm, "eps") for norm in norms)
        or any(getattr(norm, "weight", torch.empty(0)).shape != width for norm in norms)
    )


def _bound(forward: Any, module: nn.Module, own: nn.Module) -> Any:
    """A `forward` that replaced that of the class, bound to a copy of the module."""
    if isinstance(forward, MethodType) and forward.__self__ is module:
        return MethodType(forward.__func__, own)
    raise ValueError(
        f"{type(module).__name__}.forward was replaced by a function that may belong to this one module, which is "
        "in training mode: call model.eval() first"
    )
