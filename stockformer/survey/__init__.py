"""Every window of a dataset measured once, stored as Parquet and queried by date, ticker and regime."""

from stockformer.survey.run import survey, survey_steps
from stockformer.survey.table import Survey, open_survey

__all__ = ["Survey", "open_survey", "survey", "survey_steps"]
