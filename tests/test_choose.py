"""Choosing: which labels count, and how many pictures of a class."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.errors import DatasetError
from gtlabel.manifests.choose import Choice, capped
from gtlabel.manifests.merge import Label

NOON = datetime(2026, 11, 22, 12)


def label(**facts: Any) -> Label:
    return Label("s3://photos/1.jpg", **{"class_name": "Compost", "job": "bins", "created": NOON, **facts})


@pytest.mark.parametrize(
    ("choice", "admitted", "refused"),
    [
        (Choice(human_only=True), {"by_human": True}, {"by_human": False}),
        (Choice(min_confidence=0.8), {"confidence": 0.8}, {"confidence": 0.79}),
        (Choice(min_confidence=0.8), {"confidence": 0.0}, {"confidence": 0.01}),
        (Choice(min_confidence=0.8), {"confidence": None}, {"confidence": 0.5}),
        (Choice(jobs=frozenset(["BINS"])), {"job": "bins"}, {"job": "other"}),
        (Choice(jobs=frozenset(["bins"])), {"job": "Bins"}, {"job": None}),
        (Choice(classes=frozenset(["Compost"])), {}, {"class_name": "compost"}),
        (Choice(after=NOON), {"created": NOON}, {"created": NOON - timedelta(microseconds=1)}),
        (Choice(after=NOON), {}, {"created": None}),
        (Choice(before=NOON), {"created": NOON - timedelta(microseconds=1)}, {"created": NOON}),
        (Choice(before=NOON), {"created": datetime.min}, {"created": None}),
    ],
)
def test_a_label_counts_that_meets_the_condition(
    choice: Choice, admitted: dict[str, Any], refused: dict[str, Any]
) -> None:
    assert choice.filters
    assert choice.admits(label(**admitted))
    assert not choice.admits(label(**refused))


def test_without_conditions_every_label_counts() -> None:
    assert not Choice(cap_per_class=3).filters
    assert Choice().admits(label(created=None, job=None, confidence=0.01, by_human=False))


def test_moments_with_a_zone_are_compared_as_the_utc_that_ground_truth_writes() -> None:
    east = NOON.replace(tzinfo=timezone(timedelta(hours=2)))
    assert Choice(after=east).after == NOON - timedelta(hours=2)
    assert Choice(before=NOON.replace(tzinfo=UTC)).before == NOON


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        ({"min_confidence": 1.5}, "the least confidence lies between 0 and 1, and 1.5 does not"),
        ({"min_confidence": float("nan")}, "and nan does not"),
        ({"cap_per_class": 0}, "a cap of 0 pictures a class leaves none"),
        ({"after": NOON, "before": NOON}, "no label is made after .* and before"),
    ],
)
def test_a_condition_that_no_label_meets_is_refused(facts: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DatasetError, match=sentence):
        Choice(**facts)


images = st.dictionaries(
    st.integers(0, 500).map(lambda n: f"s3://b/{n}"), st.sampled_from("abc"), max_size=60
)


@given(given=images, cap=st.integers(1, 30), seed=st.randoms(use_true_random=False))
def test_a_cap_leaves_so_many_of_each_class_whatever_their_order(
    given: dict[str, str], cap: int, seed: Any
) -> None:
    shuffled = list(given.items())
    seed.shuffle(shuffled)
    kept = list(capped(shuffled, cap))
    assert sorted(kept) == sorted(capped(given.items(), cap))
    for name in "abc":
        everyone = [image for image, of in given.items() if of == name]
        assert len([image for image in kept if given[image] == name]) == min(cap, len(everyone))
    assert set(kept) <= set(capped(given.items(), cap + 1))
