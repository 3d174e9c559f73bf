"""The survey of the shipped model that has skill."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from stockformer.survey.table import Survey, open_survey


def sample_survey() -> Survey:
    """Every window of the shipped data, measured with the shipped volatility model.

    Made by ``survey(model, dataset, ...)`` of ``load_sample("volatility")``.

    Raises:
        ImportError: pyarrow or duckdb is not installed, the extra ``history``.
    """
    return open_survey(Path(str(files("stockformer"))) / "sample_data" / "volatility_survey")
