"""Find a Chromium for the browser tests, installing one where there is none.

Run by ``make test``: ``python tests/browser/chromium.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Path of a Chromium: the system's, else Playwright's own, else None."""
    system = next((path for name in _NAMES if (path := shutil.which(name))), None)
    return system or _playwrights_own()


def install() -> str:
    """`find`, and where that finds none, Debian's package or Playwright's download."""
    found = find()
    if found is None and shutil.which("apt-get"):
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run([*root, *command], check=False)
        found = find()
    if found is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
        found = find()
    if found is None:
        sys.exit("the browser tests need Chromium: none found, and neither apt-get nor Playwright could install one")
    return found


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


if __name__ == "__main__":
    print(install())
