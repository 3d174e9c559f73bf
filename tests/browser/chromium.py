"""Find a Chromium for the browser tests, installing one where there is none.

Run by ``make test``, with ``--package`` first, while Python packages are installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find() -> str | None:
    """Path of a Chromium: the system's, else Playwright's own, else None."""
    return _system() or _playwrights_own()


def install() -> str:
    """`find`, and where that finds none, Debian's package or Playwright's download."""
    install_package()
    found = find()
    if found is None:
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)
        found = find()
    if found is None:
        sys.exit("the browser tests need Chromium: none found, and neither apt-get nor Playwright could install one")
    return found


def install_package() -> None:
    """Install Debian's package where there is apt-get and no Chromium of the system; needs no other package."""
    if _system() is None and shutil.which("apt-get"):
        root = [] if os.geteuid() == 0 else ["sudo", "-n"]
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run([*root, *command], check=False)


def _system() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def _playwrights_own() -> str | None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if os.path.exists(path) else None


if __name__ == "__main__":
    if sys.argv[1:] == ["--package"]:
        install_package()
    else:
        print(install())
