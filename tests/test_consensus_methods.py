"""What every method promises, whatever people answered."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gtlabel.crowd.rounds import End
from gtlabel.crowd.sums import Sums
from gtlabel.engine.consensus import METHODS, Named, Votes, aggregate, aws, dawid_skene, single
from gtlabel.errors import ConsensusError

BENCHMARK = Path(__file__).parent / "benchmarks" / "consensus_speed.py"
# Those that learn by rounds, each of which says what it has reached.
LEARNING = ("dawid_skene", "one_coin", "glad", "mace")
# What AWS does looks at fifty objects at a time, so that their order matters; auto and bayes have tests of
# their own.
ORDERLESS = ("majority", "wawa", *LEARNING)

Crowd = tuple[Votes, int, int]


@st.composite
def crowds(draw: st.DrawFn) -> Crowd:
    """Up to 60 answers by up to 7 workers on up to 12 objects, some without any, some by one worker twice."""
    objects, classes = draw(st.integers(1, 12)), draw(st.integers(2, 4))
    answer = st.tuples(st.integers(0, objects - 1), st.integers(0, 6), st.integers(0, classes - 1))
    return votes_of(draw(st.lists(answer, min_size=1, max_size=60))), objects, classes


def votes_of(answers: list[tuple[int, int, int]]) -> Votes:
    columns = np.array(answers, dtype=np.intp).reshape(-1, 3).T
    return Votes(*(np.ascontiguousarray(column) for column in columns))


def planted(
    objects: int, classes: int, each: int, skill: list[float], seed: int = 0
) -> tuple[Votes, NDArray[np.intp]]:
    """Answers by workers who are right as often as `skill` says, `each` on one object; and the truth."""
    random = np.random.default_rng(seed)
    truth = random.integers(classes, size=objects)
    workers = np.array([random.permutation(len(skill))[:each] for _ in range(objects)]).reshape(-1)
    about = np.repeat(np.arange(objects), each)
    off = random.integers(1, classes, size=len(about))
    right = random.random(len(about)) < np.array(skill)[workers]
    return Votes(about, workers, np.where(right, truth[about], (truth[about] + off) % classes)), truth


@pytest.mark.parametrize("method", [*ORDERLESS, "aws"])
@given(crowds())
@settings(max_examples=20, deadline=None)
def test_every_object_gets_a_distribution_and_workers_get_probabilities(method: str, crowd: Crowd) -> None:
    votes, objects, classes = crowd
    found = aggregate(votes, objects, classes, method)
    assert found.method == method
    assert found.posterior.shape == (objects, classes)
    assert np.all(found.posterior >= 0)
    np.testing.assert_allclose(found.posterior.sum(axis=1), 1, atol=1e-9)
    workers = int(votes.workers.max()) + 1
    if found.skill is not None:
        assert found.skill.shape == (workers,)
        assert np.all((found.skill >= 0) & (found.skill <= 1 + 1e-9))
    if found.confusion is not None:
        assert found.confusion.shape == (workers, classes, classes)
        np.testing.assert_allclose(found.confusion.sum(axis=2), 1, atol=1e-9)


@pytest.mark.parametrize("method", ORDERLESS)
@given(crowds(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_neither_names_nor_order_matter(method: str, crowd: Crowd, random: Random) -> None:
    votes, objects, classes = crowd
    to_objects, to_workers, to_classes, order = (
        np.array(random.sample(range(count), count)) for count in (objects, 7, classes, len(votes.objects))
    )
    renamed = Votes(
        to_objects[votes.objects][order], to_workers[votes.workers][order], to_classes[votes.classes][order]
    )
    before = aggregate(votes, objects, classes, method).posterior
    after = aggregate(renamed, objects, classes, method).posterior
    np.testing.assert_allclose(after[to_objects][:, to_classes], before, atol=1e-4)


@pytest.mark.parametrize("method", LEARNING)
@given(crowds())
@settings(max_examples=15, deadline=None)
def test_what_is_maximized_never_falls(method: str, crowd: Crowd) -> None:
    reached = []
    for most in range(1, 9):
        found = METHODS[method](*crowd, rounds=most, tolerance=1e-12)
        assert found.log_likelihood is not None
        reached.append(found.log_likelihood)
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(reached))


@given(crowds())
@settings(max_examples=30, deadline=None)
def test_dawid_and_skenes_rounds_equal_those_with_whole_matrices(crowd: Crowd) -> None:
    expected = _written_out(*crowd, rounds=4)
    found = dawid_skene(*crowd, rounds=4, tolerance=1e-30)
    np.testing.assert_allclose(found.posterior, expected, atol=1e-9)


def test_a_large_crowd_ends_where_rounds_over_all_its_objects_end() -> None:
    # Large enough for single precision, and for leaving out of a round what rests.
    votes, truth = planted(14_000, 10, 3, list(np.linspace(0.5, 0.95, 40)))
    found = dawid_skene(votes, 14_000, 10)
    expected = _written_out(votes, 14_000, 10, rounds=25)
    agreeing = np.mean(found.labels == expected.argmax(axis=1))
    assert agreeing > 0.998
    assert np.abs(found.posterior - expected).mean() < 1e-3
    assert np.mean(found.labels == truth) > np.mean(aggregate(votes, 14_000, 10, "majority").labels == truth)


def test_a_large_crowd_may_have_more_answers_about_one_object_than_another() -> None:
    votes, truth = planted(14_000, 10, 5, list(np.linspace(0.7, 0.9, 200)))
    kept = np.random.default_rng(1).random(len(votes.objects)) < 0.9
    some = Votes(votes.objects[kept], votes.workers[kept], votes.classes[kept])
    expected = _written_out(some, 14_000, 10, rounds=25)
    assert np.abs(dawid_skene(some, 14_000, 10).posterior - expected).mean() < 3e-4
    for method in ("one_coin", "mace", "bayes"):
        assert np.mean(aggregate(some, 14_000, 10, method).labels == truth) > 0.976


def test_the_end_is_not_where_a_slow_estimation_adds_little() -> None:
    slow = [1 - 0.99**number for number in range(2000)]
    end = End(1e-3)
    stopped = next(number for number, value in enumerate(slow) if end.reached(value))
    # From round 230 on each round adds less than 0.001; so much is missing until round 687.
    assert 680 <= stopped <= 700


@pytest.mark.parametrize("method", LEARNING)
def test_workers_are_told_apart_and_their_labels_are_better_than_a_count_of_hands(method: str) -> None:
    skill = [0.95, 0.9, 0.85, 0.5, 0.4, 0.3, 0.3, 0.3]
    votes, truth = planted(600, 3, 5, skill)
    found = aggregate(votes, 600, 3, method)
    assert found.skill is not None
    assert set(np.argsort(-found.skill)[:3]) == {0, 1, 2}
    np.testing.assert_allclose(found.skill[:3], skill[:3], atol=0.1)
    counted = aggregate(votes, 600, 3, "majority")
    assert np.mean(found.labels == truth) > np.mean(counted.labels == truth) + 0.05


def test_matrices_tell_which_classes_a_worker_mixes_up() -> None:
    votes, truth = planted(2000, 3, 4, [0.9] * 5)
    # Worker 0 takes what is of class 2 for class 1.
    mixing = (votes.workers == 0) & (truth[votes.objects] == 2)
    classes = np.where(mixing, 1, votes.classes)
    found = dawid_skene(Votes(votes.objects, votes.workers, classes), 2000, 3)
    assert found.confusion is not None
    assert found.confusion[0, 2, 1] > 0.95
    np.testing.assert_allclose(found.confusion[1, 2], [0.05, 0.05, 0.9], atol=0.05)


def test_mace_believes_nothing_of_a_worker_who_always_says_the_same() -> None:
    votes, _ = planted(300, 4, 3, [0.8] * 6)
    habit = votes.workers == 2
    votes = Votes(votes.objects, votes.workers, np.where(habit, 1, votes.classes))
    found = aggregate(votes, 300, 4, "mace")
    assert found.skill is not None
    # A quarter of the objects are of the class he always names.
    assert found.skill[2] == pytest.approx(0.25, abs=0.07)
    assert found.skill[[0, 1, 3, 4, 5]].min() > 0.7


def test_glad_is_less_sure_of_an_object_that_good_workers_disagree_about() -> None:
    votes, _ = planted(200, 2, 5, [0.95] * 5)
    hard = np.arange(5) + 1000
    disputed = Votes(
        *(
            np.concatenate(parts)
            for parts in (
                (votes.objects, np.full(5, 200)),
                (votes.workers, hard - 1000),
                (votes.classes, [0, 0, 0, 1, 1]),
            )
        )
    )
    found = aggregate(disputed, 201, 2, "glad")
    assert found.labels[200] == 0
    assert found.confidence[200] < 0.9 < np.median(found.confidence)


@pytest.mark.parametrize("method", LEARNING)
def test_what_is_known_stays_and_tells_whom_to_believe(method: str) -> None:
    # Two honest workers against two who say the opposite: without truth nobody can tell which is which.
    answers = [
        (number, who, number % 2 if who < 2 else 1 - number % 2) for number in range(40) for who in range(4)
    ]
    known = np.full(40, -1)
    known[:6] = np.arange(6) % 2
    found = METHODS[method](votes_of(answers), 40, 2, known=known)
    assert np.array_equal(found.labels, np.arange(40) % 2)
    assert np.all(found.confidence[:6] == 1)


def test_a_count_of_hands_is_the_share_of_hands_and_says_where_it_is_tied() -> None:
    votes = votes_of([(0, 0, 2), (0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 1, 1)])
    found = aggregate(votes, 3, 3, "majority")
    np.testing.assert_allclose(found.posterior, [[0, 1 / 3, 2 / 3], [0, 0.5, 0.5], [0, 0.4, 0.6]])
    assert list(found.labels) == [2, 1, 2]
    assert list(found.tied) == [False, True, False]


def test_wawa_weighs_a_hand_by_how_often_it_was_with_the_majority() -> None:
    votes = votes_of(
        [(n, who, int(who == 2 and n > 0)) for n in range(3) for who in range(3)] + [(3, 0, 0), (3, 2, 1)]
    )
    found = aggregate(votes, 4, 2, "wawa")
    assert found.skill is not None
    # On the last object, where one stands against one, each is with half of a majority.
    np.testing.assert_allclose(found.skill, [3.5 / 4, 1, 1.5 / 4])
    np.testing.assert_allclose(found.posterior[3], [0.7, 0.3])


def test_aws_looks_at_fifty_objects_at_once_and_carries_nothing_over() -> None:
    votes, _ = planted(120, 3, 3, [0.9, 0.7, 0.5, 0.4])
    found = aws(votes, 120, 3)
    for first in (0, 50, 100):
        inside = (votes.objects >= first) & (votes.objects < first + 50)
        size = min(50, 120 - first)
        batch = Votes(votes.objects[inside] - first, votes.workers[inside], votes.classes[inside])
        labels = single(batch, size, 3)
        assert [label.index for label in labels] == list(found.labels[first : first + size])
        written = np.round(0.95 * found.confidence[first : first + size], 2)
        np.testing.assert_allclose([label.confidence for label in labels], written, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_an_only_class_and_no_answers_at_all_are_no_trouble(method: str) -> None:
    only = aggregate(votes_of([(0, 0, 0), (1, 1, 0)]), 2, 1, method)
    np.testing.assert_allclose(only.posterior, 1)
    none = aggregate(votes_of([]), 3, 4, method)
    np.testing.assert_allclose(none.posterior, 0.25)


def test_a_method_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(ConsensusError, match=r"there is no method 'best' .* take one of auto, aws, bayes"):
        aggregate(votes_of([(0, 0, 0)]), 1, 2, "best")


@pytest.mark.parametrize(
    ("votes", "objects", "classes", "sentence"),
    [
        (votes_of([(0, 0, 2)]), 1, 2, "an answer names class 2, and there are 2, counted from 0"),
        (votes_of([(3, 0, 0)]), 2, 2, "an answer names object 3, and there are 2, counted from 0"),
        (votes_of([(-1, 0, 0)]), 2, 2, "an answer names object -1"),
        (votes_of([(0, -2, 0)]), 2, 2, "by a worker below 0; number the workers from 0"),
        (votes_of([(0, 0, 0)]), 1, 0, "at least one class"),
        (votes_of([]), -1, 2, "there cannot be -1 objects"),
        (votes_of([(0, 10**9, 0)]), 1, 2, "by worker 1000000000, and there are 1 answers; .* without gaps"),
    ],
)
def test_answers_that_cannot_be_are_refused_in_a_sentence(
    votes: Votes, objects: int, classes: int, sentence: str
) -> None:
    with pytest.raises(ConsensusError, match=sentence):
        aggregate(votes, objects, classes, "majority")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (([0, 1, 2], [0, 1], [0, 1, 2]), "name 3 objects, 2 workers and 3 classes; give one of each"),
        (([0, 1], [0, 0], [1, float("nan")]), "the classes of answers have nan at place 1"),
        (([0, 1], [0.5, 0], [1, 1]), r"the workers of answers have 0\.5 at place 0"),
        (([0], [0], [float("inf")]), "have inf at place 0"),
        (([0], ["ann"], [0]), "the workers of answers are no numbers, such as 'ann'; .* Named.of do it"),
        (([0, 1], [0, None], [0, 1]), "the workers of answers are no numbers, such as None; number them"),
        (([[0, 0, 1]], [0], [0]), r"the objects of answers have the shape \(1, 3\)"),
        ((0, [0], [0]), r"the objects of answers have the shape \(\)"),
    ],
)
def test_columns_that_are_no_answers_are_refused_where_they_are_made(
    columns: tuple[Any, Any, Any], sentence: str
) -> None:
    with pytest.raises(ConsensusError, match=sentence):
        Votes(*columns)


@pytest.mark.parametrize("method", METHODS)
def test_lists_do_as_well_as_arrays_and_what_there_is_need_not_be_counted(method: str) -> None:
    objects, workers, classes = [0, 0, 0, 2, 2, 2], [0, 1, 2, 0, 1, 2], [1, 1, 0, 2, 2.0, 2]
    votes = Votes(objects, workers, classes)  # type: ignore[arg-type]
    found = aggregate(votes, method=method)
    assert found.posterior.shape == (3, 3)
    assert list(found.labels[[0, 2]]) == [1, 2]
    whole = METHODS[method](votes, 3, 3).posterior
    np.testing.assert_allclose(found.posterior, whole, atol=1e-12)
    np.testing.assert_allclose(aggregate(Sums(votes, 3, 3), method=method).posterior, whole, atol=1e-12)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("uvw"), st.sampled_from("xyz")), max_size=30)
)
@settings(deadline=None)
def test_names_are_numbered_alike_in_whichever_order_they_come(answers: list[tuple[str, str, str]]) -> None:
    named = Named.of(answers, classes="xyz")
    columns = zip(named.votes.objects, named.votes.workers, named.votes.classes, strict=True)
    assert [(named.objects[o], named.workers[w], named.classes[c]) for o, w, c in columns] == answers
    again = Named.of(answers[::-1], classes="xyz")
    assert (again.objects, again.workers, again.classes) == (named.objects, named.workers, named.classes)


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        (
            [("1.jpg", "ann", "cat"), ("1.jpg", "bob", None)],
            r"answer 1 is \('1.jpg', 'bob', None\); give the",
        ),
        ([("1.jpg", "ann", float("nan"))], "leave out answers that lack one"),
        ([("1.jpg", "cat")], "answer 0 is"),
        ([("1.jpg", "ann", "cow")], "answer 0 names the class 'cow', which is none of 2; add it"),
    ],
)
def test_answers_that_lack_a_name_are_refused_in_a_sentence(answers: Any, sentence: str) -> None:
    with pytest.raises(ConsensusError, match=sentence):
        Named.of(answers, classes=["cat", "dog"])


def test_an_option_goes_to_the_method_that_takes_it() -> None:
    votes = votes_of([(0, 0, 1), (1, 0, 1)])
    assert aggregate(votes, method="dawid-skene", known=np.array([0, -1])).labels[0] == 0
    with pytest.raises(ConsensusError, match="the method majority takes no option 'known'; leave it out"):
        aggregate(votes, method="majority", known=np.array([0, -1]))
    with pytest.raises(
        ConsensusError, match="the method mace takes no option 'spread'; it takes competence, "
    ):
        aggregate(votes, method="mace", spread=1.0)


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        ("dawid_skene", {"smoothing": 0}, "smoothing is 0; give a number above 0"),
        ("one_coin", {"smoothing": np.inf}, "smoothing is inf; give a number above 0"),
        ("dawid_skene", {"rounds": 0}, "rounds=0 would leave nothing learned"),
        ("glad", {"rounds": 0}, "rounds=0 would leave nothing learned"),
        ("mace", {"tolerance": -1}, "the tolerance is below 0, or no number"),
        ("mace", {"frequency": [1.0]}, r"class frequencies are \[1.0\]; give .* each of 2"),
        ("aws", {"batch": 0}, "batch=0 objects cannot be looked at together"),
        ("auto", {"known": [0, -1]}, "give a numpy array with the class of each"),
        ("bayes", {"known": np.array([0, np.nan])}, "no row of whole numbers"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_a_sentence(
    method: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConsensusError, match=sentence):
        aggregate(votes_of([(0, 0, 0), (1, 0, 1)]), method=method, **options)


def test_sums_of_other_classes_are_not_taken_for_these() -> None:
    sums = Sums(votes_of([(0, 0, 0)]), 1, 2)
    with pytest.raises(ConsensusError, match="these sums are of 1 objects and 2 classes, and 1 and 3 are"):
        aggregate(sums, classes=3)


def test_the_benchmark_of_speed_prints_its_table_and_judges_it() -> None:
    told = subprocess.run(
        [sys.executable, BENCHMARK, "--objects", "500", "--runs", "1"],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "GTLABEL_CROWDKIT_PYTHON"},
        check=True,
    )
    assert "gtlabel dawid_skene" in told.stdout
    assert "held: both below 400 MB" in told.stdout
    assert "crowd-kit was not measured" in told.stdout


def test_a_comparison_with_nothing_to_compare_with_says_what_it_needs() -> None:
    told = subprocess.run(
        [sys.executable, BENCHMARK.with_name("consensus_same.py")],
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "GTLABEL_CROWDKIT_PYTHON"},
        check=False,
    )
    assert told.returncode == 1
    assert "set GTLABEL_CROWDKIT_PYTHON as --help says" in told.stdout


def _written_out(votes: Votes, objects: int, classes: int, rounds: int) -> NDArray[np.float64]:
    """Dawid and Skene's estimation from the shares of answers, with every matrix in full."""
    workers, eye = int(votes.workers.max()) + 1, np.eye(classes)
    said = eye[votes.classes]
    posterior = np.zeros((objects, classes))
    np.add.at(posterior, votes.objects, said)
    posterior[posterior.sum(axis=1) == 0] = said.mean(axis=0)
    posterior /= posterior.sum(axis=1, keepdims=True)
    for _ in range(rounds):
        confusion = np.full((workers, classes, classes), 0.01)
        np.add.at(confusion.transpose(0, 2, 1), (votes.workers, votes.classes), posterior[votes.objects])
        confusion /= confusion.sum(axis=2, keepdims=True)
        prior = posterior.sum(axis=0) + 0.01
        scores = np.tile(np.log(prior / prior.sum()), (objects, 1))
        np.add.at(scores, votes.objects, np.log(confusion)[votes.workers, :, votes.classes])
        scores -= scores.max(axis=1, keepdims=True)
        posterior = np.exp(scores)
        posterior /= posterior.sum(axis=1, keepdims=True)
    return posterior
