"""``python -m stockformer survey``."""

from __future__ import annotations

import pytest
from small_market import make_dataset, make_model, market

from stockformer.__main__ import main
from stockformer.checkpoint import save_checkpoint
from stockformer.survey import open_survey


def test_the_command_makes_a_survey(tmp_path, capsys, monkeypatch):
    dataset = make_dataset()
    checkpoint = save_checkpoint(tmp_path / "model.pt", make_model(), dataset.settings)
    market().to_csv(tmp_path / "rows.csv", index=False)
    options = ["survey", str(checkpoint), str(tmp_path / "rows.csv"), "--to", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match="2"):
        main([*options, "--workers", "0"])
    assert capsys.readouterr().err.endswith("error: argument --workers: 0, expected at least 1 worker process\n")
    with monkeypatch.context() as patch:
        patch.setattr("stockformer.survey.run.measure_chunk", interrupted)
        assert main([*options, "--measures", "layers"]) == 130
    assert capsys.readouterr().err.endswith("\nstockformer: stopped; run the same command to resume\n")
    assert main([*options, "--measures", "layers"]) == 0
    assert f"{len(dataset)} windows" in capsys.readouterr().out
    frame = open_survey(tmp_path / "run").to_frame()
    assert len(frame) == len(dataset)
    assert "gate_layer_1" in frame
    assert "feature_1" not in frame
    assert main(options) == 1
    refusal = f"{tmp_path / 'run'} holds another survey, which differs in the measures; choose another folder"
    assert capsys.readouterr().err == f"stockformer: {refusal}\n"  # and no progress bar before it


def interrupted(*arguments):
    """Ctrl+C at a function in whose place this is."""
    raise KeyboardInterrupt


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
    capsys.readouterr()
    sectors = tmp_path / "none.csv"
    for content, message in (
        (None, f"there is no CSV file {sectors}"),
        ("", f"{sectors}: No columns to parse from file"),
        ("ticker,sector\nT1,oil\nT2,oil\nT1,banks\n", f"{sectors} has more than one sector for T1"),
        ("ticker,industry\nT1,oil\n", f"{sectors} has the columns ticker, industry, expected ticker and sector"),
    ):
        if content is not None:
            sectors.write_text(content)
        assert main([*options, "--sectors", str(sectors)]) == 1
        assert capsys.readouterr().err == f"stockformer: {message}\n"


def test_a_scheduler_that_is_not_there(tmp_path, capsys):
    checkpoint = save_checkpoint(tmp_path / "model.pt", make_model(), make_dataset().settings)
    market().to_csv(tmp_path / "rows.csv", index=False)
    options = ["survey", str(checkpoint), str(tmp_path / "rows.csv"), "--to", str(tmp_path / "run")]
    assert main([*options, "--scheduler", "tcp://127.0.0.1:1"]) == 1
    assert "127.0.0.1:1" in capsys.readouterr().err
