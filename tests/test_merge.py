"""Merging: which label holds where jobs disagree, and what is told about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.manifests.merge import POLICIES, Decision, Label, Policy, decide
from gtlabel.manifests.table import LabelTable


def label(class_name: str, hour: int | None = 1, image: str = "1", **facts: Any) -> Label:
    created = None if hour is None else datetime(2026, 1, 1) + timedelta(hours=hour)
    return Label(f"s3://photos/{image}", class_name, created=created, **facts)


def table_of(labels: Iterable[Label]) -> LabelTable:
    table = LabelTable()
    for item in labels:
        table.add_label(item)
    return table


class TestDeciding:
    def test_the_newest_label_holds_and_the_others_are_listed(self) -> None:
        old, older, new, same = label("a", 2), label("c", 1), label("b", 3), label("b", 0)
        assert decide([old, new, older, same]) == Decision(new, (same,), (old, older))

    def test_people_win_over_machines_of_the_same_time(self) -> None:
        machine = label("a", confidence=0.99, by_human=False)
        assert decide([machine, label("b", confidence=0.5)]).kept.class_name == "b"

    def test_a_label_without_a_date_is_the_oldest(self) -> None:
        assert decide([label("a", None), label("b", 1)]).kept.class_name == "b"

    def test_human_takes_an_older_label_of_people_before_a_newer_one_of_a_machine(self) -> None:
        machine, person = label("a", 9, by_human=False), label("b", 1)
        assert decide([machine, person], "human").kept is person
        assert decide([machine, label("b", 8, by_human=False)], "human").kept is machine

    def test_confidence_takes_the_surest_and_holds_0_for_no_statement(self) -> None:
        sure, single, silent = label("a", 1, confidence=0.8), label("b", 9, confidence=0.0), label("c", 10)
        assert decide([single, sure, silent], "confidence").kept is sure
        assert decide([single, silent], "confidence").kept is silent

    def test_an_adjustment_holds_against_a_newer_label_of_the_job_it_adjusts(self) -> None:
        first, second, third = label("a", 9, job="x"), label("b", 2, job="y"), label("c", 1, job="z")
        chain = {("y", "x"), ("z", "y")}
        assert decide([first, second], "adjustment", adjustments=chain).kept is second
        assert decide([first, second, third], "adjustment", adjustments=chain).kept is third
        assert decide([first, third], "adjustment", adjustments=chain).kept is first

    def test_two_jobs_that_adjusted_each_other_leave_the_newest(self) -> None:
        pair = [label("a", 1, job="x"), label("b", 2, job="y")]
        assert decide(pair, "adjustment", adjustments={("x", "y"), ("y", "x")}).kept is pair[1]

    def test_votes_of_all_jobs_count_together(self) -> None:
        pair = [label("a", 9, job="x"), label("b", 2, job="y")]
        decision = decide(pair, "votes", votes={"a": 2, "b": 3})
        assert decision.kept is pair[1]
        assert decision.lineage() is not None
        assert (decision.lineage() or {})["votes"] == {"a": 2, "b": 3}

    def test_tied_votes_go_to_the_newest_label_among_them(self) -> None:
        pair = [label("a", 9), label("b", 2)]
        assert decide(pair, "votes", votes={"b": 2, "a": 2, "c": 1}).kept is pair[0]
        assert decide(pair, "votes", votes={"b": 2, "c": 2, "a": 1}).kept is pair[1]

    def test_a_class_that_only_all_answers_together_favor_is_a_label_of_its_own(self) -> None:
        pair = [label("a", 9), label("b", 2)]
        decision = decide(pair, "votes", votes={"a": 3, "b": 3, "c": 4})
        assert (decision.kept.class_name, decision.kept.confidence, decision.kept.job) == ("c", 0.4, None)
        assert {item.class_name for item in decision.dropped} == {"a", "b"}

    def test_without_answers_the_newest_holds_and_the_lineage_says_so(self) -> None:
        decision = decide([label("a", 9), label("b", 2)], "votes")
        assert (decision.kept.class_name, decision.policy) == ("a", "newest")

    def test_the_lineage_tells_every_label_in_the_words_of_ground_truth(self) -> None:
        kept = label("Recycle", 3, job="two", confidence=0.9, named="recycle")
        dropped = label("Compost", 1, job="one", by_human=False)
        assert decide([kept, dropped]).lineage() == {
            "policy": "newest",
            "kept": {
                "class-name": "Recycle",
                "renamed-from": "recycle",
                "job-name": "labeling-job/two",
                "confidence": 0.9,
                "human-annotated": "yes",
                "creation-date": "2026-01-01T03:00:00.000000",
            },
            "dropped": [
                {
                    "class-name": "Compost",
                    "job-name": "labeling-job/one",
                    "human-annotated": "no",
                    "creation-date": "2026-01-01T01:00:00.000000",
                }
            ],
        }

    def test_where_nothing_was_decided_nothing_is_told(self) -> None:
        assert decide([label("a")]).lineage() is None
        assert decide([label("a", named="A")]).lineage() is not None


labels = st.builds(
    label,
    st.sampled_from("abc"),
    st.none() | st.integers(0, 3),
    job=st.none() | st.sampled_from("xyz"),
    confidence=st.none() | st.sampled_from((0.0, 0.5, 0.95, 1.0)),
    by_human=st.booleans(),
)
counts = st.none() | st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), min_size=1)
chains = st.sets(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")))


class TestTheTable:
    @given(
        said=st.lists(labels, min_size=1, max_size=4),
        policy=st.sampled_from(POLICIES),
        votes=counts,
        over=chains,
    )
    def test_it_settles_as_deciding_does_whatever_the_order_of_arrival(
        self, said: list[Label], policy: Policy, votes: dict[str, int] | None, over: set[tuple[str, str]]
    ) -> None:
        image = said[0].image
        seen = set()
        for order in permutations(said):
            table = table_of(order)
            settled = table.settle(policy, adjustments=over, votes={image: votes} if votes else None)
            decision = table.decision(image)
            kept = list(table.labels(image))
            seen.add((str(decision.lineage()), settled.repeated, settled.disputed))
            lineage = decision.lineage()
            assert table.lineage(image) == (lineage and msgspec.json.encode(lineage).decode())
            assert table.label(image) == kept[0] == decision.kept
            if len(set(said)) == len(said) > 1:
                assert decision == decide(said, policy, adjustments=over, votes=votes)
        assert len(seen) == 1

    @given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)))
    def test_dates_are_spelled_as_aws_does(self, created: datetime) -> None:
        table = table_of([replace(label("a"), created=created), label("a", None, image="2")])
        spelled = f',"creation-date":"{created.isoformat(timespec="microseconds")}"'
        assert table.dates_of(table.rows_of(["s3://photos/1", "s3://photos/2"])) == [spelled, ""]

    def test_a_label_that_another_manifest_told_already_is_counted_once(self) -> None:
        table = table_of([label("a", 1, job="x"), label("a", 1, job="x"), label("a", 2, job="y")])
        assert (len(table), table.repeated, len(list(table.labels("s3://photos/1")))) == (1, 1, 2)
        assert table.settle().repeated == 2

    def test_disputed_are_the_pictures_with_several_classes_whatever_the_policy(self) -> None:
        said = [
            label("a", 1),
            label("b", 2),
            label("a", 1, image="2"),
            label("a", 2, image="2"),
            label("c", image="3"),
        ]
        for policy in POLICIES:
            assert table_of(said).settle(policy).disputed == ("s3://photos/1",)

    def test_a_label_comes_out_as_it_went_in(self) -> None:
        for item in (label("a", None), label("b", 5, job="x", confidence=0.0, by_human=False, named="B")):
            assert list(table_of([item]).labels(item.image)) == [item]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_single_label_holds_by_every_policy(policy: Policy) -> None:
    assert decide([label("a", None)], policy).kept.class_name == "a"
