"""Random draws that leave the random states of torch and numpy as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from stockformer.restoring import undone

_LOCK = threading.RLock()  # the states are global


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Put the random states of torch and numpy back at the end."""
    numpy_state, state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    initialized = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    on_devices = torch.cuda.get_rng_state_all() if initialized else []

    def restore() -> None:
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(state)
        if on_devices:
            torch.cuda.set_rng_state_all(on_devices)

    with undone(restore):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random draws inside are always the same, and those outside are not touched; one thread at a time."""
    with _LOCK, kept_random_state():
        # `torch.manual_seed` would also seed devices that start later, outside.
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(seed)
        np.random.seed(seed)  # noqa: NPY002
        yield
