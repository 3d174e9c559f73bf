"""The number of torch threads for a small model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn

from stockformer.restoring import undone

#: With fewer parameters, splitting an operation among threads costs more than it saves.
_SMALL = 4_000_000


@contextmanager
def one_thread() -> Iterator[None]:
    """Run in one thread, and restore the caller's setting afterwards.

    torch keeps the setting per thread; only a thread that starts meanwhile inherits the 1.
    """
    before = torch.get_num_threads()
    with undone(lambda: torch.set_num_threads(before)):
        torch.set_num_threads(1)
        yield


def few_threads(model: nn.Module) -> AbstractContextManager[None]:
    """Run in one thread if the model is small, and restore the caller's setting afterwards.

    The choice depends on the model alone, so that equal computations give equal bits.
    """
    small = sum(parameter.numel() for parameter in model.parameters()) < _SMALL
    return one_thread() if small else nullcontext()
