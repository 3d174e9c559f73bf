"""Two samples in a real JupyterLab: both maps and their difference, read back."""

from __future__ import annotations

import numpy as np
import pytest
from lab import choose_theme, run_notebook, write_notebook
from pictures import changes, expect_unchanged
from playwright.sync_api import Locator, Page, expect
from screen import shares_of, view, violations
from shipped import shipped_sample

from stockformer.explainability import capture_attention

DATASET, MODEL = shipped_sample("volatility")
DAYS = DATASET.lookback
CALM, CRASH = (DATASET.index_of(day, "AAPL") for day in ("2006-11-21", "2008-10-15"))
CELL = """
from stockformer.sample import load_sample
from stockformer_widgets import ExtractorSession, SampleComparison
dataset, model = load_sample("volatility")
session = ExtractorSession.from_dataset(model, dataset)
SampleComparison(session, dataset.index_of("2006-11-21", "AAPL"), dataset.index_of("2008-10-15", "AAPL"))
"""


@pytest.fixture(scope="module", autouse=True)
def comparison(page: Page, lab: str, lab_root) -> Page:
    write_notebook(lab_root / "compare-two.ipynb", [CELL])
    run_notebook(page, lab, "compare-two.ipynb")
    page.locator(".stockformer-ComparedAttentionHeatmap image").wait_for()
    return page


def weights(layer: int) -> list[np.ndarray]:
    windows = [DATASET.window(index) for index in (CALM, CRASH)]
    shown = [capture_attention(MODEL, one.x[None], one.market_x[None]) for one in windows]
    return [one.map("cross", layer).numpy() for one in shown]


def shares(page: Page, shown: Locator, colormap: str) -> np.ndarray:
    """[days, days] places in the palette, 0..1, from the pixels of a map."""
    shown.scroll_into_view_if_needed()
    area = shown.locator(".plotarea_events").bounding_box()
    return shares_of(page, area, DAYS, DAYS, colormap)


@pytest.mark.parametrize("layer", [0, 1])
def test_both_maps_and_the_difference(page: Page, layer: int) -> None:
    page.get_by_label("layer", exact=True).select_option(label=str(layer))
    expect(view(page, "ComparedAttentionHeatmap")).to_contain_text(f"layer {layer}, mean")
    page.mouse.move(5, 5)
    page.wait_for_function("document.getAnimations().length === 0")
    calm, crash = weights(layer)
    off = np.ix_(np.arange(DAYS - 1), np.arange(DAYS - 1))  # the crosshair is on the last day
    largest = max(calm.max(), crash.max())
    for number, expected in enumerate((calm, crash)):
        seen = shares(page, page.locator(".stockformer-AttentionHeatmap").nth(number), "viridis")
        np.testing.assert_allclose(seen[off], (expected / largest)[off], atol=0.008)
    difference = calm - crash
    seen = shares(page, view(page, "ComparedAttentionHeatmap"), "RdBu_r")
    np.testing.assert_allclose(seen[off], (difference / np.abs(difference).max() / 2 + 0.5)[off], atol=0.012)


def select_cell(page: Page, query: int, key: int) -> None:
    shown = page.locator(".stockformer-AttentionHeatmap").first
    shown.scroll_into_view_if_needed()
    area = shown.locator(".plotarea_events").bounding_box()
    page.mouse.click(area["x"] + area["width"] * (key + 0.5) / DAYS, area["y"] + area["height"] * (query + 0.5) / DAYS)


def test_one_click_moves_both_sides(page: Page) -> None:
    select_cell(page, query=10, key=15)
    for number, index in enumerate((CALM, CRASH)):
        dates = [str(day.date()) for day in DATASET.window(index).dates]
        said = f"query {dates[10]}, key {dates[15]}"
        expect(page.locator(".stockformer-AttentionHeatmap").nth(number)).to_contain_text(said)
    days = [DATASET.window(index).dates[10].date() for index in (CALM, CRASH)]
    expect(view(page, "ComparedAttentionRow")).to_contain_text("Attention of A {} / B {}".format(*days))


def test_keys_undo_and_redo_what_was_chosen_for_both(page: Page) -> None:
    layer = page.get_by_label("layer", exact=True)
    titles = page.locator(".stockformer-AttentionHeatmap .stockformer-title")

    def expect_layer(number: int) -> None:
        for title in titles.all():
            expect(title).to_contain_text(f"layer {number}, mean")

    for number in (1, 0):
        layer.select_option(label=str(number))
        expect_layer(number)
    page.keyboard.press("Control+z")
    expect_layer(1)
    page.keyboard.press("Control+Shift+z")
    expect_layer(0)
    page.get_by_role("button", name="undo").click()
    expect_layer(1)


def test_a_single_bar_is_as_thick_as_one_of_many(page: Page) -> None:
    widest = "rects => Math.max(...rects.map(rect => rect.getAttribute('height')))"
    single, many = (view(page, name).locator("rect.bar") for name in ("ComparedPrediction", "ComparedSaliencyBars"))
    assert single.evaluate_all(widest) > 0.8 * many.evaluate_all(widest)


def test_nothing_overflows_a_narrow_column(page: Page) -> None:
    page.set_viewport_size({"width": 860, "height": 1400})
    try:
        page.wait_for_function(
            """() => {
                const shown = document.querySelector('.stockformer-comparison');
                return shown.clientWidth < 450 && shown.scrollWidth <= shown.clientWidth;
            }"""
        )
        names = page.locator(".stockformer-comparison .lm-TabBar-tabLabel")
        assert names.evaluate_all("all => all.every(name => name.scrollWidth <= name.clientWidth + 1)")
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})


@pytest.mark.pictures
def test_it_looks_as_in_its_pictures_and_axe_finds_nothing(page: Page) -> None:
    shown = page.locator(".stockformer-comparison")
    page.get_by_label("layer", exact=True).select_option(label="1")
    select_cell(page, query=10, key=15)
    page.set_viewport_size({"width": 1680, "height": 3000})
    changed = []
    for theme in ("dark", "light"):
        choose_theme(page, f"JupyterLab {theme.title()}")
        changed += changes(page, {f"comparison-{theme}": shown})
        assert not violations(page, ".stockformer-comparison", colors_alone=theme == "dark")
    page.set_viewport_size({"width": 1680, "height": 1400})
    expect_unchanged(changed)
