"""A prefix of 2,500 pictures with a limit of 1,000 for a job: three jobs that go by one name."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from lifecycle_parts import CLASSES, OUTPUT, PHOTOS, fill, jobs, lines, people_answer

from gtlabel.aws import Aws
from gtlabel.emulator.simulate import Habits

pytestmark = pytest.mark.slow


def gtlabel(*arguments: str) -> tuple[int, Any]:
    command = [sys.executable, "-m", "gtlabel", *arguments, "--output", "json"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return run.returncode, json.loads(run.stdout) if run.stdout else run.stderr


def test_2500_pictures_become_three_jobs_that_are_stopped_waited_for_and_consolidated_as_one(
    gtlabel_aws: Aws,
) -> None:
    truth = fill(gtlabel_aws, 2_500)
    label = ["label", str(PHOTOS), "--classes", ",".join(CLASSES), "--workers", "1", "--name", "bins"]
    code, started = gtlabel(*label, "--max-images-per-job", "1000")
    assert (code, started["images"]) == (0, 2_500), started
    names = ["bins-1", "bins-2", "bins-3"]
    assert started["jobs"] == jobs(gtlabel_aws) == names
    given = [lines(gtlabel_aws, OUTPUT / f"bins/input/{number}/input.manifest") for number in (1, 2, 3)]
    assert [len(part) for part in given] == [1_000, 1_000, 500]
    assert [line["source-ref"] for part in given for line in part] == sorted(truth)

    # The first pictures are answered, then all three are stopped by the one name. People take 40 ms for each:
    # however busy this machine is, a thousand are not done before somebody else has stopped the job.
    habits = Habits(declines=0, pace=1, speedup=25)
    with ThreadPoolExecutor(2) as people:
        answering = [
            people.submit(people_answer, name, truth, workers=1, habits=habits) for name in names[:2]
        ]
        while gtlabel("jobs", "show", "bins")[1]["counters"]["labeled"] < 60:
            time.sleep(0.1)
        subprocess.run([sys.executable, "-m", "gtlabel", "jobs", "stop", "bins"], check=True, timeout=120)
        for each in answering:
            each.result()
    code, sentence = gtlabel("jobs", "wait", "bins", "--poll", "0.2", "--timeout", "120")
    assert (code, sentence) == (4, "gtlabel: the labeling job 'bins' ended as Stopped\n")
    _, shown = gtlabel("jobs", "show", "bins")
    assert [job["status"] for job in shown["jobs"]] == ["Stopped"] * 3
    labeled = shown["counters"]["labeled"]
    assert labeled + shown["counters"]["unlabeled"] == 2_500
    code, dataset = gtlabel("consolidate", "bins", "--into", "s3://photos/dataset/")
    assert code == 0, dataset
    assert sum(item["train"] + item["validation"] for item in dataset["classes"]) == labeled
    assert [source["labeled"] + source["unlabeled"] for source in dataset["sources"]] == [1_000, 1_000, 500]
