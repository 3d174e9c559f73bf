"""The history of a model: every window of a survey by date, as points and as a table, linked to a session."""

from stockformer_widgets.history.offer import SurveyOffer
from stockformer_widgets.history.selection import HistorySelection
from stockformer_widgets.history.view import HistoryView, check_fit

__all__ = ["HistorySelection", "HistoryView", "SurveyOffer", "check_fit"]
