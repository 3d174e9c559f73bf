"""The head grid in a real JupyterLab: its pixels, clicks, keys, order and colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lab import run_notebook, write_notebook
from playwright.sync_api import Locator, Page, expect
from screen import percent, pixels_of, shares, view
from shipped import shipped_sample

from stockformer.explainability import capture_attention

DATASET, MODEL = shipped_sample()
CRASH = DATASET.index_of("2008-10-15", "AAPL")
WINDOW = DATASET.window(CRASH)
SHOWN = capture_attention(MODEL, WINDOW.x[None], WINDOW.market_x[None])
CROSS = torch.stack([layer[0] for layer in SHOWN.kinds["cross"]])  # [layers, heads, query, key]
DAYS = [str(day.date()) for day in WINDOW.dates]
CELL = """
from stockformer.sample import load_sample
from stockformer_widgets import AttentionHeatmap, ExtractorSession, HeadGrid, Selection
from ipywidgets import VBox
dataset, model = load_sample()
session = ExtractorSession.from_dataset(model, dataset, dataset.index_of("2008-10-15", "AAPL"))
where = Selection(session, layer=2, head=3)
VBox([HeadGrid(session, where), AttentionHeatmap(session, where)])
"""
CAPTION, GAP, FRAME = 14, 6, 3


@pytest.fixture(scope="module", autouse=True)
def grid(page: Page, lab: str, lab_root) -> Page:
    write_notebook(lab_root / "heads.ipynb", [CELL])
    run_notebook(page, lab, "heads.ipynb")
    page.locator(".stockformer-grid-maps canvas").first.wait_for()
    return page


def maps(page: Page) -> Locator:
    return view(page, "HeadGrid").locator(".stockformer-grid-maps")


def square(page: Page, row: int, column: int) -> dict[str, float]:
    """Where a map is in the page: eight in a row."""
    maps(page).scroll_into_view_if_needed()
    area = maps(page).bounding_box()
    side = min(150, (area["width"] - 2 * FRAME + GAP) // 8 - GAP)
    x, y = area["x"] + FRAME + column * (side + GAP), area["y"] + row * (side + CAPTION + GAP) + CAPTION
    return {"x": x, "y": y, "width": side, "height": side}


def part(page: Page, picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """The pixels of one map in a picture of all."""
    whole, area = maps(page).bounding_box(), square(page, row, column)
    left, top, side = round(area["x"] - whole["x"]), round(area["y"] - whole["y"]), int(area["width"])
    return picture[top : top + side, left : left + side]


def choose(page: Page, label: str, option: str) -> None:
    view(page, "HeadGrid").get_by_label(label).select_option(label=option)


def expect_selected(page: Page, layer: int, head: int, query: int, key: int) -> None:
    where = f"query {DAYS[query]}, key {DAYS[key]}, weight {percent(float(CROSS[layer, head, query, key]))}"
    expect(view(page, "HeadGrid")).to_contain_text(f"layer {layer}, head {head}, {where}")
    expect(view(page, "AttentionHeatmap")).to_contain_text(f"layer {layer}, head {head}")


@pytest.mark.parametrize("colours", ["one for all", "each its own"])
def test_every_map_is_that_of_its_head(page: Page, colours: str) -> None:
    choose(page, "colours", colours)
    page.mouse.move(5, 5)
    picture = pixels_of(page, maps(page).bounding_box())
    for layer in range(4):
        for head in range(8):
            weights = CROSS[layer, head].numpy()
            whole = float(CROSS.max()) if colours == "one for all" else weights.max()
            drawn = shares(part(page, picture, layer, head), 60, 60, at=0.5)
            np.testing.assert_allclose(drawn, weights / whole, atol=0.02, err_msg=f"layer {layer}, head {head}")


def test_a_click_selects_and_the_map_follows(page: Page) -> None:
    area = square(page, 1, 5)
    page.mouse.click(area["x"] + 30.5 / 60 * area["width"], area["y"] + 50.5 / 60 * area["height"])
    page.mouse.move(5, 5)
    expect_selected(page, 1, 5, 50, 30)


def test_the_mouse_reads_out_the_exact_weight_and_both_dates(page: Page) -> None:
    area = square(page, 3, 2)
    page.mouse.move(area["x"] + 57.5 / 60 * area["width"], area["y"] + 10.5 / 60 * area["height"])
    where = f"layer 3, head 2, query {DAYS[10]}, key {DAYS[57]}, weight {percent(float(CROSS[3, 2, 10, 57]))}"
    expect(view(page, "HeadGrid")).to_contain_text(where)
    page.mouse.move(5, 5)
    expect(view(page, "HeadGrid")).to_contain_text("layer 1, head 5")


def test_keys_move_layer_and_head(page: Page) -> None:
    view(page, "HeadGrid").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
    expect_selected(page, 0, 6, 50, 30)
    page.keyboard.press("h")
    page.keyboard.press("h")
    expect(view(page, "HeadGrid")).to_contain_text("layer 0, mean of the heads")


def test_sorted_by_a_statistic(page: Page) -> None:
    choose(page, "sort by", "recency")
    choose(page, "colours", "each its own")
    recency = CROSS[..., 45:].sum(-1).mean(-1).flatten()
    order = recency.argsort(descending=True, stable=True)
    for place in (0, 1, 31):
        layer, head = divmod(int(order[place]), 8)
        area = square(page, *divmod(place, 8))
        page.mouse.click(area["x"] + 10.5 / 60 * area["width"], area["y"] + 20.5 / 60 * area["height"])
        page.mouse.move(5, 5)
        expect_selected(page, layer, head, 20, 10)
        weights = CROSS[layer, head].numpy()
        drawn = shares(pixels_of(page, area), 60, 60, at=0.5)
        np.testing.assert_allclose(drawn, weights / weights.max(), atol=0.02)
    expect(view(page, "HeadGrid")).to_contain_text("above each map: layer, head, recency")
    choose(page, "sort by", "layer and head")


def test_few_elements_whatever_the_number_of_maps(page: Page) -> None:
    assert view(page, "HeadGrid").locator("*").count() < 100
