"""How fast the explorer answers in JupyterLab, beside what one would write without it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import chromium as finder
import numpy as np
from lab import CELL_MS, chromium, jupyterlab, write_notebook
from playwright.sync_api import Browser, CDPSession, Page
from tables import against_aim, table

HERE = Path(__file__).parent
LENGTHS = (60, 252)
WARM_UP, CHANGES = 3, 15
SLOW_MS, SLOW_CHANGES = 2500, 3  # what takes longer than this is changed less often
QUIET_MS = 300
STARTS = 3
SAMPLES = 200

SETUP = """
import sys
sys.path.insert(0, {here!r})
import rivals
from stockformer_widgets import AttentionExplorer
session = rivals.make_session({length})
session.explanations.saliency()
"""
OURS, MATPLOTLIB, GRID, TRIP = "AttentionExplorer", "matplotlib, interact", "bqplot, GridHeatMap", "bare round trip"
CELLS = {
    OURS: "if 'shown' in dir(): shown.close()\nshown = AttentionExplorer(session)\nshown",
    MATPLOTLIB: "rivals.matplotlib_panels(session)",
    GRID: "rivals.bqplot_panels(session)",
    TRIP: "rivals.round_trip()",
}
LAYER, DAY, PRESS = ("change", "layer"), ("change", "query"), ("press", "count")
AIMS = {60: 1 / 5, 252: 1 / 4}

Measured = dict[str, Any]


class Notebook:
    """A notebook in a page of its own, with a kernel of its own."""

    def __init__(self, browser: Browser, address: str, root: Path, cells: Sequence[str]) -> None:
        name = f"notebook{len(list(root.glob('*.ipynb')))}.ipynb"
        write_notebook(root / name, list(cells))
        self.page: Page = browser.new_page(viewport={"width": 1920, "height": 1500})
        self.page.add_init_script(path=HERE / "probe.js")
        self.page.goto(f"{address}/lab/tree/{name}?reset")
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=CELL_MS)
        self.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=CELL_MS)
        self.devtools: CDPSession = self.page.context.new_cdp_session(self.page)
        self.devtools.send("Performance.enable")

    def run(self, cell: int) -> Measured:
        """Run a cell."""
        self.page.locator(".jp-Notebook .jp-InputPrompt").nth(cell).click()
        measured = self.measure("run")
        errors = self.page.locator("[data-mime-type='application/vnd.jupyter.error']").all_inner_texts()
        assert not errors, "\n".join(errors)
        self.page.evaluate(_SCROLL, cell)
        return measured

    def measure(self, act: str, argument: str = "", quiet: int = QUIET_MS) -> Measured:
        """Do something in the page; what came of it until the last change was painted, times in ms."""
        self.page.bring_to_front()
        before = self._spent()
        measured: Measured = self.page.evaluate("measure", [act, argument, quiet])
        assert act == "run" or measured["ms"] is not None, f"{act} {argument} changed nothing on the screen"
        return measured | {name: 1000 * (after - before[name]) for name, after in self._spent().items()}

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def nodes(self) -> int:
        """How many elements the outputs have."""
        return int(self.page.evaluate("document.querySelectorAll('.jp-Cell-outputArea *').length"))

    def held(self) -> dict[str, float]:
        """What page and kernel hold, after both collected their garbage."""
        self.measure("press", "held")
        self.devtools.send("HeapProfiler.collectGarbage")
        heap = self.devtools.send("Runtime.getHeapUsage")["usedSize"] / 1e6
        counters = self.devtools.send("Memory.getDOMCounters")
        in_page = {"page's heap, MB": heap, "DOM nodes": counters["nodes"], "listeners": counters["jsEventListeners"]}
        return json.loads(self.text(".said-held")) | in_page

    def close(self) -> None:
        self.page.close()

    def _spent(self) -> dict[str, float]:
        """Seconds that the page's main thread has spent so far, by kind of work."""
        found = self.devtools.send("Performance.getMetrics")["metrics"]
        values = {metric["name"]: metric["value"] for metric in found}
        return {
            "script": values["ScriptDuration"],
            "layout": values["LayoutDuration"] + values["RecalcStyleDuration"],
            "busy": values["TaskDuration"],
        }


_SCROLL = "cell => document.querySelectorAll('.jp-Notebook .jp-Cell-outputArea')[cell].scrollIntoView()"


def report() -> str:
    """Measure everything; Markdown."""
    path = finder.install()
    with chromium(path) as browser, TemporaryDirectory() as folder, jupyterlab(Path(folder)) as address:
        where = browser, address, Path(folder)
        parts = [_EXPLANATION.format(quiet=QUIET_MS, warm_up=WARM_UP, changes=CHANGES)]
        for length in LENGTHS:
            parts += ["### " + _title(length), changes(where, length)]
        parts += ["### From running the cell to the explorer", _STARTS.format(starts=STARTS), starts(where)]
        parts += [f"### {SAMPLES} samples one after another", samples(where)]
    return "\n\n".join(parts)


def changes(where: tuple[Browser, str, Path], length: int) -> str:
    """Every way to show a session, changed in turn: a table, and the aims."""
    books = {}
    for name, cell in CELLS.items():
        print(f"explorer: {length} days, opening {name}", flush=True)
        books[name] = _open(where, length, cell)
        books[name].run(1)
    acts = {name: [PRESS] if name == TRIP else [LAYER, DAY] for name in CELLS}
    taken: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for turn in range(WARM_UP + CHANGES):
        print(f"explorer: {length} days, change {turn + 1} of {WARM_UP + CHANGES}", flush=True)
        for name, book in books.items():
            for act in acts[name]:
                times = taken[name, act[1]]
                slow = bool(times) and times[0]["ms"] > SLOW_MS
                if len(times) < (1 + SLOW_CHANGES if slow else WARM_UP + CHANGES):
                    times.append(book.measure(*act))
    rows, middles = [], {}
    for (name, what), times in taken.items():
        kept = times[WARM_UP:] if len(times) > WARM_UP + SLOW_CHANGES else times[1:]
        middles[name, what] = median(measured["ms"] for measured in kept)
        rows.append(_row(name, what, kept, middles.get((MATPLOTLIB, what)), books[name].nodes()))
    for book in books.values():
        book.close()
    for row, (name, what) in zip(rows, taken, strict=True):
        rival = middles.get((MATPLOTLIB, what))
        row[4] = "" if rival is None else f"{middles[name, what] / rival:.2f}"
    aims = [
        against_aim(
            f"{what}: AttentionExplorer / matplotlib", middles[OURS, what] / middles[MATPLOTLIB, what], AIMS[length]
        )
        for what in ("layer", "query")
    ]
    trip = middles[TRIP, "count"]
    aims += [f"- {what}: {middles[OURS, what] / trip:.1f} times the bare round trip." for what in ("layer", "query")]
    return "\n\n".join([table(_HEAD, rows), "\n".join(aims), _where_time_goes(taken[OURS, "layer"][WARM_UP:])])


def _where_time_goes(times: list[Measured]) -> str:
    def middle(key: str) -> float:
        return float(median(measured[key] for measured in times))

    painting = middle("busy") - middle("script") - middle("layout")
    return (
        f"Of the {middle('ms'):.0f} ms of a layer change the kernel sends for {middle('kernel'):.0f} ms. The page's "
        f"main thread is busy for {middle('busy'):.0f} ms: {middle('script'):.0f} in scripts, {middle('layout'):.0f} "
        f"in style and layout, the other {painting:.0f} mostly in painting, which has no GPU here."
    )


def _row(name: str, what: str, times: list[Measured], rival: float | None, nodes: int) -> list[object]:
    def middle(key: str) -> float:
        return float(median(measured[key] for measured in times))

    spread = np.quantile([measured["ms"] for measured in times], (0.5, 0.9))
    return [
        name,
        what,
        *(f"{value:,.0f}" for value in spread),
        "",
        *(f"{middle(key):,.0f}" for key in ("kernel", "messages")),
        f"{middle('bytes') / 1000:,.0f}",
        *(f"{middle(key):,.0f}" for key in ("script", "layout", "busy")),
        f"{nodes:,}",
        len(times),
    ]


def starts(where: tuple[Browser, str, Path]) -> str:
    """The cell that shows the explorer: in a fresh page and kernel, and once more in the same."""
    rows = []
    for length in LENGTHS:
        times: dict[str, list[Measured]] = {"first": [], "again": []}
        nodes = 0
        for turn in range(STARTS):
            print(f"explorer: {length} days, start {turn + 1} of {STARTS}", flush=True)
            book = _open(where, length, CELLS[OURS])
            times["first"].append(book.run(1))
            times["again"].append(book.run(1))
            nodes = book.nodes()
            book.close()
        for what, found in times.items():
            keys = ("firstPicture", "ms", "kernel", "messages", "bytes")
            middle = {key: median(measured[key] for measured in found) for key in keys}
            middle["bytes"] /= 1000
            rows.append([_title(length), what, *(f"{value:,.0f}" for value in middle.values()), f"{nodes:,}"])
    head = ["map", "run", "map drawn, ms", "all drawn, ms", "kernel, ms", "messages", "received, kB", "elements"]
    return table(head, rows)


def samples(where: tuple[Browser, str, Path]) -> str:
    """What kernel and page hold while sample follows sample."""
    book = _open(where, LENGTHS[0], CELLS[OURS], "rivals.sample_buttons(session)")
    for cell in (1, 2):
        book.run(cell)
    _walk(book, 10)
    found = {"before": book.held()}
    for number in (SAMPLES // 2, SAMPLES):
        print(f"explorer: until sample {number}", flush=True)
        _walk(book, SAMPLES // 2)
        found[f"after {number}"] = book.held()
    book.close()
    head = ["", *found, f"change over the last {SAMPLES // 2}"]
    rows = []
    for key in found["before"]:
        values = [measured[key] for measured in found.values()]
        digits = 1 if key.endswith("MB") else 0
        rows.append([key, *(f"{value:,.{digits}f}" for value in values), f"{values[-1] - values[-2]:+,.{digits}f}"])
    return "\n\n".join([table(head, rows), _SAMPLES])


def _walk(book: Notebook, number: int) -> None:
    for _ in range(number):
        book.measure("press", "next", quiet=60)


def _open(where: tuple[Browser, str, Path], length: int, *cells: str) -> Notebook:
    """A notebook whose setup has run; its cells have not."""
    book = Notebook(*where, [SETUP.format(here=str(HERE), length=length).strip(), *cells])
    book.run(0)
    return book


def _title(length: int) -> str:
    return f"{length} x {length}"


_HEAD = [
    "shown with",
    "change",
    "median, ms",
    "90 %, ms",
    "/ matplotlib",
    "kernel, ms",
    "messages",
    "received, kB",
    "page's script, ms",
    "layout, ms",
    "busy, ms",
    "elements",
    "n",
]

_EXPLANATION = """\
The shipped model, 4 layers of 8 heads, on the shipped data in windows of 60 and of 252 days (for these its position
table, which is not a weight, is extended), in JupyterLab and Chromium. Each of the following has a notebook, a page and
a kernel of its own, all open at the same time, and they take turns in every round:

- AttentionExplorer: its front tab with all its views on the screen.
- matplotlib, interact: one figure of four panels (map, row, gates, saliency) under `ipywidgets.interact`.
- bqplot, GridHeatMap: the same four panels in bqplot, the map as a `GridHeatMap`.
- bare round trip: a button that sets a label.

Layer and day are changed with the same two controls in all of them, a dropdown and a slider, by an event
dispatched in the page. The time runs from that event until the last change in the notebook's outputs (of the
DOM, or a picture that was loaded) was painted by the page's main thread: that is, until a task queued in the
first frame after it runs. The last change is known once the kernel has answered everything and {quiet} ms went by
without a message or another change. The work of the compositor on that frame is not included for any of them.
{warm_up} warm-ups, then {changes} changes (fewer where n says so). Medians, except in the 90 % column.

- kernel: from the first to the last message, by the kernel's clock.
- messages, received: messages and data that came over the websocket.
- page's script, layout, busy: time of the page's main thread by Chromium's `Performance.getMetrics`, until
  everything was quiet; busy is all of it, with painting and the measurement itself. Kernel and page overlap."""

_STARTS = """\
The cell is `AttentionExplorer(session)`; the session exists already. first: in a fresh page and kernel, including what
JupyterLab loads for its first widget; again: the same cell once more, which closes the first explorer. Medians of
{starts}."""

_SAMPLES = """\
bqplot leaves about one detached node in the page with every redraw of `Bars`, and a few whenever the range of an axis
changes; so does a bare `Bars` figure. This accounts for the growth of the DOM nodes."""
