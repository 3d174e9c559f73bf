"""Other hosts than JupyterLab: Notebook 7, Voila, and marimo, which runs anywidgets only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import CELL_MS, marimo, write_notebook
from playwright.sync_api import Browser, Page, expect
from screen import click_cell, view

from stockformer.explainability import capture_attention
from stockformer.sample import load_sample

DATASET, MODEL = load_sample()
CRASH = DATASET.index_of("2008-10-15", "AAPL")
WINDOW = DATASET.window(CRASH)
WEIGHTS = capture_attention(MODEL, WINDOW.x[None], WINDOW.market_x[None]).map("cross", 0)
DAYS = [str(day.date()) for day in WINDOW.dates]
EXPLORER = """
from stockformer.sample import load_sample
from stockformer_widgets import AttentionExplorer, ExtractorSession
dataset, model = load_sample()
session = ExtractorSession.from_dataset(model, dataset, dataset.index_of("2008-10-15", "AAPL"))
AttentionExplorer(session)
"""
APP = """
import marimo

app = marimo.App(width="full")


@app.cell
def _():
    import marimo as mo
    from stockformer.sample import load_sample
    from stockformer_widgets import ExplorerPage, ExtractorSession, HeadGrid
    dataset, model = load_sample()
    session = ExtractorSession.from_dataset(model, dataset, dataset.index_of("2008-10-15", "AAPL"))
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


def expect_a_linked_explorer(page: Page) -> None:
    """A click in the map selects, and the row and the head grid follow."""
    view(page, "AttentionHeatmap").locator("image").wait_for(timeout=CELL_MS)
    click_cell(page, 20, 50)
    page.mouse.move(5, 5)
    said = f"query {DAYS[20]}, key {DAYS[50]}, weight {WEIGHTS[20, 50]:.3g}"
    expect(view(page, "AttentionHeatmap")).to_contain_text(said)
    expect(view(page, "AttentionRow").locator(".stockformer-title")).to_have_text(f"What {DAYS[20]} attends to")
    page.locator(".lm-TabBar-tab", has_text="Head grid").click()
    expect(view(page, "HeadGrid")).to_contain_text(said)
    expect(view(page, "HeadGrid").locator("canvas").first).to_be_visible()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page whose host may have errors of its own, such as fonts that Voila asks the network for."""
    opened = browser.new_page(viewport={"width": 1680, "height": 1400})
    yield opened
    opened.close()


def test_notebook_7(page: Page, lab: str, lab_root: Path) -> None:
    write_notebook(lab_root / "seven.ipynb", [EXPLORER])
    page.goto(f"{lab}/notebooks/seven.ipynb")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=CELL_MS)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect_a_linked_explorer(page)


def test_voila(page: Page, lab: str, lab_root: Path) -> None:
    write_notebook(lab_root / "voila.ipynb", [EXPLORER])
    page.goto(f"{lab}/voila/render/voila.ipynb")
    expect_a_linked_explorer(page)


def test_marimo(page: Page, tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP)
    with marimo(app) as address:
        page.goto(address)
        shown = page.locator("[data-view='map']")
        expect(shown).to_contain_text(f"query {DAYS[59]}, key {DAYS[59]}", timeout=CELL_MS)
        page.get_by_label("layer", exact=True).select_option(label="2")
        expect(shown).to_contain_text("layer 2, mean of 8 heads")
        grids = page.locator(".stockformer-grid-maps canvas")
        expect(grids).to_have_count(4)  # two in the page's own grid, two alone
