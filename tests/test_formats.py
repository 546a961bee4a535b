"""A dataset as other programs read it: right by name, the same bytes each time, whole or not there."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto import mock_aws

from gtlabel.aws import Aws
from gtlabel.datasets.channels import Example
from gtlabel.datasets.consolidate import consolidate
from gtlabel.datasets.folders import file_of, folder_of
from gtlabel.datasets.formats import FORMATS, Folder, Prefix, check_formats, write_format
from gtlabel.datasets.formats.recordio import HEADER, pack
from gtlabel.errors import DatasetError, RecordIOError
from gtlabel.manifests.classes import check_classes
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.records import LabelMetadata
from gtlabel.recordio import MAGIC
from gtlabel.recordio import read_records as read_frames
from gtlabel.storage import list_objects, read, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

sys.path.append(str(Path(__file__).parent / "benchmarks"))

from distant import Distant

PICTURES = S3Uri("s3://photos/dataset/classes/")
CLASSES = check_classes(['Glass, "clear"', "Land\u2028fill", "=Recycle"])
NAMES = ("1.jpg", 'a "b", c.jpg', "new\nline.jpg", "tab\t.jpg", "Tonne ü 🗑️.jpg")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Client]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        client = Aws(region="us-east-1").s3
        client.create_bucket(Bucket="photos")
        yield client


@pytest.fixture
def far() -> Iterator[Distant]:
    place = Distant()
    yield place
    place.close()


def example(number: int) -> Example:
    name = CLASSES[number % 3]
    image = PICTURES / folder_of(name) / f"{number}-{file_of(NAMES[number % 5])}"
    said = LabelMetadata(
        confidence=0.5 + number / 100,
        job_name="labeling-job/bins",
        class_name=name,
        human_annotated="yes" if number % 2 else "no",
        creation_date=datetime(2026, 11, 22, 10, 11, number),
        type="groundtruth/image-classification",
    )
    channel: Any = "train" if number < 8 else "validation"
    return Example(image, S3Uri(f"s3://photos/images/{number}.jpg"), channel, name, said)


@pytest.fixture(scope="module")
def examples(s3: S3Client) -> list[Example]:
    made = [example(number) for number in range(12)]
    for number, item in enumerate(made):
        write(s3, item.image, b"picture %d" % number + MAGIC * (number % 3))
    return made


def written(s3: S3Client, examples: list[Example], name: str, folder: Path) -> dict[str, bytes]:
    """Every file of a format; S3 and a folder must have the same."""
    target = Folder(s3, folder / "out", PICTURES)
    told = write_format(name, iter(examples), CLASSES, target)
    files = {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }
    for item in told:
        body = files[item.name]
        assert (item.size, item.sha256) == (len(body), sha256(body).hexdigest())
    prefix = S3Uri("s3://photos/dataset/")
    assert write_format(name, iter(examples), CLASSES, Prefix(s3, prefix, PICTURES)) == told
    for path, body in files.items():
        assert read(s3, prefix / path) == body
    return files


class TestEach:
    def test_augmented_manifests_are_read_as_ground_truth_s_own(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        files = written(s3, examples, "augmented", tmp_path)
        records = list(read_records(files["train.manifest"].split(b"\n")[:-1], "train.manifest"))
        assert [record.source_ref for record in records] == [item.image for item in examples[:8]]
        for record, item in zip(records, examples, strict=False):
            assert CLASSES[record.class_index("label")] == item.class_name
            assert record.label("label").to_json() == item.label.to_json()

    def test_lists_have_a_number_a_label_and_a_path_below_the_class_folders(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        files = written(s3, examples, "lst", tmp_path)
        for channel, members in (("train", examples[:8]), ("validation", examples[8:])):
            # As im2rec takes lines apart.
            rows = [line.strip().split("\t") for line in files[f"{channel}.lst"].decode().splitlines()]
            assert [(int(row[0]), float(row[1])) for row in rows] == [
                (number, CLASSES.index(item.class_name)) for number, item in enumerate(members)
            ]
            assert [PICTURES / row[2] for row in rows] == [item.image for item in members]

    def test_packed_pictures_have_mxnet_s_header_and_their_index_leads_to_each(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        files = written(s3, examples, "recordio", tmp_path)
        packed = files["train.rec"]
        rows = [line.split("\t") for line in files["train.idx"].decode().splitlines()]
        assert [row[0] for row in rows] == [str(number) for number in range(8)]
        for number, (item, row) in enumerate(zip(examples, rows, strict=False)):
            payload = next(read_frames(io.BytesIO(packed[int(row[1]) :])))
            label = float(CLASSES.index(item.class_name))
            assert HEADER.unpack(payload[:24]) == (0, label, number, 0)
            assert payload[24:] == read(s3, item.image)
        assert len(list(read_frames(io.BytesIO(packed)))) == 8

    def test_tables_say_everything_of_each_picture(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        files = written(s3, examples, "csv", tmp_path)
        rows = list(csv.DictReader(io.StringIO(files["validation.csv"].decode(), newline="")))
        assert rows[0] == {
            "image": examples[8].image,
            "label": "2",
            "class-name": "=Recycle",
            "original": "s3://photos/images/8.jpg",
            "confidence": "0.58",
            "human-annotated": "no",
            "job-name": "bins",
            "creation-date": "2026-11-22T10:11:08.000000",
            "license": "",
            "source": "",
        }
        assert [row["image"] for row in rows] == [item.image for item in examples[8:]]

    def test_coco_has_one_annotation_for_each_image(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        document = json.loads(written(s3, examples, "coco", tmp_path)["train.coco.json"])
        names = {item["id"]: item["name"] for item in document["categories"]}
        images = {item["id"]: item["coco_url"] for item in document["images"]}
        assert sorted(names) == [1, 2, 3]
        told = [(images[item["image_id"]], names[item["category_id"]]) for item in document["annotations"]]
        assert told == [(item.image, item.class_name) for item in examples[:8]]
        assert len({item["id"] for item in document["annotations"]}) == 8

    def test_hugging_face_finds_every_picture_beside_its_metadata(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        files = written(s3, examples, "imagefolder", tmp_path)
        for channel, members in (("train", examples[:8]), ("validation", examples[8:])):
            lines = [
                json.loads(line) for line in files[f"imagefolder/{channel}/metadata.jsonl"].split(b"\n")[:-1]
            ]
            for line, item in zip(lines, members, strict=True):
                assert (line["label"], CLASSES[line["label_index"]]) == (item.class_name,) * 2
                assert files[f"imagefolder/{channel}/{line['file_name']}"] == read(s3, item.image)

    def test_croissant_names_its_tables_with_their_digests(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        files = written(s3, examples, "croissant", tmp_path)
        document = json.loads(files["croissant.json"])
        assert (document["@type"], document["name"]) == ("sc:Dataset", "dataset")
        assert document["conformsTo"] == "http://mlcommons.org/croissant/1.0"
        for item in document["distribution"]:
            assert item["sha256"] == sha256(files[item["contentUrl"]]).hexdigest()
        classes, train, _ = document["recordSet"]
        assert [item["classes/class-name"] for item in classes["data"]] == list(CLASSES)
        columns = next(csv.reader(io.StringIO(files["train.csv"].decode())))
        assert [item["source"]["extract"]["column"] for item in train["field"]] == columns


class TestAll:
    @pytest.mark.parametrize("name", FORMATS)
    def test_the_same_examples_give_the_same_bytes(
        self, s3: S3Client, examples: list[Example], tmp_path: Path, name: str
    ) -> None:
        first = written(s3, examples, name, tmp_path / "1")
        assert written(s3, examples, name, tmp_path / "2") == first

    @pytest.mark.parametrize("name", FORMATS)
    def test_what_breaks_off_leaves_nothing_half_written(
        self, s3: S3Client, examples: list[Example], tmp_path: Path, name: str
    ) -> None:
        def broken() -> Iterator[Example]:
            yield from examples[:5]
            raise OSError("the network went away")

        before = {item.uri for item in list_objects(s3, S3Uri("s3://photos/"))}
        for target in (Folder(s3, tmp_path, PICTURES), Prefix(s3, S3Uri("s3://photos/d/"), PICTURES)):
            with pytest.raises(OSError, match="went away"):
                write_format(name, broken(), CLASSES, target)
        left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".jpg"]
        assert left == []
        assert {item.uri for item in list_objects(s3, S3Uri("s3://photos/"))} == before

    def test_a_format_that_does_not_exist_is_told_with_those_that_do(self) -> None:
        with pytest.raises(DatasetError, match="no format 'voc'; choose among augmented, lst, recordio, ima"):
            check_formats(["lst", "voc"])
        assert check_formats(["croissant", "lst", "lst"]) == ("lst", "croissant")

    def test_channels_that_come_in_two_parts_are_refused(self, s3: S3Client, tmp_path: Path) -> None:
        mixed = [example(0), example(9), example(1)]
        with pytest.raises(DatasetError, match="examples of 'train' come in two parts"):
            write_format("csv", mixed, CLASSES, Folder(s3, tmp_path, PICTURES))

    def test_paths_are_told_of_copies_only(self, s3: S3Client, tmp_path: Path) -> None:
        target = Folder(s3, tmp_path, S3Uri("s3://photos/elsewhere/"))
        with pytest.raises(DatasetError, match=r"is not below s3://photos/elsewhere/.*; copy first"):
            write_format("lst", [example(0)], CLASSES, target)

    def test_pictures_that_are_on_disk_already_are_linked(
        self, s3: S3Client, examples: list[Example], tmp_path: Path
    ) -> None:
        mirrored = tmp_path / "mirror" / examples[0].image.removeprefix(PICTURES)
        mirrored.parent.mkdir(parents=True)
        mirrored.write_bytes(b"from the mirror")
        target = Folder(s3, tmp_path / "out", PICTURES, mirror=tmp_path / "mirror")
        for _ in range(2):
            write_format("imagefolder", examples, CLASSES, target)
        train = tmp_path / "out/imagefolder/train"
        copies = [train / item.image.removeprefix(PICTURES) for item in examples[:8]]
        assert copies[0].samefile(mirrored)
        assert [path.read_bytes() for path in copies[1:]] == [read(s3, item.image) for item in examples[1:8]]
        assert not list(train.rglob(".gtlabel-*"))


class TestRecords:
    def test_a_record_that_holds_the_magic_number_is_split_as_mxnet_does(self) -> None:
        # contract/training.md section 4.4, with the 24 bytes of the header before it.
        framed = pack(1.0, 7, b"abcd" + MAGIC + b"xyz")
        header = struct.pack("<IfQQ", 0, 1.0, 7, 0)
        assert framed == (
            MAGIC
            + struct.pack("<I", 1 << 29 | 28)
            + header
            + b"abcd"
            + MAGIC
            + struct.pack("<I", 3 << 29 | 3)
            + b"xyz\0"
        )

    @settings(max_examples=50)
    @given(
        picture=st.lists(st.sampled_from([MAGIC, b"a", b"bc", b"\0\0\0\0", b"jpeg" * 3]), max_size=12),
        label=st.integers(0, 1000),
        number=st.integers(0, 2**63),
    )
    def test_every_record_is_read_back(self, picture: list[bytes], label: int, number: int) -> None:
        data = b"".join(picture)
        framed = pack(label, number, data)
        assert len(framed) % 4 == 0
        assert list(read_frames(io.BytesIO(framed))) == [HEADER.pack(0, label, number, 0) + data]

    def test_a_picture_too_long_for_a_record_is_refused(self) -> None:
        with pytest.raises(RecordIOError, match="do not fit into one record"):
            pack(0, 3, bytes(1 << 29))


def test_a_dataset_is_exported_into_a_folder_from_the_command_line(far: Distant, tmp_path: Path) -> None:
    lines = []
    for number in range(6):
        far.put(f"photos/images/{number}.jpg", b"picture %d" % number, None)
        said = {"class-name": ("Compost", "Recycle")[number % 2], "human-annotated": "yes"}
        line = {"source-ref": f"s3://photos/images/{number}.jpg", "bin": number % 2, "bin-metadata": said}
        lines.append(json.dumps(line))
    far.put("photos/output.manifest", "\n".join(lines).encode(), None)
    client = Aws(boto3.Session("AKIDEXAMPLE", "none", region_name="us-east-1"), far.url).s3
    dataset = consolidate(client, [S3Uri("s3://photos/output.manifest")], S3Uri("s3://photos/dataset/"))
    program = [sys.executable, "-m", "gtlabel", "dataset", "export", dataset.uri, "--into", str(tmp_path)]
    run = subprocess.run(
        [*program, "--format", "imagefolder", "--format", "lst", "--endpoint-url", far.url],
        env={**os.environ, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "none"},
        capture_output=True,
        text=True,
        check=True,
    )
    told = [Path(line) for line in run.stdout.splitlines()]
    assert {path.name for path in told} == {"train.lst", "validation.lst", "metadata.jsonl"}
    assert all(path.is_file() for path in told)
    assert len(list(tmp_path.rglob("*.jpg"))) == 6
