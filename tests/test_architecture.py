"""Imports run one way, and heavy libraries wait until they are used."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PACKAGES = ("stockformer", "stockformer_widgets")
#: The command line opens everything, and a package gives its modules' names.
ENTRANCES = {"stockformer.__main__"}


def modules() -> dict[str, Path]:
    files = [path for package in PACKAGES for path in (PROJECT / package).rglob("*.py")]
    names = {".".join(path.relative_to(PROJECT).with_suffix("").parts): path for path in files}
    return {name.removesuffix(".__init__"): path for name, path in names.items()}


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """The modules of ours that a module imports, at any place in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


GRAPH = {name: {one for one in imports(path) if one in MODULES} - {name} for name, path in MODULES.items()}


def folder(name: str) -> str:
    return name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]


def test_no_module_imports_itself_in_a_circle():
    # A package that gives its modules' names imports them, and they import from it by name.
    loose = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    graph = {name: used - loose for name, used in GRAPH.items() if name not in loose}
    assert list(TopologicalSorter(graph).static_order())


def test_no_two_folders_import_from_each_other():
    arrows = {
        (folder(name), folder(used))
        for name, all_used in GRAPH.items()
        for used in all_used
        if MODULES[name].name != "__init__.py" and name not in ENTRANCES and folder(name) != folder(used)
    }
    assert not [arrow for arrow in arrows if arrow[::-1] in arrows]
    assert not [arrow for arrow in arrows if arrow[0].startswith("stockformer.") and arrow[1].endswith("_widgets")]


def test_what_is_heavy_is_loaded_when_it_is_used():
    code = """
import sys, stockformer.explainability, stockformer.sample
print(*sys.modules)
import stockformer_widgets
print(*sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    core, widgets = (set(line.split()) for line in printed.splitlines())
    assert not {"captum", "matplotlib", "ipywidgets", "bqplot", "scipy.stats"} & core
    assert not {"captum", "scipy.stats", "scipy.signal"} & widgets
