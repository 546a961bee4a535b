"""What is wrong with a manifest, and what changed between two."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.errors import ManifestError
from gtlabel.manifests.diff import ChangeKind, Difference, Side, diff
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.lint import Severity, lint

RECORDED = Path(__file__).parent / "recorded" / "ground-truth-job" / "output.manifest.excerpt"


def said(name: str = "Compost", /, **changes: Any) -> dict[str, Any]:
    facts = {
        "confidence": 0.95,
        "job-name": "labeling-job/bins",
        "class-name": name,
        "human-annotated": "yes",
        "creation-date": "2026-11-22T10:11:12.345678",
        "type": "groundtruth/image-classification",
    }
    return {key: value for key, value in {**facts, **changes}.items() if value is not None}


def line(image: str = "1.jpg", /, **values: Any) -> bytes:
    return json.dumps({"source-ref": f"s3://photos/{image}", **values}, separators=(",", ":")).encode()


def single(image: str, index: int = 0, name: str = "Compost", /, **changes: Any) -> bytes:
    return line(image, bin=index, **{"bin-metadata": said(name, **changes)})


def multi(value: Any, class_map: Any, confidence_map: Any) -> bytes:
    facts = said(
        **{"class-name": None, "confidence": None, "class-map": class_map, "confidence-map": confidence_map},
        type="groundtruth/image-classification-multilabel",
    )
    return line(tags=value, **{"tags-metadata": facts})


def rules(*lines: bytes, **options: Any) -> list[tuple[int | None, str, str]]:
    return [(each.line, each.severity.value, each.rule) for each in lint(lines, "m", **options)]


FAILED = {
    "retry-count": 1,
    "failure-reason": "ClientError: Annotation tasks expired.",
    "human-annotated": "true",
}

# Every kind of line that Ground Truth writes (contract/ground-truth.md §4.1, §5.2, §8, §9).
KINDS = {
    "input": line(),
    "input with a key of somebody else": line(camera={"id": 7, "gain": 1.5}),
    "single": single("1.jpg"),
    "single of one worker": single("1.jpg", confidence=0.0),
    "machine": single("1.jpg", **{"human-annotated": "no", "confidence": 0.81}),
    "chained": line(bin=0, color=1, **{"bin-metadata": said(), "color-metadata": said("Red")}),
    "adjusted": single("1.jpg", **{"adjustment-status": "adjusted"}),
    "multi": multi([1, 0], {"1": "bicycle", "0": "person"}, {"1": 0.95, "0": 0.77}),
    "verification": line(
        check="1",
        **{
            "check-metadata": said(
                "bad", type="groundtruth/label-verification", **{"worker-feedback": [{"comment": "too wide"}]}
            )
        },
    ),
    "custom": line(
        look={"annotationsFromAllWorkers": []},
        **{"look-metadata": said(**{"class-name": None, "confidence": None}, type="groundtruth/custom")},
    ),
    "streaming, own id": line(**{"dataset-objectid-attribute-name": "camera", "camera": "7"}),
    "streaming, message id": line(
        **{
            "dataset-objectid-attribute-name": "$label-attribute-name-object-id",
            "$label-attribute-name-object-id": "1f",
            "$sequencer": "0055AED6DCD90281E5",
        }
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_wrong_with_what_ground_truth_writes(kind: str) -> None:
    assert rules(KINDS[kind]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_line_comes_back_byte_for_byte(kind: str) -> None:
    (record,) = read_records([KINDS[kind]], "m")
    assert record.line.encode() == KINDS[kind]
    for attribute in record.attributes:
        assert record.label(attribute).to_json() == record.to_json()[f"{attribute}-metadata"]


def test_nothing_is_wrong_with_lines_that_aws_wrote() -> None:
    with RECORDED.open("rb") as lines:
        assert list(lint(lines, "birds")) == []


E, W, N = "error", "warning", "note"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([b"{"], [(1, E, "record"), (None, E, "empty")]),
        ([], [(None, E, "empty")]),
        ([line(), b"", b"[]", line("2.jpg")], [(3, E, "record")]),
        ([b'{"source-ref":"s3://photos/1.jpg","a":1,"a":2}'], [(1, E, "repeated-key")]),
        ([b'{"source-ref":"s3://photos/2.jpg","source-ref":"s3://photos/1.jpg"}'], [(1, E, "repeated-key")]),
        ([line(**{"$mine": 1})], [(1, E, "dollar")]),
        ([line(note="x" * 20_000)], [(1, E, "long-value")]),
        ([line(source="a text")], [(1, W, "text-and-image")]),
        ([line("a" * 1021 + ".jpg")], [(1, E, "long-key")]),
        ([line("1.gif")], [(1, W, "extension")]),
        ([line("folder/")], [(1, E, "folder")]),
        ([line("a\nb.jpg")], [(1, N, "unseen")]),
        ([line("1.jpg"), line("2.jpg"), line("1.jpg")], [(3, W, "repeated-image")]),
        ([line(**{"bin-metadata": FAILED})], [(1, W, "failed")]),
        ([line(**{"bin-metadata": {}})], [(1, W, "failed")]),
        ([line(bin=1, **{"bin-metadata": {"confidence": "high"}})], [(1, E, "metadata")]),
        ([line(bin=1, **{"bin-metadata": 7})], [(1, E, "metadata")]),
        ([single("1.jpg", type=None)], [(1, N, "type")]),
        ([single("1.jpg", type="groundtruth/bounding-box")], [(1, W, "type")]),
        ([line(bin="0", **{"bin-metadata": said()})], [(1, N, "index")]),
        ([line(bin=[0], **{"bin-metadata": said()})], [(1, E, "index")]),
        ([line(bin=-1, **{"bin-metadata": said()})], [(1, E, "index")]),
        ([single("1.jpg", **{"class-name": None})], [(1, W, "class-name")]),
        ([single("1.jpg", confidence=None)], [(1, N, "confidence")]),
        ([single("1.jpg", **{"human-annotated": "true"})], [(1, W, "human-annotated")]),
        ([single("1.jpg", **{"creation-date": None})], [(1, W, "creation-date")]),
        ([single("1.jpg", **{"job-name": None})], [(1, N, "job-name")]),
        ([multi(0, {"0": "a"}, {"0": 0.5})], [(1, E, "index")]),
        ([multi([0, 0], {"0": "a"}, {"0": 0.5})], [(1, W, "index")]),
        ([multi([0, 1], {"0": "a"}, {"0": 0.5, "1": 1})], [(1, W, "class-map")]),
        ([multi([0], {"0": "a", "1": "b"}, {"0": 0.5})], [(1, W, "class-map")]),
        ([multi([0], {"0": "a"}, {"0": 1.5})], [(1, E, "confidence")]),
        ([single("1.jpg", 0), single("2.jpg", 1)], [(2, E, "class-id")]),
        ([single("1.jpg", 0), single("2.jpg", 0, "Landfill")], [(2, E, "class-id")]),
        ([single("1.jpg", 0), single("2.jpg", 1, "compost")], [(None, W, "spelling")]),
    ],
)
def test_what_is_wrong_has_a_line_a_severity_and_a_name(
    lines: list[bytes], found: list[tuple[int | None, str, str]]
) -> None:
    assert rules(*lines) == found


def test_integers_are_held_against_the_class_list() -> None:
    lines = [single("1.jpg", 0), single("2.jpg", 1, "Landfill"), single("3.jpg", 2, "Recycle")]
    found = list(lint(lines, "m", attribute="bin", classes=["Compost", "Recycle"]))
    assert [(each.line, each.field, each.sentence) for each in found] == [
        (2, "bin", "class 1 is 'Landfill' here and 'Recycle' in the class list"),
        (3, "bin", "class 2 ('Recycle') is not in the class list, which ends with 1"),
    ]


def test_an_attribute_that_no_line_has_is_an_error() -> None:
    assert rules(line(bin=1), attribute="bin") == [(1, W, "bare-label")]
    assert rules(line(), attribute="bin") == [(None, E, "no-label")]


def test_a_finding_is_written_as_compilers_write_theirs() -> None:
    (found,) = lint([line("1.gif")], "in.manifest")
    assert found.severity is Severity.WARNING
    assert str(found) == (
        "in.manifest:1: warning: '1.gif' is none of .jpg, .jpeg, .png; workers will see nothing [extension]"
    )


@given(st.lists(st.binary(max_size=60) | st.sampled_from(list(KINDS.values()))))
def test_any_bytes_can_be_looked_at(lines: list[bytes]) -> None:
    for found in lint(lines, "m"):
        assert "\n" not in str(found)


def test_looking_at_many_lines_takes_little_memory() -> None:
    def lines() -> Iterator[bytes]:
        for number in range(1_500):
            yield single(f"{number}.jpg")

    tracemalloc.start()
    try:
        assert list(lint(lines(), "m")) == []
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def compared(before: list[bytes], after: list[bytes], **options: Any) -> Difference:
    return diff(
        Side(read_records(before, "a"), options.pop("attribute", None), options.pop("classes", ())),
        Side(read_records(after, "b")),
        **options,
    )


def test_order_and_integers_are_no_difference() -> None:
    before = [single("1.jpg", 0), single("2.jpg", 1, "Landfill"), line("3.jpg")]
    after = [line("3.jpg"), single("2.jpg", 0, "Landfill"), single("1.jpg", 1)]
    found = compared(before, after)
    assert not found
    assert (found.unchanged, found.counts) == (3, {})


def test_every_kind_of_change_is_told_apart() -> None:
    before = [
        single("gone.jpg"),
        single("changed.jpg"),
        single("lost.jpg"),
        line("new-label.jpg"),
        single("surer.jpg", confidence=0.6),
        single("same.jpg", confidence=0.60),
    ]
    after = [
        single("come.jpg"),
        single("changed.jpg", 1, "Landfill"),
        line("lost.jpg", **{"bin-metadata": FAILED}),
        single("new-label.jpg"),
        single("surer.jpg", confidence=0.65, seen=1),
        single("same.jpg", confidence=0.64),
    ]
    found = compared(before, after)
    assert [
        (change.kind.value, change.image.name, change.before, change.after) for change in found.changes
    ] == [
        ("relabeled", "changed.jpg", "Compost", "Landfill"),
        ("added", "come.jpg", None, "Compost"),
        ("removed", "gone.jpg", "Compost", None),
        ("unlabeled", "lost.jpg", "Compost", None),
        ("labeled", "new-label.jpg", None, "Compost"),
        ("confidence", "surer.jpg", "Compost", "Compost"),
    ]
    assert found.unchanged == 1
    assert found.moves == {
        ("Compost", "Landfill"): 1,
        ("Compost", None): 1,
        (None, "Compost"): 1,
    }
    assert (found.classes_before, found.classes_after) == ({"Compost": 5}, {"Compost": 4, "Landfill": 1})


def test_columns_that_came_and_went_are_counted() -> None:
    found = compared([line("1.jpg", camera=1)], [line("1.jpg", site="x")])
    assert found
    assert (found.columns_added, found.columns_removed) == ({"site": 1}, {"camera": 1})


def test_labels_of_several_classes_are_compared_as_sets() -> None:
    one = multi([1, 0], {"1": "bicycle", "0": "person"}, {"1": 0.9, "0": 0.7})
    same = multi([5, 2], {"2": "bicycle", "5": "person"}, {"2": 0.9, "5": 0.7})
    other = multi([1], {"1": "bicycle"}, {"1": 0.9})
    assert not compared([one], [same])
    (change,) = compared([one], [other]).changes
    assert (change.kind, change.before, change.after) == (ChangeKind.RELABELED, "bicycle, person", "bicycle")


def test_a_bare_integer_needs_a_class_list() -> None:
    before = [line("1.jpg", bin=1)]
    assert not compared(
        before, [single("1.jpg", 0)], attribute="bin", classes=("Landfill", "Compost")
    ).changes
    with pytest.raises(ManifestError, match=r"s3://photos/1\.jpg is of class 1, and neither its line nor"):
        compared(before, [], attribute="bin")


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["a", "b", None])), max_size=12))
def test_nothing_differs_from_itself(pairs: list[tuple[int, str | None]]) -> None:
    lines = [line(f"{n}.jpg") if name is None else single(f"{n}.jpg", 0, name) for n, name in pairs]
    assert not compared(lines, lines)
