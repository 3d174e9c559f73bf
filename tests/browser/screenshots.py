"""Take the README's pictures: ``python tests/browser/screenshots.py``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from chromium import install
from lab import chromium, jupyterlab, run_notebook, write_notebook

DOCS = Path(__file__).parents[2] / "docs"
CELL = """
from stockformer.sample import load_sample
from stockformer_widgets import AttentionExplorer, ExtractorSession

dataset, model = load_sample()
session = ExtractorSession.from_dataset(model, dataset, dataset.index_of("2008-10-15", "AAPL"))
explorer = AttentionExplorer(session)
explorer.selection.layer, explorer.selection.query, explorer.selection.key = 2, 40, 55
explorer
"""
_AROUND = 432  # pixels of JupyterLab beside a notebook's output
_PICTURES = {"explorer": (1400, "Overview"), "narrow": (480, "Overview"), "heads": (1400, "Layers and heads")}


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with chromium(install()) as browser, TemporaryDirectory() as folder:
        write_notebook(Path(folder) / "explorer.ipynb", [CELL])
        for theme in ("Light", "Dark"):
            with jupyterlab(Path(folder), theme=f"JupyterLab {theme}") as address:
                for name, (width, tab) in _PICTURES.items():
                    page = browser.new_page(viewport={"width": width + _AROUND, "height": 3300})
                    run_notebook(page, address, "explorer.ipynb")
                    explorer = page.locator(".stockformer-explorer")
                    explorer.locator(".lm-TabBar-tab", has_text=tab).click()
                    explorer.locator("rect.bar:visible").first.wait_for()
                    page.mouse.move(0, 0)
                    page.wait_for_function("document.getAnimations().length === 0")
                    explorer.screenshot(path=DOCS / f"{name}-{theme.lower()}.png")
                    page.close()


if __name__ == "__main__":
    main()
