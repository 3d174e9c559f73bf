"""The faithfulness tab: its measurements, its sentences, and what a click selects."""

from __future__ import annotations

import asyncio
from itertools import islice, permutations

import numpy as np
import pytest
import torch
from cases import (
    DAYS,
    MARKET,
    STOCK,
    lines,
    make_session,
    model,
    mouse,
    parts,
    plain,
    press,
    shown_message,
    table,
    told,
    widgets,
)

from stockformer.dataset import StockDataset
from stockformer.explainability import METHODS, REFERENCES, randomisation_check
from stockformer_widgets import AttentionExplorer, ExtractorSession, FaithfulnessCheck, SaliencyBars
from stockformer_widgets.components.progress import ProgressBar
from stockformer_widgets.state.explanations import Explanations
from stockformer_widgets.views import faithfulness_check

pytestmark = pytest.mark.usefixtures("few_orders", "few_windows")


@pytest.fixture
def few_windows(monkeypatch):
    """A choice of fewer windows than a person has."""
    monkeypatch.setitem(faithfulness_check._WINDOWS, "4 windows", 4)


@pytest.fixture
def two_methods(monkeypatch):
    """Where more than the sample is measured, and what is not what is tested: two methods beside the references."""
    rankings = Explanations._rankings
    monkeypatch.setattr(
        Explanations, "_rankings", lambda explanations, unit: dict(islice(rankings(explanations, unit).items(), 2))
    )


@pytest.fixture
def view(session):
    return FaithfulnessCheck(session)


def test_nothing_is_measured_or_drawn_at_first(session, view):
    assert session.explanations.faithfulness == {}
    assert view.picture.grid.children == ()
    assert "Not measured yet" in told(view)


@pytest.mark.parametrize(("windows", "unit"), [(None, "cell"), (4, "cell"), (None, "day")])
def test_curves_and_verdicts(session, view, windows, unit):
    view.controls["on"].value = "this sample" if windows is None else f"{windows} windows"
    view.controls["rank"].value = {"cell": "features by day", "day": "days"}[unit]
    view.measure.click()
    found = session.explanations.faithfulness[unit]
    assert (found.samples, found.unit) == (windows or 1, unit)
    names = [name for name in found.table["ranking"] if name != "random"]
    for panel, kind in zip(view.picture.pictures, ("deletion", "insertion"), strict=True):
        curves = found.curves[found.curves["kind"] == kind].set_index("ranking")
        at = np.rint(100 * curves.loc["random", "fraction"].to_numpy()).astype(int)
        np.testing.assert_allclose(panel.lines["line"].y[:, at], [curves.loc[name, "value"] for name in names])
        np.testing.assert_allclose(panel.lines["dashed"].y[at], curves.loc["random", "value"])
        np.testing.assert_allclose(panel.lines["band"].y[:, at], curves.loc["random", ["low", "high"]].T)
        assert panel.plot in view.picture.grid.children
    rows = plain(view.table.value.replace("</td>", " ¦ ").replace("</tr>", "\n")).split("\n")
    for row in found.table.to_dict("records"):
        said = next(line for line in rows if line.startswith(f"■ {row['ranking'].replace('_', ' ')} ¦"))
        deletion, *_, sufficiency, verdict, gap, other = (cell.strip() for cell in said.split("¦")[1:-1])
        second = found.second.table.set_index("ranking").loc[row["ranking"]]
        assert (gap, other) == (f"{second['gap']:.2f}", second["verdict"])
        assert (deletion, sufficiency) == (f"{row['deletion']:.2f}", f"{row['sufficiency']:.2f}")
        assert verdict == row["verdict"]
    methods = found.table[~found.table["ranking"].isin(REFERENCES)]
    better = methods["verdict"].str.startswith("better than").sum()
    assert f"better than random orders: {better} of {len(methods)} explanations" in told(view)
    assert len(view.to_frame()) == len(names) + 1


def test_a_click_on_a_curve_takes_its_method(session, view):
    session.explanations.check()
    name = [one for one in session.explanations.faithfulness["cell"].table["ranking"] if one != "random"][-1]
    curve = session.explanations.faithfulness["cell"].curves.query("ranking == @name and kind == 'deletion'")
    mouse(view.picture.pictures[0].figure, "click", 10.5, float(curve.query("fraction == 0.1")["value"].iloc[0]))
    assert session.explanations.method == name
    assert lines(view)[0].startswith(name.replace("_", " "))
    press(view, "ArrowUp", 20)
    press(view, "ArrowLeft", 20)
    assert session.explanations.method == session.explanations.faithfulness["cell"].table["ranking"].iloc[0]


def test_random_weights(session, view):
    view.randomise.click()
    expected = randomisation_check(session.model, [session.reading.inputs]).set_index("method")
    rows = [plain(row) for row in view.table.value.replace("</td>", " ").split("</tr>")]
    for method, row in expected.iterrows():
        said = next(line for line in rows if line.startswith(method.replace("_", " ")))
        signed, absolute = (f"{row[of]:.2f} ± {row[f'{of}_std']:.2f}" for of in ("signed", "absolute"))
        assert " ".join(said.split()[-6:]) == f"{signed} {absolute}"
    session.sample = 9
    assert "random weights" not in plain(view.table.value)


@pytest.mark.parametrize("trait", ["target", "baseline", "groups"])
def test_what_is_explained_otherwise_is_measured_anew(session, view, trait):
    session.explanations.check()
    session.explanations.check(unit="day")
    view.randomise.click()
    setattr(session.explanations, trait, {"target": 0, "baseline": "calm window", "groups": "day"}[trait])
    if trait == "target":
        assert session.explanations.faithfulness == session.explanations.randomised == {}
        assert view.picture.grid.children == ()
        return
    by_group = {"occlusion", "shapley_sampling"}
    stale = {"baseline": by_group | {"integrated_gradients", "gradient_shap"}, "groups": by_group}[trait]
    kept = {method for method in METHODS if method not in stale}
    assert set(session.explanations.faithfulness["cell"].scores) == {*kept, "|input|", "fixed linear"}
    assert set(session.explanations.randomised) == kept
    assert "occlusion" not in plain(view.table.value)
    assert "occlusion" in session.explanations.faithfulness["day"].scores


def test_cells_and_days_are_kept_beside_each_other(session, view):
    session.explanations.check()
    view.controls["rank"].value = "days"
    assert view.picture.grid.children == ()
    view.measure.click()
    assert "pooling" in plain(view.table.value)
    view.controls["rank"].value = "features by day"
    assert "shapley sampling" in plain(view.table.value)
    assert len(view.picture.grid.children) == 2


def test_nothing_to_measure_is_said(session, view, two_methods):
    with torch.no_grad():
        session.model.cls_head[3].weight.zero_()
    session.refresh()
    session.explanations.check()
    assert told(view).startswith("On this sample there is nothing to measure")
    assert view.picture.grid.children == ()
    assert lines(SaliencyBars(session))[-1] == "not measurable on this sample"


def test_new_weights_end_a_check_and_forget_the_last(session, two_methods):
    session.explanations.check(windows=4)
    steps = session.explanations.check_steps(4)
    next(steps)
    session.refresh()
    assert session.explanations.faithfulness == {}
    with pytest.raises(RuntimeError, match="changed during the measurement: measure again"):
        next(steps)
    steps = session.explanations.check_steps(4)
    next(steps)
    session.close()
    with pytest.raises(RuntimeError, match="changed during the measurement"):
        next(steps)
    assert session.explanations.faithfulness == {}


def test_arrows_pass_rankings_that_are_no_method(session, view):
    view.controls["rank"].value = "days"
    session.explanations.check(unit="day")
    session.explanations.method = "gradient"
    press(view, "ArrowDown", 30)
    order = [name for name in session.explanations.faithfulness["day"].table["ranking"] if name in METHODS]
    assert session.explanations.method in order
    press(view, "ArrowUp", 30)
    assert session.explanations.method == order[0]
    press(view, "ArrowDown", 30)
    assert session.explanations.method == order[-1]


def test_windows_survive_another_sample_and_the_sample_does_not(session, view, two_methods):
    session.explanations.check(windows=4)
    session.sample = 9
    assert session.explanations.faithfulness["cell"].samples == 4
    session.explanations.check()
    assert session.explanations.faithfulness["cell"].samples == 4
    session.sample = 5
    assert session.explanations.faithfulness["cell"].samples == 4
    assert session.explanations.sample_faithfulness == {}


def test_the_one_that_is_chosen_is_shown_and_the_other_is_said(session, view, two_methods):
    results = {"4 windows": session.explanations.check(windows=4), "this sample": session.explanations.check()}
    for chosen, other in permutations(results):
        view.controls["on"].value = chosen
        expected = results[chosen].table["deletion"].round(2)
        np.testing.assert_allclose(view.to_frame()["deletion"].round(2), expected)
        assert told(view).startswith(f"On {results[chosen].measured_on}, ")
        assert f"On {results[other].measured_on}, " in "\n".join(lines(view))


def test_the_formula_comes_from_training_windows(session, view):
    assert "fixed linear" in session.explanations.check().scores
    with make_session("by hand") as by_hand:
        assert "fixed linear" not in by_hand.explanations.check().scores


def test_one_window_is_refused(session):
    with pytest.raises(ValueError, match="windows is 1, expected at least 2; without it the sample is measured"):
        session.explanations.check(windows=1)


def test_a_change_of_the_model_is_refused_in_a_sentence(session, view):
    session.what_if(gate={0: 0.0})
    view.measure.click()
    assert shown_message(view) == "faithfulness is measured on the unchanged model: undo the what-if first"
    session.what_if()
    view.measure.click()
    assert shown_message(view) == ""
    assert session.explanations.faithfulness


def test_what_there_is_to_measure():
    by_hand, encoder = (FaithfulnessCheck(make_session(name)) for name in ("by hand", "bare attention"))
    assert by_hand.controls["on"].options == ("this sample",)
    assert by_hand.chosen["on"] == "this sample"
    assert by_hand.controls["rank"].options == ("features by day", "days")
    assert encoder.controls["rank"].options == ("features by day",)


# While it runs


def test_it_can_be_watched_and_stopped(session, view, two_methods):
    async def run():
        view.controls["on"].value = "16 windows"
        view.measure.click()
        seen = [0.0]
        while len(set(seen)) < 4:
            await asyncio.sleep(0.002)
            seen.append(view.progress.bar.value)
        assert view.progress.running
        assert view.measure.disabled
        assert view.randomise.disabled
        assert seen == sorted(seen)
        view.progress.stopper.click()
        await asyncio.sleep(0.01)
        assert not view.progress.running
        assert not view.measure.disabled
        assert session.explanations.faithfulness == {}
        view.controls["on"].value = "this sample"
        view.measure.click()
        while view.progress.running or not session.explanations.faithfulness:
            await asyncio.sleep(0.01)
        assert len(view.picture.grid.children) == 2

    asyncio.run(run())


async def begun(progress) -> None:
    while not progress.bar.value:
        await asyncio.sleep(0.002)


def test_the_kernel_answers_meanwhile(session, two_methods):
    async def run():
        explorer = AttentionExplorer(session)
        explorer.tabs.selected_index = list(explorer.tabs.titles).index("Faithfulness")
        view = next(part for part in parts(explorer) if isinstance(part, FaithfulnessCheck))
        view.controls["on"].value = "16 windows"
        view.measure.click()
        await begun(view.progress)
        session.explanations.target = 0  # what is measured is of another target
        while view.progress.running:
            await asyncio.sleep(0.01)
        assert session.explanations.faithfulness == {}
        assert shown_message(view) == "the sample or the settings changed during the measurement: measure again"
        view.measure.click()
        await asyncio.sleep(0.01)
        assert shown_message(view) == ""
        explorer.close()

    asyncio.run(run())


@pytest.mark.parametrize("who", ["view", "session"])
def test_closing_stops_it(session, who):
    async def run():
        view.controls["on"].value = "16 windows"
        view.measure.click()
        await begun(view.progress)
        (view if who == "view" else session).close()
        await asyncio.wait_for(asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}), 10)
        assert not view.session.explanations.faithfulness

    before = widgets()
    view = FaithfulnessCheck(session)
    asyncio.run(run())
    assert widgets() == before


class Line:
    """Where a failure is said."""

    def __init__(self):
        self.said = []

    def reporting(self):
        line = self

        class Reporting:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, trace):
                if error is not None and isinstance(error, Exception):
                    line.said.append(str(error))
                    return True
                return False

        return Reporting()


def test_a_step_that_fails_is_said_and_the_next_work_runs():
    def fails():
        yield 0.5
        raise ValueError("no more")

    async def run():
        line, done = Line(), []
        progress = ProgressBar("counting", line)
        progress.start(fails(), lambda: done.append("first"))
        while progress.running or not line.said:
            await asyncio.sleep(0.002)
        progress.start(iter([0.5, 1.0]), lambda: done.append("second"))
        while not done:
            await asyncio.sleep(0.002)
        assert (line.said, done) == (["no more"], ["second"])
        assert not progress.running

    asyncio.run(run())


def test_without_another_window_the_second_removal_is_said_to_be_missing(few_orders):
    by_hand = make_session("by hand")
    assert by_hand.explanations.check().second is None
    words = "Not measured with other windows: the sample does not come from a dataset."
    assert told(FaithfulnessCheck(by_hand)).startswith("On this sample, better than random orders: ")
    assert words in told(FaithfulnessCheck(by_hand))
    alone = StockDataset(table(11).query("symbol == 'AAA'"), STOCK, MARKET, lookback=DAYS, label_mode="regression")
    session = ExtractorSession.from_dataset(model("regression"), alone)
    assert session.explanations.check().note == "Not measured with other windows: sample 0 is the only window of AAA."


def test_what_badges_are_of_before_anything_is_measured(large, session):
    shipped = "badges show the measurement on 64 windows that is shipped with this model"
    assert any(shipped in line for line in lines(FaithfulnessCheck(large)))
    assert not any(shipped in line for line in lines(FaithfulnessCheck(session)))
