"""Other hosts than JupyterLab: Notebook 7, Voila, and marimo, which runs anywidgets only.

All names are hostile here, so that every host shows them as plain text.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hostile
import pytest
from lab import CELL_MS, marimo, write_notebook
from playwright.sync_api import Browser, Page, expect
from screen import click_cell, percent, view

SESSION = hostile.hostile_session()
WEIGHTS = SESSION.reading.capture.map("cross", 0)
DAYS = SESSION.reading.days(hostile.DAYS)
EXPLORER = """
from hostile import hostile_session
from stockformer_widgets import AttentionExplorer
AttentionExplorer(hostile_session())
"""
APP = """
import marimo

app = marimo.App(width="full")


@app.cell
def _():
    import marimo as mo
    from hostile import hostile_session
    from stockformer_widgets import ExplorerPage, HeadGrid
    session = hostile_session()
    heads = HeadGrid(session)
    return ExplorerPage, heads, mo, session


@app.cell
def _(ExplorerPage, mo, session):
    mo.ui.anywidget(ExplorerPage(session))
    return


@app.cell
def _(heads, mo):
    mo.ui.anywidget(heads.grid)
    return


if __name__ == "__main__":
    app.run()
"""


def expect_plain_text(page: Page) -> None:
    """The hostile names are read, not run."""
    expect(page.locator(".stockformer-headline, .stockformer-page h1").first).to_contain_text(hostile.EVIL)
    assert page.locator("img[src=x]").count() == 0
    assert page.title() != "hacked"


def expect_a_linked_explorer(page: Page) -> None:
    """A click in the map selects, and the row and the head grid follow."""
    view(page, "AttentionHeatmap").locator("image").wait_for(timeout=CELL_MS)
    click_cell(page, 4, 9, hostile.DAYS)
    page.mouse.move(5, 5)
    said = f"query {DAYS[4]}, key {DAYS[9]}, weight {percent(float(WEIGHTS[4, 9]))}"
    expect(view(page, "AttentionHeatmap")).to_contain_text(said)
    expect(view(page, "AttentionRow").locator(".stockformer-title")).to_have_text(f"Attention of {DAYS[4]}")
    page.locator(".lm-TabBar-tab", has_text="Head grid").click()
    expect(view(page, "HeadGrid")).to_contain_text(said)
    expect(view(page, "HeadGrid").locator("canvas").first).to_be_visible()
    expect_plain_text(page)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose host may have errors of its own, such as fonts that Voila asks the network for."""
    opened = browser.new_page(viewport={"width": 1680, "height": 1400})
    yield opened
    opened.close()


def test_notebook_7(page: Page, lab: str, lab_root: Path) -> None:
    shutil.copy(hostile.__file__, lab_root)
    write_notebook(lab_root / "seven.ipynb", [EXPLORER])
    select = page.get_by_role("button", name="Select", exact=True)
    # Where the machine is slow Notebook 7 asks for a kernel although it has one.
    page.add_locator_handler(select, lambda button: button.click())
    page.goto(f"{lab}/notebooks/seven.ipynb")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=CELL_MS)
    page.wait_for_function(
        """async () => {
            const sessions = await (await fetch('/api/sessions')).json();
            return sessions.some(({ path, kernel }) =>
                path === 'seven.ipynb' && kernel.connections && kernel.execution_state === 'idle');
        }""",
        timeout=CELL_MS,
    )
    page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for(timeout=CELL_MS)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt")
    for _ in range(10):  # Notebook 7 loses a command that comes too early, and nothing says when it no longer does
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        with suppress(AssertionError):
            expect(prompt).not_to_have_text("[ ]:", timeout=3_000)
            break
    expect_a_linked_explorer(page)
    page.remove_locator_handler(select)


def test_voila(page: Page, lab: str, lab_root: Path) -> None:
    shutil.copy(hostile.__file__, lab_root)
    write_notebook(lab_root / "voila.ipynb", [EXPLORER])
    page.goto(f"{lab}/voila/render/voila.ipynb", timeout=CELL_MS)
    expect_a_linked_explorer(page)


def test_marimo(page: Page, tmp_path: Path) -> None:
    shutil.copy(hostile.__file__, tmp_path)
    app = tmp_path / "app.py"
    app.write_text(APP)
    with marimo(app) as address:
        page.goto(address)
        shown = page.locator("[data-view='AttentionHeatmap']")
        strongest = DAYS[int(WEIGHTS[-1].argmax())]
        expect(shown).to_contain_text(f"query {DAYS[-1]}, key {strongest}", timeout=CELL_MS)
        page.get_by_label("layer", exact=True).select_option(label="1")
        expect(shown).to_contain_text("layer 1, mean of 4 heads")
        grids = page.locator(".stockformer-grid-maps canvas")
        expect(grids).to_have_count(4)  # two in the page's own grid, two alone
        expect_plain_text(page)
