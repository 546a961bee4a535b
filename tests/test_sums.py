"""Sums over answers are what adding one answer after the other gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gtlabel.crowd.sums import Sums, Sweep
from gtlabel.crowd.votes import Votes


@st.composite
def crowds(draw: st.DrawFn) -> tuple[Votes, int, int]:
    """Answers on up to 30 objects: none on some, and on others more than are added side by side."""
    objects, classes = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    seed, answers = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 200))
    random = np.random.default_rng(seed)
    about = (objects * random.random(answers) ** draw(st.sampled_from([1, 5]))).astype(np.intp)
    # Worker numbers leave gaps, and are now and then too large for a table of all that could be.
    workers = random.integers(0, 8, answers) * draw(st.sampled_from([1, 3, 100_000]))
    return Votes(about, workers, random.integers(0, classes, answers)), objects, classes


def _added_to_objects(
    sums: Sums, places: NDArray[np.intp], table: NDArray[np.float64]
) -> NDArray[np.float64]:
    total = np.zeros((len(table), sums.objects))
    for object_, pair in zip(sums.votes.objects, sums.pair_of, strict=True):
        total[:, object_] += table[:, pair]
    return total[:, places]


def _added_to_pairs(
    sums: Sums, places: NDArray[np.intp], believed: NDArray[np.float64]
) -> NDArray[np.float64]:
    total = np.zeros((len(believed), len(sums.pair_class)))
    column = {place: number for number, place in enumerate(places.tolist())}
    for object_, pair in zip(sums.votes.objects.tolist(), sums.pair_of, strict=True):
        if object_ in column:
            total[:, pair] += believed[:, column[object_]]
    return total


def _right(sums: Sums, sweep: Sweep, random: np.random.Generator) -> None:
    table = random.random((3, len(sums.pair_class)))
    np.testing.assert_allclose(sweep.to_objects(table), _added_to_objects(sums, sweep.places, table))
    believed = random.random((2, len(sweep.places)))
    np.testing.assert_allclose(sweep.to_pairs(believed), _added_to_pairs(sums, sweep.places, believed))


@given(crowds(), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_sums_over_all_objects_over_some_and_over_some_of_those(
    crowd: tuple[Votes, int, int], seed: int
) -> None:
    votes, objects, classes = crowd
    sums, random = Sums(votes, objects, classes), np.random.default_rng(seed)
    _right(sums, sums.whole, random)
    some = sums.whole.part(random.random(objects) < 0.6)
    _right(sums, some, random)
    _right(sums, some.part(random.random(len(some.places)) < 0.5), random)


@given(crowds())
@settings(max_examples=40, deadline=None)
def test_pairs_are_the_workers_and_the_classes_that_they_named(crowd: tuple[Votes, int, int]) -> None:
    votes, objects, classes = crowd
    sums = Sums(votes, objects, classes)
    assert np.array_equal(sums.pair_worker[sums.pair_of], votes.workers)
    assert np.array_equal(sums.pair_class[sums.pair_of], votes.classes)
    pairs = set(zip(votes.workers.tolist(), votes.classes.tolist(), strict=True))
    assert list(zip(sums.pair_worker.tolist(), sums.pair_class.tolist(), strict=True)) == sorted(pairs)
    sizes = np.bincount(sums.pair_of, minlength=len(sums.pair_class)).astype(np.float64)
    named = sums.to_workers(sizes)
    assert np.array_equal(named, sums.given)


def test_many_classes_and_objects_are_added_in_the_same_way_row_by_row() -> None:
    random = np.random.default_rng(0)
    objects, answers = 40_000, 90_000
    votes = Votes(
        random.integers(0, objects, answers), random.integers(0, 50, answers), random.integers(0, 8, answers)
    )
    sums = Sums(votes, objects, 8)
    table = random.random((8, len(sums.pair_class)))
    expected = np.stack([np.bincount(votes.objects, row[sums.pair_of], objects) for row in table])
    np.testing.assert_allclose(sums.to_objects(table), expected)
    believed = random.random((8, objects))
    expected = np.stack(
        [np.bincount(sums.pair_of, row[votes.objects], len(sums.pair_class)) for row in believed]
    )
    np.testing.assert_allclose(sums.to_pairs(believed), expected)
