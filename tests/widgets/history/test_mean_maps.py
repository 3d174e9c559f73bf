"""Mean maps of regimes and tickers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from stockformer.charts.history import mean_maps
from stockformer.explainability import capture_attention
from stockformer.survey import open_survey
from stockformer_widgets import ExtractorSession, HistoryView


def test_no_map_is_drawn_before_a_grouping_is_chosen(view):
    part = view.mean_maps
    assert part.image.layout.display == part.kind.layout.display == "none"
    assert part.image.value == b""
    part.by.value = "ticker"
    assert part.image.layout.display is None
    assert part.image.value[:4] == b"\x89PNG"
    assert [value for _, value in part.kind.options] == ["cross", "self", "market"]
    drawn = part.image.value
    part.layer.value = 1
    assert part.image.value != drawn
    part.kind.value = "market"
    assert part.layer.options == (0,)
    part.by.value = ""
    assert part.image.layout.display == "none"
    assert view.message.layout.display == "none"


def test_cells_are_means_over_the_windows_on_one_scale(surveyed):
    model, dataset, history = surveyed
    cells = mean_maps(history.mean_maps("ticker"), "cross", 1)
    expected = {}
    for ticker in np.unique(dataset.end_tickers):
        windows = np.flatnonzero(dataset.end_tickers == ticker)
        maps = [capture_attention(model, *dataset.window(index).inputs).map("cross", 1).numpy() for index in windows]
        expected[ticker] = np.mean(maps, axis=0)
    largest = max(one.max() for one in expected.values())
    for ticker, body in cells.items():
        np.testing.assert_allclose(body.values, expected[ticker], atol=1e-6)
        assert body.scale.high == pytest.approx(largest, rel=1e-5)
        assert list(body.columns.names) == ["-7", "-6", "-5", "-4", "-3", "-2", "-1", "0"]


def test_damaged_maps_are_said(surveyed, tmp_path):
    model, dataset, history = surveyed
    shutil.copytree(history.folder, tmp_path / "run")
    (tmp_path / "run" / "maps.npz").write_bytes(b"PK")
    with ExtractorSession.from_dataset(model, dataset) as session:
        view = HistoryView(open_survey(tmp_path / "run"), session)
        view.mean_maps.by.value = "regime"
        assert "maps.npz is missing or damaged; run survey again" in view.message.value
