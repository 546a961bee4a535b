"""Copies that S3 makes by itself: what it is asked for, and what comes of it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtlabel.aws import Aws
from gtlabel.awsmodel import check_request
from gtlabel.datasets.batchoperations import (
    Principal,
    by_jobs,
    cost,
    job_request,
    manifest_lines,
    outstanding,
    place_by_key,
)
from gtlabel.datasets.channels import read_channel, read_dataset
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.datasets.copying import LARGEST
from gtlabel.datasets.folders import Placement
from gtlabel.errors import DatasetError
from gtlabel.storage import StoredObject, read, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

HOME = S3Uri("s3://many-pictures/")
INTO = HOME / "dataset/"
MANIFEST = HOME / "jobs/bins/output.manifest"
BINS = ("Compost", "Landfill", "Not recycled")
OURS = Principal("123456789012", "arn:aws:iam::123456789012:role/copies")
LISTED = datetime(2026, 11, 22, 10, tzinfo=UTC)
AWKWARD = ("a b.jpg", "+plus,comma.jpg", '100%25 "q".jpg', "Tonne ü 🗑️.jpg", "new\nline.jpg", "deep/er/x.jpg")


def stored(uri: S3Uri, size: int = 9, etag: str = "e", later: int = 0) -> StoredObject:
    return StoredObject(uri, size, etag, LISTED + timedelta(seconds=later))


class BatchOperations:
    """S3 Batch Operations as its manual tells it, on the emulator's S3."""

    def __init__(self, s3: S3Client) -> None:
        self._s3 = s3
        self._tokens: set[str] = set()
        self.copied = 0

    def create_job(self, request: dict[str, Any]) -> list[str]:
        """Do a job; return the keys that failed."""
        assert check_request("s3control", "CreateJob", request) == []
        if request["ClientRequestToken"] in self._tokens:
            return []
        self._tokens.add(request["ClientRequestToken"])
        manifest, copy = request["Manifest"], request["Operation"]["S3PutObjectCopy"]
        bucket, _, key = manifest["Location"]["ObjectArn"].removeprefix("arn:aws:s3:::").partition("/")
        listing = self._s3.get_object(Bucket=bucket, Key=key)
        assert listing["ETag"].strip('"') == manifest["Location"]["ETag"]
        assert manifest["Spec"]["Fields"] == ["Bucket", "Key"]
        rows = list(csv.reader(io.StringIO(listing["Body"].read().decode())))
        assert len({source for source, _ in rows}) == 1, "all sources of a job lie in one bucket"
        failed = []
        for source, encoded in rows:
            name = unquote_plus(encoded)
            found = self._s3.head_object(Bucket=source, Key=name)
            if found["LastModified"] > copy["UnModifiedSinceConstraint"]:
                failed.append(name)
                continue
            self._s3.copy_object(
                CopySource={"Bucket": source, "Key": name},
                Bucket=copy["TargetResource"].removeprefix("arn:aws:s3:::"),
                Key=f"{copy['TargetKeyPrefix']}/{name}",
            )
            self.copied += 1
        return failed


def sent(s3: S3Client, uri: S3Uri) -> dict[str, Any]:
    """A request as the AWS CLI reads it from its file."""
    request: dict[str, Any] = json.loads(read(s3, uri))
    copy = request["Operation"]["S3PutObjectCopy"]
    copy["UnModifiedSinceConstraint"] = datetime.fromisoformat(copy["UnModifiedSinceConstraint"])
    return request


def put_job(s3: S3Client, names: tuple[str, ...] = AWKWARD) -> JobOutput:
    """Pictures with awkward names, in two buckets that share a name."""
    s3.create_bucket(Bucket=HOME.bucket)
    s3.create_bucket(Bucket="other-pictures")
    images = [S3Uri.of(HOME.bucket, f"images/{name}") for name in names]
    images += [S3Uri.of("other-pictures", f"images/{name}") for name in ("a b.jpg", "z.jpg")]
    lines = []
    for number, image in enumerate(images):
        write(s3, image, f"picture {image}".encode())
        name = BINS[number % 2 * 2]
        metadata = {"class-name": name, "job-name": "labeling-job/bins", "human-annotated": "yes"}
        lines.append({"source-ref": image, "bin": BINS.index(name), "bin-metadata": metadata})
    write(s3, MANIFEST, b"".join(json.dumps(item).encode() + b"\n" for item in lines))
    return JobOutput(MANIFEST, "bin", BINS, "bins")


class TestConsolidating:
    def test_the_dataset_is_finished_when_the_jobs_have_run(self, gtlabel_mock: Aws) -> None:
        s3 = gtlabel_mock.s3
        job = put_job(s3)
        asked = consolidate(s3, [job], INTO, batch=OURS)
        # Two classes of one bucket and one of the other: S3 cannot give one name to two pictures.
        assert len(asked.requests) == 3
        with pytest.raises(DatasetError):
            read_dataset(s3, INTO)
        batch = BatchOperations(s3)
        for uri in asked.requests:
            assert batch.create_job(sent(s3, uri)) == []
        dataset = consolidate(s3, [job], INTO, batch=OURS)
        assert dataset.requests == ()
        assert read_dataset(s3, INTO) == dataset
        examples = [item for channel in dataset.channels for item in read_channel(s3, dataset, channel)]
        assert len(examples) == len(AWKWARD) + 2
        for item in examples:
            assert read(s3, item.image) == f"picture {item.original}".encode()
        assert batch.copied == len(examples) - 1

    def test_labels_and_channels_are_those_of_copies_made_here(self, gtlabel_mock: Aws) -> None:
        s3 = gtlabel_mock.s3
        job = put_job(s3)
        for uri in consolidate(s3, [job], INTO, batch=OURS).requests:
            BatchOperations(s3).create_job(sent(s3, uri))
        there = consolidate(s3, [job], INTO, batch=OURS)
        here = consolidate(s3, [job], HOME / "here/")
        for channel in here.channels:
            ours, theirs = read_channel(s3, here, channel), read_channel(s3, there, channel)
            facts = [(item.original, item.class_name, item.label) for item in ours]
            assert facts == [(item.original, item.class_name, item.label) for item in theirs]

    def test_asking_twice_writes_the_same_requests_and_starts_no_second_job(self, gtlabel_mock: Aws) -> None:
        s3 = gtlabel_mock.s3
        job = put_job(s3)
        batch = BatchOperations(s3)
        bodies = []
        for _ in range(2):
            asked = consolidate(s3, [job], INTO, batch=OURS)
            bodies.append([read(s3, uri) for uri in asked.requests])
            requests = [sent(s3, uri) for uri in asked.requests]
        for request in requests * 2:
            batch.create_job(request)
        assert bodies[0] == bodies[1]
        assert batch.copied == len(AWKWARD) + 1

    def test_what_failed_is_asked_for_again_and_nothing_else(self, gtlabel_mock: Aws) -> None:
        s3 = gtlabel_mock.s3
        job = put_job(s3)
        first, *others = consolidate(s3, [job], INTO, batch=OURS).requests
        for uri in others:
            BatchOperations(s3).create_job(sent(s3, uri))
        again = consolidate(s3, [job], INTO, batch=OURS)
        assert len(again.requests) == 1
        keys = {line.partition(b",")[2] for line in read(s3, S3Uri(first.replace(".json", ".csv"))).split()}
        listed = read(s3, S3Uri(again.requests[0].replace(".json", ".csv"))).split()
        assert {line.partition(b",")[2] for line in listed} == keys

    def test_there_is_nothing_to_copy_when_images_stay(self, gtlabel_mock: Aws) -> None:
        with pytest.raises(DatasetError, match="S3 can copy images by itself, but not"):
            consolidate(gtlabel_mock.s3, [MANIFEST], INTO, batch=OURS, mode="none")


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=20), st.booleans(), st.sampled_from(BINS)), max_size=20)
)
def test_every_image_has_one_place_and_every_list_can_be_read_back(
    given_images: list[tuple[str, bool, str]],
) -> None:
    buckets = ("many-pictures", "other-pictures")
    images = {S3Uri.of(buckets[there], key): name for key, there, name in given_images}
    placements = place_by_key([(stored(image), name) for image, name in images.items()], INTO)
    assert len({item.target for item in placements.values()}) == len(images)
    jobs, rest = by_jobs(placements.values())
    assert sum(map(len, jobs.values())) + len(rest) == len(images)
    for (folder, bucket), members in jobs.items():
        text = b"".join(line + b"\n" for line in manifest_lines(members)).decode("ascii")
        rows = list(csv.reader(io.StringIO(text)))
        assert [(bucket, item.source.uri.key) for item in members] == [(b, unquote_plus(k)) for b, k in rows]
        assert [item.target for item in members] == [
            folder.at(f"{folder.key}/{unquote_plus(k)}") for _, k in rows
        ]


def test_what_one_copy_cannot_do_is_left_to_this_process() -> None:
    images = [
        stored(HOME / "large.jpg", LARGEST + 1),
        stored(HOME / f"{'n' * 1000}.jpg"),
        stored(HOME / "a.jpg"),
    ]
    jobs, rest = by_jobs(place_by_key([(image, "Compost") for image in images], INTO).values())
    assert [item.source.uri.name for members in jobs.values() for item in members] == ["a.jpg"]
    assert {len(item.target.key) for item in rest} == {len("dataset/classes/Compost/~.jpg") + 32}


@pytest.mark.parametrize(
    ("there", "done"),
    [
        (None, False),
        (stored(INTO / "x", etag="e"), True),
        (stored(INTO / "x", etag="other", later=60), True),
        (stored(INTO / "x", etag="other", later=-60), False),
        (stored(INTO / "x", size=8, etag="e"), False),
    ],
)
def test_a_copy_is_right_when_its_etag_is_or_when_it_is_newer(there: StoredObject | None, done: bool) -> None:
    item = Placement(stored(HOME / "x"), INTO / "x")
    assert (outstanding([item], {item.target: there} if there else {}) == []) is done


def test_a_request_that_s3_would_refuse_is_refused_in_its_words() -> None:
    manifest = stored(INTO / "list.csv")
    with pytest.raises(DatasetError, match="would refuse the job for s3://many-pictures/dataset/: .*roleArn"):
        job_request(Principal("123456789012", "copies"), INTO, manifest, INTO / "r", newest=LISTED)


def test_neither_ray_nor_botocore_is_imported_before_it_is_needed() -> None:
    program = (
        "import sys, gtlabel.datasets.consolidate; print('ray' in sys.modules, 'botocore' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_ten_million_pictures_of_six_classes_cost_61_dollars_50() -> None:
    assert cost(10_000_000, 6) == pytest.approx(61.5)


def test_the_command_prints_what_starts_the_jobs(gtlabel_aws: Aws) -> None:
    put_job(gtlabel_aws.s3, AWKWARD[:4])
    command = [sys.executable, "-m", "gtlabel", "consolidate", MANIFEST, "--into", INTO, "--attribute", "bin"]
    done = subprocess.run(
        [*command, "--batch-operations", "copies"], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 3
    assert done.stdout.startswith(
        "aws s3 cp s3://many-pictures/dataset/batch-operations/0001.json 0001.json && "
    )
    assert "3 jobs of S3 Batch Operations copy up to 6 images, for $0.75" in " ".join(done.stderr.split())
    request = sent(gtlabel_aws.s3, INTO / "batch-operations/0001.json")
    assert request["RoleArn"] == f"arn:aws:iam::{gtlabel_aws.account}:role/copies"
