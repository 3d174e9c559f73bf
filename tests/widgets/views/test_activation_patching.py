"""The map of what activations of another window do, in the explorer and in the comparison."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from cases import lines, make_session, told

from stockformer.explainability import WhatIf, activation_patching, draw_donors, summarize_patching
from stockformer.explainability.attention import patching
from stockformer_widgets import ActivationPatching, ExtractorSession, SampleComparison, Selection
from stockformer_widgets.components.caption import spoken
from stockformer_widgets.views.compared import compared


def by_what_if(session, donor, stream, layer, day):
    """The effect of one patch on the target, by another way: a what-if of the session."""
    before = session.explanations._target()(session.reading.capture.output).item()
    session.what_if(patch_from=donor, patch_days=[(stream, layer, day)])
    after = session.explanations._target()(session.reading.capture.output)
    session.undo()
    return after.item() - before


@pytest.mark.parametrize("stream", ["stock", "market"])
def test_a_cell_is_what_the_what_if_does(stream):
    session = make_session("regression")
    view = ActivationPatching(session)
    view.controls["stream"].value, view.controls["donor"].value = stream, "most volatile window"
    volatility = np.where(session.dataset.end_tickers == "AAA", session.dataset.volatility, -1)
    volatility[session.sample] = -1
    donor = int(volatility.argmax())
    body = view.chart.body
    assert body.values.shape == ((2, 8) if stream == "stock" else (1, 8))
    for layer, day in ((0, 3), (len(body.values) - 1, 7)):
        assert body.values[layer, day] == pytest.approx(by_what_if(session, donor, stream, layer, day), abs=1e-6)
    last = session.dataset.window(donor).dates[-1].date()
    assert view.chart.title.endswith(f"from the most volatile window of AAA, {last} (sample {donor})")
    assert body.columns.name(7) == f"{session.reading.days(8)[7]} (donor {last})"
    assert f"{body.values[0, 3]:+.4g}" in spoken(view._describe((0, 3)))
    view.selection.layer, view.selection.query, view.selection.key = 0, 3, 3
    assert (f"{body.values[0, 3]:+.4g}" in "\n".join(lines(view))) == (stream == "stock")


def test_the_donor_is_never_the_sample_itself():
    session = make_session("regression")
    for name in ("calmest window", "most volatile window"):
        session.sample = session.explanations.donors()[name]
        assert session.sample not in session.explanations.donors().values()
    assert list(session.explanations.donors()) == ["calmest window", "most volatile window", "random window"]
    # Of windows of one day no price tells how volatile they are.
    assert list(make_session("one day").explanations.donors()) == ["random window"]


def test_the_sentence():
    session = make_session("regression")
    donor = session.explanations.donors()["calmest window"]
    donors = [session.dataset.window(index).inputs for index in draw_donors(session.dataset, 5, without=[donor])]
    inputs = session.dataset.window(donor).inputs
    found = activation_patching(session.model, session.reading.inputs, inputs, random_donors=donors)
    effects = found.table["effect"].to_numpy()
    largest = found.table.iloc[np.abs(effects).argmax()]
    each = [
        np.abs(activation_patching(session.model, session.reading.inputs, one).table["effect"]).max() for one in donors
    ]
    number = sum(one >= abs(largest["effect"]) for one in each)
    days = session.reading.days(8)
    view = ActivationPatching(session)
    for stream in ("stock", "market"):
        view.controls["stream"].value = stream
        elsewhere = f"this is the {stream} stream: choose {largest['stream']} to see that cell"
        assert (elsewhere in lines(view)) == (stream != largest["stream"])
    said = view.chart.summary.verdict
    assert said.startswith(
        f"Patching the {largest['stream']} stream after layer {largest['layer']} on {days[largest['day']]} (donor "
    )
    share = 100 * largest["effect"] / (found.donor_value - found.value)
    assert f"moves the target most, by {largest['effect']:+.3g}, {share:.2g} % of the whole difference of " in said
    verb, usual = "moves" if number < 2 else "move", "That is not unusual: of" if number else "Of"
    assert said.endswith(
        f". {usual} 10 random windows of the ticker, {number or 'none'} {verb} it as far, from some layer and day."
    )


def test_a_sample_and_itself(session):
    found = activation_patching(session.model, session.reading.inputs, session.reading.inputs)
    names = {stream: session.reading.days(8) for stream in ("stock", "market")}
    assert summarize_patching(found, names).verdict == (
        "No activation of the donor, at one layer and day, changes the target."
    )


def test_a_is_patched_with_b(session):
    with SampleComparison(session, 3, 30) as comparison:
        view = compared(ActivationPatching)(comparison.selection)
        one, other = comparison.sessions
        assert list(view.controls) == ["stream"]
        assert view.apply.layout.display == "none"
        assert view.chart.title.endswith(f"from B: {other.title}")
        for layer, day in ((0, 2), (1, 7)):
            expected = by_what_if(one, 30, "stock", layer, day)
            assert view.chart.body.values[layer, day] == pytest.approx(expected, abs=1e-6)
        other.sample = 31
        assert view.chart.body.values[1, 7] == pytest.approx(by_what_if(one, 31, "stock", 1, 7), abs=1e-6)


def test_two_models_are_not_patched_with_each_other(session):
    other = make_session("one layer, one head")
    assert not ActivationPatching.compares(session, other)
    assert ActivationPatching.compares(session, session.at(9))


def test_without_a_dataset_there_is_no_donor():
    by_hand = make_session("by hand")
    assert not ActivationPatching.shows(by_hand)
    with pytest.raises(ValueError, match="patching needs a sample of a dataset, whose other windows are the donors"):
        by_hand.explanations.patching(3)
    with pytest.raises(ValueError, match="donors are windows of a dataset, and the sample is not of one"):
        by_hand.explanations.donors()


def test_it_is_computed_in_steps_and_stopped(session, monkeypatch):
    monkeypatch.setattr(patching, "_CELLS", 1)  # one copy at a time, so that there are steps enough

    async def run():
        view = ActivationPatching(session)
        plot = view.plot
        assert plot.layout.visibility == "hidden"
        while not view.progress.bar.value:
            await asyncio.sleep(0.001)
        view.progress.stopper.click()
        assert "Stopped." in told(view)
        assert not view._ready()
        view.controls["donor"].value = "most volatile window"
        assert view.progress.running
        while view.progress.running:
            await asyncio.sleep(0.001)
        assert plot.layout.visibility == "visible"
        assert view._ready()

    asyncio.run(run())


def click(view, row, column):
    view._on_mouse("click", {"x": column + 0.5, "y": row + 0.5})


def target(session):
    return session.explanations._target()(session.reading.capture.output).item()


def test_a_patch_of_the_map_is_applied_beside_the_last_and_undone():
    session = make_session("regression")
    values, changes = [target(session)], []
    with ActivationPatching(session) as view:
        view.controls["donor"].value = "most volatile window"
        for stream, row, day in (("stock", 1, 3), ("market", 0, 6), ("stock", 0, 7)):
            view.controls["stream"].value = stream
            assert view.apply.disabled == (stream == "market")  # whose layer no selection names
            click(view, row, day)
            effect = view.chart.body.values[row, day]
            assert effect
            assert f"{effect:+.4g}" in "\n".join(lines(view))
            changes.append(session.change)
            view.apply.click()
            values.append(target(session))
            assert values[-1] - values[-2] == pytest.approx(effect, abs=1e-6)
        assert session.change == WhatIf(
            patch_from=session.explanations.donors()["most volatile window"],
            patch_days=[("stock", 1, 3), ("market", 0, 6), ("stock", 0, 7)],
        )
        for change in reversed(changes):
            session.undo()
            assert session.change == change
        assert target(session) == values[0]


def test_no_patch_is_applied_that_would_do_other_than_the_map_says(session):
    with ActivationPatching(session) as view:
        click(view, 1, 3)
        assert not view.apply.disabled
        session.what_if(features=[session.feature_names[0][0]])
        assert not view.apply.disabled
        donor = session.explanations.donors()["random window"]
        session.what_if(patch_from=donor, patch_days=[("stock", 1, 3)])
        assert view.apply.disabled
        assert view.apply.tooltip == f"undo the patch from sample {donor} first: a what-if has one donor"
        view.controls["donor"].value = "random window"
        assert not view.apply.disabled
        session.what_if(flat=[0])
        assert view.apply.disabled
        assert view.apply.tooltip.startswith("undo the other changes of the model first")


def test_it_is_of_the_changed_model(session):
    session.what_if(gate={0: 0.0, 1: 0.0})
    with ActivationPatching(session, Selection(session)) as view:
        view.controls["stream"].value = "market"
        assert not view.chart.body.values.any()
        assert session.change == WhatIf(gate={0: 0.0, 1: 0.0})
    assert isinstance(session, ExtractorSession)
