"""Merging: which label holds where jobs disagree."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

from gtlabel.manifests.merge import Label, merge
from gtlabel.uris import S3Uri


def label(image: str, class_name: str, hour: int | None = 1, **facts: Any) -> Label:
    created = None if hour is None else datetime(2026, 1, 1) + timedelta(hours=hour)
    return Label(S3Uri(f"s3://photos/{image}"), class_name, created=created, **facts)


class TestMerging:
    def test_the_newest_label_holds_and_the_others_are_listed(self) -> None:
        old, older, new = label("1", "a", 2), label("1", "c", 1), label("1", "b", 3)
        merged = merge([old, new, older, label("2", "a")])
        assert [item.class_name for item in merged.labels] == ["b", "a"]
        assert [(item.kept, item.dropped) for item in merged.conflicts] == [(new, (old, older))]

    def test_agreement_is_no_conflict(self) -> None:
        merged = merge([label("1", "a", 1), label("1", "a", 2), label("1", "a", None)])
        assert (len(merged.labels), merged.conflicts, merged.repeated) == (1, (), 2)

    def test_people_win_over_machines_of_the_same_time(self) -> None:
        machine = label("1", "a", confidence=0.99, by_human=False)
        person = label("1", "b", confidence=0.5)
        assert merge([machine, person]).labels == (person,)

    def test_a_label_without_a_date_is_the_oldest(self) -> None:
        assert merge([label("1", "a", None), label("1", "b", 1)]).labels[0].class_name == "b"

    def test_the_order_of_arrival_never_matters(self) -> None:
        labels = [
            label("1", "a", 5, job="x"),
            label("1", "b", 5, job="y"),
            label("1", "a", 5, job="z"),
            label("1", "c", None),
            label("0", "c", 1),
        ]
        assert len({merge(order) for order in permutations(labels)}) == 1
