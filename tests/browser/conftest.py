"""One browser and one JupyterLab for all browser tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import chromium as chromium_finder
import pytest
from lab import chromium, jupyterlab
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect

PROJECT = Path(__file__).parents[2]

#: A condition is waited for; on a machine with two busy cores a redraw may take longer than the usual five seconds.
expect.set_options(timeout=60_000)

#: Console errors of others that fail no test. anywidget's comes two seconds after it began with a widget that was
#: closed meanwhile, or where the machine is slow; a widget that does not appear fails the test that looks for it.
#: JupyterLab's comes when a notebook is closed before its debugger has an answer.
HARMLESS = ("[anywidget] Failed to initialize model.", "Canceled future for debug_request message")


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


@pytest.fixture(scope="session")
def tab(browser: Browser) -> Iterator[Page]:
    """The page of all modules: JupyterLab takes longer to load than most tests to run."""
    with browser.new_context() as context:
        yield context.new_page()


@pytest.fixture(scope="module")
def page(tab: Page, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page whose console errors fail the module that used it."""
    errors: list[str] = []
    failed = request.session.testsfailed

    def note(message: str) -> None:
        if not any(words in message for words in HARMLESS):
            errors.append(message)

    def note_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            note(message.text)

    def note_error(error: Error) -> None:
        note(str(error))

    tab.set_viewport_size({"width": 1680, "height": 1400})
    tab.on("console", note_console)
    tab.on("pageerror", note_error)
    yield tab
    tab.remove_listener("console", note_console)
    tab.remove_listener("pageerror", note_error)
    if errors or request.session.testsfailed > failed:
        tab.goto("about:blank")  # whatever they left in JupyterLab
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
