"""The explorer without Python: as a page in one file, and as a widget that needs no kernel."""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import json
import math
import operator
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import pandas as pd
import torch
from tqdm import tqdm  # as text: a bar of widgets would stay open in the kernel
from traitlets import Bytes, Dict

import stockformer
from stockformer.charts.chart import Chart, Line, Lines, Note, Panels, formatted
from stockformer.charts.history import chosen_windows
from stockformer.explainability import kind_title
from stockformer.files import write_whole
from stockformer.fingerprint import fingerprint
from stockformer.survey import Survey
from stockformer.survey.history import window_row
from stockformer_widgets.state.lifetime import closes_to_the_end
from stockformer_widgets.state.selection import Selection
from stockformer_widgets.state.session import ExtractorSession
from stockformer_widgets.tabs import Columns, Slot, pages_of, slots
from stockformer_widgets.views.base import close_children
from stockformer_widgets.views.day_maps import market_note

_STATIC = Path(__file__).parent / "static"
_HISTORY = "History"  # heading and view
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<noscript>This page draws itself with JavaScript, which is off.</noscript>
<script type="application/octet-stream" id="bundle">{bundle}</script>
<script type="application/octet-stream" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
_MADE = (
    f"Made {{day}} by stockformer-widgets {stockformer.__version__}, torch {{torch}}. "
    "Numbers are within 0.05 % of the model's."
)
#: Nothing is fetched, and only the page's own script runs.
_POLICY = "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"


class ExplorerPage(anywidget.AnyWidget):
    """The explorer of some samples as one anywidget: linked and clickable without a kernel.

    For hosts that run anywidgets only, such as marimo. It holds a copy of the numbers
    and does not follow the session.

    Args:
        session: the model and the sample in it.
        samples: indices into the session's dataset; the session's sample by default.

    Raises:
        IndexError: there is no such sample.
        ValueError: samples of a session without dataset, or none at all.
    """

    _esm = (_STATIC / "explorer_page.js").read_text(encoding="utf-8")
    _css = (_STATIC / "explorer_page.css").read_text(encoding="utf-8")

    #: A ``Bundle`` of ``js/src/page/bundle.ts``.
    bundle = Dict().tag(sync=True)
    #: Its arrays.
    data = Bytes().tag(sync=True)

    def __init__(self, session: ExtractorSession, samples: Iterable[int] | None = None) -> None:
        bundle, data = pack_samples(session, Selection(session), samples)
        super().__init__(bundle=bundle, data=data)

    def __repr__(self) -> str:
        return f"ExplorerPage({len(self.bundle['samples'])} samples)"

    @closes_to_the_end
    def close(self) -> None:
        """Close the widget and its layout."""
        if self.comm is not None:
            close_children(self)
        super().close()


def write_page(path: str | Path, bundle: dict[str, Any], data: bytes) -> Path:
    """Write what `pack` made as an HTML file that needs neither network nor Python.

    Raises:
        ValueError: the path ends in neither ``.html`` nor ``.htm``.
        OSError: the file cannot be written; one that was there stays.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"the page is HTML: expected a path that ends in .html, found {str(path)!r}")
    script = (_STATIC / "exported.js").read_text(encoding="utf-8")
    style = (_STATIC / "exported.css").read_text(encoding="utf-8")
    titles = list(dict.fromkeys(sample["title"] for sample in bundle["samples"]))
    title = " and ".join(titles if len(titles) < 3 else [titles[0], f"{len(titles) - 1} more"])
    page = _PAGE.format(
        title=html.escape(title),
        policy=_POLICY.format(script=_hash(script), style=_hash(style)),
        style=style,
        script=script,
        bundle=_compressed(json.dumps(bundle, allow_nan=False, separators=(",", ":")).encode("ascii")),
        data=_compressed(data),
    )
    write_whole({path: page.encode("utf-8", errors="replace")})
    return path


def pack_samples(
    session: ExtractorSession, selection: Selection, samples: Iterable[int] | None, survey: Survey | None = None
) -> tuple[dict[str, Any], bytes]:
    """`pack` the session's sample, or others of its dataset under the same change, target and method.

    Args:
        survey: of the session's windows; the page then holds the history of its samples.
    """
    if samples is None:
        return pack([_page_sample(session)], selection, [session])
    if isinstance(samples, str) or not isinstance(samples, Iterable):
        raise TypeError(f"samples is {samples!r}, expected a list of indices into the dataset")
    if session.dataset is None:
        raise ValueError("samples are indices into a dataset, and this session has none")
    indices = list(dict.fromkeys(_checked(session, index) for index in samples))
    if not indices:
        raise ValueError("samples is empty: expected at least one index")
    with session.at(indices[0]) as other:

        def each() -> Iterator[PageSample]:
            for index in indices:
                other.sample = index
                yield _page_sample(other)

        history = None if survey is None or len(indices) < 2 else _history(survey, session, indices)
        return pack(each(), selection, [session], history)


def _history(survey: Survey, session: ExtractorSession, indices: Sequence[int]) -> Chart:
    """The measures of some windows."""
    columns = ["date", "ticker", *survey.main_measures, "volatility", "error"]
    rows = pd.DataFrame([window_row(survey, index)[columns] for index in indices])
    unchanged = "measured on the model without the what-if" if session.change else ""
    return chosen_windows(rows).noting(Note(unchanged))


@dataclass(frozen=True)
class PageSample:
    """The content of a page under one title.

    Attributes:
        selection: moved by `pack` to every place that the page can show.
        pages: heading -> the places of its views by column.
    """

    title: str
    selection: Selection
    pages: Mapping[str, Columns]


def _page_sample(session: ExtractorSession) -> PageSample:
    return PageSample(session.title, Selection(session), pages_of(session))


def pack(
    samples: Iterable[PageSample],
    selection: Selection,
    sessions: Sequence[ExtractorSession],
    history: Chart | None = None,
) -> tuple[dict[str, Any], bytes]:
    """The content of a page: a ``Bundle`` of ``js/src/page/bundle.ts``, and its arrays.

    Args:
        selection: where the page opens.
        sessions: whose models the numbers come from.
        history: the chart of the samples' measures, one place per sample.
    """
    size = selection.sizes()
    sections: dict[str, list[list[str]]] = {}
    packed = []
    with tqdm(desc="exporting", unit=" charts", leave=False) as progress:
        charts = _Charts(progress)
        for sample in samples:
            packed.append(_pack_sample(sample, charts))
            sections |= {
                title: [[_name(slot, sample.selection) for slot in slots([column])] for column in columns]
                for title, columns in sample.pages.items()
            }
        if history is not None:
            view: dict[str, Any] = {"label": _HISTORY, "horizontal": "sample", "vertical": "sample"}
            view |= {"content": [], "charts": {"": charts.pack(history, "")}}
            for one in packed:
                one["views"][_HISTORY] = view
            (first, overview), *others = sections.items()
            sections = {first: overview, _HISTORY: [[_HISTORY]], **dict(others)}
    bundle = {
        "samples": packed,
        "sections": list(_sections(sections, {name for sample in packed for name in sample["views"]})),
        "texts": list(charts.texts),
        "about": [
            *dict.fromkeys(line for session in sessions for line in _about(session)),
            _MADE.format(day=datetime.date.today(), torch=torch.__version__),
        ],
        "selection": {
            "sample": 0,
            "kind": selection.kind,
            "layer": selection.layer,
            "head": selection.head,
            "query": size["query"] - 1 - selection.query,
            "key": size["key"] - 1 - selection.key,
            "feature": selection.feature,
            "log_colors": selection.log_colors,
        },
    }
    return bundle, bytes(charts.data)


def _sections(named: Mapping[str, list[list[str]]], existing: set[str]) -> Iterator[dict[str, Any]]:
    """Headings and columns of the views that exist."""
    for title, columns in named.items():
        views = [[name for name in column if name in existing] for column in columns]
        if any(views):
            yield {"title": title, "columns": [column for column in views if column]}


def _name(slot: Slot, where: Selection) -> str:
    """The name of a view in a page."""
    return f"{slot.kind.__name__}{_side(slot, where)}"


def _side(slot: Slot, where: Selection) -> str:
    """A or B for a view of one of two sessions, else nothing."""
    return "AB"[where.sessions.index(slot.sessions[0])] if len(slot.sessions) < len(where.sessions) else ""


def _pack_sample(sample: PageSample, charts: _Charts) -> dict[str, Any]:
    where, session = sample.selection, sample.selection.sessions[0]
    filled = [slot for columns in sample.pages.values() for slot in slots(columns) if slot.filled]
    return {
        "title": sample.title,
        "kinds": [_pack_kind(where, kind) for kind in where.kinds],
        "features": [name for group in session.feature_names for name in group],
        "views": {_name(slot, where): _pack_view(slot, where, charts) for slot in filled},
    }


def _pack_kind(where: Selection, kind: str) -> dict[str, Any]:
    where.kind = kind
    layers = []
    for layer in range(where.sizes()["layer"]):
        where.layer = layer
        size = where.sizes()
        layers.append({"heads": size["head"], "queries": size["query"], "keys": size["key"]})
    return {"name": kind, "title": kind_title(kind), "layers": layers}


def _pack_view(slot: Slot, where: Selection, charts: _Charts) -> dict[str, Any]:
    """A ``View`` of ``js/src/page/bundle.ts``: the view's chart for every value of the fields that it depends on.

    One that fails shows its error, as on the screen, and does not affect the others.
    """
    kind, side = slot.kind, _side(slot, where)
    content, packed = list(kind.content), {}
    try:
        options = kind.defaults(slot.sessions[0])
        for place in _visit(where, content):
            packed[place] = charts.pack(slot.view.chart_for(slot.sessions, where, options), side)
    except Exception as error:
        content, packed = [], {"": charts.pack(Chart(kind.label, Panels(()), caveats=(str(error),)), side)}
    return {
        "label": f"{side} {kind.label}".strip(),
        "horizontal": kind.horizontal,
        "vertical": kind.vertical,
        "content": content,
        "charts": packed,
    }


#: Fields that a chart may depend on, each before those whose range depends on it.
_FIELDS = ("kind", "layer", "head", "query", "key")


def _visit(where: Selection, content: Sequence[str], fields: Sequence[str] = _FIELDS) -> Iterator[str]:
    """Select every combination of values of the fields in turn; yields its key in the page."""
    if not fields:
        yield " ".join(_counted(where, name) for name in content)
        return
    name, *others = fields
    values: Iterable[Any] = [getattr(where, name)]
    if name == "kind" and {"kind", "layer"} & set(content):  # kinds have different numbers of layers
        values = where.kinds
    elif name in content:
        values = [*([None] if name == "head" else []), *range(where.sizes()[name])]
    for value in values:
        setattr(where, name, value)
        yield from _visit(where, content, others)


def _counted(where: Selection, name: str) -> str:
    """The value of a field as text; days count back from the last."""
    value = getattr(where, name)
    if name in ("query", "key"):
        value = where.sizes()[name] - 1 - value
    return "" if value is None else str(value)


_SHORT = 12  # characters: a shorter text is not worth sharing


class _Charts:
    """Charts as stored in a page: texts, lists of texts and arrays that recur are stored once."""

    def __init__(self, progress: tqdm[Any]) -> None:
        self._progress = progress
        #: Texts and lists of texts, in the order of their numbers.
        self.texts: dict[str | tuple[str, ...], int] = {}
        self._arrays: dict[bytes, int] = {}
        self.data = bytearray()

    def pack(self, chart: Chart, side: str) -> dict[str, Any]:
        """A ``Chart`` of ``js/src/page/chart.ts``; `side` is of which sample of two."""
        self._progress.update()
        if side:
            chart = replace(chart, title=f"{side}: {chart.title}")
        return {
            name: self._pack(getattr(chart, name))
            for name in ("title", "body", "summary", "notes", "caveats", "doubt", "legend", "empty")
        }

    def _pack(self, value: Any) -> Any:
        if isinstance(value, Lines):
            value = replace(value, lines=tuple(_short(line, value.reference) for line in value.lines))
        if is_dataclass(value):
            packed = {field.name: self._pack(getattr(value, field.name)) for field in fields(value)}
            return packed | {"type": type(value).__name__}
        if isinstance(value, pd.DataFrame):
            return [{name: self._pack(one) for name, one in row.items()} for row in value.to_dict("records")]
        if isinstance(value, np.ndarray):
            return {"array": [self._place(value), value.size]}
        if isinstance(value, str):
            return {"text": self.texts.setdefault(value, len(self.texts))} if len(value) > _SHORT else value
        if isinstance(value, Sequence):
            if value and all(isinstance(one, str) for one in value):
                return {"text": self.texts.setdefault(tuple(value), len(self.texts))}
            return [self._pack(one) for one in value]
        if isinstance(value, float | np.floating):
            return float(f"{value:.6g}") if math.isfinite(value) else None  # JSON knows no NaN
        return value

    def _place(self, values: np.ndarray) -> int:
        """Offset of an array in the page's numbers; rows of an array that is there already are not written again."""
        numbers = _rounded(values)
        place = self._arrays.get(numbers.tobytes())
        if place is None:
            place = len(self.data) // 4
            self.data += numbers.tobytes()
            for row, part in enumerate(numbers if numbers.ndim == 2 else [numbers]):
                self._arrays.setdefault(part.tobytes(), place + row * part.size)
            self._arrays[numbers.tobytes()] = place
        return place


def _short(line: Line, reference: tuple[float, str] | None) -> Line:
    """A line without the words that the page makes itself."""
    words = formatted(line.values, line.form, None if reference is None else reference[0])
    return replace(line, words=()) if list(line.words) == words else line


def _rounded(values: np.ndarray) -> np.ndarray:
    """Values with 11 significant bits, within 0.05 %: enough for a screen, and half as large when compressed."""
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    rounded: np.ndarray = ((bits + 0x1000) & np.uint32(0xFFFFE000)).view("<f4")
    return rounded


def _about(session: ExtractorSession) -> list[str]:
    """The model and settings behind a page's numbers, one fact per line."""
    size = sum(parameter.numel() for parameter in session.model.parameters())
    lines = [f"{type(session.model).__name__}, {size:,} parameters, weights {fingerprint(session.model)[:8]}."]
    if session.change:
        lines.append(f"What if: {session.change}.")
    note = market_note(session, "cross").text
    if note:
        lines.append(f"{note[0].upper()}{note[1:]}.")
    lines += [f"{session.doubt}."] if session.doubt else []
    return lines


def _checked(session: ExtractorSession, index: Any) -> int:
    assert session.dataset is not None
    try:
        place = operator.index(index)
    except TypeError:
        place = None
    if place is None or isinstance(index, bool):
        raise TypeError(f"samples holds {index!r}, expected indices into the dataset")
    session.dataset.window(place)
    return place % len(session.dataset)


def _compressed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 7)).decode("ascii")


def _hash(text: str) -> str:
    """The name by which a content-security policy knows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
