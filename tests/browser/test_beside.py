"""What else a kernel does beside one page: other pages of it, and a thread of the user's."""

from __future__ import annotations

import copy
import json
import re

import numpy as np
import torch
from lab import CELL_MS, run_notebook, write_notebook
from playwright.sync_api import Page, expect
from screen import click_cell, view
from shipped import shipped_sample

from stockformer.explainability import capture_attention

DATASET, MODEL = shipped_sample("volatility")
SETUP = """
from ipywidgets import Button, Label, VBox
from stockformer.sample import load_sample
from stockformer_widgets import AttentionHeatmap, ExtractorSession, Selection

dataset, model = load_sample("volatility")
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
    dates = [str(date.date()) for date in DATASET.window(0).dates]
    expect(view(page, "AttentionHeatmap")).to_contain_text(f"query {dates[query]}, key {dates[key]}")


def clear(page: Page) -> None:
    """Show the heatmap no more."""
    page.locator(".jp-CodeCell").nth(2).locator(".jp-InputArea").click()
    page.get_by_role("menuitem", name="Edit", exact=True).click()
    page.get_by_role("menuitem", name="Clear Cell Output", exact=True).click()
    expect(view(page, "AttentionHeatmap")).to_have_count(0)


def is_drawn(page: Page, number: int) -> bool:
    """Whether the heatmap draws another sample."""
    page.get_by_role("button", name="draw", exact=True).click()
    label = page.get_by_text(re.compile(rf"^sample {number} "))
    label.wait_for()
    return label.inner_text().endswith(" drawn") and "not" not in label.inner_text()


def test_two_pages_and_reloads_lose_no_key_and_draw_what_a_page_shows(page: Page, lab: str, lab_root) -> None:
    write_notebook(lab_root / "pages.ipynb", [SETUP, DRAWS, "box"])
    run_notebook(page, lab, "pages.ipynb")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    page.keyboard.press("Control+s")
    page.wait_for_function("!document.querySelector('.jp-mod-current.jp-mod-dirty, .lm-mod-current.jp-mod-dirty')")
    page.goto(f"{lab}/lab/tree/pages.ipynb?reset")
    focus(page)
    other = page.context.new_page()
    other.goto(f"{lab}/lab/tree/pages.ipynb?reset")
    focus(other)
    expect_cell(other, 0, 0)
    for _ in range(7):
        for one in (page, other):
            press(one, "ArrowRight")
    for _ in range(5):
        press(page, "ArrowDown")
        press(other, "ArrowRight")
    press(other, "ArrowUp")
    for one in (page, other):
        expect_cell(one, 4, 19)
    other.reload()
    focus(other)
    press(other, "ArrowRight")
    for one in (page, other):
        expect_cell(one, 4, 20)

    number = iter(range(1, 100))
    assert is_drawn(page, next(number))
    clear(page)
    for _ in range(3):  # the other page shows it
        assert is_drawn(page, next(number))
    clear(other)
    assert any(not is_drawn(page, turn) for turn in number)


INDEX = DATASET.index_of("2008-10-15", "AAPL")
EXPLORER = f"""
import json, threading
import torch
from stockformer.explainability import capture_attention
from stockformer.sample import load_sample
from stockformer_widgets import AttentionExplorer, ExtractorSession

dataset, model = load_sample("volatility")
session = ExtractorSession.from_dataset(model, dataset, {INDEX})
explorer = AttentionExplorer(session)
explorer
"""
LOOP = """
torch.set_num_threads(1)
other, stop, counts = dataset.window(7).inputs, threading.Event(), [0, 0]

def loop():
    with torch.no_grad():
        model(*other)
        expected = model(*other)
        while not stop.is_set():
            counts[0] += 1
            counts[1] += not torch.equal(model(*other), expected)

thread = threading.Thread(target=loop)
thread.start()
"""
RESULT = """
stop.set()
thread.join()
alone = capture_attention(model, *session.original.inputs)
same = all(torch.equal(weights, alone.attention[path]) for path, weights in session.original.capture.attention.items())
print(json.dumps([[counts, same, session.reading.capture.map("cross", 1).tolist(),
    [part.tolist() for part in session.explanations.attribution().parts]]]))
"""


def test_clicks_beside_a_thread_that_loops_the_model(page: Page, lab: str, lab_root) -> None:
    """The thread knows nothing of this package: no click is lost, its outputs stay, and what is shown is right."""
    write_notebook(lab_root / "thread.ipynb", [EXPLORER, LOOP])
    run_notebook(page, lab, "thread.ipynb")
    explorer = page.locator(".stockformer-explorer")
    page.get_by_title("what is explained, and how").first.click()
    page.get_by_label("by", exact=True).first.select_option(label="gradient")
    page.get_by_role("button", name="tools", exact=True).click()
    page.get_by_label("gate", exact=True).first.wait_for()
    dates = [str(date.date()) for date in DATASET.window(INDEX).dates]
    for turn in range(4):
        layer, query, key = turn % 2, 3 + 3 * turn, 20 - 3 * turn
        page.get_by_label("layer", exact=True).first.select_option(label=str(layer))
        click_cell(page, query, key, DATASET.lookback)
        expect(view(page, "AttentionHeatmap")).to_contain_text(f"query {dates[query]}, key {dates[key]}")
        expect(explorer).to_contain_text(f"Stock to market attention, layer {layer}")
    page.get_by_label("layer", exact=True).first.select_option(label="0")
    expect(explorer).to_contain_text("Stock to market attention, layer 0")
    page.get_by_label("gate", exact=True).first.select_option(label="0, closed")
    expect(explorer).to_contain_text("gate of layer 0 = 0")
    expect(view(page, "SaliencyBars")).to_contain_text("gradient")
    (passes, changed), same, weights, parts = ask(page, RESULT)
    assert passes > 10
    assert changed == 0
    assert same

    inputs, model = [part.requires_grad_() for part in DATASET.window(INDEX).inputs], copy.deepcopy(MODEL)
    for part in (model.cross_attn_layers[0].gate[0].weight, model.cross_attn_layers[0].gate[0].bias):
        torch.nn.init.constant_(part, 0.0 if part.dim() == 2 else -200.0)
    assert np.allclose(weights, capture_attention(model, *inputs).map("cross", 1), atol=1e-6)
    for part, gradient in zip(parts, torch.autograd.grad(model(*inputs).sum(), inputs), strict=True):
        assert np.allclose(part, gradient[0], atol=1e-5)


def ask(page: Page, code: str) -> list:
    """What a new last cell prints."""
    page.locator(".jp-Notebook .jp-Cell").last.locator(".jp-InputPrompt").click()
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.insert_text(code)
    page.keyboard.press("Control+Enter")
    output = page.locator(".jp-Notebook .jp-Cell").last.locator(".jp-OutputArea-output").first
    expect(output).to_contain_text("]]", timeout=CELL_MS)
    (answer,) = json.loads(output.inner_text())
    return answer
