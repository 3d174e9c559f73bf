"""The built wheel holds what users need, and works away from the source tree."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import stockformer

PROJECT = Path(__file__).parents[1]


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(PROJECT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_wheel_holds_the_tracked_files_of_both_packages(wheel):
    listing = subprocess.run(
        ["git", "ls-files", "stockformer", "stockformer_widgets"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == set(listing.stdout.split())


def test_wheel_works_from_another_folder(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = """
import matplotlib
matplotlib.use("svg")
from stockformer.sample import load_sample
import stockformer
from stockformer_widgets import AttentionExplorer, ExtractorSession
dataset, model = load_sample()
print(stockformer.__file__, AttentionExplorer(ExtractorSession.from_dataset(model, dataset)))
assert matplotlib.get_backend() == "svg"  # importing leaves it alone
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split()[0].startswith(str(tmp_path / "site"))
    assert "AttentionExplorer(sample 6851, cross, layer 0)" in run.stdout


def test_one_version():
    changelog = (PROJECT / "CHANGELOG.md").read_text()
    assert re.search(r"^## (\S+)", changelog, re.M)[1] == stockformer.__version__
