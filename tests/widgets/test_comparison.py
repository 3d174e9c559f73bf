"""Two samples side by side: one colour scale, differences, and one selection."""

from __future__ import annotations

import gc
import json
import math

import numpy as np
import pytest
import torch
from cases import (
    ALL_VIEWS,
    MARKET,
    STOCK,
    dataset,
    drawn,
    global_hooks,
    input_times_gradient,
    inputs,
    lines,
    make_session,
    model,
    mouse,
    observers,
    parts,
    pixels,
    plain,
    press,
    told,
    widgets,
)
from scipy.spatial.distance import jensenshannon

from stockformer.explainability.attention.statistics import divergence
from stockformer_widgets import (
    AttentionExplorer,
    AttentionHeatmap,
    AttentionRow,
    ExtractorSession,
    FaithfulnessCheck,
    GateHeatmap,
    GateTimeline,
    HeadGrid,
    HeadImportance,
    PoolingBars,
    Prediction,
    SaliencyBars,
    SaliencyHeatmap,
    SampleComparison,
    Selection,
)
from stockformer_widgets.components import snapshot
from stockformer_widgets.views.compared import compared

COMPARED = [kind for kind in ALL_VIEWS if kind not in (FaithfulnessCheck, HeadGrid)]


@pytest.fixture
def comparison(session) -> SampleComparison:
    with SampleComparison(session, 3, 30) as made:
        yield made


def test_undo_takes_back_what_was_chosen_on_either_side(comparison):
    one, other = comparison.sessions
    other.sample = 12
    comparison.selection.layer = 1
    one.sample = 5
    (bars,) = (view for view in comparison.views if isinstance(view, SaliencyBars))
    bars.controls["values"].value = "signed"
    undone = []
    while comparison.toolbar.undoes:
        undone.append(comparison.toolbar.undoes)
        comparison.toolbar._on_message(comparison.toolbar, {"act": "undo"}, [])
    assert undone == ["values", "sample A", "layer", "sample B"]
    assert (one.sample, other.sample, comparison.selection.layer) == (3, 30, 0)
    assert bars.chosen["values"] == "absolute"
    while comparison.toolbar.redoes:
        comparison.redo()
    assert (one.sample, other.sample, comparison.selection.layer) == (5, 12, 1)
    assert bars.chosen["values"] == "signed"


def test_a_state_is_restored_in_another_comparison(comparison, session):
    comparison.sessions[1].sample = 12
    comparison.selection.layer, comparison.sessions[0].explanations.method = 1, "gradient"
    comparison.tabs.selected_index = comparison.tabs.titles.index("Faithfulness")
    _, control = (view.controls["rank"] for view in comparison.views if isinstance(view, FaithfulnessCheck))
    control.value = control.options[1]  # of B alone
    state = json.loads(json.dumps(comparison.state))
    assert json.loads(comparison.toolbar.state) == state
    with SampleComparison(session, 7, 8) as another:
        another.restore(state)
        assert another.state == state
        assert [one.sample for one in another.sessions] == [3, 12]
        checks = [view for view in another.views if isinstance(view, FaithfulnessCheck)]
        assert [view.session for view in checks if view.changed] == [another.sessions[1]]
        unknown = {"sample_B": {"ticker": "NONE", "day": "2020-01-01"}, "options": {"NoView": {}}}
        with pytest.warns(UserWarning, match="sample B is not restored: .*; .* there is no view 'NoView'"):
            another.restore(state | unknown)
        assert another.sessions[1].sample == 12
        with pytest.raises(ValueError, match="expected a state"):
            another.restore({})


def open_all(comparison):
    for number in range(len(comparison.tabs.children)):
        comparison.tabs.selected_index = number


def view(comparison, kind):
    """The view that compares what a kind of view shows."""
    return next(one for one in comparison.views if isinstance(one, compared(kind)))


def both(comparison, kind=AttentionHeatmap):
    """The views of A and of B, side by side."""
    return [one for one in comparison.views if type(one) is kind]


def maps(comparison, kind="cross", layer=0, head=None):
    return [one.reading.capture.map(kind, layer, head).numpy() for one in comparison.sessions]


def test_both_maps_have_one_colour_scale(comparison):
    one, other = maps(comparison)
    largest = max(one.max(), other.max())
    for shown, weights in zip(both(comparison), (one, other), strict=True):
        np.testing.assert_allclose(pixels(shown, "viridis", 0, largest), weights, atol=largest / 254)
    comparison.sessions[1].sample = 12
    one, other = maps(comparison)
    largest = max(one.max(), other.max())
    for shown, weights in zip(both(comparison), (one, other), strict=True):
        np.testing.assert_allclose(pixels(shown, "viridis", 0, largest), weights, atol=largest / 254)


def test_the_difference_is_centred_on_zero_and_names_the_largest(comparison):
    shown = view(comparison, AttentionHeatmap)
    comparison.selection.kind, comparison.selection.layer = "self", 1
    one, other = maps(comparison, "self", 1)
    difference = one - other
    largest = np.abs(difference).max()
    np.testing.assert_allclose(pixels(shown, "RdBu_r", -largest, largest), difference, atol=largest / 127)
    frame = shown.to_frame()
    np.testing.assert_allclose(frame["difference"], difference.ravel())
    row, column = np.unravel_index(np.abs(difference).argmax(), difference.shape)
    said = "\n".join(lines(shown))
    assert f"query {row - 7}, key {column - 7} {difference[row, column]:+.3g}" in said
    moved = np.abs(difference).sum(axis=1).mean() / 2
    assert shown.chart.summary.findings[0].value == pytest.approx(moved, rel=1e-5)


def test_one_click_moves_both_sides(comparison):
    one, other = both(comparison)
    difference = view(comparison, AttentionHeatmap)
    mouse(difference.figure, "click", 2.5, 4.5)
    where = comparison.selection
    assert (where.query, where.key) == (4, 2)
    for shown, session in zip((one, other), comparison.sessions, strict=True):
        days = session.reading.days(8)
        assert f"query {days[4]}, key {days[2]}" in "\n".join(lines(shown))
    mouse(other.figure, "click", 6.5, 1.5)
    days = [session.reading.days(8) for session in comparison.sessions]
    one_map, other_map = maps(comparison)
    assert "\n".join(lines(difference)).startswith(
        f"query -6 (A {days[0][1]}, B {days[1][1]}), key -1 (A {days[0][6]}, B {days[1][6]}), "
        f"weight A - B {one_map[1, 6] - other_map[1, 6]:+.4g}\n"
    )
    press(one, "ArrowDown")
    assert where.query == 2


def test_rows_gates_and_pooling_lie_over_each_other(comparison):
    where = comparison.selection
    where.layer, where.head, where.query = 1, 0, 3
    captures = [session.reading.capture for session in comparison.sessions]
    gates = [list(capture.gates.values())[1][0].mean(dim=-1) for capture in captures]
    expected = {
        AttentionRow: [weights[3] for weights in maps(comparison, "cross", 1, 0)],
        GateTimeline: [gate.numpy() for gate in gates],
        PoolingBars: [capture.pooling[0].numpy() for capture in captures],
    }
    for kind, values in expected.items():
        shown = view(comparison, kind)
        shape = "line" if kind is GateTimeline else "step"
        for line, series in zip(drawn(shown, shape)[1], values, strict=True):
            np.testing.assert_allclose(line[: len(series)], series, rtol=1e-5)
        frame = shown.to_frame()
        np.testing.assert_allclose(frame[["a", "b"]].to_numpy().T, np.stack(values), rtol=1e-5)
        assert frame["day"].tolist() == list(range(-7, 1))


def test_saliency_is_sorted_by_difference(comparison):
    shown = view(comparison, SaliencyBars)
    comparison.sessions[0].explanations.method = "input_x_gradient"
    frame = shown.to_frame()
    parts = [input_times_gradient(session) for session in comparison.sessions]
    sums = [np.concatenate([np.abs(part).sum(axis=0) for part in each]) for each in parts]
    names = [name for group in comparison.sessions[0].feature_names for name in group]
    order = np.argsort(-np.abs(sums[0] - sums[1]), kind="stable")
    assert frame["feature"].tolist()[:3] == [names[place] for place in order][:3]
    np.testing.assert_allclose(shown.picture.bars.y, sums[0][order], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(shown.picture.dots.x, sums[1][order], rtol=1e-4, atol=1e-7)
    mouse(shown.figure, "click", 0.0, 1.5)
    assert comparison.selection.feature == shown.chart.body.names.names[1]


def test_a_feature_that_is_not_among_the_most_different_has_its_numbers_too(session, monkeypatch):
    monkeypatch.setattr(SaliencyBars, "most", 2)
    with SampleComparison(session, 3, 30) as comparison:
        comparison.sessions[0].explanations.method = "input_x_gradient"
        shown = view(comparison, SaliencyBars)
        name, a, b = shown.to_frame().iloc[2][["feature", "a", "b"]]
        assert len(shown.picture.bars.y) == 2
        assert name not in shown.chart.body.names.names
        comparison.selection.feature = name
        assert "\n".join(lines(shown)).startswith(f"{name} A {a:.4g}, B {b:.4g}")


def test_every_view_is_compared(comparison):
    open_all(comparison)
    assert plain(comparison.message.value) == ""
    kinds = [type(one) for one in comparison.views]
    for kind in ALL_VIEWS:
        assert kinds.count(compared(kind) if kind in COMPARED else kind) == (1 if kind in COMPARED else 2), kind
    for kind in (AttentionHeatmap, HeadGrid, FaithfulnessCheck):
        assert [one.session for one in both(comparison, kind)] == list(comparison.sessions)
    with pytest.raises(ValueError, match="ComparedHeadGrid has nothing to compare"):
        compared(HeadGrid)(comparison.selection)


def test_titles_that_differ_say_what_is_whose(comparison):
    days = [session.reading.days(8)[7] for session in comparison.sessions]
    assert view(comparison, AttentionRow).plot.title == "Attention of A {} / B {}".format(*days)
    assert view(comparison, GateTimeline).plot.title == "Mean gate by layer"


def test_gates_and_saliency_differ_by_name(comparison):
    comparison.explain.method.value = "input_x_gradient"
    open_all(comparison)
    gates = [next(iter(session.reading.capture.gates.values()))[0].numpy().T for session in comparison.sessions]
    shown = view(comparison, GateHeatmap)
    rows = [int(name) for name in shown.chart.body.rows.names]
    change = gates[0] - gates[1]
    spread = np.abs(change).sum(axis=1)
    np.testing.assert_allclose(spread[rows], np.sort(spread)[::-1][: len(rows)], rtol=1e-4)
    largest = np.abs(change).max()
    np.testing.assert_allclose(pixels(shown, "RdBu_r", -largest, largest), change[rows], atol=largest / 127)
    parts = [np.concatenate(input_times_gradient(session), axis=1).T for session in comparison.sessions]
    shown = view(comparison, SaliencyHeatmap)
    rows = [(STOCK + MARKET).index(name) for name in shown.chart.body.rows.names]
    assert len(rows) == 7
    change = parts[0] - parts[1]
    largest = np.abs(change).max()
    np.testing.assert_allclose(pixels(shown, "RdBu_r", -largest, largest), change[rows], atol=largest / 127)
    mouse(shown.figure, "click", 2.5, 0.5)
    assert comparison.selection.feature == shown.chart.body.rows.names[0]
    assert comparison.selection.query == 2


def test_heads_of_both_are_measured(comparison):
    open_all(comparison)
    frame = view(comparison, HeadImportance).to_frame()
    layers = [session.explanations.head_importance() for session in comparison.sessions]
    expected = [table.query("kind == 'cross' and layer == 0")["ablation"].to_numpy() for table in layers]
    for name, values in zip("ab", expected, strict=True):
        measured = frame[frame["panel"].str.contains("without")][name]
        np.testing.assert_allclose(measured, values, rtol=1e-5, atol=1e-8)


def test_predictions(comparison):
    shown = view(comparison, Prediction)
    one, other = (torch.softmax(session.reading.capture.output[0], dim=0).numpy() for session in comparison.sessions)
    np.testing.assert_allclose(shown.picture.bars.y, one, rtol=1e-5)
    np.testing.assert_allclose(shown.picture.dots.x, other, rtol=1e-5)
    assert list(shown.to_frame()) == ["outcome", "a", "b", "difference"]
    assert "furthest apart for outcome " in told(shown)
    assert shown.chart.summary.findings[0].value == pytest.approx(np.abs(one - other).sum() / 2, rel=1e-4)


def test_the_numbers(comparison):
    frame = comparison.to_frame().set_index("measure")
    gates = [
        np.concatenate([gate.numpy().ravel() for gate in list(session.reading.capture.gates.values())[:1]]).mean()
        for session in comparison.sessions
    ]
    np.testing.assert_allclose(frame.loc["gate layer 0", ["a", "b"]].astype(float), gates, rtol=1e-5)
    expected = []
    for layer in range(2):
        one, other = maps(comparison, "cross", layer)
        expected.append(np.mean(jensenshannon(one, other, axis=1) ** 2))
    assert frame.loc["cross divergence", "difference"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert math.isnan(frame.loc["cross divergence", "a"])
    divergence = frame.loc["cross divergence", "difference"]
    assert f"cross divergence{divergence:.3g} nats" in plain(comparison.numbers.value)
    written = f"gate layer 0{100 * gates[0]:#.3g} %{100 * gates[1]:#.3g} %{100 * (gates[0] - gates[1]):#.3g} points"
    assert written in plain(comparison.numbers.value)
    before = comparison.numbers.value
    comparison.sessions[0].what_if(gate={0: 0.0})
    assert comparison.to_frame().set_index("measure").loc["gate layer 0", "a"] == 0
    assert comparison.numbers.value != before
    assert "gate of layer 0 = 0" in plain(comparison.headings[0].value)


def test_method_and_target_are_the_same_in_both(comparison):
    comparison.explain.method.value = "gradient"
    assert [session.explanations.method for session in comparison.sessions] == ["gradient", "gradient"]
    comparison.sessions[1].explanations.target = 0
    assert comparison.sessions[0].explanations.target == 0


def test_two_checkpoints_of_other_sizes():
    other = model(num_layers=3, nhead=4, market_layers=2)
    sessions = make_session("dataset"), ExtractorSession(other, dataset=dataset(), index=5)
    with SampleComparison(*sessions) as comparison:
        said = plain(comparison.headline.value)
        assert "cross attention: A and B have 2 layers, 2 heads, 8 x 8 days and 3 layers, 4 heads, 8 x 8 days" in said
        assert comparison.selection.sizes()["layer"] == 2
        assert len(comparison.views) == 9
    assert not any(session.closed for session in sessions)


def test_other_lengths_align_at_the_end():
    sessions = [ExtractorSession(model(), *inputs(days, days)) for days in (6, 9)]
    with SampleComparison(*sessions) as comparison:
        one, other = maps(comparison)
        frame = view(comparison, AttentionHeatmap).to_frame()
        np.testing.assert_allclose(frame["difference"], (one - other[-6:, -6:]).ravel(), rtol=1e-5)
        pooling = view(comparison, PoolingBars).to_frame()
        assert pooling["day"].tolist() == list(range(-8, 1))
        assert pooling["a"].isna().sum() == 3
        comparison.selection.query = 0
        assert "cross divergence" not in comparison.to_frame()["measure"].tolist()
        assert all(not shown.message.value.strip() or "><" in shown.message.value for shown in comparison.views)


def test_an_encoder_beside_a_cross_attention_model():
    stock = inputs(6, 6)[0]
    sessions = make_session("encoder"), ExtractorSession(make_session("encoder").model, stock)
    sessions[1]._feature_names = sessions[0].feature_names
    with SampleComparison(*sessions) as comparison:
        assert comparison.selection.kinds == ["self"]
        assert not any(isinstance(one, GateTimeline) for one in comparison.views)


@pytest.mark.parametrize("name", ["nn.TransformerDecoder", "bare attention", "regression", "coral", "nan"])
def test_other_models(name):
    with SampleComparison(*(make_session(name, "input_x_gradient") for _ in "AB")) as comparison:
        open_all(comparison)
        assert plain(comparison.message.value) == ""
        for shown in comparison.views:
            assert not shown.to_frame().empty or isinstance(shown, FaithfulnessCheck)
        assert not view(comparison, AttentionHeatmap).to_frame()["difference"].any() or name == "nan"


def test_pngs(comparison, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "_FILE_DPI", 40)
    open_all(comparison)
    for number, shown in enumerate(comparison.views):
        assert shown.save_png(tmp_path / f"{number}.png").stat().st_size > 1500


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        ((3, 99), IndexError, "sample 99 does not exist"),
        ((3,), TypeError, "expected two ExtractorSessions, or one and two indices"),
        ((), TypeError, "expected two ExtractorSessions"),
        (("a", "b"), TypeError, "one and two indices"),
    ],
)
def test_what_cannot_be_compared(session, others, error, message):
    before = widgets(), observers(session)
    with pytest.raises(error, match=message):
        SampleComparison(session, *others)
    assert (widgets(), observers(session)) == before


def test_other_features_and_the_same_session(session):
    with pytest.raises(ValueError, match="the sessions have different features: 5 \\+ 2 and 5"):
        SampleComparison(session, make_session("encoder"))
    with pytest.raises(ValueError, match="cannot be compared with itself"):
        SampleComparison(session, session)
    with pytest.raises(ValueError, match="another sample needs a session with a dataset"):
        SampleComparison(make_session("by hand"), 1, 2)
    with pytest.raises(ValueError, match="needs a selection in two sessions, this one has 1"):
        compared(AttentionRow)(Selection(session))


def test_a_sample_that_does_not_exist_leaves_the_screen(comparison):
    before = ["\n".join(lines(shown)) for shown in comparison.views]
    with pytest.raises(IndexError):
        comparison.sessions[0].sample = 999
    assert ["\n".join(lines(shown)) for shown in comparison.views] == before


def test_closing_frees_everything(session):
    before = widgets(), observers(session)
    with pytest.warns(DeprecationWarning, match=r"use stockformer_widgets.SampleComparison\(session, ...\)"):
        comparison = session.compare(1, 2)
    made = comparison.sessions
    comparison.close()
    assert all(one.closed for one in made)
    assert (widgets(), observers(session)) == before
    with make_session() as other:
        comparison = SampleComparison(session, other)
        other.close()
        assert comparison.comm is None
    del comparison  # and with it the selection, which followed the session
    gc.collect()
    assert (widgets(), observers(session)) == before
    assert global_hooks() == 0


def test_an_explorer_shares_the_selection(session):
    with make_session() as other:
        other.sample = 20
        where = Selection(session, other)
        explorers = [AttentionExplorer(one, where) for one in (session, other)]
        press(explorers[0].views[0], "]")
        assert where.layer == 1
        bars = [next(part for part in parts(one) if hasattr(part, "color_bar")) for one in explorers]
        assert bars[0].color_bar.value == bars[1].color_bar.value
        other.close()
        session.sample = 9
        assert plain(explorers[0].message.value) == ""


@pytest.mark.parametrize("names", [("regression", "dataset"), ("coral", "dataset")])
def test_models_that_predict_different_things(names):
    with SampleComparison(*map(make_session, names)) as comparison:
        assert [one.session for one in both(comparison, Prediction)] == list(comparison.sessions)
        assert "A and B predict different things" in plain(comparison.headline.value)
        assert not view(comparison, SaliencyBars).to_frame().empty
        with pytest.raises(ValueError, match="Prediction has nothing to compare"):
            compared(Prediction)(comparison.selection)


def test_two_samples_of_a_session_take_its_change_target_and_method_along(session):
    session.what_if(gate={0: 0.25})
    session.explanations.method, session.explanations.target = "gradient", 1
    with SampleComparison(session, 3, 30) as comparison:
        for one in comparison.sessions:
            assert (one.change, one.explanations.method, one.explanations.target) == (session.change, "gradient", 1)
        assert [plain(heading.value)[2:] for heading in comparison.headings] == [
            f"{name}: {one.title}" for name, one in zip("AB", comparison.sessions, strict=True)
        ]


def test_another_model_is_said(session):
    other = make_session("dataset")
    with SampleComparison(session, other) as comparison:
        assert plain(comparison.headings[1].value).endswith("(another model)")


def test_attention_that_is_switched_off_is_not_compared(session):
    session.what_if(heads_off=[(0, head) for head in range(2)])
    other = make_session("dataset")
    with SampleComparison(session, other) as comparison:
        verdict = told(view(comparison, AttentionHeatmap))
        assert "This attention is switched off in A: there is nothing to compare." in verdict
        table = comparison.to_frame().set_index("measure")["difference"]
        layers = [one.reading.capture.kinds["cross"][1][0].mean(dim=0) for one in comparison.sessions]
        assert table["cross divergence"] == pytest.approx(float(divergence(*layers)), abs=1e-6)
