"""Manifests: read, written, merged and split."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.errors import ClassListError, ManifestError, ManifestLineError, MissingLabelError
from gtlabel.manifests.classes import ClassIds, ClassList, check_classes, reconcile
from gtlabel.manifests.lines import MAX_LINE_CHARACTERS, read_records, write_record
from gtlabel.manifests.records import LabelMetadata, ManifestRecord
from gtlabel.uris import S3Uri

RECORDED = Path(__file__).parent / "recorded" / "ground-truth-job" / "output.manifest.excerpt"
BIRDS = "birds-open-images-clone"

# The service's own pattern allows letters, digits and inner hyphens; keys of others may be anything.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
object_keys = st.text(min_size=1, max_size=40)


def record(line: str) -> ManifestRecord:
    return next(iter(read_records([line.encode()], "m.manifest")))


def reason(line: bytes) -> str:
    with pytest.raises(ManifestLineError) as caught:
        list(read_records([b"\n", line], "m.manifest"))
    assert (caught.value.manifest, caught.value.line) == ("m.manifest", 2)
    assert str(caught.value).startswith("m.manifest, line 2: ")
    assert "\n" not in str(caught.value)
    return caught.value.reason


class TestReading:
    def test_lines_that_aws_wrote_come_back_byte_for_byte(self) -> None:
        with RECORDED.open("rb") as file:
            written = b"".join(write_record(item) + b"\n" for item in read_records(file, "birds"))
        assert written == RECORDED.read_bytes()

    def test_what_aws_wrote_is_understood(self) -> None:
        with RECORDED.open("rb") as file:
            first = next(read_records(file, "birds"))
        label = first.label(BIRDS)
        assert first.class_index(BIRDS) == 9
        assert list(first.attributes) == [BIRDS]
        assert (label.class_name, label.confidence, label.job, label.by_human) == (
            "Canary",
            0.95,
            BIRDS,
            True,
        )
        assert label.creation_date == datetime(2019, 4, 18, 16, 40, 59, 217995)

    @given(
        key=object_keys,
        extra=st.dictionaries(st.text().filter(lambda key: key != "source-ref"), json_values, max_size=5),
        place=st.integers(0, 5),
    )
    def test_a_record_keeps_every_key_in_its_place_and_every_number(
        self, key: str, extra: dict[str, Any], place: int
    ) -> None:
        pairs = list(extra.items())
        pairs.insert(min(place, len(pairs)), ("source-ref", f"s3://photos/{key}"))
        line = json.dumps(dict(pairs), separators=(",", ":"))
        item = record(line)
        again = json.loads(write_record(item))
        assert item.source_ref.key == key
        assert list(again.items()) == pairs
        assert json.dumps(again, separators=(",", ":")) == line

    @given(key=object_keys, text=st.text())
    def test_a_written_record_is_one_line_for_every_reader(self, key: str, text: str) -> None:
        line = write_record(ManifestRecord.from_values({"source-ref": f"s3://photos/{key}", "x": text}))
        assert len(line.decode().splitlines()) == 1
        assert next(read_records([line], "m")).source_ref.key == key

    def test_ends_of_lines_and_empty_lines_do_not_matter(self) -> None:
        line = b'{"source-ref":"s3://photos/1.jpg"}'
        images = [item.source_ref for item in read_records([line + b"\r\n", b"\n", b"  \r\n", line], "m")]
        assert images == ["s3://photos/1.jpg"] * 2

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            (b'{"source-ref":', "not JSON: EOF"),
            (b"[1]", "not a JSON object"),
            (b"null", "not a JSON object"),
            (b"\xff{}", "not UTF-8: byte 1 is 0xff"),
            (b'{"source":"a text to classify"}', "only images"),
            (b'{"image":"s3://photos/1.jpg"}', "lacks 'source-ref'"),
            (b'{"source_ref":"s3://photos/1.jpg"}', "lacks 'source-ref'"),
            (b'{"source-ref":"photos/1.jpg"}', "'photos/1.jpg' is not an S3 address"),
            (b'{"source-ref":"s3://photos"}', "'source-ref': names a bucket and no image"),
            (b'{"source-ref":7}', "'source-ref': input should be a valid string"),
            (b'{"source-ref":"s3://photos/1.jpg","x":NaN}', "NaN is not a number"),
            (b'{"source-ref":"s3://photos/1.jpg"}{}', "not JSON: trailing characters"),
            (b'{"source-ref":"s3://photos/' + b"a" * MAX_LINE_CHARACTERS + b'"}', "at most 100,000"),
        ],
    )
    def test_a_line_that_is_no_record_is_named_with_its_reason(self, line: bytes, why: str) -> None:
        assert why in reason(line)

    @given(line=st.binary(max_size=80).filter(lambda line: line.strip()))
    def test_arbitrary_bytes_are_records_or_refused(self, line: bytes) -> None:
        refused = None
        try:
            list(read_records([line], "m.manifest"))
        except ManifestLineError as error:
            refused = error
        assert refused is None or str(refused).startswith("m.manifest, line 1: ")

    def test_a_line_of_a_hundred_thousand_characters_is_still_read(self) -> None:
        start = '{"source-ref":"s3://photos/1.jpg","x":"'
        line = start + "é" * (MAX_LINE_CHARACTERS - len(start) - 2) + '"}'
        assert len(line) == MAX_LINE_CHARACTERS
        assert record(line + "\r\n").source_ref == "s3://photos/1.jpg"

    def test_a_record_too_long_for_aws_is_not_written(self) -> None:
        long = ManifestRecord.from_values({"source-ref": "s3://photos/1.jpg", "x": "a" * 100_000})
        with pytest.raises(ManifestError, match="at most 100,000"):
            write_record(long)

    def test_a_record_travels_to_another_process_and_stays_the_same(self) -> None:
        item = record('{"a":1.00, "source-ref":"s3://photos/1.jpg"}')
        again = pickle.loads(pickle.dumps(item))
        assert (again, hash(again), again.line) == (item, hash(item), item.line)
        assert again != item.having({"a": 2})
        assert eval(repr(item)) == item

    def test_what_makes_no_record_is_refused_when_it_is_made(self) -> None:
        with pytest.raises(
            ManifestError, match="s3://photos cannot be written: 'source-ref': names a bucket"
        ):
            ManifestRecord.of(S3Uri("s3://photos"))
        with pytest.raises(ManifestError, match=r"the record of s3://photos/1\.jpg cannot be written"):
            ManifestRecord.from_values({"source-ref": "s3://photos/1.jpg", "x": float("nan")})
        with pytest.raises(ManifestError, match=r"the record of s3://photos/1\.jpg cannot be written"):
            ManifestRecord.of(S3Uri("s3://photos/1.jpg")).having({"x": float("inf")})

    def test_memory_stays_flat(self) -> None:
        line = RECORDED.read_bytes().splitlines(keepends=True)[0]

        def lines(count: int) -> Iterator[bytes]:
            for _ in range(count):
                yield line

        tracemalloc.start()
        try:
            for _ in read_records(lines(5_000), "birds"):
                pass
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


class TestLabels:
    def test_a_failed_object_has_a_reason_and_no_label(self) -> None:
        item = record(
            '{"source-ref":"s3://b3b/4.jpg","bird-metadata":{"retry-count":1,'
            '"failure-reason":"ClientError: Annotation tasks expired.","human-annotated":"true"}}'
        )
        label = item.label("bird")
        assert item.state("bird") == "failed"
        assert label.failure_reason == "ClientError: Annotation tasks expired."
        assert not label.by_human
        with pytest.raises(MissingLabelError):
            item.class_index("bird")

    def test_an_object_nobody_reached_has_no_label(self) -> None:
        item = record('{"source-ref":"s3://b3b/4.jpg"}')
        assert item.state("bird") == "unlabeled"
        with pytest.raises(MissingLabelError, match=r"s3://b3b/4\.jpg has no 'bird' label"):
            item.label("bird")

    def test_a_multi_label_line_is_readable_and_has_no_single_class(self) -> None:
        item = record(
            '{"source-ref":"s3://b3b/8.jpg","tags":[1,0],"tags-metadata":{"job-name":"labeling-job/my-job",'
            '"class-map":{"1":"bicycle","0":"person"},"human-annotated":"yes",'
            '"creation-date":"2026-11-22T10:11:12.345678","confidence-map":{"1":0.95,"0":0.77},'
            '"type":"groundtruth/image-classification-multilabel"}}'
        )
        label = item.label("tags")
        assert label.class_map == {"1": "bicycle", "0": "person"}
        assert label.confidence_map == {"1": 0.95, "0": 0.77}
        with pytest.raises(ManifestError, match="multi-label"):
            item.class_index("tags")

    @pytest.mark.parametrize(("value", "index"), [("2", 2), ('"2"', 2), ("0", 0), ('"0"', 0)])
    def test_a_class_index_is_a_number_or_digits(self, value: str, index: int) -> None:
        assert record(f'{{"source-ref":"s3://b3b/1","a":{value}}}').class_index("a") == index

    @pytest.mark.parametrize("value", ["true", "-1", "1.5", '"one"', '"²"', '"-1"', '""', "{}"])
    def test_anything_else_is_no_class_index(self, value: str) -> None:
        with pytest.raises(ManifestError, match="not the index of one class"):
            record(f'{{"source-ref":"s3://b3b/1","a":{value}}}').class_index("a")

    @pytest.mark.parametrize("name", ["My-Job", "labeling-job/My-Job"])
    def test_both_spellings_of_a_job_name_mean_the_same(self, name: str) -> None:
        assert LabelMetadata.from_json({"job-name": name}).job == "My-Job"

    def test_underscores_of_custom_jobs_are_read_too(self) -> None:
        label = LabelMetadata.from_json({"job_name": "j", "creation_date": "2026-11-22T12:00:00+02:00"})
        assert (label.job, label.creation_date) == ("j", datetime(2026, 11, 22, 10))
        assert label.to_json() == {"job-name": "j", "creation-date": "2026-11-22T10:00:00.000000"}

    def test_metadata_that_cannot_be_read_is_an_error_with_its_image(self) -> None:
        item = record('{"source-ref":"s3://b3b/1","a":1,"a-metadata":{"confidence":"high"}}')
        with pytest.raises(ManifestError, match="s3://b3b/1: in 'a-metadata', 'confidence': input should be"):
            item.label("a")


class TestClasses:
    def test_a_class_list_survives_its_file(self) -> None:
        classes = check_classes(["Compost", "Landfill ☂", "Recycle"])
        document = classes.to_json()
        assert json.loads(document)["document-version"] == "2018-11-28"
        assert ClassList.from_json(document, "f") == classes

    def test_a_file_of_the_console_is_read(self) -> None:
        document = b'{"document-version":"2021-05-13","labels":[{"label":"a","x":1},{"label":"b"}],"more":2}'
        assert list(ClassList.from_json(document, "f")) == ["a", "b"]

    @pytest.mark.parametrize(
        ("names", "why"),
        [
            ([], "no classes"),
            (["a"], "one class"),
            (["a", "b", "a"], "'a' stands in it 2 times"),
            (["a", " "], "one name is empty"),
            (["a", "b" * 257], "257 characters"),
            (["a", "b\n"], "cannot be shown"),
            (["a", " b"], "begins or ends with a space"),
            (["Paper", "paper"], "'Paper' and 'paper' differ only in spelling"),
            (["caf\u00e9", "cafe\u0301"], "differ only in spelling"),
            (["paper cup", "paper  cup"], "differ only in spelling"),
        ],
    )
    def test_a_list_nobody_can_label_with_is_refused(self, names: list[str], why: str) -> None:
        with pytest.raises(ClassListError, match="the class list cannot be used: ") as caught:
            check_classes(names)
        assert why in str(caught.value)

    def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        with pytest.raises(ClassListError, match=r"empty; .*'a' stands in it 2 times"):
            check_classes(["a", "a", ""])

    @pytest.mark.parametrize("document", [b"{", b"[]", b'{"labels":3}', b'{"labels":["a","b"]}'])
    def test_a_file_that_is_no_class_list_is_named(self, document: bytes) -> None:
        with pytest.raises(ClassListError, match="^data.json"):
            ClassList.from_json(document, "data.json")

    def test_lists_in_different_order_agree_by_name(self) -> None:
        joined = reconcile([["b", "a"], ["a", "c", "b"]], found=["z", "a", "d"])
        assert list(joined) == ["b", "a", "c", "d", "z"]

    def test_two_spellings_in_two_jobs_are_never_joined_silently(self) -> None:
        with pytest.raises(ClassListError, match="'paper' and 'Paper' differ only in spelling"):
            reconcile([["paper", "glass"], ["Paper", "glass"]])

    def test_one_name_with_two_ids_in_one_job_is_refused(self) -> None:
        ids = ClassIds()
        ids.declare("job", ["a", "b"])
        with pytest.raises(ClassListError, match="'a' is 0 in one place and 7 in another"):
            ids.meet("job", 7, "a")

    def test_one_id_with_two_names_in_one_job_is_refused(self) -> None:
        ids = ClassIds()
        ids.meet("job", 0, "a")
        with pytest.raises(ClassListError, match="0 means 'a' in one place and 'b' in another"):
            ids.meet("job", 0, "b")

    def test_two_jobs_may_number_differently(self) -> None:
        ids = ClassIds()
        ids.declare("one", ["a", "b"])
        ids.declare("two", ["b", "a"])
        assert (ids.name("one", 0), ids.name("two", 0), ids.name("two", 5)) == ("a", "b", None)
