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


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    with chromium(install()) as browser, TemporaryDirectory() as folder:
        write_notebook(Path(folder) / "explorer.ipynb", [CELL])
        for theme in ("Light", "Dark"):
            with jupyterlab(Path(folder), theme=f"JupyterLab {theme}") as address:
                page = browser.new_page(viewport={"width": 1500, "height": 1300})
                run_notebook(page, address, "explorer.ipynb")
                explorer = page.locator(".stockformer-explorer")
                explorer.locator("rect.bar").first.wait_for()
                explorer.screenshot(path=DOCS / f"explorer-{theme.lower()}.png")
                page.close()


if __name__ == "__main__":
    main()
