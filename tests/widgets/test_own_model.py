"""A user's own model that says what its inputs and outputs are, and is no subclass of anything here."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import dataset, shown_message
from torch import nn

from stockformer.explainability import compare_groups, generate_report, window_groups
from stockformer.model import Forecaster, PooledTransformer
from stockformer.outputs import describe_outputs
from stockformer_widgets import AttentionExplorer, Prediction, SampleComparison

GUIDE = (Path(__file__).parents[2] / "docs/architecture.md").read_text(encoding="utf-8")


@pytest.fixture
def session():
    """What "Add a model" in the guide makes."""
    torch.manual_seed(0)
    names = {"dataset": dataset()}
    exec(re.search(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)[1], names)
    with names["session"] as made:
        yield made


def probabilities(model: nn.Module) -> torch.Tensor:
    """Of every window, by plain calls."""
    with torch.no_grad():
        return torch.cat([model(x[None], market[None]) for x, _, market in dataset()]).softmax(dim=1)


def test_its_prediction_targets_and_landmarks(session):
    everything = probabilities(session.model)
    assert isinstance(session.model, Forecaster)
    assert not isinstance(session.model, PooledTransformer)
    assert session.explanations.targets == ["DOWN", "UP"]
    torch.testing.assert_close(session.prediction().probabilities[0], everything[-1])
    assert Prediction(session).to_frame()["value"].to_numpy() == pytest.approx(everything[-1].numpy(), rel=1e-5)
    labels = torch.stack([y for _, y, _ in dataset()]).long()
    assert session.find("most confident") == int(everything.amax(dim=1).argmax())
    assert session.find("most wrong") == int((1 - everything.gather(1, labels[:, None])[:, 0]).argmax())


def test_what_is_explained_is_the_margin_of_the_likelier_class(session):
    logits = session.model(*session.reading.inputs)[0].detach()
    column = int(logits.argmax())
    value = float(logits[column] - logits[1 - column])
    assert session.explanations.target_name == ["DOWN over UP", "UP over DOWN"][column]
    assert session.explanations.attribution().value == pytest.approx(value, rel=1e-5)


def test_the_explorer_the_comparison_the_groups_and_the_report_know_it(session, tmp_path):
    with AttentionExplorer(session) as explorer:
        assert any(isinstance(view, Prediction) for view in explorer.views)
        for number in range(len(explorer.tabs.titles)):
            explorer.tabs.selected_index = number
            assert shown_message(explorer) == ""
        assert [shown_message(view) for view in explorer.views] == [""] * len(explorer.views)
    with SampleComparison(session, 3, 30) as comparison:
        table = comparison.to_frame().set_index("measure")
        everything = probabilities(session.model)
        assert table.loc["confidence", ["a", "b"]].to_numpy() == pytest.approx(everything[[3, 30]].amax(dim=1).numpy())
        assert "market share" in table.index
    groups = window_groups(session.model, dataset(), "correct")
    labels = np.array([int(y) for _, y, _ in dataset()])
    assert groups["right"].tolist() == np.flatnonzero(everything.argmax(dim=1).numpy() == labels).tolist()
    compare_groups(session.model, dataset(), *groups.values(), names=tuple(groups), resamples=10)
    page = generate_report(session.model, *session.reading.inputs, output_dir=tmp_path)["report"].read_text()
    assert '<h2 id="section-0">Output</h2>' in page


def test_inputs_and_labels_of_another_sort_are_refused(session):
    with pytest.raises(ValueError, match=r"the inputs have 4 \+ 2 features, but Direction takes 5 \+ 2"):
        session.run(torch.zeros(8, 4), torch.zeros(8, 2))
    with pytest.raises(ValueError, match="the model's label_mode is 'binary', the dataset's is 'regression'"):
        type(session).from_dataset(session.model, dataset("regression"))


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ({"label_mode": "regression"}, r"Direction returned \[B, 2\], expected \[B\] for regression"),
        ({"label_mode": "buckets", "num_buckets": 4}, r"returned \[B, 2\], expected \[B, 4\] for buckets"),
        ({"label_mode": "buckets", "num_buckets": 4, "use_coral": True}, r"expected \[B, 3\] for buckets"),
        ({"label_mode": "up"}, "label_mode is 'up', expected one of regression, binary, buckets"),
    ],
)
def test_outputs_of_another_form_than_it_says(session, says, message):
    vars(session.model).update(says)
    with pytest.raises(ValueError, match=message):
        describe_outputs(torch.zeros(1, 2), session.model)


def test_one_that_says_less_has_no_known_meaning(session):
    vars(session.model).pop("input_widths")
    assert not isinstance(session.model, Forecaster)
    with pytest.raises(TypeError, match="Direction has no known meaning: expected a model with input_widths, label_"):
        session.prediction()
