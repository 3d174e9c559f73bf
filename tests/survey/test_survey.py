"""Surveys: against single windows, plain pandas and plain loops; stopped, damaged and of something else."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch
from small_market import make_dataset, make_model
from torch import nn

from stockformer.charts.history import market_context
from stockformer.dataset import StockDataset
from stockformer.explainability import capture_attention, compare_groups, measure_windows, window_groups
from stockformer.sample import load_sample
from stockformer.survey import history as by_date
from stockformer.survey import open_survey, sample_survey, store, survey, survey_steps
from stockformer_widgets import ExtractorSession
from stockformer_widgets.history import check_fit

#: Two forward passes of a window, alone and among 64, differ in the last bits of single precision.
LAST_BITS = {"rtol": 2**-18, "atol": 2**-20}


def numbers(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("windows.parquet", "maps.npz")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished survey with every measure, and what it is of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stockformer.survey.run.CHUNK", 50)
        model, dataset = make_model(), make_dataset()
        folder = tmp_path_factory.mktemp("survey") / "run"
        return model, dataset, survey(model, dataset, folder, measures=("layers", "heads", "features"), progress=False)


@pytest.mark.parametrize("label_mode", ["binary", "regression", "buckets"])
def test_every_measure_is_that_of_the_window_alone(label_mode, tmp_path):
    model, dataset = make_model(label_mode), make_dataset(label_mode)
    history = survey(model, dataset, tmp_path / "run", measures=("layers", "heads"), progress=False)
    frame = history.to_frame()
    assert frame["window"].tolist() == list(range(len(dataset)))
    for index in range(0, len(dataset), 23):
        alone = measure_windows(model, *dataset.window(index).inputs, details=("layers", "heads"))
        assert {name.replace(" ", "_") for name in alone} == set(history.measures)
        for name, value in alone.items():
            np.testing.assert_allclose(frame[name.replace(" ", "_")][index], float(value), **LAST_BITS, err_msg=name)


def test_statistics_of_a_head_are_those_of_its_map(whole):
    model, dataset, history = whole
    window = dataset.window(37)
    weights = capture_attention(model, *window.inputs).kinds["cross"][1][0, 1].double().numpy()  # layer 1, head 1
    row = history.to_frame().iloc[37]
    assert row["cross_stripe_share_layer_1_head_1"] == pytest.approx(weights.min(axis=0).sum(), rel=1e-5)
    assert row["cross_recency_layer_1_head_1"] == pytest.approx(weights[:, -2:].sum(axis=1).mean(), rel=1e-5)


def test_prices_around_every_window(whole):
    _, dataset, history = whole
    frame = history.to_frame()
    for index in range(0, len(dataset), 41):
        close = dataset.window(index).prices["adjusted_close"].tolist()
        daily = [after / before - 1 for before, after in pairwise(close)]
        worst = max(1 - low / high for place, low in enumerate(close) for high in close[: place + 1])
        row = frame.iloc[index]
        assert row["volatility"] == pytest.approx(np.std(daily))
        assert row["window_return"] == pytest.approx(close[-1] / close[0] - 1)
        assert row["drawdown"] == pytest.approx(worst)
        assert row["outcome"] == pytest.approx(dataset.window(index).target_value)
        assert (str(row["ticker"]), row["date"]) == (dataset.window(index).ticker, dataset.window(index).dates[-1])


def test_regimes_are_quarters_of_the_calendar(whole):
    frame = whole[2].to_frame()
    by_day = frame.groupby("date")["volatility"].mean()
    regime = frame.groupby("date")["regime"].agg(["nunique", "first"])
    assert (regime["nunique"] == 1).all()
    quarter = len(by_day) / 4
    assert set(by_day[regime["first"] == "calm"].index) == set(by_day.nsmallest(round(quarter)).index)
    assert abs((regime["first"] == "volatile").sum() - quarter) <= 1
    assert by_day[regime["first"] == "volatile"].min() > by_day[regime["first"] == "normal"].max()


def test_days_without_a_volatility_have_no_regime(tmp_path):
    dataset = make_dataset()
    days = dataset.end_dates.unique()[[30, 31, 32]]
    rows = dataset.end_dates.isin(days)
    volatility = np.where(rows, np.nan, dataset.volatility)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StockDataset, "volatility", volatility)
        without = survey(make_model(), dataset, tmp_path / "run", progress=False)
    frame = without.to_frame()
    np.testing.assert_array_equal(frame["regime"] == "unknown", rows)
    by_day = frame[~rows].groupby("date")["volatility"].mean()
    volatile = frame.groupby("date")["regime"].first() == "volatile"
    assert set(by_day[by_day >= by_day.quantile(0.75)].index) == set(volatile[volatile].index)
    assert list(without.groups("regime")) == ["calm", "normal", "volatile"]
    quarters, (low, high) = without.groups("volatility"), np.quantile(volatility[~rows], [0.25, 0.75])
    np.testing.assert_array_equal(quarters["calm"], np.flatnonzero(volatility <= low))
    np.testing.assert_array_equal(quarters["volatile"], np.flatnonzero(volatility >= high))
    calendar = by_date.calendar(without)
    assert set(calendar["date"][calendar["volatile"].isna()]) == set(days)
    shaded, _ = market_context(calendar).body.lines
    np.testing.assert_array_equal([word == "unknown" for word in shaded.words], calendar["volatile"].isna())


def test_predictions_and_errors(whole):
    model, dataset, history = whole
    frame = history.to_frame()
    for index in range(0, len(dataset), 31):
        window = dataset.window(index)
        with torch.no_grad():
            shares = model(*window.inputs).softmax(dim=1)[0]
        row = frame.iloc[index]
        assert (row["prediction"], row["label"]) == (int(shares.argmax()), int(window.y))
        assert row["correct"] == (shares.argmax() == window.y)
        assert row["score"] == pytest.approx(float(shares[1]), rel=1e-5)
        assert row["error"] == pytest.approx(1 - float(shares[window.y]), rel=1e-5)


def test_top_features_are_those_with_the_largest_products(whole):
    model, dataset, history = whole
    row = history.to_frame().iloc[200]
    leaves = [part.clone().requires_grad_() for part in dataset.window(200).inputs]
    output = model(*leaves)[0]
    (output.max() - output.min()).backward()
    products = torch.cat([(leaf.grad * leaf).abs().sum(dim=(0, 1)) for leaf in leaves])
    shares = pd.Series((products / products.sum()).detach().numpy(), ["f0", "f1", "f2", "m0", "m1"]).nlargest(3)
    assert [row[f"feature_{rank}"] for rank in (1, 2, 3)] == list(shares.index)
    np.testing.assert_allclose([row[f"feature_{rank}_share"] for rank in (1, 2, 3)], shares, rtol=1e-5)


@pytest.mark.parametrize("by", ["month", "regime", "ticker"])
def test_mean_maps_are_means_over_the_windows_of_a_group(whole, by):
    model, dataset, history = whole
    frame = history.to_frame()
    groups = frame["date"].dt.strftime("%Y-%m") if by == "month" else frame[by]
    maps = history.mean_maps(by)
    assert set(maps) == set(groups)
    name = groups.iloc[250]
    captures = [capture_attention(model, *dataset.window(index).inputs) for index in frame.index[groups == name]]
    expected = np.mean([capture.map("cross", 1).numpy() for capture in captures], axis=0)
    np.testing.assert_allclose(maps[name]["cross"][1], expected, atol=1e-6)


def test_a_query_is_what_pandas_says(whole):
    history = whole[2]
    by_sql = history.query("SELECT ticker, median(market_share) AS share FROM windows GROUP BY ticker ORDER BY ticker")
    by_pandas = history.to_frame().groupby("ticker")["market_share"].median()
    np.testing.assert_allclose(by_sql["share"], by_pandas)
    with pytest.raises(ValueError, match=r"the query failed: .*moon"):
        history.query("SELECT moon FROM windows")
    with pytest.raises(ValueError, match="the query is empty, expected SQL"):
        history.query(" ")
    with pytest.raises(ValueError, match="the query is empty, expected SQL"):
        history.query("-- nothing")
    one_of = history.query("PIVOT windows ON regime IN ('calm', 'volatile') USING count(*) GROUP BY ticker")
    assert one_of["calm"].sum() == (history.to_frame()["regime"] == "calm").sum()


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("COPY (SELECT * FROM windows) TO '{}'", "COPY"),
        ("COPY (PIVOT windows ON regime USING count(*)) TO '{}'", "MULTI"),
        ("EXPORT DATABASE '{}'", "EXPORT"),
        ("COMMIT; DELETE FROM windows", "2 statements"),
        ("SELECT 1; UPDATE windows SET drawdown = 0", "2 statements"),
        ("DELETE FROM windows", "DELETE"),
        ("DROP TABLE windows", "DROP"),
        ("EXPLAIN ANALYZE DELETE FROM windows", "EXPLAIN"),
        ("WITH gone AS (DELETE FROM windows RETURNING *) SELECT * FROM gone", "one that writes"),
        ("ATTACH '{}' AS other", "ATTACH"),
        ("PRAGMA enable_profiling = 'no_output'", "PRAGMA|SET"),
        ("SET threads = 1", "SET"),
    ],
)
def test_a_query_only_reads(whole, tmp_path, sql, found):
    history, file = whole[2], tmp_path / "file"
    before = history.to_frame()
    with pytest.raises(ValueError, match=f"a query is one SELECT that only reads, found ({found})$"):
        history.query(sql.format(file))
    assert not file.exists()
    pd.testing.assert_frame_equal(history.to_frame(), before)


def test_groups_are_those_of_the_model(whole):
    model, dataset, history = whole
    for by in ("volatility", "correct", "ticker"):
        expected = window_groups(model, dataset, by)
        for name, windows in history.groups(by).items():
            np.testing.assert_array_equal(windows, expected[name])
    early = history.groups({"early": "date < '2020-02-20'"})["early"]
    np.testing.assert_array_equal(early, np.flatnonzero(dataset.end_dates < "2020-02-20"))
    with pytest.raises(ValueError, match="by is 'moon', expected volatility, regime"):
        history.groups("moon")


def test_a_comparison_of_stored_measures_is_that_of_the_model(whole):
    model, dataset, history = whole
    groups = history.groups("volatility")
    stored = history.compare_groups(*groups.values(), names=tuple(groups), resamples=100)
    fresh = compare_groups(model, dataset, *groups.values(), names=tuple(groups), resamples=100)
    table, expected = stored.table.set_index("measure"), fresh.table.set_index("measure")
    assert set(table.index) == set(expected.index)
    np.testing.assert_allclose(
        table.loc[expected.index, ["mean_a", "mean_b"]], expected[["mean_a", "mean_b"]], rtol=1e-4
    )
    np.testing.assert_allclose(table.loc[expected.index, "p"], expected["p"])
    with pytest.raises(ValueError, match="there is no measure 'moon'"):
        history.compare_groups(*groups.values(), measures=["moon"])


@pytest.mark.parametrize("engine", [1, 4])
def test_workers_change_no_bit(whole, engine, tmp_path):
    model, dataset, history = whole
    expected = numbers(Path(history.folder))
    survey(model, dataset, tmp_path / "run", measures=("layers", "heads", "features"), engine=engine, progress=False)
    assert numbers(tmp_path / "run") == expected


def test_one_of_two_workers_that_is_killed_changes_no_bit(whole, tmp_path):
    model, dataset, history = whole
    steps = survey_steps(model, dataset, tmp_path / "run", measures=("layers", "heads", "features"), engine=2)
    next(steps), next(steps)
    killed = multiprocessing.active_children()[0]
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    for _ in steps:
        pass
    assert numbers(tmp_path / "run") == numbers(history.folder)


def test_a_stopped_survey_goes_on_where_it_was(whole, tmp_path, monkeypatch):
    model, dataset, history = whole
    steps = survey_steps(model, dataset, tmp_path / "run", measures=("layers", "heads", "features"))
    assert [next(steps) for _ in range(4)] == [0, 1 / 8, 2 / 8, 3 / 8]
    steps.close()
    with pytest.raises(ValueError, match="not finished: run survey again"):
        open_survey(tmp_path / "run")
    (tmp_path / "run" / "chunks" / "00001.parquet").write_bytes(b"PAR1 cut off")
    computed = count_chunks(monkeypatch)
    survey(model, dataset, tmp_path / "run", measures=("layers", "heads", "features"), progress=False)
    assert computed == [1, 3, 4, 5, 6, 7, 8][: len(computed)]
    assert len(computed) == -(-len(dataset) // 50) - 2
    assert numbers(tmp_path / "run") == numbers(history.folder)


def test_a_finished_survey_is_not_computed_again(whole, monkeypatch):
    model, dataset, history = whole
    computed = count_chunks(monkeypatch)
    again = survey(model, dataset, history.folder, measures=("layers", "heads", "features"), progress=False)
    assert not computed
    assert len(again) == len(dataset)


def test_a_finished_survey_with_a_damaged_table_is_made_again(whole, tmp_path):
    model, dataset, history = whole
    survey(model, dataset, tmp_path / "run", measures=("layers", "heads", "features"), progress=False)
    path = tmp_path / "run" / "windows.parquet"
    content = path.read_bytes()
    place = len(content) // 3  # in a page of numbers, which DuckDB reads with the wrong bit
    for damaged in (content[: len(content) // 2], content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"windows\.parquet is damaged: expected 400 whole rows; run survey again"):
            open_survey(tmp_path / "run")
    survey(model, dataset, tmp_path / "run", measures=("layers", "heads", "features"), progress=False)
    assert numbers(tmp_path / "run") == numbers(history.folder)


def count_chunks(monkeypatch) -> list[int]:
    """The places of chunks that are computed from now on."""
    from stockformer.survey import run

    computed: list[int] = []
    plain = run.run_chunks

    def counting(work, model, chunk_of, places, engine):
        computed.extend(places)
        return plain(work, model, chunk_of, places, engine)

    monkeypatch.setattr(run, "run_chunks", counting)
    return computed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: (make_model(seed=1), make_dataset(), ("layers",)), "the model"),
        (lambda: (make_model(), make_dataset(lookback=9), ("layers",)), "the dataset"),
        (lambda: (make_model(), make_dataset(), ("heads",)), "the measures"),
    ],
)
def test_a_survey_of_something_else_is_refused(change, words, tmp_path):
    survey(make_model(), make_dataset(), tmp_path, measures=("layers",), progress=False)
    before = numbers(tmp_path)
    model, dataset, measures = change()
    with pytest.raises(ValueError, match=f"holds another survey, which differs in {words}; choose another folder"):
        survey(model, dataset, tmp_path, measures=measures, progress=False)
    assert numbers(tmp_path) == before


def test_folders_that_cannot_be_used(model, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is a file, expected a folder"):
        survey(model, dataset, tmp_path / "file", progress=False)
    with pytest.raises(NotADirectoryError, match=r"^the folder .*below cannot be made: Not a directory$"):
        survey(model, dataset, tmp_path / "file" / "below", progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"holds thesis\.tex, expected an empty folder or a survey"):
        survey(model, dataset, tmp_path / "mine", progress=False)
    with pytest.raises(FileNotFoundError, match=r"holds no survey: there is no manifest\.json"):
        open_survey(tmp_path / "nowhere")
    survey(model, dataset, tmp_path / "run", progress=False)
    manifest = tmp_path / "run" / "manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({name: whole[name] for name in whole if name not in ("index", "model")}))
    for opening in (lambda: open_survey(tmp_path / "run"), lambda: survey(model, dataset, tmp_path / "run")):
        with pytest.raises(ValueError, match=r"manifest\.json is damaged: it lacks index, model"):
            opening()
    manifest.write_text(json.dumps(whole))
    (tmp_path / "run" / "maps.npz").unlink()
    with pytest.raises(ValueError, match=r"maps\.npz is missing or damaged; run survey again"):
        open_survey(tmp_path / "run").mean_maps("month")
    manifest.write_text(json.dumps(whole | {"schema": 99}))
    with pytest.raises(ValueError, match="has schema 99, this version reads 1"):
        open_survey(tmp_path / "run")
    manifest.write_text("{")
    with pytest.raises(ValueError, match="is damaged: expected the manifest of a survey"):
        open_survey(tmp_path / "run")


def test_sectors_are_given_and_changed_without_running_the_model(model, dataset, tmp_path, monkeypatch):
    def sectors_of(history) -> dict[str, str]:
        return dict(history.to_frame(["ticker", "sector"]).drop_duplicates().itertuples(index=False))

    surveyed = survey(model, dataset, tmp_path / "run", progress=False)
    assert "sector" not in surveyed.columns
    with pytest.raises(ValueError, match="this survey has no sectors"):
        surveyed.groups("sector")
    monkeypatch.setattr("stockformer.survey.run.measure_chunk", None)
    given = survey(model, dataset, tmp_path / "run", sectors={"T1": "oil", "T3": "Levi's", "X": "oil"}, progress=False)
    assert sectors_of(given) == {"T0": "none", "T1": "oil", "T2": "none", "T3": "Levi's", "T4": "none"}
    assert given.measures == surveyed.measures
    pd.testing.assert_frame_equal(given.to_frame(surveyed.columns), surveyed.to_frame())
    tickers = given.to_frame()["ticker"]
    assert {name: set(tickers[members]) for name, members in given.groups("sector").items()} == {
        "Levi's": {"T3"},
        "none": {"T0", "T2", "T4"},
        "oil": {"T1"},
    }
    survey(model, dataset, tmp_path / "run", sectors=pd.Series({"T0": "banks", "T1": None}), progress=False)
    survey(model, dataset, tmp_path / "run", progress=False)
    assert sectors_of(open_survey(tmp_path / "run"))["T0"] == "banks"
    with pytest.raises(ValueError, match="sectors names X, and none of the tickers, which are T0, T1, T2, T3, T4"):
        survey(model, dataset, tmp_path / "other", sectors={"X": "oil"}, progress=False)


def test_bad_arguments(model, dataset, tmp_path):
    with pytest.raises(ValueError, match="measures holds 'moon', expected names of layers, heads, features"):
        survey(model, dataset, tmp_path / "run", measures=["moon"], progress=False)
    with pytest.raises(TypeError, match="measures is 'layers', expected a list of names of layers, heads, features"):
        survey(model, dataset, tmp_path / "run", measures="layers", progress=False)
    with pytest.raises(TypeError, match="sectors is list, expected the sector of every ticker"):
        survey(model, dataset, tmp_path / "run", sectors=["T0"], progress=False)
    with pytest.raises(ValueError, match="sectors names no ticker, and none of the tickers, which are T0"):
        survey(model, dataset, tmp_path / "run", sectors={}, progress=False)
    with pytest.raises(ValueError, match="engine is 0, expected at least 1 worker process"):
        survey(model, dataset, tmp_path / "run", engine=0, progress=False)
    with pytest.raises(TypeError, match=r"engine is str, expected None, a number of worker processes, or a dask"):
        survey(model, dataset, tmp_path / "run", engine="many", progress=False)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="Linear"):
        survey(nn.Linear(3, 3), dataset, tmp_path / "other", progress=False)


HOLDS_LOCK = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
input()
"""


def test_a_survey_that_another_process_writes_is_left_alone(model, dataset, tmp_path):
    command = [sys.executable, "-c", HOLDS_LOCK, str(tmp_path / "writing.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match="is being written by another process"):
            survey(model, dataset, tmp_path, progress=False)
        other.stdin.close()
    assert len(survey(model, dataset, tmp_path, progress=False)) == len(dataset)


def test_a_full_disk_keeps_what_is_done(model, dataset, tmp_path, monkeypatch):
    plain, written = store.write_whole, []

    def write(files):
        written.append(files)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        plain(files)

    monkeypatch.setattr(store, "write_whole", write)
    with pytest.raises(OSError, match=r"no space left for .*; what is done is kept"):
        survey(model, dataset, tmp_path / "run", progress=False)
    assert len(list((tmp_path / "run" / "chunks").glob("*.parquet"))) == 2
    computed = count_chunks(monkeypatch)
    survey(model, dataset, tmp_path / "run", progress=False)
    assert computed[0] == 2


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, who may write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


NOBODY = 65534


def test_a_read_only_folder_keeps_what_is_done(whole, monkeypatch):
    model, dataset, history = whole
    details = {"measures": ("layers", "heads", "features")}
    with TemporaryDirectory() as above:  # that of pytest may be entered by its owner alone
        folder = Path(above) / "run"
        steps = survey_steps(model, dataset, folder, **details)
        next(steps), next(steps), next(steps)
        steps.close()
        folder.chmod(0o555), Path(above).chmod(0o555)
        for path, words in ((folder, "be written"), (folder / "new", "be made")):
            with (
                unprivileged(),
                pytest.raises(PermissionError, match=rf"^the folder {path} cannot {words}: Permission denied"),
            ):
                survey(model, dataset, path, **details, progress=False)
        folder.chmod(0o755), Path(above).chmod(0o755)
        computed = count_chunks(monkeypatch)
        survey(model, dataset, folder, **details, progress=False)
        assert computed[0] == 2
        assert numbers(folder) == numbers(history.folder)


def test_the_shipped_survey_is_of_the_shipped_model(monkeypatch):
    dataset, model = load_sample("volatility")
    history = sample_survey()
    check_fit(history, ExtractorSession.from_dataset(model, dataset))
    frame = history.to_frame()
    for index in range(0, len(dataset), 997):
        for name, value in measure_windows(model, *dataset.window(index).inputs, details=["layers"]).items():
            np.testing.assert_allclose(frame[name.replace(" ", "_")][index], float(value), **LAST_BITS, err_msg=name)


def test_what_is_not_installed_is_named(model, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    for make in (lambda: survey(model, dataset, tmp_path, progress=False), sample_survey):
        with pytest.raises(ImportError, match=r"a survey needs duckdb: pip install 'stockformer-widgets\[history\]'"):
            make()
