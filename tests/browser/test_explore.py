"""The explore notebook in a real JupyterLab: what the page shows is what the tensors hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lab import run_notebook
from playwright.sync_api import Page, expect
from screen import click_cell, figure, gate_values, map_shares, row_values, saliency_values, view

from stockformer.dataset import Window
from stockformer.explainability import Capture, capture_attention, compute_input_saliency
from stockformer.sample import load_sample

DATASET, MODEL = load_sample()
CRASH = DATASET.index_of("2008-10-15", "AAPL")
LAST = DATASET.lookback - 1


@pytest.fixture(scope="module", autouse=True)
def explorer(page: Page, lab: str) -> Page:
    run_notebook(page, lab, "explore.ipynb")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    return page


@pytest.fixture(autouse=True)
def start(page: Page, explorer: Page) -> None:
    """Every test starts from the crash, stock to market, layer 2, mean of the heads."""
    page.get_by_role("button", name="stock → market").click()
    choose(page, "head", "mean")
    choose(page, "layer", "2")
    choose_sample(page, CRASH)
    expect(page.locator(".stockformer-explorer")).to_contain_text("AAPL, 2008-10-15")


def choose_sample(page: Page, index: int) -> None:
    readout = page.locator(".stockformer-explorer .widget-readout").first
    readout.fill(str(index))
    readout.press("Enter")


def sample(index: int) -> tuple[Window, Capture]:
    window = DATASET.window(index)
    return window, capture_attention(MODEL, window.x[None], window.market_x[None])


def choose(page: Page, control: str, option: str) -> None:
    page.get_by_label(control, exact=True).first.select_option(label=option)


def check_page(page: Page, index: int, kind: str, layer: int, head: int | None, query: int, key: int) -> None:
    """Hold every view of the explorer against the tensors of a pass of our own."""
    window, shown = sample(index)
    dates = [str(date.date()) for date in window.dates]
    heads = shown.kinds[kind][layer][0]
    weights = (heads.mean(dim=0) if head is None else heads[head]).numpy()
    heatmap = view(page, "AttentionHeatmap")
    expect(heatmap).to_contain_text(f"query {dates[query]}, key {dates[key]}, weight {weights[query, key]:.3g}"[:-1])
    which = "mean of 8 heads" if head is None else f"head {head}"
    expect(heatmap).to_contain_text(f"layer {layer}, {which}")
    page.wait_for_function("document.getAnimations().length === 0")
    np.testing.assert_allclose(map_shares(page, 60, 60), weights / weights.max(), atol=0.008)

    row = row_values(page)
    np.testing.assert_allclose(row, weights[query], atol=0.01 * weights[query].max())
    strongest = int(weights[query].argmax())
    expect(view(page, "AttentionRow")).to_contain_text(f"strongest: {dates[strongest]}")
    expect(view(page, "AttentionRow")).to_contain_text(f"What {dates[query]} attends to")

    means = np.stack([gate[0].mean(dim=-1).numpy() for gate in shown.gates.values()])
    np.testing.assert_allclose(gate_values(page), means, atol=0.01)

    streams = compute_input_saliency(MODEL, window.x[None], window.market_x[None])
    names = [*DATASET.feature_cols, *DATASET.market_feature_cols]
    totals = pd.Series(np.concatenate([part.sum(dim=0).numpy() for part in streams]), index=names)
    bars = pd.Series(saliency_values(page))
    top = totals.nlargest(len(bars))
    assert list(bars.index) == list(top.index)
    np.testing.assert_allclose(bars, top, atol=0.01 * top.max())


def test_runs_and_shows_the_crash(page: Page) -> None:
    expect(page.locator(".stockformer-explorer")).to_contain_text("AAPL, 2008-10-15")
    check_page(page, CRASH, "cross", 2, None, LAST, LAST)


@pytest.mark.parametrize(("query", "key"), [(0, 0), (41, 17), (59, 3), (12, 59)])
def test_click_selects_the_cell_and_its_row(page: Page, query: int, key: int) -> None:
    click_cell(page, query, key, 60, 60)
    check_page(page, CRASH, "cross", 2, None, query, key)


def test_layer_head_and_kind(page: Page) -> None:
    click_cell(page, 30, 40, 60, 60)
    choose(page, "layer", "3")
    check_page(page, CRASH, "cross", 3, None, 30, 40)
    choose(page, "head", "6")
    check_page(page, CRASH, "cross", 3, 6, 30, 40)
    page.get_by_role("button", name="stock → stock").click()
    check_page(page, CRASH, "self", 3, 6, 30, 40)
    page.get_by_role("button", name="market → market").click()
    check_page(page, CRASH, "market", 1, 6, 30, 40)  # the market encoder has two layers


def test_day_slider(page: Page) -> None:
    click_cell(page, 30, 40, 60, 60)
    handle = page.locator(".stockformer-explorer .jupyter-widgets", has_text="day").locator(".noUi-handle").last
    handle.focus()
    for _ in range(5):
        handle.press("ArrowRight")
    check_page(page, CRASH, "cross", 2, None, 35, 40)


def test_sample_selector(page: Page) -> None:
    click_cell(page, 20, 50, 60, 60)
    other = DATASET.index_of("2006-11-21", "IBM")
    choose_sample(page, other)
    expect(page.locator(".stockformer-explorer")).to_contain_text("IBM, 2006-11-21")
    check_page(page, other, "cross", 2, None, 20, 50)
    choose_sample(page, CRASH)
    expect(page.locator(".stockformer-explorer")).to_contain_text("AAPL, 2008-10-15")
    check_page(page, CRASH, "cross", 2, None, 20, 50)


def test_views_redraw_in_place(page: Page) -> None:
    svgs = page.locator(".stockformer-explorer .bqplot svg")
    before = svgs.element_handles()
    choose(page, "layer", "1")
    check_page(page, CRASH, "cross", 1, None, 20, 50)
    assert all(node.evaluate("n => n.isConnected") for node in before)
    assert len(svgs.element_handles()) == len(before)


def test_hover_names_the_cell(page: Page) -> None:
    window, shown = sample(CRASH)
    area = figure(page, "AttentionHeatmap").area
    page.mouse.move(area["x"] + 10.5 / 60 * area["width"], area["y"] + 5.5 / 60 * area["height"])
    weight = shown.map("cross", 2)[5, 10]
    heatmap = view(page, "AttentionHeatmap")
    expect(heatmap).to_contain_text(f"query {window.dates[5].date()}, key {window.dates[10].date()}")
    expect(heatmap).to_contain_text(f"weight {weight:.3g}"[:-1])
    page.mouse.move(5, 5)


def test_view_alone_follows_the_shared_selection(page: Page) -> None:
    click_cell(page, 25, 30, 60, 60)
    day = DATASET.window(CRASH).dates[25].date()
    expect(page.locator(".stockformer-GateTimeline").nth(1)).to_contain_text(f"mean gate on {day}")


def test_gate_click_selects_the_day(page: Page) -> None:
    click_cell(page, 25, 30, 60, 60)
    area = figure(page, "GateTimeline").area
    page.mouse.click(area["x"] + 44.5 / 60 * area["width"], area["y"] + area["height"] * 0.1)
    check_page(page, CRASH, "cross", 2, None, 44, 30)


def test_row_click_selects_the_key(page: Page) -> None:
    click_cell(page, 25, 30, 60, 60)
    area = figure(page, "AttentionRow").area
    page.mouse.click(area["x"] + 7.5 / 60 * area["width"], area["y"] + area["height"] * 0.5)
    check_page(page, CRASH, "cross", 2, None, 25, 7)
