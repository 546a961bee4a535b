"""Crowds with known truth: what methods are compared on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gtlabel.crowd.majority import majority
from gtlabel.crowd.population import assumed, fitted
from gtlabel.crowd.simulated import KINDS, OTHER_KINDS, Crowd, Kind, simulated
from gtlabel.crowd.votes import Votes
from gtlabel.errors import ConsensusError

PLAIN = Kind(200, 4, 30, 3, skew=0, guessers=0, stubborn=0, mistakes="even", lopsided=0, hard=0, tail=0)


def share_of_right_answers(crowd: Crowd) -> float:
    return float((crowd.truth[crowd.votes.objects] == crowd.votes.classes).mean())


@pytest.mark.parametrize("name", [*KINDS, *OTHER_KINDS])
def test_every_kind_draws_a_crowd_that_knows_more_than_a_guess_but_not_all(name: str) -> None:
    kind = replace({**KINDS, **OTHER_KINDS}[name], objects=150)
    crowd = simulated(kind, 1)
    assert (crowd.objects, crowd.classes) == (150, kind.classes)
    assert set(np.unique(crowd.votes.objects)) == set(range(150))
    assert set(np.unique(crowd.votes.workers)) == set(range(crowd.workers))
    assert crowd.truth.min() >= -1
    assert crowd.truth.max() < kind.classes
    told = crowd.truth >= 0
    labels = majority(crowd.votes, crowd.objects, crowd.classes).labels
    assert 1 / kind.classes < (labels[told] == crowd.truth[told]).mean() < 1


def test_a_seed_always_draws_the_same_crowd_and_another_seed_another() -> None:
    first, again, other = simulated(PLAIN, 3), simulated(PLAIN, 3), simulated(PLAIN, 4)
    assert np.array_equal(first.votes.classes, again.votes.classes)
    assert np.array_equal(first.truth, again.truth)
    assert not np.array_equal(first.truth, other.truth)


def test_nobody_is_asked_twice_about_one_object() -> None:
    crowd = simulated(replace(PLAIN, answers=12.5, tail=2.0), 0)
    pairs = set(zip(crowd.votes.objects.tolist(), crowd.votes.workers.tolist(), strict=True))
    assert len(pairs) == len(crowd.votes.objects)
    assert set(np.bincount(crowd.votes.objects)) == {12, 13}


def test_a_crowd_smaller_than_the_answers_wanted_gives_one_answer_each() -> None:
    crowd = simulated(replace(PLAIN, workers=3, answers=8), 0)
    assert set(np.bincount(crowd.votes.objects)) == {3}


def test_a_longer_tail_lets_a_few_people_give_most_answers() -> None:
    def of_the_busiest(tail: float) -> float:
        given = np.sort(np.bincount(simulated(replace(PLAIN, tail=tail), 5).votes.workers))
        return float(given[-5:].sum() / given.sum())

    assert of_the_busiest(2.0) > 1.5 * of_the_busiest(0.0)


def test_skewed_classes_are_skewed_and_guessers_spoil_answers() -> None:
    frequent = np.bincount(simulated(replace(PLAIN, skew=2.0), 0).truth, minlength=3).max() / 200
    assert frequent > 0.6
    assert share_of_right_answers(simulated(replace(PLAIN, guessers=0.5), 0)) < (
        share_of_right_answers(simulated(PLAIN, 0)) - 0.1
    )


def test_objects_that_look_like_another_class_mislead_most_people_alike() -> None:
    crowd = simulated(replace(PLAIN, answers=15, hard=0.5, lure=0.9, skill=(20, 1)), 0)
    wrong = majority(crowd.votes, crowd.objects, crowd.classes).labels != crowd.truth
    assert 0.3 < wrong.mean() < 0.6


def test_graded_mistakes_stay_near() -> None:
    crowd = simulated(replace(PLAIN, classes=5, mistakes="graded", skill=(2, 2)), 0)
    steps = np.abs(crowd.truth[crowd.votes.objects] - crowd.votes.classes)
    assert (steps == 1).sum() > 2 * (steps > 1).sum()


def test_truth_may_be_told_mostly_of_what_people_dispute() -> None:
    crowd = simulated(replace(PLAIN, objects=600, told="doubtful", skill=(8, 1)), 0)
    counts = np.zeros((600, 3))
    np.add.at(counts, (crowd.votes.objects, crowd.votes.classes), 1)
    disputed, told = counts.max(axis=1) < counts.sum(axis=1), crowd.truth >= 0
    assert told[disputed].all()
    assert 0.1 < told[~disputed].mean() < 0.3


def test_objects_of_every_difficulty_are_answered_alike_or_not_at_all_alike() -> None:
    def spread_of_right_answers(ease: float) -> float:
        crowd = simulated(replace(PLAIN, answers=20, ease=ease), 0)
        right = crowd.truth[crowd.votes.objects] == crowd.votes.classes
        return float(np.bincount(crowd.votes.objects, weights=right).std() / 20)

    assert spread_of_right_answers(1.0) > 1.5 * spread_of_right_answers(0.0)


def test_a_rare_class_may_be_the_harder_one() -> None:
    def right_of_the_rarest(harder: float) -> float:
        crowd = simulated(replace(PLAIN, objects=600, skew=1.5, harder=harder), 0)
        true = crowd.truth[crowd.votes.objects]
        rarest = true == np.bincount(crowd.truth).argmin()
        return float((crowd.votes.classes == true)[rarest].mean())

    assert right_of_the_rarest(0.3) < right_of_the_rarest(0.0) - 0.2


def test_workers_of_one_school_make_the_same_mistakes_and_copyists_all_of_them() -> None:
    def agreement_in_error(kind: Kind) -> float:
        crowd = simulated(replace(kind, answers=12, classes=6), 0)
        wrong = crowd.votes.classes != crowd.truth[crowd.votes.objects]
        counts = np.zeros((crowd.objects, crowd.classes))
        np.add.at(counts, (crowd.votes.objects[wrong], crowd.votes.classes[wrong]), 1)
        errors = counts.sum(axis=1)
        return float((counts * (counts - 1)).sum() / (errors * (errors - 1)).sum())

    independent = agreement_in_error(PLAIN)
    assert agreement_in_error(replace(PLAIN, mistakes="schools")) > independent + 0.02
    assert agreement_in_error(replace(PLAIN, copyists=0.4)) > independent + 0.05


def test_crowds_that_could_not_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="0 people and 2 classes, .* are no crowd that could disagree"):
        assumed(2, people=0)
    with pytest.raises(ConsensusError, match="2 answers between 1 classes do not tell what people are like"):
        fitted(Votes.of([(0, "a", 0), (0, "b", 0)]), np.ones((1, 1)), source="told")
