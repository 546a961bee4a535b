"""Which objects get another answer, and when there are enough."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.crowd.methods import aggregate
from gtlabel.crowd.redundancy import Redundancy, confusion_of, error_range, worth_of_another
from gtlabel.crowd.replay import fixed, replay, subset
from gtlabel.crowd.simulated import Kind, simulated
from gtlabel.crowd.votes import Consensus, Votes
from gtlabel.errors import RedundancyError


def votes_on(*counts: int) -> Votes:
    """So many answers for each object, by workers who answer once, all for class 0."""
    objects = np.repeat(np.arange(len(counts)), counts)
    return Votes(objects, np.arange(len(objects)), np.zeros(len(objects), dtype=np.intp))


def sure(*probabilities: float) -> np.ndarray:
    """The posterior of objects of two classes."""
    return np.array([[each, 1 - each] for each in probabilities])


def right_in(share: float) -> np.ndarray:
    """What people say who are right about either of two classes in this share of the cases."""
    return np.array([[share, 1 - share], [1 - share, share]])


def by_votes(votes: Votes, objects: int, classes: int) -> Consensus:
    """A method that is cheap and honest about few answers: shares, drawn to even ones."""
    counts = np.full((objects, classes), 0.25)
    np.add.at(counts, (votes.objects, votes.classes), 1)
    return Consensus(counts / counts.sum(axis=1, keepdims=True), None, None, "shares", 1, None)


def test_every_object_first_gets_the_first_answers() -> None:
    ask = Redundancy(first=2, most=5).ask(votes_on(0, 1, 2, 0), sure(0.5, 0.9, 1.0, 0.5))
    assert ask.more.tolist() == [2, 1, 0, 2]
    assert (ask.given, ask.done, ask.why) == (3, False, "going on")


def test_what_is_on_its_way_is_not_asked_for_again() -> None:
    policy, posterior = Redundancy(first=2, most=5, error=0.05), sure(0.5, 0.9, 0.99)
    on_the_way = np.array([2, 0, 1])
    assert policy.ask(votes_on(0, 2, 1), posterior, pending=on_the_way).more.tolist() == [0, 0, 0]
    ask = policy.ask(votes_on(2, 2, 2), posterior, pending=np.array([1, 0, 0]))
    assert (ask.more.tolist(), ask.done) == ([0, 0, 0], False)


def test_only_as_many_doubtful_objects_are_asked_about_as_could_be_enough() -> None:
    posterior = sure(0.5, 1.0, 0.6, 0.99, 0.7)
    votes = votes_on(2, 2, 2, 2, 2)
    found = {
        error: Redundancy(error=error).ask(votes, posterior).more.tolist() for error in (0.3, 0.2, 0.1, 0.01)
    }
    assert found == {0.3: [0] * 5, 0.2: [1, 0, 0, 0, 0], 0.1: [1, 0, 1, 0, 0], 0.01: [1, 0, 1, 0, 1]}


def test_it_ends_for_a_small_error_a_spent_budget_or_when_nobody_may_get_more() -> None:
    votes, posterior = votes_on(2, 3), sure(0.6, 0.97)
    assert Redundancy(error=0.25).ask(votes, posterior).why == "error"
    assert Redundancy(error=0.1, budget=5).ask(votes, posterior).why == "budget"
    assert Redundancy(error=0.1, most=3).ask(votes, posterior, limit=np.array([2, 3])).why == "most"
    assert Redundancy(error=0.1, most=3).ask(votes, posterior).more.tolist() == [1, 0]


def test_an_expected_error_goes_with_a_range_that_is_no_share_above_one() -> None:
    least, most = error_range(0.1)
    assert 0 < least < 0.1 < most < 1
    assert error_range(0.5)[1] == 1
    assert error_range(0.0) == (0, 0)


def test_second_rounds_wait_for_nine_objects_in_ten_and_not_for_the_last() -> None:
    policy = Redundancy(first=2, most=5, error=0.01)
    posterior = sure(*[0.6] * 10)
    waiting = np.zeros(10, dtype=np.intp)
    waiting[:2] = 1
    assert not policy.ask(votes_on(1, 1, *[2] * 8), posterior, pending=waiting).more.any()
    waiting[1] = 0
    asked = policy.ask(votes_on(1, *[2] * 9), posterior, pending=waiting).more
    assert asked[0] == 0
    assert asked[1:].all()


def test_an_object_that_no_two_answers_could_change_is_worth_less_than_a_tied_one() -> None:
    ahead = np.array([2, 2, 2, 2, 1])
    worth = worth_of_another(sure(0.5, 0.9, 0.95, 1.0, 0.9), right_in(0.8), ahead=ahead)
    assert worth[0] == pytest.approx(0.3)  # one answer of a worker who is right in 80 of 100
    assert worth[0] > worth[1] > worth[2] == worth[3] == 0
    assert worth[4] == 0  # two answers could change it, and it may have one
    lopsided = np.array([[0.9, 0.1, 0.0], [0.0, 0.6, 0.4], [0.0, 0.4, 0.6]])
    among_three = worth_of_another(np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]), lopsided, ahead[:2])
    assert among_three[0] > 2 * among_three[1]  # the second and third class look alike to people
    assert worth_of_another(np.ones((2, 1)), np.ones((1, 1)), ahead=ahead[:2]).tolist() == [0, 0]


@pytest.mark.parametrize("error", [0.0, 0.01, 0.05, 0.2])
def test_nobody_is_asked_for_what_would_do_little_good_next_to_the_error_that_is_wanted(error: float) -> None:
    posterior = sure(*np.linspace(0.5, 0.999, 40))
    votes = votes_on(*[2] * len(posterior))
    worth = worth_of_another(posterior, confusion_of(votes, posterior), np.full(len(posterior), 7))
    asked = Redundancy(first=2, most=9, error=error).ask(votes, posterior).more > 0
    assert worth[asked].min() > 0.1 * error
    assert worth[asked].min() >= worth[~asked].max(initial=0)
    # What is so much in doubt that the wanted error cannot be had without it is asked about.
    assert asked[0]


def test_a_job_that_asks_all_alike_gets_the_objects_on_which_so_many_answers_help_most() -> None:
    posterior = sure(0.5, 0.99, 0.7, 0.6)
    found = Redundancy(first=1, most=6, error=0.26).at_once(votes_on(2, 2, 2, 2), posterior, 2)
    assert found.more.tolist() == [2, 0, 0, 0]
    all_in_doubt = Redundancy(first=1, most=6, error=0.0).at_once(votes_on(4, 4, 4, 5), posterior, 2)
    assert all_in_doubt.more.tolist() == [2, 0, 2, 0]
    paid = Redundancy(first=1, most=6, error=0.0, budget=13).at_once(votes_on(2, 2, 2, 2), posterior, 2)
    assert paid.more.tolist() == [2, 0, 0, 2]
    assert Redundancy(first=1, error=0.31).at_once(votes_on(2, 2, 2, 2), posterior, 2).why == "error"
    with pytest.raises(RedundancyError, match="0 further answers each are none"):
        Redundancy().at_once(votes_on(2, 2, 2, 2), posterior, 0)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_the_names_of_objects_classes_and_workers_and_the_order_of_answers_do_not_matter(
    data: st.DataObject,
) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    objects, classes, answers = 12, data.draw(st.integers(2, 4)), 40
    votes = Votes(
        random.integers(objects, size=answers),
        random.integers(6, size=answers),
        random.integers(classes, size=answers),
    )
    posterior = random.dirichlet(np.ones(classes), size=objects)
    policy = Redundancy(first=1, most=8, error=0.05, budget=data.draw(st.sampled_from([None, 60])))
    asked = policy.ask(votes, posterior).more
    moved, named, people = (random.permutation(count) for count in (objects, classes, 6))
    order = random.permutation(answers)
    renamed = Votes(moved[votes.objects][order], people[votes.workers][order], named[votes.classes][order])
    other = np.empty_like(posterior)
    other[np.ix_(moved, named)] = posterior
    assert policy.ask(renamed, other).more[moved].tolist() == asked.tolist()


@given(
    st.integers(0, 1000),
    st.integers(1, 3),
    st.integers(0, 4),
    st.one_of(st.none(), st.integers(1, 150)),
    st.sampled_from([0.0, 0.05, 0.2]),
)
@settings(max_examples=40, deadline=None)
def test_no_replay_spends_more_than_was_allowed_or_recorded(
    seed: int, first: int, further: int, budget: int | None, error: float
) -> None:
    random = np.random.default_rng(seed)
    objects = np.repeat(np.arange(20), random.integers(1, 9, size=20))
    votes = Votes(objects, random.integers(10, size=len(objects)), random.binomial(1, 0.7, size=len(objects)))
    policy = Redundancy(first, first + further, error, budget)
    played = replay(votes, 20, 2, policy, by_votes, seed)
    given = np.bincount(votes.objects[played.used], minlength=20)
    recorded = np.bincount(votes.objects, minlength=20)
    assert (given <= np.minimum(recorded, policy.most)).all()
    assert played.ask.given == played.used.sum() <= (budget or len(objects))
    if budget is None:
        assert (given >= np.minimum(recorded, first)).all()
    if played.ask.why == "error":
        assert played.ask.expected_error <= error
    else:
        assert played.ask.expected_error > error


def test_a_replay_hands_out_answers_in_the_order_they_were_recorded_or_by_its_seed() -> None:
    votes = Votes(np.array([0, 1, 0, 1, 0]), np.arange(5), np.array([1, 0, 0, 0, 0]))
    policy = Redundancy(first=1, most=1)
    assert replay(votes, 2, 2, policy, by_votes).used.tolist() == [True, True, False, False, False]
    assert fixed(votes, 2, 2).tolist() == [True, True, True, True, False]
    assert fixed(votes, 2, np.array([1, 2])).tolist() == [True, True, False, True, False]
    drawn = {tuple(replay(votes, 2, 2, policy, by_votes, seed).used) for seed in range(20)}
    assert len(drawn) == 6
    for seed in range(5):
        first = fixed(votes, 2, 1, seed)
        assert (fixed(votes, 2, 2, seed) >= first).all()
    left = subset(votes, np.array([False, True, False, False, True]))
    assert (left.objects.tolist(), left.workers.tolist(), left.classes.tolist()) == ([1, 0], [0, 1], [0, 0])


def test_a_crowd_of_good_workers_gives_the_labels_of_five_answers_for_three_in_five_of_them() -> None:
    kind = Kind(300, 9, 40, 3, 0.3, (9, 2), hard=0.1)
    five, adaptive = [], []
    for seed in range(3):
        crowd = simulated(kind, seed)
        usual = subset(crowd.votes, fixed(crowd.votes, crowd.objects, 5, seed))
        policy = Redundancy(first=2, most=9, error=0.0, budget=int(0.6 * len(usual.objects)))

        def label(votes: Votes, objects: int, classes: int) -> Consensus:
            return aggregate(votes, objects, classes, "wawa")

        played = replay(crowd.votes, crowd.objects, crowd.classes, policy, label, seed)
        assert played.used.sum() <= 0.6 * len(usual.objects)
        majority = aggregate(usual, crowd.objects, crowd.classes, "majority")
        five.append((majority.labels == crowd.truth).mean())
        adaptive.append((played.consensus.labels == crowd.truth).mean())
    assert np.mean(adaptive) >= np.mean(five)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", Redundancy(2, 5)),
        ("first=1", Redundancy(1, 5)),
        ("first=3 error=0.1 budget=400", Redundancy(3, 5, 0.1, 400)),
    ],
)
def test_a_tag_says_what_is_otherwise_than_usual(text: str, meant: Redundancy) -> None:
    assert Redundancy.parse(text, most=5) == meant
    assert Redundancy.parse(str(meant), most=5) == meant


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("frist=2", "'frist=2' in redundancy 'frist=2' is not understood"),
        ("first=2 first=3", "'first=3' in redundancy"),
        ("first=two", "'first=two' in redundancy 'first=two' lacks its number; write it like first=2"),
        ("first=6", "first=6 answers cannot be had of at most 5"),
        ("first=0", "first=0 answers cannot be had"),
        ("error=1", "error=1.0 is no share of wrong labels"),
        ("error=nan", "error=nan is no share of wrong labels"),
        ("budget=0", "budget=0 buys no answer"),
    ],
)
def test_a_tag_that_makes_no_sense_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(RedundancyError, match=re.escape(reason)):
        Redundancy.parse(text, most=5)


def test_the_benchmark_prints_what_five_votes_and_fewer_are_worth() -> None:
    program = Path(__file__).parent / "benchmarks" / "redundancy.py"
    options = ["--seeds", "2", "--kinds", "1", "--objects", "60", "--crowds", "/nowhere"]
    run = subprocess.run(
        [sys.executable, str(program), *options], capture_output=True, text=True, timeout=120
    )
    assert run.stderr == ""
    assert re.search(r"^photos +auto +[\d.]+ +[\d.]+ .* 60\.0% ", run.stdout, re.MULTILINE), run.stdout
    assert run.returncode == ("\nmissed: " in run.stdout)
