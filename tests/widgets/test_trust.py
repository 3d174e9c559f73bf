"""What stands below a view on whether to believe it."""

from __future__ import annotations

import html
import re

import pytest
import torch
from cases import lines

from stockformer.explainability import METHODS
from stockformer.sample import sample_faithfulness
from stockformer_widgets import DayScores, ExtractorSession, PoolingBars, SaliencyBars


def test_the_default_method_is_what_the_table_is_for():
    table = sample_faithfulness("cell").set_index("ranking")
    default = table.loc[METHODS[0]]
    assert default["deletion"] == table["deletion"].min()
    assert default["gap"] > 0.99 * table["gap"].max()
    assert default["verdict"] == "better than random"


def said_by(view) -> tuple[str, str]:
    """The last line, and the sentence with the areas that the mouse finds on it."""
    last = view.readout.value.split("<br>")[-1]
    return lines(view)[-1], html.unescape(re.search('<abbr title="(.*?)">', last)[1])


NOT_YET = "whether to believe it is not measured yet, see Faithfulness"


def test_of_the_shipped_model_the_shipped_table_speaks(sample):
    dataset, model = sample
    with ExtractorSession.from_dataset(model, dataset, 615) as shipped:
        for method in ("occlusion", "gradient"):
            row = sample_faithfulness("cell").set_index("ranking").loc[method]
            shipped.method = method
            said, areas = said_by(SaliencyBars(shipped))
            assert said == f"{row['verdict']} on 64 windows"
            assert areas.startswith(f"{method} is {row['verdict']}: deletion {row['deletion']:.2f} (random 0.")
        row = sample_faithfulness("day").set_index("ranking").loc["pooling"]
        pooling = PoolingBars(shipped)
        assert lines(pooling)[-1] == f"{row['verdict']} on 64 windows"
        shipped.baseline = "calm window"  # of which the table knows nothing
        assert lines(SaliencyBars(shipped))[-1] == NOT_YET
        shipped.baseline = "training mean"
        shipped.what_if(gate={0: 0.0})
        assert lines(pooling)[-1] == "not measured for the changed model, see Faithfulness"


def test_of_another_model_nothing_is_said_before_it_was_measured(session):
    assert lines(SaliencyBars(session))[-1] == lines(PoolingBars(session))[-1] == NOT_YET


def test_a_verdict_is_not_about_the_changed_model(session):
    view = SaliencyBars(session)
    session.check(windows=16)
    session.what_if(gate={0: 0.0})
    assert lines(view)[-1] == "not measured for the changed model, see Faithfulness"
    session.undo()
    assert said_by(view)[0].endswith("on 16 windows")


@pytest.mark.parametrize(("windows", "on"), [(None, "on this sample"), (16, "on 16 windows")])
def test_what_was_measured_here_is_said(session, windows, on):
    view = SaliencyBars(session)
    table = session.check(windows).table.set_index("ranking")
    for method in ("integrated_gradients", "gradient"):
        session.method = method
        said, areas = said_by(view)
        assert said == f"{table.loc[method, 'verdict']} {on}"
        assert f"insertion {table.loc[method, 'insertion']:.2f} (random" in areas
    session.baseline = "calm window"
    assert lines(view)[-1] == NOT_YET


def test_each_score_of_days_has_its_verdict(session):
    view = DayScores(session)
    table = session.check(unit="day").table.set_index("ranking")
    for name in ("relevance", "rollout", "mean attention"):
        view.by.value = name
        said, areas = said_by(view)
        assert said == f"{table.loc[name, 'verdict']} on this sample"
        assert areas.startswith(f"{name} is ")
    view.by.value = "attribution"
    for method in ("integrated_gradients", "occlusion"):
        session.method = method
        assert said_by(view)[0] == f"{table.loc[method, 'verdict']} on this sample"
    session.method = "gradient"  # by which no days are ranked
    assert "<abbr" not in view.readout.value
    assert lines(SaliencyBars(session))[-1] == NOT_YET  # cells were not measured


def test_how_far_it_adds_up_is_said(session):
    inputs = session.reading.inputs
    with torch.no_grad():
        here, mean = (model(*parts)[0] for model, parts in _ends(session.model, inputs))
    margin = (here - mean)[0] - (here - mean)[1]
    column = int(here.argmax())
    said = next(line for line in lines(SaliencyBars(session)) if line.startswith("adds up to "))
    assert float(said.split()[3].rstrip(",")) == pytest.approx(float(margin) * (1 if column == 0 else -1), rel=1e-3)
    assert float(said.split()[-1]) < 1e-3
    session.method = "input_x_gradient"
    assert not [line for line in lines(SaliencyBars(session)) if line.startswith("adds up to ")]


def _ends(model, inputs):
    return (model, inputs), (model, [torch.zeros_like(part) for part in inputs])


def test_the_control_is_read_and_not_promised(session, monkeypatch):
    assert "without data and exactly 0, as must be: 1 of 7 features" in lines(SaliencyBars(session))
    monkeypatch.setattr(ExtractorSession, "unavailable_features", ["f4", "f1"])
    largest = float(session.attribution().parts[0][:, 1].abs().max())
    said = f"without data but not 0 (one gets {largest:.3g}), so do not believe this: 2 of 7 features"
    assert said in lines(SaliencyBars(session))
    session.method = "gradient"  # it says what would be
    largest = max(float(part.abs().max()) for part in session.attribution().parts[0][:, [1, 4]].T)
    said = f"without data, but would count if they had any (at most {largest:.3g}): 2 of 7 features"
    assert said in lines(SaliencyBars(session))
