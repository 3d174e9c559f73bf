"""The exported page: what its bundle holds, compared with the session, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cases import ALL_VIEWS, make_session, observers, session_of, unpacked, widgets
from ipywidgets import Widget
from small_market import make_dataset, make_model

from stockformer.charts.chart import Axis, Band, Bars, Doubt, Grid, Heatmap, Line, Lines, Note, Panels, Scale
from stockformer.explainability import Finding
from stockformer.survey import survey
from stockformer_widgets import AttentionExplorer, ExplorerPage, ExtractorSession, SampleComparison, Selection
from stockformer_widgets.export import PageSample, pack, pack_samples


def read(path: Path) -> tuple[dict, bytes]:
    """Bundle and bytes of an exported file."""
    page = path.read_text(encoding="utf-8")
    data_of = dict(re.findall(r'octet-stream" id="(\w+)">(.*?)</script>', page, re.S))
    bundle, data = (zlib.decompress(base64.b64decode(data_of[name])) for name in ("bundle", "data"))
    return json.loads(bundle), data


def chart(bundle: dict, data: bytes, view: str, sample: int = 0, place: str | None = None) -> dict:
    """The chart of a view at a place, or where the page opens."""
    packed, where = bundle["samples"][sample]["views"][view], bundle["selection"]
    if place is None:
        place = " ".join("" if where[name] is None else str(where[name]) for name in packed["content"])
    return unpacked(packed["charts"][place], bundle, data)


def same(packed: Any, value: Any) -> None:
    """A chart of the page is the one of Python, its numbers to half a part in a thousand."""
    if is_dataclass(value):
        for field in fields(value):
            if not callable(getattr(value, field.name)) and field.name != "words":
                same(packed[field.name], getattr(value, field.name))
    elif isinstance(value, pd.DataFrame):
        for row, other in zip(packed, value.to_dict("records"), strict=True):
            assert list(row) == list(other)
            same(list(row.values()), list(other.values()))
    elif isinstance(value, np.ndarray):
        np.testing.assert_allclose(packed, value.ravel().astype("f4"), rtol=5e-4, atol=1e-30)
    elif isinstance(value, float | np.floating):
        assert packed == pytest.approx(value, rel=1e-5) if np.isfinite(value) else packed is None
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one, other in zip(packed, value, strict=True):
            same(one, other)
    else:
        assert packed == value


#: One of each sort of model, of output, of days, and of numbers that are not finite.
SORTS = (
    *("dataset", "dated", "market longer", "stock longer", "coral", "regression", "encoder", "bfloat16"),
    *("one day, layer, head", "nan", "nn.Transformer", "bare attention"),
)


@pytest.mark.parametrize("name", SORTS)
def test_a_page_holds_what_every_view_shows(name, tmp_path):
    session = session_of(name)
    selection = Selection(session)
    bundle, data = read(AttentionExplorer(session, selection).export_html(tmp_path / "page.html"))
    (sample,), reading = bundle["samples"], session.reading
    assert [kind["name"] for kind in sample["kinds"]] == list(reading.capture.kinds)
    for kind in ALL_VIEWS:
        assert (kind.__name__ in sample["views"]) == kind.shows(session)
        if kind.shows(session):
            with kind(session, selection) as view:
                packed = chart(bundle, data, kind.__name__)
                same(packed, view.chart)
    named = [name for section in bundle["sections"] for column in section["columns"] for name in column]
    assert set(named) == set(sample["views"])
    for kind, layers in reading.capture.kinds.items():
        for layer, maps in enumerate(layers):
            for head, weights in enumerate(maps[0].float().numpy()):
                body = chart(bundle, data, "AttentionHeatmap", place=f"{kind} {layer} {head}")["body"]
                np.testing.assert_allclose(body["values"], weights.ravel(), rtol=5e-4, atol=1e-30)


def test_the_page_knows_the_fields_of_every_chart():
    folder = Path(__file__).parents[2] / "js/src"
    source = "".join((folder / name).read_text(encoding="utf-8") for name in ("page/chart.ts", "caption.ts"))
    for kind in (Axis, Scale, Line, Band, Lines, Bars, Heatmap, Panels, Grid, Finding, Note, Doubt):
        declared = re.search(rf"export interface {kind.__name__} {{(.*?)\n}}", source, re.S)[1]
        names = set(re.findall(r"^  (\w+): ", declared, re.M)) - {"type"}
        assert names == {field.name for field in fields(kind)}, kind.__name__


def test_where_the_person_looks_goes_along(session, tmp_path):
    explorer = AttentionExplorer(session)
    where = explorer.selection
    where.kind, where.layer, where.head, where.query, where.key, where.feature = "self", 1, 0, 2, 5, "f1"
    where.log_colors = True
    bundle, _ = read(explorer.export_html(tmp_path / "page.html"))
    assert bundle["selection"] == {
        "sample": 0,
        "kind": "self",
        "layer": 1,
        "head": 0,
        "query": 5,  # days before the last of eight
        "key": 2,
        "feature": "f1",
        "log_colors": True,
    }


def test_samples_are_those_of_the_dataset_and_the_session_stays(session, tmp_path):
    session.what_if(gate={0: 0.5})
    session.explanations.method, session.explanations.target = "gradient", 1
    explorer = AttentionExplorer(session)
    before = widgets(), observers(session), session.reading
    bundle, data = read(explorer.export_html(tmp_path / "page.html", samples=[3, -1]))
    assert (widgets(), observers(session), session.reading) == before
    for number, index in enumerate((3, 39)):
        session.sample = index
        assert bundle["samples"][number]["title"] == session.title
        weights = chart(bundle, data, "AttentionHeatmap", number, "cross 1 0")["body"]["values"]
        np.testing.assert_allclose(weights, session.reading.capture.map("cross", 1, 0).ravel(), rtol=5e-4)
        bars = chart(bundle, data, "Prediction", number)["body"]
        assert bars["values"] == pytest.approx(session.prediction().probabilities[0].numpy(), rel=1e-3)
        before = session.prediction(original=True).probabilities[0].numpy()
        assert bars["dots"] == pytest.approx(before, rel=1e-3)
        assert chart(bundle, data, "SaliencyBars", number)["title"].startswith("|gradient| for")
    assert any("What if" in line for line in bundle["about"])


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ([], ValueError, "samples is empty"),
        ([1, 40], IndexError, "sample 40 does not exist: the dataset has 40"),
        ([1, 1.5], TypeError, "samples holds 1.5, expected indices"),
        ([True], TypeError, "samples holds True, expected indices"),
        (5, TypeError, "samples is 5, expected a list of indices"),
        ("12", TypeError, "samples is '12', expected a list of indices"),
    ],
)
def test_samples_that_are_not_there_write_nothing(session, tmp_path, samples, error, message):
    with pytest.raises(error, match=message):
        AttentionExplorer(session).export_html(tmp_path / "page.html", samples=samples)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["page.txt", "page"])
def test_a_page_is_html(session, tmp_path, name):
    with pytest.raises(ValueError, match=r"expected a path that ends in .html, found .*page"):
        AttentionExplorer(session).export_html(tmp_path / name)


def test_a_failed_export_leaves_the_file_that_was_there(session, tmp_path, monkeypatch):
    path = AttentionExplorer(session).export_html(tmp_path / "page.html")
    before = path.read_bytes()

    def disk_full(file):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="no space left"):
        AttentionExplorer(session).export_html(path)
    assert [path] == list(tmp_path.iterdir())
    assert path.read_bytes() == before


def test_text_that_is_no_unicode_is_written(session, tmp_path):
    session._feature_names = [["\ud800", *session.feature_names[0][1:]], session.feature_names[1]]
    bundle, _ = read(AttentionExplorer(session).export_html(tmp_path / "page.html"))
    assert "\ud800" in bundle["samples"][0]["features"]


def test_a_sample_that_is_named_twice_is_written_once(session, tmp_path):
    bundle, _ = read(AttentionExplorer(session).export_html(tmp_path / "page.html", samples=[39, 2, -1, 2]))
    assert len(bundle["samples"]) == 2


def test_several_samples_have_their_history(tmp_path):
    model, dataset = make_model(), make_dataset()
    surveyed = survey(model, dataset, tmp_path / "run", progress=False)
    frame = surveyed.to_frame()
    with ExtractorSession.from_dataset(model, dataset) as session, AttentionExplorer(session, None, surveyed) as both:
        bundle, data = read(both.export_html(tmp_path / "page.html", samples=[7, 399, 30]))
        alone, _ = read(both.export_html(tmp_path / "alone.html", samples=[7]))
    assert "History" not in alone["samples"][0]["views"]
    assert [section["title"] for section in bundle["sections"]][:2] == ["Overview", "History"]
    for number in range(3):
        body = chart(bundle, data, "History", number)["body"]
        assert [name for name, _ in body["panels"]][-3:] == ["relative entropy", "volatility per day", "error"]
        for name, panel in body["panels"]:
            seven, other, thirty = frame[name.removesuffix(" per day").replace(" ", "_")][[7, 399, 30]]
            # A line per window: nothing joins two.
            assert [line["name"] for line in panel["lines"]] == list(frame["ticker"][[7, 399, 30]])
            expected = [[seven, np.nan, np.nan], [other, np.nan], [thirty]]
            for line, values in zip(panel["lines"], expected, strict=True):
                np.testing.assert_allclose(line["values"], values, 5e-4)
            assert panel["x"]["sets"] == "sample"
            assert panel["x"]["names"] == [sample["title"] for sample in bundle["samples"]]


def test_samples_of_a_session_without_dataset(tmp_path):
    session = make_session("by hand")
    with pytest.raises(ValueError, match="samples are indices into a dataset, and this session has none"):
        AttentionExplorer(session).export_html(tmp_path / "page.html", samples=[0])


def test_a_comparison_has_both_maps_and_every_difference(session, tmp_path):
    with SampleComparison(session, 3, 30) as comparison:
        bundle, data = read(comparison.export_html(tmp_path / "page.html"))
        assert bundle["samples"][0]["title"] == " and ".join(
            f"{letter}: {one.title}" for letter, one in zip("AB", comparison.sessions, strict=True)
        )
        one, other, *compared = comparison.views
        for letter, view in (("A", one), ("B", other)):
            same(
                chart(bundle, data, f"AttentionHeatmap{letter}"),
                replace(view.chart, title=f"{letter}: {view.chart.title}"),
            )
        assert len(compared) > 5
        for view in compared:
            same(chart(bundle, data, view.kind.__name__), view.chart)


def test_a_page_is_made_without_widgets(session, monkeypatch):
    made = []
    with SampleComparison(session, 3, 30) as comparison, monkeypatch.context() as patched:
        patched.setattr(Widget, "open", lambda widget: made.append(widget))
        pack_samples(session, Selection(session), None)
        pack(
            [PageSample("A and B", Selection(*comparison.sessions), comparison._pages)], comparison.selection, [session]
        )
    assert made == []


def test_user_text_is_no_markup(session, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    session._feature_names = [[evil, *session.feature_names[0][1:]], session.feature_names[1]]
    page = AttentionExplorer(session).export_html(tmp_path / "page.html")
    assert "<img" not in page.read_text(encoding="utf-8")
    assert evil in read(page)[0]["samples"][0]["features"]


def test_the_widget_holds_the_same(session, tmp_path):
    bundle, data = read(AttentionExplorer(session).export_html(tmp_path / "page.html", samples=[2, 4]))
    page = ExplorerPage(session, [2, 4])
    assert page.bundle["samples"] == bundle["samples"]
    assert page.data == data
