"""Run notebooks from the top and save their pictures in them: ``python notebooks/execute.py NAME...``.

Widgets need a kernel, so what is saved of them is their name.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbclient
import nbformat

_FOLDER = Path(__file__).parent
_WIDGET = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> None:
    """Run a notebook in an empty folder and write it back; an error leaves the file as it was."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        client = nbclient.NotebookClient(
            notebook,
            timeout=3600,
            store_widget_state=False,
            record_timing=False,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress_bar(output)]
            for output in cell.outputs:
                output.get("data", {}).pop(_WIDGET, None)
    nbformat.write(notebook, path)


def _is_progress_bar(output: nbformat.NotebookNode) -> bool:
    return output.output_type == "display_data" and _WIDGET in output.data


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(_FOLDER / f"{name}.ipynb")
