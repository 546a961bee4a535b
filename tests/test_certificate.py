"""The certificate: what was changed in a dataset afterwards is found, and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from dataset_parts import BINS, BUCKET, INTO, line, put_job, said, tree
from moto import mock_aws

from gtlabel.aws import Aws
from gtlabel.datasets.certificate import Finding, verify
from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.consolidate import consolidate
from gtlabel.errors import DatasetError
from gtlabel.manifests.split import Shares
from gtlabel.storage import list_objects, read, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CAMERAS = r"cam\d+"
ELSEWHERE = S3Uri(f"s3://{BUCKET}/elsewhere/")


@pytest.fixture(scope="module")
def whole() -> Iterator[tuple[S3Client, Dataset, dict[str, bytes]]]:
    """Twelve cameras with three pictures each, a camera always in one channel."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        client = Aws(region="us-east-1").s3
        client.create_bucket(Bucket=BUCKET)
        lines = [line(f"cam{n % 12}/{n}.jpg", said(BINS[n % 3])) for n in range(36)]
        shares = Shares(validation=0.3, test=0.2)
        made = consolidate(client, [put_job(client, "bins", lines)], INTO, shares=shares, groups=CAMERAS)
        yield client, made, tree(client, S3Uri(f"s3://{BUCKET}/"))


@pytest.fixture
def s3(whole: tuple[S3Client, Dataset, dict[str, bytes]]) -> S3Client:
    """The bucket as it was before other tests changed it."""
    client, _, files = whole
    for key in tree(client, S3Uri(f"s3://{BUCKET}/")).keys() - files.keys():
        client.delete_object(Bucket=BUCKET, Key=key)
    for key, body in files.items():
        if key.startswith(INTO.key):
            write(client, S3Uri.of(BUCKET, key), body)
    return client


@pytest.fixture
def dataset(whole: tuple[S3Client, Dataset, dict[str, bytes]]) -> Dataset:
    return whole[1]


def kinds(found: list[Finding]) -> set[str]:
    return {item.kind for item in found}


def change(s3: S3Client, where: S3Uri, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    write(s3, where, b"\n".join(edit(read(s3, where).splitlines())) + b"\n")


def test_an_untouched_dataset_is_as_certified(s3: S3Client, dataset: Dataset) -> None:
    assert verify(s3, INTO) == []
    assert verify(s3, S3Uri(INTO.rstrip("/"))) == []


def test_a_tampered_line_is_named(s3: S3Client, dataset: Dataset) -> None:
    manifest = dataset.channels["train"].manifest

    def worsen(lines: list[bytes]) -> list[bytes]:
        lines[2] = lines[2].replace(b"0.95", b"0.15")
        return lines

    change(s3, manifest, worsen)
    found = verify(s3, INTO)
    assert kinds(found) == {"line", "digest"}
    assert found[0].where == f"{manifest}, line 3"
    assert 'is not a certified one: {"source-ref"' in found[0].sentence


def test_a_label_that_means_another_class_is_named(s3: S3Client, dataset: Dataset) -> None:
    def relabel(lines: list[bytes]) -> list[bytes]:
        item = json.loads(lines[0])
        item["label"] = (item["label"] + 1) % 3
        return [json.dumps(item, separators=(",", ":")).encode(), *lines[1:]]

    change(s3, dataset.channels["train"].manifest, relabel)
    (told,) = [item.sentence for item in verify(s3, INTO) if item.kind == "class"]
    assert "train.manifest, line 1 says '" in told
    assert "which means '" in told


def test_a_moved_picture_and_the_group_it_leaks_are_named(s3: S3Client, dataset: Dataset) -> None:
    manifest = dataset.channels["train"].manifest
    moved = read(s3, manifest).splitlines()[0]
    change(s3, manifest, lambda lines: lines[1:])
    change(s3, dataset.channels["validation"].manifest, lambda lines: [*lines, moved])
    found = verify(s3, INTO)
    image, group = json.loads(moved)["original-ref"], json.loads(moved)["gtlabel-group"]
    (told,) = [item.sentence for item in found if item.kind == "moved" and image in item.sentence]
    assert told.endswith(f"{image} is in validation and belongs to train")
    (leak,) = [item.sentence for item in found if item.kind == "leak"]
    assert leak.startswith(f"the group {group} is in several channels")
    assert "object" not in kinds(found)


def test_objects_that_changed_are_gone_or_are_strangers_are_named(s3: S3Client, dataset: Dataset) -> None:
    changed, gone, *_ = [item.uri for item in list_objects(s3, INTO / "classes/")]
    write(s3, changed, b"something else")
    s3.delete_object(Bucket=BUCKET, Key=gone.key)
    write(s3, INTO / "classes/Compost/stranger.jpg", b"who is that")
    found = {item.kind: item.where for item in verify(s3, INTO)}
    assert found == {
        "object": changed,
        "missing": gone,
        "stranger": f"{INTO}classes/Compost/stranger.jpg",
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("certificate.json", "digest"),
        ("certificate.jsonl", "digest"),
        ("classes.json", "digest"),
        ("train.manifest", "line"),
    ],
)
def test_every_file_is_checked(s3: S3Client, dataset: Dataset, name: str, kind: str) -> None:
    assert dataset.complete
    body = read(s3, INTO / name)
    write(s3, INTO / name, body.replace(b"a", b"b", 1) if name == "train.manifest" else body + b" ")
    assert kind in kinds(verify(s3, INTO))


@pytest.mark.parametrize("name", ["certificate.jsonl", "classes.json", "train.manifest"])
def test_a_file_that_is_gone_is_named(s3: S3Client, dataset: Dataset, name: str) -> None:
    assert dataset.complete
    s3.delete_object(Bucket=BUCKET, Key=(INTO / name).key)
    assert any(item.kind == "missing" and item.where == INTO / name for item in verify(s3, INTO))


def test_a_dataset_file_that_was_edited_is_found(s3: S3Client, dataset: Dataset) -> None:
    document = json.loads(read(s3, INTO / "dataset.json"))
    document["channels"]["train"]["sha256"] = "0" * 64
    write(s3, INTO / "dataset.json", json.dumps(document).encode())
    assert [item.where for item in verify(s3, INTO)] == [INTO / "dataset.json"]
    assert dataset.channels["train"].sha256 != "0" * 64


def test_without_a_certificate_nothing_can_be_checked(s3: S3Client, dataset: Dataset) -> None:
    assert dataset.complete
    s3.delete_object(Bucket=BUCKET, Key=(INTO / "certificate.json").key)
    with pytest.raises(DatasetError, match="has no certificate to check it against; consolidate again"):
        verify(s3, INTO)


def test_a_dataset_that_names_pictures_where_they_are_can_be_verified(s3: S3Client) -> None:
    lines = [line(f"{n}.jpg", said(BINS[n % 3])) for n in range(12)]
    consolidate(s3, [put_job(s3, "few", lines)], ELSEWHERE, mode="none")
    assert verify(s3, ELSEWHERE) == []
    assert list(list_objects(s3, ELSEWHERE / "classes/")) == []


def test_formats_are_certified_too(s3: S3Client) -> None:
    lines = [line(f"{n}.jpg", said(BINS[n % 3])) for n in range(12)]
    manifest = put_job(s3, "few", lines)
    consolidate(s3, [manifest], ELSEWHERE, formats=["lst", "recordio"])
    assert verify(s3, ELSEWHERE) == []
    for name in ("train.lst", "train.rec"):
        write(s3, ELSEWHERE / name, read(s3, ELSEWHERE / name) + b"\0")
        assert ("digest", ELSEWHERE / name) in [(item.kind, item.where) for item in verify(s3, ELSEWHERE)]


def test_the_certificate_tells_how_the_split_was_made(s3: S3Client, dataset: Dataset) -> None:
    told: dict[str, Any] = json.loads(read(s3, INTO / "certificate.json"))
    assert (told["validation"], told["test"], told["groups"]) == (0.3, 0.2, CAMERAS)
    assert told["files"]["train.manifest"] == dataset.channels["train"].sha256
    again = consolidate(
        s3,
        [S3Uri(f"s3://{BUCKET}/jobs/bins/manifests/output/output.manifest")],
        ELSEWHERE,
        shares=Shares(validation=0.3, test=0.2),
        groups=CAMERAS,
    )
    elsewhere = json.loads(read(s3, again.uri / "certificate.json"))
    assert elsewhere["split"] == told["split"]
