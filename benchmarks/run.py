"""Measure everything and write ``benchmarks/README.md``: ``python benchmarks/run.py``.

``python benchmarks/run.py --only capture`` measures one part and prints it.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from datetime import date
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import psutil

HERE = Path(__file__).parent
PARTS = {
    "capture": "Capture",
    "groups": "Groups of windows",
    "survey": "Surveys",
    "explorer": "Explorer",
    "heads": "Head grid",
}
PACKAGES = ("torch", "ipywidgets", "bqplot", "matplotlib", "jupyterlab")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, help="measure one part and print it, without writing the README")
    only = parser.parse_args().only
    sys.path.insert(0, str(HERE.parent / "tests" / "browser"))  # lab.py and chromium.py
    if only:
        print(import_module(only).report())
        return
    head = [_HEAD, machine()]
    sections = [f"## {title}\n\n{import_module(part).report()}" for part, title in PARTS.items()]
    (HERE / "README.md").write_text("\n\n".join([*head, *sections]) + "\n")


def machine() -> str:
    """What the numbers were measured on."""
    import chromium

    browser = subprocess.run([chromium.install(), "--version"], capture_output=True, text=True, check=True).stdout
    memory = psutil.virtual_memory().total / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {date.today()}: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"{memory:.0f} GiB of memory, load {os.getloadavg()[1]:.1f} before the run; "
        f"Python {platform.python_version()}, {packages}, {' '.join(browser.split()[:2])}, headless, without a GPU."
    )


_HEAD = """\
# Benchmarks

`python benchmarks/run.py` measures everything in one run and writes this file. It needs the `test` extra and a
Chromium, as the browser tests do, and no network. None of this is tested: times depend on the machine."""


if __name__ == "__main__":
    main()
