"""Crowds with known truth: what methods are compared on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gtlabel.crowd.majority import majority
from gtlabel.crowd.simulated import KINDS, Crowd, Kind, simulated

PLAIN = Kind(200, 4, 30, 3, skew=0, guessers=0, stubborn=0, mistakes="even", lopsided=0, hard=0, tail=0)


def share_of_right_answers(crowd: Crowd) -> float:
    return float((crowd.truth[crowd.votes.objects] == crowd.votes.classes).mean())


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_draws_a_crowd_that_knows_more_than_a_guess_but_not_all(name: str) -> None:
    kind = replace(KINDS[name], objects=150)
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
