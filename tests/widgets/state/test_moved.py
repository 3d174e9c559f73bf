"""Names of a session that moved to its explanations work for this version, with a warning that names the new one."""

import warnings

import pytest

from stockformer_widgets.state.moved import MOVED


@pytest.fixture
def warned():
    """The warnings so far."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield seen


@pytest.mark.parametrize(("name", "new"), MOVED.items())
def test_a_name_that_moved_reads_the_new_one(session, warned, name, new):
    assert getattr(session, name) == getattr(session.explanations, new)
    (warning,) = warned
    assert str(warning.message) == f"session.{name} is deprecated: use session.explanations.{new}"
    assert warning.filename == __file__


def test_a_trait_that_moved_is_set_and_observed(session, warned):
    heard = []
    session.observe(heard.append, ["method", "reading"])
    session.method = "gradient"
    session.refresh()
    session.unobserve(heard.append, "method")
    assert [warning.filename for warning in warned] == [__file__] * 3
    session.explanations.method = "input_x_gradient"
    assert [(change["name"], change["new"]) for change in heard] == [
        ("method", "gradient"),
        ("reading", session.reading),
    ]


def test_names_that_stay_do_not_warn(session, warned):
    session.observe(print)
    session.unobserve(print)
    assert session.feature_names != session.class_names
    assert warned == []
