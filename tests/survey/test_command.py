"""``python -m stockformer survey``."""

from __future__ import annotations

from small_market import make_dataset, make_model, market

from stockformer.__main__ import main
from stockformer.checkpoint import save_checkpoint
from stockformer.survey import open_survey


def test_the_command_makes_a_survey(tmp_path, capsys):
    dataset = make_dataset()
    checkpoint = save_checkpoint(tmp_path / "model.pt", make_model(), dataset.settings)
    market().to_csv(tmp_path / "rows.csv", index=False)
    options = ["survey", str(checkpoint), str(tmp_path / "rows.csv"), "--to", str(tmp_path / "run")]
    assert main([*options, "--measures", "layers"]) == 0
    assert f"{len(dataset)} windows" in capsys.readouterr().out
    frame = open_survey(tmp_path / "run").to_frame()
    assert len(frame) == len(dataset)
    assert "gate_layer_1" in frame
    assert "feature_1" not in frame
    assert main(options) == 1
    assert "holds another survey, which differs in the measures; choose another folder" in capsys.readouterr().err


def test_sectors_come_from_a_table(tmp_path, capsys):
    dataset = make_dataset()
    checkpoint = save_checkpoint(tmp_path / "model.pt", make_model(), dataset.settings)
    market().to_csv(tmp_path / "rows.csv", index=False)
    options = ["survey", str(checkpoint), str(tmp_path / "rows.csv"), "--to", str(tmp_path / "run"), "--measures"]
    (tmp_path / "sectors.csv").write_text("sector,ticker,more\noil,T1,1\nbanks,T3,2\n,T4,3\n")
    assert main([*options, "--sectors", str(tmp_path / "sectors.csv")]) == 0
    frame = open_survey(tmp_path / "run").to_frame(["ticker", "sector"]).drop_duplicates()
    sectors = dict(frame.itertuples(index=False))
    assert sectors == {"T0": "none", "T1": "oil", "T2": "none", "T3": "banks", "T4": "none"}
    (tmp_path / "sectors.csv").write_text("ticker,industry\nT1,oil\n")
    capsys.readouterr()
    assert main([*options, "--sectors", str(tmp_path / "sectors.csv")]) == 1
    assert "sectors.csv has the columns ticker, industry, expected ticker and sector" in capsys.readouterr().err


def test_a_scheduler_that_is_not_there(tmp_path, capsys):
    checkpoint = save_checkpoint(tmp_path / "model.pt", make_model(), make_dataset().settings)
    market().to_csv(tmp_path / "rows.csv", index=False)
    options = ["survey", str(checkpoint), str(tmp_path / "rows.csv"), "--to", str(tmp_path / "run")]
    assert main([*options, "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
