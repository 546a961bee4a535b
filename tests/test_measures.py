"""What is measured of a classifier, beside what scikit-learn measures of the same answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.calibration import calibration_curve

from gtlabel.errors import EvaluationError
from gtlabel.networks import measures
from gtlabel.networks.evaluation import Evaluation, ScoredImage, Scores
from gtlabel.networks.multilabel import ManyScores, MultiLabelEvaluation

Floats = NDArray[np.float64]


@st.composite
def answers(draw: Any) -> tuple[tuple[str, ...], NDArray[np.int64], Floats]:
    """Class names, the class of each picture, and its probabilities, in the 32 bits that networks have."""
    many, images = draw(st.integers(2, 5)), draw(st.integers(1, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    sharpness = draw(st.sampled_from([0.3, 1.0, 5.0]))
    rows = random.dirichlet([sharpness] * many, images)
    truth = random.integers(0, many, images)
    # Half of them know something.
    rows = np.where(random.random(images)[:, None] < 0.5, (rows + np.eye(many)[truth]) / 2, rows)
    return tuple("abcde"[:many]), truth, rows.astype(np.float32).astype(np.float64)


@st.composite
def several(draw: Any) -> tuple[tuple[str, ...], NDArray[np.bool_], Floats]:
    """Class names, which of them each picture has, and their probabilities, some of them equal."""
    many, images = draw(st.integers(1, 4)), draw(st.integers(2, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    truth = random.random((images, many)) < 0.4
    rows = np.clip(truth * 0.3 + random.random((images, many)), 0, 1)
    if draw(st.booleans()):
        rows = np.round(rows, 1)
    return tuple("abcd"[:many]), truth, rows.astype(np.float32).astype(np.float64)


def judged(classes: tuple[str, ...], truth: NDArray[np.int64], rows: Floats) -> Evaluation:
    scores = Scores(classes)
    for number, (index, row) in enumerate(zip(truth, rows, strict=True)):
        scores.add(f"{number}.jpg", classes[index], row.tolist())
    return Evaluation(classes, scores)


def judged_several(classes: tuple[str, ...], truth: NDArray[np.bool_], rows: Floats) -> MultiLabelEvaluation:
    scores = ManyScores(classes)
    for number, (flags, row) in enumerate(zip(truth, rows, strict=True)):
        names = [name for name, flag in zip(classes, flags, strict=True) if flag]
        scores.add(f"{number}.jpg", names, row.tolist())
    return MultiLabelEvaluation(classes, scores)


@settings(max_examples=25, deadline=None)
@given(answers())
def test_shares_of_right_answers_are_those_of_scikit_learn(case: Any) -> None:
    classes, truth, rows = case
    found = judged(*case)
    said, labels = rows.argmax(axis=1), list(range(len(classes)))
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, said))
    recalls = metrics.recall_score(truth, said, labels=np.unique(truth), average=None)
    assert found.balanced_accuracy == pytest.approx(recalls.mean())
    assert found.confusion == metrics.confusion_matrix(truth, said, labels=labels).tolist()
    for measure, name in (
        (metrics.precision_score, "precision"),
        (metrics.recall_score, "recall"),
        (metrics.f1_score, "f1"),
    ):
        theirs = measure(truth, said, labels=labels, average=None, zero_division=np.nan)
        ours = [getattr(each, name) for each in found.per_class]
        assert [math.nan if each is None else each for each in ours] == pytest.approx(
            theirs.tolist(), nan_ok=True
        )


@settings(max_examples=25, deadline=None)
@given(answers())
def test_losses_are_those_of_scikit_learn(case: Any) -> None:
    classes, truth, rows = case
    found, labels = judged(*case), list(range(len(classes)))
    clipped = np.clip(rows, measures.SMALLEST, 1)
    theirs = -np.log(clipped[np.arange(len(truth)), truth]).mean()
    assert found.log_loss == pytest.approx(theirs)
    normal = clipped / clipped.sum(axis=1, keepdims=True)
    assert found.log_loss == pytest.approx(metrics.log_loss(truth, normal, labels=labels), abs=1e-5)
    brier = metrics.brier_score_loss(truth, normal, labels=labels, scale_by_half=False)
    assert found.brier == pytest.approx(brier, abs=1e-5)
    for k, share in found.top_k.items():
        theirs = metrics.top_k_accuracy_score(truth, rows, k=k, labels=labels)
        assert share == pytest.approx(theirs)


@settings(max_examples=25, deadline=None)
@given(answers(), st.integers(2, 12))
def test_the_calibration_curve_is_that_of_scikit_learn(case: Any, bins: int) -> None:
    _, truth, rows = case
    confidence, right = rows.max(axis=1), rows.argmax(axis=1) == truth
    shares, means = calibration_curve(right, confidence, n_bins=bins, pos_label=True)
    found = measures.calibration(confidence, right, bins, equal_mass=False)
    assert [each.accuracy for each in found] == pytest.approx(shares.tolist())
    assert [each.confidence for each in found] == pytest.approx(means.tolist())
    error = np.average(np.abs(shares - means), weights=[each.images for each in found])
    assert measures.calibration_error(found) == pytest.approx(error)


@settings(max_examples=40, deadline=None)
@given(answers(), st.integers(2, 12))
def test_bins_of_equal_mass_differ_by_one_answer_at_most(case: Any, bins: int) -> None:
    _, truth, rows = case
    confidence, right = rows.max(axis=1), rows.argmax(axis=1) == truth
    found = measures.calibration(confidence, right, bins, equal_mass=True)
    sizes = [each.images for each in found]
    assert sum(sizes) == len(truth)
    # All confidences differ here, but by chance.
    if len(set(confidence)) == len(truth) >= bins:
        assert len(found) == bins
        assert max(sizes) - min(sizes) <= 1
    for each in found:
        inside = (confidence > each.low) & (confidence <= each.high)
        inside |= (confidence == each.low) & (each is found[0])
        assert inside.sum() == each.images
        assert right[inside].mean() == pytest.approx(each.accuracy)
        assert each.low - 1e-9 <= each.confidence <= each.high + 1e-9
        assert each.interval[0] <= each.accuracy <= each.interval[1]


@settings(max_examples=25, deadline=None)
@given(several())
def test_answers_of_several_classes_are_measured_as_scikit_learn_does(case: Any) -> None:
    classes, truth, rows = case
    found = judged_several(*case)
    said = rows >= 0.5
    assert found.exact_match == pytest.approx((said == truth).all(axis=1).mean())
    if len(classes) > 1:
        assert found.exact_match == pytest.approx(metrics.accuracy_score(truth, said))
        micro = metrics.f1_score(truth, said, average="micro", zero_division=np.nan)
        each = metrics.f1_score(truth, said, average=None, zero_division=np.nan)
        assert found.micro_f1 == (None if np.isnan(micro) else pytest.approx(micro))
        assert found.macro_f1 == (None if np.isnan(each).all() else pytest.approx(np.nanmean(each)))
    for place, area in enumerate(found.average_precisions):
        if not truth[:, place].any():
            assert area is None
        else:
            assert area == pytest.approx(metrics.average_precision_score(truth[:, place], rows[:, place]))
    assert found.brier == pytest.approx(((rows - truth) ** 2).mean())


@settings(max_examples=40, deadline=None)
@given(answers(), st.floats(0, 1))
def test_a_threshold_keeps_the_answers_that_are_at_least_as_sure(case: Any, threshold: float) -> None:
    _, truth, rows = case
    confidence, right = rows.max(axis=1), rows.argmax(axis=1) == truth
    found = measures.at_threshold(confidence, right, threshold)
    kept = [hit for share, hit in zip(confidence, right, strict=True) if share >= threshold]
    assert (found.answered, found.right) == (len(kept), sum(kept))
    steps = measures.trade(confidence, right)
    assert [step.threshold for step in steps] == sorted(set(confidence.tolist()), reverse=True)
    assert all(step == measures.at_threshold(confidence, right, step.threshold) for step in steps)
    assert steps[-1].coverage == 1
    best = measures.threshold_for(steps, 0.75, least=1)
    good = [step for step in steps if (step.accuracy or 0) >= 0.75]
    assert best == (max(good, key=lambda step: step.answered) if good else None)


@settings(max_examples=40, deadline=None)
@given(answers(), st.randoms(use_true_random=False))
def test_the_order_of_the_pictures_does_not_matter(case: Any, random: Any) -> None:
    classes, truth, rows = case
    order = list(range(len(truth)))
    random.shuffle(order)
    first = judged(classes, truth, rows).to_json(images=False)
    second = judged(classes, truth[order], rows[order]).to_json(images=False)
    for told in (first, second):
        # Names go with the order; sums of floats depend on it in their last digits.
        told.pop("mistakes")
        told.pop("majority")
        told.update(log_loss=round(told["log_loss"], 9), brier=round(told["brier"], 9))
        calibration = told.pop("calibration")
        told["errors"] = [round(each["error"], 9) for each in calibration.values()]
    assert first == second


@settings(max_examples=40, deadline=None)
@given(answers())
def test_a_million_pictures_are_kept_in_little_room_and_come_out_as_they_went_in(case: Any) -> None:
    classes, truth, rows = case
    listed = [
        ScoredImage(f"{number}.jpg", classes[index], tuple(row.tolist()))
        for number, (index, row) in enumerate(zip(truth, rows, strict=True))
    ]
    compact = judged(*case)
    assert list(compact.images) == listed
    assert compact.images[-1] == listed[-1]
    assert compact.images[:2] == listed[:2]
    assert compact.to_json() == Evaluation(classes, listed).to_json()


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_the_interval_of_f1_holds_it(right: int, wrongly: int, missed: int) -> None:
    share, interval = measures.f1(right, wrongly, missed), measures.f1_interval(right, wrongly, missed)
    if share is None or interval is None:
        assert (share, interval) == (None, None)
        return
    assert 0 <= interval[0] <= share + 1e-12
    assert share - 1e-12 <= interval[1] <= 1


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Of 2,000 tries with known shares, 95 of 100 intervals hold the mean recall and the F1."""
    random = np.random.default_rng(7)
    recalls, sizes = (0.6, 0.8, 0.95), (30, 40, 25)
    held = 0
    for _ in range(2000):
        hits = [int(random.binomial(size, share)) for size, share in zip(sizes, recalls, strict=True)]
        shares = [hit / size for hit, size in zip(hits, sizes, strict=True)]
        ends = [measures.wilson(hit, size) or (0, 1) for hit, size in zip(hits, sizes, strict=True)]
        low, high = measures.mean_interval(shares, ends)
        held += low <= sum(recalls) / 3 <= high
    assert 0.93 <= held / 2000 <= 0.97


def test_ten_bins_need_a_hundred_answers() -> None:
    assert [measures.usual_bins(count) for count in (1, 29, 54, 100, 5000)] == [2, 2, 5, 10, 10]


def test_few_sure_answers_that_happen_to_be_right_promise_nothing() -> None:
    confidence = np.array([0.99, 0.98, *np.linspace(0.9, 0.5, 28)])
    right = np.array([True, True, *([True, True, False] * 10)[:28]])
    steps = measures.trade(confidence, right)
    assert measures.threshold_for(steps, 0.95) is None
    assert (measures.threshold_for(steps, 0.95, least=2) or steps[0]).answered == 4


@pytest.mark.parametrize("scores", [Scores(("a", "b")), ManyScores(("a", "b"))])
def test_scored_pictures_are_a_sequence_of_what_was_added(scores: Scores | ManyScores) -> None:
    for number in range(4):
        scores.add(f"{number}.jpg", "ab"[number % 2], [0.25 * number, 1 - 0.25 * number])
    assert [image.name for image in scores[1:3]] == ["1.jpg", "2.jpg"]
    assert [tuple(image.truth) for image in scores] == [("a",), ("b",)] * 2
    assert scores[-1].probabilities == (0.75, 0.25) == tuple(scores.matrix[3])
    with pytest.raises(IndexError):
        scores[4]


@pytest.mark.parametrize("scores", [Scores(("a", "b")), ManyScores(("a", "b"))])
def test_what_does_not_fit_the_classes_is_refused(scores: Any) -> None:
    with pytest.raises(EvaluationError, match=r"1\.jpg is of the class 'c', which is not among a, b"):
        scores.add("1.jpg", "c", [0.5, 0.5])
    with pytest.raises(EvaluationError, match=r"1\.jpg has 3 probabilities for 2 classes"):
        scores.add("1.jpg", "a", [0.5, 0.25, 0.25])
    assert len(scores) == 0
