"""What else a kernel does beside one page: other pages of it."""

from __future__ import annotations

import re

from lab import run_notebook, write_notebook
from playwright.sync_api import Browser, Page, expect
from screen import view

from stockformer.sample import load_sample

SETUP = """
from ipywidgets import Button, Label, VBox
from stockformer.sample import load_sample
from stockformer_widgets import AttentionHeatmap, ExtractorSession, Selection

dataset, model = load_sample()
session = ExtractorSession.from_dataset(model, dataset, 0)
heatmap = AttentionHeatmap(session, Selection(session, query=0, key=0))
"""
DRAWS = """
box, hide, draw, label = VBox([heatmap]), Button(description="hide"), Button(description="draw"), Label()
plain, draws = heatmap._draw, []
heatmap._draw = lambda: (draws.append(session.sample), plain())

def next_sample(_):
    session.sample += 1
    label.value = f"sample {session.sample} {'drawn' if session.sample in draws else 'not drawn'}"

hide.on_click(lambda _: setattr(box, "children", ()))
draw.on_click(next_sample)
VBox([hide, draw, label])
"""


def focus(page: Page) -> None:
    view(page, "AttentionHeatmap").locator("image").wait_for()
    view(page, "AttentionHeatmap").focus()


def press(page: Page, key: str) -> None:
    view(page, "AttentionHeatmap").press(key)


def expect_cell(page: Page, query: int, key: int) -> None:
    dates = [str(date.date()) for date in load_sample()[0].window(0).dates]
    expect(view(page, "AttentionHeatmap")).to_contain_text(f"query {dates[query]}, key {dates[key]}")


def is_drawn(page: Page, number: int) -> bool:
    """Whether the heatmap draws another sample."""
    page.get_by_role("button", name="draw", exact=True).click()
    label = page.get_by_text(re.compile(rf"^sample {number} "))
    label.wait_for()
    return label.inner_text().endswith(" drawn") and "not" not in label.inner_text()


def test_two_pages_and_reloads_lose_no_key_and_draw_what_a_page_shows(
    browser: Browser, page: Page, lab: str, lab_root
) -> None:
    write_notebook(lab_root / "pages.ipynb", [SETUP, DRAWS, "box"])
    run_notebook(page, lab, "pages.ipynb")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    page.keyboard.press("Control+s")
    page.wait_for_function("!document.querySelector('.jp-mod-current.jp-mod-dirty, .lm-mod-current.jp-mod-dirty')")
    for _ in range(2):
        page.reload()
        focus(page)
    other = browser.new_page()
    other.goto(f"{lab}/lab/tree/pages.ipynb?reset")
    focus(other)
    expect_cell(other, 0, 0)
    for _ in range(20):
        for one in (page, other):
            press(one, "ArrowRight")
    for _ in range(10):
        press(page, "ArrowDown")
        press(other, "ArrowRight")
    press(other, "ArrowUp")
    for one in (page, other):
        expect_cell(one, 9, 50)
    other.reload()
    focus(other)
    press(other, "ArrowRight")
    for one in (page, other):
        expect_cell(one, 9, 51)

    number = iter(range(1, 100))
    assert is_drawn(page, next(number))
    page.locator(".jp-CodeCell").nth(2).locator(".jp-InputArea").click()
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_role("menuitem", name="Clear Cell Output", exact=True).click()
    expect(view(page, "AttentionHeatmap")).to_have_count(0)
    for _ in range(3):  # the other page shows it
        assert is_drawn(page, next(number))
    other.close()
    assert any(not is_drawn(page, turn) for turn in number)
