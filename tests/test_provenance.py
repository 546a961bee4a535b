"""Whose a picture is and on what terms goes with it: from collecting through jobs into every format."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from dataset_parts import BINS, BUCKET, INTO, examples, line, lines_of, put_job, said

from gtlabel.datasets.certificate import verify
from gtlabel.datasets.collect.licence import address_of
from gtlabel.datasets.consolidate import consolidate
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.provenance import provenance
from gtlabel.manifests.records import ManifestRecord
from gtlabel.manifests.table import LabelTable, Saying
from gtlabel.storage import read, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

FORMATS = ("csv", "coco", "imagefolder", "croissant")
# No spelling that our own writer would choose.
TERMS = (
    '"gtlabel-source":{ "from" : "https://example.com/b\\u00edns", "n":1.50},"gtlabel-licence":"CC-BY-4.0"'
)


def put(s3: S3Client, name: str, count: int, terms: str, **facts: Any) -> S3Uri:
    """A manifest whose lines end with these columns, letter by letter."""
    lines = [line(f"{n}.jpg", said(BINS[n % 3], job=name, **facts)) for n in range(count)]
    manifest = put_job(s3, name, lines)
    write_lines(s3, manifest, [f"{json.dumps(item)[:-1]},{terms}}}".encode() for item in lines])
    return manifest


def bodies(s3: S3Client, dataset: Any) -> list[bytes]:
    return [text for file in dataset.channels.values() for text in read(s3, file.manifest).splitlines()]


class TestLines:
    def test_both_columns_are_kept_to_the_letter(self, s3: S3Client) -> None:
        dataset = consolidate(s3, [put(s3, "collected", 6, TERMS)], INTO)
        assert all(text.endswith(f",{TERMS}}}".encode()) for text in bodies(s3, dataset))
        assert verify(s3, INTO) == []
        item = examples(s3, dataset)[0]
        assert (item.licence, item.source["from"]) == ("CC-BY-4.0", "https://example.com/bíns")

    def test_pictures_of_our_own_have_neither(self, s3: S3Client) -> None:
        manifest = put_job(s3, "bins", [line(f"{n}.jpg", said(BINS[n % 3])) for n in range(6)])
        assert not any(b"gtlabel-" in text for text in bodies(s3, consolidate(s3, [manifest], INTO)))

    def test_terms_hold_where_a_job_that_does_not_tell_them_gave_the_label(self, s3: S3Client) -> None:
        collected = put(s3, "collected", 6, TERMS)
        ours = put_job(
            s3, "ours", [line(f"{n}.jpg", said(BINS[0 if n else 1], job="ours")) for n in range(6)]
        )
        dataset = consolidate(s3, [ours, collected], INTO, choice=Choice(jobs=frozenset({"ours"})))
        assert [source.left_out for source in dataset.sources] == [0, 6]
        assert {item.label.job for item in examples(s3, dataset)} == {"ours"}
        assert all(text.endswith(f",{TERMS}}}".encode()) for text in bodies(s3, dataset))

    def test_a_dataset_made_of_a_dataset_tells_them_still(self, s3: S3Client) -> None:
        first = consolidate(s3, [put(s3, "collected", 12, TERMS)], INTO)
        manifests = [file.manifest for file in first.channels.values()]
        again = consolidate(s3, manifests, S3Uri(f"s3://{BUCKET}/again/"))
        assert all(text.endswith(f",{TERMS}}}".encode()) for text in bodies(s3, again))

    def test_manifests_that_contradict_each_other_are_told_of_and_the_first_holds(self, s3: S3Client) -> None:
        manifests = [put(s3, name, 6, f'"gtlabel-licence":"{name}"') for name in ("MIT", "unknown")]
        dataset = consolidate(s3, manifests, INTO)
        assert {item["gtlabel-licence"] for item in lines_of(s3, dataset).values()} == {"MIT"}
        (told,) = [text for text in dataset.warnings if "licence" in text]
        assert told == (
            f"manifests tell different sources or licences of 6 images, first of s3://{BUCKET}/images/0.jpg; "
            "what the first manifest tells is kept"
        )


class TestTables:
    def test_parts_read_elsewhere_tell_what_one_reader_would(self) -> None:
        told = [("a", "1"), ("b", "1"), ("a", "2"), ("c", "3"), ("b", "1")]
        whole, parts = LabelTable(), [LabelTable(), LabelTable()]
        for number, (image, origin) in enumerate(told):
            for table in (whole, parts[number > 1]):
                table.add(image, table.saying_id(Saying("c", None, None, None, True)), datetime(2026, 1, 1))
                table.tell(image, origin)
        together = LabelTable()
        for part in parts:
            together.extend(part)
        assert together.origins == whole.origins == {"a": "1", "b": "1", "c": "3"}
        assert together.contradicted == whole.contradicted == ["a"]

    @pytest.mark.parametrize(
        ("columns", "expected"),
        [
            ("", None),
            (',"gtlabel-group":"x"', None),
            (',"note":"\\"gtlabel-licence\\":1"', None),
            (',"gtlabel-licence" : "MIT" ', ',"gtlabel-licence":"MIT"'),
            (
                ',"gtlabel-licence":null,"gtlabel-source":[1e3]',
                ',"gtlabel-source":[1e3],"gtlabel-licence":null',
            ),
        ],
    )
    def test_what_a_line_tells_is_found(self, columns: str, expected: str | None) -> None:
        assert provenance(ManifestRecord.from_line(f'{{"source-ref":"s3://bucket/k"{columns}}}')) == expected


class TestFormats:
    def test_every_format_tells_them_in_its_own_words(self, s3: S3Client) -> None:
        ours = put_job(s3, "ours", [line(f"our {n}.jpg", said(BINS[n % 3], job="ours")) for n in range(6)])
        dataset = consolidate(s3, [put(s3, "collected", 9, TERMS), ours], INTO, formats=FORMATS)
        assert verify(s3, INTO) == []
        names = {item.image: item.licence for item in examples(s3, dataset)}
        assert set(names.values()) == {"CC-BY-4.0", None}

        rows = list(csv.DictReader(io.StringIO(read(s3, INTO / "train.csv").decode(), newline="")))
        assert {row["image"]: row["license"] or None for row in rows}.items() <= names.items()
        assert {row["source"] for row in rows} == {"", '{"from":"https://example.com/bíns","n":1.5}'}

        coco = json.loads(read(s3, INTO / "train.coco.json"))
        (licence,) = coco["licenses"]
        assert licence == {"id": 1, "name": "CC-BY-4.0", "url": "https://spdx.org/licenses/CC-BY-4.0.html"}
        told = {item["coco_url"]: item.get("license") for item in coco["images"]}
        assert told == {row["image"]: 1 if row["license"] else None for row in rows}
        assert {"source" in item for item in coco["images"]} == {True, False}

        folder = read(s3, INTO / "imagefolder/train/metadata.jsonl").splitlines()
        assert [json.loads(text)["license"] for text in folder] == [row["license"] for row in rows]

        croissant = json.loads(read(s3, INTO / "croissant.json"))
        assert croissant["license"] == "https://spdx.org/licenses/CC-BY-4.0.html"

    def test_licences_that_nobody_knows_are_named_as_they_are(self, s3: S3Client) -> None:
        manifests = [
            put(s3, "known", 6, '"gtlabel-licence":"MIT"'),
            put_job(
                s3,
                "other",
                [
                    {**line(f"o{n}.jpg", said(BINS[n % 3])), "gtlabel-licence": "see LICENSE"}
                    for n in range(6)
                ],
            ),
        ]
        consolidate(s3, manifests, INTO, formats=["croissant", "coco"])
        croissant = json.loads(read(s3, INTO / "croissant.json"))
        assert croissant["license"] == ["https://spdx.org/licenses/MIT.html", "see LICENSE"]
        urls = {
            item["name"]: item["url"] for item in json.loads(read(s3, INTO / "train.coco.json"))["licenses"]
        }
        assert urls == {"MIT": "https://spdx.org/licenses/MIT.html", "see LICENSE": ""}

    def test_only_identifiers_of_spdx_have_its_page(self) -> None:
        assert address_of("CC-BY-NC-SA-4.0") == "https://spdx.org/licenses/CC-BY-NC-SA-4.0.html"
        for name in ("unknown", "LicenseRef-US-Government-Work", "CC-BY-5.0", "see LICENSE", "mit"):
            assert address_of(name) is None
