"""Attention by head against the captured weights: lines, marks, clicks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cases import lines, make_session, mouse
from expected import entropy

from stockformer.charts.chart import FAINT
from stockformer_widgets import HeadSpecialization, Selection


def redundancy(maps: np.ndarray) -> np.ndarray:
    """1 - Jensen-Shannon divergence to the nearest other head / log 2."""

    def divergence(one, other):
        return entropy((one + other) / 2) - (entropy(one) + entropy(other)) / 2

    heads = range(len(maps))
    nearest = [min(divergence(maps[a], maps[b]) for b in heads if b != a) for a in heads]
    return 1 - np.array(nearest) / np.log(2)


def by_head(maps: np.ndarray) -> dict[str, np.ndarray]:
    queries, keys = maps.shape[1:]
    apart = np.abs(np.arange(keys) - np.arange(queries)[:, None] - (keys - queries))  # both end on one day
    return {
        "diffuseness": entropy(maps) / np.log(keys),
        "peak": maps.mean(axis=1).argmax(axis=-1),
        "recency": maps[:, :, -round(keys / 4) :].sum(axis=-1).mean(axis=-1),
        "distance": (maps * apart).sum(axis=-1).mean(axis=-1),
        "redundancy": redundancy(maps),
    }


def test_head_numbers(unequal, large):
    for session, kind, layer, path in (
        (unequal, "cross", 1, "cross_attn_layers.1.cross_attn"),
        (unequal, "market", 0, "market_encoder.encoder.layers.0.self_attn"),
        (large, "self", 2, "stock_layers.2.self_attn"),
    ):
        view = HeadSpecialization(session, Selection(session, kind=kind, layer=layer))
        expected = by_head(session.reading.capture.attention[path][0].numpy().astype(float))
        frame = view.to_frame()
        assert list(frame) == ["head", *expected]
        assert frame["head"].tolist() == list(range(len(frame)))
        titles = ["diffuseness", "peak key day", "recency share", "distance, days", "redundancy"]
        assert [panel.plot.title for panel in view.picture.pictures] == titles
        for panel, (name, values) in zip(view.picture.pictures, expected.items(), strict=True):
            np.testing.assert_allclose(frame[name], values, rtol=1e-4, atol=1e-5)
            np.testing.assert_array_equal(panel.bars.x, np.arange(len(values)) + 0.5)
            np.testing.assert_allclose(panel.bars.y, values, rtol=1e-4, atol=1e-5)


def test_head_marker_and_words(unequal):
    view = HeadSpecialization(unequal, Selection(unequal, kind="self"))
    numbers = by_head(unequal.reading.capture.attention["stock_layers.0.self_attn"][0].numpy())
    days = pd.bdate_range("2020-01-01", periods=6).strftime("%Y-%m-%d")

    def check(line, head):
        assert line.startswith(f"head {head}, diffuseness {numbers['diffuseness'][head]:.3g}")
        for name in ("recency", "distance", "redundancy"):
            assert f" {numbers[name][head]:.3g}" in line
        assert days[numbers["peak"][head]] in line

    assert lines(view)[0] == view.keyboard.announcement == "mean of the heads"
    assert [list(panel.bars.opacities) for panel in view.picture.pictures] == [[1.0, 1.0]] * 5
    mouse(view.picture.pictures[2].figure, "mousemove", 0.3, 0.1)
    check(lines(view)[0], 0)
    assert view.selection.head is None
    view.selection.head = 1
    assert [list(panel.bars.opacities) for panel in view.picture.pictures] == [[FAINT, 1.0]] * 5
    check(lines(view)[0], 1)
    check(view.keyboard.announcement, 1)


def test_the_title_names_the_map(session):
    view = HeadSpecialization(session, Selection(session, kind="self"))
    assert view.plot.title == "Stock self-attention, layer 0, by head"
    view.selection.layer = 1
    assert view.plot.title == "Stock self-attention, layer 1, by head"


@pytest.mark.parametrize("panel", range(5))
@pytest.mark.parametrize(("x", "head"), [(0.9, 0), (1.1, 1), (-9.0, 0), (1.5, 1), (99.0, 1)])
def test_a_click_on_a_panel_selects_the_head_and_a_second_one_the_mean(unequal, panel, x, head):
    view = HeadSpecialization(unequal)
    mouse(view.picture.pictures[panel].figure, "click", x, 0.5)
    assert view.selection.head == head
    mouse(view.picture.pictures[panel].figure, "click", x, 0.5)
    assert view.selection.head is None


def test_a_single_head_repeats_no_other():
    view = HeadSpecialization(make_session("one layer, one head"))
    assert view.to_frame()["redundancy"].isna().all()
    assert all(np.isfinite(panel.bars.y).all() for panel in view.picture.pictures)
