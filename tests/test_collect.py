"""Collecting: class folders of other people's data sets become manifests that merge with one's own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from archive_parts import HONEST, JPEG, MIT, folders, picture, put_folder, put_zip, tarred, zipped
from moto import mock_aws

from gtlabel.aws import Aws
from gtlabel.datasets.collect.collect import collect
from gtlabel.datasets.collect.collection import Collection, read_collection
from gtlabel.datasets.collect.planning import CollectionWishes, plan_collection
from gtlabel.datasets.folders import folder_of
from gtlabel.errors import BucketNotFoundError, ClassListError, DatasetError
from gtlabel.manifests.lines import read_records
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import list_objects, read, write
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


INTO = S3Uri("s3://trash-photos/flowers/")
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
LATER = datetime(2026, 12, 24, 12, 0, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def session() -> boto3.Session:
    """One for all tests: it keeps what it has read of the services' models."""
    return boto3.Session("a", "b", region_name="us-east-1")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, session: boto3.Session) -> Iterator[S3Client]:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        client = Aws(session).s3
        client.create_bucket(Bucket="trash-photos")
        yield client


def collected(s3: S3Client, source: Path | S3Uri, into: S3Uri = INTO, **wishes: Any) -> Collection:
    return collect(s3, plan_collection(source, CollectionWishes(**wishes), s3=s3), into, now=lambda: NOON)


def lines(s3: S3Client, collection: Collection) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read(s3, collection.manifest).splitlines()]


def classes_of(s3: S3Client, collection: Collection) -> dict[str, str]:
    """The class of each picture, by its path in the source."""
    return {
        line["gtlabel-source"]["member"]: line["label-metadata"]["class-name"]
        for line in lines(s3, collection)
    }


def tree(s3: S3Client, prefix: S3Uri = INTO) -> dict[str, bytes]:
    found = {item.uri.key: read(s3, item.uri) for item in list_objects(s3, prefix)}
    return {key: body for key, body in found.items() if not key.endswith(".gtlabel-lock")}


class Puts:
    """Counts what is written, and ends the process's life at one of the writes."""

    def __init__(self, s3: S3Client, kill_at: int = 0) -> None:
        self.keys: list[str] = []
        self.kill_at = kill_at
        for operation in ("PutObject", "CopyObject"):
            s3.meta.events.register(f"before-parameter-build.s3.{operation}", self._meet)

    def _meet(self, params: dict[str, Any], **_: Any) -> None:
        if params["Key"].endswith(".gtlabel-lock"):
            return
        self.keys.append(params["Key"])
        if len(self.keys) == self.kill_at:
            raise CutOffError

    @property
    def pictures(self) -> list[str]:
        return [key for key in self.keys if "/images/" in key]


class CutOffError(Exception):
    """The network went away, or the process did."""


class TestCollecting:
    def test_a_line_is_what_a_job_with_one_worker_would_write(self, s3: S3Client, tmp_path: Path) -> None:
        members = {**MIT, **folders("cat", "dog", above="flowers-main/train/")}
        source = put_zip(tmp_path, members)
        collection = collected(s3, source, address="https://example.com/flowers.zip")
        first, *_ = lines(s3, collection)
        assert first == {
            "source-ref": INTO / "images/flowers-main/train/cat/0.png",
            "label": 0,
            "label-metadata": {
                "confidence": 0.0,
                "job-name": f"labeling-job/{collection.job}",
                "class-name": "cat",
                "human-annotated": "yes",
                "creation-date": "2026-11-22T12:00:00.000000",
                "type": "groundtruth/image-classification",
            },
            "gtlabel-source": {
                "from": "https://example.com/flowers.zip",
                "member": "flowers-main/train/cat/0.png",
                "archive-sha256": collection.origin.sha256,
            },
            "gtlabel-licence": "MIT",
            "gtlabel-split": "train",
        }
        assert collection.job.startswith("collect-flowers-")
        for record in read_records(read(s3, collection.manifest).splitlines(), "m"):
            member = record.source_ref.key.partition("/images/")[2]
            assert read(s3, record.source_ref) == members[member]
            assert record.label("label").class_name == member.split("/")[2]

    def test_the_collection_says_what_it_holds(self, s3: S3Client, tmp_path: Path) -> None:
        members = {**MIT, **folders("cat", above="train/"), **folders("dog", each=2, above="test/", first=9)}
        members |= {
            "train/cat/broken.jpg": JPEG[:500],
            "train/cat/again.png": picture(0),
            "test/9.png": picture(30),
        }
        collection = collected(s3, put_zip(tmp_path, members))
        assert read_collection(s3, INTO) == collection
        assert collection.classes == {"cat": 3, "dog": 2}
        assert collection.splits == {"test": 2, "train": 3}
        assert (collection.images, collection.set_aside, collection.repeated) == (5, 3, 1)
        aside = [json.loads(line) for line in read(s3, INTO / "set-aside.jsonl").splitlines()]
        assert aside == [
            {"member": "test/9.png", "reason": "lies in no class folder"},
            {"member": "train/cat/again.png", "reason": "is the same picture as train/cat/0.png"},
            {"member": "train/cat/broken.jpg", "reason": "is a JPEG that is cut off"},
        ]

    @pytest.mark.parametrize("kind", ["folder", "tar.gz", "s3", "archive in s3"])
    def test_every_kind_of_source_gives_the_same_labels(
        self, s3: S3Client, tmp_path: Path, kind: str
    ) -> None:
        members = {**MIT, **folders("cat", "dog", "Kühe & co")}
        source: Path | S3Uri = tmp_path / "flowers"
        if kind == "folder":
            put_folder(tmp_path / "flowers", members)
        elif kind == "tar.gz":
            (tmp_path / "flowers").write_bytes(tarred(members, kind))
        elif kind == "s3":
            source = S3Uri("s3://trash-photos/open/flowers")
            for name, body in members.items():
                write(s3, source / name, body)
        else:
            source = S3Uri("s3://trash-photos/open/flowers.zip")
            write(s3, source, zipped(members))
        collection = collected(s3, source)
        pictures = {name: name.partition("/")[0] for name in members if name.endswith(".png")}
        assert classes_of(s3, collection) == pictures
        assert collection.licence == "MIT"
        for name in pictures:
            assert read(s3, INTO / "images" / name) == members[name]
        address = str(source) if isinstance(source, S3Uri) else "flowers"
        assert collection.origin.address == address + ("/" if kind == "s3" else "")
        assert (collection.origin.sha256 is None) == (kind in ("folder", "s3"))

    def test_a_second_run_sends_nothing_and_changes_no_byte(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_zip(tmp_path, HONEST)
        first = collected(s3, source)
        whole, puts = tree(s3), Puts(s3)
        assert collect(s3, plan_collection(source), INTO, now=lambda: LATER) == first
        assert puts.pictures == []
        assert tree(s3) == whole

    def test_a_run_killed_at_any_request_is_completed_by_the_next(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_zip(tmp_path, {**MIT, **folders("cat", "dog", each=1)})
        collected(s3, source)
        whole = tree(s3)
        for at in range(1, len(whole) + 1):
            s3.delete_objects(Bucket="trash-photos", Delete={"Objects": [{"Key": key} for key in tree(s3)]})
            puts = Puts(s3, kill_at=at)
            with pytest.raises(CutOffError):
                collect(s3, plan_collection(source), INTO, now=lambda: NOON, workers=1)
            assert read_collection(s3, INTO) is None
            collected(s3, source)
            assert tree(s3) == whole
            # The one that was cut off never got there.
            assert len(puts.pictures) == 2 + (at <= 2)

    def test_a_picture_that_was_damaged_in_s3_is_sent_again(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_zip(tmp_path, HONEST)
        collected(s3, source)
        write(s3, INTO / "images/cat/1.png", bytes(len(HONEST["cat/1.png"])))
        puts = Puts(s3)
        collected(s3, source)
        assert puts.pictures == ["flowers/images/cat/1.png"]
        assert read(s3, INTO / "images/cat/1.png") == HONEST["cat/1.png"]

    def test_a_source_that_grew_sends_what_is_new(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_folder(tmp_path / "flowers", HONEST)
        old = collected(s3, source)
        put_folder(source, folders("cow", first=70))
        puts = Puts(s3)
        new = collect(s3, plan_collection(source), INTO, now=lambda: LATER)
        assert len(puts.pictures) == 3
        assert (new.classes, new.job) == ({"cat": 3, "cow": 3, "dog": 3}, old.job)
        assert (old.created, new.created) == (NOON, LATER)

    def test_a_source_that_changes_meanwhile_is_noticed(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_folder(tmp_path / "flowers", HONEST)
        plan = plan_collection(source)
        (source / "dog/1.png").write_bytes(picture(99))
        with pytest.raises(DatasetError, match=r"flowers has another dog/1\.png than when it was looked at"):
            collect(s3, plan, INTO)
        (source / "dog/1.png").unlink()
        with pytest.raises(DatasetError, match="flowers has fewer pictures than when it was looked at"):
            collect(s3, plan, INTO)
        assert read_collection(s3, INTO) is None

    def test_the_bytes_do_not_depend_on_the_order_in_the_archive(self, s3: S3Client, tmp_path: Path) -> None:
        twins = {**HONEST, "cat/9.png": picture(1), "dog/9.png": picture(2)}
        manifests = []
        for order in (twins, dict(reversed(twins.items()))):
            source = put_folder(tmp_path, {"flowers.tar": tarred(order)}) / "flowers.tar"
            body = read(s3, collected(s3, source).manifest)
            digest = plan_collection(source).origin.sha256
            manifests.append(body.replace(str(digest).encode(), b""))
        assert manifests[0] == manifests[1]

    def test_progress_ends_with_all(self, s3: S3Client, tmp_path: Path) -> None:
        looked: list[int] = []
        brought: list[tuple[int, int]] = []
        plan = plan_collection(put_zip(tmp_path, HONEST), on_progress=looked.append)
        collect(s3, plan, INTO, on_progress=lambda done, total: brought.append((done, total)))
        assert looked == [1, 2, 3, 4, 5, 6]
        assert brought == [(done, 6) for done in range(7)]

    def test_a_place_of_something_else_is_left_alone(self, s3: S3Client, tmp_path: Path) -> None:
        collected(s3, put_zip(tmp_path, HONEST))
        # The same bytes are the same source, whatever they are called.
        collected(s3, put_zip(tmp_path, HONEST, "renamed.zip"), address="https://example.com/flowers.zip")
        other = put_zip(tmp_path, {**HONEST, "cat/9.png": picture(90)}, "weeds.zip")
        with pytest.raises(
            DatasetError, match=r"holds what was collected from https.*flowers\.zip; collect into"
        ):
            collected(s3, other)
        elsewhere = S3Uri("s3://trash-photos/weeds/")
        write(s3, elsewhere / "images/mine.jpg", JPEG)
        with pytest.raises(
            DatasetError, match=r"images/mine\.jpg is not of weeds\.zip; collect into an empty"
        ):
            collected(s3, other, elsewhere)
        with pytest.raises(BucketNotFoundError):
            collected(s3, other, S3Uri("s3://no-such-bucket/x/"))

    def test_names_that_are_awkward_arrive_with_their_bytes(self, s3: S3Client, tmp_path: Path) -> None:
        names = [
            "a b.png",
            'it\'s "q".png',
            "+.png",
            "100%25.png",
            "new\nline.png",
            "ü ☂ 🗑️.png",
            "?x=1&y#z.png",
        ]
        names += ["back\\slash.png", "a\u2028b.png", "n" * 200 + ".png", "UPPER.PNG"]
        members = {f"{('cat', 'dog')[n % 2]}/{name}": picture(n) for n, name in enumerate(names)}
        source = put_folder(tmp_path / "flowers", {**MIT, **members})
        found = lines(s3, collected(s3, source))
        assert {line["gtlabel-source"]["member"] for line in found} == set(members)
        for line in found:
            assert read(s3, S3Uri(line["source-ref"])) == members[line["gtlabel-source"]["member"]]

    def test_a_path_too_long_for_s3_is_shortened(self, s3: S3Client, tmp_path: Path) -> None:
        deep = "/".join(["d" * 100] * 12)
        members = {**MIT, **folders("cat", "dog", above=f"{deep}/")}
        collection = collected(s3, put_zip(tmp_path, members))
        assert collection.classes == {"cat": 3, "dog": 3}
        assert len({line["source-ref"] for line in lines(s3, collection)}) == 6


class TestClasses:
    def test_classes_can_be_chosen_and_ordered(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_zip(tmp_path, {**MIT, **folders("ant", "bee", "cat", "dog")})
        collection = collected(s3, source, classes=["dog", "bee"])
        assert list(collection.classes.items()) == [("dog", 3), ("bee", 3)]
        assert collection.left_out == {"ant": 3, "cat": 3}
        assert {line["label"] for line in lines(s3, collection) if "/bee/" in line["source-ref"]} == {1}
        assert json.loads(read(s3, INTO / "classes.json"))["labels"] == [{"label": "dog"}, {"label": "bee"}]
        with pytest.raises(ClassListError, match="of class 'catt'; did you mean 'cat'"):
            collected(s3, source, classes=["dog", "catt"])

    def test_a_vocabulary_renames_merges_and_removes(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_zip(tmp_path, {**MIT, **folders("ant", "bee", "cat", "Cat")})
        with pytest.raises(ClassListError, match="'Cat' and 'cat' differ only in spelling"):
            plan_collection(source)
        text = '[rename]\n"Cat" = "cat"\n"ant" = "insect"\n"bee" = "insect"\n"bug" = "insect"\n'
        vocabulary = Vocabulary.parse(text, "v.toml")
        plan = plan_collection(source, CollectionWishes(vocabulary=vocabulary))
        assert "classes that are not there: 'bug'" in plan.notes[0]
        assert collect(s3, plan, INTO).classes == {"cat": 6, "insect": 6}
        without = Vocabulary.parse('[remove]\nclasses = ["cat", "Cat"]', "v.toml")
        collection = collected(s3, source, S3Uri("s3://trash-photos/other"), vocabulary=without)
        assert (collection.classes, collection.left_out) == ({"ant": 3, "bee": 3}, {"Cat": 3, "cat": 3})

    def test_a_picture_under_two_classes_is_of_neither(self, tmp_path: Path) -> None:
        plan = plan_collection(
            put_zip(tmp_path, {**HONEST, "dog/x.png": picture(0), "cat/x.png": picture(0)})
        )
        assert {item.path: item.reason for item in plan.chosen.aside} == {
            "cat/0.png": "is the same picture as dog/x.png, which is of class 'dog'",
            "cat/x.png": "is the same picture as dog/x.png, which is of class 'dog'",
            "dog/x.png": "is the same picture as cat/0.png, which is of class 'cat'",
        }
        assert plan.notes == (
            "3 pictures lie under two classes, and nobody can say which is right; they were set aside",
        )

    def test_one_class_alone_can_be_collected(self, s3: S3Client, tmp_path: Path) -> None:
        collection = collected(s3, put_zip(tmp_path, {**MIT, **folders("cat")}))
        assert (collection.classes, lines(s3, collection)[0]["label"]) == ({"cat": 3}, 0)

    def test_test_pictures_that_are_in_training_too_are_told(self, tmp_path: Path) -> None:
        members = {**folders("cat", "dog", above="train/"), **folders("cat", above="test/")}
        plan = plan_collection(put_zip(tmp_path, {**MIT, **members}))
        assert plan.chosen.repeated == 3
        assert plan.notes == (
            "3 pictures lie in more than one of the folders for training, validation and test",
        )

    def test_a_dataset_of_our_own_gives_its_classes_back(self, s3: S3Client, tmp_path: Path) -> None:
        names = ["Plastic & co", "../../etc", "Straße", "w" * 256]
        members = {f"classes/{folder_of(name)}/{n}.png": picture(n) for n, name in enumerate(names)}
        listed = json.dumps(names).encode()
        collection = collected(s3, put_zip(tmp_path, {**members, "classes.json": listed}), licence="unknown")
        assert classes_of(s3, collection) == {
            f"classes/{folder_of(name)}/{n}.png": name for n, name in enumerate(names)
        }

    def test_only_what_lies_within_counts(self, s3: S3Client, tmp_path: Path) -> None:
        members = {
            **MIT,
            **folders("cat", "dog", above="repo/data/"),
            **folders("figures", above="repo/", first=40),
        }
        source = put_zip(tmp_path, members)
        assert list(plan_collection(source).chosen.classes) == ["data", "figures"]
        assert collected(s3, source, within="repo/data/").classes == {"cat": 3, "dog": 3}
        with pytest.raises(DatasetError, match=r"there are no pictures in flowers\.zip below 'repo/dat'"):
            plan_collection(source, CollectionWishes(within="repo/dat"))

    def test_nothing_to_collect_says_what_there_is(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"no pictures in flowers\.zip, only other files: 2 \.csv"):
            plan_collection(put_zip(tmp_path, {"a.csv": b"", "b.csv": b""}))
        with pytest.raises(
            DatasetError, match="none of the 1 pictures .* cat/1.jpg is a JPEG that is cut off"
        ):
            plan_collection(put_zip(tmp_path, {"cat/1.jpg": JPEG[:700]}))
        with pytest.raises(
            DatasetError, match="there is no folder and no archive at .*nowhere; check the path"
        ):
            plan_collection(tmp_path / "nowhere")
        with pytest.raises(DatasetError, match="its classes are cat, dog"):
            plan_collection(put_zip(tmp_path, HONEST), CollectionWishes(classes=["cow", "hen"]))


class TestFolders:
    def test_links_and_hidden_files_stay_out(self, tmp_path: Path) -> None:
        secret = put_folder(tmp_path / "private", {"secret.png": picture(77)})
        source = put_folder(tmp_path / "flowers", {**HONEST, ".git/x.png": picture(78), "cat/._0.png": b"x"})
        (source / "cat/link.png").symlink_to(secret / "secret.png")
        (source / "cow").symlink_to(secret, target_is_directory=True)
        plan = plan_collection(source)
        assert len(plan.chosen.labeled) == 6
        assert [(item.path, item.reason) for item in plan.chosen.aside] == [
            ("cat/link.png", "is a link; --follow-links takes what it points to")
        ]
        followed = plan_collection(source, CollectionWishes(follow_links=True)).chosen
        assert "cat/link.png" in {item.picture.path for item in followed.labeled}

    def test_a_name_that_is_no_utf8_is_told(self, tmp_path: Path) -> None:
        source = put_folder(tmp_path / "flowers", HONEST)
        (source / os.fsdecode(b"cat/br\xe4t.png")).write_bytes(picture(50))
        aside = plan_collection(source).chosen.aside
        assert [(item.path, item.reason) for item in aside] == [
            ("cat/br%E4t.png", "has a name that is no UTF-8; rename it")
        ]

    def test_what_nobody_may_read_is_set_aside(self, tmp_path: Path) -> None:
        source = put_folder(tmp_path / "flowers", HONEST)
        (source / "cat/gone.png").symlink_to(tmp_path / "nowhere.png")
        chosen = plan_collection(source, CollectionWishes(follow_links=True)).chosen
        assert [item.reason for item in chosen.aside] == ["cannot be read: No such file or directory"]


class TestInS3:
    def put_open_data(self, s3: S3Client) -> S3Uri:
        source = S3Uri("s3://trash-photos/open/")
        for name, body in {
            **HONEST,
            "cat/broken.jpg": JPEG[:2000],
            "cat/twin.png": HONEST["cat/0.png"],
        }.items():
            write(s3, source / name, body)
        return source

    def test_pictures_can_stay_where_they_are(self, s3: S3Client) -> None:
        source, puts = self.put_open_data(s3), Puts(s3)
        plan = plan_collection(source, s3=s3)
        collection = collect(s3, plan, INTO, in_place=True, now=lambda: NOON)
        assert puts.pictures == []
        assert {line["source-ref"] for line in lines(s3, collection)} == {
            source / name for name in HONEST if name.endswith("png")
        }
        assert (collection.in_place, collection.images, collection.repeated) == (True, 6, 1)
        aside = [json.loads(line)["member"] for line in read(s3, INTO / "set-aside.jsonl").splitlines()]
        assert aside == ["cat/broken.jpg", "cat/twin.png"]

    def test_what_is_not_in_s3_cannot_stay_there(self, s3: S3Client, tmp_path: Path) -> None:
        with pytest.raises(
            DatasetError, match=r"flowers\.zip are no objects in S3 yet and cannot stay in place"
        ):
            collect(s3, plan_collection(put_zip(tmp_path, HONEST)), INTO, in_place=True)

    def test_pictures_are_copied_inside_s3_once(self, s3: S3Client) -> None:
        source, puts = self.put_open_data(s3), Puts(s3)
        collected(s3, source)
        assert len(puts.pictures) == 6
        whole = tree(s3)
        collected(s3, source)
        assert len(puts.pictures) == 6
        assert tree(s3) == whole
        assert read(s3, INTO / "images/dog/2.png") == HONEST["dog/2.png"]

    def test_a_collection_does_not_go_where_it_would_be_found_again(self, s3: S3Client) -> None:
        source = self.put_open_data(s3)
        plan = plan_collection(source, s3=s3)
        with pytest.raises(DatasetError, match="lies within s3://trash-photos/open/, and would be collected"):
            collect(s3, plan, source / "labeled/")
        first = collect(s3, plan, source, in_place=True, now=lambda: NOON)
        again = plan_collection(source, s3=s3)
        assert collect(s3, again, source, in_place=True, now=lambda: LATER) == first

    def test_an_archive_that_changes_meanwhile_is_noticed(self, s3: S3Client) -> None:
        source = S3Uri("s3://trash-photos/flowers.zip")
        write(s3, source, zipped(HONEST))
        plan = plan_collection(source, s3=s3)
        write(s3, source, zipped(folders("cat", "dog", first=60)))
        with pytest.raises(Exception, match=r"flowers\.zip was changed by somebody else meanwhile"):
            collect(s3, plan, INTO)


class TestLicence:
    def test_who_knows_no_licence_must_say_so(self, s3: S3Client, tmp_path: Path) -> None:
        source = put_folder(tmp_path / "flowers", folders("cat", "dog"))
        with pytest.raises(
            DatasetError, match=r"nothing in flowers says .* or --licence unknown if nobody knows"
        ):
            plan_collection(source)
        assert collected(s3, source, licence="unknown").licence == "unknown"

    def test_a_licence_that_is_told_wins_over_one_that_is_found(self, s3: S3Client, tmp_path: Path) -> None:
        plan = plan_collection(put_zip(tmp_path, HONEST), CollectionWishes(licence="CC-BY-4.0"))
        assert plan.notes == ("LICENSE names the licence MIT; recorded is CC-BY-4.0, as was said",)
        collection = collect(s3, plan, INTO)
        assert {line["gtlabel-licence"] for line in lines(s3, collection)} == {"CC-BY-4.0"}
        assert read(s3, INTO / "licence/LICENSE") == HONEST["LICENSE"]
