"""Labels while answers arrive."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.crowd.online import Online
from gtlabel.engine.consensus import METHODS, Consensus, Votes, dawid_skene
from gtlabel.errors import ConsensusError

ANSWERS = st.lists(
    st.tuples(st.integers(0, 9), st.sampled_from(["ann", "bob", "eve", "joe"]), st.integers(0, 2)),
    max_size=80,
)


@pytest.mark.parametrize("method", ["auto", "aws", "dawid_skene", "glad", "majority"])
@given(ANSWERS)
@settings(max_examples=8, deadline=None)
def test_settled_labels_are_those_of_all_answers_at_once(
    method: str, answers: list[tuple[int, str, int]]
) -> None:
    online = Online(3, method=METHODS[method])
    for answer in answers:
        online.add(*answer)
        assert online.posterior(answer[0]).sum() == pytest.approx(1)
    settled = online.settle()
    at_once = METHODS[method](online.votes, online.objects, 3)
    np.testing.assert_allclose(settled.posterior, at_once.posterior, atol=1e-12)
    for number, expected in enumerate(at_once.posterior):
        np.testing.assert_allclose(online.posterior(number), expected, atol=1e-9)


@pytest.mark.parametrize("method", ["auto", "dawid_skene", "mace"])
@given(ANSWERS, st.sets(st.integers(0, 79)), st.randoms(use_true_random=False))
@settings(max_examples=6, deadline=None)
def test_neither_when_answers_came_nor_fits_in_between_matter_in_the_end(
    method: str, answers: list[tuple[int, str, int]], fits: set[int], random: Random
) -> None:
    streamed = Online(3, 10, method=METHODS[method], growth=1e9)
    for place, (number, who, class_) in enumerate(answers):
        streamed.add(number, who, class_)
        if place in fits:
            streamed.settle()
    again = streamed.settle().posterior
    np.testing.assert_allclose(streamed.settle().posterior, again, atol=1e-12)
    shuffled = Online(3, 10, method=METHODS[method])
    for answer in random.sample(answers, len(answers)):
        shuffled.add(*answer)
    np.testing.assert_allclose(shuffled.settle().posterior, again, atol=1e-3)


@given(st.permutations(["ann", "bob", "eve", "joe", "newcomer"]), st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_one_image_after_another_gets_the_same_label_in_whichever_order_its_answers_come(
    who: list[str], class_: int
) -> None:
    online = Online(3, method=dawid_skene, growth=1e9)
    for number in range(30):
        for place, name in enumerate(("ann", "bob", "eve", "joe")):
            online.add(number, name, (number + (place == 3) * (number % 2)) % 3)
    online.settle()
    for name in ("ann", "bob", "eve", "joe", "newcomer"):
        online.add(30, name, (class_ + (name == "joe")) % 3)
    for name in who:
        online.add(31, name, (class_ + (name == "joe")) % 3)
    np.testing.assert_allclose(online.posterior(31), online.posterior(30), rtol=1e-9)
    assert int(online.posterior(31).argmax()) == class_


def test_labels_on_the_way_are_nearly_as_good_as_those_of_all_answers() -> None:
    random = np.random.default_rng(3)
    truth, skill = random.integers(4, size=400), np.array([0.95, 0.9, 0.8, 0.5, 0.4, 0.4])
    online, right, counted = Online(4), 0.0, 0.0
    for number, class_ in enumerate(truth):
        said = np.zeros(4)
        for who in random.permutation(6)[:3]:
            wrong = (class_ + random.integers(1, 4)) % 4
            named = int(class_ if random.random() < skill[who] else wrong)
            online.add(number, int(who), named)
            said[named] += 1
        right += online.posterior(number).argmax() == class_
        counted += (said[class_] == said.max()) / (said == said.max()).sum()
    at_once = (online.settle().labels == truth).sum()
    # The first ones are labeled before anybody is known.
    assert counted + 15 < right
    assert right > at_once - 30


def test_fits_come_ever_more_rarely() -> None:
    sizes = []

    def counted(votes: Votes, objects: int, classes: int) -> Consensus:
        sizes.append(len(votes.objects))
        return dawid_skene(votes, objects, classes)

    online = Online(2, 100, method=counted)
    for number in range(1000):
        online.add(number % 100, number // 100, number % 2)
    assert sizes[0] == 20
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(sizes))
    assert sum(sizes) < 3 * sizes[-1]


def test_an_answer_counts_at_once_and_by_who_gave_it() -> None:
    online = Online(2, 60, method=dawid_skene)
    for number in range(50):
        for who in ("ann", "bob", "joe"):
            online.add(number, who, number % 2)
        online.add(number, "eve", int(number % 3 == 0))
    online.settle()
    even = online.posterior(55)
    online.add(55, "eve", 1)
    doubtful = online.posterior(55)[1]
    online.add(56, "ann", 1)
    assert even[1] == pytest.approx(0.5, abs=0.05)
    assert online.posterior(56)[1] > 0.95 > doubtful


def test_somebody_new_is_taken_for_one_of_the_crowd_and_objects_may_be_added() -> None:
    online = Online(2)
    for number in range(30):
        for who in ("ann", "bob"):
            online.add(number, who, number % 2)
    online.add(40, "newcomer", 1)
    assert online.objects == 41
    assert online.workers == ["ann", "bob", "newcomer"]
    assert 0.7 < online.posterior(40)[1] < 1
    assert online.posterior(35)[1] == pytest.approx(0.5, abs=0.1)


def test_answers_that_cannot_be_are_refused() -> None:
    online = Online(2, 3)
    with pytest.raises(ConsensusError, match="names class 2, and there are 2"):
        online.add(0, "ann", 2)
    with pytest.raises(ConsensusError, match="names object -1; number the objects from 0"):
        online.add(-1, "ann", 0)
    with pytest.raises(ConsensusError, match="there is no object 3; there are 3 so far"):
        online.posterior(3)
    with pytest.raises(ConsensusError, match="growth is 0; give a number above 0"):
        Online(2, growth=0)
