"""One browser and one JupyterLab for all browser tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import chromium as chromium_finder
import pytest
from lab import chromium, jupyterlab
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

PROJECT = Path(__file__).parents[2]

#: A condition is waited for; on a machine with two busy cores a redraw may take longer than the usual five seconds.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium_finder.find()
    assert path, "no Chromium: run python tests/browser/chromium.py"
    with chromium(path) as started:
        yield started


@pytest.fixture(scope="session")
def lab_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that JupyterLab serves, with the project's notebooks in it."""
    root = tmp_path_factory.mktemp("lab")
    for notebook in (PROJECT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root)
    return root


@pytest.fixture(scope="session")
def lab(lab_root: Path) -> Iterator[str]:
    with jupyterlab(lab_root) as address:
        yield address


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A page whose console errors fail the module that used it."""
    errors: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    opened = browser.new_page(viewport={"width": 1680, "height": 1400})
    opened.on("console", note)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    opened.close()
    assert not errors, "\n".join(errors)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Keep a picture of the page beside a failure."""
    outcome = yield
    page = item.funcargs.get("page") if hasattr(item, "funcargs") else None
    if outcome.get_result().failed and isinstance(page, Page) and not page.is_closed():
        folder = Path(item.config.rootpath) / "test-failures"
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{item.name}.png")
