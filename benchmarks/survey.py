"""Surveys: windows per second with every engine, memory, and a store of a million windows."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import torch
from tables import table as markdown

from stockformer.dataset import StockDataset
from stockformer.explainability.measures import measure_batch
from stockformer.sample import load_sample, sample_table
from stockformer.survey import Survey, history, sample_survey, survey
from stockformer.survey.history import Filter

DETAILS = ("layers", "features")
_COPIES = 144  # of the four tickers: a million windows
_SIZES = (1_000, 10_000, 100_000)
_ROUNDS = 3
_WARM_UP, _CHANGES = 2, 10  # in a page


def report() -> str:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = _repeated(Path(folder) / "million")
        parts = [_engines(Path(folder)), _memory(Path(folder)), _million(store), _screen(store)]
    return "\n\n".join(parts)


def _engines(folder: Path) -> str:
    dataset, model = _year()
    plain = _seconds(lambda: _plain_loop(model, dataset))
    rows = [("plain loop, nothing stored", plain)]
    for name, engine in (("this process", None), ("1 worker", 1), ("2 workers", 2)):
        rows.append((name, _seconds(lambda engine=engine: _survey_to(folder, model, dataset, engine))))
    rows.append(("Dask, 2 workers", _dask(folder, model, dataset)))
    table = [(name, f"{len(dataset) / took:.0f}", f"{plain / took:.2f}") for name, took in rows]
    return (
        f"`survey(model, dataset, ...)` of the shipped direction model (4 layers of 8 heads, 60 days), "
        f"{len(dataset):,} windows, with capture, one gradient, measures of every layer and mean maps. "
        "Starting the workers is included (each imports torch), starting Dask is not. One run each.\n\n"
        + markdown(["engine", "windows per second", "plain loop / engine"], table)
        + "\n\nThe aim for two workers is 1.8 times one process, including the seconds that the workers take to start."
    )


def _year() -> tuple[StockDataset, torch.nn.Module]:
    dataset, model = load_sample("direction")
    rows = sample_table().query("date < '2008-06'")
    return StockDataset(rows, **dataset.settings), model


def _plain_loop(model: torch.nn.Module, dataset: StockDataset) -> None:
    for start in range(0, len(dataset), 64):
        measure_batch(model, dataset.inputs(range(start, min(start + 64, len(dataset)))), DETAILS)


def _survey_to(folder: Path, model: torch.nn.Module, dataset: StockDataset, engine: object) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as to:
        survey(model, dataset, Path(to) / "run", measures=DETAILS, engine=engine, progress=False)  # type: ignore[arg-type]


def _dask(folder: Path, model: torch.nn.Module, dataset: StockDataset) -> float:
    from distributed import Client, LocalCluster

    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        return _seconds(lambda: _survey_to(folder, model, dataset, client))


def _memory(folder: Path) -> str:
    rows = []
    for size in _SIZES:
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import survey; survey.peak({size})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        before, peak, took = json.loads(done.stdout.splitlines()[-1])
        rows.append((f"{size:,}", f"{before:.0f}", f"{peak:.0f}", f"{took:.0f}"))
    return (
        "Memory of a survey in this process, the shipped volatility model; its tickers are repeated under other names. "
        "The windows themselves are in memory before it begins.\n\n"
        + markdown(["windows", "memory before, MB", "peak, MB", "seconds"], rows)
    )


def peak(size: int) -> None:
    """Print the memory before a survey of so many windows, its peak, and seconds, as JSON."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dataset, model = load_sample("volatility")
    table, copies = sample_table(), -(-size // len(dataset))
    many = pd.concat([table.assign(symbol=table["symbol"] + f"-{copy}") for copy in range(copies)])
    dataset = StockDataset(many.reset_index(drop=True), **dataset.settings | {"normalization": None})
    dataset.ends = dataset.ends[:size]
    before, start = _highest(), time.perf_counter()
    with tempfile.TemporaryDirectory() as to:
        survey(model, dataset, Path(to) / "run", measures=DETAILS, progress=False)
    print(json.dumps([before, _highest(), time.perf_counter() - start]))


def _highest() -> float:
    """The most memory that this program has held, in MB; `resource` would count the process that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _million(store: Path) -> str:
    before = _resident()
    start = time.perf_counter()
    big = Survey(store)
    number = int(big.query("SELECT count(*) AS n FROM windows")["n"][0])
    opened = time.perf_counter() - start
    period = Filter(days=(pd.Timestamp("2008-06-01"), pd.Timestamp("2009-06-01")))
    rows = []
    for name, where in (("all windows", Filter()), ("a brushed year", period), ("calm days", Filter(regime="calm"))):
        steps = {
            "by date": lambda where=where: history.measure_by_date(big, "market_share", where),
            "quality": lambda where=where: history.daily_quality(big, where),
            "histogram": lambda where=where: history.histogram(big, "market_share", where),
            "density": lambda where=where: history.density(big, "volatility", "market_share", where),
            "table": lambda where=where: history.window_table(big, ["error"], where, order="error", descending=True),
        }
        times = [1000 * _median(step) for step in steps.values()]
        rows.append((name, *(f"{one:.0f}" for one in times), f"{sum(times):.0f}"))
    return (
        f"A store of {number:,} windows, {4 * _COPIES} tickers, made by repeating the four shipped tickers under "
        f"other names. Opening it takes {opened:.1f} s and {_resident() - before:,.0f} MB, since the table is "
        "held in memory. What one change of the filter computes in the kernel, milliseconds, medians of "
        f"{_ROUNDS}; the aim is 100 together.\n\n"
        + markdown(["windows", "by date", "quality", "histogram", "density", "table", "together"], rows)
    )


#: What a person does, and how the page does it; in turn.
_ACTS = {
    "next regime": ("change", "days"),
    "next ticker": ("change", "ticker"),
    "all windows again": ("press", "all windows"),
    "drag over two years": ("brush", ""),
    "undo filter": ("press", "undo filter"),
    "next measure": ("change", "measure"),
    "next row of the table": ("press", "next window"),
}
_CELL = """
import psutil
from ipywidgets import Button
from stockformer.sample import load_sample
from stockformer.survey import Survey
from stockformer_widgets import ExtractorSession, HistoryView
from stockformer_widgets.history import view as history_view

history_view.check_fit = lambda *arguments: None  # the session has the four shipped tickers alone
dataset, model = load_sample("volatility")
session = ExtractorSession.from_dataset(model, dataset, 40)
view = HistoryView(Survey({store!r}), session)
on = Button(description="next window")
on.on_click(lambda button: setattr(session, "sample", session.sample + 1))
display(on, view)
"""


def _screen(store: Path) -> str:
    import chromium as finder
    import explorer
    from lab import chromium as browsing
    from lab import jupyterlab

    times: dict[str, list[dict[str, float]]] = {name: [] for name in _ACTS}
    cells = [_CELL.format(store=str(store)), "print('resident', psutil.Process().memory_info().rss // 2**20)"]
    with (
        browsing(finder.install()) as browser,
        tempfile.TemporaryDirectory() as root,
        jupyterlab(Path(root)) as lab,
    ):
        book = explorer.Notebook(browser, lab, Path(root), cells)
        opened = book.run(0)["ms"]
        for _ in range(_WARM_UP + _CHANGES):
            for name, act in _ACTS.items():
                times[name].append(book.measure(*act))
        book.run(1)
        kernel = book.page.get_by_text("resident").last.inner_text().split()[-1]
        page = book.devtools.send("Runtime.getHeapUsage")["usedSize"] / 2**20
        book.close()
    rows = []
    for name, measured in times.items():
        columns = [[one[key] for one in measured[_WARM_UP:]] for key in ("ms", "kernel", "bytes")]
        painted, computed, received = map(statistics.median, columns)
        rows.append((name, f"{painted:.0f}", f"{max(columns[0]):.0f}", f"{computed:.0f}", f"{received / 1000:,.0f}"))
    return (
        "The same store in `HistoryView`, in JupyterLab and Chromium: from an event in the page until its last change "
        "was painted (measured as for the explorer, below), and from the kernel's first to its last message. Opening "
        f"the view took {opened / 1000:.1f} s; then the kernel held {int(kernel):,} MB and the page's heap {page:.0f} "
        f"MB. Medians of {_CHANGES} after {_WARM_UP}; the aims are 250 on the screen and 100 in the kernel.\n\n"
        + markdown(["what a person does", "on the screen, ms", "longest", "kernel, ms", "received, kB"], rows)
    )


def _repeated(folder: Path) -> Path:
    """The shipped survey `_COPIES` times under other names of tickers."""
    folder.mkdir()
    source = Path(sample_survey().folder)
    manifest = json.loads((source / "manifest.json").read_text())
    manifest["windows"] *= _COPIES
    (folder / "manifest.json").write_text(json.dumps(manifest))
    duckdb.connect().execute(
        f'COPY (SELECT * REPLACE ("window" + copy * {manifest["windows"] // _COPIES} AS "window", '
        f"ticker || '-' || copy AS ticker) FROM '{source}/windows.parquet', range({_COPIES}) copies(copy) "
        f"ORDER BY date, ticker) TO '{folder}/windows.parquet'"
    )
    return folder


def _seconds(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def _median(act: Callable[[], object]) -> float:
    act()
    return statistics.median(_seconds(act) for _ in range(_ROUNDS))


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    print(report())
