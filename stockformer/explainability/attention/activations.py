"""Activations of one pass that another pass can be run with: streams of days, heads, gates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from torch import Tensor, nn

from stockformer.explainability.attention.capture import KINDS, Capture
from stockformer.explainability.attention.recording import called_weights
from stockformer.explainability.attention.weights import attention_call, head_outputs
from stockformer.forward import forward_hooks, in_eval_mode, original, refuse_compiled, unfused, without_gradients

#: Module path -> its activation: `head_outputs` of an attention, the output of any other module.
Activations = Mapping[str, Tensor]
#: The stream that a kind of attention of the stock transformers writes to. The stock stream has two per layer, of which
#: the last one counts: the cross-attention, where there is one.
_STREAMS = {"cross": "stock", "self": "stock", "market": "market"}


def stream_paths(capture: Capture) -> dict[str, list[str]]:
    """The streams of a model: name -> by layer, the path of the module whose output the stream is after that layer.

    That is the module that holds the attention. A stock transformer has the streams ``stock`` and ``market``; those
    of another model are named by the path of their layers, with ``*`` for the number. A module that runs more than
    once per pass, or is the whole model, is no layer of a stream.
    """
    streams: dict[str, list[str]] = {}
    for kind, paths in capture.paths.items():
        name = _STREAMS[kind] if kind in KINDS.values() else kind.rpartition(".")[0]
        layers = [path.rpartition(".")[0] for path in paths]
        if name and not any("#" in path for path in paths):
            streams.setdefault(name, layers)
    return streams


def stream_days(capture: Capture, path: str) -> int:
    """How many days a stream has after the layer at a path."""
    return next(
        weights.size(-2) for attention, weights in capture.attention.items() if attention.rpartition(".")[0] == path
    )


def check_donor(inputs: Sequence[Tensor], donor_inputs: Sequence[Tensor]) -> None:
    """Raise a ValueError unless activations of one sample can be put in place of those of another."""
    shapes, donor_shapes = ([list(part.shape[1:]) for part in each] for each in (inputs, donor_inputs))
    if shapes != donor_shapes:
        words = (" and ".join(map(str, each)) for each in (donor_shapes, shapes))
        raise ValueError("the donor's inputs are {}, days and features, expected {} as of the sample".format(*words))


def record_activations(model: nn.Module, inputs: Sequence[Tensor], paths: Iterable[str]) -> Activations:
    """Run a model as it is, in eval mode without gradients, and keep the activations of some of its modules.

    Args:
        inputs: of one sample, or of several.
        paths: of attentions, which are then recomputed from their weights, or of other modules.

    Raises:
        ValueError: a module returns no tensor [B, T, d], a part of the model is compiled, or the output of an
            attention cannot be recomputed, see `Capture.caveats`.
    """
    model = in_eval_mode(model)
    modules = {original(model.get_submodule(path)): path for path in paths}
    activations: dict[str, Tensor] = {}

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        path = modules.get(original(module))
        if path is not None:
            activations[path] = _activation(module, path, args, kwargs, output)

    with ExitStack() as stack:
        stack.enter_context(without_gradients())
        if modules:
            refuse_compiled(model)
            stack.enter_context(forward_hooks(after=after))
        stack.enter_context(calling(model, modules.values()))
        model(*inputs)
    return activations


def calling(model: nn.Module, paths: Iterable[str]) -> AbstractContextManager[None]:
    """A context in which torch calls the modules at these paths, which its fused kernels would bypass.

    Where there is no such kernel, passes inside are bit for bit those outside.
    """
    parents = [model.get_submodule(path.rpartition(".")[0]) for path in paths if path]
    return unfused() if any(isinstance(parent, nn.TransformerEncoderLayer) for parent in parents) else nullcontext()


def _activation(module: nn.Module, path: str, args: Any, kwargs: dict[str, Any], output: Any) -> Tensor:
    if isinstance(module, nn.MultiheadAttention):
        call = attention_call(module, args, kwargs)
        return head_outputs(module, called_weights(module, call, output), call["value"]).detach()
    if not isinstance(output, Tensor) or output.dim() != 3 or output.is_nested:
        form = list(output.shape) if isinstance(output, Tensor) and not output.is_nested else type(output).__name__
        raise ValueError(f"{path} returns {form}, expected a tensor [B, T, d] that can be patched")
    return output.detach()
