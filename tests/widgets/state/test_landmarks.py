"""Samples that are searched over the dataset."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import MARKET, STOCK, Bare, dataset, make_session, model, table
from shipped import shipped_sample

from stockformer.dataset import StockDataset
from stockformer_widgets import LANDMARKS, ExtractorSession

DATASET, MODEL = shipped_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_a_landmark_that_is_none():
    session = make_session()
    with pytest.raises(ValueError, match="landmark is 'best', expected one of calmest, most volatile, most confident"):
        session.find("best")


@pytest.mark.parametrize("landmark", LANDMARKS)
def test_nothing_to_search(landmark):
    session = make_session("by hand")
    with pytest.raises(ValueError, match="no dataset to search"):
        session.find(landmark)
    with pytest.raises(ValueError, match="no dataset to search"):
        next(session.scan())


def test_the_output_of_another_model_is_not_searched():
    class Doubled(Bare):
        def forward(self, x, market_x):
            return super().forward(torch.cat([x, market_x[..., :1]], dim=-1))

    session = ExtractorSession.from_dataset(Doubled(), dataset())
    assert session.find("calmest") == int(dataset().volatility.argmin())
    with pytest.raises(TypeError, match="the output of Doubled has no known meaning"):
        session.find("most wrong")


def test_the_model_runs_over_the_dataset_once(capsys):
    session = make_session()
    runs = []
    session.model.register_forward_hook(lambda network, inputs, output: runs.append(len(output)))
    assert [session.knows(landmark) for landmark in LANDMARKS] == [True, True, False, False]
    session.find("calmest"), session.find("most volatile")
    assert runs == []
    session.find("most wrong")
    assert sum(runs) == len(session.dataset) == 40
    session.find("most confident")
    assert sum(runs) == 40
    assert all(session.knows(landmark) for landmark in LANDMARKS)
    assert "scanning" in capsys.readouterr().err


def test_a_scan_that_is_left_keeps_nothing():
    session = ExtractorSession.from_dataset(model(), dataset(days=110))
    session.model.train()
    shares = []
    for share in session.scan():
        shares.append(share)
        assert session.model.training
        if len(shares) == 2:
            break
    assert shares == [64 / 200, 128 / 200]
    assert not session.knows("most wrong")
    assert list(session.scan()) == [64 / 200, 128 / 200, 192 / 200, 1.0]
    assert session.knows("most wrong")
    assert session.model.training


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("landmark", ["most confident", "most wrong"])
def test_models_of_other_precisions_are_searched(precision, landmark):
    session = ExtractorSession.from_dataset(model().to(precision), dataset())
    expected = session.find(landmark)
    errors = []
    for index in range(40):
        session.sample = index
        shown = session.prediction()
        errors.append(float((shown.confidence if landmark == "most confident" else shown.errors)[0]))
    assert errors[expected] == pytest.approx(max(errors), rel=0.02)


def test_a_regression_is_most_confident_where_its_value_is_largest_in_size():
    network = model("regression")
    found = ExtractorSession.from_dataset(network, dataset("regression")).find("most confident")
    with torch.no_grad():
        for weights in network.reg_head[-1].parameters():
            weights.neg_()
    assert ExtractorSession.from_dataset(network, dataset("regression")).find("most confident") == found


def test_a_window_without_prices_is_not_the_calmest():
    rows = table().copy()
    rows.loc[rows.index < 5, "adjusted_close"] = np.nan
    session = ExtractorSession.from_dataset(model(), StockDataset(rows, STOCK, MARKET, lookback=8), index=0)
    for landmark in ("calmest", "most volatile"):
        prices = session.dataset.window(session.find(landmark)).prices
        assert prices["adjusted_close"].notna().all()


def test_windows_of_one_day_are_neither_calm_nor_volatile():
    session = make_session("one day")
    for landmark in ("calmest", "most volatile"):
        with pytest.raises(ValueError, match="no window has prices"):
            session.find(landmark)
