"""The explorer without Python: as a page that is one file, and as a widget that needs no kernel."""

from __future__ import annotations

import base64
import datetime
import hashlib
import html
import json
import math
import operator
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm
from traitlets import Bytes, Dict

import stockformer
from stockformer.explainability import head_statistics, kind_title
from stockformer.files import write_whole
from stockformer_widgets.lifetime import closes_to_the_end
from stockformer_widgets.selection import Selection
from stockformer_widgets.session import ExtractorSession
from stockformer_widgets.views import GateTimeline, PoolingBars, Prediction, PriceStrip, SaliencyBars
from stockformer_widgets.views.base import View, close_parts
from stockformer_widgets.views.day_maps import market_note
from stockformer_widgets.wire import describe_maps, half_maps

_STATIC = Path(__file__).parent / "static"
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
<script type="application/json" id="bundle">{bundle}</script>
<script type="application/octet-stream" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
_MADE = (
    f"Made {{day}} by stockformer-widgets {stockformer.__version__}, torch {{torch}}. "
    "Attention weights above 2e-9 are within 0.05 % of the model's."
)
#: Nothing is fetched, and no script runs but the page's own.
_POLICY = "default-src 'none'; script-src '{script}'; style-src '{style}'; base-uri 'none'; form-action 'none'"


class ExplorerPage(anywidget.AnyWidget):
    """The explorer of some samples as one anywidget: linked and clickable without a kernel.

    For hosts that run anywidgets only, such as marimo. It holds a copy of the numbers:
    it does not follow the session.

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
            close_parts(self)
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
        bundle=json.dumps(bundle, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
        data=base64.b64encode(zlib.compress(data, 9)).decode("ascii"),
    )
    write_whole({path: page.encode("utf-8", errors="replace")})
    return path


def pack_samples(
    session: ExtractorSession, selection: Selection, samples: Iterable[int] | None
) -> tuple[dict[str, Any], bytes]:
    """`pack` the session's sample, or others of its dataset under the same change, target and method."""
    if samples is None:
        return pack([session], selection, "explorer")
    if isinstance(samples, str) or not isinstance(samples, Iterable):
        raise TypeError(f"samples is {samples!r}, expected a list of indices into the dataset")
    if session.dataset is None:
        raise ValueError("samples are indices into a dataset, and this session has none")
    indices = list(dict.fromkeys(_checked(session, index) for index in samples))
    if not indices:
        raise ValueError("samples is empty: expected at least one index")
    with session.at(indices[0]) as other:
        parts = []
        for index in tqdm(indices, desc="exporting", unit="sample", disable=len(indices) == 1):
            other.sample = index
            parts.append(_pack_sample(other))
    return _bundle(parts, _about(session), selection, "explorer")


def pack(sessions: Sequence[ExtractorSession], selection: Selection, mode: str) -> tuple[dict[str, Any], bytes]:
    """What an explorer page shows: a ``Bundle`` of ``js/src/page/bundle.ts``, and its arrays.

    Args:
        mode: ``explorer``, or ``comparison`` for two sessions.
    """
    about = list(dict.fromkeys(line for session in sessions for line in _about(session)))
    return _bundle([_pack_sample(session) for session in sessions], about, selection, mode)


def _bundle(
    parts: Sequence[tuple[dict[str, Any], bytes]], about: list[str], selection: Selection, mode: str
) -> tuple[dict[str, Any], bytes]:
    size = selection.sizes()
    where = {
        "sample": 0,
        "kind": selection.kind,
        "layer": selection.layer,
        "head": selection.head,
        "query": size["query"] - 1 - selection.query,
        "key": size["key"] - 1 - selection.key,
        "feature": selection.feature,
    }
    samples = [sample for sample, _ in parts]
    bundle = {
        "mode": mode,
        "samples": samples,
        "about": [*about, _MADE.format(day=datetime.date.today(), torch=torch.__version__)],
        "selection": where,
    }
    return bundle, b"".join(data for _, data in parts)


def _pack_sample(session: ExtractorSession) -> tuple[dict[str, Any], bytes]:
    reading = session.reading
    kinds, arrays = [], []
    for name, layers in reading.capture.kinds.items():
        maps = [one[0] for one in layers]
        masks = [reading.capture.layer_mask(name, layer) for layer in range(len(maps))]
        queries, keys = (max(one.size(side) for one in maps) for side in (1, 2))
        kinds.append(
            {
                "name": name,
                "title": kind_title(name),
                "maps": describe_maps(maps, head_statistics(maps, masks), masks),
                "queries": reading.days(queries),
                "keys": reading.days(keys),
            }
        )
        arrays.append(half_maps(maps, masks))
    saliency = _saliency(session)
    if saliency is not None:
        arrays += [part.numpy().astype("<f4").tobytes() for part in session.saliency()]
    days = next((len(part[0]) for part in reading.inputs if part.dim() == 3), 0)  # of the stock
    sample = {
        "title": session.title,
        "kinds": kinds,
        "gates": _gates(session),
        "pooling": _pooling(session),
        "prices": _prices(session),
        "days": reading.days(days),
        "saliency": saliency,
        "prediction": _prediction(session),
    }
    return sample, b"".join(arrays)


def _shown(kind: type[View], session: ExtractorSession) -> tuple[pd.DataFrame, str] | None:
    """The numbers of a view and its title; None where the session has nothing for it."""
    if not kind.shows(session):
        return None
    with kind(session) as view:
        return view.to_frame(), view.plot.title


def _gates(session: ExtractorSession) -> list[dict[str, Any]]:
    shown = _shown(GateTimeline, session)
    if shown is None:
        return []
    columns = {"mean": "mean", "low": "p10", "high": "p90"}
    layers = [layer for _, layer in shown[0].groupby("layer")]
    return [{name: _numbers(layer[column]) for name, column in columns.items()} for layer in layers]


def _pooling(session: ExtractorSession) -> list[float | None] | None:
    shown = _shown(PoolingBars, session)
    return None if shown is None else _numbers(shown[0]["weight"])


def _prices(session: ExtractorSession) -> list[dict[str, Any]]:
    shown = _shown(PriceStrip, session)
    if shown is None:
        return []
    changes = shown[0].filter(like="_change")
    return [{"name": str(name).removesuffix("_change"), "values": _numbers(changes[name])} for name in changes]


def _prediction(session: ExtractorSession) -> dict[str, Any] | None:
    shown = _shown(Prediction, session)
    if shown is None:
        return None
    table, title = shown
    truth = [f"{name} {_assumption(session)}".strip() for name in table["outcome"][table["true"]]]
    return {
        "title": title,
        "names": list(table["outcome"]),
        "values": _numbers(table["value"]),
        "classes": bool(session.class_names),
        "truth": truth[0] if truth else None,
    }


def _assumption(session: ExtractorSession) -> str:
    assumption = "" if session.dataset is None else session.dataset.assumption
    return f"({assumption})" if assumption else ""


def _saliency(session: ExtractorSession) -> dict[str, Any] | None:
    if not SaliencyBars.shows(session):
        return None
    lengths = [len(part) for part in session.saliency()]
    return {
        "method": session.method_name,
        "target": session.target_name,
        "inputs": [
            {"names": names, "days": session.reading.days(length)}
            for names, length in zip(session.feature_names, lengths, strict=True)
        ],
        "unavailable": len(session.unavailable_features),
    }


def _about(session: ExtractorSession) -> list[str]:
    """Which model made a page's numbers, a line each."""
    size = sum(parameter.numel() for parameter in session.model.parameters())
    lines = [f"{type(session.model).__name__}, {size:,} parameters, weights {_fingerprint(session.model)}."]
    if session.change:
        lines.append(f"What if: {session.change}.")
    note = market_note(session, "cross").text
    if note:
        lines.append(f"{note[0].upper()}{note[1:]}.")
    lines += [f"{session.doubt}."] if session.doubt else []
    caveats = [*session.reading.capture.caveats_of()]
    caveats += filter(None, [session.attribution().caveat] if SaliencyBars.shows(session) else [])
    return [*lines, *(f"{caveat}." for caveat in caveats)]


def _fingerprint(model: nn.Module) -> str:
    """Eight digits that tell two sets of weights apart."""
    found = hashlib.sha256()
    for name, values in model.state_dict().items():
        found.update(name.encode())
        found.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if values.numel() else b"")
    return found.hexdigest()[:8]


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


def _numbers(values: Iterable[float]) -> list[float | None]:
    """Numbers for JSON, which knows no NaN; six digits are more than a screen shows."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def _hash(text: str) -> str:
    """The name by which a content-security policy knows an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
