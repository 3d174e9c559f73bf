"""Points, and the density of many."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from cases import widgets
from PIL import Image

from stockformer.survey.history import Filter
from stockformer_widgets.history import scatter


def test_many_windows_are_a_density(view, session, click, monkeypatch):
    frame = view.survey.to_frame()
    assert view.scatter.points.visible
    assert not view.scatter.cells.visible
    np.testing.assert_allclose(view.scatter.points.x, frame["volatility"])
    monkeypatch.setattr(scatter, "MOST_POINTS", 100)
    view.selection.against = "drawdown"
    assert not view.scatter.points.visible
    assert view.scatter.cells.visible
    assert list(view.scatter.cells.x) == pytest.approx([frame["drawdown"].min(), frame["drawdown"].max()])
    cells = np.array(Image.open(io.BytesIO(view.scatter.cells.image.value)))[..., 3]
    counts, *_ = np.histogram2d(frame["market_share"], frame["drawdown"], cells.shape)
    top_down = counts[::-1]
    assert ((cells > 0) == (top_down > 0)).mean() > 0.995  # a value on an edge is in one of two cells
    assert cells.max() == cells[top_down == top_down.max()].max() == 255
    click(view.scatter.plot.children[1], frame["drawdown"][123], frame["market_share"][123])
    assert session.sample == 123
    assert view.scatter.plot.title == "Market share (upwards) against drawdown, 400 windows"


def test_images_do_not_pile_up(view, monkeypatch):
    monkeypatch.setattr(scatter, "MOST_POINTS", 10)
    view.selection.against = "drawdown"
    before = len(widgets())
    for against in ("volatility", "error", "drawdown"):
        view.selection.against = against
    assert len(widgets()) == before


def test_nothing_left_is_an_empty_picture(view):
    view.selection.where = Filter(days=(pd.Timestamp("1999-01-01"), pd.Timestamp("1999-12-31")))
    assert not view.scatter.points.visible
    assert not view.scatter.cells.visible
    assert view.scatter.plot.title.endswith(", 0 windows")
