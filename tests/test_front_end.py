"""The committed front-end is what ``js/`` builds, and its TypeScript is sound."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import stockformer

PROJECT = Path(__file__).parents[1]
sys.path.append(str(PROJECT / "js"))

from node import npm  # noqa: E402

STATIC = PROJECT / "stockformer_widgets" / "static"


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of ``js/`` with its packages as the lock file names them."""
    folder = tmp_path_factory.mktemp("front_end") / "js"
    shutil.copytree(PROJECT / "js", folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    installed = npm("ci", cwd=folder)
    assert installed.returncode == 0, installed.stdout
    return folder


@pytest.mark.parametrize("script", ["check", "test"])
def test_script_passes(source, script):
    done = npm("run", script, cwd=source)
    assert done.returncode == 0, done.stdout


def test_the_committed_build_is_that_of_the_source(source, tmp_path):
    done = npm("run", "build", "--", str(tmp_path), cwd=source)
    assert done.returncode == 0, done.stdout
    built = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    committed = {file.name: file.read_bytes() for file in STATIC.iterdir()}
    assert sorted(built) == sorted(committed)
    assert [name for name in built if built[name] != committed[name]] == [], "run: make static"


def test_a_widget_is_small():
    # anywidget sends and evaluates it once an instance.
    sizes = {file.name: file.stat().st_size for file in STATIC.glob("*.js")}
    assert sizes
    assert max(sizes.values()) < 100_000, sizes


def test_nothing_is_fetched():
    for file in STATIC.iterdir():
        code = file.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert "http:" not in code, file
        assert "https:" not in code, file


def test_one_version():
    for name in ("package.json", "package-lock.json"):
        assert json.loads((PROJECT / "js" / name).read_text())["version"] == stockformer.__version__
