"""Many jobs, one dataset: every label right by name, whatever the jobs numbered and called things."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dataset_parts import (
    BINS,
    BUCKET,
    INTO,
    address,
    examples,
    labels,
    line,
    lines_of,
    put_answers,
    put_job,
    said,
    tree,
)
from moto import mock_aws
from PIL import Image

from gtlabel.aws import Aws
from gtlabel.datasets.certificate import verify
from gtlabel.datasets.channels import read_dataset
from gtlabel.datasets.consolidate import JobOutput, consolidate
from gtlabel.errors import ClassListError, DatasetError, ManifestError
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.merge import Policy
from gtlabel.manifests.split import Shares
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import list_objects, read, write, write_lines
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

RECORDED = Path(__file__).parent / "recorded" / "ground-truth-job"
SPRING = ("Compost", "Landfill", "Recycle")
SUMMER = ("recycle", "Landfill", "Compost", "Not sure")
CHECK = ("Landfill", "Recycle", "Compost")
VOCABULARY = Vocabulary({"recycle": "Recycle"}, frozenset({"Not sure"}))


@pytest.fixture(scope="module")
def account() -> Iterator[S3Client]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
            patch.delenv(name, raising=False)
        client = Aws(region="us-east-1").s3
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def s3(account: S3Client) -> S3Client:
    for item in list_objects(account, S3Uri(f"s3://{BUCKET}/")):
        account.delete_object(Bucket=BUCKET, Key=item.uri.key)
    return account


def photograph(seed: int, quality: int) -> bytes:
    """A picture unlike that of any other seed."""
    chance = random.Random(seed)
    small = Image.frombytes("RGB", (8, 8), chance.randbytes(192))
    data = io.BytesIO()
    small.resize((160, 120), Image.Resampling.BICUBIC).save(data, "JPEG", quality=quality)
    return data.getvalue()


def three_jobs(s3: S3Client) -> list[JobOutput]:
    """Two jobs with other orders and spellings that overlap, and a third chained to the first.

    Pictures 0-11 are spring's, 8-19 summer's; 0-3 were looked at again under another attribute.
    """
    spring = {n: said(SPRING[n % 3], SPRING, job="spring", created="2026-03-01T00:00:00") for n in range(12)}
    summer = {
        n: said(SUMMER[n % 4], SUMMER, job="summer", created="2026-07-01T00:00:00") for n in range(8, 20)
    }
    # Older by its clock than summer, and than spring for picture 3.
    check = {
        n: said("Landfill", CHECK, attribute="checked", job="check", created="2026-02-01T00:00:00")
        for n in range(4)
    }
    chained = [
        line(f"{n}.jpg", keys, *([check[n]] if n in check else [])) for n, keys in sorted(spring.items())
    ]
    return [
        JobOutput(
            put_job(s3, "spring", [line(f"{n}.jpg", spring[n]) for n in spring]), "bin", SPRING, "spring"
        ),
        JobOutput(
            put_job(s3, "summer", [line(f"{n}.jpg", summer[n]) for n in summer]), "bin", SUMMER, "summer"
        ),
        JobOutput(put_job(s3, "check", chained), "checked", CHECK, "check"),
    ]


def by_name(number: int, *, adjusted: bool) -> str | None:
    """What picture `number` of the three jobs is, by the names alone."""
    if number < 4 and adjusted:
        return "Landfill"
    if number >= 8 and SUMMER[number % 4] != "Not sure":
        return {"recycle": "Recycle"}.get(SUMMER[number % 4], SUMMER[number % 4])
    return SPRING[number % 3] if number < 12 else None


class TestThreeJobs:
    def test_every_label_is_right_by_name(self, s3: S3Client) -> None:
        dataset = consolidate(s3, three_jobs(s3), INTO, policy="adjustment", vocabulary=VOCABULARY)
        expected = {f"{n}.jpg": by_name(n, adjusted=True) for n in range(20)}
        assert labels(s3, dataset) == {name: of for name, of in expected.items() if of}
        assert list(dataset.names) == ["Compost", "Landfill", "Recycle"]
        for name, item in lines_of(s3, dataset).items():
            assert dataset.names[item["label"]] == item["label-metadata"]["class-name"] == expected[name]
        for example in examples(s3, dataset):
            assert example.image.folder == INTO / "classes" / f"{example.class_name}/"
            assert read(s3, example.image) == f"picture {example.original}".encode()
        assert [source.removed for source in dataset.sources] == [0, 3, 0]
        assert verify(s3, INTO) == []

    def test_the_newest_holds_against_an_adjustment_with_an_older_clock(self, s3: S3Client) -> None:
        dataset = consolidate(s3, three_jobs(s3), INTO, vocabulary=VOCABULARY)
        expected = {f"{n}.jpg": by_name(n, adjusted=False) for n in range(20)}
        assert labels(s3, dataset) == {name: of for name, of in expected.items() if of}

    def test_the_lineage_tells_what_was_decided_and_what_was_renamed(self, s3: S3Client) -> None:
        dataset = consolidate(s3, three_jobs(s3), INTO, policy="adjustment", vocabulary=VOCABULARY)
        told = lines_of(s3, dataset)
        assert "gtlabel-lineage" not in told["5.jpg"]
        adjusted = told["0.jpg"]["gtlabel-lineage"]
        assert adjusted["policy"] == "adjustment"
        assert adjusted["kept"]["job-name"] == "labeling-job/check"
        assert [item["class-name"] for item in adjusted["dropped"]] == ["Compost"]
        renamed = told["16.jpg"]["gtlabel-lineage"]["kept"]
        assert (renamed["class-name"], renamed["renamed-from"]) == ("Recycle", "recycle")

    def test_disputed_pictures_come_out_as_an_input_manifest(self, s3: S3Client) -> None:
        dataset = consolidate(s3, three_jobs(s3), INTO, policy="adjustment", vocabulary=VOCABULARY)
        disputed = [json.loads(text) for text in read(s3, INTO / "disputed.manifest").splitlines()]
        images = sorted(address(f"{n}.jpg") for n in range(12) if by_name(n, adjusted=n < 4) != SPRING[n % 3])
        assert disputed == [{"source-ref": image} for image in images]
        assert dataset.disputed == len(images)
        assert {item.image for item in dataset.disagreements} == set(images)

    def test_refusing_leaves_the_disputed_to_be_labeled_again_and_nothing_else(self, s3: S3Client) -> None:
        with pytest.raises(DatasetError, match=r"jobs disagree on \d+ images, .* gtlabel label s3://"):
            consolidate(s3, three_jobs(s3), INTO, policy="refuse", vocabulary=VOCABULARY)
        assert list(tree(s3)) == ["dataset/disputed.manifest"]

    def test_a_spelling_that_nobody_settled_is_refused(self, s3: S3Client) -> None:
        with pytest.raises(ClassListError, match="'Recycle' and 'recycle' differ only in spelling"):
            consolidate(s3, three_jobs(s3), INTO)

    def test_the_order_of_the_jobs_changes_no_label_and_no_channel(self, s3: S3Client) -> None:
        jobs = three_jobs(s3)
        orders: tuple[Policy, ...] = ("newest", "adjustment")
        for policy in orders:
            told = []
            for order in (jobs, jobs[::-1]):
                dataset = consolidate(s3, order, INTO, policy=policy, vocabulary=VOCABULARY, mode="none")
                told.append(
                    {(item.original, item.class_name, item.channel) for item in examples(s3, dataset)}
                )
            assert told[0] == told[1]


class TestVotes:
    def test_the_answers_of_all_jobs_decide_together(self, s3: S3Client) -> None:
        old = said("Compost", job="old", created="2026-01-01T00:00:00")
        new = said("Landfill", job="new", created="2026-05-01T00:00:00")
        first = put_job(s3, "old", [line("a.jpg", old), line("b.jpg", old), line("c.jpg", old)])
        second = put_job(s3, "new", [line("b.jpg", new), line("a.jpg", new), line("d.jpg", new)])
        put_answers(s3, "old", 0, {"ana": "Compost", "ben": "Compost", "eve": "Landfill"}, hour=9)
        put_answers(s3, "new", 1, {"cy": "Landfill", "ben": "Landfill", "dan": "Compost", "fay": "Compost"})
        dataset = consolidate(s3, [first, second], INTO, policy="votes")
        # Ben's newer answer counts, and his older one does not: 3 for compost, 3 for landfill, the newest.
        lineage = lines_of(s3, dataset)["a.jpg"]["gtlabel-lineage"]
        assert lineage["votes"] == {"Compost": 3, "Landfill": 3}
        assert labels(s3, dataset) == {
            "a.jpg": "Landfill",
            "b.jpg": "Landfill",
            "c.jpg": "Compost",
            "d.jpg": "Landfill",
        }
        # Nobody's answers about b.jpg are there, which the lineage says.
        assert lines_of(s3, dataset)["b.jpg"]["gtlabel-lineage"]["policy"] == "newest"


class TestChoosing:
    def test_what_does_not_meet_the_conditions_is_counted_and_left_out(self, s3: S3Client) -> None:
        lines = [line(f"{n}.jpg", said(BINS[n % 3], confidence=(0.5, 0.9)[n % 2])) for n in range(24)]
        choice = Choice(min_confidence=0.8, classes=frozenset({"Compost", "Recycle"}), cap_per_class=3)
        dataset = consolidate(s3, [JobOutput(put_job(s3, "bins", lines), "bin", BINS)], INTO, choice=choice)
        assert [(item.name, item.images) for item in dataset.classes] == [("Compost", 3), ("Recycle", 3)]
        assert (dataset.sources[0].left_out, dataset.capped) == (16, 2)

    def test_when_nothing_is_left_the_reason_is_told(self, s3: S3Client) -> None:
        manifest = put_job(s3, "bins", [line(f"{n}.jpg", said(BINS[n % 3])) for n in range(6)])
        with pytest.raises(DatasetError, match="of 6 labels of .* 6 do not meet the conditions"):
            consolidate(s3, [manifest], INTO, choice=Choice(jobs=frozenset({"other"})))


class TestWhatCannotBeUsed:
    def test_a_multi_label_job_is_refused_by_name(self, s3: S3Client) -> None:
        item = {
            "source-ref": address("1.jpg"),
            "tags": [1, 0],
            "tags-metadata": {"class-map": {"0": "a", "1": "b"}},
        }
        with pytest.raises(
            ManifestError, match=r"line 1: .*'tags' is \[1, 0\].*it comes from a multi-label job"
        ):
            consolidate(s3, [put_job(s3, "tags", [item])], INTO)

    def test_lines_that_cannot_be_used_are_set_aside_where_that_is_asked_for(self, s3: S3Client) -> None:
        manifest = put_job(s3, "bins", [line(f"{n}.jpg", said(BINS[n % 3])) for n in range(9)])
        multi = json.dumps({**line("m.jpg", said("Compost")), "bin": [1]}).encode()
        write_lines(s3, manifest, [b"{broken", *read(s3, manifest).splitlines(), b"", multi])
        seen: list[tuple[int, bytes, str]] = []
        dataset = consolidate(s3, [manifest], INTO, on_bad=lambda *bad: seen.append(bad))
        assert [(number, text) for number, text, _ in seen] == [(1, b"{broken"), (12, multi)]
        assert (dataset.images, dataset.sources[0].bad) == (9, 2)


class TestGrowing:
    def test_an_earlier_loan_stays_where_it_is_when_the_data_grows(self, s3: S3Client) -> None:
        few = [line(f"{n}.jpg", said(BINS[n % 2])) for n in range(4)]
        manifest = put_job(s3, "bins", few)
        shares = Shares(validation=0.01)
        before = consolidate(s3, [manifest], INTO, shares=shares)
        assert "stands in for it" in before.warnings[0]
        where = {item.original: item.channel for item in examples(s3, before)}
        put_job(s3, "bins", [*few, *(line(f"{n}.jpg", said(BINS[n % 3])) for n in range(4, 60))])
        after = consolidate(s3, [manifest], INTO, shares=shares)
        assert after.images == 60
        assert where.items() <= {item.original: item.channel for item in examples(s3, after)}.items()

    def test_a_near_copy_joins_the_channel_of_the_picture_it_is_like(self, s3: S3Client) -> None:
        def put(names: dict[str, tuple[int, int]]) -> S3Uri:
            manifest = put_job(
                s3, "bins", [line(name, said(BINS[of % 3])) for name, (of, _) in names.items()]
            )
            for name, (of, quality) in names.items():
                write(s3, address(name), photograph(of, quality))
            return manifest

        first = {f"m{n:02d}.jpg": (n, 95) for n in range(12)}
        shares = Shares(validation=0.4)
        before = consolidate(s3, [put(first)], INTO, shares=shares, groups="near-duplicates")
        where = {item.original.name: item.channel for item in examples(s3, before)}
        # Their addresses come first, so a group that was named anew would get another name.
        copies = {f"a{n:02d}.jpg": (n, 60) for n in range(12)}
        after = consolidate(s3, [put({**copies, **first})], INTO, shares=shares, groups="near-duplicates")
        now = {item.original.name: item.channel for item in examples(s3, after)}
        assert {name: now[name] for name in where} == where
        assert all(now[f"a{n:02d}.jpg"] == where[f"m{n:02d}.jpg"] for n in range(12))
        assert len(set(where.values())) == 2
        assert verify(s3, INTO) == []

    def test_what_would_come_of_it_can_be_asked_without_writing(self, s3: S3Client) -> None:
        manifest = put_job(s3, "bins", [line(f"{n}.jpg", said(BINS[n % 3])) for n in range(12)])
        planned = consolidate(s3, [manifest], INTO, dry_run=True)
        assert tree(s3) == {}
        made = consolidate(s3, [manifest], INTO)
        assert planned.classes == made.classes == read_dataset(s3, INTO).classes

    def test_moving_leaves_the_pictures_in_their_class_folders_alone(self, s3: S3Client) -> None:
        manifest = put_job(s3, "bins", [line(f"{n}.jpg", said(BINS[n % 3])) for n in range(6)])
        dataset = consolidate(s3, [manifest], INTO, mode="move")
        assert list(list_objects(s3, address(""))) == []
        assert len(list(list_objects(s3, INTO / "classes/"))) == dataset.images == 6


class TestRecordedLines:
    def test_lines_that_aws_wrote_join_lines_of_ours_by_name(self, s3: S3Client) -> None:
        recorded = (RECORDED / "output.manifest.excerpt").read_bytes().splitlines()
        told = [json.loads(text) for text in recorded]
        names = {item["source-ref"]: item["birds-open-images-clone-metadata"]["class-name"] for item in told}
        # A job of our own over half of them, with an alphabetical list: other numbers for the same birds.
        birds = sorted(set(names.values()))
        ours = [
            {"source-ref": image, **said(names[image], birds, attribute="again", job="again")}
            for image in list(names)[::2]
        ]
        s3.create_bucket(Bucket="birdstop-ic-us-west-2")
        for image in names:
            write(s3, S3Uri(image), image.encode())
        manifest = S3Uri(f"s3://{BUCKET}/birds/manifests/output/output.manifest")
        write_lines(s3, manifest, recorded)
        again = put_job(s3, "again", ours)
        dataset = consolidate(s3, [JobOutput(manifest), JobOutput(again, "again", birds)], INTO)
        assert {str(item.original): item.class_name for item in examples(s3, dataset)} == names
        assert (dataset.repeated, dataset.disputed) == (len(ours), 0)
        assert verify(s3, INTO) == []
        kept: dict[str, Any] = {item["source-ref"]: item for item in told}
        for example in examples(s3, dataset):
            if str(example.original) not in {item["source-ref"] for item in ours}:
                metadata = kept[str(example.original)]["birds-open-images-clone-metadata"]
                assert example.label.to_json() == metadata
