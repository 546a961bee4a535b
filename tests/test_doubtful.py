"""Another round for the pictures that the answers of a job leave in doubt."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from answers_parts import job
from lifecycle_parts import OUTPUT, PHOTOS, USUAL, fill, jobs, lines, people_answer

from gtlabel.aws import Aws
from gtlabel.cli.more import more
from gtlabel.errors import ConsensusError, LabelingJobError
from gtlabel.labeling.answered import read_answered
from gtlabel.labeling.doubtful import find_doubts, plan_again, plan_more
from gtlabel.labeling.groups import wait_for_labeling
from gtlabel.labeling.plan import plan_labeling, start_labeling
from gtlabel.labeling.reconsolidation import reconsolidate
from gtlabel.labeling.successors import start_successor


def label(aws: Aws, truth: dict[str, str], workers: int, accuracy: float) -> None:
    start_labeling(aws, plan_labeling(aws, PHOTOS, **USUAL, name="bins", workers_per_image=workers))
    people_answer("bins", truth, workers=workers, accuracy=accuracy)
    wait_for_labeling(aws.sagemaker, aws.s3, "bins", poll=0.02, timeout=120)


def disagreed(aws: Aws, *names: str) -> set[str]:
    """The pictures about which not all said the same."""
    found = read_answered(lambda: aws, names)
    said: dict[int, set[int]] = {}
    for picture, index in zip(found.votes.objects.tolist(), found.votes.classes.tolist(), strict=True):
        said.setdefault(picture, set()).add(index)
    return {found.sources[picture] for picture, named in said.items() if len(named) > 1}


def test_the_command_asks_again_only_about_what_is_in_doubt_and_both_jobs_make_the_labels(
    gtlabel_aws: Aws,
) -> None:
    truth = fill(gtlabel_aws, 24)
    label(gtlabel_aws, truth, workers=2, accuracy=0.75)
    in_doubt = disagreed(gtlabel_aws, "bins")
    assert 3 < len(in_doubt) < 20
    command = [sys.executable, "-m", "gtlabel", "quality", "more", "bins", "--workers", "3"]
    command += ["--method", "majority", "--budget", str(3 * len(in_doubt))]

    trial = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, timeout=120)
    assert trial.returncode == 0, trial.stderr
    sent = json.loads(trial.stdout)
    assert sent["HumanTaskConfig"]["NumberOfHumanWorkersPerDataObject"] == 3
    assert f"{len(in_doubt)} of them should be asked about again, 3 more answers each" in trial.stderr
    assert jobs(gtlabel_aws) == ["bins"]

    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stdout) == (0, "bins-more\n"), run.stderr
    assert "gtlabel quality reconsolidate bins bins-more" in run.stderr
    given = lines(gtlabel_aws, OUTPUT / "bins-more/input/input.manifest")
    assert {line["source-ref"] for line in given} == in_doubt
    first, second = (
        gtlabel_aws.sagemaker.describe_labeling_job(LabelingJobName=name) for name in ("bins", "bins-more")
    )
    before, now = first["HumanTaskConfig"], second["HumanTaskConfig"]
    assert (now["WorkteamArn"], now["UiConfig"]) == (before["WorkteamArn"], before["UiConfig"])
    assert second["LabelCategoryConfigS3Uri"] == first["LabelCategoryConfigS3Uri"]

    people_answer("bins-more", truth, workers=3)
    wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins-more", poll=0.02, timeout=120)
    both = read_answered(lambda: gtlabel_aws, ["bins", "bins-more"])
    assert len(both.sources) == 24
    made = reconsolidate(both)
    named = {
        source: both.classes[row.argmax()] for source, row in zip(both.sources, made.chosen, strict=True)
    }
    assert {source: named[source] for source in in_doubt} == {source: truth[source] for source in in_doubt}

    after = subprocess.run(
        [*command[:5], "bins", "bins-more", "--error", "0.3"], capture_output=True, text=True, timeout=120
    )
    assert (after.returncode, after.stdout) == (0, ""), after.stderr
    assert "no picture needs another answer" in after.stderr
    assert "in crowds whose truth is known" in after.stderr
    # That was measured for `auto`, and not for the method of the command before.
    assert "in crowds whose truth is known" not in run.stderr


def test_of_a_folder_the_pictures_in_doubt_are_named_and_nobody_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {n: [("ann", "Compost"), ("bob", "Landfill" if n == 4 else "Compost")] for n in range(6)}
    folder = job(tmp_path / "bins", said, ["Compost"] * 6, ["Compost", "Landfill"])
    more([str(folder)], method="majority", region="us-west-2")
    printed = capsys.readouterr()
    assert printed.out == "s3://trash/4.jpg\n"
    assert "name the job itself in place of its folder" in printed.err
    # One class alone leaves nothing to doubt, and nothing to compare that with.
    more([str(job(tmp_path / "cans", {0: [("ann", "Compost")]}))], region="us-west-2")
    printed = capsys.readouterr()
    assert "no picture needs another answer" in printed.err
    assert "in crowds whose truth is known" not in printed.err


def test_a_lower_error_asks_about_more_and_a_budget_about_fewer(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 18)
    label(gtlabel_aws, truth, workers=2, accuracy=0.7)
    answered = read_answered(lambda: gtlabel_aws, ["bins"])
    loose, strict = (find_doubts(answered, error=error, method="one-coin") for error in (0.1, 0.001))
    assert set(loose.images) < set(strict.images) <= set(answered.sources)
    assert (strict.pictures, strict.given, strict.why) == (18, 36, "going on")
    short = find_doubts(answered, error=0.001, method="one-coin", budget=5)
    assert len(short.images) == 2
    assert set(short.images) < set(strict.images)
    assert find_doubts(answered, budget=1).why == "budget"
    full = find_doubts(answered, error=0.0, most=3)
    assert (full.images, full.why) == ((), "most")
    assert strict.to_json()["images"] == list(strict.images)
    assert (strict.error_range, strict.to_json()["error_range"]) == (None, None)
    usual = find_doubts(answered, error=0.1)
    assert usual.error_range is not None
    assert usual.error_range[0] < usual.expected_error < usual.error_range[1]
    assert find_doubts(answered.without([answered.workers[0]])).error_range is None
    with pytest.raises(ConsensusError, match="no method 'coin flip'"):
        find_doubts(answered, method="coin flip")


def test_pictures_with_several_classes_are_asked_about_again_for_any_of_them(gtlabel_aws: Aws) -> None:
    truth = fill(gtlabel_aws, 6)
    start_labeling(
        gtlabel_aws,
        plan_labeling(gtlabel_aws, PHOTOS, **USUAL, name="bins", workers_per_image=2, task="multi"),
    )
    people_answer("bins", truth, workers=2, accuracy=0.6)
    wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins", poll=0.02, timeout=120)
    answered = read_answered(lambda: gtlabel_aws, ["bins"])
    assert answered.several
    split = {
        answered.sources[picture]
        for picture in range(6)
        if len({tuple(row) for row in answered.chosen[answered.objects == picture].tolist()}) > 1
    }
    found = find_doubts(answered, error=0.0, method="majority")
    assert set(found.images) == split
    assert 0 < len(split) < 6


def test_a_job_that_asks_again_takes_pictures_the_earlier_one_never_had_but_only_from_s3(
    gtlabel_aws: Aws,
) -> None:
    truth = fill(gtlabel_aws, 4)
    pictures = [f"{PHOTOS}{number:05}.jpg" for number in range(4)]
    start_labeling(gtlabel_aws, plan_labeling(gtlabel_aws, PHOTOS, **USUAL, name="bins", workers_per_image=1))
    with pytest.raises(LabelingJobError, match="'bins' is In"):
        plan_again(gtlabel_aws, "bins", pictures, to="bins-again")
    people_answer("bins", truth, workers=1)
    wait_for_labeling(gtlabel_aws.sagemaker, gtlabel_aws.s3, "bins", poll=0.02, timeout=120)

    elsewhere = "s3://photos/elsewhere/1.jpg"
    plan = plan_again(gtlabel_aws, "bins", [elsewhere, pictures[2], pictures[0]], to="bins-again")
    start_successor(gtlabel_aws, plan)
    given = lines(gtlabel_aws, OUTPUT / "bins-again/input/input.manifest")
    assert [line["source-ref"] for line in given] == [pictures[0], pictures[2], elsewhere]
    assert given[0]["bins-metadata"]["job-name"] == "labeling-job/bins"
    with pytest.raises(LabelingJobError, match=r"photos/1\.jpg is not in S3"):
        plan_again(gtlabel_aws, "bins", ["photos/1.jpg"], to="bins-third")
    with pytest.raises(LabelingJobError, match="no picture of 'bins' is to be asked about again"):
        plan_more(gtlabel_aws, "bins", find_doubts(read_answered(lambda: gtlabel_aws, ["bins"]), most=1))
