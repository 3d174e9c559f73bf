"""A notebook that ran and was saved, shown without its kernel."""

from __future__ import annotations

import base64
import io

import nbformat
import pytest
from lab import CELL_MS, open_notebook, run_notebook, write_notebook
from nbconvert import HTMLExporter
from PIL import Image
from playwright.sync_api import Page, expect
from screen import view

CELLS = [
    """
from stockformer.sample import load_sample
from stockformer_widgets import AttentionExplorer, ExtractorSession, GateTimeline
dataset, model = load_sample("volatility")
session = ExtractorSession.from_dataset(model, dataset, 615)
explorer = AttentionExplorer(session)
explorer
""",
    "GateTimeline(session, explorer.selection)",
]


@pytest.fixture(scope="module")
def saved(page: Page, lab: str, lab_root) -> str:
    """A notebook whose cells ran, saved by JupyterLab."""
    write_notebook(lab_root / "saved.ipynb", CELLS)
    run_notebook(page, lab, "saved.ipynb")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    page.keyboard.press("Control+s")
    page.wait_for_function("!document.querySelector('.jp-mod-current.jp-mod-dirty, .lm-mod-current.jp-mod-dirty')")
    return "saved.ipynb"


def outputs(lab_root, name: str) -> list[dict]:
    notebook = nbformat.read(lab_root / name, as_version=4)
    return [output.data for cell in notebook.cells for output in cell.outputs]


def test_it_holds_a_picture_and_a_line_for_each_widget(saved: str, lab_root) -> None:
    explorer, gate = outputs(lab_root, saved)
    for data, words in ((explorer, "AttentionExplorer(sample 615, cross, layer 0)"), (gate, "GateTimeline(")):
        assert data["text/plain"].startswith(words)
        assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 400


def test_somebody_else_who_opens_it_sees_the_picture(page: Page, lab: str, lab_root, saved: str) -> None:
    notebook = nbformat.read(lab_root / saved, as_version=4)
    notebook.metadata["from"] = "elsewhere"  # so that this server has not signed it
    nbformat.write(notebook, lab_root / "received.ipynb")
    open_notebook(page, lab, "received.ipynb")
    pictures = page.locator(".jp-Notebook .jp-OutputArea-output img")
    expect(pictures).to_have_count(2, timeout=CELL_MS)
    assert pictures.first.evaluate("image => image.complete && image.naturalWidth") > 400


def test_converted_to_html_it_shows_the_picture(saved: str, lab_root) -> None:
    page, _ = HTMLExporter().from_filename(str(lab_root / saved))
    assert page.count('src="data:image/png;base64') == 2
