"""Selection: state that can only be what the models have."""

import pytest
import torch
from traitlets import TraitError

from stockformer.sample import load_sample
from stockformer_widgets import ExtractorSession, Selection

DATASET, MODEL = load_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_starts_on_the_last_day(session):
    where = Selection(session)
    assert (where.kind, where.layer, where.head, where.query, where.key) == ("cross", 0, None, 59, 59)
    assert where.kinds == ["cross", "self", "market"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("layer", 4, "layer is 4, expected 0 to 3 for cross attention"),
        ("head", 8, "head is 8, expected 0 to 7"),
        ("query", 60, "query is 60, expected 0 to 59"),
        ("key", -1, "key is -1, expected 0 to 59"),
        ("kind", "crss", "kind is 'crss', expected one of cross, self, market"),
    ],
)
def test_what_does_not_exist_is_refused(session, name, value, message):
    where = Selection(session)
    before = getattr(where, name)
    with pytest.raises(TraitError, match=message):
        setattr(where, name, value)
    assert getattr(where, name) == before


def test_kind_moves_the_layer_to_one_that_exists(session):
    where = Selection(session, layer=3)
    where.kind = "market"
    assert where.layer == 1


def test_initial_values_and_unknown_names(session):
    where = Selection(session, kind="self", layer=2, head=5, query=3, key=4)
    assert (where.kind, where.layer, where.head, where.query, where.key) == ("self", 2, 5, 3, 4)
    with pytest.raises(TypeError, match="no 'colum'"):
        Selection(session, colum=1)


def test_shorter_inputs_move_query_and_key(session):
    where = Selection(session)
    session.run(torch.zeros(20, 41), torch.zeros(15, 11))
    assert (where.query, where.key) == (19, 14)


def test_same_value_fires_nothing(session):
    where = Selection(session)
    heard = []
    where.observe(heard.append)
    where.query = 59
    assert heard == []


def test_observers_see_only_states_that_exist(session):
    where = Selection(session, layer=3, head=7)
    seen = []
    where.observe(lambda change: seen.append(session.reading.capture.map(where.kind, where.layer, where.head).shape))
    where.kind = "market"
    assert seen


def test_two_sessions_share_what_both_have(session):
    short = ExtractorSession(MODEL, torch.zeros(20, 41), torch.zeros(20, 11))
    where = Selection(session, short)
    assert where.query == 19
    with pytest.raises(TraitError, match="expected 0 to 19"):
        where.query = 30


def test_closed_selection_no_longer_follows(session):
    where = Selection(session)
    where.close()
    session.run(torch.zeros(20, 41), torch.zeros(20, 11))
    assert where.query == 59
