"""Lines below a view that say how far to trust it."""

from __future__ import annotations

import html
import math
import re

import pytest
import torch
from cases import lines, told, unpacked
from matplotlib.figure import Figure
from shipped import shipped_sample
from torch import nn

from stockformer.explainability import METHODS, generate_report
from stockformer.explainability.faithfulness.result import REMOVALS
from stockformer.sample import sample_faithfulness
from stockformer_widgets import (
    DayScores,
    ExplorerPage,
    ExtractorSession,
    PoolingBars,
    SaliencyBars,
    SaliencyHeatmap,
)
from stockformer_widgets.views.doubts import _verdict

pytestmark = pytest.mark.usefixtures("few_orders")


def test_the_default_method_is_what_the_table_is_for():
    table = sample_faithfulness("cell").set_index("ranking").loc[[*METHODS]]
    default = table.loc[METHODS[0]]
    assert default["deletion"] == table["deletion"].min()
    assert default["gap"] > 0.99 * table["gap"].max()
    assert default["verdict"] == "better than input size"
    for unit, method in (("cell", METHODS[0]), ("day", METHODS[0])):
        one, two = (
            sample_faithfulness(unit, "volatility", removal).set_index("ranking").loc[method] for removal in REMOVALS
        )
        assert one["verdict"] == two["verdict"] == "better than input size"


def said_by(view) -> tuple[str, str]:
    """The badge, and the sentence with the areas that the mouse finds on it."""
    doubt = view.caption.text["doubt"]
    return lines(view)[-1], doubt["detail"]


NOT_YET = "faithfulness not measured yet"


def verdict_of(result, ranking: str, on: str) -> str:
    """What is to be said of a ranking: the verdict, and that with other windows where it is another."""
    one, two = (each.table.set_index("ranking").loc[ranking, "verdict"] for each in (result, result.second))
    return f"{one} {on}" if one == two else f"{one} {on}, with other windows {two}"


def test_of_the_shipped_model_the_shipped_table_speaks(sample):
    dataset, model = sample
    with ExtractorSession.from_dataset(model, dataset, 615) as shipped:
        for method in ("occlusion", "gradient"):
            row = sample_faithfulness("cell").set_index("ranking").loc[method]
            shipped.explanations.method = method
            said, areas = said_by(SaliencyBars(shipped))
            assert said == f"{row['verdict']} on shipped data"
            assert areas.startswith(f"{method} is {row['verdict']}: deletion {row['deletion']:.2f} (random 0.")
        pooled = sample_faithfulness("day").set_index("ranking").loc["pooling"]
        pooling = PoolingBars(shipped)
        assert lines(pooling)[-1] == f"{pooled['verdict']} on shipped data"
        # Of which the table knows nothing, and which does not change a gradient.
        shipped.explanations.baseline = "calm window"
        assert lines(SaliencyBars(shipped))[-1] == f"{row['verdict']} on shipped data"
        shipped.explanations.method = "occlusion"
        assert lines(SaliencyBars(shipped))[-1] == NOT_YET
        shipped.explanations.baseline = "training mean"
        shipped.what_if(gate={0: 0.0})
        assert lines(pooling)[-1] == "faithfulness not measured for the changed model"


def test_of_the_model_of_volatility_its_own_table_speaks():
    dataset, model = shipped_sample("volatility")
    with ExtractorSession.from_dataset(model, dataset, 653) as shipped:
        one, two = (
            sample_faithfulness("cell", "volatility", removal).set_index("ranking").loc[shipped.explanations.method]
            for removal in REMOVALS
        )
        said, areas = said_by(SaliencyBars(shipped))
        doubt = "" if one["verdict"] == two["verdict"] else f", with other windows {two['verdict']}"
        assert said == f"{one['verdict']} on shipped data{doubt}"
        assert f"deletion {one['deletion']:.2f} (random " in areas
        assert f"With other windows in place of the training mean it is {two['verdict']}, gap {two['gap']:.2f}" in areas


def test_verdicts_that_disagree_are_both_said():
    table = sample_faithfulness("cell").set_index("ranking", drop=False)
    second = table.assign(verdict="no better than random", gap=0.01)
    note = _verdict("occlusion", "on 64 windows", table, second)
    assert note.text == "better than input size on 64 windows, with other windows no better than random"
    assert note.detail.endswith("the two disagree.")
    assert note.level == "doubtful"
    assert _verdict("occlusion", "on 64 windows", table, table).level == "sure"
    assert _verdict("occlusion", "on 64 windows", table.assign(verdict="not measurable")).level == "unmeasured"


def test_of_another_model_nothing_is_said_before_it_was_measured(session):
    assert lines(SaliencyBars(session))[-1] == lines(PoolingBars(session))[-1] == NOT_YET


def test_a_verdict_is_not_about_the_changed_model(session):
    view = SaliencyBars(session)
    session.explanations.check(windows=4)
    session.what_if(gate={0: 0.0})
    assert lines(view)[-1] == "faithfulness not measured for the changed model"
    session.undo()
    assert said_by(view)[0].endswith("on 4 windows")


@pytest.mark.parametrize(("windows", "on"), [(None, "on this sample"), (4, "on 4 windows")])
def test_what_was_measured_here_is_said(session, windows, on):
    view = SaliencyBars(session)
    result = session.explanations.check(windows)
    table = result.table.set_index("ranking")
    for method in ("integrated_gradients", "gradient"):
        session.explanations.method = method
        said, areas = said_by(view)
        assert said == verdict_of(result, method, on)
        assert f"insertion {table.loc[method, 'insertion']:.2f} (random" in areas
    session.explanations.method, session.explanations.baseline = "occlusion", "calm window"
    assert lines(view)[-1] == NOT_YET


def test_each_score_of_days_has_its_verdict(session):
    view = DayScores(session)
    result = session.explanations.check(unit="day")
    for name in ("relevance", "rollout", "mean attention"):
        view.controls["by"].value = name
        said, areas = said_by(view)
        assert said == verdict_of(result, name, "on this sample")
        assert areas.startswith(f"{name} is ")
    view.controls["by"].value = "attribution"
    for method in ("integrated_gradients", "occlusion"):
        session.explanations.method = method
        assert said_by(view)[0] == verdict_of(result, method, "on this sample")
    session.explanations.method = "gradient"  # by which no days are ranked
    assert view.caption.text["doubt"] is None
    assert lines(SaliencyBars(session))[-1] == NOT_YET  # cells were not measured


def test_how_far_it_adds_up_is_said(session):
    inputs = session.reading.inputs
    with torch.no_grad():
        here, mean = (model(*parts)[0] for model, parts in _ends(session.model, inputs))
    margin = (here - mean)[0] - (here - mean)[1]
    column = int(here.argmax())
    said = next(line for line in lines(SaliencyBars(session)) if line.startswith("all days sum to "))
    assert float(said.split()[9]) == pytest.approx(float(margin) * (1 if column == 0 else -1), rel=1e-3)
    assert float(said.split()[-1].rstrip(")")) < 1e-3
    session.explanations.method = "input_x_gradient"
    assert not [line for line in lines(SaliencyBars(session)) if line.startswith("all days sum to ")]


def _ends(model, inputs):
    return (model, inputs), (model, [torch.zeros_like(part) for part in inputs])


def test_the_control_is_read_and_not_promised(session, monkeypatch):
    assert "1 of 7 features have no data; their attribution is exactly 0, as expected" in lines(SaliencyBars(session))
    monkeypatch.setattr(ExtractorSession, "unavailable_features", ["f4", "f1"])
    largest = float(session.explanations.attribution().parts[0][:, 1].abs().max())
    line = f"2 of 7 features have no data, but one has an attribution of {largest:.3g}: do not trust this picture"
    assert line in lines(SaliencyBars(session))
    session.explanations.method = "gradient"  # it says what would be
    largest = max(float(part.abs().max()) for part in session.explanations.attribution().parts[0][:, [1, 4]].T)
    line = f"2 of 7 features have no data, but would count if they had (at most {largest:.3g})"
    assert line in lines(SaliencyBars(session))


def test_features_without_data_are_known_by_other_names_too(session):
    names = [[f"my {name}" for name in group] for group in session.feature_names]
    with ExtractorSession(session.model, dataset=session.dataset, feature_names=names) as renamed:
        assert renamed.unavailable_features == ["my f4"]
        assert "1 of 7 features have no data; their attribution is exactly 0, as expected" in lines(
            SaliencyBars(renamed)
        )


def test_what_was_measured_over_windows_and_on_the_sample_are_both_said(session, sample):
    view = SaliencyBars(session)
    over_windows, alone = session.explanations.check(windows=4), session.explanations.check()
    verdicts = [
        verdict_of(result, "integrated_gradients", on)
        for result, on in ((over_windows, "on 4 windows"), (alone, "on this sample"))
    ]
    assert session.explanations.faithfulness["cell"] is over_windows
    assert session.explanations.sample_faithfulness["cell"] is alone
    assert lines(view)[-1] == "; ".join(verdicts)
    session.sample = 9
    assert lines(view)[-1] == verdicts[0]
    dataset, model = sample
    with ExtractorSession.from_dataset(model, dataset, 615) as shipped:
        view = PoolingBars(shipped)
        row = sample_faithfulness("day").set_index("ranking").loc["pooling"]
        shipped.explanations.set_trait("sample_faithfulness", {"day": session.explanations.check(unit="day")})
        over_windows, on_the_sample = lines(view)[-1].split("; ")
        assert over_windows == f"{row['verdict']} on shipped data"
        assert " on this sample" in on_the_sample


def test_what_does_not_change_a_method_does_not_take_its_verdict(session):
    """Groups count for occlusion and Shapley sampling only, a baseline for those that have one."""
    view = SaliencyBars(session)
    result = session.explanations.check(windows=4)

    def said_of(method):
        session.explanations.method = method
        return lines(view)[-1]

    session.explanations.groups = "day"
    for method in ("integrated_gradients", "gradient", "gradient_shap"):
        assert said_of(method) == verdict_of(result, method, "on 4 windows")
    for method in ("occlusion", "shapley_sampling"):
        assert said_of(method) == NOT_YET
    session.explanations.baseline = "calm window"
    for method in ("input_x_gradient", "gradient", "smooth_grad"):
        assert said_of(method) == verdict_of(result, method, "on 4 windows")
    for method in ("integrated_gradients", "gradient_shap"):
        assert said_of(method) == NOT_YET
    session.explanations.target = 0
    assert said_of("gradient") == NOT_YET


def test_an_attribution_is_not_computed_again_for_what_does_not_change_it(session):
    attribution = session.explanations.attribution()
    session.explanations.groups = "day"
    assert session.explanations.attribution() is attribution
    session.explanations.method = "gradient"
    gradient = session.explanations.attribution()
    session.explanations.baseline = "calm window"
    assert session.explanations.attribution() is gradient


def test_features_that_were_moved_together_are_not_told_apart(session):
    view = SaliencyBars(session)
    session.explanations.method, session.explanations.groups = "occlusion", "day"
    assert told(view).startswith("The features of a day were moved together")
    values = view.to_frame().query("input == 1")["value"]
    assert values.nunique() < len(values) or len(values) == 1
    session.explanations.method = "integrated_gradients"  # which moves no groups
    assert not told(view).startswith("The features of a day")


class Rough(nn.Module):
    """A wave that 128 points along the path cannot follow."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 1, batch_first=True)

    def forward(self, x):
        self.attention(x, x, x)
        return torch.sin(5e4 * x[:, 0, 0] ** 2)


@pytest.mark.filterwarnings("ignore:integrated gradients do not add up")
def test_what_does_not_add_up_is_said_wherever_it_is_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr("stockformer.explainability.attribution.methods.MOST_POINTS", 128)
    inputs = torch.full((1, 3, 2), 0.987)
    pictures = []
    monkeypatch.setattr(Figure, "supxlabel", lambda figure, words, **options: pictures.append(words))
    with ExtractorSession(Rough(), inputs) as session:
        caveat = session.explanations.attribution().caveat
        said = re.match(
            r"integrated gradients do not add up within 1% with 128 points: they sum to (\S+), and the target changes "
            r"by (\S+); between the baseline and the input the model is too rough for them$",
            caveat,
        )
        total = sum(float(part.double().sum()) for part in session.explanations.attribution().parts)
        change = math.sin(5e4 * 0.987**2)
        assert [float(number) for number in said.groups()] == pytest.approx([total, change], rel=1e-3)
        assert total != pytest.approx(change, rel=0.1)
        views = [kind(session) for kind in (SaliencyBars, SaliencyHeatmap)]
        for view in views:
            view.save_png(tmp_path / "a.png")
            assert caveat in told(view)
            assert pictures.pop().replace("\n", " ") == caveat
        session.explanations.method = "gradient"
        for view in views:
            assert "add up" not in told(view)
        session.explanations.method = "integrated_gradients"
        page = ExplorerPage(session)
        views = unpacked(page.bundle["samples"][0]["views"], page.bundle, page.data)
        for name in ("SaliencyBars", "SaliencyHeatmap", "DayScores"):
            if name in views:
                assert all(caveat in chart["caveats"] for chart in views[name]["charts"].values()), name
        assert "SaliencyBars" in views
    page = generate_report(Rough(), inputs, output_dir=tmp_path)["report"].read_text()
    assert caveat[1:] in html.unescape(page)
