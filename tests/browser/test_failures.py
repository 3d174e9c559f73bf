"""What a person sees when something goes wrong, and for models that lack something."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import run_notebook, write_notebook
from playwright.sync_api import Page, expect
from screen import figure, view

_SETUP = """
import torch
from stockformer.model import create_model
from stockformer.sample import load_sample
from stockformer_widgets import AttentionExplorer, AttentionHeatmap, AttentionRow, ExtractorSession, SaliencyBars
dataset, model = load_sample()
"""


def open_cells(page: Page, lab: str, lab_root: Path, name: str, cells: list[str]) -> None:
    write_notebook(lab_root / name, [_SETUP, *cells])
    run_notebook(page, lab, name)


@pytest.fixture
def choose_sample(page: Page):
    def choose(index: int) -> None:
        readout = page.locator(".stockformer-explorer .widget-readout").first
        readout.fill(str(index))
        readout.press("Enter")

    return choose


def test_a_failing_model_says_so_and_the_screen_stays(page, lab, lab_root, choose_sample) -> None:
    failing = """
forward = model.forward
def sometimes(x, market_x):
    if torch.equal(x[0], dataset[7][0]):
        raise RuntimeError("no <b>luck</b> today")
    return forward(x, market_x)
model.forward = sometimes
session = ExtractorSession.from_dataset(model, dataset, index=5)
explorer = AttentionExplorer(session)
explorer
"""
    open_cells(page, lab, lab_root, "failing.ipynb", [failing])
    explorer = page.locator(".stockformer-explorer")
    expect(explorer).to_contain_text(f"AAPL, {dataset_day(5)}")
    choose_sample(7)
    expect(explorer).to_contain_text("no <b>luck</b> today")
    expect(explorer).to_contain_text(f"AAPL, {dataset_day(5)}")
    expect(explorer.locator(".widget-readout").first).to_have_text("5")
    choose_sample(8)
    expect(explorer).to_contain_text(f"AAPL, {dataset_day(8)}")
    expect(explorer).not_to_contain_text("no <b>luck</b> today")


def test_an_encoder_only_model_has_no_gates(page, lab, lab_root) -> None:
    encoder = """
encoder = create_model(41, "regression", None, {}, model_type="encoder").eval()
AttentionExplorer(ExtractorSession(encoder, torch.zeros(20, 41)))
"""
    open_cells(page, lab, lab_root, "encoder.ipynb", [encoder])
    expect(view(page, "AttentionHeatmap")).to_contain_text("Stock self-attention, layer 0")
    expect(view(page, "AttentionHeatmap")).to_contain_text("step 19")
    expect(page.locator(".stockformer-GateTimeline")).to_have_count(0)
    expect(page.get_by_role("button", name="Stock to market attention")).to_have_count(0)


def test_names_are_text(page, lab, lab_root) -> None:
    hostile = """
names = [[f"</script><img src=x onerror=document.title='owned'>{n}-{i}" for i in range(n)] for n in (41, 11)]
x, y, market_x = dataset[0]
session = ExtractorSession(model, x, market_x, feature_names=names)
SaliencyBars(session)
"""
    open_cells(page, lab, lab_root, "hostile.ipynb", [hostile])
    expect(view(page, "SaliencyBars")).to_contain_text("<img src=x")
    assert page.title() != "owned"
    assert view(page, "SaliencyBars").locator("img").count() == 0


def test_views_without_a_selection_have_their_own(page, lab, lab_root) -> None:
    alone = """
session = ExtractorSession.from_dataset(model, dataset, index=5)
AttentionHeatmap(session)
"""
    other = "AttentionRow(session)"
    open_cells(page, lab, lab_root, "alone.ipynb", [alone, other])
    area = figure(page, "AttentionHeatmap").area
    page.mouse.click(area["x"] + 5, area["y"] + 5)
    expect(view(page, "AttentionHeatmap")).to_contain_text(f"query {dataset_day(5, 0)}, key {dataset_day(5, 0)}")
    expect(view(page, "AttentionRow")).to_contain_text(f"What {dataset_day(5)} attends to")


def dataset_day(index: int, step: int = -1) -> str:
    from stockformer.sample import load_sample

    return str(load_sample()[0].window(index).dates[step].date())
