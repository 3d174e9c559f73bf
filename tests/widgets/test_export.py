"""The exported page: what its bundle holds, compared with the session, and what is refused."""

from __future__ import annotations

import base64
import json
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import SESSIONS, make_session, observers, widgets

from stockformer_widgets import AttentionExplorer, ExplorerPage, SampleComparison, Selection


def read(path: Path) -> tuple[dict, bytes]:
    """Bundle and bytes of an exported file."""
    page = path.read_text(encoding="utf-8")
    bundle = re.search(r'<script type="application/json" id="bundle">(.*?)</script>', page, re.S)[1]
    data = re.search(r'<script type="application/octet-stream" id="data">(.*?)</script>', page, re.S)[1]
    return json.loads(bundle), zlib.decompress(base64.b64decode(data))


def arrays(bundle: dict, data: bytes) -> list[dict]:
    """By the words of `Bundle`: the maps by kind, layer and head, and saliency, of each sample."""
    found = []
    for sample in bundle["samples"]:
        maps = {}
        for kind in sample["kinds"]:
            for one in kind["maps"]:
                size = one["queries"] * one["keys"]
                weights, data = np.frombuffer(data[: 2 * size], "<f2") / np.float32(2**15), data[2 * size :]
                maps[kind["name"], one["layer"], one["head"]] = weights.reshape(one["queries"], one["keys"])
        parts = []
        for one in (sample["saliency"] or {"inputs": []})["inputs"]:
            shape = len(one["days"]), len(one["names"])
            part, data = data[: 4 * shape[0] * shape[1]], data[4 * shape[0] * shape[1] :]
            parts.append(np.frombuffer(part, "<f4").reshape(shape))
        found.append({"maps": maps, "saliency": parts})
    assert not data
    return found


@pytest.mark.parametrize("name", SESSIONS)
def test_every_session_exports_what_it_shows(name, tmp_path):
    session = make_session(name)
    selection = Selection(session)
    explorer = AttentionExplorer(session, selection)
    bundle, data = read(explorer.export_html(tmp_path / "page.html"))
    (sample,), (found,) = bundle["samples"], arrays(bundle, data)
    reading = session.reading
    for kind, layers in reading.capture.kinds.items():
        for layer, maps in enumerate(layers):
            for head, weights in enumerate(maps[0].float().numpy()):
                np.testing.assert_allclose(found["maps"][kind, layer, head], weights, rtol=5e-4, atol=1e-12)
    assert len(found["maps"]) == sum(maps.size(1) for layers in reading.capture.kinds.values() for maps in layers)
    assert [kind["name"] for kind in sample["kinds"]] == list(reading.capture.kinds)
    for gate, shown in zip(reading.capture.gates.values(), sample["gates"], strict=True):
        mean = torch.tensor([np.nan if value is None else value for value in shown["mean"]])
        torch.testing.assert_close(mean, gate[0].float().mean(dim=-1).cpu(), atol=1e-5, rtol=1e-5, equal_nan=True)
    if sample["saliency"] is not None:
        for part, shown in zip(session.saliency(), found["saliency"], strict=True):
            np.testing.assert_array_equal(part.numpy(), shown)
        assert [one["names"] for one in sample["saliency"]["inputs"]] == session.feature_names


def test_where_the_person_looks_goes_along(session, tmp_path):
    explorer = AttentionExplorer(session)
    where = explorer.selection
    where.kind, where.layer, where.head, where.query, where.key, where.feature = "self", 1, 0, 2, 5, "f1"
    bundle, _ = read(explorer.export_html(tmp_path / "page.html"))
    assert bundle["selection"] == {
        "sample": 0,
        "kind": "self",
        "layer": 1,
        "head": 0,
        "query": 5,  # days before the last of eight
        "key": 2,
        "feature": "f1",
    }


def test_samples_are_those_of_the_dataset_and_the_session_stays(session, tmp_path):
    session.what_if(gate={0: 0.5})
    session.method, session.target = "gradient", 1
    explorer = AttentionExplorer(session)
    before = widgets(), observers(session), session.reading
    bundle, data = read(explorer.export_html(tmp_path / "page.html", samples=[3, -1]))
    assert (widgets(), observers(session), session.reading) == before
    found = arrays(bundle, data)
    for index, sample, shown in zip((3, 39), bundle["samples"], found, strict=True):
        session.sample = index
        assert sample["title"] == session.title
        for part, saved in zip(session.saliency(), shown["saliency"], strict=True):
            np.testing.assert_array_equal(part.numpy(), saved)
        np.testing.assert_allclose(shown["maps"]["cross", 1, 0], session.reading.capture.map("cross", 1, 0), rtol=5e-4)
        assert sample["prediction"]["values"] == pytest.approx(session.prediction().probabilities[0].tolist(), rel=1e-5)
        assert sample["saliency"]["method"] == "gradient"
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
    assert (
        "?"
        in read(AttentionExplorer(session).export_html(tmp_path / "page.html"))[0]["samples"][0]["saliency"]["inputs"][
            0
        ]["names"]
    )


def test_a_sample_that_is_named_twice_is_written_once(session, tmp_path):
    bundle, _ = read(AttentionExplorer(session).export_html(tmp_path / "page.html", samples=[39, 2, -1, 2]))
    assert len(bundle["samples"]) == 2


def test_samples_of_a_session_without_dataset(tmp_path):
    session = make_session("by hand")
    with pytest.raises(ValueError, match="samples are indices into a dataset, and this session has none"):
        AttentionExplorer(session).export_html(tmp_path / "page.html", samples=[0])


def test_a_comparison_has_both(session, tmp_path):
    with SampleComparison(session, 3, 30) as comparison:
        bundle, data = read(comparison.export_html(tmp_path / "page.html"))
        titles = [one.title for one in comparison.sessions]
    assert bundle["mode"] == "comparison"
    assert [sample["title"] for sample in bundle["samples"]] == titles
    assert len(arrays(bundle, data)) == 2


def test_a_page_of_the_shipped_model_is_small(large, tmp_path):
    page = AttentionExplorer(large).export_html(tmp_path / "page.html")
    assert page.stat().st_size < 1_000_000


def test_user_text_is_no_markup(session, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    session._feature_names = [[evil, *session.feature_names[0][1:]], session.feature_names[1]]
    page = AttentionExplorer(session).export_html(tmp_path / "page.html")
    assert "<img" not in page.read_text(encoding="utf-8")
    assert evil in read(page)[0]["samples"][0]["saliency"]["inputs"][0]["names"]


def test_the_widget_holds_the_same(session, tmp_path):
    bundle, data = read(AttentionExplorer(session).export_html(tmp_path / "page.html", samples=[2, 4]))
    page = ExplorerPage(session, [2, 4])
    assert page.bundle["samples"] == bundle["samples"]
    assert page.data == data
