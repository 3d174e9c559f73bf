"""Explorers that live long, close, show other models, or are shown twice."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

import pytest
import torch
from lab import choose_theme, run_notebook, write_notebook
from playwright.sync_api import Page, expect
from screen import click_cell, view
from shipped import shipped_sample

from stockformer.model import create_model
from stockformer_widgets import ExtractorSession

SETUP = """
import gc, json
import torch
from ipywidgets.widgets import widget
from stockformer.model import create_model
from stockformer.sample import load_sample
from stockformer_widgets import AttentionExplorer, ExtractorSession

def count():
    gc.collect()
    comms = get_ipython().kernel.comm_manager.comms
    return [len(widget._instances), len(comms), len(torch.nn.modules.module._global_forward_hooks)]

dataset, model = load_sample("volatility")
"""
EXPLORER = """
before = count()
session = ExtractorSession.from_dataset(model, dataset, dataset.index_of("2008-10-15", "AAPL"))
explorer = AttentionExplorer(session)
explorer
"""


def run(page: Page, lab: str, lab_root, name: str, *cells: str) -> None:
    write_notebook(lab_root / name, [SETUP, *cells])
    run_notebook(page, lab, name)


def printed(page: Page, cell: int) -> list:
    output = page.locator(".jp-CodeCell").nth(cell).locator(".jp-OutputArea-output").first
    expect(output).to_contain_text("]]")
    return json.loads(output.inner_text())


MANY = """
session.explanations.method = "gradient"  # one pass a sample
alive = count()
for index in range(10):
    session.sample = index
    explorer.selection.layer = index % 2
print(json.dumps([alive, count()]))
"""
CLOSING = """
explorer.close()
session.close()
print(json.dumps([before, count()]))
"""
SHOWN = """
lasting = globals().get("lasting") or ExtractorSession.from_dataset(model, dataset, 0)
explorers = globals().get("explorers", []) + [AttentionExplorer(lasting)]
explorers[-1]
"""
TITLES = "lasting.sample += 1; print(json.dumps([[e.views[0].color_bar.value for e in explorers]]))"


@pytest.fixture(scope="module")
def samples(page: Page, lab: str, lab_root) -> None:
    """A notebook with an explorer that has closed, and one that stays."""
    run(page, lab, lab_root, "samples.ipynb", EXPLORER, MANY, CLOSING, SHOWN, TITLES)


@pytest.mark.usefixtures("samples")
def test_many_samples_leave_everything_as_it_was(page: Page) -> None:
    alive, after = printed(page, 2)
    assert alive == after
    assert alive[0] > 100
    before, closed = printed(page, 3)
    assert before == closed


@pytest.mark.usefixtures("samples")
def test_an_explorer_that_left_the_page_draws_no_more(page: Page) -> None:
    page.locator(".jp-Notebook .jp-InputPrompt").nth(4).click()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".jp-CodeCell .jp-InputPrompt").nth(4)).to_have_text("[7]:")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    page.locator(".jp-Notebook .jp-InputPrompt").nth(5).click()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".jp-CodeCell .jp-InputPrompt").nth(5)).to_have_text("[8]:")
    ((old, new),) = printed(page, 5)
    assert old != new


@pytest.mark.usefixtures("samples")
def test_a_second_view_of_the_output_is_linked(page: Page) -> None:
    view(page, "AttentionHeatmap").locator("image").wait_for()
    page.locator(".stockformer-explorer .widget-html").first.click(button="right")
    page.get_by_role("menuitem", name="Create New View for Cell Output").click()
    expect(page.locator(".stockformer-AttentionHeatmap")).to_have_count(2)
    dataset, _ = shipped_sample("volatility")
    click_cell(page, 12, 3, dataset.lookback)
    last_day = re.search(r"AAPL, ([\d-]+)", page.locator(".stockformer-explorer").first.inner_text())[1]
    date = f"query {dataset.window(dataset.index_of(last_day, 'AAPL')).dates[12].date()}"
    for number in range(2):
        expect(page.locator(".stockformer-AttentionHeatmap").nth(number)).to_contain_text(date)


@pytest.mark.usefixtures("samples")
def test_the_dark_theme_reads_well(page: Page) -> None:
    choose_theme(page, "JupyterLab Dark")
    try:
        view(page, "SaliencyBars").locator("rect.bar").first.wait_for()
        contrasts = page.evaluate(
            """() => {
                const light = color => {
                    const [r, g, b] = color.match(/[\\d.]+/g).map(v => {
                        const part = v / 255;
                        return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
                    });
                    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
                };
                const ground = light(getComputedStyle(document.body).backgroundColor);
                const of = (selector, name) => {
                    const shade = light(getComputedStyle(document.querySelector(selector))[name]);
                    return (Math.max(shade, ground) + 0.05) / (Math.min(shade, ground) + 0.05);
                };
                return [
                    of('.stockformer-view .stockformer-title', 'color'),
                    of('.stockformer-view .tick text', 'fill'),
                    of('.stockformer-view .widget-html-content', 'color'),
                    of('.stockformer-reading', 'color'),
                    of('.stockformer-sentence', 'color'),
                    of('.stockformer-fold', 'color'),
                    of('.stockformer-badge', 'color'),
                    of('.stockformer-view .widget-html-content span', 'color'),
                ];
            }"""
        )
        assert min(contrasts) > 4.5
    finally:
        choose_theme(page, "JupyterLab Light")


AGAIN = """
from IPython.display import display
from ipywidgets import Button, Label, Output, VBox
from stockformer_widgets import ExplorerPage, HeadGrid

sizes = dict(d_model=8, nhead=2, num_layers=1, dim_feedforward=12, market_layers=1, market_feature_dim=3)
small = create_model(5, "binary", None, sizes, "cross_attention").eval()
session = ExtractorSession(small, torch.randn(6, 5), torch.randn(6, 3))  # a page of a large one takes seconds
HeadGrid._png = lambda grid, dpi: b""  # a picture takes as long as all else
shown, number = None, 0
output, label, buttons = Output(), Label(), [Button(description=kind.__name__) for kind in (HeadGrid, ExplorerPage)]

def again(button):
    global shown, number
    if shown is not None:
        shown.close()
    shown, number = globals()[button.description](session), number + 1
    output.clear_output(wait=True)
    with output:
        display(shown)
    label.value = f"shown {number}, {count()}"

for button in buttons:
    button.on_click(again)
VBox([*buttons, label, output])
"""


@pytest.fixture(scope="module")
def shows(page: Page, lab: str, lab_root) -> Iterator[int]:
    """A notebook that shows what its buttons name; the numbers of the shows."""
    run(page, lab, lab_root, "shows.ipynb", AGAIN)
    return itertools.count(1)


@pytest.mark.parametrize("kind", ["HeadGrid", "ExplorerPage"])
def test_many_shows_and_closes_leave_nothing(page: Page, shows: Iterator[int], kind: str) -> None:
    devtools, times = page.context.new_cdp_session(page), 4

    def show() -> str:
        page.get_by_role("button", name=kind, exact=True).click()
        label = page.get_by_text(f"shown {next(shows)}, ")
        label.wait_for()
        page.locator(".stockformer-grid-maps canvas").nth(1).wait_for()
        expect(page.locator(".stockformer-grid-maps")).to_have_count(1)
        return label.inner_text().split(", ", 1)[1]

    def held() -> tuple[int, int]:
        """Canvases that are alive, in the page or out of it, and listeners."""
        group = {"objectGroup": "held"}  # released, else the answer itself keeps the canvases
        devtools.send("HeapProfiler.collectGarbage")
        canvas = devtools.send("Runtime.evaluate", {"expression": "HTMLCanvasElement.prototype"} | group)["result"]
        found = devtools.send("Runtime.queryObjects", {"prototypeObjectId": canvas["objectId"]} | group)["objects"]
        count = {"objectId": found["objectId"], "functionDeclaration": "function () { return this.length; }"}
        canvases = devtools.send("Runtime.callFunctionOn", count)["result"]["value"]
        devtools.send("Runtime.releaseObjectGroup", group)
        return canvases, devtools.send("Memory.getDOMCounters")["jsEventListeners"]

    def settled() -> tuple[int, int]:
        """What is held once it stays the same: anywidget keeps a listener of every widget for two seconds."""
        counts = [held()]
        while len(counts) < 60 and (len(counts) < 7 or len(set(counts[-7:])) > 1):
            page.wait_for_timeout(500)
            counts.append(held())
        return counts[-1]

    for _ in range(2):
        in_kernel = show()
    canvases, listeners = settled()
    for _ in range(times):
        assert show() == in_kernel
    more_canvases, more_listeners = settled()
    assert more_canvases == canvases
    # JupyterLab's own listeners come and go; one left by every show is as many as there are shows.
    assert more_listeners - listeners < times


def test_a_page_loaded_again_draws_the_views_of_closed_tabs_at_their_size(page: Page, lab: str, lab_root) -> None:
    run(page, lab, lab_root, "again.ipynb", EXPLORER)
    view(page, "AttentionHeatmap").locator("image").wait_for()
    page.locator(".lm-TabBar-tab", has_text="Layers and heads").click()
    view(page, "LayerEvolution").locator(".curve").first.wait_for()
    page.locator(".lm-TabBar-tab", has_text="Overview").click()
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save').then(() => null)")
    page.reload()
    view(page, "AttentionHeatmap").locator("image").wait_for()
    shown = view(page, "LayerEvolution")
    expect(shown.locator(".plotarea_background").first).to_have_attribute("width", re.compile(r"^\d{3}"))
    expect(shown).to_be_hidden()
    page.locator(".lm-TabBar-tab", has_text="Layers and heads").click()
    expect(shown).to_be_visible()
    page.goto("about:blank")  # JupyterLab may still restore widgets, whose kernel the next test ends


LONG = """
torch.manual_seed(0)
sizes = {"d_model": 16, "nhead": 2, "num_layers": 2, "dim_feedforward": 16, "max_len": 252}
model = create_model(41, "binary", None, sizes).eval()
session = ExtractorSession(model, torch.randn(252, 41), torch.randn(252, 11))
"""
TRANSFORMER = """
AttentionExplorer(ExtractorSession(
    torch.nn.Transformer(8, 2, 1, 2, 16, batch_first=True), torch.randn(1, 6, 8), torch.randn(1, 4, 8)
))
"""
CORAL = """
coral = create_model(41, "buckets", [-2, 0, 2], sizes | {"loss_name": "coral"})
AttentionExplorer(ExtractorSession(coral, torch.randn(9, 41), torch.randn(12, 11)))
"""


@pytest.fixture(scope="module")
def models(page: Page, lab: str, lab_root) -> None:
    """A notebook with explorers of a year of days and of other models."""
    run(page, lab, lab_root, "models.ipynb", f"{LONG}AttentionExplorer(session)", TRANSFORMER, CORAL)


@pytest.mark.usefixtures("models")
def test_other_models_open(page: Page) -> None:
    expect(page.locator(".stockformer-explorer")).to_have_count(3)
    _, transformer, coral = page.locator(".stockformer-explorer").all()
    expect(transformer.locator(".stockformer-view:visible")).to_have_count(2)
    transformer.get_by_label("kind", exact=True).select_option(label="decoder.layers.*.multihead_attn")
    expect(transformer.locator(".stockformer-AttentionHeatmap")).to_contain_text("decoder.layers.*.multihead_attn")
    expect(coral.locator(".stockformer-Prediction")).to_contain_text("P(class > 2)")
    expect(coral.locator(".stockformer-PriceStrip")).to_have_count(0)


@pytest.mark.usefixtures("models")
def test_a_year_of_days_draws_no_element_a_day(page: Page) -> None:
    here: dict = {"torch": torch, "create_model": create_model, "ExtractorSession": ExtractorSession}
    exec(LONG, here)
    weights = here["session"].reading.capture.map("cross", 0).numpy()
    shown = view(page, "AttentionHeatmap")
    shown.locator("image").wait_for()
    assert page.locator(".stockformer-explorer").first.locator("svg *").count() < 800
    for name in ("AttentionRow", "GateTimeline", "PoolingBars"):
        assert view(page, name).locator("svg *").count() < 120
    click_cell(page, 200, 30, 252)  # a cell is hardly a pixel: its neighbour will do
    page.mouse.move(5, 5)
    expect(shown).to_contain_text(re.compile(r"query step (199|200|201), key step (29|30|31), weight"))
    query, key, weight = re.search(r"query step (\d+), key step (\d+), weight ([\d.e-]+)", shown.inner_text()).groups()
    assert float(weight) == pytest.approx(100 * weights[int(query), int(key)], rel=1e-2)
    expect(view(page, "AttentionRow")).to_contain_text(f"Attention of step {query}")
