"""Moving pictures and running again: what is left of each picture is never lost, and no old file is left."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from dataset_parts import BINS, BUCKET, INTO, address, labels, line, put_job, said, tree

from gtlabel.datasets.certificate import verify
from gtlabel.datasets.channels import read_dataset, withdraw
from gtlabel.datasets.consolidate import consolidate
from gtlabel.datasets.formats import FORMATS, files_of
from gtlabel.errors import DatasetError
from gtlabel.manifests.split import Shares
from gtlabel.storage import list_objects, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def job(s3: S3Client, names: list[str], name: str = "bins", classes: Any = None) -> S3Uri:
    classes = classes or {each: BINS[number % 3] for number, each in enumerate(names)}
    return put_job(s3, name, [line(each, said(classes[each], job=name)) for each in names])


def moved(s3: S3Client, count: int = 9, **options: Any) -> S3Uri:
    """The manifest of a job whose pictures were moved into a dataset."""
    manifest = job(s3, [f"{number}.jpg" for number in range(count)])
    assert consolidate(s3, [manifest], INTO, mode="move", **options).moved == 0
    assert list(list_objects(s3, address(""))) == []
    return manifest


class TestMovingAgain:
    def test_the_same_run_once_more_ends_in_the_same_bytes_and_says_so(self, s3: S3Client) -> None:
        manifest = moved(s3)
        before = tree(s3)
        again = consolidate(s3, [manifest], INTO, mode="move")
        assert (tree(s3), again.moved, again.missing) == (before, 9, ())
        assert verify(s3, INTO) == []

    def test_a_run_that_broke_off_while_it_deleted_is_ended_by_the_next(self, s3: S3Client) -> None:
        manifest = moved(s3)
        before = tree(s3)
        for number in range(4):
            write(s3, address(f"{number}.jpg"), f"picture {address(f'{number}.jpg')}".encode())
        assert consolidate(s3, [manifest], INTO, mode="move").moved == 5
        assert tree(s3) == before
        assert list(list_objects(s3, address(""))) == []

    def test_it_holds_after_a_run_that_withdrew_the_dataset_and_died(self, s3: S3Client) -> None:
        manifest = moved(s3)
        before = tree(s3)
        withdraw(s3, INTO)
        withdraw(s3, INTO)
        with pytest.raises(DatasetError, match="no finished dataset"):
            read_dataset(s3, INTO)
        assert consolidate(s3, [manifest], INTO, mode="move").moved == 9
        assert tree(s3) == before

    def test_a_dataset_of_moved_pictures_grows(self, s3: S3Client) -> None:
        manifest = moved(s3)
        more = job(s3, [f"more {number}.jpg" for number in range(6)], "more")
        grown = consolidate(s3, [manifest, more], INTO, mode="move")
        assert (grown.images, grown.moved) == (15, 9)
        assert verify(s3, INTO) == []
        assert list(list_objects(s3, address(""))) == []

    def test_near_duplicates_are_looked_for_in_the_copies(self, s3: S3Client) -> None:
        manifest = moved(s3, groups="near-duplicates")
        before = tree(s3)
        again = consolidate(s3, [manifest], INTO, mode="move", groups="near-duplicates")
        assert (again.moved, tree(s3)) == (9, before)


class TestWhatWouldBeLost:
    def refused(self, s3: S3Client, manifests: list[S3Uri], mode: Any = "move", **options: Any) -> str:
        before = tree(s3)
        with pytest.raises(DatasetError) as caught:
            consolidate(s3, manifests, INTO, mode=mode, **options)
        assert tree(s3) == before
        return str(caught.value)

    def test_another_job_with_the_same_file_names_overwrites_nothing(self, s3: S3Client) -> None:
        moved(s3)
        other = S3Uri(f"s3://{BUCKET}/jobs/other/manifests/output/output.manifest")
        names = [f"s3://{BUCKET}/another/{number}.jpg" for number in range(9)]
        for name in names:
            write(s3, S3Uri(name), b"another picture")
        lines = [{"source-ref": name, **said(BINS[number % 3])} for number, name in enumerate(names)]
        put_job(s3, "other", lines)
        assert self.refused(s3, [other]).startswith(
            f"{INTO}classes/Compost/0.jpg is the only copy of {address('0.jpg')}, which an earlier run moved"
        )

    def test_a_changed_label_overwrites_nothing(self, s3: S3Client) -> None:
        moved(s3)
        lines = [line(f"{number}.jpg", said(BINS[(number + 1) % 3])) for number in range(9)]
        changed = S3Uri(f"s3://{BUCKET}/jobs/changed.manifest")
        write_lines(s3, changed, [json.dumps(item).encode() for item in lines])
        assert "another place for it or none" in self.refused(s3, [changed])

    @pytest.mark.parametrize("mode", ["copy", "none"])
    def test_copying_over_moved_pictures_is_refused(self, s3: S3Client, mode: str) -> None:
        manifest = moved(s3)
        assert self.refused(s3, [manifest], mode) == (
            f"an earlier run moved its images to {INTO}, where their only copies are; move again "
            "(--mode move), or consolidate into another place"
        )

    def test_its_channels_can_be_consolidated_elsewhere(self, s3: S3Client) -> None:
        moved(s3)
        first = read_dataset(s3, INTO)
        manifests = [channel.manifest for channel in first.channels.values()]
        again = consolidate(s3, manifests, S3Uri(f"s3://{BUCKET}/again/"))
        assert labels(s3, again) == labels(s3, first)


class TestLeftovers:
    @pytest.mark.parametrize("name", ["csv", "imagefolder", "croissant", "coco", "lst", "recordio"])
    def test_a_format_of_an_earlier_run_is_not_left_behind(self, s3: S3Client, name: str) -> None:
        manifest = job(s3, [f"{number}.jpg" for number in range(9)])
        consolidate(s3, [manifest], INTO, formats=[name])
        before = tree(s3)
        with pytest.raises(DatasetError, match="is of an earlier run, and this one would leave it as it is"):
            consolidate(s3, [manifest], INTO)
        assert tree(s3) == before
        consolidate(s3, [manifest], INTO, formats=[name])
        assert tree(s3) == before
        for file in files_of([name], ("train", "validation")):
            s3.delete_object(Bucket=BUCKET, Key=(INTO / file).key)
        for item in list(list_objects(s3, INTO / "imagefolder/")):
            s3.delete_object(Bucket=BUCKET, Key=item.uri.key)
        consolidate(s3, [manifest], INTO)
        assert verify(s3, INTO) == []

    def test_neither_is_a_channel(self, s3: S3Client) -> None:
        manifest = job(s3, [f"{number}.jpg" for number in range(30)])
        consolidate(s3, [manifest], INTO, shares=Shares(validation=0.3, test=0.3), formats=["csv"])
        with pytest.raises(DatasetError, match=r"dataset/test\.(csv|manifest) is of an earlier run"):
            consolidate(s3, [manifest], INTO, shares=Shares(validation=0.3), formats=["csv"])

    def test_files_of_other_people_do_not_matter(self, s3: S3Client) -> None:
        manifest = job(s3, [f"{number}.jpg" for number in range(9)])
        for name in ("train.notes.txt", "notes/train.csv", "trainer.csv"):
            write(s3, INTO / name, b"mine")
        assert consolidate(s3, [manifest], INTO).images == 9

    def test_every_format_writes_the_files_it_is_known_for(self, s3: S3Client) -> None:
        manifest = job(s3, [f"{number}.jpg" for number in range(9)])
        consolidate(s3, [manifest], INTO, formats=list(FORMATS))
        there = {item.uri.removeprefix(INTO) for item in list_objects(s3, INTO)}
        ours = {"certificate.json", "certificate.jsonl", "classes.json", "dataset.json"}
        known = files_of(FORMATS, ("train", "validation"))
        assert {name for name in there if not name.endswith(".jpg")} == known | ours
