"""Work in processes and on a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import torch
from doubling import Doubling, double, wait

from stockformer.explainability import analyze_output_distribution, window_groups
from stockformer.survey import survey, survey_steps
from stockformer.threads import one_thread
from stockformer.workers import chunk_steps, run_chunks, run_in_order
from stockformer_widgets import ExtractorSession


def chunk_of(place: int) -> torch.Tensor:
    return torch.tensor(float(place))


@pytest.mark.parametrize("engine", [None, 1])
def test_results_come_with_their_places_and_errors_come_through(engine):
    results = run_chunks(double, Doubling(), chunk_of, [2, 0, 7, 3], engine)
    assert dict(islice(results, 3)) == {2: 4.0, 0: 0.0, 7: 14.0}
    workers = [Path(f"/proc/{worker.pid}/status").read_text() for worker in multiprocessing.active_children()]
    blocked = [re.search(r"^SigBlk:\s*(\w+)$", status, re.M)[1] for status in workers]
    assert [int(signals, 16) >> signal.SIGINT - 1 & 1 for signals in blocked] == [1] * (engine or 0)
    with pytest.raises(ArithmeticError, match="three cannot be doubled"):
        next(results)
    assert not multiprocessing.active_children()


def test_ctrl_c_waits_for_no_chunk():
    results = run_chunks(wait, Doubling(), chunk_of, [0, 20, 20], 1)
    next(results)
    (worker,) = multiprocessing.active_children()
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert worker.exitcode == -signal.SIGTERM


def test_chunks_are_made_when_they_are_needed():
    made = []

    def making(place: int) -> torch.Tensor:
        made.append(place)
        return chunk_of(place)

    results = run_chunks(double, Doubling(), making, [0, 1, 2])
    next(results)
    assert made == [0]


def test_results_that_come_early_wait_for_those_before_them(monkeypatch):
    arriving = ((place, f"result {place}") for place in (2, 0, 1, 3))
    monkeypatch.setattr("stockformer.workers.run_chunks", lambda *given: arriving)
    results = run_in_order(double, Doubling(), chunk_of, 4)
    assert list(islice(results, 3)) == ["result 0", "result 1", "result 2"]
    results.close()
    assert list(arriving) == []


def test_work_in_steps():
    def halves(model, chunk):
        yield 0.5
        yield 1.0
        return double(model, chunk)

    steps = chunk_steps(halves, Doubling(), chunk_of, 3)
    assert [next(steps) for _ in range(6)] == pytest.approx([1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1.0])
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == [0.0, 2.0, 4.0]


def test_two_workers_change_no_bit_of_faithfulness(model, dataset, few_orders):
    explanations = ExtractorSession.from_dataset(model, dataset).explanations
    here, there = (explanations.check(3, "day", engine=engine) for engine in (None, 2))
    pd.testing.assert_frame_equal(here.table, there.table, check_exact=True)
    pd.testing.assert_frame_equal(here.second.curves, there.second.curves, check_exact=True)


def test_the_same_engines_everywhere(model, dataset):
    session = ExtractorSession.from_dataset(model, dataset)
    for run in (
        partial(session.find, "most wrong"),
        partial(session.explanations.check, 2),
        partial(window_groups, model, dataset, "correct"),
    ):
        with pytest.raises(ValueError, match="engine is 0, expected at least 1 worker process"):
            run(engine=0)


def test_the_setting_of_threads_is_restored():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    options = {"threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(2, processes=True, **options) as cluster, distributed.Client(cluster) as client:
        yield client


def test_a_cluster_changes_no_bit_though_a_worker_is_killed(model, dataset, tmp_path, cluster):
    survey(model, dataset, tmp_path / "here", progress=False)
    steps = survey_steps(model, dataset, tmp_path / "there", engine=cluster)
    next(steps), next(steps)
    os.kill(next(iter(cluster.run(os.getpid).values())), signal.SIGKILL)
    for _ in steps:
        pass
    for name in ("windows.parquet", "maps.npz"):
        assert Path(tmp_path / "there" / name).read_bytes() == Path(tmp_path / "here" / name).read_bytes()


def test_a_cluster_changes_no_bit_of_outputs(model, dataset, cluster):
    here, there = (
        analyze_output_distribution(model, dataset, engine=engine, progress=False) for engine in (None, cluster)
    )
    assert torch.equal(here.outputs, there.outputs)
    assert torch.equal(here.labels, there.labels)


def test_workers_of_another_version_are_refused(model, dataset, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("stockformer.__version__", "99.0")
    with pytest.raises(RuntimeError, match=r"worker tcp://\S+ has stockformer \S+ and torch \S+, this process stockf"):
        survey(model, dataset, tmp_path / "run", engine=cluster, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_scheduler_that_disappears(model, dataset, tmp_path):
    distributed = pytest.importorskip("distributed")
    command = [sys.executable, "-c", SCHEDULER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as scheduler:
        try:
            address = scheduler.stdout.readline().strip()
            with distributed.Client(address, timeout=30) as client:
                steps = survey_steps(model, dataset, tmp_path / "run", engine=client)
                next(steps), next(steps)
                scheduler.kill()
                with pytest.raises(ConnectionError, match=f"the connection to the scheduler {address} is lost"):
                    for _ in steps:
                        pass
        finally:
            scheduler.kill()
    assert list((tmp_path / "run" / "chunks").glob("*.parquet"))
    assert len(survey(model, dataset, tmp_path / "run", progress=False)) == len(dataset)


#: A scheduler with a worker in its own process, which tells its address.
SCHEDULER = """
import time
from distributed import LocalCluster
cluster = LocalCluster(1, processes=False, protocol="tcp", threads_per_worker=1, dashboard_address=None)
print(cluster.scheduler_address, flush=True)
time.sleep(600)
"""
