"""Datasets: class folders, channels, and that nothing half-written is taken for whole."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtlabel.datasets.channels import read_channel, read_dataset
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.datasets.folders import class_of, folder_of
from gtlabel.errors import BucketNotFoundError, ClassListError, DatasetError, ManifestError, ManifestLineError
from gtlabel.manifests.classes import check_classes
from gtlabel.manifests.split import CHANNELS, Shares
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import list_objects, read, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

INTO = S3Uri("s3://trash-photos/dataset/")
BINS = ("Compost", "Landfill", "Recycle")
AWKWARD = (
    "a b.jpg",
    'it\'s "quoted".jpg',
    "+plus+.jpg",
    "100%25.jpg",
    "new\nline.jpg",
    "Tonne ü ☂ 🗑️.jpg",
    "what?x=1&y#z.jpg",
    "a\u2028b\u0085c.jpg",
    "back\\slash.jpg",
    ".hidden",
    "..",
    "no-suffix",
    "n" * 300 + ".jpg",
)


def address(name: str) -> S3Uri:
    return S3Uri.of("trash-photos", f"images/{name}")


def line(name: str, class_name: str, classes: tuple[str, ...] = BINS, **facts: Any) -> dict[str, Any]:
    metadata = {
        "confidence": facts.get("confidence", 0.95),
        "job-name": f"labeling-job/{facts.get('job', 'bins')}",
        "class-name": class_name,
        "human-annotated": "yes",
        "creation-date": facts.get("created", "2026-11-22T10:11:12.345678"),
        "type": "groundtruth/image-classification",
    }
    return {"source-ref": address(name), "bin": classes.index(class_name), "bin-metadata": metadata}


def put_job(s3: S3Client, lines: list[dict[str, Any]], name: str = "bins") -> S3Uri:
    """A job's output manifest, and an object for each of its images."""
    manifest = S3Uri(f"s3://trash-photos/jobs/{name}/manifests/output/output.manifest")
    for item in lines:
        write(s3, S3Uri(item["source-ref"]), f"picture {item['source-ref']}".encode())
    write_lines(s3, manifest, [json.dumps(item).encode() for item in lines])
    return manifest


def put_bins(s3: S3Client, count: int = 12) -> JobOutput:
    manifest = put_job(s3, [line(f"{n}.jpg", BINS[n % 3]) for n in range(count)])
    return JobOutput(manifest, "bin", BINS, "bins")


def tree(s3: S3Client, prefix: S3Uri = INTO) -> dict[str, bytes]:
    return {item.uri.key: read(s3, item.uri) for item in list_objects(s3, prefix)}


class TestConsolidating:
    def test_every_image_is_in_its_class_folder_and_in_one_channel(self, s3: S3Client) -> None:
        dataset = consolidate(s3, [put_bins(s3)], INTO)
        examples = [item for channel in CHANNELS for item in read_channel(s3, dataset, channel)]
        assert {item.original for item in examples} == {address(f"{n}.jpg") for n in range(12)}
        assert len(examples) == dataset.images == 12
        for item in examples:
            number = int(item.original.name.removesuffix(".jpg"))
            assert item.class_name == BINS[number % 3]
            assert item.image == INTO / "classes" / item.class_name / item.original.name
            assert read(s3, item.image) == read(s3, item.original)

    def test_a_channel_line_is_what_ground_truth_would_write(self, s3: S3Client) -> None:
        dataset = consolidate(s3, [put_bins(s3)], INTO)
        first = json.loads(read(s3, dataset.channels["train"].manifest).splitlines()[0])
        name = first["original-ref"].rpartition("/")[2]
        bin_name = first["label-metadata"]["class-name"]
        assert first == {
            "source-ref": f"s3://trash-photos/dataset/classes/{bin_name}/{name}",
            "label": BINS.index(bin_name),
            "label-metadata": line(name, bin_name)["bin-metadata"],
            "original-ref": address(name),
        }
        assert json.loads(read(s3, INTO / "classes.json")) == list(BINS)

    def test_the_counts_and_digests_of_the_dataset_file_are_those_of_the_files(self, s3: S3Client) -> None:
        dataset = read_dataset(s3, consolidate(s3, [put_bins(s3)], INTO).uri)
        assert dataset.attribute == "label"
        for channel in dataset.channels.values():
            body = read(s3, channel.manifest)
            assert sha256(body).hexdigest() == channel.sha256
            assert len(body.splitlines()) == channel.images
        for item in dataset.classes:
            assert len(list(list_objects(s3, item.folder))) == item.train + item.validation

    def test_what_is_read_is_what_was_made(self, s3: S3Client) -> None:
        made = consolidate(s3, [put_bins(s3)], S3Uri("s3://trash-photos/dataset"))
        assert read_dataset(s3, S3Uri("s3://trash-photos/dataset")) == read_dataset(s3, INTO) == made

    def test_images_without_a_label_are_counted_and_left_out(self, s3: S3Client) -> None:
        failed = {"source-ref": address("f"), "bin-metadata": {"failure-reason": "expired", "retry-count": 1}}
        lines = [line(f"{n}.jpg", BINS[n % 2]) for n in range(6)]
        manifest = put_job(s3, [failed, *lines, {"source-ref": address("u")}, failed])
        source = consolidate(s3, [manifest], INTO).sources[0]
        assert (source.labeled, source.failed, source.unlabeled) == (6, 2, 1)
        assert source.reasons == {"expired": 2}
        assert source.attribute == "bin"

    def test_labeled_images_that_are_gone_are_named(self, s3: S3Client) -> None:
        job = put_bins(s3)
        s3.delete_object(Bucket="trash-photos", Key=address("3.jpg").key)
        dataset = consolidate(s3, [job], INTO)
        assert (dataset.images, dataset.missing) == (11, (address("3.jpg"),))

    def test_awkward_keys_arrive_with_their_bytes(self, s3: S3Client) -> None:
        lines = [line(name, BINS[n % 3]) for n, name in enumerate(AWKWARD)]
        dataset = consolidate(s3, [put_job(s3, lines)], INTO)
        examples = [item for channel in CHANNELS for item in read_channel(s3, dataset, channel)]
        assert {item.original for item in examples} == {address(name) for name in AWKWARD}
        for item in examples:
            assert read(s3, item.image) == f"picture {item.original}".encode()
            assert item.image.name not in ("", ".", "..")
            assert len(item.image.name.encode()) <= 255

    def test_images_of_one_name_stay_apart(self, s3: S3Client) -> None:
        names = ["a/1.jpg", "b/1.jpg", "c/1.JPG", "d/1.jpg"]
        lines = [line(name, "Compost") for name in names] + [line("2.jpg", "Recycle")]
        for order in (lines, lines[::-1]):
            dataset = consolidate(s3, [put_job(s3, order)], INTO)
            examples = [item for channel in CHANNELS for item in read_channel(s3, dataset, channel)]
            assert len({item.image.casefold() for item in examples}) == 5
            assert {item.original.key: item.image.name for item in examples}["images/a/1.jpg"] == "1.jpg"

    def test_the_channels_do_not_depend_on_how_the_labels_arrive(self, s3: S3Client) -> None:
        lines = [line(f"{n}.jpg", BINS[n % 3]) for n in range(12)]
        together = consolidate(s3, [JobOutput(put_job(s3, lines), "bin", BINS)], INTO)
        parts = [put_job(s3, lines[7:], "second"), put_job(s3, lines[:7], "first")]
        apart = consolidate(s3, [JobOutput(part, "bin", BINS) for part in parts], INTO)
        assert together.channels == apart.channels

    def test_progress_ends_with_all(self, s3: S3Client) -> None:
        seen: list[tuple[int, int]] = []
        consolidate(s3, [put_bins(s3)], INTO, on_progress=lambda done, total: seen.append((done, total)))
        assert seen == [(done, 12) for done in range(13)]

    def test_a_missing_bucket_is_named(self, s3: S3Client) -> None:
        with pytest.raises(BucketNotFoundError, match="'no-such-bucket'"):
            consolidate(s3, [put_bins(s3)], S3Uri("s3://no-such-bucket/d/"))


class TestManyJobs:
    def test_classes_are_joined_by_name_and_never_by_number(self, s3: S3Client) -> None:
        other = ("Recycle", "Compost", "Glass")
        first = put_job(s3, [line(f"{n}.jpg", BINS[n % 3]) for n in range(6)], "one")
        second = put_job(s3, [line(f"{n}.jpg", other[n % 3], other, job="two") for n in range(10, 16)], "two")
        jobs = [JobOutput(first, "bin", BINS, "one"), JobOutput(second, "bin", other, "two")]
        dataset = consolidate(s3, jobs, INTO)
        assert list(dataset.names) == ["Compost", "Landfill", "Recycle", "Glass"]
        for channel in CHANNELS:
            for item in read_channel(s3, dataset, channel):
                number = int(item.original.name.removesuffix(".jpg"))
                assert item.class_name == (BINS[number % 3] if number < 10 else other[number % 3])

    def test_the_class_list_can_be_the_file_the_job_used(self, s3: S3Client) -> None:
        where = S3Uri("s3://trash-photos/jobs/data.json")
        write(s3, where, check_classes(["Nothing", *BINS]).to_json())
        lines = [line(f"{n}.jpg", BINS[n % 3], ("Nothing", *BINS)) for n in range(6)]
        dataset = consolidate(s3, [JobOutput(put_job(s3, lines), classes=where, name="bins")], INTO)
        assert [(item.name, item.train + item.validation) for item in dataset.classes] == [
            ("Nothing", 0),
            ("Compost", 2),
            ("Landfill", 2),
            ("Recycle", 2),
        ]

    def test_a_bare_number_means_what_the_class_list_says(self, s3: S3Client) -> None:
        lines = [{"source-ref": address(f"{n}.jpg"), "bin": str(n % 2)} for n in range(4)]
        manifest = put_job(s3, lines)
        dataset = consolidate(s3, [JobOutput(manifest, "bin", BINS)], INTO)
        assert [item.train + item.validation for item in dataset.classes] == [2, 2, 0]
        with pytest.raises(ManifestError, match=r"output\.manifest, line 1: .*is of class 0, and neither"):
            consolidate(s3, [JobOutput(manifest, "bin")], INTO)

    def test_a_list_that_contradicts_the_lines_is_refused(self, s3: S3Client) -> None:
        manifest = put_bins(s3).manifest
        with pytest.raises(ClassListError, match="job bins: 0 means 'Recycle' in one place and 'Compost'"):
            consolidate(s3, [JobOutput(manifest, "bin", BINS[::-1], "Bins")], INTO)

    def test_an_earlier_job_of_the_chain_may_have_had_another_list(self, s3: S3Client) -> None:
        old = [line(f"{n}.jpg", BINS[n % 3], BINS[::-1], job="old") for n in range(3)]
        new = [line(f"{n}.jpg", BINS[n % 3], job="new") for n in range(3, 9)]
        dataset = consolidate(s3, [JobOutput(put_job(s3, old + new), "bin", BINS, "new")], INTO)
        assert [item.train + item.validation for item in dataset.classes] == [3, 3, 3]

    def test_the_newest_of_two_opinions_holds_and_both_are_told(self, s3: S3Client) -> None:
        first = put_job(s3, [line(f"{n}.jpg", BINS[n % 3]) for n in range(6)], "one")
        later = line("0.jpg", "Recycle", job="two", created="2026-12-24T00:00:00.000000")
        jobs = [JobOutput(put_job(s3, [later], "two"), "bin", BINS), JobOutput(first, "bin", BINS)]
        told = consolidate(s3, jobs, INTO).disagreements
        assert [(item.image, item.kept, item.dropped) for item in told] == [
            (address("0.jpg"), "Recycle", ("Compost",))
        ]

    def test_two_spellings_are_refused_until_one_is_renamed(self, s3: S3Client) -> None:
        other = ("compost", "Landfill")
        first = JobOutput(put_job(s3, [line(f"{n}.jpg", BINS[n % 3]) for n in range(6)], "one"), "bin", BINS)
        lines = [line(f"{n}.jpg", other[n % 2], other, job="two") for n in range(10, 14)]
        second = JobOutput(put_job(s3, lines, "two"), "bin", other)
        with pytest.raises(ClassListError, match="'Compost' and 'compost' differ only in spelling"):
            consolidate(s3, [first, second], INTO)
        dataset = consolidate(s3, [first, second], INTO, vocabulary=Vocabulary({"compost": "Compost"}))
        assert [item.train + item.validation for item in dataset.classes] == [4, 4, 2]


class TestRefusals:
    def test_a_place_without_a_dataset_says_what_to_run(self, s3: S3Client) -> None:
        with pytest.raises(DatasetError, match=r"no finished dataset at s3://trash-photos/dataset/; run gtl"):
            read_dataset(s3, INTO)

    def test_a_dataset_file_of_something_else_is_refused(self, s3: S3Client) -> None:
        write(s3, INTO / "dataset.json", b'{"format":"other"}')
        with pytest.raises(DatasetError, match="dataset.json cannot be used: 'format'"):
            read_dataset(s3, INTO)

    @pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
    def test_a_share_outside_0_and_1_is_refused(self, s3: S3Client, share: float) -> None:
        with pytest.raises(DatasetError, match="must lie between 0 and 1"):
            consolidate(s3, [put_bins(s3)], INTO, shares=Shares(validation=share))

    def test_no_job_is_no_dataset(self, s3: S3Client) -> None:
        with pytest.raises(DatasetError, match="no job is given"):
            consolidate(s3, [], INTO)

    @pytest.mark.parametrize(
        ("names", "why"),
        [
            ([], "no line of .* has a label"),
            (["Compost", "Compost"], "all 2 labeled images are 'Compost'"),
            (["Compost", "Recycle"], "no class has two labeled images"),
        ],
    )
    def test_labels_that_cannot_train_are_refused(self, s3: S3Client, names: list[str], why: str) -> None:
        manifest = put_job(s3, [line(f"{n}.jpg", name) for n, name in enumerate(names)])
        with pytest.raises((DatasetError, ClassListError), match=why):
            consolidate(s3, [JobOutput(manifest, classes=BINS)], INTO)

    def test_a_misspelled_attribute_is_told_apart_from_no_labels(self, s3: S3Client) -> None:
        job = JobOutput(put_bins(s3).manifest, "bins")
        with pytest.raises(DatasetError, match=r"has no 'bins' label .*its lines have 'bin'"):
            consolidate(s3, [job], INTO)

    def test_several_attributes_and_no_choice_are_refused(self, s3: S3Client) -> None:
        item = line("1.jpg", "Compost")
        item["color-metadata"] = {}
        with pytest.raises(DatasetError, match=r"\(bin, color\); say which to use"):
            consolidate(s3, [put_job(s3, [item])], INTO)

    def test_a_broken_line_is_named_with_its_number(self, s3: S3Client) -> None:
        manifest = put_bins(s3).manifest
        write(s3, manifest, read(s3, manifest) + b"{broken\n")
        with pytest.raises(ManifestLineError, match=r"output\.manifest, line 13: not JSON"):
            consolidate(s3, [JobOutput(manifest, "bin")], INTO)
        assert tree(s3) == {}

    def test_folders_that_hold_something_else_are_left_alone(self, s3: S3Client) -> None:
        job = put_bins(s3)
        consolidate(s3, [job], INTO)
        whole = tree(s3)
        changed = [line(f"{n}.jpg", BINS[(n + (n == 5)) % 3]) for n in range(12)]
        relabeled = JobOutput(put_job(s3, changed), "bin", BINS, "bins")
        with pytest.raises(DatasetError, match=r"Recycle/5\.jpg is not of this dataset"):
            consolidate(s3, [relabeled], INTO)
        assert tree(s3) == whole


class CutOffError(Exception):
    """The network went away, or the process did."""


class TestInterruption:
    def test_a_run_killed_at_any_request_is_completed_by_the_next(self, s3: S3Client) -> None:
        job = put_bins(s3, 4)
        requests = Requests(s3)
        consolidate(s3, [job], INTO, workers=1)
        whole = tree(s3)
        last = requests.count
        for at in range(1, last + 1):
            s3.delete_objects(Bucket="trash-photos", Delete={"Objects": [{"Key": key} for key in tree(s3)]})
            requests.forget(kill_at=at)
            with pytest.raises(CutOffError):
                consolidate(s3, [job], INTO, workers=1)
            with pytest.raises(DatasetError, match="no finished dataset"):
                read_dataset(s3, INTO)
            copied = requests.copies
            requests.forget()
            consolidate(s3, [job], INTO)
            assert tree(s3) == whole
            assert copied + requests.copies == 4

    def test_a_run_killed_over_an_older_dataset_leaves_none(self, s3: S3Client) -> None:
        consolidate(s3, [put_bins(s3, 8)], INTO)
        requests = Requests(s3)
        grown = put_bins(s3, 12)
        consolidate(s3, [grown], S3Uri("s3://trash-photos/elsewhere/"))
        requests.forget(kill_at=3)
        with pytest.raises(CutOffError):
            consolidate(s3, [grown], INTO, workers=1)
        with pytest.raises(DatasetError, match="no finished dataset"):
            read_dataset(s3, INTO)
        requests.forget()
        assert consolidate(s3, [grown], INTO) == read_dataset(s3, INTO)

    def test_a_second_run_copies_nothing_and_changes_nothing(self, s3: S3Client) -> None:
        job = put_bins(s3)
        consolidate(s3, [job], INTO)
        whole, requests = tree(s3), Requests(s3)
        consolidate(s3, [job], INTO)
        assert requests.copies == 0
        assert tree(s3) == whole

    def test_a_picture_that_changed_is_copied_again(self, s3: S3Client) -> None:
        job = put_bins(s3)
        consolidate(s3, [job], INTO)
        write(s3, address("4.jpg"), b"a better one")
        requests = Requests(s3)
        consolidate(s3, [job], INTO)
        assert requests.copies == 1
        assert read(s3, INTO / "classes/Landfill/4.jpg") == b"a better one"

    def test_a_copy_that_fails_stops_the_others_and_is_told(self, s3: S3Client) -> None:
        job = put_bins(s3, 30)
        requests = Requests(s3)
        requests.forget(kill_at=3)
        with pytest.raises(CutOffError):
            consolidate(s3, [job], INTO, workers=2)
        assert requests.count < 10


class Requests:
    """Counts the requests that change something, and ends the process's life at one of them."""

    def __init__(self, s3: S3Client) -> None:
        self.forget()
        for operation in ("CopyObject", "PutObject"):
            s3.meta.events.register(f"before-call.s3.{operation}", self._meet)

    def forget(self, kill_at: int = 0) -> None:
        self.count = self.copies = 0
        self.kill_at = kill_at

    def _meet(self, model: Any, **_: Any) -> None:
        self.count += 1
        if self.count == self.kill_at:
            raise CutOffError
        self.copies += model.name == "CopyObject"


class TestFolders:
    @given(name=st.text(min_size=1, max_size=60).filter(lambda name: len(folder_of(name)) <= 200))
    def test_a_folder_gives_the_class_name_back(self, name: str) -> None:
        folder = folder_of(name)
        assert "/" not in folder
        assert folder not in ("", ".", "..")
        assert folder.isascii()
        if "~" not in folder:
            assert class_of(folder) == name

    @given(names=st.lists(st.text(min_size=1, max_size=256), unique=True, min_size=2, max_size=6))
    def test_two_classes_never_share_a_folder(self, names: list[str]) -> None:
        folders = [folder_of(name) for name in names]
        assert len(set(folders)) == len(folders)
        assert all(len(folder) <= 200 for folder in folders)

    @pytest.mark.parametrize(
        ("name", "folder"),
        [
            ("Compost", "Compost"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("Plastic & co", "Plastic%20%26%20co"),
            ("~", "%7E"),
        ],
    )
    def test_hostile_names_become_harmless_folders(self, name: str, folder: str) -> None:
        assert (folder_of(name), class_of(folder)) == (folder, name)

    def test_the_longest_class_name_has_a_folder_and_images(self, s3: S3Client) -> None:
        classes = ("🗑" * 256, "<b>Paper</b>")
        lines = [line(f"{n}.jpg", classes[n % 2], classes) for n in range(4)]
        dataset = consolidate(s3, [JobOutput(put_job(s3, lines), "bin", classes)], INTO)
        assert dataset.names[0] == classes[0]
        assert [len(list(list_objects(s3, item.folder))) for item in dataset.classes] == [2, 2]
