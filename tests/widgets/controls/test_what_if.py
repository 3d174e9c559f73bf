"""The what-if panel: what it changes, refuses and displays."""

from __future__ import annotations

import datetime

import torch
from cases import labels, make_session, plain, shown_message

from stockformer.explainability import WhatIf
from stockformer_widgets import AttentionExplorer, Selection
from stockformer_widgets.components.drawing import MessageLine
from stockformer_widgets.controls.what_if import WhatIfControls


def panel_of(explorer: AttentionExplorer) -> WhatIfControls:
    return next(one for one in explorer.tools.children if isinstance(one, WhatIfControls))


def test_the_panel_changes_what_is_selected(session, explorer):
    panel, where = panel_of(explorer), explorer.selection
    assert explorer.tools.layout.display == "none"
    explorer.opener.value = True
    assert explorer.tools.layout.display is None
    assert panel in explorer.tools.children
    panel.gate.value = 0.0
    where.layer, where.kind, where.head = 1, "self", 0
    assert panel.gate.value != 0.0
    panel.attention.value = "flat"
    panel.head_off.value = True
    assert session.change == WhatIf(gate={0: 0.0}, heads_off=(("self", 1, 0),), flat=(("self", 1),))
    panel.attention.value = "permuted"
    assert session.change.permuted == (("self", 1),)
    assert session.change.flat == ()
    panel.head_off.value = False
    panel.attention.value = panel.attention.options[0][1]
    where.layer = 0
    panel.gate.value = panel.gate.options[0][1]
    assert not session.change


def test_the_panel_changes_inputs(session, explorer):
    panel, ends = panel_of(explorer), session.dataset.end_dates
    panel.market.value = ends[10].date()
    assert torch.equal(session.reading.inputs[1][0], session.dataset.window(10).market_x)
    assert labels(panel.features)[:3] == ["none", "every feature", "f0"]
    panel.features.value = ("f2",)
    panel.days.value = (1, 3)
    assert panel.days.label == tuple(session.original.days(8)[day] for day in (1, 3))
    assert session.change == WhatIf(market_from=10, features=("f2",), days=(1, 3))
    assert not session.reading.inputs[0][0, 1:4, 2].any()
    assert plain(panel.effect.value) == session.effect().verdict
    explorer.undo()
    assert session.change.days == (0, 7)
    assert not panel.reset.disabled
    panel.reset.click()
    assert not session.change
    assert (panel.reset.disabled, panel.effect.value) == (True, "")
    assert (panel.market.value, panel.days.value) == (None, (0, 7))
    explorer.undo()
    assert panel.market.value == ends[10].date()


def test_the_panel_says_what_is_wrong_and_stays(session, explorer):
    panel, first = panel_of(explorer), session.dataset.end_dates[0].date()
    panel.market.value = datetime.date(2019, 1, 1)
    assert shown_message(explorer) == f"no window of AAA ends by 2019-01-01: the first ends on {first}"
    assert panel.market.value is None
    assert not session.change


def test_the_panel_shows_what_python_changed(session, explorer):
    session.what_if(gate={0: 0.3}, heads_off=[(0, 1)], permuted=[0], days=(2, 4), market_from=-1)
    explorer.selection.head = 1
    panel = panel_of(explorer)
    assert (panel.gate.value, panel.attention.value, panel.head_off.value) == (0.3, "permuted", True)
    last = session.dataset.end_dates[-1].date()
    assert (panel.features.value, panel.days.value, panel.market.value) == ((), (2, 4), last)
    assert "what if: gate of layer 0 = 0.3" in plain(explorer.headline.value)
    session.what_if()
    assert (panel.gate.value, panel.head_off.value) == (panel.gate.options[0][1], False)
    assert "what if" not in plain(explorer.headline.value)


def test_models_without_gates_or_market():
    with make_session("encoder") as session, AttentionExplorer(session) as explorer:
        assert panel_of(explorer).gate.layout.display == "none"
        assert panel_of(explorer).market.layout.display == "none"
        panel_of(explorer).attention.value = "flat"
        assert session.change == WhatIf(flat=(("self", 0),))


def test_days_wait_for_a_feature(session):
    controls = WhatIfControls(session, Selection(session, feature="f1"), MessageLine())
    controls.days.value = (2, 4)
    assert not session.change
    assert controls.days.value == (2, 4)
    controls.features.value = ("f1",)
    assert (session.change.features, session.change.days) == (("f1",), (2, 4))
    controls.reset.click()
    assert not session.change
