"""Checkpoints that another trainer wrote, opened on the inputs that they were trained on."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stockformer import open_model
from stockformer.check import check_table
from stockformer.checkpoint import load_checkpoint, save_checkpoint
from stockformer.dataset import StockDataset
from stockformer.preprocessing import TRAINED_ELSEWHERE, TRAINED_HERE
from stockformer.sample import sample_table, write_sample
from stockformer.table import read_table

VECTORS = Path(__file__).parent / "data" / "trained_elsewhere"
NAMES = ["cross_bin_3d", "cross_buck_3d", "cross_reg_10d", "encoder_bin_10d"]


def quietly(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_model(*arguments, **options)


@pytest.fixture(scope="module")
def panel():
    return pd.read_csv(VECTORS / "all_data_0.csv.xz")


@pytest.fixture(scope="module", params=NAMES)
def opened(request, panel):
    """A name, its dataset and model, and what the other trainer recorded."""
    with np.load(VECTORS / f"{request.param}.npz") as file:
        expected = dict(file)
    return request.param, *quietly(VECTORS / f"{request.param}.pt", panel), expected


def test_inputs_and_outputs_are_those_of_the_trainer(opened):
    _, dataset, model, expected = opened
    for k, (day, ticker) in enumerate(zip(expected["date"], expected["ticker"], strict=True)):
        window = dataset.window(dataset.index_of(str(day), str(ticker)))
        np.testing.assert_allclose(window.x, expected["x"][k], atol=1e-5)
        if "market_x" in expected:
            np.testing.assert_allclose(window.market_x, expected["market_x"][k], rtol=1e-6, atol=1e-5)
        with torch.no_grad():
            np.testing.assert_allclose(model(*window.inputs)[0], expected["output"][k], atol=1e-5)
        assert window.y.item() == pytest.approx(float(expected["y"][k]), rel=1e-6)
        assert window.forward_return == pytest.approx(float(expected["forward_return"][k]), rel=1e-12)


def test_windows_cutoff_and_settings_are_those_of_the_trainer(opened):
    _, dataset, _, expected = opened
    settings = json.loads(str(expected["settings"]))
    assert len(dataset) == expected["windows"]
    assert str(dataset.first_validation_date.date()) == expected["first_validation_date"]
    assert (dataset.end_dates < dataset.first_validation_date).sum() == expected["train_windows"]
    assert (dataset.end_dates <= dataset.train_end).sum() == expected["train_windows"]
    assert dataset.feature_cols == expected["feature_cols"].tolist()
    assert (dataset.market_feature_cols or []) == expected["market_feature_cols"].tolist()
    assert (dataset.horizon, dataset.label_mode, dataset.lookback) == tuple(
        settings[name] for name in ("horizon", "label_mode", "lookback")
    )
    if dataset.label_mode == "buckets":
        assert dataset.bucket_edges == pytest.approx(settings["bucket_edges"], rel=1e-12)
    if dataset.label_mode == "binary":
        assert dataset.threshold == settings["binary_threshold"]
    assert dataset.unavailable == []


def test_one_warning_lists_what_was_assumed(panel):
    with pytest.warns(UserWarning, match="does not say everything") as warned:
        dataset, _ = open_model(VECTORS / "cross_bin_3d.pt", panel)
    (warning,) = warned
    said = str(warning.message)
    for part in (
        "+1.5 % (threshold=",
        "0.25 % of 0 (min_return=",
        "80 % of",
        "(validation_fraction=",
        "60 days",
        "lookback=",
    ):
        assert part in said
    assert "horizon" not in said  # the name gives it
    assert dataset.assumed == ("UP from a return of +1.5 %",)


def test_what_is_said_is_not_assumed(panel):
    options = {"threshold": 0.02, "min_return": 0.0, "validation_fraction": 0.3, "lookback": 30, "horizon": 10}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset, _ = open_model(VECTORS / "cross_bin_3d.pt", panel, **options)
    assert (dataset.threshold, dataset.lookback, dataset.horizon, dataset.assumed) == (0.02, 30, 10, ())
    assert dataset.preprocessing.min_return == 0
    days = np.sort(dataset.end_dates.unique())
    assert dataset.first_validation_date == days[int(0.7 * len(days))]
    assert len(dataset) == 2 * (653 - 29 - 10)


def test_a_folder_a_glob_and_files(panel, tmp_path):
    for symbol, rows in panel.groupby("symbol"):
        rows.to_csv(tmp_path / f"all_data_{symbol}.csv")  # with an unnamed index column
    expected, _ = quietly(VECTORS / "cross_bin_3d.pt", panel)
    for data in (tmp_path, tmp_path / "all_data_*.csv", str(tmp_path / "all*")):
        dataset, _ = quietly(VECTORS / "cross_bin_3d.pt", data)
        assert len(dataset) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(dataset[-1], expected[-1], strict=True))


def test_a_checkpoint_without_statistics_needs_to_be_told(panel):
    _, info = load_checkpoint(VECTORS / "cross_reg_10d.pt")
    with pytest.raises(ValueError, match=r"does not say how its inputs were made: .*open_model"):
        StockDataset(panel, **info.dataset_settings)
    by_parts = StockDataset(
        panel,
        **info.dataset_settings | {"preprocessing": TRAINED_ELSEWHERE, "target_col": "close_10d_fwd_return"},
    )
    expected, _ = quietly(VECTORS / "cross_reg_10d.pt", panel)
    assert all(torch.equal(a, b) for a, b in zip(by_parts[-1], expected[-1], strict=True))


def test_saved_again_with_its_settings_nothing_is_assumed_about_inputs(opened, panel, tmp_path):
    name, dataset, model, _ = opened
    path = save_checkpoint(tmp_path / "again.pt", model, dataset.settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, loaded = open_model(path, panel)
    assert again.settings == dataset.settings
    assert again.assumed == dataset.assumed  # a guess stays one
    assert all(torch.equal(a, b) for a, b in zip(again[7], dataset[7], strict=True))
    assert loaded.label_mode == model.label_mode, name


def test_a_checkpoint_of_ours(sample, tmp_path):
    (checkpoint,) = [path for path in write_sample(tmp_path) if path.name == "binary_3d_best.pt"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset, _ = open_model(checkpoint, tmp_path / "data")
    assert dataset.preprocessing == TRAINED_HERE
    assert len(dataset) == len(sample[0])
    assert all(torch.equal(a, b) for a, b in zip(dataset[-1], sample[0][-1], strict=True))


def test_a_name_without_horizon_has_windows_without_truth(panel, tmp_path):
    shutil.copyfile(VECTORS / "cross_bin_3d.pt", tmp_path / "best.pt")
    shutil.copyfile(VECTORS / "cross_bin_3d.pt.meta", tmp_path / "best.pt.meta")
    with pytest.warns(UserWarning, match=r"horizon is not known, so no window has a label \(horizon=3\)"):
        dataset, _ = open_model(tmp_path / "best.pt", panel)
    assert (dataset.horizon, dataset.assumed) == (None, ())
    assert len(dataset) == 2 * (653 - 59)
    window = dataset.window(-1)
    assert window.y is None
    assert np.isnan(window.forward_return)
    assert str(window.dates[-1].date()) == "2009-12-31"
    assert dataset[-1][1].isnan()


def test_names_that_contradict_the_file(panel, sample, tmp_path):
    shutil.copyfile(VECTORS / "cross_reg_10d.pt", tmp_path / "model_bin_10d.pt")
    with pytest.warns(UserWarning, match="contradicts itself: its name says binary, its weights are for a regression"):
        dataset, _ = open_model(tmp_path / "model_bin_10d.pt", panel)
    assert dataset.label_mode == "regression"
    shipped, model = sample
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_model(save_checkpoint(tmp_path / "mine.pt", model, shipped.settings), sample_table())
    path = save_checkpoint(tmp_path / "model_bin_10d.pt", model, shipped.settings)
    with pytest.warns(
        UserWarning,
        match="its name says close_10d_fwd_return, the file close_3d_fwd_return: read as close_3d_fwd_return",
    ):
        dataset, _ = open_model(path, sample_table())
    assert dataset.horizon == 3


def test_a_guessed_head_count_is_in_the_one_warning(panel, tmp_path):
    shutil.copyfile(VECTORS / "cross_reg_10d.pt", tmp_path / "model_reg_10d.pt")
    with pytest.warns(UserWarning, match="does not say everything") as warned:
        open_model(tmp_path / "model_reg_10d.pt", panel)
    (warning,) = warned
    assert '4 heads, where a wrong count draws wrong maps ({"nhead": 8} in model_reg_10d.pt.meta)' in str(
        warning.message
    )


@pytest.mark.parametrize("name", ["model_buck_3d.pt", "coral_buckets_3d.pt", "BUCKET_3d.pt"])
def test_two_buckets_by_name(panel, tmp_path, name):
    shutil.copyfile(VECTORS / "cross_bin_3d.pt", tmp_path / name)
    dataset, model = quietly(tmp_path / name, panel)
    assert (model.label_mode, dataset.label_mode, dataset.horizon) == ("buckets", "buckets", 3)
    assert len(dataset.bucket_edges) == 1
    assert abs(np.mean(dataset.labels[dataset.ends].numpy()) - 0.5) < 0.05
    told, _ = quietly(tmp_path / name, panel, bucket_edges=[0.5])
    assert (told.bucket_edges, told.assumed) == ([0.5], ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 0}, "target_col is 'close_0d_fwd_return'"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"min_return": float("nan")}, "min_return is nan"),
        ({"min_return": -1}, "min_return is -1"),
        ({"validation_fraction": 1.0}, r"validation_fraction is 1\.0"),
        ({"lookback": 0}, "lookback is 0"),
        ({"lookback": 300}, "lookback is 300, and cross_bin_3d.pt takes at most 200 days"),
    ],
)
def test_bad_options(panel, options, message):
    with pytest.raises(ValueError, match=message):
        quietly(VECTORS / "cross_bin_3d.pt", panel, **options)


def test_a_wrong_number_of_edges(panel):
    with pytest.raises(
        ValueError, match=r"has 4 buckets, expected 3 bucket_edges in percent, or 'auto', found \[-1\.0, 1\.0\]"
    ):
        quietly(VECTORS / "cross_buck_3d.pt", panel, bucket_edges=[-1.0, 1.0])


@pytest.mark.parametrize("edges", [3, 0, True, "quantiles", ["a", "b", "c"], np.array([1.0]), 2.5, [[1], [2], [3]], []])
def test_edges_that_fit_no_four_buckets(panel, edges):
    with pytest.raises(ValueError, match=r"has 4 buckets, expected 3 bucket_edges in percent, or 'auto', found "):
        quietly(VECTORS / "cross_buck_3d.pt", panel, bucket_edges=edges)


def test_edges_as_an_array_and_as_a_number(panel):
    dataset, _ = quietly(VECTORS / "cross_buck_3d.pt", panel, bucket_edges=np.array([-1, 0, 1]))
    assert dataset.bucket_edges == [-1, 0, 1]
    numbered, _ = quietly(VECTORS / "cross_buck_3d.pt", panel, bucket_edges=4)
    by_name, _ = quietly(VECTORS / "cross_buck_3d.pt", panel, bucket_edges="auto")
    assert numbered.bucket_edges == by_name.bucket_edges


def test_the_example_of_edges_fits_the_buckets(panel, tmp_path):
    shutil.copyfile(VECTORS / "cross_bin_3d.pt", tmp_path / "model_buck_3d.pt")
    with pytest.warns(UserWarning, match=r"\(bucket_edges=\[0\]\)"):
        open_model(tmp_path / "model_buck_3d.pt", panel)
    with pytest.warns(UserWarning, match=r"\(bucket_edges=\[-4, 0, 4\]\)"):
        open_model(VECTORS / "cross_buck_3d.pt", panel)


@pytest.mark.parametrize("form", ["%d.%m.%y", "%m/%d/%y", "%y-%m-%d"])
def test_years_of_two_digits(panel, form):
    table = panel.assign(date=pd.to_datetime(panel["date"]).dt.strftime(form))
    with pytest.raises(ValueError, match="whose day, month and year cannot be told apart: expected dates such as 2008"):
        quietly(VECTORS / "cross_bin_3d.pt", table)


@pytest.mark.parametrize("suffix", [".xz", ".gz", ".bz2", ".zip"])
@pytest.mark.parametrize("damage", ["cut", "false"])
def test_a_damaged_archive_is_one_sentence(panel, tmp_path, suffix, damage):
    path = tmp_path / f"prices.csv{suffix}"
    panel.head(50).to_csv(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"date,symbol\n")
    with pytest.raises(ValueError, match=r"prices\.csv") as raised:
        read_table(path)
    assert "\n" not in str(raised.value)


def test_a_number_of_400_digits(panel, tmp_path):
    table = panel.astype({"volume": object})
    table.loc[3, "volume"] = 10**400
    with pytest.raises(ValueError, match=r"columns with numbers too large to read: volume$"):
        quietly(VECTORS / "cross_bin_3d.pt", table)
    with pytest.raises(ValueError, match=r"columns with numbers too large to read: volume$"):
        check_table(table)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("cross_reg_10d", {"threshold": 0.01}),
        ("cross_buck_3d", {"threshold": 0.01}),
        ("cross_bin_3d", {"bucket_edges": [0.0]}),
        ("cross_reg_10d", {"min_return": 0.01}),
    ],
)
def test_an_argument_without_effect(panel, name, option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} has no effect on {name}.pt: its label mode is "):
        quietly(VECTORS / f"{name}.pt", panel, **option)


def test_a_validation_fraction_for_given_statistics(panel, tmp_path):
    dataset, model = quietly(VECTORS / "cross_reg_10d.pt", panel)
    path = save_checkpoint(tmp_path / "again.pt", model, dataset.settings)
    with pytest.raises(ValueError, match=r"validation_fraction has no effect on again\.pt: it has statistics"):
        open_model(path, panel, validation_fraction=0.3)


def test_etfs_in_lower_case(panel):
    lower = panel.assign(
        symbol=panel["symbol"].where(panel["symbol"].isin(["AAPL", "MSFT"]), panel["symbol"].str.lower())
    )
    expected, _ = quietly(VECTORS / "cross_bin_3d.pt", panel)
    dataset, _ = quietly(VECTORS / "cross_bin_3d.pt", lower)
    assert len(dataset) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(dataset[-1], expected[-1], strict=True))


def test_a_ticker_without_statistics_is_named(panel):
    late = panel[(panel["symbol"] != "MSFT") | (panel["date"] >= "2009-10-01")]
    with pytest.warns(UserWarning, match="features of MSFT stay as they are, not normalised: fewer than 2 rows"):
        dataset, _ = open_model(VECTORS / "cross_bin_3d.pt", late, lookback=20)
    assert dataset.normalization.mean["MSFT"] == [0.0] * 52


@pytest.mark.parametrize(
    ("change", "names", "reason"),
    [
        (lambda t: t.drop(columns="sector"), "sector_etf_ret_1d", r"of AAPL, MSFT \(no column sector\)"),
        (lambda t: t[t["symbol"] != "SPY"], "spy_ret_1d, spy_ret_5d, spy_vol_5d", r"of AAPL, MSFT \(no SPY rows\)"),
        (lambda t: t[t["symbol"] != "XLK"], "sector_rel_ret_1d", r"of AAPL, MSFT \(no XLK rows\)"),
        (
            lambda t: t.assign(sector=t["sector"].where(t["symbol"] != "MSFT", "Gardening")),
            "sector_etf_vol_5d",
            r'of MSFT \(no ETF for sector "Gardening"\)',
        ),
        (
            lambda t: t[(t["symbol"] != "SPY") | (t["date"] <= "2008-12-31")],
            "spy_vol_5d",
            r"\(no SPY rows on \d+ of 653 days: they are from 2007-06-01 to 2008-12-31\)",
        ),
        (lambda t: t.assign(volume=np.nan), "vol_3d_mean", "are 0 everywhere: no row has a volume"),
    ],
)
def test_market_data_that_are_absent_are_named(panel, change, names, reason):
    with pytest.warns(UserWarning, match=f"{names}.*{reason}"):
        open_model(VECTORS / "cross_bin_3d.pt", change(panel))


def test_a_check_calls_absent_market_data_empty(panel):
    checked = check_table(panel[panel["symbol"] != "SPY"], VECTORS / "cross_bin_3d.pt").columns.set_index("column")
    assert set(checked.loc[["spy_ret_1d", "spy_ret_5d", "spy_vol_5d"], "state"]) == {"empty"}
    assert checked.loc["sector_etf_ret_1d", "state"] == "computed"


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no CSV or Parquet file .*none\.csv"):
        open_model(VECTORS / "cross_bin_3d.pt", tmp_path / "none.csv")
    with pytest.raises(FileNotFoundError, match=r"the folder .* holds no all_data_\*\.csv and no \*\.parquet"):
        open_model(VECTORS / "cross_bin_3d.pt", tmp_path)
