"""Attention that does not give its module's output is never on the screen without a word."""

from __future__ import annotations

import pytest
import torch
from cases import plain, told, unpacked
from torch import nn

from stockformer_widgets import (
    AttentionExplorer,
    AttentionHeatmap,
    AttentionRow,
    ExplorerPage,
    ExtractorSession,
    HeadGrid,
    HeadSpecialization,
    LayerEvolution,
    Selection,
)
from stockformer_widgets.views.compared import compared


class Sharpened(nn.MultiheadAttention):
    """Attends with other queries than it is called with, and returns no weights."""

    def forward(self, query, key, value, **options):
        return super().forward(9 * query, key, value, need_weights=False)


class Model(nn.Module):
    """Two kinds of attention; the second layer of `one` is `Sharpened`."""

    def __init__(self):
        super().__init__()
        self.one, self.other = (
            nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in "ab") for _ in "ab"
        )
        self.one[1].__class__ = Sharpened
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        for attention in (*self.one, *self.other):
            x = x + attention(x, x, x)[0]
        return self.head(x.mean(dim=1))


@pytest.fixture
def session():
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match="one.1"), ExtractorSession(Model().eval(), torch.randn(1, 6, 8)) as session:
        yield session


WORDS = "⚠ one.1: these weights are recomputed from its inputs and parameters, but they do not give its output ("


@pytest.mark.parametrize("view", [AttentionHeatmap, AttentionRow, HeadSpecialization])
def test_a_view_of_one_layer(session, view):
    with view(session) as shown:
        selection = shown.selection
        assert (selection.kind, selection.layer) == ("one.*", 0)
        assert "⚠" not in told(shown)
        selection.layer = 1
        assert told(shown).startswith(WORDS)
        selection.kind = "other.*"
        assert "⚠" not in told(shown)


@pytest.mark.parametrize("view", [HeadGrid, LayerEvolution])
def test_a_view_of_one_kind(session, view):
    with view(session) as shown:
        assert told(shown).startswith(WORDS)
        shown.selection.kind = "other.*"
        assert "⚠" not in told(shown)


def test_a_view_of_two_sessions(session):
    with ExtractorSession(session.model, torch.zeros(1, 6, 8)) as other:  # of zeros every map is even
        assert not other.reading.capture.caveats
        with compared(AttentionHeatmap)(Selection(other, session, layer=1)) as shown:
            assert WORDS in told(shown)


def test_a_saved_picture_says_so(session, monkeypatch):
    drawn = []
    monkeypatch.setattr("stockformer_widgets.views.base.render", lambda figure, dpi: drawn.append(figure) or b"")
    with AttentionHeatmap(session) as shown:
        shown._png(50)
        assert not drawn[-1]._supxlabel
        shown.selection.layer = 1
        shown._png(50)
    assert drawn[-1].get_supxlabel().replace("\n", " ").startswith(WORDS[2:])


def test_an_explorer_and_its_page(session):
    with AttentionExplorer(session) as explorer:
        explorer.tabs.selected_index = explorer.tabs.titles.index("Flow")
        assert "can be shown but neither changed nor differentiated" in plain(explorer.message.value)
        page = ExplorerPage(explorer.session)
        packed = page.bundle["samples"][0]["views"]["AttentionHeatmap"]["charts"]
        charts = unpacked(packed, page.bundle, page.data)
    assert all(
        chart["caveats"][0].startswith(WORDS[2:]) for place, chart in charts.items() if place.startswith("one.1")
    )
