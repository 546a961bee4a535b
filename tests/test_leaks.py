"""Leaks: what a model would be tested with although it has seen nearly the same."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.datasets.channels import Example, read_channel
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.datasets.leaks import find_leaks, leaks
from gtlabel.manifests.records import LabelMetadata
from gtlabel.manifests.split import CHANNELS, Channel
from gtlabel.storage import write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TRASH = sorted((Path(__file__).parent.parent / "samples" / "trash" / "images").glob("*.jpg"))
HOME = S3Uri("s3://leaking-pictures/")
BINS = ("Compost", "Landfill")
COUNT = 24


def trimmed(path: Path) -> bytes:
    picture = Image.open(path)
    width, height = picture.size
    body = io.BytesIO()
    picture.crop((0, 0, round(width * 0.95), round(height * 0.95))).save(body, "JPEG", quality=70)
    return body.getvalue()


def put_job(s3: S3Client, class_of_copies: Mapping[int, str] | None = None) -> JobOutput:
    """Photographs, and of each one a trimmed copy under another name."""
    s3.create_bucket(Bucket=HOME.bucket)
    lines = []
    for number, path in enumerate(TRASH[:COUNT]):
        name = BINS[number % 2]
        told = {"whole": name, "trimmed": (class_of_copies or {}).get(number, name)}
        for kind, data in (("whole", path.read_bytes()), ("trimmed", trimmed(path))):
            image = HOME / f"images/{kind}/{number}.jpg"
            write(s3, image, data)
            metadata = {"class-name": told[kind], "job-name": "labeling-job/bins", "human-annotated": "yes"}
            lines.append({"source-ref": image, "bin": BINS.index(told[kind]), "bin-metadata": metadata})
    manifest = HOME / "jobs/output.manifest"
    write(s3, manifest, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return JobOutput(manifest, "bin", BINS, "bins")


def test_copies_that_were_split_apart_are_found_and_no_others(gtlabel_mock: Aws) -> None:
    s3 = gtlabel_mock.s3
    dataset = consolidate(s3, [put_job(s3, {3: "Compost"})], HOME / "dataset/")
    channel_of = {
        item.original: channel for channel in dataset.channels for item in read_channel(s3, dataset, channel)
    }
    apart = {
        number
        for number in range(COUNT)
        if len({channel_of[HOME / f"images/{kind}/{number}.jpg"] for kind in ("whole", "trimmed")}) == 2
    }
    assert len(apart) > 3
    found = find_leaks(s3, dataset)
    assert found.images == 2 * COUNT
    assert found.unread == ()
    numbers = [
        {
            int(image.name.partition(".")[0].partition("~")[0])
            for images in leak.images.values()
            for image in images
        }
        for leak in found.leaks
    ]
    assert {number for leak in numbers for number in leak} == apart
    assert len(found.leaks) == len(apart)


def test_a_split_by_near_duplicates_does_not_leak(gtlabel_mock: Aws) -> None:
    s3 = gtlabel_mock.s3
    dataset = consolidate(s3, [put_job(s3)], HOME / "dataset/", groups="near-duplicates")
    assert all(channel.images for channel in dataset.channels.values())
    assert find_leaks(s3, dataset).leaks == ()


def example(number: int, channel: Channel, class_name: str = "Landfill") -> Example:
    copy = HOME / f"dataset/classes/{class_name}/{number}.jpg"
    return Example(copy, HOME / f"images/{number}.jpg", channel, class_name, LabelMetadata())


def test_a_leak_names_its_pictures_its_channels_and_labels_that_differ() -> None:
    examples = [example(1, "validation"), example(2, "train", "Compost"), example(3, "train")]
    examples += [example(number, "test") for number in range(4, 9)]
    found = leaks(examples, {item.original: "one" for item in examples if item.original.name != "3.jpg"})
    assert [(leak.group, leak.classes, list(leak.images)) for leak in found] == [
        ("one", ("Compost", "Landfill"), ["train", "validation", "test"])
    ]
    sentence = str(found[0])
    assert "Compost/2.jpg in train and " in sentence
    assert sentence.endswith("6.jpg and 2 more in test; they are labeled Compost, Landfill")


@given(
    st.lists(st.tuples(st.sampled_from(CHANNELS), st.sampled_from(["a", "b", "c", None])), max_size=20),
    st.booleans(),
)
def test_what_leaks_is_in_a_group_of_several_channels(
    members: list[tuple[Channel, str | None]], by_copy: bool
) -> None:
    examples = [example(number, channel) for number, (channel, _) in enumerate(members)]
    groups = {
        (item.image if by_copy else item.original): group
        for item, (_, group) in zip(examples, members, strict=True)
        if group is not None
    }
    channels = {group: {c for c, g in members if g == group} for _, group in members if group}
    found = {leak.group: set(leak.images) for leak in leaks(examples, groups)}
    assert found == {group: of_group for group, of_group in channels.items() if len(of_group) > 1}
