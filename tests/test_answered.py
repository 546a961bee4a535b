"""Answers of jobs as arrays: from a name, an address in S3, or a folder, of today and of 2019."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answers_parts import BIRDS, answer, job, response
from hypothesis import given, settings
from hypothesis import strategies as st
from lifecycle_parts import OUTPUT, PHOTOS, USUAL, fill, people_answer

from gtlabel.aws import Aws
from gtlabel.errors import AnswerFileError, JobNotFoundError, LabelingJobError
from gtlabel.labeling.answered import Answered, read_answered
from gtlabel.labeling.groups import wait_for_labeling
from gtlabel.labeling.plan import plan_labeling, start_labeling

BINS = ["Compost", "Landfill", "Recycle"]


def no_account() -> Aws:
    raise AssertionError("a folder needs no account")


def read(*places: Path, **options: Any) -> Answered:
    return read_answered(no_account, [str(place) for place in places], **options)


def said(answered: Answered) -> set[tuple[str, str, str]]:
    """Who said what of which picture."""
    votes = answered.votes
    return {
        (answered.sources[o].rpartition("/")[2], answered.workers[w], answered.classes[c])
        for o, w, c in zip(votes.objects, votes.workers, votes.classes, strict=True)
    }


def test_the_recorded_job_of_2019_is_read_with_what_aws_settled_on() -> None:
    found = read(BIRDS)
    lines = [json.loads(line) for line in (BIRDS / "output.manifest.excerpt").read_bytes().splitlines()]
    assert found.sources == tuple(line["source-ref"] for line in lines)
    assert (len(found.objects), len(found.workers)) == (60, 40)
    settled = [line["birds-open-images-clone-metadata"] for line in lines]
    assert [found.classes[index] for index in found.labels] == [each["class-name"] for each in settled]
    assert found.confidence.tolist() == [each["confidence"] for each in settled]
    numbers = [found.indices[index] for index in found.labels]
    assert numbers == [line["birds-open-images-clone"] for line in lines]
    # One second is one batch.
    seconds = [each["creation-date"][:19] for each in settled]
    assert [list(found.batches).index(batch) for batch in found.batches] == [
        seconds.index(second) for second in seconds
    ]
    assert np.isnan(found.seconds).all()
    assert found.people == (("", ""),) * 40
    assert (np.diff(found.moments)[np.diff(found.objects) == 0] >= 0).all()
    assert 1_555_500_000 < found.moments.min() < found.moments.max() < 1_555_700_000
    assert "is an excerpt" in found.notes[0]


@pytest.mark.parametrize("inside", ["", "worker-response", "worker-response/iteration-2"])
def test_any_folder_of_a_download_will_do(inside: str) -> None:
    assert read(BIRDS / inside).sources == read(BIRDS).sources


def test_a_job_is_read_alike_by_its_name_its_address_and_its_download(
    gtlabel_aws: Aws, tmp_path: Path
) -> None:
    truth = fill(gtlabel_aws, 9)
    start_labeling(gtlabel_aws, plan_labeling(gtlabel_aws, PHOTOS, **USUAL, name="bins", workers_per_image=2))
    people_answer("bins", truth, workers=3, accuracy=0.6)
    wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins", poll=0.02, timeout=120)
    by_name = read_answered(lambda: gtlabel_aws, ["bins"])
    by_address = read_answered(lambda: gtlabel_aws, [OUTPUT / "bins"])
    pages = gtlabel_aws.s3.get_paginator("list_objects_v2").paginate(
        Bucket=OUTPUT.bucket, Prefix=(OUTPUT / "bins/").key
    )
    for item in (item for page in pages for item in page["Contents"]):
        file = tmp_path / item["Key"]
        file.parent.mkdir(parents=True, exist_ok=True)
        body = gtlabel_aws.s3.get_object(Bucket=OUTPUT.bucket, Key=item["Key"])["Body"].read()
        file.write_bytes(body)
    downloaded = read(tmp_path / "gtlabel")

    assert by_name.classes == tuple(BINS)
    assert len(by_name.objects) == 18
    assert by_name.sources == tuple(sorted(truth))
    assert all(sub and issuer for sub, issuer in by_name.people)
    assert not np.isnan(by_name.seconds).any()
    for other in (by_address, downloaded):
        assert other.sources == by_name.sources
        assert said(other) == said(by_name)
        assert [other.classes[i] for i in other.labels] == [by_name.classes[i] for i in by_name.labels]
    # The batches tell the answers too, where their own files were deleted, but not how long they took.
    for file in tmp_path.rglob("worker-response/**/*.json"):
        file.unlink()
    batches = read(tmp_path)
    assert said(batches) == said(by_name)
    assert np.isnan(batches.seconds).all()
    with pytest.raises(JobNotFoundError, match="'cans'"):
        read_answered(lambda: gtlabel_aws, ["cans"])


def test_jobs_about_the_same_pictures_are_one_and_a_worker_counts_with_the_newest_answer(
    tmp_path: Path,
) -> None:
    first = job(tmp_path / "bins", {0: [("ann", "Compost"), ("bob", "Recycle")]}, ["Compost", None], BINS)
    second = job(tmp_path / "more", {}, ["Recycle", "Recycle"], BINS)
    response(second, 0, [answer("ann", "Recycle", 900), answer("cy", "Recycle", 901)])
    response(second, 1, [answer("cy", "Recycle", 902)])
    found = read(first, second)
    assert said(found) == {
        ("0.jpg", "ann", "Recycle"),
        ("0.jpg", "bob", "Recycle"),
        ("0.jpg", "cy", "Recycle"),
        ("1.jpg", "cy", "Recycle"),
    }
    # What is compared with is the label of the first job that has one.
    assert [found.classes[index] for index in found.labels] == ["Compost", "Recycle"]
    assert said(read(second, first)) == said(found)
    # What another job has not labeled yet hides no label.
    shutil.copytree(second / "annotations", tmp_path / "none/annotations")
    (tmp_path / "none/output.manifest").write_text(
        "".join(json.dumps({"source-ref": f"s3://trash/{number}.jpg"}) + "\n" for number in range(2))
    )
    later = read(tmp_path / "none", first)
    assert [later.classes[index] for index in later.labels if index >= 0] == ["Compost"]
    with pytest.raises(LabelingJobError, match="no attribute 'tin'; it has bin"):
        read(first, attribute="tin")


def test_without_a_worker_all_pictures_stay(tmp_path: Path) -> None:
    found = read(job(tmp_path / "bins", {0: [("ann", "Compost")], 1: [("bob", "Recycle")]}))
    left = found.without(["ann"])
    assert left.sources == found.sources == ("bins, object 0", "bins, object 1")
    assert said(left) == {("bins, object 1", "bob", "Recycle")}
    assert found.without([]) is found
    with pytest.raises(LabelingJobError, match="no worker 'eve' answered"):
        found.without(["eve"])
    with pytest.raises(LabelingJobError, match="without ann, bob no answer is left"):
        found.without(["bob", "ann"])


def test_several_classes_are_several_questions(tmp_path: Path) -> None:
    found = read(job(tmp_path / "bins", {0: [("ann", ["Compost", "Recycle"]), ("bob", ["Recycle"])]}))
    assert found.several
    assert [found.question(index).classes.tolist() for index in range(2)] == [[1, 0], [1, 1]]
    with pytest.raises(LabelingJobError, match="may have several classes"):
        _ = found.votes
    single = job(tmp_path / "cans", {0: [("ann", "Compost")]})
    with pytest.raises(LabelingJobError, match="read them one after the other"):
        read(tmp_path / "bins", single)


def test_a_class_list_tells_the_numbers_of_classes_that_nobody_got(tmp_path: Path) -> None:
    folder = job(tmp_path / "bins", {0: [("ann", "Recycle")]}, ["Recycle"], BINS)
    assert (read(folder).classes, read(folder).indices) == (("Recycle",), (2,))
    told = read(folder, classes=BINS)
    assert (told.classes, told.indices) == (tuple(BINS), (0, 1, 2))


def test_what_holds_no_answers_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabelingJobError, match="there is no folder"):
        read(tmp_path / "none")
    with pytest.raises(LabelingJobError, match="an empty text names no job"):
        read_answered(no_account, [""])
    with pytest.raises(LabelingJobError, match="there are no answers of workers below"):
        read(tmp_path)
    box = {"workerId": "ann", "answerContent": {"boxes": []}, "submissionTime": "2026-11-22T12:00:00Z"}
    file = response(tmp_path / "boxes", 0, [box])
    with pytest.raises(LabelingJobError, match=r"answers that name no class; .* or of a table \(.csv\)"):
        read(tmp_path / "boxes")
    with pytest.raises(LabelingJobError, match="is one file; give the folder of its job"):
        read(file)
    file.write_text("{")
    with pytest.raises(AnswerFileError, match="not JSON"):
        read(tmp_path / "boxes")
    wrong = job(tmp_path / "bins", {7: [("ann", "Compost")], 8: [("ann", "Compost")]}, ["Compost"], BINS)
    with pytest.raises(LabelingJobError, match="has 1 lines, and answers are about object 8"):
        read(wrong)
    gone = job(tmp_path / "gone", {0: [("ann", "Compost")]}, ["Compost"], BINS)
    (gone / "gtlabel").mkdir()
    (gone / "gtlabel/withdrawn.json").write_text('{"workers": ["ann"]}')
    with pytest.raises(LabelingJobError, match="all answers in .*gone/ were withdrawn: 1"):
        read(gone)


@settings(max_examples=25, deadline=None)
@given(
    st.dictionaries(
        st.integers(0, 30),
        st.dictionaries(st.sampled_from(["ann", "bob", "cy"]), st.sampled_from(BINS), min_size=1),
        min_size=1,
        max_size=6,
    )
)
def test_every_answer_is_found_again(answers: dict[int, dict[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = read(
            job(Path(folder) / "bins", {number: list(each.items()) for number, each in answers.items()})
        )
    assert said(found) == {
        (f"bins, object {number}", worker, name)
        for number, each in answers.items()
        for worker, name in each.items()
    }
    assert found.votes.objects.tolist() == sorted(found.votes.objects.tolist())
    assert len(found.sources) == len(answers)
