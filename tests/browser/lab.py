"""Drive a real JupyterLab: start it, open a notebook, run it, look at it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from matplotlib import get_data_path
from playwright.sync_api import Browser, Page, sync_playwright

BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 120
CELL_MS = 240_000  # of all cells; two workers share two cores
POLLING_MS = 100  # a look in every frame would take time from the kernel


@contextmanager
def jupyterlab(root: Path, *, theme: str = "JupyterLab Light") -> Iterator[str]:
    """A running JupyterLab that serves `root`, with ``window.jupyterapp`` in its pages; yields its address."""
    with TemporaryDirectory() as settings:
        _write_settings(Path(settings), theme)
        command = ["jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port={port}", "--allow-root"]
        command += ["--expose-app-in-browser"]
        command += ["--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={root}"]
        command += [f"--LabApp.user_settings_dir={settings}/user", f"--LabApp.workspaces_dir={settings}/workspaces"]
        with _serving(command, root / "jupyterlab.log", "/api/status") as address:
            yield address


@contextmanager
def marimo(app: Path) -> Iterator[str]:
    """A running marimo that serves an app; yields its address."""
    command = ["marimo", "run", str(app), "--headless", "--host=127.0.0.1", "--port={port}", "--no-token"]
    with _serving(command, app.with_suffix(".log"), "/health") as address:
        yield address


@contextmanager
def _serving(command: list[str], log: Path, health: str) -> Iterator[str]:
    """A running module of Python that serves on a free port; yields its address once it is up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", *(part.replace("{port}", str(port)) for part in command)],
            stdout=file,
            stderr=file,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_up(address + health, server)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=START_SECONDS)


#: The fonts that matplotlib ships, and none of the system's, so that text is everywhere as wide.
_FONTS = f"""<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>{get_data_path()}/fonts/ttf</dir>
  <selectfont>
    <acceptfont><glob>*/DejaVuSans*</glob></acceptfont>
    <rejectfont><glob>*</glob></rejectfont>
  </selectfont>
  <alias><family>monospace</family><prefer><family>DejaVu Sans Mono</family></prefer></alias>
  <cachedir>{{cache}}</cachedir>
</fontconfig>
"""


@contextmanager
def chromium(path: str) -> Iterator[Browser]:
    """A headless Chromium, with the same fonts on every machine."""
    with TemporaryDirectory() as cache, sync_playwright() as playwright:
        fonts = Path(cache) / "fonts.conf"
        fonts.write_text(_FONTS.format(cache=cache))
        environment = os.environ | {"FONTCONFIG_FILE": str(fonts)}
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=BROWSER_FLAGS, env=environment)
        try:
            yield browser
        finally:
            browser.close()


def write_notebook(path: Path, cells: list[str]) -> None:
    """A notebook of code cells that opens without a dialog."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)


#: Closes every document, ends its kernel, and opens another document.
_OPEN = """async path => {
    const { commands, restored, serviceManager, shell } = window.jupyterapp;
    await restored;
    for (const document of [...shell.widgets('main')].filter(({ context }) => context)) {
        shell.activateById(document.id);
        await commands.execute('notebook:clear-all-cell-outputs');  // while the kernel hears that views are gone
        document.context.model.dirty = false;  // else a dialog asks whether to save it
        document.close();
    }
    await serviceManager.sessions.shutdownAll();
    await commands.execute('docmanager:open', { path });
}"""
_IS_READY = """path => {
    const { context, sessionContext } = window.jupyterapp.shell.currentWidget;
    return context?.path === path && context.isReady && sessionContext.session?.kernel?.status === 'idle';
}"""


def open_notebook(page: Page, address: str, name: str) -> None:
    """Show a notebook in place of all others, and wait for its kernel. JupyterLab is loaded if it is not there."""
    if not page.url.startswith(f"{address}/lab"):
        page.goto(f"{address}/lab?reset")
        page.wait_for_function("window.jupyterapp", timeout=CELL_MS, polling=POLLING_MS)
    page.evaluate(_OPEN, name)
    page.wait_for_function(_IS_READY, arg=name, timeout=CELL_MS, polling=POLLING_MS)


def run_notebook(page: Page, address: str, name: str) -> None:
    """Open a notebook, run all cells, and wait until none is busy.

    Raises:
        AssertionError: a cell ended with an error.
    """
    open_notebook(page, address, name)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(
        """() => {
            const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(p => p.textContent);
            return prompts.length && prompts.every(p => /\\[\\d+\\]/.test(p));
        }""",
        timeout=CELL_MS,
        polling=POLLING_MS,
    )
    errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
    assert not errors, "\n".join(errors)


def choose_theme(page: Page, name: str) -> None:
    """Show JupyterLab in another theme, and wait for its style sheet."""
    page.evaluate("theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
    page.locator(f"body[data-jp-theme-name='{name}']").wait_for(state="attached")


def _write_settings(folder: Path, theme: str) -> None:
    settings = {
        "@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": theme},
        "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false"},
        "@jupyterlab/notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
        # Saving on its own fails where a test closes a document meanwhile.
        "@jupyterlab/docmanager-extension/plugin.jupyterlab-settings": {"autosave": False},
    }
    for name, values in settings.items():
        path = folder / "user" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def _wait_until_up(address: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(START_SECONDS * 4):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            with suppress(subprocess.TimeoutExpired):
                server.wait(timeout=0.25)
                raise RuntimeError("JupyterLab ended before it was up; see jupyterlab.log") from None
    raise TimeoutError(f"JupyterLab did not answer within {START_SECONDS} s")
