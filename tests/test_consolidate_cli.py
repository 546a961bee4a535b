"""`gtlabel consolidate` as people type it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dataset_parts import BINS, BUCKET, line, put_job, said
from typer.testing import CliRunner, Result

from gtlabel.aws import Aws
from gtlabel.cli.main import app
from gtlabel.datasets.channels import read_dataset
from gtlabel.errors import DatasetError
from gtlabel.storage import list_objects, read, write_lines
from gtlabel.uris import S3Uri

INTO = S3Uri(f"s3://{BUCKET}/set/")
LATER = "2026-12-01T00:00:00"
OTHER = ("recycle", "Landfill", "Compost", "Not sure")


@pytest.fixture
def jobs(gtlabel_aws: Aws) -> list[str]:
    """Two manifests that disagree on pictures 6-11, the second with another spelling and order."""
    gtlabel_aws.s3.create_bucket(Bucket=BUCKET)
    first = [line(f"cam{n % 4}/{n}.jpg", said(BINS[n % 3], job="one", confidence=0.9)) for n in range(12)]
    second = [
        line(
            f"cam{n % 4}/{n}.jpg",
            said(OTHER[n % 4], OTHER, job="two", human="no", created="2026-12-01T00:00:00"),
        )
        for n in range(6, 18)
    ]
    return [put_job(gtlabel_aws.s3, "one", first), put_job(gtlabel_aws.s3, "two", second)]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.toml"
    path.write_text('[rename]\n"recycle" = "Recycle"\n[remove]\nclasses = ["Not sure"]\n')
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["consolidate", *map(str, arguments)])


def told(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--output", "json")
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


def test_everything_that_was_asked_for_is_in_the_dataset(
    gtlabel_aws: Aws, jobs: list[str], words: Path
) -> None:
    options = "--policy human --validation 0.25 --test 0.25 --group-by cam[0-9] --format lst --mode copy"
    dataset = told(*jobs, "--into", INTO, "--vocabulary", words, *options.split())
    assert (dataset["policy"], dataset["groups"], dataset["test"]) == ("human", "cam[0-9]", 0.25)
    assert set(dataset["channels"]) == {"train", "validation", "test"}
    assert [item["name"] for item in dataset["classes"]] == ["Compost", "Landfill", "Recycle"]
    # People's labels of pictures 6-11 hold; of the machine's three that are not sure, none is left.
    assert sum(item["images"] for item in dataset["channels"].values()) == 17
    assert read_dataset(gtlabel_aws.s3, INTO).model_dump(mode="json") == dataset
    names = {item.uri.name for item in list_objects(gtlabel_aws.s3, INTO)}
    assert {"train.lst", "certificate.json"} <= names
    channels = {
        json.loads(text)["gtlabel-group"]: channel
        for channel in dataset["channels"]
        for text in read(gtlabel_aws.s3, INTO / f"{channel}.manifest").splitlines()
    }
    assert set(channels) == {"cam0", "cam1", "cam2", "cam3"}


def test_the_talk_names_conflicts_and_what_was_left_out(jobs: list[str], words: Path) -> None:
    result = run(*jobs, "--into", INTO, "--vocabulary", words, "--human-only", "--cap", 3, "--mode", "none")
    assert result.exit_code == 0
    assert (
        f"{jobs[1]}: 9 labels do not meet the conditions, 3 labels are of removed classes; left out"
        in result.stderr
    )
    assert "3 images of large classes are left out" in result.stderr
    assert result.stdout.splitlines()[-1] == str(INTO)
    disputed = run(*jobs, "--into", INTO, "--vocabulary", words, "--mode", "none")
    assert "holds, being newer than" in disputed.stderr
    assert f"label them again with: gtlabel label {INTO}disputed.manifest" in disputed.stderr


def test_moving_twice_says_what_is_there_already_and_nothing_can_copy_over_it(
    gtlabel_aws: Aws, jobs: list[str]
) -> None:
    first = run(jobs[0], "--into", INTO, "--mode", "move")
    assert (first.exit_code, "by an earlier run" in first.stderr) == (0, False)
    again = run(jobs[0], "--into", INTO, "--mode", "move")
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert "12 images were moved here by an earlier run already, and stay where they are" in again.stderr
    copied = run(jobs[0], "--into", INTO)
    assert copied.exit_code == 1
    assert isinstance(copied.exception, DatasetError)
    assert read_dataset(gtlabel_aws.s3, INTO).images == 12


def test_a_dry_run_writes_nothing(gtlabel_aws: Aws, jobs: list[str], words: Path) -> None:
    result = run(*jobs, "--into", INTO, "--vocabulary", words, "--dry-run")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, f"would be at {INTO}")
    assert list(list_objects(gtlabel_aws.s3, INTO)) == []


def test_bad_lines_are_set_aside_into_a_file(gtlabel_aws: Aws, jobs: list[str], tmp_path: Path) -> None:
    manifest = S3Uri(jobs[0])
    write_lines(gtlabel_aws.s3, manifest, [*read(gtlabel_aws.s3, manifest).splitlines(), b"{broken"])
    bad = tmp_path / "bad.manifest"
    result = run(manifest, "--into", INTO, "--mode", "none", "--skip-bad", bad)
    assert result.exit_code == 0
    assert bad.read_bytes() == b"{broken\n"
    assert f"1 lines cannot be used and are in {bad}; first line 13: not JSON" in result.stderr


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--policy", "refuse"], "jobs disagree on"),
        (["--group-by", "(cam"], "'(cam' is not a regular expression"),
        (["--format", "tfrecord"], "there is no format 'tfrecord'; choose among"),
        (["--validation", "0.9", "--test", "0.2"], "to train with; make validation or test smaller"),
        (["--train", "0.5"], "together they have to be 1"),
        (["--after", "2026-02-01", "--before", "2026-01-01"], "no label is made after"),
        (["--mode", "none", "--format", "csv"], "leave out mode 'none'"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(
    jobs: list[str], words: Path, options: list[str], sentence: str
) -> None:
    result = run(*jobs, "--into", INTO, "--vocabulary", words, *options)
    assert result.exit_code != 0
    assert sentence in str(result.exception)
