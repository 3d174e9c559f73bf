"""A checkpoint that another trainer wrote, on the screen: whose truth it is, and on which inputs it runs."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cases import lines, plain, told

from stockformer import open_model
from stockformer.checkpoint import load_checkpoint, save_checkpoint
from stockformer.dataset import StockDataset
from stockformer.explainability import analyze_output_distribution, attribute, plot_prediction, window_groups
from stockformer.preprocessing import Normalization
from stockformer.training import fit
from stockformer_widgets import AttentionExplorer, ExplorerPage, ExtractorSession, Prediction

FOLDER = Path(__file__).parents[1] / "data" / "trained_elsewhere"
DAY = "2009-10-23"

pytestmark = pytest.mark.usefixtures("few_orders")


@pytest.fixture(scope="module")
def panel():
    return pd.read_csv(FOLDER / "all_data_0.csv.xz")


def opened(path, panel, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return open_model(path, panel, **options)


def session_of(path, panel, **options):
    dataset, model = opened(path, panel, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return ExtractorSession.from_dataset(model, dataset, dataset.index_of(DAY, "AAPL"))


def test_an_assumed_truth_says_so_wherever_it_is_shown(panel):
    assumption = "assumed: UP from a return of +1.5 %"
    with session_of(FOLDER / "cross_bin_3d.pt", panel) as session:
        view = Prediction(session)
        assert f"true: DOWN ({assumption})" in "\n".join(lines(view))
        assert f"The truth is DOWN ({assumption})." in told(view)
        assert assumption in plot_prediction(session.prediction()).axes[0].get_title()
        assert assumption in plain(AttentionExplorer(session).headline.value)


def test_a_truth_that_is_known_does_not(panel):
    with session_of(FOLDER / "cross_bin_3d.pt", panel, threshold=0.02) as session:
        view = Prediction(session)
        assert "true: DOWN" in "\n".join(lines(view))
        assert "assumed" not in "\n".join(lines(view)) + plain(AttentionExplorer(session).headline.value)


def test_where_the_horizon_is_unknown_there_is_no_truth(panel, tmp_path):
    for end in (".pt", ".pt.meta"):
        shutil.copyfile(FOLDER / f"cross_bin_3d{end}", tmp_path / f"best{end}")
    with session_of(tmp_path / "best.pt", panel) as session:
        view = Prediction(session)
        assert not view.to_frame()["true"].any()
        assert "tru" not in "\n".join(lines(view))
        assert "return" not in plain(AttentionExplorer(session).headline.value)
        assert analyze_output_distribution(session.model, session.dataset, [0, 1], progress=False).labels is None
        with pytest.raises(ValueError, match="no labels"):
            window_groups(session.model, session.dataset, "correct")
        with pytest.raises(ValueError, match="no labels"):
            fit(session.dataset, epochs=1)


def test_inputs_made_in_another_way_than_the_checkpoint_says_are_doubted(panel):
    model, _ = load_checkpoint(FOLDER / "cross_bin_3d.pt")
    ours = StockDataset(panel)
    with pytest.warns(UserWarning, match=r"has no normalisation statistics.*open it with stockformer\.open_model"):
        session = ExtractorSession.from_dataset(model, ours)
    assert session.doubt in plain(AttentionExplorer(session).headline.value)


def test_other_statistics_than_the_checkpoints_are_doubted(panel, tmp_path):
    dataset, model = opened(FOLDER / "cross_bin_3d.pt", panel)
    loaded, info = load_checkpoint(save_checkpoint(tmp_path / "a.pt", model, dataset.settings))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ExtractorSession.from_dataset(loaded, StockDataset(panel, **info.dataset_settings)).close()
    known = dataset.normalization
    moved = {
        ticker: (np.array(mean) + (0.01 if ticker == "MSFT" else 0)).tolist() for ticker, mean in known.mean.items()
    }
    other = StockDataset(panel, **dataset.settings | {"normalization": Normalization(known.columns, moved, known.std)})
    with pytest.warns(UserWarning, match="^the inputs of MSFT are normalised with other statistics"):
        ExtractorSession.from_dataset(loaded, other)


def test_the_exported_page_says_what_is_assumed(panel):
    with session_of(FOLDER / "cross_bin_3d.pt", panel) as session:
        bundle = ExplorerPage(session).bundle
    (prediction,) = [sample["views"]["Prediction"] for sample in bundle["samples"]]
    notes = [bundle["texts"][note["text"]["text"]] for note in prediction["charts"][""]["notes"]]
    assert "true: DOWN (assumed: UP from a return of +1.5 %)" in notes


def test_the_training_mean_of_raw_features_is_not_0(panel):
    with session_of(FOLDER / "cross_bin_3d.pt", panel) as session:
        dataset, window = session.dataset, session.reading.window
        rows = panel[(panel["symbol"] == "AAPL") & (pd.to_datetime(panel["date"]) < dataset.first_validation_date)]
        stock, market = window.means
        assert not stock.any()
        for name in ("nonfarm_payroll", "unemployment"):
            place = dataset.market_feature_cols.index(name)
            assert market[place].item() == pytest.approx(rows[name].ffill().mean(), rel=1e-6)
        place = dataset.market_feature_cols.index("nonfarm_payroll")
        # From the mean to the sample, not from 0.
        at_mean = [part.expand_as(x) for part, x in zip(window.means, session.reading.inputs, strict=True)]
        expected = attribute(session.model, *session.reading.inputs, baselines=at_mean)
        assert torch.equal(session.explanations.saliency()[1], expected.parts[1])
        session.what_if(features=["nonfarm_payroll"], days=(3, 5))
        changed = session.reading.inputs[1][0, :, place]
        assert changed[3:6].tolist() == [market[place].item()] * 3
        assert torch.equal(changed[6:], window.market_x[6:, place])


def test_the_training_mean_of_normalised_features_is_0(sample):
    dataset, _ = sample
    assert not any(mean.any() for mean in dataset.window(-1).means)
