"""The command line."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stockformer import training
from stockformer.__main__ import main
from stockformer.checkpoint import load_checkpoint, save_checkpoint
from stockformer.config import BASE_FEATURE_COLUMNS, MARKET_FEATURE_COLUMNS
from stockformer.dataset import StockDataset
from stockformer.explainability import METHODS, REFERENCES
from stockformer.explainability.faithfulness.result import REMOVALS
from stockformer.reports import explanation
from stockformer.sample import MODELS, sample_faithfulness, sample_table
from stockformer.table import read_table
from stockformer.training import fit

ROOT = Path(__file__).parents[1]
TICKERS = ["AAPL", "GOOG", "IBM", "MSFT"]


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A folder into which ``python -m stockformer sample`` has written."""
    folder = tmp_path_factory.mktemp("sample")
    assert main(["sample", "--out", str(folder)]) == 0
    return folder


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_sample_writes_the_paths_of_the_notebook(written):
    names = ("binary_3d_best.pt", "binary_3d_best.pt.meta", "volatility_10d_best.pt", "volatility_10d_best.pt.meta")
    models = (f"stockformer/output/models/{name}" for name in names)
    assert files(written) == [*(f"data/all_data_{t}.csv" for t in TICKERS), *models]


def test_sample_names_what_it_wrote(tmp_path, capsys):
    assert main(["sample", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == [str(tmp_path / name) for name in files(tmp_path)]


def test_sample_as_a_module(tmp_path):
    command = [sys.executable, "-m", "stockformer", "sample"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "data" / "all_data_AAPL.csv").is_file()


def test_option_a_of_the_notebook(written, sample):
    table = pd.read_csv(written / "data" / "all_data_AAPL.csv")
    dataset = StockDataset(
        table,
        feature_cols=BASE_FEATURE_COLUMNS,
        market_feature_cols=MARKET_FEATURE_COLUMNS,
        target_col="close_3d_fwd_return",
        lookback=60,
        label_mode="binary",
    )
    model, info = load_checkpoint(written / "stockformer" / "output" / "models" / "binary_3d_best.pt")
    given, own = info.dataset_settings["normalization"], dataset.normalization
    assert own.columns == given.columns
    assert own.mean["AAPL"] == pytest.approx(given.mean["AAPL"], rel=1e-9, abs=1e-12)
    assert own.std["AAPL"] == pytest.approx(given.std["AAPL"], rel=1e-9, abs=1e-12)
    x, _, market_x = dataset[-1]
    shipped, shipped_model = sample
    again, _, market_again = shipped[shipped.index_of(dataset.end_dates[-1], "AAPL")]
    with torch.no_grad():
        output, expected = model(x[None], market_x[None]), shipped_model(again[None], market_again[None])
    assert torch.allclose(output, expected, atol=1e-5)


# train


def small_table():
    """The first 120 days of two tickers."""
    return sample_table().query("symbol in ['AAPL', 'IBM']").groupby("symbol").head(120)


@pytest.fixture
def small_csv(tmp_path):
    small_table().to_csv(tmp_path / "all_data_two.csv", index=False)
    return tmp_path / "all_data_two.csv"


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ([], "binary"),
        (["--label-mode", "buckets", "--bucket-edges", "-1", "1", "--target", "close_10d_fwd_return"], "buckets"),
    ],
)
def test_train(small_csv, tmp_path, capsys, options, mode):
    out = tmp_path / "model.pt"
    assert main(["train", str(small_csv), "--out", str(out), "--epochs", "1", *options]) == 0
    model, info = load_checkpoint(out)
    dataset = StockDataset(pd.read_csv(small_csv), **info.dataset_settings)
    assert model.label_mode == dataset.label_mode == mode
    assert info.dataset_settings["normalization"].mean.keys() == {"AAPL", "IBM"}
    x, _, market_x = dataset[0]
    assert model(x[None], market_x[None]).isfinite().all()
    printed = capsys.readouterr().out
    assert str(out) in printed
    assert f"{info.metrics['test_accuracy']:.4f}" in printed
    assert "test_base_rate" in printed
    assert "a guess from the training labels alone has" in printed


def test_the_size_of_the_model(small_csv, tmp_path):
    out = tmp_path / "model.pt"
    options = ["--layers", "1", "--heads", "3", "--width", "12", "--lookback", "7", "--horizon", "2", "--epochs", "1"]
    assert main(["train", str(small_csv), "--out", str(out), *options]) == 0
    _, info = load_checkpoint(out)
    sizes = {name: info.arch[name] for name in ("num_layers", "nhead", "d_model", "dim_feedforward")}
    assert sizes == {"num_layers": 1, "nhead": 3, "d_model": 12, "dim_feedforward": 24}
    assert (info.dataset_settings["lookback"], info.dataset_settings["target_col"]) == (7, "close_2d_fwd_return")


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("all_data_two.csv", "is read as"),
        ("linked.csv", "is read as"),
        ("folder", "folder is a folder, expected a file"),
        ("pipe", "pipe is a pipe, expected a file"),
        ("all_data_two.csv/a.pt", "all_data_two.csv is a file, expected a folder"),
        ("meta", "meta.meta is a folder"),
        (".", "is a folder, expected a file"),
    ],
)
def test_the_output_is_checked_before_training(small_csv, tmp_path, monkeypatch, capsys, out, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / "meta.meta").mkdir()
    (tmp_path / "linked.csv").symlink_to(small_csv)
    os.mkfifo(tmp_path / "pipe")
    before = small_csv.read_bytes()
    monkeypatch.setattr("stockformer.__main__.fit", None)
    assert main(["train", str(small_csv), "--out", str(tmp_path / out)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert small_csv.read_bytes() == before


def test_a_model_that_cannot_be_saved_is_not_lost(small_csv, tmp_path, monkeypatch, capsys):
    out, rescued = tmp_path / "out" / "a.pt", tmp_path / "rescued"
    rescued.mkdir()
    monkeypatch.setattr("stockformer.__main__.mkdtemp", lambda: str(rescued))
    fit_model = training.fit

    def then_in_the_way(*arguments, **options):
        (tmp_path / "out").write_text("in the way")
        return fit_model(*arguments, **options)

    monkeypatch.setattr("stockformer.__main__.fit", then_in_the_way)
    assert main(["train", str(small_csv), "--out", str(out), "--epochs", "1", "--layers", "1"]) == 1
    assert f"the model is in {rescued / 'a.pt'}" in capsys.readouterr().err
    assert load_checkpoint(rescued / "a.pt")[1].metrics["test_samples"] > 0


@pytest.mark.parametrize("outputs", [["{a}", "--table", "{a}"], ["{csv}"], ["{pt}"], ["{a}", "--table", "{csv}"]])
def test_faithfulness_writes_over_nothing_that_it_reads(small_csv, written, tmp_path, monkeypatch, capsys, outputs):
    monkeypatch.setattr("stockformer.reports.faithfulness.measure_faithfulness", None)
    checkpoint = tmp_path / "a.pt"
    shutil.copy(written / "stockformer" / "output" / "models" / "binary_3d_best.pt", checkpoint)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    named = [part.format(a=tmp_path / "a.md", csv=small_csv, pt=checkpoint) for part in outputs]
    assert main(["faithfulness", str(checkpoint), str(small_csv), "--out", *named]) == 1
    assert "expected different files" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_sample_that_cannot_be_written_changes_nothing(tmp_path, monkeypatch, capsys):
    assert main(["sample", "--out", str(tmp_path)]) == 0
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}

    def disk_full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    assert main(["sample", "--out", str(tmp_path), "--overwrite"]) == 1
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


@pytest.mark.parametrize(
    ("command", "there"),
    [
        ("sample --out .", "data/all_data_IBM.csv"),
        ("train {csv} --out a.pt", "a.pt"),
        ("train {csv} --out a.pt", "a.pt.meta"),
        ("report {pt} {csv} --date 2006-06-15 --out .", "report.html"),
        ("report {pt} {csv} --date 2006-06-15 --out .", "cross_layer0_heads.png"),
        ("faithfulness {pt} {csv} --out a.md", "a.md"),
        ("faithfulness --out a.md --table a.csv", "a.csv"),
    ],
)
def test_no_command_replaces_a_file_unasked(
    checkpoint, small_csv, tmp_path_factory, monkeypatch, capsys, command, there
):
    for work in ("__main__.fit", "reports.explanation.render", "__main__.write_faithfulness"):
        monkeypatch.setattr(f"stockformer.{work}", None)
    folder = tmp_path_factory.mktemp("there")
    monkeypatch.chdir(folder)
    (folder / there).parent.mkdir(exist_ok=True)
    (folder / there).write_text("mine")
    call = command.format(csv=small_csv, pt=checkpoint).split()
    assert main(call) == 1
    assert f"{there} would be replaced: expected a new name, or --overwrite" in capsys.readouterr().err
    assert {name: (folder / name).read_text() for name in files(folder)} == {there: "mine"}


def test_a_command_that_is_asked_to_replaces_files(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "all_data_IBM.csv").write_text("mine")
    assert main(["sample", "--out", str(tmp_path), "--overwrite"]) == 0
    assert set(read_table(tmp_path / "data")["symbol"]) == set(TICKERS)


def test_train_on_several_files(small_csv, tmp_path):
    other = tmp_path / "all_data_msft.csv"
    sample_table().query("symbol == 'MSFT'").head(120).to_csv(other, index=False)
    assert main(["train", str(small_csv), str(other), "--out", str(tmp_path / "m.pt"), "--epochs", "1"]) == 0
    _, info = load_checkpoint(tmp_path / "m.pt")
    assert info.dataset_settings["normalization"].mean.keys() == {"AAPL", "IBM", "MSFT"}


def test_train_with_a_seed(small_csv, tmp_path):
    weights = []
    for name, seed in (("a.pt", "1"), ("b.pt", "1"), ("c.pt", "2")):
        main(["train", str(small_csv), "--out", str(tmp_path / name), "--epochs", "1", "--seed", seed])
        weights.append(load_checkpoint(tmp_path / name)[0].input_proj.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "No columns"),
        ("date,symbol\n2020-01-01,AAA\n", "lacks .* needed columns: open, high"),
        ("a,b\n1,2\n1,2,3\n", "Error tokenizing"),
        ("date,symbol\n", "the table has no rows"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, text, message):
    (tmp_path / "a.csv").write_text(text)
    assert main(["train", str(tmp_path / "a.csv"), "--out", str(tmp_path / "a.pt")]) == 1
    assert_one_line(capsys, message)
    assert not (tmp_path / "a.pt").exists()


def assert_one_line(capsys, message):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("stockformer: ")
    assert err.count("\n") == 1
    assert pytest.raises(ValueError, match=message).matches(ValueError(err))


def test_errors_of_the_file_system(tmp_path, capsys):
    assert main(["train", str(tmp_path / "none.csv"), "--out", str(tmp_path / "a.pt")]) == 1
    assert_one_line(capsys, r"there is no CSV or Parquet file .*none\.csv")
    (tmp_path / "file").write_text("")
    assert main(["sample", "--out", str(tmp_path / "file")]) == 1
    assert_one_line(capsys, "file")


def test_no_epochs(small_csv, tmp_path, capsys):
    assert main(["train", str(small_csv), "--out", str(tmp_path / "a.pt"), "--epochs", "0"]) == 1
    assert_one_line(capsys, "epochs is 0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "0"], "--layers is 0, expected at least 1"),
        (["--layers", "-1"], "--layers is -1, expected at least 1"),
        (["--width", "-8"], "--width is -8, expected at least 1"),
        (["--heads", "3", "--width", "8"], "--heads is 3, expected a head count that divides --width = 8"),
        (["--target", "moon"], "--target is 'moon', expected a name such as"),
    ],
)
def test_options_that_no_model_has(small_csv, tmp_path, capsys, options, message):
    assert main(["train", str(small_csv), "--out", str(tmp_path / "a.pt"), *options]) == 1
    assert_one_line(capsys, message)


def test_bucket_edges_without_buckets(small_csv, tmp_path, capsys):
    assert main(["train", str(small_csv), "--out", str(tmp_path / "a.pt"), "--bucket-edges", "1"]) == 1
    assert_one_line(capsys, "--bucket-edges has no effect with --label-mode binary, expected buckets")


@pytest.mark.parametrize("lookback", ["100", "118", "119", "500"])
def test_a_lookback_that_no_part_of_the_dates_holds(small_csv, tmp_path, capsys, lookback):
    assert main(["train", str(small_csv), "--out", str(tmp_path / "a.pt"), "--lookback", lookback]) == 1
    assert_one_line(capsys, f"no window (of {lookback} days|fits).*expected")


@pytest.mark.parametrize("arguments", [[], ["fly"], ["train"], ["train", "a.csv"], ["sample", "--nonsense"]])
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: python -m stockformer" in capsys.readouterr().err


@pytest.fixture(scope="session")
def trained():
    """A small model of windows of 12 days and its dataset."""
    dataset = StockDataset(
        small_table(),
        feature_cols=BASE_FEATURE_COLUMNS,
        market_feature_cols=MARKET_FEATURE_COLUMNS,
        target_col="close_3d_fwd_return",
        lookback=12,
        label_mode="binary",
    )
    sizes = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8, "market_layers": 1}
    return fit(dataset, sizes, epochs=1).model, dataset


@pytest.fixture
def checkpoint(trained, tmp_path):
    """The model trained on the table."""
    model, dataset = trained
    return save_checkpoint(tmp_path / "model.pt", model, dataset.settings)


def test_report(checkpoint, small_csv, tmp_path, capsys, small_report, monkeypatch):
    call = ["report", str(checkpoint), str(small_csv), "--ticker", "IBM", "--out"]
    one, several = [*call, str(tmp_path / "one"), "--date"], [*call, str(tmp_path / "several"), "--date"]

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(explanation, "render", interrupted)
        assert main([*one, "2006-06-15"]) == 130
    assert capsys.readouterr().err.endswith("\nstockformer: stopped\n")  # on a line below the progress bar
    assert main([*one, "2006-06-15"]) == 0
    page = (tmp_path / "one" / "report.html").read_text()
    assert "<h1>IBM, 2006-06-15</h1>" in page
    assert (tmp_path / "one" / "cross_layer0_heads.png").exists()
    capsys.readouterr()
    assert main([*one, "2006-06-17"]) == 1
    assert_one_line(capsys, "no window of IBM ends on 2006-06-17")

    plain = explanation.run_in_order

    def through_a_pipe(work, model, chunk_of, chunks, engine):
        """As workers get it."""
        return plain(work, model, lambda place: pickle.loads(pickle.dumps(chunk_of(place))), chunks, engine)

    monkeypatch.setattr(explanation, "run_in_order", through_a_pipe)
    several += ["2006-06-15", "--date", "2006-06-16", "--date", "2006-06-15"]
    assert main(several) == 0
    pages = [tmp_path / "several" / f"{day}_IBM" / "report.html" for day in ("2006-06-15", "2006-06-16")]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in pages]
    assert files(pages[0].parent) == files(pages[1].parent) == files(tmp_path / "one")
    assert pages[0].read_text() == page
    assert "<h1>IBM, 2006-06-16</h1>" in pages[1].read_text()
    assert main(several) == 1
    assert_one_line(capsys, "report.html and 1 more would be replaced: expected a new name, or --overwrite")


@pytest.mark.parametrize("name", ["report.html", "cross_layer0_heads.png"])
@pytest.mark.parametrize("read", ["csv", "pt"])
def test_a_report_writes_over_nothing_that_it_reads(checkpoint, small_csv, tmp_path, monkeypatch, capsys, name, read):
    monkeypatch.setattr("stockformer.reports.explanation.render", None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(small_csv if read == "csv" else checkpoint)
    assert main(["report", str(checkpoint), str(small_csv), "--out", str(out), "--date", "2006-06-15"]) == 1
    assert "expected different files" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert [path.name for path in out.iterdir()] == [name]


def test_faithfulness(checkpoint, small_csv, tmp_path, capsys, few_orders):
    page, table = tmp_path / "page.md", tmp_path / "table.csv"
    call = ["faithfulness", str(checkpoint), str(small_csv), "--out", str(page), "--table", str(table)]
    assert main([*call, "--windows", "2"]) == 0
    written, said = pd.read_csv(table), page.read_text()
    cells = written.query("unit == 'cell' and removal == 'training mean'")
    assert sorted(cells["ranking"]) == sorted([*METHODS, *REFERENCES])
    for row in written.to_dict("records"):
        name = row["ranking"].replace("_", " ").replace("|", "\\|")
        gap = f"{row['gap']:.3f}" if row["gap"] else "0"
        if row["removal"] == REMOVALS[0]:
            assert f"| {name} | {row['deletion']:.3f} | {row['insertion']:.3f} | {gap} |" in said
    assert set(written["removal"]) == {*REMOVALS}
    assert set(written["model"]) == {checkpoint.stem}
    # Market features are in no CSV: what has no data gets exactly 0 from every method.
    control = said.split("### Random weights")[1].split("##")[0]
    assert [line.split("|")[-2].strip() for line in control.splitlines() if line.startswith("| ")][2:] == ["0"] * 7
    effects = said.split("## Effect of attention")[1]
    assert all(f"| {kind} | 0 |" in effects for kind in ("cross", "self", "market"))


def test_faithfulness_writes_nothing_when_it_cannot(checkpoint, small_csv, tmp_path, capsys):
    capsys.readouterr()
    page = tmp_path / "page.md"
    call = ["faithfulness", str(checkpoint), str(small_csv), "--out", str(page)]
    assert main([*call, "--windows", "100000"]) == 1
    assert_one_line(capsys, "windows is 100000, expected 1 to ")
    assert main(["faithfulness", str(checkpoint), "--out", str(page)]) == 1
    assert_one_line(capsys, "needs a CSV or Parquet file or a folder after it")
    assert not page.exists()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("unit", ["cell", "day"])
def test_the_page_in_docs_is_that_of_the_shipped_tables(name, unit):
    page = (ROOT / "docs" / "faithfulness.md").read_text(encoding="utf-8")
    said = page.split(f"## Model: {name}")[1].split("\n### ")[1 + (unit == "day")].splitlines()
    others = sample_faithfulness(unit, name, "other windows").set_index("ranking")
    for row in sample_faithfulness(unit, name).to_dict("records"):
        numbers = " | ".join(
            f"{row[column]:.3f}" if row[column] else "0" for column in ("deletion", "insertion", "gap")
        )
        ranking, verdict = (row[column].replace("_", " ").replace("|", "\\|") for column in ("ranking", "verdict"))
        (line,) = (line for line in said if line.startswith(f"| {ranking} | {numbers} |"))
        *_, first_verdict, gap, _, second_verdict = (
            cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")
        )
        assert first_verdict == verdict.replace("\\|", "¦")
        assert second_verdict == str(others["verdict"][row["ranking"]]).replace("|", "¦")
        assert float(gap) == pytest.approx(others["gap"][row["ranking"]], abs=6e-4)


# Files trained elsewhere

ELSEWHERE = ROOT / "tests" / "data" / "trained_elsewhere"


def test_a_checkpoint_without_statistics_is_opened_for_a_report(tmp_path, capsys, monkeypatch):
    calls = []

    def write(model, subject, *where):
        calls.append(subject)
        return {"report": "page"}

    monkeypatch.setattr(explanation, "_write_report", write)
    call = ["report", str(ELSEWHERE / "cross_bin_3d.pt"), str(ELSEWHERE / "all_data_0.csv.xz"), "--out", str(tmp_path)]
    with np.load(ELSEWHERE / "cross_bin_3d.npz") as expected:
        assert main([*call, "--date", str(expected["date"][1]), "--ticker", str(expected["ticker"][1])]) == 0
        (subject,) = calls
        np.testing.assert_allclose(subject.inputs[0][0], expected["x"][1], atol=1e-5)
        np.testing.assert_allclose(subject.inputs[1][0], expected["market_x"][1], rtol=1e-6, atol=1e-5)
        assert subject.label == expected["y"][1]
    assert subject.assumption == "assumed: UP from a return of +1.5 %"
    out, err = capsys.readouterr()
    assert out == "page\n"
    assert err.startswith("stockformer: cross_bin_3d.pt does not say everything. Assumed, ")
    assert err.count("\n") == 1


def test_a_checkpoint_without_statistics_is_opened_for_faithfulness(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("stockformer.__main__.write_faithfulness", lambda *given, **options: calls.append(given))
    data = str(ELSEWHERE / "all_data_*.csv.xz")
    assert main(["faithfulness", str(ELSEWHERE / "encoder_bin_10d.pt"), data, "--out", str(tmp_path / "page.md")]) == 0
    ((models, _),) = calls
    ((name, (dataset, model)),) = models.items()
    assert name == "encoder_bin_10d"
    with np.load(ELSEWHERE / "encoder_bin_10d.npz") as expected:
        assert len(dataset) == expected["windows"]
        window = dataset.window(dataset.index_of(str(expected["date"][0]), str(expected["ticker"][0])))
        with torch.no_grad():
            np.testing.assert_allclose(model(*window.inputs)[0], expected["output"][0], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--date", "May"], "'May' is not a date, expected one such as '2008-10-15'$"),
        (["--date", "2008-10-15", "--ticker", "XYZ"], "there is no window of XYZ; the tickers are AAPL, MSFT$"),
        (["--date", "2008-10-18"], r"no window ends on 2008-10-18; windows end from 2007-08-24 to 2009-12-28"),
    ],
)
def test_days_that_a_report_cannot_be_about(tmp_path, capsys, options, message):
    call = ["report", str(ELSEWHERE / "cross_bin_3d.pt"), str(ELSEWHERE / "all_data_0.csv.xz"), "--out", str(tmp_path)]
    assert main([*call, *options]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert pytest.raises(ValueError, match=message).matches(ValueError(err.splitlines()[-1]))
    assert not list(tmp_path.iterdir())


def test_a_csv_that_does_not_exist(tmp_path, capsys):
    call = ["report", str(ELSEWHERE / "cross_bin_3d.pt"), str(tmp_path / "none.csv"), "--date", "2008-10-15"]
    assert main([*call, "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"stockformer: there is no CSV or Parquet file {tmp_path / 'none.csv'}\n"


OPTIONS = {
    "--horizon": "5",
    "--threshold": "0.02",
    "--min-return": "0.001",
    "--validation-fraction": "0.3",
    "--lookback": "40",
}


@pytest.mark.parametrize("command", ["report", "faithfulness", "check"])
def test_commands_take_what_a_checkpoint_does_not_say(tmp_path, monkeypatch, capsys, command):
    calls = []

    def opened(checkpoint, data, **options):
        calls.append(options)
        raise ValueError("enough")

    monkeypatch.setattr("stockformer.__main__.open_model", opened)
    monkeypatch.setattr("stockformer.check.open_model", opened)
    model, data = str(ELSEWHERE / "cross_bin_3d.pt"), str(ELSEWHERE / "all_data_0.csv.xz")
    out = ["--out", str(tmp_path / "out")]
    call = {
        "report": [model, data, "--date", "2008-10-15", *out],
        "faithfulness": [model, data, *out],
        "check": [data, "--model", model],
    }[command]
    given = [part for option in OPTIONS.items() for part in option]
    main([command, *call, *given, "--bucket-edges", "-2", "2"])
    main([command, *call, "--bucket-edges", "auto"])
    main([command, *call])
    assert calls == [
        {
            "horizon": 5,
            "threshold": 0.02,
            "bucket_edges": [-2.0, 2.0],
            "min_return": 0.001,
            "validation_fraction": 0.3,
            "lookback": 40,
        },
        {"bucket_edges": "auto"},
        {},
    ]


def test_options_need_a_checkpoint(tmp_path, capsys):
    assert main(["faithfulness", "--out", str(tmp_path / "page.md"), "--lookback", "30"]) == 1
    assert_one_line(capsys, "lookback has no effect without a checkpoint")
    assert main(["check", str(ELSEWHERE / "all_data_0.csv.xz"), "--lookback", "30"]) == 1
    assert_one_line(capsys, "lookback has no effect without a model")
