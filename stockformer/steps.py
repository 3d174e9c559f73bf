"""Long computations as generators that yield the share done, so that they can show progress and be stopped."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TypeVar

from tqdm.auto import tqdm

Result = TypeVar("Result")
#: Yields the share done, returns the result.
Steps = Generator[float, None, Result]


def run_to_end(steps: Steps[Result], what: str, *, progress: bool = True) -> Result:
    """Take all steps, with a progress bar if `progress`, and return their result."""
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
    with tqdm(total=100, desc=what, bar_format=form, disable=not progress) as bar:
        while True:
            try:
                bar.update(round(100 * next(steps)) - bar.n)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]


def part_of(steps: Steps[Result], place: int, parts: int) -> Steps[Result]:
    """Steps of part number `place` of a computation in `parts` about equally long parts, as shares of the whole."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        yield (place + share) / parts


def each_inside(context: Callable[[], AbstractContextManager[None]], steps: Steps[Result]) -> Steps[Result]:
    """Take every step inside a context, which is left between the steps."""
    while True:
        try:
            with context():
                share = next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        yield share
