"""The options of `gtlabel label` that say how good its labels are to be."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gtlabel.aws import Aws
from gtlabel.journey import plan_labeling
from gtlabel.labeling.preflight import let_browsers_in
from gtlabel.storage import read_lines, write
from gtlabel.uris import S3Uri

PHOTOS = S3Uri("s3://photos/trash/")
GOLD = S3Uri("s3://photos/known.manifest")
CLASSES = ["Compost", "Landfill"]
OPTIONS = ("--classes", "Compost,Landfill", "--team", "gtlabel", "--role", "gtlabel", "--name", "bins")
# A PNG of one pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301"
    "0100c9fe92ef0000000049454e44ae426082"
)


@pytest.fixture
def photos(gtlabel_aws: Aws) -> Aws:
    """Nine pictures to label, and four that are known, one of them among the nine."""
    gtlabel_aws.s3.create_bucket(Bucket="photos")
    let_browsers_in(gtlabel_aws.s3, "photos")
    known = [PHOTOS / "4.png", *(S3Uri(f"s3://photos/known/{number}.png") for number in range(3))]
    for number in range(9):
        gtlabel_aws.s3.put_object(Bucket="photos", Key=f"trash/{number}.png", Body=PIXEL + bytes([number]))
    for number, uri in enumerate(known[1:]):
        gtlabel_aws.s3.put_object(Bucket="photos", Key=uri.key, Body=PIXEL + bytes([100 + number]))
    lines = [json.dumps({"source-ref": uri, "class": "Compost"}) for uri in known]
    write(gtlabel_aws.s3, GOLD, "\n".join(lines).encode(), "application/jsonlines")
    return gtlabel_aws


def gtlabel(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gtlabel", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_known_pictures_are_mixed_in_evenly_and_once(photos: Aws) -> None:
    plan = plan_labeling(
        photos, PHOTOS, classes=CLASSES, team="gtlabel", role="gtlabel", name="bins", gold=GOLD
    )
    images = [image.uri.removeprefix("s3://photos/") for image in plan.usable.images]
    assert len(images) == plan.launch.images == 12
    assert [place for place, uri in enumerate(images) if uri.startswith("known/")] == [1, 5, 9]
    assert images.count("trash/4.png") == 1
    parts = plan_labeling(
        photos,
        PHOTOS,
        classes=CLASSES,
        team="gtlabel",
        role="gtlabel",
        name="bins",
        gold=GOLD,
        max_images_per_job=4,
    )
    assert all(request.tags["gtlabel:gold"] == GOLD for request in parts.requests)


def test_a_job_is_started_with_what_its_options_say(photos: Aws) -> None:
    told = gtlabel(
        "label", PHOTOS, *OPTIONS, "--workers", "4", "--gold", GOLD, "--consensus", "dawid-skene",
        "--redundancy", "error=0.05 first=1",
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert (
        "gtlabel:redundancy): gtlabel's own engine reads it; AWS does not, and asks 4 people" in told.stderr
    )
    found = photos.sagemaker.describe_labeling_job(LabelingJobName="bins")
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    assert tags["gtlabel:consensus"] == "dawid_skene"
    assert tags["gtlabel:redundancy"] == "first=1 error=0.05"
    assert tags["gtlabel:gold"] == GOLD
    manifest = found["InputConfig"]["DataSource"]["S3DataSource"]["ManifestS3Uri"]
    lines = [json.loads(line) for line in read_lines(photos.s3, S3Uri(manifest))]
    # Nothing in the line tells that a picture is known.
    assert {tuple(line) for line in lines} == {("source-ref",)}
    assert sum("/known/" in line["source-ref"] for line in lines) == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--consensus", "oracle"), "--consensus oracle: take one of auto"),
        (("--redundancy", "first=5", "--workers", "4"), "first=5 answers cannot be had of at most 4"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_in_a_sentence(
    options: tuple[str, ...], reason: str
) -> None:
    told = gtlabel("label", PHOTOS, *OPTIONS, *options)
    assert told.returncode != 0
    assert reason in told.stderr
    assert told.stderr.count("\n") == 1
