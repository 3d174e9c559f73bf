"""The explore notebook in a real JupyterLab; every test starts from the crash."""

from __future__ import annotations

import pytest
from explorer_page import CRASH, attributed, choose, choose_kind, choose_sample, expect_bars_of, open_tab
from lab import run_notebook
from playwright.sync_api import Page, expect
from screen import plot_area, view


@pytest.fixture(scope="module", autouse=True)
def explorer(page: Page, lab: str) -> Page:
    run_notebook(page, lab, "explore.ipynb")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    return page


@pytest.fixture(autouse=True)
def start(page: Page, explorer: Page) -> None:
    """Every test starts from the crash, stock to market, layer 1, mean of the heads."""
    open_tab(page, "Overview")
    choose_kind(page, "Stock to market")
    choose(page, "head", "mean")
    choose(page, "layer", "1")
    choose_sample(page, CRASH)
    expect(page.locator(".stockformer-headline")).to_contain_text("AAPL, 2008-10-15")
    expect_bars_of(page, attributed(CRASH))
    page.mouse.move(5, 5)
    expect(page.locator(".stockformer-panel")).to_be_hidden()
    plot_area(page, "AttentionHeatmap")
