"""Take the README's pictures, or those that are named: ``python tests/browser/screenshots.py history``."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from chromium import install
from lab import chromium, jupyterlab, run_notebook, write_notebook

DOCS = Path(__file__).parents[2] / "docs"
CELL = """
from stockformer.sample import load_sample
from stockformer.survey import sample_survey
from stockformer_widgets import AttentionExplorer, ExtractorSession

dataset, model = load_sample("volatility")
session = ExtractorSession.from_dataset(model, dataset, dataset.index_of("2008-10-15", "AAPL"))
explorer = AttentionExplorer(session, survey=sample_survey())
explorer.selection.layer, explorer.selection.query, explorer.selection.key = 1, 15, 20
explorer
"""
CHECKED = CELL.replace("explorer =", "session.explanations.check()\nexplorer =")
COMPARISON = """
from stockformer.sample import load_sample
from stockformer_widgets import ExtractorSession, SampleComparison

dataset, model = load_sample("volatility")
session = ExtractorSession.from_dataset(model, dataset)
calm, crash = (dataset.index_of(day, "AAPL") for day in ("2006-11-21", "2008-10-15"))
comparison = SampleComparison(session, calm, crash)
comparison.selection.layer, comparison.selection.query, comparison.selection.key = 1, 15, 20
comparison
"""
_AROUND = 432  # pixels of JupyterLab beside a notebook's output
#: Every view that is displayed has its sentence: slow results come after the others.
_EXPLAINED = """() => [...document.querySelectorAll('.stockformer-view .stockformer-prose')]
    .every(prose => prose.textContent || !prose.closest('.stockformer-view').offsetParent)"""
#: Name -> notebook, width of the column in pixels, and tab.
_PICTURES = {
    "explorer": ("explorer", 1400, "Overview"),
    "narrow": ("explorer", 480, "Overview"),
    "history": ("explorer", 1160, "History"),
    "heads": ("explorer", 1400, "Layers and heads"),
    "grid": ("explorer", 1000, "Head grid"),
    "faithfulness": ("checked", 1000, "Faithfulness"),
    "compare": ("comparison", 1400, ""),
}


def main(names: list[str]) -> None:
    """Take these pictures, all by default."""
    DOCS.mkdir(exist_ok=True)
    with chromium(install()) as browser, TemporaryDirectory() as folder:
        for name, cell in (("explorer", CELL), ("checked", CHECKED), ("comparison", COMPARISON)):
            write_notebook(Path(folder) / f"{name}.ipynb", [cell])
        for theme in ("Light", "Dark"):
            with jupyterlab(Path(folder), theme=f"JupyterLab {theme}") as address:
                for name in names or _PICTURES:
                    notebook, width, tab = _PICTURES[name]
                    page = browser.new_page(viewport={"width": width + _AROUND, "height": 3300})
                    run_notebook(page, address, f"{notebook}.ipynb")
                    shown = page.locator(f".stockformer-{'comparison' if notebook == 'comparison' else 'explorer'}")
                    if tab:
                        shown.locator(".lm-TabBar-tab", has_text=tab).click()
                    shown.locator("rect.bar:visible, .stockformer-grid-maps:visible, .curve:visible").first.wait_for()
                    page.wait_for_function(_EXPLAINED)
                    page.mouse.move(0, 0)
                    page.wait_for_function("document.getAnimations().length === 0")
                    shown.screenshot(path=DOCS / f"{name}-{theme.lower()}.png")
                    page.close()


if __name__ == "__main__":
    main(sys.argv[1:])
