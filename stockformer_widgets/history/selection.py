"""What a history shows: two measures, the windows that a filter leaves, groups of them, and mean maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, fields
from datetime import date
from functools import cached_property
from typing import Any

import pandas as pd
from torch import Tensor
from traitlets import Dict, Enum, Instance, Int, List, TraitError, Unicode, validate

from stockformer.survey import Survey, history
from stockformer.survey.context import REGIMES
from stockformer.survey.history import Filter, Range
from stockformer.survey.run import MOST_TICKERS
from stockformer.survey.table import SECTOR
from stockformer.table import listed
from stockformer_widgets.state.observable import Observable, changing, reacts
from stockformer_widgets.state.saved import check_dictionary, choose, noting
from stockformer_widgets.state.undo import Undo, field_words

#: How a measure is drawn over the calendar: as it is, or its level with an interval.
BY = ("by date", "by quarter")
_FIRST = "market_share"
#: The groups that are compared.
GROUPS = ("A", "B")
#: What mean maps are of.
MAPS_OF = ("regime", "ticker", "month")
#: Traits that a person chooses and an undo restores, each before those that depend on it.
_CHOSEN = ("measure", "against", "by", "where", "groups", "maps_of", "map_groups", "map_kind", "map_layer")


def _saved(where: Filter) -> dict[str, Any]:
    """The fields of a filter that are set, for JSON."""
    days = where.days and [str(day.date()) for day in where.days]
    ranges = [list(astuple(one)) for one in where.ranges] or None
    saved = {**vars(where), "days": days, "ranges": ranges}
    return {name: value for name, value in saved.items() if value is not None}


def _restored(saved: Any) -> Filter:
    """The filter of `_saved`; raises ValueError in plain words, since people edit what is saved."""
    check_dictionary("it", saved)
    if unknown := sorted(set(saved) - {field.name for field in fields(Filter)}):
        raise ValueError(f"a filter has no {', '.join(unknown)}")
    days, ranges = saved.get("days"), saved.get("ranges", [])
    if not isinstance(ranges, list) or not all(isinstance(one, list) and len(one) == 3 for one in ranges):
        raise ValueError(f"ranges is {ranges!r:.60}, expected a list of [measure, from, to]")
    return Filter(**{**saved, "days": _days(days), "ranges": tuple(Range(*one) for one in ranges)})


def _days(days: Any) -> tuple[pd.Timestamp, pd.Timestamp] | None:
    if days is None:
        return None
    try:
        first, last = (pd.Timestamp(date.fromisoformat(day)) for day in days)
    except (TypeError, ValueError):
        raise ValueError(f"days is {days!r:.60}, expected two dates such as 2008-10-15") from None
    return first, last


class HistorySelection(Observable):
    """Measures, filter, groups and mean maps of a history.

    Args:
        survey: the measured windows.

    Example:
        >>> view.selection.where = Filter(regime="calm")  # doctest: +SKIP
    """

    #: The measure, a name of `Survey.numeric`.
    measure = Unicode()
    #: The measure that it is drawn against.
    against = Unicode("volatility")
    #: One of `BY`.
    by = Enum(BY, BY[0])
    #: The filter.
    where = Instance(Filter, args=())
    #: Windows to compare: ``A`` and ``B`` -> their filter.
    groups = Dict(value_trait=Instance(Filter))
    #: What mean maps are drawn of, one of `groupings`; None for no maps.
    maps_of = Enum(MAPS_OF, None, allow_none=True)
    #: Whose mean maps are drawn, names of `mean_maps`; None for the first few.
    map_groups = List(Unicode(), None, allow_none=True)
    #: The kind of attention of the mean maps, None for the first.
    map_kind = Unicode(None, allow_none=True)
    #: The layer of the mean maps, from 0.
    map_layer = Int(0)

    def __init__(self, survey: Survey) -> None:
        super().__init__()
        self.survey = survey
        self.measure = _FIRST if _FIRST in survey.numeric else survey.numeric[0]
        self._maps_by: dict[str, dict[str, dict[str, Tensor]]] = {}
        self._first = {name: getattr(self, name) for name in _CHOSEN}
        self._undo = Undo(lambda: {"where": self.where}, lambda state: setattr(self, "where", state["where"]))

    @property
    def can_undo(self) -> bool:
        """Whether there is a filter to go back to."""
        return bool(self._undo.undoes)

    @changing()
    def undo(self) -> None:
        """Go back to the previous filter; does nothing without one."""
        self._undo.undo()

    def save(self) -> dict[str, Any]:
        """The choices that differ from a new history's, for JSON."""
        chosen = {name: getattr(self, name) for name in _CHOSEN if getattr(self, name) != self._first[name]}
        if "where" in chosen:
            chosen["where"] = _saved(chosen["where"])
        if "groups" in chosen:
            chosen["groups"] = {name: _saved(where) for name, where in chosen["groups"].items()}
        saved: dict[str, Any] = json.loads(json.dumps(chosen))
        return saved

    def restore(self, state: Mapping[str, Any]) -> list[str]:
        """Choose what `save` returned, here or elsewhere.

        Returns:
            A sentence for each choice that this survey does not have, which stays as it is.
        """
        failures: list[str] = []
        with changing():
            for name in _CHOSEN:
                with noting(failures, field_words(name)):
                    if name not in state:
                        setattr(self, name, self._first[name])
                    elif name == "groups":
                        self.groups = self._restored_groups(state[name], failures)
                    else:
                        choose(self, name, _restored(state[name]) if name == "where" else state[name])
        return failures

    def _restored_groups(self, saved: Any, failures: list[str]) -> dict[str, Filter]:
        """The groups that this survey has."""
        check_dictionary("it", saved)
        groups = {}
        for name, where in saved.items():
            with noting(failures, f"group {name}"):
                groups.update(self._known_groups({name: _restored(where)}))
        return groups

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

    @property
    def groupings(self) -> list[str]:
        """Those of `MAPS_OF` that the survey has."""
        return [name for name in MAPS_OF if name != "ticker" or len(self.tickers) <= MOST_TICKERS]

    @property
    def mean_maps(self) -> dict[str, dict[str, Tensor]]:
        """The mean maps that `maps_of` names by group, in the order of names; see `Survey.mean_maps`."""
        return self._maps(self.maps_of) if self.maps_of else {}

    @property
    def map_layers(self) -> dict[str, int]:
        """Kind of attention -> number of layers of its mean maps."""
        return {kind: len(layers) for kind, layers in next(iter(self._maps("month").values())).items()}

    def _maps(self, by: str) -> dict[str, dict[str, Tensor]]:
        if by not in self._maps_by:
            self._maps_by[by] = dict(sorted(self.survey.mean_maps(by).items()))
        return self._maps_by[by]

    def _names(self, column: str) -> list[str]:
        return list(self.survey.query(f"SELECT DISTINCT {column} AS name FROM windows ORDER BY name")["name"])

    @validate("measure", "against")
    def _check_measure(self, proposal: Any) -> str:
        return self._known_measure(proposal["value"])

    def _known_measure(self, name: str) -> str:
        if name not in self.survey.numeric:
            raise TraitError(f"there is no measure {name!r}, only {listed(self.survey.numeric)}")
        return name

    @validate("where")
    def _check_filter(self, proposal: Any) -> Filter:
        return self._known(proposal["value"])

    @validate("groups")
    def _check_groups(self, proposal: Any) -> dict[str, Filter]:
        return self._known_groups(proposal["value"])

    def _known_groups(self, groups: Mapping[str, Filter]) -> dict[str, Filter]:
        for name in groups:
            if name not in GROUPS:
                raise TraitError(f"there is no group {name}, only {' and '.join(GROUPS)}")
        return {name: self._known(where) for name, where in groups.items()}

    def _known(self, where: Filter) -> Filter:
        """A filter; raises TraitError for a name that no window has."""
        known = {"ticker": self.tickers, "sector": self.sectors, "regime": REGIMES}
        for field, names in known.items():
            name = getattr(where, field)
            if name is not None and name not in names:
                raise TraitError(f"there is no {field} {name!r}, only {listed(list(names), 20) or 'none'}")
        for limited in where.ranges:
            self._known_measure(limited.measure)
        if where.correct not in (None, True, False):
            raise TraitError(f"correct is {where.correct!r:.60}, expected true or false")
        if where.correct is not None and "correct" not in self.survey.columns:
            raise TraitError("a regression's values are not right or wrong")
        return where

    @validate("maps_of")
    def _check_maps_of(self, proposal: Any) -> str | None:
        by: str | None = proposal["value"]
        if by is not None and by not in self.groupings:
            raise TraitError(f"there are no mean maps of each {by}: the survey has more than {MOST_TICKERS}")
        return by

    @validate("map_groups")
    def _check_map_groups(self, proposal: Any) -> list[str] | None:
        names: list[str] | None = proposal["value"]
        for name in names or []:
            if name not in self.mean_maps:
                raise TraitError(f"there is no mean map of {name!r}, only {listed(list(self.mean_maps), 20) or 'none'}")
        return names

    @validate("map_kind")
    def _check_map_kind(self, proposal: Any) -> str | None:
        kind: str | None = proposal["value"]
        if kind is not None and kind not in self.map_layers:
            raise TraitError(f"there is no mean map of {kind!r} attention, only {', '.join(self.map_layers)}")
        return kind

    @validate("map_layer")
    def _check_map_layer(self, proposal: Any) -> int:
        layer: int = proposal["value"]
        if layer and not 0 <= layer <= self._last_layer:
            raise TraitError(f"the layer of the mean maps is {layer}, expected 0 to {self._last_layer}")
        return layer

    @property
    def _last_layer(self) -> int:
        kind = self.map_kind or next(iter(self.map_layers))
        return self.map_layers[kind] - 1

    @reacts("maps_of")
    def _drop_groups(self, change: Any) -> None:
        """Forget the chosen groups: those of regimes are not those of months."""
        if self.map_groups is not None and not set(self.map_groups) & set(self.mean_maps):
            self.set_trait("map_groups", None)

    @reacts("map_kind")
    def _keep_layer(self, change: Any) -> None:
        self.map_layer = min(self.map_layer, self._last_layer)

    @reacts("where")
    def _remember(self, change: Any) -> None:
        self._undo.note()
