"""Selection: state that can only be what the models have."""

from __future__ import annotations

import gc

import pytest
import torch
from cases import make_session, observers
from shipped import shipped_sample
from torch import nn
from traitlets import TraitError

from stockformer_widgets import ExtractorSession, Selection

DATASET, MODEL = shipped_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_starts_on_the_last_day_and_the_key_that_it_attends_to_most(session):
    where = Selection(session)
    row = session.reading.capture.map("cross", 0)[-1]
    assert (where.kind, where.layer, where.head, where.query, where.key) == ("cross", 0, None, 59, int(row.argmax()))
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


def test_a_selection_follows_until_it_is_forgotten(session):
    following = observers(session)
    where, other = Selection(session), Selection(session)
    assert observers(session) == following + 2
    del where
    gc.collect()
    assert observers(session) == following + 1
    session.run(torch.zeros(20, 41), torch.zeros(20, 11))
    assert other.query == 19


# Features


def test_feature(session):
    where = Selection(session)
    assert where.feature is None
    for name in ("rsi_14", "spy_ret_1d", None):
        where.feature = name
        assert where.feature == name
    assert Selection(session, feature="beta").feature == "beta"


def test_a_feature_that_does_not_exist(session):
    where = Selection(session, feature="beta")
    with pytest.raises(TraitError, match="there is no feature 'rsi14', the nearest is 'rsi_14'"):
        where.feature = "rsi14"
    with pytest.raises(TraitError, match=r"there is no feature 'zzzzzzzz'$"):
        where.feature = "zzzzzzzz"
    assert where.feature == "beta"


def test_a_feature_survives_another_sample(session):
    where = Selection(session, feature="beta")
    session.sample = 20
    assert where.feature == "beta"


# Steps


def test_steps_end_at_the_first_and_the_last(session):
    where = Selection(session, kind="market")
    for name, last in (("layer", 1), ("query", 59), ("key", 59)):
        for by, expected in ((-100, 0), (1, 1), (100, last), (-1, last - 1), (10**30, last), (-(10**30), 0)):
            where.step(name, by)
            assert getattr(where, name) == expected


def test_heads_go_round_by_the_mean(session):
    where = Selection(session)
    seen = []
    for _ in range(10):
        where.step("head", 1)
        seen.append(where.head)
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, None, 0]
    where.step("head", -2)
    assert where.head == 7
    where.step("head", 9 * 5)
    assert where.head == 7


def test_a_step_that_changes_nothing_fires_nothing(session):
    where = Selection(session, key=59)
    heard = []
    where.observe(heard.append)
    for name in ("query", "key"):
        where.step(name, 1)
    where.step("layer", -1)
    where.step("head", 9)
    assert heard == []


# Maps of different sizes


def test_kinds_of_different_lengths():
    where = Selection(make_session("market longer"))
    sizes = {"cross": (6, 9), "self": (6, 6), "market": (9, 9)}
    for kind, (queries, keys) in sizes.items():
        where.kind = kind
        found = where.sizes()
        assert (found["query"], found["key"]) == (queries, keys)
        where.query, where.key = queries - 1, keys - 1
    where.kind = "self"
    assert (where.query, where.key) == (5, 5)


class Uneven(nn.Module):
    """A layer of two heads, then one of four."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.MultiheadAttention(8, heads, batch_first=True) for heads in (2, 4)])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x, x, x)[0]
        return x


def test_layers_of_different_numbers_of_heads():
    where = Selection(ExtractorSession(Uneven(), torch.randn(1, 5, 8)), layer=1, head=3)
    where.layer = 0
    assert where.head is None
    with pytest.raises(TraitError, match="head is 3, expected 0 to 1"):
        where.head = 3
    where.step("head", -1)
    assert where.head == 1


def test_traits_that_change_together(session):
    where = Selection(session)
    with where.hold_trait_notifications():
        where.query, where.key, where.layer = 3, 4, 2
    assert (where.query, where.key, where.layer) == (3, 4, 2)
    with pytest.raises(TraitError, match="key is 60"), where.hold_trait_notifications():
        where.query, where.key = 5, 60
    assert (where.query, where.key) == (3, 4)


# What is no session


def test_what_is_no_session(session):
    with pytest.raises(TypeError, match="a selection needs ExtractorSessions, got nothing"):
        Selection()
    with pytest.raises(TypeError, match="a selection needs ExtractorSessions, got ExtractorSession, str"):
        Selection(session, "other")


def test_sessions_with_nothing_in_common(session):
    with pytest.raises(ValueError, match="no kind of attention in common"):
        Selection(session, make_session("nn.TransformerDecoder"))


def test_one_of_two_sessions_closes(session):
    other = make_session()
    where = Selection(session, other)
    assert where.sizes()["query"] == 8
    other.close()
    assert where.sizes()["query"] == 60
    where.query = 59
    session.sample = 3
    session.close()
    with pytest.raises(RuntimeError, match="this session is closed"):
        where.query = 1


# What is shown


@pytest.fixture
def small() -> ExtractorSession:
    """Eight days."""
    return make_session()


def test_what_is_selected_stays_among_what_is_shown(small):
    where = Selection(small, key=7)
    where.show((2, 5), (1, 3))
    assert (where.query, where.key) == (5, 3)
    assert (where.span("query", 8), where.span("key", 8)) == ((2, 6), (1, 4))
    where.query = 1
    assert where.shown_queries == (1, 4)
    where.step("query", 6)
    assert where.shown_queries == (4, 7)
    where.shown_keys = (5, 7)
    assert where.key == 5
    where.show(None, None)
    assert (where.span("query", 8), where.query, where.key) == ((0, 8), 7, 5)


def test_days_of_a_shorter_sequence_are_counted_from_the_end(small):
    where = Selection(small)
    where.show((2, 5), None)
    assert where.span("query", 6) == (0, 4)
    assert where.span("query", 10) == (4, 8)


def test_zooming_halves_around_the_selected_days(large):
    where = Selection(large, query=30, key=0)
    where.zoom(1)
    assert (where.shown_queries, where.shown_keys) == ((15, 44), (0, 29))
    where.zoom(9)
    assert (where.shown_queries, where.shown_keys) == ((26, 33), (0, 7))
    assert (where.query, where.key) == (30, 0)
    where.zoom(-1)
    assert (where.shown_queries, where.shown_keys) == ((22, 37), (0, 15))
    where.zoom(-9)
    assert (where.shown_queries, where.shown_keys) == (None, None)


def test_panning_moves_a_quarter_as_far_as_there_are_days(large):
    where = Selection(large, query=30, key=0)
    where.pan(1)
    assert (where.shown_queries, where.shown_keys) == (None, None)
    where.show((20, 39), (0, 11))
    where.pan(1)
    assert (where.shown_queries, where.shown_keys) == ((25, 44), (3, 14))
    assert (where.query, where.key) == (30, 3)
    where.pan(-3)
    assert (where.shown_queries, where.shown_keys) == ((10, 29), (0, 11))
    assert (where.query, where.key) == (29, 3)
    where.pan(99)
    assert (where.shown_queries, where.shown_keys) == ((40, 59), (48, 59))


def test_what_is_shown_fits_the_sample(session):
    where = Selection(session)
    where.show((5, 7), (5, 7))
    session.run(torch.zeros(6, 41), torch.zeros(9, 11))
    assert (where.shown_queries, where.shown_keys) == (None, (5, 7))


@pytest.mark.parametrize("span", [(3, 3), (5, 2), (-1, 3), (2, 8), (1.5, 3), (1,), "ab"])
def test_a_span_that_does_not_exist_is_refused(small, span):
    where = Selection(small)
    where.shown_keys = (1, 4)
    with pytest.raises(TraitError, match="shown_keys"):
        where.shown_keys = span
    assert where.shown_keys == (1, 4)
