"""What the documentation says to type: the README's code, commands, paths, and the examples in docstrings."""

import doctest
import importlib
import pkgutil
import re
import shlex
from functools import partial
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

import stockformer
import stockformer_widgets
from stockformer.__main__ import _parser
from stockformer.dataset import StockDataset
from stockformer.explainability import randomisation_steps
from stockformer.sample import load_sample, sample_table
from stockformer.survey import survey_steps
from stockformer_widgets import ExtractorSession, catalogue
from stockformer_widgets.export import _visit
from stockformer_widgets.state.explanations import Explanations

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PAGES = [
    *(PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    PROJECT / "stockformer" / "sample_data" / "README.md",
    *sorted((PROJECT / "docs").glob("*.md")),
]
ELSEWHERE = Path(__file__).parent / "data" / "trained_elsewhere"
#: Of the sample: the windows that the README names, and some of every ticker.
FEWER = "symbol == 'AAPL' and '2006-08' < date < '2008-11' or date > '2012-10'"


@pytest.fixture
def sample_and_files(tmp_path, monkeypatch):
    """A folder with a user's checkpoint and data and nothing else.

    For speed the sample has fewer rows, a check two windows and rankings, a page the selected place alone, and a
    survey no worker processes.
    """
    table = pd.read_csv(ELSEWHERE / "all_data_0.csv.xz")
    (tmp_path / "data").mkdir()
    table.to_csv(tmp_path / "data" / "all_data_0.csv", index=False)
    for ending in (".pt", ".pt.meta"):
        (tmp_path / f"model_bin_3d{ending}").write_bytes((ELSEWHERE / f"cross_bin_3d{ending}").read_bytes())
    rows, check, rankings = sample_table().query(FEWER), Explanations.check, Explanations._rankings
    (tmp_path / "parquet").mkdir()
    rows.query("symbol == 'AAPL'").to_parquet(tmp_path / "parquet" / "AAPL.parquet")
    monkeypatch.setattr("stockformer.sample.sample_table", rows.copy)
    monkeypatch.setattr(Explanations, "check", lambda self, windows=None, unit="cell": check(self, windows and 2, unit))
    monkeypatch.setattr(Explanations, "_rankings", lambda self, unit: dict(islice(rankings(self, unit).items(), 2)))
    monkeypatch.setattr("stockformer_widgets.export._visit", lambda *where: islice(_visit(*where), 1))
    monkeypatch.setattr(
        "stockformer_widgets.state.explanations.randomisation_steps",
        partial(randomisation_steps, methods=["gradient"]),
    )
    monkeypatch.setattr("stockformer.survey.run.survey_steps", lambda *what, engine, **how: survey_steps(*what, **how))
    monkeypatch.chdir(tmp_path)


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:model_bin_3d.pt:UserWarning")
def test_code_of_the_readme_runs_from_the_top(sample_and_files):
    names: dict[str, object] = {}
    found = blocks(README)
    assert len(found) > 5
    for number, code in enumerate(found):
        exec(compile(code, f"README.md, block {number}", "exec"), names)
    plt.close("all")
    assert all(Path(name).stat().st_size > 50_000 for name in ("crash.html", "calm-and-crash.html", "crash.png"))


def test_the_readme_has_every_view_of_the_catalogue():
    kinds = [kind.__name__ for columns in catalogue.PAGES.values() for column in columns for kind in column]
    table = README[README.index("| view | shows |") :].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == sorted(kinds)
    assert set(kinds) <= set(stockformer_widgets.__all__)


def commands(page: str) -> list[str]:
    """Commands on a line of their own, and between backquotes."""
    page = page.replace("\\\n", "")
    lines = re.findall(r"^ *(python -m stockformer .*)$", page, re.M)
    return [re.sub(r"\s+#.*", "", line) for line in lines] + re.findall(r"`(python -m stockformer [^`]*)`", page)


def test_commands_have_options_that_there_are():
    found = [(page.name, command) for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]
    assert len(found) > 5
    for page, command in found:
        words = shlex.split(command)[3:]
        if "|" in command or len(words) < 2:  # several commands, or the mention of one
            continue
        try:
            _parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{page}: {command}")


def test_links_lead_to_files():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#]+)[^)]*\)", text) + re.findall(r"(?:src|srcset)=\"([^\"]+)\"", text)
        missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
        assert not missing, f"{page.name}: {missing}"


def test_the_readme_names_every_view():
    named = re.findall(r"^\| `([A-Z]\w+)` \|", README, re.M)
    views = [
        name
        for name in stockformer_widgets.__all__
        if isinstance(one := getattr(stockformer_widgets, name), type)
        and issubclass(one, stockformer_widgets.View)
        and one is not stockformer_widgets.View
    ]
    assert sorted(named) == sorted(views)


class _AnythingWhereNothingIsSaid(doctest.OutputChecker):
    """Compares with the value that an example gives; one without is not compared."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:model_bin_3d.pt:UserWarning")
def test_examples_in_docstrings(sample_and_files):
    (dataset, model), rows = load_sample(), sample_table()
    days = rows["date"].between("2006-08", "2006-12") | rows["date"].between("2008-07", "2008-11")
    dataset = StockDataset(rows[(rows["symbol"] == "AAPL") & days], **dataset.settings)
    x, _, market_x = (part[None] for part in dataset[0])
    names = {"torch": torch, "dataset": dataset, "model": model, "x": x, "market_x": market_x}
    runner = doctest.DocTestRunner(_AnythingWhereNothingIsSaid())
    for package in (stockformer, stockformer_widgets):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "sample_data.build")):
                _run_examples(runner, module.name, names)
    assert runner.tries > 10
    assert not runner.failures


def _run_examples(runner: doctest.DocTestRunner, module: str, names: dict[str, object]) -> None:
    everything = {name: getattr(stockformer_widgets, name) for name in stockformer_widgets.__all__}
    explainability = importlib.import_module("stockformer.explainability")
    everything |= {name: getattr(explainability, name) for name in explainability.__all__}
    loaded = importlib.import_module(module)
    found = doctest.DocTestFinder(exclude_empty=True).find(loaded, globs=everything | vars(loaded) | names)
    for example in found:
        if example.examples:
            with ExtractorSession.from_dataset(names["model"], names["dataset"]) as session:
                example.globs["session"] = session
                runner.run(example)
