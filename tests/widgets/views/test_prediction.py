"""The prediction against the model's output and the table."""

from __future__ import annotations

import numpy as np
import pytest
from cases import in_percent, lines, make_session, mouse, press
from expected import output_of

from stockformer.charts.chart import FAINT
from stockformer_widgets import Prediction


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def classes_from(above: np.ndarray) -> np.ndarray:
    """CORAL's P(class > k), put in order, as class probabilities."""
    return -np.diff(np.r_[1.0, sorted(above, reverse=True), 0.0])


BUCKETS = ["below -1 %", "-1 % to 0 %", "0 % to 1 %", "1 % or more"]


ABOVE = ["P(at least -1 %)", "P(at least 0 %)", "P(at least 1 %)"]


NUMBERED = ["class 0", "class 1", "class 2", "class 3"]


NUMBERED_ABOVE = ["P(class > 0)", "P(class > 1)", "P(class > 2)"]


@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        ("dataset", ["DOWN", "UP"]),
        ("buckets", BUCKETS),
        ("buckets by hand", NUMBERED),
        ("coral", BUCKETS + ABOVE),
        ("coral by hand", NUMBERED + NUMBERED_ABOVE),
        ("regression", ["predicted", "true"]),
        ("regression by hand", ["predicted"]),
        ("float64", ["DOWN", "UP"]),
    ],
)
def test_prediction(name, outcomes):
    session = make_session(name)
    window = session.reading.window
    view = Prediction(session)
    output = output_of(session)
    if "coral" in name:
        above = sigmoid(output)
        expected = np.r_[classes_from(above), above]
        classes = 4
    elif "regression" in name:
        expected = np.r_[output, [window.forward_return] if window else []]
        classes = 0
    else:
        expected = softmax(output)
        classes = len(expected)
    frame = view.to_frame()
    assert list(frame) == ["outcome", "value", "before", "true"]
    assert frame["before"].tolist() == frame["value"].tolist()
    assert frame["outcome"].tolist() == outcomes
    np.testing.assert_allclose(frame["value"], expected, rtol=1e-4)
    truth = int(window.y) if window and classes else None
    assert frame["true"].tolist() == [row == truth for row in range(len(outcomes))]

    bars = dict(zip(view.picture.bars.x, view.picture.bars.y, strict=True))
    np.testing.assert_allclose([bars[row + 0.5] for row in range(len(outcomes))], expected, rtol=1e-4)
    assert [view.picture.y_axis.tick_labels[str(row + 0.5)] for row in range(len(outcomes))] == [
        f"{outcome} (true)" if row == truth else outcome for row, outcome in enumerate(outcomes)
    ]
    said = "\n".join(lines(view))
    assert ("true:" in said) == (truth is not None)
    if truth is not None:
        assert said.endswith(f"true: {outcomes[truth]}")
    if classes:
        likely = expected[:classes].argmax()
        assert view.plot.title == f"Prediction: {outcomes[likely]} {in_percent(expected[likely])}"
        assert (view.picture.scales["x"].min, view.picture.scales["x"].max) == (0, 1.05)
    else:
        assert view.plot.title == "Prediction: " + (f"{100 * output:+.1f} %" if window else f"{output:+.4g}")
    if "coral" in name:
        assert len(set(view.picture.bars.colors[:4])) == len(set(view.picture.bars.colors[4:])) == 1
        assert view.picture.bars.colors[0] != view.picture.bars.colors[4]


def test_prediction_follows_the_sample(session):
    view = Prediction(session)
    truths = set()
    for sample in (0, 7, 21, 39):
        session.sample = sample
        np.testing.assert_allclose(view.picture.bars.y, softmax(output_of(session)), rtol=1e-5)
        truth = f"true: {['DOWN', 'UP'][int(session.dataset[sample][1])]}"
        truths.add(truth)
        assert truth in "\n".join(lines(view))
    assert len(truths) == 2


@pytest.mark.parametrize(("y", "target"), [(0.5, 0), (1.5, 1), (0.0, 0), (2.0, 1), (-5.0, 0), (99.0, 1)])
def test_a_click_selects_what_is_explained_and_a_second_one_the_largest(session, y, target):
    view = Prediction(session)
    mouse(view.figure, "click", 0.1, y)
    assert session.explanations.target == target
    assert list(view.picture.bars.opacities) == [1.0 if row == target else FAINT for row in range(2)]
    assert view.keyboard.announcement.startswith(["DOWN", "UP"][target])
    mouse(view.figure, "click", 0.1, y)
    assert session.explanations.target is None
    assert set(view.picture.bars.opacities) == {1.0}


def test_the_outcome_under_the_mouse(session):
    view = Prediction(session)
    chances = softmax(output_of(session))
    larger = ["DOWN", "UP"][chances.argmax()]
    assert f"attribution explains {larger}" in lines(view)[0]
    true = session.dataset.window(session.sample).y
    for place, name in enumerate(("DOWN", "UP")):
        mouse(view.figure, "mousemove", 0.1, place + 0.2)
        assert lines(view)[0] == f"{name}{' (true)' if place == true else ''} {in_percent(chances[place])}"
    assert session.explanations.target is None
    mouse(view.figure, "mouseleave")
    assert f"attribution explains {larger}" in lines(view)[0]


def test_a_coral_model_explains_its_thresholds():
    session = make_session("coral")
    view = Prediction(session)
    for row in range(4):
        mouse(view.figure, "click", 0.1, row + 0.5)
        assert session.explanations.target is None
    for row in (4, 5, 6):
        mouse(view.figure, "click", 0.1, row + 0.5)
        assert session.explanations.target == row - 4
        assert np.argmax(view.picture.bars.opacities) == row


def test_a_regression_has_nothing_to_choose():
    session = make_session("regression")
    view = Prediction(session)
    for y in (0.5, 1.5):
        mouse(view.figure, "click", 0.1, y)
        assert session.explanations.target is None
        assert view.message.layout.display == "none"


def test_a_prediction_of_tensors_given_by_hand_knows_no_truth(session):
    view = Prediction(session)
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    assert "true" not in "\n".join(lines(view))
    assert not view.to_frame()["true"].any()


def test_escape_explains_the_largest_again(session):
    view = Prediction(session)
    press(view, "ArrowDown")
    assert session.explanations.target is not None
    press(view, "Escape")
    assert session.explanations.target is None
