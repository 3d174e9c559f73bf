"""Sessions for the tests of single views."""

from __future__ import annotations

import pandas as pd
import pytest
from cases import make_session

from stockformer_widgets import ExtractorSession


@pytest.fixture
def unequal() -> ExtractorSession:
    """Six dated stock days and nine market days."""
    short = make_session("market longer")
    short.run(*(tensor[0] for tensor in short.reading.inputs), dates=pd.bdate_range("2020-01-01", periods=6))
    return short
