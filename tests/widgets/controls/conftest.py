"""An explorer for the tests of its controls."""

from __future__ import annotations

import pytest

from stockformer_widgets import AttentionExplorer


@pytest.fixture
def explorer(session) -> AttentionExplorer:
    with AttentionExplorer(session) as made:
        yield made
