"""Agreement and calibration: published figures, and what may not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gtlabel.crowd.agreement import agreement, fleiss_kappa, krippendorff_alpha
from gtlabel.crowd.calibration import expected_calibration_error, reliability
from gtlabel.crowd.intervals import beta_quantile, share, shares
from gtlabel.crowd.votes import Votes
from gtlabel.errors import ConsensusError, EvaluationError

# Krippendorff (2011), section C: four observers, twelve units, missing data.
OBSERVERS = """1 2 3 3 2 1 4 1 2 * * *
1 2 3 3 2 2 4 1 2 5 * 3
* 3 3 3 2 3 4 2 2 5 1 *
1 2 3 3 2 4 4 1 2 5 1 *"""
# https://en.wikipedia.org/wiki/Fleiss%27_kappa#Worked_example: fourteen raters, ten subjects.
RATED = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def observed() -> Votes:
    return Votes.of(
        [
            (unit, str(observer), int(value) - 1)
            for observer, line in enumerate(OBSERVERS.splitlines())
            for unit, value in enumerate(line.split())
            if value != "*"
        ]
    )


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Votes, int, int]:
    """A few answers by a few workers."""
    objects, classes = draw(st.integers(2, 8)), draw(st.integers(2, 4))
    answer = st.tuples(st.integers(0, objects - 1), st.sampled_from("abcde"), st.integers(0, classes - 1))
    return Votes.of(draw(st.lists(answer, min_size=4, max_size=40))), objects, classes


def same(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or one == pytest.approx(other, abs=1e-9)


def test_alpha_is_what_krippendorff_computes_by_hand() -> None:
    assert krippendorff_alpha(observed(), 12, 5) == pytest.approx(0.743, abs=5e-4)


def test_kappa_is_that_of_the_worked_example() -> None:
    said = [
        (subject, str(rater), value)
        for subject, row in enumerate(RATED)
        for rater, value in enumerate(value for value, count in enumerate(row) for _ in range(count))
    ]
    assert fleiss_kappa(Votes.of(said), 10, 5) == pytest.approx(0.210, abs=5e-4)


@given(crowds())
@settings(max_examples=40)
def test_names_and_order_change_no_agreement(crowd: tuple[Votes, int, int]) -> None:
    votes, objects, classes = crowd
    random = np.random.default_rng(len(votes.objects))
    order = random.permutation(len(votes.objects))
    renamed = Votes(
        random.permutation(objects)[votes.objects][order],
        random.permutation(9)[votes.workers][order],
        random.permutation(classes)[votes.classes][order],
    )
    for measure in (krippendorff_alpha, fleiss_kappa):
        assert same(measure(votes, objects, classes), measure(renamed, objects, classes))


@given(crowds())
@settings(max_examples=40)
def test_no_agreement_is_more_than_full(crowd: tuple[Votes, int, int]) -> None:
    found = agreement(*crowd, resamples=30)
    for estimate in (found.alpha, found.kappa, *(one.alpha for one in found.classes)):
        assert math.isnan(estimate.value) or estimate.low <= estimate.value <= estimate.high <= 1 + 1e-9


@given(crowds())
@settings(max_examples=30)
def test_of_two_classes_each_agrees_as_both_do(crowd: tuple[Votes, int, int]) -> None:
    votes, objects, _ = crowd
    two = Votes(votes.objects, votes.workers, votes.classes % 2)
    found = agreement(two, objects, 2, resamples=5)
    for one in found.classes:
        assert same(one.alpha.value, found.alpha.value)
        assert same(one.kappa.value, found.kappa.value)


def test_objects_with_one_answer_say_nothing() -> None:
    votes = Votes.of([(0, "a", 0), (0, "b", 0), (1, "a", 1), (1, "b", 1), (2, "a", 0), (3, "b", 1)])
    found = agreement(votes, 5, 2)
    assert (found.objects, found.answers, found.single) == (2, 4, 2)
    assert (found.alpha.value, found.kappa.value, found.observed.value) == (1.0, 1.0, 1.0)


def test_where_nobody_could_disagree_there_is_no_agreement_to_tell() -> None:
    for said in ([(0, "a", 1), (0, "b", 1)], [(0, "a", 1)], []):
        assert math.isnan(agreement(Votes.of(said), 1, 2).alpha.value)


def test_nineteen_in_twenty_intervals_hold_the_agreement_of_the_whole_crowd() -> None:
    # Answers are right with 0.8, else one of the two other classes: pairs agree with 0.66, by chance with
    # 1/3.
    truth, held, runs = (0.66 - 1 / 3) / (2 / 3), 0, 60
    for seed in range(runs):
        random = np.random.default_rng(seed)
        objects = np.repeat(np.arange(150), 4)
        wrong = random.integers(1, 3, 600) * (random.random(600) > 0.8)
        votes = Votes(objects, np.tile(np.arange(4), 150), (random.integers(0, 3, 150)[objects] + wrong) % 3)
        found = agreement(votes, 150, 3, resamples=200).alpha
        held += found.low <= truth <= found.high
    assert held >= 0.85 * runs


@pytest.mark.parametrize(("right", "given_"), [(0, 0), (0, 9), (9, 9), (3, 10), (80_000, 100_000)])
def test_intervals_of_shares_are_jeffreys(right: int, given_: int) -> None:
    found = share(right, given_)
    low, high = stats.beta.ppf([0.025, 0.975], right + 0.5, given_ - right + 0.5)
    assert found.low == pytest.approx(0 if right == 0 else low, abs=1e-8)
    assert found.high == pytest.approx(1 if right == given_ else high, abs=1e-8)
    assert shares([right], [given_]) == [found]


def test_quantiles_of_a_flat_distribution_are_the_probabilities() -> None:
    assert beta_quantile([0.1, 0.5, 0.9], 1, 1) == pytest.approx([0.1, 0.5, 0.9])


def test_the_calibration_error_is_the_mean_distance_by_bins() -> None:
    # Three labels state 0.8 and two are right; one states 0.3 and is right: (3 * |0.8 - 2/3| + 0.7) / 4.
    error = expected_calibration_error([0.8, 0.8, 0.8, 0.3], [True, True, False, True])
    assert error == pytest.approx((3 * (0.8 - 2 / 3) + 0.7) / 4)


def test_the_edges_of_bins_belong_to_the_bin_below() -> None:
    edges = np.arange(1, 11) / 10
    found = reliability(edges, np.ones(10))
    assert [one.count for one in found.bins] == [1] * 10
    assert all(one.low < one.confidence <= one.high + 1e-12 for one in found.bins)


def test_ties_and_single_answers_are_told_apart() -> None:
    found = reliability(
        [0.5, 0.5, 0.9, 1.0], [True, False, True, True], tied=[True, True, False, False], answers=[2, 2, 3, 1]
    )
    assert found.tied is not None
    assert found.single is not None
    assert (found.tied.count, found.tied.accuracy.value) == (2, 0.5)
    assert (found.single.count, found.single.confidence) == (1, 1.0)


def test_honest_probabilities_err_by_what_chance_does_to_them() -> None:
    random = np.random.default_rng(1)
    stated = random.random(4000)
    honest = reliability(stated, random.random(4000) < stated)
    boastful = reliability(np.sqrt(stated), random.random(4000) < stated)
    assert honest.error.value < 2 * honest.noise
    assert boastful.error.low > 5 * boastful.noise


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
@settings(max_examples=40)
def test_the_order_of_labels_changes_no_calibration_error(labels: list[tuple[float, bool]]) -> None:
    stated, right = zip(*labels, strict=True)
    for kind in ("width", "count"):
        forward = expected_calibration_error(stated, right, kind=kind)
        backward = expected_calibration_error(stated[::-1], right[::-1], kind=kind)
        assert forward == pytest.approx(backward, abs=1e-9)
        assert 0 <= forward <= 1


@pytest.mark.parametrize(("stated", "right"), [([0.5], [True, False]), ([95.0], [True]), ([-0.1], [True])])
def test_what_are_no_probabilities_is_refused(stated: list[float], right: list[bool]) -> None:
    with pytest.raises(EvaluationError, match="calibration wants"):
        expected_calibration_error(stated, right)


def test_bins_and_columns_that_do_not_go_with_the_labels_are_refused() -> None:
    with pytest.raises(EvaluationError, match="there are no 0 bins of equal width"):
        expected_calibration_error([0.5], [True], bins=0)
    with pytest.raises(EvaluationError, match="leave out labels without a probability"):
        expected_calibration_error([np.nan], [True])
    with pytest.raises(EvaluationError, match="answers wants one value for each of 1 labels"):
        reliability([0.5], [True], answers=[1, 2])


def test_agreement_is_not_told_of_answers_that_cannot_be() -> None:
    with pytest.raises(ConsensusError, match="an answer names object 1, and there are 1"):
        krippendorff_alpha(Votes(np.array([1]), np.array([0]), np.array([0])), 1, 2)
