"""Images at several addresses that hold the same bytes are one, if that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from dataset_parts import BUCKET, INTO, address, examples, labels, line, lines_of, put_answers, said, tree

from gtlabel.aws import Aws
from gtlabel.datasets.certificate import verify
from gtlabel.datasets.channels import Dataset
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.manifests.lines import write_record
from gtlabel.manifests.records import ManifestRecord
from gtlabel.storage import list_objects, stat, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

OLD, NEW = "2026-11-01T10:00:00.000001", "2026-11-02T10:00:00.000001"


@pytest.fixture
def s3(gtlabel_aws: Aws) -> S3Client:
    gtlabel_aws.s3.create_bucket(Bucket=BUCKET)
    return gtlabel_aws.s3


def job(s3: S3Client, name: str, *told: tuple[str, str, str, str]) -> JobOutput:
    """A job that said of pictures, by name and bytes, which class they are, and when."""
    lines: list[dict[str, Any]] = []
    for picture, content, class_name, created in told:
        # Every content has the same length, as many photographs have by chance.
        write(s3, address(picture), f"{content:>40}".encode())
        lines.append(line(picture, said(class_name, job=name, created=created)))
    manifest = S3Uri(f"s3://{BUCKET}/jobs/{name}/manifests/output/output.manifest")
    write_lines(s3, manifest, [write_record(ManifestRecord.from_values(item)) for item in lines])
    return JobOutput(manifest, "bin")


def many(s3: S3Client, count: int = 24) -> JobOutput:
    """A job about pictures that are all different."""
    kinds = ("Compost", "Landfill", "Recycle")
    return job(s3, "many", *((f"m{n:03}.jpg", f"content {n}", kinds[n % 3], OLD) for n in range(count)))


def united(s3: S3Client, *outputs: JobOutput, **options: Any) -> Dataset:
    """One dataset, by content, that is as certified."""
    dataset = consolidate(s3, outputs, INTO, identity="content", **options)
    assert verify(s3, dataset.uri) == []
    return dataset


@pytest.mark.parametrize("mode", ["copy", "none", "move"])
def test_equal_pictures_with_one_label_are_one_line_that_names_both(s3: S3Client, mode: Any) -> None:
    twins = job(s3, "twins", ("a.jpg", "same", "Compost", OLD), ("b.jpg", "same", "Compost", NEW))
    dataset = united(s3, many(s3), twins, mode=mode)
    assert (dataset.images, dataset.united, dataset.disputed) == (25, 1, 0)
    found = lines_of(s3, dataset)
    assert "b.jpg" not in found
    lineage = found["a.jpg"]["gtlabel-lineage"]
    assert lineage["same-bytes"] == [address("b.jpg")]
    assert lineage["kept"]["source-ref"] == address("b.jpg")
    assert [item["creation-date"] for item in lineage["agreed"]] == [OLD]
    copies = [item.uri.name for item in list_objects(s3, INTO / "classes/")]
    assert "b.jpg" not in copies
    assert ("a.jpg" in copies) == (mode != "none")
    # Only what was copied is moved.
    assert stat(s3, address("b.jpg")).size == 40


def test_by_address_they_are_two(s3: S3Client) -> None:
    twins = job(s3, "twins", ("a.jpg", "same", "Compost", OLD), ("b.jpg", "same", "Landfill", NEW))
    dataset = consolidate(s3, [many(s3), twins], INTO)
    assert (dataset.images, dataset.united, dataset.identity) == (26, 0, "address")


@pytest.mark.parametrize(("policy", "holds"), [("newest", "Landfill"), ("confidence", "Compost")])
def test_the_policy_decides_between_the_labels_of_equal_pictures(
    s3: S3Client, policy: Any, holds: str
) -> None:
    for name in ("a.jpg", "b.jpg"):
        write(s3, address(name), b"same")
    lines = [
        line("b.jpg", said("Compost", job="twins", created=OLD, confidence=0.9)),
        line("a.jpg", said("Landfill", job="twins", created=NEW, confidence=0.6)),
    ]
    manifest = S3Uri(f"s3://{BUCKET}/jobs/twins/manifests/output/output.manifest")
    write_lines(s3, manifest, [write_record(ManifestRecord.from_values(item)) for item in lines])
    dataset = united(s3, many(s3), JobOutput(manifest, "bin"), policy=policy)
    assert labels(s3, dataset)["a.jpg"] == holds
    assert [item.image for item in dataset.disagreements] == [address("a.jpg")]
    lineage = lines_of(s3, dataset)["a.jpg"]["gtlabel-lineage"]
    told = [lineage["kept"], *lineage["dropped"]]
    assert sorted(item.get("source-ref", address("a.jpg")) for item in told) == [
        address("a.jpg"),
        address("b.jpg"),
    ]


def test_votes_about_equal_pictures_are_counted_together(s3: S3Client) -> None:
    twins = job(s3, "twins", ("a.jpg", "same", "Compost", OLD), ("b.jpg", "same", "Landfill", NEW))
    put_answers(s3, "twins", 0, {"ann": "Compost", "ben": "Compost"})
    put_answers(s3, "twins", 1, {"cem": "Landfill"})
    dataset = united(s3, many(s3), twins, policy="votes")
    assert lines_of(s3, dataset)["a.jpg"]["gtlabel-lineage"]["votes"] == {"Compost": 2, "Landfill": 1}
    assert labels(s3, dataset)["a.jpg"] == "Compost"


def test_what_was_sent_in_parts_is_compared_by_its_bytes(s3: S3Client) -> None:
    parts = job(
        s3,
        "parts",
        ("a.jpg", "same", "Compost", OLD),
        ("b.jpg", "same", "Compost", NEW),
        ("c.jpg", "else", "Compost", OLD),
        ("d.jpg", "same", "Compost", OLD),
    )
    for name, content in (("b.jpg", "same"), ("c.jpg", "else")):
        _send_in_parts(s3, address(name), f"{content:>40}".encode())
    s3.put_object(
        Bucket=BUCKET, Key=address("d.jpg").key, Body=f"{'same':>40}".encode(), ServerSideEncryption="aws:kms"
    )
    dataset = united(s3, many(s3), parts)
    assert dataset.united == 2
    found = lines_of(s3, dataset)
    assert found["a.jpg"]["gtlabel-lineage"]["same-bytes"] == [address("b.jpg"), address("d.jpg")]
    assert "c.jpg" in found


def _send_in_parts(s3: S3Client, uri: S3Uri, body: bytes) -> None:
    where: Any = {"Bucket": uri.bucket, "Key": uri.key}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    etag = s3.upload_part(**where, UploadId=upload, PartNumber=1, Body=body)["ETag"]
    whole: Any = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=whole)
    assert "-" in stat(s3, uri).etag


@pytest.mark.parametrize("mode", ["copy", "move", "none"])
def test_an_equal_picture_that_comes_later_moves_nothing(s3: S3Client, mode: Any) -> None:
    first = many(s3)
    before = united(s3, first, mode=mode)
    lines, places = lines_of(s3, before), {item.image: item.channel for item in examples(s3, before)}
    # Smaller addresses than those they are equal to, which would stand for them by themselves.
    later = job(s3, "later", *((f"a{n:03}.jpg", f"content {n}", "Recycle", OLD) for n in range(2, 24, 3)))
    after = united(s3, first, later, mode=mode)
    assert after.united == 8
    assert lines_of(s3, after).keys() == lines.keys()
    assert {item.image: item.channel for item in examples(s3, after)} == places


def test_running_again_ends_in_the_same_bytes(s3: S3Client) -> None:
    twins = job(s3, "twins", ("a.jpg", "same", "Compost", OLD), ("b.jpg", "same", "Landfill", NEW))
    outputs = many(s3), twins
    united(s3, *outputs)
    once = tree(s3)
    united(s3, *outputs)
    assert tree(s3) == once


def test_any_number_of_equal_pictures_fits_into_a_line(s3: S3Client) -> None:
    black = job(s3, "black", *((f"z{n:04}.jpg", "black", "Compost", OLD) for n in range(120)))
    dataset = united(s3, many(s3), black, mode="none")
    lineage = lines_of(s3, dataset)["z0000.jpg"]["gtlabel-lineage"]
    assert (lineage["same-bytes-in-all"], len(lineage["same-bytes"])) == (119, 50)
    assert (lineage["agreed-in-all"], len(lineage["agreed"])) == (119, 50)
