"""What `check` says of tables in which something was put on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stockformer.__main__ import main
from stockformer.check import check_table
from stockformer.checkpoint import save_checkpoint
from stockformer.dataset import StockDataset
from stockformer.features import add_derived_features
from stockformer.model import create_model

FOLDER = Path(__file__).parent / "data" / "trained_elsewhere"


@pytest.fixture(scope="module")
def own():
    """A table as people have it: prices, two features, one of them in percent, and a lower-case ticker."""
    rng = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, 120)))
    rows = pd.DataFrame({"date": pd.bdate_range("2021-01-04", periods=120), "ticker": "abc", "close": close})
    rows = rows.assign(open=close * 1.001, high=close * 1.02, low=close * 0.98, volume=rng.uniform(1e6, 2e6, 120))
    rows["high_pct"] = 100 * rows["high"].pct_change()
    rows["pe_ratio"] = rng.normal(20, 1, 120)
    return rows


def states(checked):
    return checked.columns.set_index("column")["state"]


def odd(checked, column):
    return checked.columns.set_index("column").loc[column, "odd"]


def test_states(own):
    checked = check_table(own)
    of = states(checked)
    assert (of["adjusted_close"], of["pe_ratio"], of["high_pct"]) == ("found", "found", "found")
    assert (of["rsi_14"], of["month"], of["close_5d_vol"]) == ("computed", "computed", "computed")
    assert (of["forward_pe"], of["spy_ret_1d"], of["beta"]) == ("empty", "empty", "empty")
    assert checked.verdict == "It opens: 58 windows of 60 days."
    assert checked.rows == ("120 rows of 1 ticker (abc), 2021-01-04 to 2021-06-18.",)


def test_units(own):
    checked = check_table(own.assign(unemployment=0.05, nonfarm_payroll=150_000_000.0, treasury_yield_10year=0.04))
    assert odd(checked, "high_pct") == "100 times what the prices give: percent where a fraction is expected"
    for column in ("unemployment", "nonfarm_payroll", "treasury_yield_10year"):
        assert "expected" in odd(checked, column)
    right = add_derived_features(own.rename(columns={"close": "adjusted_close", "ticker": "symbol"}), ["sma_20_pct"])
    assert odd(check_table(right), "sma_20_pct") == ""
    assert "a fraction where percent is expected" in odd(
        check_table(right.assign(sma_20_pct=right["sma_20_pct"] / 100)), "sma_20_pct"
    )


def test_values(own):
    rough = own.assign(
        forward_pe=[np.inf, *[np.nan] * 59, *range(60)],
        price_to_book_ratio=3.0,
        surprise_percentage=["n/a!", *map(str, range(119))],
        volume=[-1, *own["volume"][1:]],
    )
    checked = check_table(rough)
    assert odd(checked, "forward_pe") == "1 infinite value; many gaps"
    assert checked.columns.set_index("column").loc["forward_pe", "missing"] == pytest.approx(59 / 120)
    assert odd(checked, "price_to_book_ratio") == "always 3"
    assert odd(checked, "surprise_percentage") == "1 text where numbers were expected"
    assert odd(checked, "volume") == "1 negative value"
    assert checked.verdict.startswith("It does not open: columns with text where numbers were expected")


def test_rows(own):
    rows = own.copy()
    rows.loc[50:56, "close"] = 70.0  # still
    rows.loc[70:72, "close"] = np.nan  # halted
    rows.loc[100, "date"] = pd.Timestamp("2021-05-23")  # a Sunday
    rows = pd.concat([rows.iloc[::-1].drop(index=range(20, 32)), rows.iloc[[5]]])
    said = " ".join(check_table(rows).rows)
    assert "Rows that repeat a ticker and day: 1;" in said
    assert "The dates of abc were not ascending" in said
    assert "1 row on a weekend, the first on 2021-05-23" in said
    assert "abc has no row for 19 days before 2021-02-17" in said
    assert "3 rows of abc without a price" in said
    assert "The price of abc does not change for 5 days or more, up to 2021-03-22" in said


def test_for_a_model_trained_elsewhere():
    checked = check_table(FOLDER / "all_data_0.csv.xz", FOLDER / "encoder_bin_10d.pt")
    assert list(states(checked).value_counts().items()) == [("found", 44), ("computed", 13)]
    odd = checked.columns.set_index("column")["odd"]
    assert odd[odd != ""].to_dict() == {"atr_signal": "always -1"}
    assert "ETF rows" in checked.rows[1]
    assert checked.verdict.startswith("It opens: 1,132 windows of 60 days.\nencoder_bin_10d.pt does not say everything")
    assert "typical" not in checked.columns


def test_distances_from_what_a_model_was_trained_on(make_table, tmp_path):
    table = make_table()
    dataset = StockDataset(table, ["f0", "f1"], ["m0"], lookback=5)
    model = create_model(2, "binary", None, {"d_model": 8, "nhead": 2, "num_layers": 1, "market_feature_dim": 1})
    path = save_checkpoint(tmp_path / "a.pt", model, dataset.settings)
    rows = check_table(table.assign(f1=1000.0 + table["f1"]), path).columns.set_index("column")
    z = np.concatenate([dataset[i][0][-1, :1] for i in range(len(dataset))])
    assert abs(rows.loc["f0", "typical"] - np.median(np.abs(z))) < 0.2
    assert rows.loc["f0", "odd"] == ""
    spread = np.mean([dataset.normalization.std[ticker][1] for ticker in ("AAA", "BBB")])
    assert rows.loc["f1", "typical"] == pytest.approx(1000 / spread, rel=0.2)
    assert rows.loc["f1", "odd"] == "far from what the model was trained on"


def test_the_command(own, tmp_path, capsys):
    own.to_csv(tmp_path / "my.csv", index=False)
    assert main(["check", str(tmp_path / "my.csv")]) == 0
    out = capsys.readouterr().out
    assert "high_pct    found" in out
    assert out.endswith("It opens: 58 windows of 60 days.\n")
    assert main(["check", str(tmp_path / "none.csv")]) == 1
    assert capsys.readouterr().err == f"stockformer: there is no CSV or Parquet file {tmp_path / 'none.csv'}\n"
