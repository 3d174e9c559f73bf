"""Mean maps of regimes, tickers and months."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from stockformer.charts.history import mean_maps
from stockformer.explainability import capture_attention
from stockformer.survey import open_survey
from stockformer_widgets import ExtractorSession, HistoryView
from stockformer_widgets.history import mean_maps as part_module


def test_no_map_is_drawn_before_a_grouping_is_chosen(view):
    part = view.mean_maps
    assert part.image.layout.display == part.kind.layout.display == "none"
    assert part.image.value == ""
    part.by.value = "ticker"
    assert part.image.layout.display is None
    assert "Stock to market attention, layer 0, mean over the windows of each ticker" in part.image.value
    assert [value for _, value in part.kind.options] == ["cross", "self", "market"]
    drawn = part.image.value
    part.layer.value = 1
    assert part.image.value != drawn
    part.kind.value = "market"
    assert part.layer.options == (0,)
    part.by.value = ""
    assert part.image.layout.display == "none"
    assert view.message.layout.display == "none"


def test_months_are_chosen_and_drawn_on_one_scale(view, surveyed, monkeypatch):
    drawn = []
    monkeypatch.setattr(part_module, "_html", lambda maps, title: drawn.append(maps) or "")
    part, months = view.mean_maps, sorted(set(view.survey.to_frame()["date"].dt.strftime("%Y-%m")))
    assert len(months) > 2
    monkeypatch.setattr(part_module, "_DRAWN", 2)
    part.by.value = "month"
    assert list(part.groups.options) == months
    assert list(drawn[-1]) == list(part.groups.value) == months[:2]
    part.kind.value, part.layer.value = "cross", 1
    part.groups.value = months[-1], months[0]
    assert list(drawn[-1]) == [months[0], months[-1]]
    model, dataset, _ = surveyed
    windows = np.flatnonzero(dataset.end_dates.strftime("%Y-%m") == months[-1])
    maps = [capture_attention(model, *dataset.window(index).inputs).map("cross", 1).numpy() for index in windows]
    body = drawn[-1][months[-1]]
    np.testing.assert_allclose(body.values, np.mean(maps, axis=0), atol=1e-6)
    assert {one.scale.high for one in drawn[-1].values()} == {one.scale.high for one in drawn[-2].values()}
    part.groups.value = ()
    assert part.image.layout.display == "none"
    part.groups.value = months[:1]
    assert part.image.layout.display is None
    part.by.value = "regime"
    assert list(part.groups.options) == ["calm", "normal", "volatile"]
    assert list(drawn[-1]) == ["calm", "normal"]


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
