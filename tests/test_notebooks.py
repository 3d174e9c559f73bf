"""Notebooks run from the top: ours, and the cells of the notebook that users know."""

import math
import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from stockformer.explainability import measure_windows
from stockformer.sample import load_sample, write_sample

PROJECT = Path(__file__).parents[1]
SEED = PROJECT.parent / "shared" / "seed" / "attention_analysis.md"
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
PROSE = re.compile(r"# (Uncomment|Example:|\(Uncomment)")

#: Run first in every kernel, for speed; what is left out is tested elsewhere. Figures are laid out once; reports have
#: empty figures and check one ranking.
QUICKER = """
from matplotlib import pyplot
from matplotlib_inline.config import InlineBackend
from stockformer.reports import explanation, sections
InlineBackend.instance(parent=get_ipython()).print_figure_kwargs = {"bbox_inches": None}
sections.CELL_RANKINGS = {"gradient": sections.CELL_RANKINGS["gradient"]}
sections.DAY_RANKINGS = {"pooling": sections.DAY_RANKINGS["pooling"]}
explanation.render = lambda figure, dpi: pyplot.close(figure) or b""
Picture = sections.Picture
sections.Picture = lambda name, plot, *words: Picture(name, pyplot.figure, *words)
"""

#: The sample is one ticker around a calm day and the crash, and all in the last months.
SMALLER = """
from stockformer import sample
rows = sample.sample_table().query(
    "symbol == 'AAPL' and ('2006-08' < date < '2007' or '2008-06' < date < '2008-11') or date > '2012-10-20'"
)
sample.sample_table = rows.copy
"""
#: Models of planted mechanisms are trained for one epoch.
UNLEARNED = """
from dataclasses import replace
from stockformer.planted.mechanisms import MECHANISMS
MECHANISMS.update({name: replace(mechanism, epochs=1) for name, mechanism in MECHANISMS.items()})
"""
#: What some notebooks have instead of the smaller sample; the survey is of all its windows.
INSTEAD = {"explore": "", "history": "", "planted": UNLEARNED}

pytestmark = pytest.mark.slow


def run(notebook: nbformat.NotebookNode, folder: Path, first: str = QUICKER + SMALLER) -> nbformat.NotebookNode:
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    return nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()


def printed(notebook: nbformat.NotebookNode) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_our_notebooks(path, tmp_path):
    run(nbformat.read(path, as_version=4), tmp_path, QUICKER + INSTEAD.get(path.stem, SMALLER))


def test_the_two_days_of_compare_in_words():
    """Its prose has the numbers that its cells compute now, not those of an earlier version."""
    dataset, model = load_sample("volatility")
    days = [dataset.window(dataset.index_of(day, "AAPL")).inputs for day in ("2006-11-21", "2008-10-15")]
    calm, crash = ({name: float(value) for name, value in measure_windows(model, *one).items()} for one in days)
    notebook = nbformat.read(PROJECT / "notebooks" / "compare.ipynb", as_version=4)
    prose = " ".join(" ".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown").split())
    shares = [f"{100 * one['market share']:.0f} %" for one in (crash, calm)]
    assert f"it holds {shares[0]} of the attribution (by input x gradient) in the crash and {shares[1]} on" in prose
    assert f"not {shares[0]} against {shares[1]}," in prose
    values = [f"{100 * math.exp(one['value']):.0f} %" for one in (calm, crash)]
    assert f"{values[0]} a year on the calm day" in prose
    assert f"{values[1]} on the crash day" in prose


@pytest.fixture
def folder(tmp_path):
    """A project folder with the sample written into it; its notebooks folder."""
    write_sample(tmp_path)
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    return notebooks


@pytest.fixture(scope="module")
def cells():
    """The code cells of the notebook that users know."""
    if not SEED.exists():
        pytest.skip(f"{SEED}, which is not part of the project, is not here")
    return re.findall(r"^In \[None\]:\n(.*?)(?=^## |^In \[None\]:|\Z)", SEED.read_text(encoding="utf-8"), re.M | re.S)


def notebook_of(cells):
    return nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells], metadata={"kernelspec": KERNEL}
    )


def uncommented(cell: str) -> str:
    """A cell with its commented code live; after an Option B, so that Option A is what holds."""
    lines = cell.splitlines()
    option_a = [number for number, line in enumerate(lines) if "Option A" in line]
    option_b = [number for number, line in enumerate(lines) if "Option B" in line]
    if option_a:
        live, rest = lines[option_a[0] + 1 : option_b[0]], lines[option_b[0] :]
    elif lines and lines[0].startswith("# Example:"):
        live, rest = lines, []
    else:
        return cell
    code = [re.sub(r"^# ?", "", line) for line in live if not PROSE.match(line)]
    return "\n".join([*rest, *code])


def test_seed_as_it_stands(folder, cells):
    done = run(notebook_of(cells), folder)
    text = printed(done)
    assert "Cross-attn weight shape (per layer): torch.Size([1, 8, 60, 60])" in text
    assert "Stock saliency shape:  torch.Size([60, 41])" in text
    assert "cross_layer0" in text
    pictures = [cell for cell in done.cells if any("image/png" in o.get("data", {}) for o in cell.outputs)]
    assert len(pictures) >= 13


def test_seed_with_checkpoint_and_csv(folder, cells):
    done = run(notebook_of([uncommented(cell) for cell in cells]), folder)
    text = printed(done)
    assert "Loaded: ../stockformer/output/models/binary_3d_best.pt" in text
    assert "'nhead': 8" in text
    comparison = next(cell for cell in done.cells if "attn_volatile" in cell.source)
    assert any("image/png" in output.get("data", {}) for output in comparison.outputs)
