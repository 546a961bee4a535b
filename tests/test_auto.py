"""Labels without a choice of method, and probabilities that mean what they say."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.crowd.auto import auto
from gtlabel.crowd.bayes import bayes
from gtlabel.crowd.dawidskene import dawid_skene
from gtlabel.crowd.gamma import digamma, log_gamma
from gtlabel.crowd.mace import mace
from gtlabel.crowd.majority import majority, wawa
from gtlabel.crowd.simulated import KINDS, OTHER_KINDS, Crowd, Kind, simulated
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.errors import ConsensusError

BENCHMARK = Path(__file__).parent / "benchmarks" / "consensus.py"

Method = Callable[..., Consensus]
Judged = dict[Method, tuple[float, float]]
both = pytest.mark.parametrize("method", [auto, bayes])


@st.composite
def answered(draw: st.DrawFn) -> tuple[Votes, int, int, np.random.Generator]:
    """Any answers: of some objects none, by some workers one; and a source of chance."""
    objects, workers, classes = (draw(st.integers(1, n)) for n in (12, 6, 4))
    number = draw(st.integers(0, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    votes = Votes(*(random.integers(0, n, size=number) for n in (objects, workers, classes)))
    return votes, objects, classes, random


@pytest.fixture(scope="module")
def judged() -> Judged:
    """The mean accuracy and calibration error of methods over one small crowd of every kind."""
    crowds = [simulated(replace(kind, objects=min(kind.objects, 250)), 7) for kind in KINDS.values()]
    result = {}
    for method in (majority, wawa, dawid_skene, bayes, auto):
        found = [labeled(method, crowd) for crowd in crowds]
        pairs = list(zip(found, crowds, strict=True))
        right, error = ([f(*pair) for pair in pairs] for f in (accuracy, calibration_error))
        result[method] = (float(np.mean(right)), float(np.mean(error)))
    return result


def labeled(method: Method, crowd: Crowd) -> Consensus:
    return method(crowd.votes, crowd.objects, crowd.classes)


def accuracy(found: Consensus, crowd: Crowd) -> float:
    told = crowd.truth >= 0
    return float((found.labels[told] == crowd.truth[told]).mean())


def calibration_error(found: Consensus, crowd: Crowd) -> float:
    told = crowd.truth >= 0
    confidence, right = found.confidence[told], found.labels[told] == crowd.truth[told]
    bins = np.minimum((confidence * 10).astype(int), 9)
    return float(np.abs(np.bincount(bins, weights=confidence - right, minlength=10)).sum() / len(right))


def votes_of(*answers: tuple[int, str, int]) -> Votes:
    return Votes.of(answers)


@both
@given(crowd=answered())
@settings(max_examples=25, deadline=None)
def test_whatever_people_answer_each_object_gets_a_distribution(
    method: Method, crowd: tuple[Votes, int, int, np.random.Generator]
) -> None:
    votes, objects, classes, _ = crowd
    found = method(votes, objects, classes)
    assert found.posterior.shape == (objects, classes)
    assert np.all(found.posterior >= 0)
    assert np.allclose(found.posterior.sum(axis=1), 1)
    assert found.confusion is not None
    assert found.skill is not None
    assert np.allclose(found.confusion[np.unique(votes.workers)].sum(axis=2), 1)
    assert np.all((found.skill > 0) & (found.skill < 1))


@both
@given(crowd=answered())
@settings(max_examples=25, deadline=None)
def test_names_and_the_order_of_answers_change_nothing(
    method: Method, crowd: tuple[Votes, int, int, np.random.Generator]
) -> None:
    votes, objects, classes, random = crowd
    renamed, reclassed = random.permutation(objects), random.permutation(classes)
    people, order = random.permutation(6), random.permutation(len(votes.objects))
    other = Votes(
        renamed[votes.objects][order], people[votes.workers][order], reclassed[votes.classes][order]
    )
    first = method(votes, objects, classes).posterior
    second = method(other, objects, classes).posterior
    assert np.allclose(second[renamed][:, reclassed], first, atol=1e-4)


@both
@given(crowd=answered())
@settings(max_examples=20, deadline=None)
def test_what_is_known_is_never_doubted(
    method: Method, crowd: tuple[Votes, int, int, np.random.Generator]
) -> None:
    votes, objects, classes, random = crowd
    known = random.integers(-1, classes, size=objects)
    posterior = method(votes, objects, classes, known=known).posterior
    assert np.all(posterior[known >= 0] == np.eye(classes)[known[known >= 0]])


@both
def test_knowing_some_classes_tells_whom_to_believe_about_the_others(method: Method) -> None:
    # Ann and Bob disagree on everything, and there is nobody else to ask.
    truth = np.arange(30) % 2
    votes = votes_of(
        *[(n, name, int(truth[n]) ^ (name == "bob")) for n in range(30) for name in ("ann", "bob")]
    )
    known = np.where(np.arange(30) < 12, truth, -1)
    assert np.array_equal(method(votes, 30, 2, known=known).labels, truth)
    assert np.array_equal(
        method(votes, 30, 2, known=np.where(known >= 0, 1 - known, -1)).labels[12:], 1 - truth[12:]
    )


@both
def test_known_classes_that_do_not_fit_the_objects_are_refused(method: Method) -> None:
    with pytest.raises(ConsensusError, match="give one class for each"):
        method(votes_of((0, "ann", 1)), 2, 2, known=np.array([0]))


@both
def test_two_people_who_never_agree_leave_a_tie(method: Method) -> None:
    votes = votes_of(*[(n, name, int(name == "bob")) for n in range(8) for name in ("ann", "bob")])
    found = method(votes, 8, 2)
    assert np.allclose(found.posterior, 0.5)
    assert found.tied.all()


@both
def test_an_object_without_answers_has_the_frequencies_of_the_classes(method: Method) -> None:
    votes = votes_of(*[(n, name, int(n >= 30)) for n in range(40) for name in ("ann", "bob", "eve")])
    unasked = method(votes, 41, 2).posterior[40]
    assert unasked == pytest.approx([0.75, 0.25], abs=0.03)


@both
def test_a_single_answer_is_as_good_as_its_worker_is_elsewhere(method: Method) -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 60)
    answers = [(n, name, int(truth[n])) for n in range(60) for name in ("ann", "bob")]
    answers += [(n, "eve", int(random.integers(0, 2))) for n in range(60)]
    found = method(votes_of(*answers, (60, "ann", 1), (61, "eve", 1)), 62, 2)
    assert found.posterior[60, 1] > 0.85
    assert found.posterior[61, 1] < 0.8
    assert found.posterior[60, 1] < 1


@both
def test_answers_that_stand_alone_do_not_vouch_for_each_other(method: Method) -> None:
    votes = votes_of(*[(n, "ann", n % 2) for n in range(50)])
    found = method(votes, 50, 2)
    assert np.array_equal(found.labels, np.arange(50) % 2)
    assert found.confidence == pytest.approx(0.75, abs=0.01)


@both
def test_the_more_people_agree_the_surer_a_label_is(method: Method) -> None:
    crowds = [votes_of(*[(0, str(name), 1) for name in range(people)]) for people in (1, 2, 3)]
    confidence = [float(method(votes, 1, 3).confidence[0]) for votes in crowds]
    assert 0.6 < confidence[0] < 0.9
    assert confidence == sorted(confidence)


@both
def test_people_with_one_answer_each_are_not_told_apart(method: Method) -> None:
    random = np.random.default_rng(2)
    truth = np.arange(40) % 2
    said = np.where(random.random((40, 5)) < 0.85, truth[:, None], 1 - truth[:, None])
    votes = Votes(np.repeat(np.arange(40), 5), np.arange(200), said.ravel())
    found = method(votes, 40, 2)
    assert np.array_equal(found.labels, (said.sum(axis=1) > 2).astype(np.intp))
    assert found.skill is not None
    assert np.ptp(found.skill) < 0.3


@both
def test_somebody_who_knows_outweighs_a_crowd_that_does_not_look(method: Method) -> None:
    random = np.random.default_rng(3)
    truth = random.integers(0, 3, 200)
    answers = [(n, f"expert {e}", int(truth[n])) for n in range(200) for e in range(2)]
    answers += [(n, f"guesser {g}", int(random.integers(0, 3))) for n in range(200) for g in range(4)]
    votes = votes_of(*answers)
    assert (majority(votes, 200, 3).labels == truth).mean() < 0.9
    found = method(votes, 200, 3)
    assert (found.labels == truth).mean() > 0.99
    assert found.skill is not None
    # Names are sorted: experts stand first.
    assert found.skill[:2].min() > 0.9
    assert found.skill[2:].max() < 0.5


def test_a_rare_class_is_not_starved_where_belief_alone_would() -> None:
    gaps = []
    for seed in range(3):
        crowd = simulated(replace(KINDS["documents"], objects=600), seed)
        frequent = np.bincount(crowd.truth, minlength=3) / crowd.objects
        drawn, free = (
            bayes(crowd.votes, 600, 3, share=share).posterior.mean(axis=0) for share in (0.25, 0.0)
        )
        gaps.append(float(np.abs(free - frequent).max() - np.abs(drawn - frequent).max()))
    assert min(gaps) > -0.02
    assert max(gaps) > 0.05


def test_with_many_answers_from_everybody_the_hierarchy_is_dawid_and_skenes_model() -> None:
    crowd = simulated(replace(KINDS["own ways"], objects=1500, workers=12, answers=8, hard=0), 0)
    ours, theirs = labeled(bayes, crowd), labeled(dawid_skene, crowd)
    assert (ours.labels == theirs.labels).mean() > 0.97
    assert ours.confusion is not None
    assert theirs.confusion is not None
    assert np.abs(ours.confusion - theirs.confusion).mean() < 0.03


def test_over_crowds_of_all_kinds_auto_is_right_more_often_than_any_one_method(judged: Judged) -> None:
    assert judged[auto][0] > max(judged[method][0] for method in (majority, wawa, dawid_skene)) + 0.01


def test_probabilities_of_auto_are_twice_as_honest_as_shares_of_answers(judged: Judged) -> None:
    assert judged[auto][1] < judged[majority][1] / 2
    assert judged[auto][1] < judged[bayes][1]


def test_with_troubles_that_it_was_not_chosen_on_auto_is_not_behind_any_one_method() -> None:
    crowds = [simulated(replace(kind, objects=min(kind.objects, 250)), 3) for kind in OTHER_KINDS.values()]
    right = {
        method: np.mean([accuracy(labeled(method, crowd), crowd) for crowd in crowds])
        for method in (majority, wawa, dawid_skene, mace, auto)
    }
    assert max(right, key=lambda method: float(right[method])) is auto


def test_few_answers_do_not_talk_auto_into_one_class_for_nearly_everything() -> None:
    crowds = [simulated(OTHER_KINDS["few people, five answers"], seed) for seed in range(8)]
    taken = [
        max(np.bincount(labeled(method, crowd).labels).max() / crowd.objects for crowd in crowds)
        for method in (bayes, auto)
    ]
    assert taken[0] > 0.85
    assert taken[1] < taken[0] - 0.1


def test_a_tie_of_mace_goes_to_the_class_that_is_said_to_be_more_frequent() -> None:
    votes = votes_of(*[(n, name, int(name == "bob")) for n in range(8) for name in ("ann", "bob")])
    assert mace(votes, 8, 2).tied.all()
    assert (mace(votes, 8, 2, frequency=np.array([1.0, 3.0])).labels == 1).all()


def test_many_answers_that_err_alike_count_as_fewer() -> None:
    independent = simulated(Kind(200, 20, 60, 2, hard=0, skill=(3, 4)), 0)
    alike = simulated(Kind(200, 20, 60, 2, hard=0.6, lure=0.5, skill=(3, 4)), 0)
    # The model alone is as sure of the second crowd as if nothing misled anybody.
    assert labeled(bayes, alike).confidence.mean() > 0.92
    assert labeled(auto, alike).confidence.mean() < labeled(auto, independent).confidence.mean() - 0.05
    assert (
        calibration_error(labeled(auto, alike), alike) < calibration_error(labeled(bayes, alike), alike) / 2
    )


def test_a_crowd_with_more_answers_than_are_left_out_is_labeled_as_well() -> None:
    crowd = simulated(replace(KINDS["photos of ten classes"], objects=14_000, answers=4), 0)
    assert len(crowd.votes.objects) > 50_000
    found = labeled(auto, crowd)
    assert accuracy(found, crowd) > accuracy(labeled(majority, crowd), crowd) + 0.01
    assert calibration_error(found, crowd) < 0.05


@given(st.floats(1e-3, 1e6))
def test_the_gamma_functions_agree_with_the_standard_library(x: float) -> None:
    array = np.array([x])
    assert log_gamma(array)[0] == pytest.approx(math.lgamma(x), rel=1e-9, abs=1e-9)
    step = 1e-4 * x
    slope = (math.lgamma(x + step) - math.lgamma(x - step)) / (2 * step)
    assert digamma(array)[0] == pytest.approx(slope, rel=1e-5, abs=1e-5)
    assert digamma(array + 1)[0] == pytest.approx(digamma(array)[0] + 1 / x, rel=1e-9, abs=1e-9)


def test_the_benchmark_of_labels_prints_its_table_and_its_bars() -> None:
    command = [sys.executable, str(BENCHMARK), "--seeds", "1", "--kinds", "2", "--objects", "200"]
    done = subprocess.run([*command, "--crowds", "nowhere"], capture_output=True, text=True, check=False)
    assert "photos of ten classes/0" in done.stdout
    assert "GTLABEL_CROWDKIT_PYTHON" in done.stdout
    assert done.returncode == int("MISSED" in done.stdout), done.stderr
