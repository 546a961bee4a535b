"""Many answers, one label: what the arithmetic promises."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.engine.consensus import Label, Votes, majority, multi, posteriors, single

RECORDED = Path(__file__).parent / "recorded" / "ground-truth-job"
OBJECTS = (*range(8), 95, 136, 183, 209)
ATTRIBUTE = "birds-open-images-clone"

Answers = list[tuple[int, str, int]]


@st.composite
def answered(draw: st.DrawFn) -> tuple[Answers, int, int]:
    """The answers of a batch, each object's from some of 6 workers; how many objects and classes it has."""
    objects, classes = draw(st.integers(1, 8)), draw(st.integers(2, 5))
    answers = []
    for number in range(objects):
        workers = draw(st.sets(st.sampled_from("abcdef"), min_size=1))
        answers += [(number, name, draw(st.integers(0, classes - 1))) for name in sorted(workers)]
    return answers, objects, classes


def labels(answers: Answers, objects: int, classes: int) -> list[Label]:
    return single(Votes.of(answers), objects, classes)


def test_the_recorded_job_gets_the_classes_that_aws_gave_it() -> None:
    lines = [json.loads(line) for line in (RECORDED / "output.manifest.excerpt").read_bytes().splitlines()]
    names = {line[f"{ATTRIBUTE}-metadata"]["class-name"]: line[ATTRIBUTE] for line in lines}
    answers = []
    for place, number in enumerate(OBJECTS):
        (file,) = RECORDED.glob(f"worker-response/*/{number}/*.json")
        for answer in json.loads(file.read_bytes())["answers"]:
            name = answer["answerContent"]["crowd-image-classifier"]["label"]
            answers.append((place, answer["workerId"], names[name]))
    given_by_us = labels(answers, len(OBJECTS), 10)
    assert [label.index for label in given_by_us] == [line[ATTRIBUTE] for line in lines]
    # Nine of the twelve are as sure as a label can be, for AWS and for us.
    sure = [line[f"{ATTRIBUTE}-metadata"]["confidence"] == 0.95 for line in lines]
    assert sum(sure) == 9
    assert all(label.confidence == 0.95 for label, is_sure in zip(given_by_us, sure, strict=True) if is_sure)


def test_a_tie_goes_to_the_class_that_stands_first() -> None:
    assert labels([(0, "ann", 2), (0, "bob", 1)], 1, 3)[0].index == 1
    votes = Votes.of([(0, "ann", 2), (0, "bob", 1)])
    counted = majority(votes, 1, 3)
    assert (list(counted.labels), list(counted.confidence), list(counted.tied)) == ([1], [0.5], [True])


def test_of_one_class_only_every_label_is_that_one() -> None:
    assert single(Votes.of([(0, "a", 0), (1, "a", 0)]), 2, 1) == [Label(0, 0.95)] * 2


def test_a_worker_who_is_often_right_outweighs_one_who_is_not() -> None:
    answers = []
    for number in range(20):
        right = number % 2
        answers += [(number, "ann", right), (number, "bob", right), (number, "eve", 1 - right)]
    # Ann stands alone against Eve; a count of hands would be a tie and go to class 0.
    answers += [(20, "ann", 1), (20, "eve", 0)]
    assert labels(answers, 21, 2)[20].index == 1


@given(answered())
@settings(max_examples=60, deadline=None)
def test_no_label_is_surer_than_95_percent_and_none_is_worse_than_a_guess(
    batch: tuple[Answers, int, int],
) -> None:
    answers, objects, classes = batch
    for label in labels(answers, objects, classes):
        assert 0 <= label.index < classes
        assert round(0.95 / classes, 2) - 0.011 <= label.confidence <= 0.95


@given(answered(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_order_of_answers_and_the_names_of_workers_do_not_matter(
    batch: tuple[Answers, int, int], random: Random
) -> None:
    answers, objects, classes = batch
    renamed = [(number, str(ord("z") - ord(name)), index) for number, name, index in answers]
    random.shuffle(renamed)
    assert labels(renamed, objects, classes) == labels(answers, objects, classes)


@given(answered())
@settings(max_examples=60, deadline=None)
def test_the_short_arithmetic_equals_the_one_with_whole_matrices(batch: tuple[Answers, int, int]) -> None:
    answers, objects, classes = batch
    expected = _written_out(answers, objects, classes)
    np.testing.assert_allclose(posteriors(Votes.of(answers), objects, classes), expected, atol=1e-9)


def test_several_labels_are_all_that_anyone_chose_in_the_order_they_were_named() -> None:
    chosen = [
        [("ann", frozenset({2})), ("bob", frozenset({2, 0})), ("eve", frozenset({2}))],
        [("ann", frozenset({1})), ("bob", frozenset({1})), ("eve", frozenset[int]())],
        [("ann", frozenset[int]()), ("bob", frozenset[int]()), ("eve", frozenset[int]())],
    ]
    found = multi(chosen)
    assert [[label.index for label in labels] for labels in found] == [[2, 0], [1], []]
    agreed, doubted = found[0]
    assert agreed.confidence > 0.5 > doubted.confidence


@pytest.mark.parametrize("classes", [2, 400])
def test_many_classes_cost_no_more_than_their_number(classes: int) -> None:
    answers = [(number, f"worker-{number % 7}-{n}", number % 2) for number in range(50) for n in range(5)]
    assert [label.index for label in labels(answers, 50, classes)] == [number % 2 for number in range(50)]


def _written_out(answers: Answers, objects: int, classes: int) -> np.ndarray:
    """The model of contract/ground-truth.md 6.1 with every matrix in full, answer by answer."""
    workers = sorted({worker for _, worker, _ in answers})
    spread = (1 - np.eye(classes)) / (classes - 1)

    def believe(confusion: dict[str, np.ndarray], prior: np.ndarray) -> np.ndarray:
        posterior = np.tile(prior, (objects, 1))
        for number, worker, index in answers:
            posterior[number] *= confusion[worker][:, index]
        normal: np.ndarray = posterior / posterior.sum(axis=1, keepdims=True)
        return normal

    first = 0.7 * np.eye(classes) + 0.3 * spread
    posterior = believe(dict.fromkeys(workers, first), np.full(classes, 1 / classes))
    counts = {worker: np.zeros((classes, classes)) for worker in workers}
    for number, worker, index in answers:
        counts[worker][:, index] += posterior[number]
    average = sum(np.trace(count) for count in counts.values()) / len(answers)
    confusion = {}
    for worker, count in counts.items():
        total, own = count.sum(), np.trace(count) / count.sum()
        smooth = total * (own * np.eye(classes) + (1 - own) * spread)
        smooth += total / 2 * (average * np.eye(classes) + (1 - average) * spread)
        rows = count + smooth
        confusion[worker] = rows / rows.sum(axis=1, keepdims=True)
    return believe(confusion, posterior.mean(axis=0))
