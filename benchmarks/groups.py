"""What it costs to compare groups of windows."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch
from tables import table

from stockformer.explainability import compare_groups
from stockformer.sample import load_sample

SIZES = (500, 2000, 6852)


def report() -> str:
    """Measure every number of windows in a process of its own; Markdown."""
    rows = []
    for size in SIZES:
        print(f"groups: {size} windows", flush=True)
        done = subprocess.run([sys.executable, __file__, str(size)], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        rows.append([f"{size:,}", f"{found['seconds']:.0f}", f"{found['before']:.0f}", f"{found['peak']:.0f}"])
    head = ["windows", "seconds", "memory before, MB", "peak, MB"]
    return "\n\n".join([_EXPLANATION, table(head, rows)])


def measure(size: int) -> dict[str, float]:
    """Seconds and resident memory in MB of one comparison, the even windows against the odd."""
    torch.set_num_threads(1)
    dataset, model = load_sample()
    compare_groups(model, dataset, range(0, 64, 2), range(1, 64, 2), resamples=10)  # warms up
    before, begin = psutil.Process().memory_info().rss, time.perf_counter()
    with _resident_memory() as found:
        compare_groups(model, dataset, range(0, size, 2), range(1, size, 2))
    return {"seconds": time.perf_counter() - begin, "before": before / 1e6, "peak": max(found) / 1e6}


@contextmanager
def _resident_memory() -> Iterator[list[int]]:
    """Resident memory in bytes, looked at 50 times a second until the context closes."""
    found: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            found.append(psutil.Process().memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


_EXPLANATION = """\
`compare_groups(model, dataset, group_a, group_b)` on the shipped sample, 60 days, 4 layers of 8 heads, with all
shifts, on one thread; a forward pass with capture and one with gradient per window. Each row has its own process."""


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
