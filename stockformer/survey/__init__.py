"""Every window of a dataset measured once, stored as Parquet and queried by date, ticker and regime."""

from stockformer.survey.drift import Drift, drift
from stockformer.survey.run import survey, survey_steps
from stockformer.survey.shipped import sample_survey
from stockformer.survey.table import Survey, open_survey

__all__ = ["Drift", "Survey", "drift", "open_survey", "sample_survey", "survey", "survey_steps"]
