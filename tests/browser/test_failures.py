"""What a person sees when something goes wrong, and for models that lack something."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import run_notebook, write_notebook
from playwright.sync_api import Locator, Page, expect
from screen import figure, view
from shipped import shipped_sample

DATASET, _ = shipped_sample("volatility")
_SETUP = """
import torch
from stockformer.model import create_model
from stockformer.sample import load_sample
from stockformer_widgets import AttentionExplorer, AttentionHeatmap, AttentionRow, ExtractorSession, SaliencyBars
dataset, model = load_sample("volatility")
"""
_CELLS = {
    "encoder": """
encoder = create_model(41, "regression", None, {}, model_type="encoder").eval()
AttentionExplorer(ExtractorSession(encoder, torch.zeros(20, 41)))
""",
    "hostile": """
names = [[f"</script><img src=x onerror=document.title='owned'>{n}-{i}" for i in range(n)] for n in (4, 2)]
x, y, market_x = dataset[0]
SaliencyBars(ExtractorSession(model, x, market_x, feature_names=names))
""",
    "alone": """
session = ExtractorSession.from_dataset(model, dataset, index=5)
AttentionHeatmap(session)
""",
    "alone too": "AttentionRow(session)",
    "failing": """
forward = model.forward
def sometimes(x, market_x):
    if torch.equal(x[0], dataset[7][0]):
        raise RuntimeError("no <b>luck</b> today")
    return forward(x, market_x)
model.forward = sometimes
AttentionExplorer(ExtractorSession.from_dataset(model, dataset, index=5))
""",
}


@pytest.fixture(scope="module", autouse=True)
def notebook(page: Page, lab: str, lab_root: Path) -> None:
    """All cells in one kernel."""
    write_notebook(lab_root / "failures.ipynb", [_SETUP, *_CELLS.values()])
    run_notebook(page, lab, "failures.ipynb")


@pytest.fixture
def cell(page: Page):
    def cell_of(name: str) -> Locator:
        cell = page.locator(".jp-CodeCell").nth(1 + list(_CELLS).index(name))
        cell.scroll_into_view_if_needed()
        return cell

    return cell_of


def test_a_failing_model_says_so_and_the_screen_stays(cell) -> None:
    explorer = cell("failing").locator(".stockformer-explorer")
    field = explorer.get_by_label("day", exact=True).first

    def choose_sample(index: int) -> None:
        field.fill(dataset_day(index))

    expect(explorer).to_contain_text(f"AAPL, {dataset_day(5)}")
    choose_sample(7)
    expect(explorer).to_contain_text("no <b>luck</b> today")
    expect(explorer).to_contain_text(f"AAPL, {dataset_day(5)}")
    expect(field).to_have_value(dataset_day(7))  # as it was typed
    choose_sample(8)
    expect(explorer).to_contain_text(f"AAPL, {dataset_day(8)}")
    expect(explorer).not_to_contain_text("no <b>luck</b> today")


def test_an_encoder_only_model_has_no_gates(cell) -> None:
    encoder = cell("encoder")
    expect(view(encoder, "AttentionHeatmap")).to_contain_text("Stock self-attention, layer 0")
    expect(view(encoder, "AttentionHeatmap")).to_contain_text("step 19")
    expect(encoder.locator(".stockformer-GateTimeline")).to_have_count(0)
    expect(encoder.get_by_role("option", name="Stock to market")).to_have_count(0)


def test_names_are_text(page: Page, cell) -> None:
    bars = view(cell("hostile"), "SaliencyBars")
    expect(bars).to_contain_text("<img src=x")
    assert page.title() != "owned"
    assert bars.locator("img").count() == 0


def test_views_without_a_selection_have_their_own(page: Page, cell) -> None:
    heatmap = view(cell("alone"), "AttentionHeatmap")
    heatmap.locator("image").wait_for()
    area = figure(cell("alone"), "AttentionHeatmap").area
    page.mouse.click(area["x"] + 5, area["y"] + 5)
    expect(heatmap).to_contain_text(f"query {dataset_day(5, 0)}, key {dataset_day(5, 0)}")
    expect(view(cell("alone too"), "AttentionRow")).to_contain_text(f"Attention of {dataset_day(5)}")


def dataset_day(index: int, step: int = -1) -> str:
    return str(DATASET.window(index).dates[step].date())
