"""The committed front-end is what ``js/`` builds, and its own tests pass; ``make check`` types it."""

import json
import sys
from pathlib import Path

import pytest

import stockformer

PROJECT = Path(__file__).parents[1]
sys.path.append(str(PROJECT / "js"))

from node import npm  # noqa: E402

STATIC = PROJECT / "stockformer_widgets" / "static"


@pytest.fixture(scope="module", autouse=True)
def packages():
    """The packages that the lock file names, in ``js/node_modules``."""
    if not (PROJECT / "js" / "node_modules").exists():
        installed = npm("ci")
        assert installed.returncode == 0, installed.stdout


def test_its_own_tests_pass():
    done = npm("test")
    assert done.returncode == 0, done.stdout


def test_the_committed_build_is_that_of_the_source(tmp_path):
    done = npm("run", "build", "--", str(tmp_path))
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
