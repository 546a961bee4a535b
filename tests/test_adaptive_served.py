"""An adaptive job as a user has it: sent by the library, answered over HTTP, told by the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

from emulator_parts import gtlabel
from test_simulate_jobs import BUCKET, IMAGES, TRUTH, create, put_inputs

from gtlabel.aws import Aws
from gtlabel.emulator.child import Address
from gtlabel.labeling.savings import saved
from gtlabel.labeling.tasks import CONSENSUS_TAG, REDUNDANCY_TAG


def test_who_waits_for_a_job_is_told_how_many_answers_were_not_needed(
    gtlabel_aws: Aws, gtlabel_server: Address, tmp_path: Path
) -> None:
    put_inputs(gtlabel_aws)
    tags = {REDUNDANCY_TAG: "first=2 error=0.05", CONSENSUS_TAG: "majority"}
    create(gtlabel_aws, "Bins", workers=5, tags=tags)
    truth = tmp_path / "truth.jsonl"
    truth.write_text(
        "".join(json.dumps({"image": image, "class": name}) + "\n" for image, name in TRUTH.items())
    )
    people = ["--workers", "7", "--accuracy", "0.8", "--seed", "3", "--url", gtlabel_server.url]
    done = gtlabel("local", "answer", "Bins", "--truth", str(truth), *people)
    assert done.returncode == 0, done.stderr
    waited = gtlabel(
        "jobs", "wait", "Bins", "--poll", "0.2", "--timeout", "60", "--endpoint-url", gtlabel_server.url
    )
    assert waited.returncode == 0, waited.stderr
    told = re.search(r"Bins: (\d+) answers about 60 pictures in place of 300: (\d+) saved", waited.stderr)
    assert told is not None, waited.stderr
    answers, not_needed = map(int, told.groups())
    assert answers + not_needed == 300
    # Who is asked about what depends on who is faster.
    assert 120 < answers < 270
    body = gtlabel_aws.s3.get_object(Bucket=BUCKET, Key="out/Bins/gtlabel/redundancy.json")["Body"].read()
    facts = json.loads(body)
    assert saved(facts) in waited.stderr
    assert facts["images"] == len(IMAGES)
    # Each round's files state the answers of earlier rounds once more.
    report = gtlabel("quality", "report", "Bins", "--endpoint-url", gtlabel_server.url)
    assert report.returncode == 0, report.stderr
    assert f"{answers} of 7 workers about 60 images" in report.stdout
    assert "more than once" not in report.stderr + report.stdout


def test_a_job_in_which_nobody_was_asked_has_nothing_to_divide_by() -> None:
    told = {"answers": 0, "images": 0, "fixed": 0, "saved": 0, "expected_error": None}
    assert saved(told) == "no picture was sent to anybody"


def test_an_expected_error_comes_with_what_it_was_worth_where_that_was_measured() -> None:
    told = {"answers": 260, "images": 100, "fixed": 500, "saved": 240, "expected_error": 0.05}
    by_votes = (
        "260 answers about 100 pictures in place of 500: 240 saved, 48%; by what they say of each other "
    )
    by_votes += "5.0% of the labels are wrong"
    assert saved(told) == saved({**told, "error_range": None}) == by_votes
    measured = saved({**told, "error_range": [0.02, 0.175]})
    assert measured == f"{by_votes} (2.0% to 17.5% were where the truth was known)"


def test_a_machine_and_more_answers_are_not_had_at_once() -> None:
    both = gtlabel(
        "label", "s3://trash/", "--classes", "A,B", "--automated", "0.95", "--redundancy", "first=2"
    )
    assert both.returncode == 1
    assert "a machine learns from labels that stay, and --redundancy asks about them again" in both.stderr
