"""The decisions behind deployments to many devices: when each hears, what each runs, which version fits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.emulator.dependencies import Unresolved, requirements_of, resolve
from gtlabel.emulator.rollout import Pace, gives_up, release
from gtlabel.emulator.union import Part, VersionConflict, union_of
from gtlabel.emulator.versions import Version, satisfies
from gtlabel.errors import RecipeError

START = datetime(2026, 11, 22, 12, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


paces = st.one_of(
    st.builds(Pace, st.just(START), maximum=st.integers(1, 4)),
    st.builds(
        Pace,
        st.just(START),
        maximum=st.integers(1, 9),
        base=st.integers(1, 3),
        factor=st.sampled_from([1.1, 1.5, 2.0, 5.0]),
        each_notified=st.none() | st.integers(1, 4),
        each_succeeded=st.none() | st.integers(1, 4),
    ),
)
waiting = st.lists(st.integers(0, 600), max_size=12).map(
    lambda seconds: [(f"camera-{number}", later(second)) for number, second in enumerate(seconds)]
)
times = st.integers(0, 3600).map(later)


@settings(max_examples=60, deadline=None)
@given(paces, waiting, st.lists(times, max_size=6), times)
def test_no_minute_lets_more_devices_through_than_the_pace_allows(
    pace: Pace, queue: list[tuple[str, datetime]], succeeded: list[datetime], now: datetime
) -> None:
    released = [time for _, time in release(pace, queue, [], succeeded, now)]
    for minute in {(time - START) // timedelta(minutes=1) for time in released}:
        begin = START + minute * timedelta(minutes=1)
        rate = pace.per_minute(sum(t < begin for t in released), sum(t < begin for t in succeeded))
        assert rate is not None
        assert sum(begin <= time < begin + timedelta(minutes=1) for time in released) <= rate


@settings(max_examples=60, deadline=None)
@given(paces, waiting, st.lists(times, max_size=6), times, times)
def test_it_does_not_matter_who_looked_in_between(
    pace: Pace, queue: list[tuple[str, datetime]], succeeded: list[datetime], one: datetime, other: datetime
) -> None:
    early, late = sorted((one, other))
    first = release(pace, queue, [], succeeded, early)
    gone = {thing for thing, _ in first}
    rest = [item for item in queue if item[0] not in gone]
    second = release(pace, rest, [time for _, time in first], succeeded, late)
    assert sorted(first + second) == sorted(release(pace, queue, [], succeeded, late))


@settings(max_examples=60, deadline=None)
@given(paces, waiting)
def test_every_device_hears_of_it_in_the_end_and_none_before_it_waited(
    pace: Pace, queue: list[tuple[str, datetime]]
) -> None:
    released = dict(release(pace, queue, [], [], later(3600 * 24)))
    assert released.keys() == {thing for thing, _ in queue}
    assert all(released[thing] >= since for thing, since in queue)
    order = sorted(queue, key=lambda item: item[1])
    assert all(released[one] <= released[two] for (one, _), (two, _) in pairwise(order))


def test_without_a_pace_all_hear_of_it_at_once() -> None:
    queue = [("one", later(5)), ("two", later(1))]
    assert release(Pace.of(START, {}), queue, [], [], later(5)) == [("two", later(1)), ("one", later(5))]


@pytest.mark.parametrize(
    ("kind", "share", "least", "statuses", "over"),
    [
        ("FAILED", 50, 2, "FAILED", False),
        ("FAILED", 50, 2, "FAILED SUCCEEDED", True),
        ("FAILED", 51, 2, "FAILED SUCCEEDED", False),
        ("FAILED", 50, 2, "FAILED QUEUED IN_PROGRESS CANCELED", False),
        ("TIMED_OUT", 50, 1, "FAILED FAILED", False),
        ("ALL", 100, 3, "FAILED TIMED_OUT REJECTED", True),
        ("ALL", 1, 1, "SUCCEEDED", False),
    ],
)
def test_a_rollout_is_given_up_by_the_share_of_those_that_are_done(
    kind: str, share: float, least: int, statuses: str, over: bool
) -> None:
    criterion = {
        "failureType": kind,
        "action": "CANCEL",
        "thresholdPercentage": share,
        "minNumberOfExecutedThings": least,
    }
    configuration = {"abortConfig": {"criteriaList": [criterion]}}
    assert (gives_up(configuration, statuses.split()) == criterion) is over


names = st.sampled_from(["app", "lib", "log"])
versions = st.sampled_from(["1.0.0", "1.1.0", "2.0.0"])
parts = st.lists(
    st.builds(
        Part,
        st.sampled_from(["thing/one", "thinggroup/a", "thinggroup/b"]),
        st.dictionaries(names, versions.map(lambda version: {"componentVersion": version})),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(parts)
def test_a_device_runs_all_that_its_targets_want_or_hears_of_the_conflict(wishes: list[Part]) -> None:
    wanted: dict[str, set[str]] = {}
    for part in wishes:
        for name, spec in part.components.items():
            wanted.setdefault(name, set()).add(spec["componentVersion"])
    contradictory = {name for name, found in wanted.items() if len(found) > 1}
    if contradictory:
        with pytest.raises(VersionConflict) as refused:
            union_of(wishes)
        assert refused.value.component in contradictory
    else:
        union = union_of(wishes)
        assert {name: {spec["componentVersion"]} for name, spec in union.items()} == wanted


catalogs = st.dictionaries(
    names,
    st.dictionaries(
        versions,
        st.dictionaries(names, st.sampled_from(["*", "^1.0.0", ">=1.1.0", "2.0.0"])).map(
            lambda needs: {"ComponentDependencies": {k: {"VersionRequirement": v} for k, v in needs.items()}}
        ),
        min_size=1,
    ),
    min_size=1,
)


@settings(max_examples=60, deadline=None)
@given(catalogs, st.data())
def test_what_is_resolved_meets_every_requirement_and_comes_in_order(
    catalog: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    roots = {
        name: data.draw(st.sampled_from(sorted(found)))
        for name, found in catalog.items()
        if data.draw(st.booleans())
    }
    try:
        chosen = resolve(roots, lambda name: catalog.get(name, {}))
    except Unresolved:
        return
    assert {name: chosen[name] for name in roots} == roots
    before: set[str] = set()
    for name, version in chosen.items():
        for other, wish in requirements_of(catalog[name][version]).items():
            assert other in before
            assert satisfies(chosen[other], wish)
        before.add(name)


# As npm's own `semver` 7 answers.
@pytest.mark.parametrize(
    ("requirement", "met", "unmet"),
    [
        ("^1.2.3", "1.2.3 1.9.0", "1.2.2 2.0.0 2.0.0-rc.1 1.3.0-rc.1"),
        ("^0.2.3", "0.2.3 0.2.9", "0.3.0 1.0.0"),
        ("^0.0.3", "0.0.3", "0.0.4"),
        ("^0.x", "0.0.0 0.9.9", "1.0.0"),
        ("~1.2.3", "1.2.3 1.2.9", "1.3.0"),
        ("~1", "1.0.0 1.9.9", "2.0.0"),
        (">=1.0.0 <2.0.0", "1.0.0 1.9.9", "0.9.9 2.0.0"),
        (">= 1.0.0 < 2.0.0", "1.5.0", "2.0.0"),
        ("1.x || 3.0.0", "1.2.3 3.0.0", "2.0.0 3.0.1"),
        ("1.2.3 - 2.3", "1.2.3 2.3.9", "1.2.2 2.4.0"),
        (">1.2", "1.3.0", "1.2.9"),
        ("<=1.2", "1.2.9 0.1.0", "1.3.0"),
        ("*", "0.0.0 9.9.9", "1.0.0-rc.1"),
        ("", "1.0.0", ""),
        ("<*", "", "0.0.0 1.0.0"),
        (">1.2.3-alpha.2", "1.2.3-alpha.10 3.4.5", "1.2.3-alpha.2 3.4.5-alpha.9"),
        ("1.2.3", "1.2.3 1.2.3+build", "1.2.4 1.2.3-rc.1"),
    ],
)
def test_a_requirement_is_read_as_npm_reads_it(requirement: str, met: str, unmet: str) -> None:
    assert [version for version in met.split() if not satisfies(version, requirement)] == []
    assert [version for version in unmet.split() if satisfies(version, requirement)] == []


@pytest.mark.parametrize("requirement", ["latest", "^^1.0.0", "1.x.3", ">=1.0.0 and <2", "1.0.0 || none"])
def test_what_is_no_requirement_is_said_to_be_none(requirement: str) -> None:
    with pytest.raises(RecipeError, match="requirement on a version|a number after one that may be any"):
        satisfies("1.0.0", requirement)


def test_a_pre_release_comes_before_its_release() -> None:
    # The order that https://semver.org gives as its example.
    order = (
        "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0"
    )
    assert sorted(sorted(order.split(), key=len), key=Version.of) == order.split()
