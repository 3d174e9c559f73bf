"""Attention distance by layer, against plain sums over dated days."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from cases import make_session, words

from stockformer.explainability.attention.statistics import head_distances
from stockformer.explainability.sentences.attention import NEAR
from stockformer.explainability.sentences.heads_and_layers import summarize_distances
from stockformer_widgets import AttentionDistance, Selection


def days_away(queries: int, keys: int) -> np.ndarray:
    """|query day - key day| of sequences that end on the same day, from a calendar."""
    calendar = pd.date_range("2020-01-01", periods=max(queries, keys))
    return np.array([[abs((key - query).days) for key in calendar[-keys:]] for query in calendar[-queries:]])


@pytest.mark.parametrize("name", ["dataset", "market longer", "stock longer", "one layer, one head", "bare attention"])
def test_every_head_is_as_far_as_its_weights_say(name):
    session = make_session(name)
    for kind, layers in session.reading.capture.kinds.items():
        table = AttentionDistance(session, Selection(session, kind=kind)).to_frame()
        away = [days_away(*maps.shape[-2:]) for maps in layers]
        expected = [
            (layer, head, (weights.numpy() * away[layer]).sum(axis=1).mean(), away[layer].mean())
            for layer, maps in enumerate(layers)
            for head, weights in enumerate(maps[0])
        ]
        np.testing.assert_allclose(table.to_numpy(dtype=float), expected, rtol=1e-5)


def test_lines_are_the_heads_in_order_their_mean_and_even_attention():
    session = make_session()
    view = AttentionDistance(session)
    table = view.to_frame()
    by_layer = [rows["distance"].to_numpy() for _, rows in table.groupby("layer")]
    *heads, mean = view.picture.pictures[0].lines["dots"].y
    np.testing.assert_allclose(np.transpose(heads), np.sort(by_layer, axis=1))
    np.testing.assert_allclose(mean, np.mean(by_layer, axis=1))
    np.testing.assert_allclose(view.picture.pictures[0].lines["dashed"].y, 21 / 8)  # of 8 days: (8 - 1 / 8) / 3


def test_a_layer_with_fewer_heads_repeats_its_own():
    layers = [torch.eye(5).expand(2, 5, 5).clone(), torch.full((3, 5, 5), 0.2)]
    layers[0][1] = 0.2
    rows = head_distances(layers).groupby("layer")["distance"].apply(list)
    assert rows[0] == pytest.approx([0, 1.6])
    assert rows[1] == pytest.approx([1.6] * 3)
    view = AttentionDistance(make_session("bare attention"))  # layers of 2 and of 3 heads
    *heads, _ = view.picture.pictures[0].lines["dots"].y
    drawn = {round(float(value), 5) for value in np.transpose(heads)[0]}
    assert drawn == {round(value, 5) for value in view.to_frame().query("layer == 0")["distance"]}


def test_masked_days_are_no_part_of_even_attention_and_heads_without_weights_have_no_distance():
    mask = torch.ones(4, 4).triu(1).bool()  # each day sees itself and what was before
    causal = (~mask) / (~mask).sum(dim=1, keepdim=True)
    table = head_distances([torch.stack([causal, torch.zeros(4, 4)])], [mask[None]])
    even = np.mean([np.mean(range(day + 1)) for day in range(4)])
    assert table["distance"].tolist() == pytest.approx([even, np.nan], nan_ok=True)
    assert table["even_distance"].tolist() == pytest.approx([even, even])
    assert summarize_distances(table).verdict.startswith("Left out, without a weight above 0: layer 0 head 1. ")
    nothing = summarize_distances(table.assign(distance=np.nan))
    assert nothing.verdict == "No head has a weight above 0: there are no distances."


def test_the_sentence_says_what_the_table_says():
    rows = [(0, 0, 1.0, 8.0), (0, 1, 3.0, 8.0), (1, 0, 12.0, 8.0), (1, 1, 2.0, 8.0)]
    table = pd.DataFrame(rows, columns=["layer", "head", "distance", "even_distance"])
    assert (table["distance"] <= NEAR * table["even_distance"]).sum() == 2
    assert summarize_distances(table).verdict == (
        "The heads look 2 days away on average in the first layer and 7 in the last; attention to all days equally "
        "would be 8. 2 of 4 heads look at most a quarter of that far. Nearest: layer 0 head 0, 1 day. "
        "Farthest: layer 1 head 0, 12 days."
    )
    assert [one.value for one in summarize_distances(table).findings] == [2, 7, 8, 1, 12]


def test_one_day_has_no_other():
    assert "One day: there is no other to attend to." in words(AttentionDistance(make_session("one day")))
