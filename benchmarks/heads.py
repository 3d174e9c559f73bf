"""How fast every head's map is on the screen, beside what other packages draw from the same arrays."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path
from shutil import copytree
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from unittest.mock import patch

import chromium as finder
import torch
from explorer import Notebook
from lab import chromium, jupyterlab
from playwright.sync_api import Browser, TimeoutError
from tables import against_aim, table
from torch import Tensor

from stockformer.charts.maps import head_grid, head_maps
from stockformer.explainability import head_statistics
from stockformer_widgets.components.head_maps import describe_maps, display_maps
from stockformer_widgets.views.head_grid import MapGrid

HERE = Path(__file__).parent
SHAPES = ((3, 4, 60), (6, 8, 120), (6, 8, 256), (12, 12, 256))
AIMED = (6, 8, 256)
FIRST_AIM_S, REDRAW_AIM_S, NODES_AIM = 1.0, 0.1, 150
LIMIT_S, SLOW_S, ROUNDS, QUIET_MS = 120, 10, 5, 400
OURS, LAB = "HeadGrid, page", "HeadGrid, JupyterLab"
CDN = {
    "https://cdnjs.cloudflare.com/ajax/libs/require.js/2.3.6/require.min.js": "/node_modules/requirejs/require.js",
    "https://cdnjs.cloudflare.com/ajax/libs/d3/5.7.0/d3.min": "/node_modules/d3/dist/d3.min",
    "https://cdnjs.cloudflare.com/ajax/libs/jquery/2.0.0/jquery.min": "/node_modules/jquery/dist/jquery.min",
}

Maps = Sequence[Tensor]  # one [heads, query, key] a layer
Page = Callable[[Maps, Sequence[str]], str]


def random_maps(layers: int, heads: int, length: int) -> Maps:
    return list(torch.randn(layers, heads, length, length, generator=torch.manual_seed(0)).mul(2).softmax(dim=-1))


def ours(maps: Maps, days: Sequence[str]) -> str:
    """The widget's own script with a stand-in for the model; the redraw shows the same maps in another order."""
    heads = [head_maps(layer, (days, days)) for layer in maps]
    grid = head_grid(heads, head_statistics(maps), "").body
    traits = {"maps": describe_maps(grid), "layer": 0, "head": 0}
    return _OURS % (MapGrid._css, json.dumps(traits), base64.b64encode(display_maps(grid)).decode())


def bertviz(maps: Maps, days: Sequence[str]) -> str:
    from bertviz import model_view

    return str(model_view([one[None] for one in maps], list(days), html_action="return", display_mode="light").data)


def circuitsvis(maps: Maps, days: Sequence[str]) -> str:
    from circuitsvis.attention import attention_heads

    return str(attention_heads(attention=torch.cat(list(maps)), tokens=list(days)).local_src)


def inspectus(maps: Maps, days: Sequence[str]) -> str:
    import inspectus

    said: list[Any] = []
    with patch("IPython.display.display", said.append):
        inspectus.attention(torch.stack(list(maps)).numpy(), list(days), list(days))
    return "".join(one.data for one in said)


PEERS = {"bertviz": bertviz, "circuitsvis": circuitsvis, "inspectus": inspectus}
DRAWS = {
    OURS: "all heads",
    LAB: "all heads",
    "bertviz": "all heads (`model_view`)",
    "circuitsvis": "all heads (`attention_heads`)",
    "inspectus": "one map, the heads summed",
}


def report() -> str:
    """Measure everything; Markdown. The peers come from the Python and npm registries."""
    path = finder.install()
    with TemporaryDirectory() as folder, chromium(path) as browser:
        versions = bring_peers(Path(folder))
        with serving(Path(folder)) as address:
            found = in_pages(browser, address, Path(folder))
        with jupyterlab(Path(folder)) as lab:
            found |= in_lab(browser, lab, Path(folder))
    rows = [
        [_title(shape), name, DRAWS[name], *_cells(found[shape, name])] for shape in SHAPES for name in (*_PAGES, LAB)
    ]
    aims = _aims(found[AIMED, OURS])
    return "\n\n".join([_EXPLANATION.format(limit=LIMIT_S, rounds=ROUNDS, peers=versions), table(_HEAD, rows), aims])


def bring_peers(folder: Path) -> str:
    """Install the peers into a folder of their own; their names and versions."""
    sys.path.insert(0, str(HERE.parent / "js"))
    from node import npm

    copytree(HERE / "peers", folder, dirs_exist_ok=True)
    packages = folder / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", packages]
    subprocess.run([*pip, "--requirement", folder / "requirements.txt"], check=True)
    done = npm("install", "--no-audit", "--no-fund", cwd=folder)
    if done.returncode:
        raise RuntimeError(f"npm could not install what bertviz loads:\n{done.stdout}")
    sys.path.insert(0, str(packages))
    found = {one.name: one.version for one in distributions(path=[str(packages)])}
    return ", ".join(f"{name} {found[name]}" for name in PEERS)


@contextmanager
def serving(folder: Path) -> Any:
    """Serve a folder on this machine; the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


_PAGES: dict[str, Page] = {OURS: ours, **PEERS}
Found = dict[tuple[tuple[int, int, int], str], list[dict[str, float]]]


def in_pages(browser: Browser, address: str, folder: Path) -> Found:
    """Every package's own page, in turn; what once took longer than `SLOW_S` is not opened again."""
    (folder / "head_grid.js").write_text(MapGrid._esm)
    found: Found = defaultdict(list)
    beyond: set[str] = set()
    for shape in SHAPES:
        maps, days = random_maps(*shape), [f"2008-{1 + day // 28:02}-{1 + day % 28:02}" for day in range(shape[2])]
        pages = {name: page for name, page in _PAGES.items() if name not in beyond}
        for name, page in pages.items():
            html = page(maps, days)
            for there, here in CDN.items():
                html = html.replace(there, here)
            (folder / f"{name}.html").write_text(f"<!doctype html><meta charset=utf-8><body>{html}")
        for turn in range(ROUNDS):
            for name in pages:
                times = found[shape, name]
                if name in beyond or (times and times[0]["first"] > 1000 * SLOW_S):
                    continue
                print(f"heads: {_title(shape)}, {name}, {turn + 1} of {ROUNDS}", flush=True)
                try:
                    times.append(_open(browser, f"{address}/{name}.html"))
                    times[-1]["bytes"] = (folder / f"{name}.html").stat().st_size
                except TimeoutError:
                    beyond.add(name)
    return found


def _open(browser: Browser, address: str) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    try:
        page.set_default_timeout(1000 * LIMIT_S)
        page.add_init_script(_PROBE)
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable")
        page.goto(address, wait_until="commit")
        page.wait_for_function(f"document.readyState === 'complete' && quiet({QUIET_MS})", polling=100)
        metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
        measured = {
            "first": page.evaluate("painted"),
            "nodes": page.evaluate("document.querySelectorAll('*').length"),
            "busy": 1000 * metrics["TaskDuration"],
        }
        if page.evaluate("'redraw' in window"):
            start = page.evaluate("(() => { const now = performance.now(); redraw(); return now; })()")
            page.wait_for_function(f"quiet({QUIET_MS})", polling=100)
            measured["redraw"] = page.evaluate("painted") - start
        return measured
    finally:
        page.close()


def in_lab(browser: Browser, lab: str, folder: Path) -> Found:
    """The view in JupyterLab, with its kernel and its wire: the cell that shows it, and another kind of attention."""
    found: Found = defaultdict(list)
    for shape in SHAPES:
        setup = f"import sys\nsys.path.insert(0, {str(HERE)!r})\nimport rivals\ngrid = rivals.HeadGridCell{shape}"
        book = Notebook(browser, lab, folder, [setup, "grid.show()"])
        book.run(0)
        print(f"heads: {_title(shape)}, {LAB}", flush=True)
        shown = book.run(1)
        turns = [book.measure("press", "turn") for _ in range(ROUNDS)]
        found[shape, LAB] = [
            {
                "first": shown["ms"],
                "nodes": book.nodes(),
                "busy": shown["busy"],
                "bytes": shown["bytes"],
                "redraw": turn["ms"],
            }
            for turn in turns
        ]
        book.close()
    return found


def _cells(times: list[dict[str, float]]) -> list[str]:
    if not times:
        return [f"over {1000 * LIMIT_S:,}", "", "", "", "", "0"]
    middle = {key: median(one[key] for one in times) for key in times[0]}
    redraw = f"{middle['redraw']:,.0f}" if "redraw" in middle else ""
    first, busy, nodes = (f"{middle[key]:,.0f}" for key in ("first", "busy", "nodes"))
    return [first, redraw, busy, nodes, f"{middle['bytes'] / 1000:,.0f}", str(len(times))]


def _aims(times: list[dict[str, float]]) -> str:
    middle = {key: median(one[key] for one in times) for key in times[0]}
    return "\n".join(
        [
            against_aim(f"{_title(AIMED)}: first paint, s", middle["first"] / 1000, FIRST_AIM_S),
            against_aim(f"{_title(AIMED)}: redraw, s", middle["redraw"] / 1000, REDRAW_AIM_S),
            against_aim(f"{_title(AIMED)}: elements", middle["nodes"], NODES_AIM),
        ]
    )


def _title(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))


# When the page last changed, and when that was painted: a task queued in the first frame after it runs.
_PROBE = """
window.painted = 0;
let pending = false;
const channel = new MessageChannel();
channel.port1.onmessage = () => { pending = false; window.painted = performance.now(); };
new MutationObserver(() => {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => channel.port2.postMessage(null));
}).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
window.quiet = (ms) => !pending && painted > 0 && performance.now() - painted > ms;
"""

_OURS = """
<style>%s</style><div id=grid></div>
<script type=module>
import widget from "/head_grid.js";
const traits = %s;
const codes = await (await fetch("data:;base64,%s")).arrayBuffer();
traits.codes = new DataView(codes);
const heard = {};
const model = { get: (name) => traits[name], on: (event, act) => (heard[event] = act), off() {}, send() {} };
widget.render({ model, el: document.getElementById("grid"), signal: new AbortController().signal });
const size = codes.byteLength / traits.maps.length;
const turned = new Uint8Array(codes.byteLength);
traits.maps.forEach((_, place) => {
  turned.set(new Uint8Array(codes, place * size, size), codes.byteLength - (place + 1) * size);
});
window.redraw = () => {
  Object.assign(traits, { maps: [...traits.maps].reverse(), codes: new DataView(turned.buffer) });
  heard["change:codes"]();
};
</script>
"""

_HEAD = [
    "layers x heads x days",
    "shown with",
    "draws",
    "first paint, ms",
    "redraw, ms",
    "main thread, ms",
    "elements",
    "kB",
    "n",
]

_EXPLANATION = """\
Every layer x head map of random attention at once, beside {peers}, from the same arrays. Each package writes a
page of its own, which is served from this machine, opened in turn and closed; what bertviz loads from the network is
served with it. First paint is the time from the start of the navigation until the last change of the page was painted;
redraw shows the same maps in another order, which only the head grid can do without being rebuilt. {rounds} rounds,
medians; pages that take longer than ten seconds are opened once, those that take longer than {limit} s are given up,
there and at larger shapes. Main thread: all its work until the page was quiet. kB: size of the page, which for
circuitsvis and inspectus includes their scripts.

HeadGrid, JupyterLab is the view as people use it, with the kernel and its messages: first paint from running the cell,
with the capture made before; redraw shows another kind of attention, with the maps' statistics; kB is the data that
came over the websocket."""
