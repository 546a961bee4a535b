"""How long a labeling job takes when people answer as fast as they are asked, on an emulator that keeps all.

Run: python tests/benchmarks/job.py [--pictures 5000] [--workers 5] [--per-picture 3] [--url URL]

The photographs of samples/trash are uploaded and copied to as many keys as are asked for; then come
CreateLabelingJob, simulated people over HTTP, and DescribeLabelingJob until it says Completed. Seconds of the
clock stand beside the CPU seconds of the server and of this process, who are the people: other work on the
machine moves only the former.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from gtlabel.aws import Aws
from gtlabel.emulator.api import Context
from gtlabel.emulator.child import running
from gtlabel.emulator.environment import environ, session
from gtlabel.emulator.simulate import answer
from gtlabel.labeling.jobs import wait_for_labeling_job

CHECKOUT = Path(__file__).resolve().parents[2]
SAMPLES = CHECKOUT / "samples" / "trash"
BUCKET = "benchmark"
_AT_ONCE = 8
_TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """The phases of a run, by the clock and by the CPU seconds of both sides.

    Args:
        server: the process id of the server.
    """

    def __init__(self, server: int) -> None:
        self._server = server
        self.phases: list[dict[str, Any]] = []
        self._last = self._now()

    def lap(self, phase: str) -> None:
        """End a phase."""
        now = self._now()
        wall, server, people = (b - a for a, b in zip(self._last, now, strict=True))
        self.phases.append({"phase": phase, "seconds": wall, "server_cpu": server, "people_cpu": people})
        self._last = now

    def _now(self) -> tuple[float, float, float]:
        fields = Path(f"/proc/{self._server}/stat").read_text().rpartition(")")[2].split()
        return time.perf_counter(), (int(fields[11]) + int(fields[12])) / _TICKS, time.process_time()


def upload(aws: Aws, pictures: int) -> dict[str, str]:
    """Put the photographs under as many keys as are asked for; return the class of each."""
    aws.s3.create_bucket(Bucket=BUCKET)
    lines = (SAMPLES / "truth.jsonl").read_text().splitlines()
    photographs = [(line["image"], line["class"]) for line in map(json.loads, lines)]

    def put(number: int) -> tuple[str, str]:
        key, name = photographs[number % len(photographs)]
        target = f"images/{number:05}.jpg"
        if number < len(photographs):
            aws.s3.put_object(Bucket=BUCKET, Key=target, Body=(SAMPLES / key).read_bytes())
        else:
            source = f"images/{number % len(photographs):05}.jpg"
            aws.s3.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": source})
        return f"s3://{BUCKET}/{target}", name

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        first = dict(pool.map(put, range(min(pictures, len(photographs)))))
        return first | dict(pool.map(put, range(len(photographs), pictures)))


def create(aws: Aws, url: str, truth: dict[str, str], per_picture: int) -> str:
    """Write what the job reads, and start it."""
    manifest = "".join(json.dumps({"source-ref": image}) + "\n" for image in truth)
    classes = {
        "document-version": "2018-11-28",
        "labels": [{"label": name} for name in sorted(set(truth.values()))],
    }
    template = (CHECKOUT / "templates" / "tasks" / "image-classification.liquid").read_bytes()
    for key, body in (
        ("in.manifest", manifest.encode()),
        ("classes.json", json.dumps(classes).encode()),
        ("template.liquid", template),
    ):
        aws.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    account = environ(url, Context())
    function = "arn:aws:lambda:us-east-1:432418664414:function:{}-ImageMultiClass"
    aws.sagemaker.create_labeling_job(
        LabelingJobName="Benchmark",
        LabelAttributeName="bin",
        InputConfig={"DataSource": {"S3DataSource": {"ManifestS3Uri": f"s3://{BUCKET}/in.manifest"}}},
        OutputConfig={"S3OutputPath": f"s3://{BUCKET}/out/"},
        RoleArn=account["GTLABEL_ROLE"],
        LabelCategoryConfigS3Uri=f"s3://{BUCKET}/classes.json",
        HumanTaskConfig={
            "WorkteamArn": account["GTLABEL_TEAM"],
            "UiConfig": {"UiTemplateS3Uri": f"s3://{BUCKET}/template.liquid"},
            "PreHumanTaskLambdaArn": function.format("PRE"),
            "AnnotationConsolidationConfig": {"AnnotationConsolidationLambdaArn": function.format("ACS")},
            "TaskTitle": "Sort the trash",
            "TaskDescription": "Choose the bin",
            "NumberOfHumanWorkersPerDataObject": per_picture,
            "TaskTimeLimitInSeconds": 300,
            "MaxConcurrentTaskCount": 5000,
        },
    )
    return "Benchmark"


def measure(url: str, server: int, pictures: int, workers: int, per_picture: int) -> dict[str, Any]:
    """Run one job; return the phases and what came out."""
    aws = Aws(session(Context().region), url)
    watch = Watch(server)
    truth = upload(aws, pictures)
    watch.lap("upload")
    job = create(aws, url, truth, per_picture)

    def progress(answers: int) -> None:
        if answers == 1:
            watch.lap("create to first answer")

    summary = answer(url, job, workers, 0.85, truth, seed=7, on_progress=progress)
    watch.lap("answering")
    ended = wait_for_labeling_job(aws.sagemaker, job, poll=0.1)
    watch.lap("to Completed")
    answering = next(phase for phase in watch.phases if phase["phase"] == "answering")
    return {
        "pictures": pictures,
        "workers": workers,
        "answers": summary.answers,
        "labeled": ended.counters.labeled,
        "status": ended.status,
        "answers_per_second": summary.answers / answering["seconds"],
        "create_to_completed": sum(phase["seconds"] for phase in watch.phases[1:]),
        "phases": watch.phases,
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{'phase':<24}{'seconds':>9}{'server CPU':>12}{'people CPU':>12}")
    for phase in result["phases"]:
        row = (phase["seconds"], phase["server_cpu"], phase["people_cpu"])
        print(f"{phase['phase']:<24}" + "{:>9.2f}{:>12.2f}{:>12.2f}".format(*row))
    print(f"{'create to Completed':<24}{result['create_to_completed']:>9.2f}")
    print(
        f"{result['status']}: {result['labeled']} of {result['pictures']} pictures labeled by "
        f"{result['answers']} answers of {result['workers']} people, "
        f"{result['answers_per_second']:.0f} answers/s"
    )


def main() -> None:
    """Run the benchmark as the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--per-picture", type=int, default=3)
    parser.add_argument("--url", help="an emulator that runs already, and is empty")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        url = arguments.url
        if not url:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="gtlabel-job-"))
            url = stack.enter_context(running(Path(folder))).url
        result = measure(url, _pid(url), arguments.pictures, arguments.workers, arguments.per_picture)
    if arguments.json:
        print(json.dumps(result))
    else:
        show(result)


def _pid(url: str) -> int:
    with urlopen(f"{url}/gtlabel/health") as answered:
        return int(json.load(answered)["pid"])


if __name__ == "__main__":
    main()
