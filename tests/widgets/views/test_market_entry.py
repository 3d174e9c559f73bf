"""How much market enters at each layer against the model asked in another way."""

from __future__ import annotations

import numpy as np
import torch
from cases import drawn, lines, mouse
from expected import traced

from stockformer.explainability import market_entry
from stockformer_widgets import MarketEntry, Selection


def test_how_much_market_enters(session):
    view = MarketEntry(session, Selection(session, layer=1))
    entries = market_entry(traced(session))
    np.testing.assert_allclose(drawn(view, "line")[1], torch.stack(entries).numpy(), rtol=1e-4)
    assert list(view.picture.lines["line"].opacities) == [0.65, 1.0]
    frame = view.to_frame()
    gate = session.reading.capture.gates["cross_attn_layers.1.gate"][0].mean(dim=-1)
    np.testing.assert_allclose(frame.query("layer == 1")["gate"], gate.numpy(), rtol=1e-4)
    mouse(view.figure, "mousemove", 3.5, 0.1)
    assert f"{entries[1][3]:.3f} (gate {gate[3]:.2f})" in lines(view)[0]


def test_a_closed_gate_lets_nothing_in(session):
    session.what_if(gate={1: 0.0})
    assert not drawn(MarketEntry(session), "line")[1][1].any()
