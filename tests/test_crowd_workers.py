"""Who to believe: workers judged by everybody else, and flags that are raised where somebody earned them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.crowd.beliefs import believe
from gtlabel.crowd.collusion import colluders
from gtlabel.crowd.confusions import Confusions
from gtlabel.crowd.drift import change
from gtlabel.crowd.simulated import KINDS, Kind, simulated
from gtlabel.crowd.votes import Votes
from gtlabel.crowd.workers import Profile, profiles, spammer_score
from gtlabel.errors import ConsensusError

BENCHMARK = Path(__file__).parent / "benchmarks" / "workers.py"
OBJECTS, WORKERS, CLASSES = 160, 8, 3
GUESSER, MODEL, COPIER, TIRED, HASTY, SWAPPED = range(6)


def crowd(*spoiled: int, seed: int = 0) -> tuple[Votes, np.ndarray, np.ndarray, np.ndarray]:
    """Votes, truth, moments and seconds of eight people who are right in nine of ten, but for the spoiled."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, CLASSES, OBJECTS)
    objects = np.repeat(np.arange(OBJECTS), WORKERS)
    workers = np.tile(np.arange(WORKERS), OBJECTS)
    wrong = random.random(len(objects)) > 0.9
    said = (truth[objects] + wrong * random.integers(1, CLASSES, len(objects))) % CLASSES
    seconds = np.exp(1.5 + 0.4 * random.standard_normal(len(objects)))
    if GUESSER in spoiled:
        said[workers == GUESSER] = random.integers(0, CLASSES, OBJECTS)
    if COPIER in spoiled:
        # Both are wrong more often than others, so that there is something to see.
        hard = random.random(OBJECTS) < 0.25
        said[workers == MODEL] = np.where(hard, (truth + 1) % CLASSES, truth)
        said[workers == COPIER] = said[workers == MODEL]
    if TIRED in spoiled:
        late = (workers == TIRED) & (objects > OBJECTS / 2) & (random.random(len(objects)) < 0.7)
        said[late] = (truth[objects[late]] + 1) % CLASSES
    if HASTY in spoiled:
        seconds[workers == HASTY] /= 8
    if SWAPPED in spoiled:
        said[workers == SWAPPED] = (truth + 1) % CLASSES
    return Votes(objects, workers, said), truth, objects.astype(float), seconds


def judged(*spoiled: int, seed: int = 0) -> list[Profile]:
    votes, _, moments, seconds = crowd(*spoiled, seed=seed)
    return profiles(votes, OBJECTS, CLASSES, moments=moments, seconds=seconds)


def flags(found: list[Profile]) -> dict[int, set[str]]:
    return {one.worker: {flag.kind for flag in one.flags} for one in found if one.flags}


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_flagged_where_all_do_their_best(seed: int) -> None:
    assert flags(judged(seed=seed)) == {}


def test_each_is_flagged_for_what_they_did_and_nobody_else() -> None:
    assert flags(judged(GUESSER, COPIER, TIRED, HASTY, SWAPPED)) == {
        GUESSER: {"spammer"},
        MODEL: {"copies"},
        COPIER: {"copies"},
        TIRED: {"drift"},
        HASTY: {"fast"},
        SWAPPED: {"contrary"},
    }


def test_a_flag_says_why_with_figures() -> None:
    found = judged(COPIER, TIRED)
    copied = found[COPIER].flags[0]
    assert copied.others == (MODEL,)
    assert copied.why.startswith("gave the same answer on 160 of 160 shared pictures; ")
    assert "got worse after" in found[TIRED].flags[0].why


def test_who_clicks_the_commonest_class_is_told_from_who_met_nothing_else() -> None:
    # Both said no each time. One had forty pictures that others call yes, the other had none.
    random = np.random.default_rng(2)
    truth = np.repeat([1, 0], [60, 240])
    said = [
        (o, f"w{w}", int(truth[o]) if random.random() < 0.95 else 1 - int(truth[o]))
        for o in range(300)
        for w in range(4)
    ]
    said += [(o, "blind", 0) for o in range(20, 160)] + [(o, "unlucky", 0) for o in range(160, 300)]
    found = profiles(Votes.of(said), 300, 2)
    assert {flag.kind for flag in found[0].flags} == {"spammer"}
    assert found[1].flags == ()
    assert found[1].informed.high > 0.5


def test_nobody_vouches_for_himself() -> None:
    votes = Votes.of([(o, f"w{o % 7}", o % 3) for o in range(90)])
    for one in profiles(votes, 90, 3):
        assert one.backed == 0
        assert one.flags == ()
        assert one.informed.low < 0.1
        assert one.informed.high > 0.9


def test_gold_counts_for_more_than_what_the_others_say() -> None:
    # Everybody but one calls the first class the second.
    truth = np.arange(90) % 3
    said = [
        (o, w, int(truth[o]) if w == "expert" else max(1, int(truth[o])))
        for o in range(90)
        for w in ("a", "b", "expert")
    ]
    blind = profiles(Votes.of(said), 90, 3)
    known = profiles(Votes.of(said), 90, 3, gold=truth)
    assert blind[2].gold is None
    assert known[2].gold is not None
    assert (known[2].gold_answers, known[2].gold.value) == (90, 1.0)
    assert known[2].accuracy.value > blind[2].accuracy.value
    assert known[0].gold is not None
    assert known[0].gold.value == pytest.approx(2 / 3)


def test_intervals_hold_what_a_worker_is_really_like() -> None:
    votes, truth, *_ = crowd()
    for one in profiles(votes, OBJECTS, CLASSES, level=0.999):
        mine = votes.workers == one.worker
        real = float((votes.classes[mine] == truth[votes.objects[mine]]).mean())
        assert one.accuracy.low < real < one.accuracy.high


@pytest.mark.parametrize("seed", [0, 1])
def test_with_three_answers_the_doubt_of_others_is_not_held_against_anybody(seed: int) -> None:
    drawn = simulated(KINDS["photos"], seed)
    votes, truth = drawn.votes, drawn.truth
    right = votes.classes == truth[votes.objects]
    busy = [each for each in profiles(votes, drawn.objects, drawn.classes) if each.answers >= 30]
    real = np.array([right[votes.workers == each.worker].mean() for each in busy])
    inside = [each.accuracy.low <= at <= each.accuracy.high for each, at in zip(busy, real, strict=True)]
    assert np.mean(inside) >= 0.9
    assert abs(np.mean([each.accuracy.value for each in busy]) - real.mean()) < 0.05

    maps = Confusions(believe(votes, drawn.objects, drawn.classes)).of([each.worker for each in busy])
    cells = []
    for each, found in zip(busy, maps, strict=True):
        said = np.zeros((drawn.classes, drawn.classes))
        mine = votes.workers == each.worker
        np.add.at(said, (truth[votes.objects[mine]], votes.classes[mine]), 1)
        met = said.sum(axis=1) >= 8
        of_class = (said / np.maximum(said.sum(axis=1, keepdims=True), 1))[met]
        cells.append((found.low[met] <= of_class + 1e-3) & (of_class <= found.high[met] + 1e-3))
    assert np.concatenate(cells).mean() >= 0.9


def test_a_map_shows_which_classes_somebody_swaps() -> None:
    votes, *_ = crowd(SWAPPED)
    people = Confusions(believe(votes, OBJECTS, CLASSES))
    found, everybody = people.of([SWAPPED, None])
    assert found.share.sum(axis=1) == pytest.approx(1.0)
    assert np.all((found.low <= found.share) & (found.share <= found.high))
    assert found.share.argmax(axis=1).tolist() == [1, 2, 0]
    assert {(one.truth, one.said) for one in people.mixups([SWAPPED], most=3)[0]} == {(0, 1), (1, 2), (2, 0)}
    for one in people.mixups([None, SWAPPED])[1]:
        assert one.share.value == pytest.approx(found.share[one.truth, one.said])
        assert one.share.low < one.share.value < one.share.high
    assert everybody.counts.sum() == pytest.approx(len(votes.objects))
    assert everybody.share.argmax(axis=1).tolist() == [0, 1, 2]


def test_of_a_class_that_somebody_never_met_little_is_known() -> None:
    votes, truth, *_ = crowd()
    kept = (votes.workers > 0) | (truth[votes.objects] > 0)
    fewer = Votes(votes.objects[kept], votes.workers[kept], votes.classes[kept])
    found = Confusions(believe(fewer, OBJECTS, CLASSES)).of([0])[0]
    width = found.high - found.low
    assert width[0, 0] > 3 * width[1, 1]


def test_rows_alike_are_a_spammers_and_rows_apart_a_perfect_workers() -> None:
    assert spammer_score(np.tile([0.2, 0.5, 0.3], (3, 1))) == pytest.approx(0)
    assert spammer_score(np.eye(4)) == pytest.approx(1)
    # Two classes: the square of sensitivity + specificity - 1 (Raykar & Yu 2012).
    assert spammer_score(np.array([[0.9, 0.1], [0.3, 0.7]])) == pytest.approx(0.6**2)
    # Who knows the class with 0.7 and else draws from a hat.
    assert spammer_score(0.7 * np.eye(3) + 0.3 * np.array([0.5, 0.3, 0.2])) == pytest.approx(0.7**2)


@given(st.integers(0, 10_000))
@settings(max_examples=8)
def test_other_names_and_another_order_give_the_same_judgment(seed: int) -> None:
    drawn = simulated(Kind(60, 4, 8, 3), seed)
    random = np.random.default_rng(seed)
    names, classes = random.permutation(drawn.workers), random.permutation(3)
    order = random.permutation(len(drawn.votes.objects))
    renamed = Votes(
        random.permutation(60)[drawn.votes.objects][order],
        names[drawn.votes.workers][order],
        classes[drawn.votes.classes][order],
    )
    before, after = profiles(drawn.votes, 60, 3), profiles(renamed, 60, 3)
    for one in before:
        other = after[names[one.worker]]
        assert other.answers == one.answers
        assert other.accuracy.value == pytest.approx(one.accuracy.value, abs=1e-6)
        assert other.informed.value == pytest.approx(one.informed.value, abs=1e-6)


def test_what_everybody_has_answered_hides_nobody_who_copies() -> None:
    random = np.random.default_rng(0)
    objects, workers = np.repeat(np.arange(600), 3), np.tile(np.arange(3), 600)
    truth = random.integers(0, 3, 600)
    said = np.where(random.random(1800) < 0.8, truth[objects], random.integers(0, 3, 1800))
    copied = random.integers(0, 3, 60)
    votes = Votes(
        np.concatenate([objects, np.repeat(np.arange(60), 2), np.repeat(np.arange(600, 605), 1800)]),
        np.concatenate([workers, np.tile([3, 4], 60), np.tile(np.arange(1800), 5)]),
        np.concatenate([said, np.repeat(copied, 2), np.zeros(9000, np.intp)]),
    )
    assert [(pair.first, pair.second) for pair in colluders(believe(votes, 605, 3))] == [(3, 4)]


def test_a_change_is_found_where_it_happened() -> None:
    right = np.r_[np.tile([1.0, 1, 1, 1, 0], 20), np.tile([1.0, 0, 0, 0, 0], 20)]
    found = change(np.arange(200.0)[::-1], right[::-1])
    assert found is not None
    assert abs(found.at - 100) <= 5
    assert found.before > 0.7
    assert found.after < 0.3
    assert found.chance < 1e-6


def test_chance_of_a_change_is_no_smaller_than_how_often_it_happens() -> None:
    random = np.random.default_rng(5)
    chances = []
    for _ in range(400):
        found = change(np.arange(80.0), (random.random(80) < 0.85).astype(float))
        chances.append(1.0 if found is None else found.chance)
    assert np.mean(np.array(chances) < 0.05) <= 0.05


def test_crowds_without_answers_and_arrays_of_another_length_are_told() -> None:
    assert profiles(Votes.of([]), 3, 2) == []
    votes = Votes.of([(0, "a", 0), (0, "b", 1)])
    with pytest.raises(ConsensusError, match="`seconds` wants one number for each of 2 answers"):
        profiles(votes, 1, 2, seconds=[1.0])
    with pytest.raises(ConsensusError, match="gold wants one class below 2"):
        profiles(votes, 1, 2, gold=np.array([5]))


def test_the_table_of_false_alarms_is_printed() -> None:
    program = [sys.executable, str(BENCHMARK), "--seeds", "1", "--kinds", "1"]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "copies     false alarms in   0.0% of crowds" in ran.stdout
