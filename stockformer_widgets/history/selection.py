"""What a history shows: two measures, and the windows that a filter leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple
from functools import cached_property
from typing import Any

import pandas as pd
from traitlets import Dict, Enum, Instance, TraitError, Unicode, validate

from stockformer.survey import Survey, history
from stockformer.survey.context import REGIMES
from stockformer.survey.history import Filter, Range
from stockformer.survey.table import SECTOR
from stockformer.table import listed
from stockformer_widgets.state.observable import Observable, changing, reacts
from stockformer_widgets.state.undo import Undo

#: How a measure is drawn over the calendar: as it is, or its level with an interval.
BY = ("by date", "by quarter")
_FIRST = "market_share"
_CHOSEN = ("measure", "against", "by", "where", "groups")  # traits that a person chooses, and that an undo brings back


def _saved(where: Filter) -> dict[str, Any]:
    """The fields of a filter that leave out something, for JSON."""
    days = where.days and [str(day.date()) for day in where.days]
    ranges = [list(astuple(one)) for one in where.ranges] or None
    saved = {**vars(where), "days": days, "ranges": ranges}
    return {name: value for name, value in saved.items() if value is not None}


def _restored(saved: Mapping[str, Any]) -> Filter:
    days, ranges = saved.get("days"), saved.get("ranges", ())
    days = days and tuple(map(pd.Timestamp, days))
    return Filter(**{**saved, "days": days, "ranges": tuple(Range(*one) for one in ranges)})


class HistorySelection(Observable):
    """Measures, filter and groups of a history.

    Args:
        survey: whose windows they are of.

    Example:
        >>> view.selection.where = Filter(regime="calm")  # doctest: +SKIP
    """

    #: The measure, a name of `Survey.numeric`.
    measure = Unicode()
    #: The measure that it is drawn against.
    against = Unicode("volatility")
    #: One of `BY`.
    by = Enum(BY, BY[0])
    #: Which windows are left.
    where = Instance(Filter, args=())
    #: Windows to compare: ``A`` and ``B`` -> their filter.
    groups = Dict(value_trait=Instance(Filter))

    def __init__(self, survey: Survey) -> None:
        super().__init__()
        self.survey = survey
        self.measure = _FIRST if _FIRST in survey.numeric else survey.numeric[0]
        self._first = {name: getattr(self, name) for name in _CHOSEN}
        self._undo = Undo(lambda: {"where": self.where}, lambda state: setattr(self, "where", state["where"]))

    @property
    def can_undo(self) -> bool:
        """Whether there is a filter to go back to."""
        return bool(self._undo.undoes)

    @changing()
    def undo(self) -> None:
        """Go back to the filter before; does nothing without one."""
        self._undo.undo()

    def save(self) -> dict[str, Any]:
        """What is chosen, as far as it is not what a history begins with, for JSON."""
        chosen = {name: getattr(self, name) for name in _CHOSEN if getattr(self, name) != self._first[name]}
        if "where" in chosen:
            chosen["where"] = _saved(chosen["where"])
        if "groups" in chosen:
            chosen["groups"] = {name: _saved(where) for name, where in chosen["groups"].items()}
        return chosen

    def restore(self, state: Mapping[str, Any]) -> None:
        """Choose what `save` returned, here or elsewhere.

        Raises:
            TypeError: a filter has an unknown field.
            ValueError: the ends of a range are not numbers in order.
            TraitError: this survey has no such measure, ticker, sector or regime.
        """
        chosen = {**self._first, **state}
        if "where" in state:
            chosen["where"] = _restored(state["where"])
        if "groups" in state:
            chosen["groups"] = {name: _restored(where) for name, where in state["groups"].items()}
        with self.hold_trait_notifications():
            for name in _CHOSEN:
                setattr(self, name, chosen[name])

    @cached_property
    def calendar(self) -> pd.DataFrame:
        """The dates that every picture over the calendar has, see `stockformer.survey.history.calendar`."""
        return history.calendar(self.survey)

    @cached_property
    def dates(self) -> pd.DatetimeIndex:
        """The same dates alone."""
        return pd.DatetimeIndex(self.calendar["date"])

    @cached_property
    def tickers(self) -> list[str]:
        return self._names("ticker")

    @cached_property
    def sectors(self) -> list[str]:
        """The names of the sectors; none of a survey without sectors."""
        return self._names(SECTOR) if SECTOR in self.survey.columns else []

    def _names(self, column: str) -> list[str]:
        return list(self.survey.query(f"SELECT DISTINCT {column} AS name FROM windows ORDER BY name")["name"])

    @validate("measure", "against")
    def _check_measure(self, proposal: Any) -> str:
        return self._known_measure(proposal["value"])

    def _known_measure(self, name: str) -> str:
        if name not in self.survey.numeric:
            raise TraitError(f"there is no measure {name!r}, only {', '.join(self.survey.numeric)}")
        return name

    @validate("where")
    def _check_filter(self, proposal: Any) -> Filter:
        return self._known(proposal["value"])

    @validate("groups")
    def _check_groups(self, proposal: Any) -> dict[str, Filter]:
        return {name: self._known(where) for name, where in proposal["value"].items()}

    def _known(self, where: Filter) -> Filter:
        """A filter; raises TraitError for a name that no window has."""
        known = {"ticker": self.tickers, "sector": self.sectors, "regime": REGIMES}
        for field, names in known.items():
            name = getattr(where, field)
            if name is not None and name not in names:
                raise TraitError(f"there is no {field} {name!r}, only {listed(list(names), 20) or 'none'}")
        for limited in where.ranges:
            self._known_measure(limited.measure)
        if where.correct is not None and "correct" not in self.survey.columns:
            raise TraitError("a regression's values are not right or wrong")
        return where

    @reacts("where")
    def _remember(self, change: Any) -> None:
        self._undo.note()
