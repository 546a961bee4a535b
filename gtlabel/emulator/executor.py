"""Runs training jobs on this machine as SageMaker's platform would run them on its own.

A job gets the directories, FIFOs and environment that a container gets, a process group of its own, and an
end that depends on what really happened: contract/training.md §4.2 and §7.6.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gtlabel.emulator import warmpools
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.container import Container, end_orphan
from gtlabel.emulator.jobrecord import KIND, RUNNING, JobRecord
from gtlabel.emulator.jobrun import ABANDONED, JobRun, Work
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.trainers import TRAINERS
from gtlabel.errors import EmulatorError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_s3 import S3Client

    from gtlabel.aws import Aws

GRACE = 120.0  # seconds between SIGTERM and SIGKILL: what SageMaker gives


class Executor:
    """Starts, follows and ends the programs of training jobs.

    Close it before what it uses: the server behind `aws`, and the shelf.

    Args:
        aws: the clients that a job's files and logs go through, for the account and region of the job.
        root: where the directories of the jobs are.
        shelf: where their records are.
        clock: the time that is written down.
        trainers: the program for each image repository; it is given the argument `train`.
        grace: seconds that a program has to end by itself after SIGTERM.
    """

    def __init__(
        self,
        aws: Callable[[Context], Aws],
        root: Path,
        shelf: Shelf,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        trainers: Mapping[str, Sequence[str]] = TRAINERS,
        grace: float = GRACE,
    ) -> None:
        self.trainers = trainers
        self.clock = clock
        self._aws = aws
        self._root = root
        self._shelf = shelf
        self._grace = grace
        self._lock = threading.Lock()
        self._runs: dict[tuple[Context, str], JobRun] = {}

    def start(self, context: Context, request: Mapping[str, Any], repository: str) -> str:
        """Start a job and return its ARN; a thread of its own sees it through.

        Raises:
            ApiError: `ResourceInUse` if there is a job of that name.
        """
        name = request["TrainingJobName"]
        record = self.record(context, name)
        environment = {
            **request.get("Environment", {}),
            "TRAINING_JOB_NAME": name,
            "TRAINING_JOB_ARN": record.arn,
            "AWS_REGION": context.region,
        }
        work = Work(
            request,
            Container(self._directory(context, name)),
            self.trainers[repository],
            environment,
            S3Uri(request["OutputDataConfig"]["S3OutputPath"]) / name / "output",
            self._grace,
        )
        run = JobRun(record, work, lambda: self._clients(context), self.clock)
        # Under the lock, so that whoever sees the record to stop the job finds the run as well.
        with self._lock:
            if not record.create(request, work.output / "model.tar.gz"):
                raise ApiError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, "
                    f"and a training job with this name already exists ({record.arn})",
                )
            pool = warmpools.available(self._shelf.all(context, KIND), request, self.clock())
            if pool is not None:
                self.record(context, pool).hand_over(name)
            self._runs = {key: other for key, other in self._runs.items() if other.is_alive()}
            self._runs[context, name] = run
            run.start()
        return record.arn

    def stop(self, context: Context, name: str) -> str | None:
        """Ask a job to end; return the status it had, None if there is no such job."""
        before = self.record(context, name).stop()
        run = self._run(context, name)
        if run is not None:
            run.stop_wanted.set()
        return before

    def interrupt(self, context: Context, name: str, away: float = 0) -> None:
        """Take away the spot machine of a job, as AWS does whenever somebody pays more for it.

        Its program gets SIGTERM, and the job goes on from its checkpoints on the next machine. One whose
        program has ended by then only has its artifact left to send, and does.

        Args:
            context: where the job is.
            name: its name.
            away: seconds until there is another machine.

        Raises:
            EmulatorError: if no such job runs on a spot machine.
        """
        run = self._run(context, name)
        document = self.record(context, name).read()
        if run is None or document is None or document["status"] != "InProgress":
            raise EmulatorError(f"no training job named {name!r} is in progress; nothing can be interrupted")
        if not document["request"].get("EnableManagedSpotTraining"):
            raise EmulatorError(
                f"the training job {name!r} has a machine of its own; only one that asked for "
                "EnableManagedSpotTraining is interrupted"
            )
        run.interrupt(away)

    def record(self, context: Context, name: str) -> JobRecord:
        """The record of a job, whether there is one or not."""
        return JobRecord(self._shelf, context, name, self.clock)

    def recover(self) -> list[str]:
        """Fail the jobs that ran when an earlier emulator died, end their programs, return their names."""
        names = []
        for context, document in self._shelf.everywhere(KIND):
            if document["status"] not in RUNNING:
                continue
            name = document["request"]["TrainingJobName"]
            end_orphan(self._directory(context, name))
            Container(self._directory(context, name)).clean()
            self.record(context, name).end(ABANDONED)
            names.append(name)
        return names

    def close(self) -> None:
        """End all programs and wait for their threads; jobs that ran have failed then. Nothing is sent."""
        with self._lock:
            runs = list(self._runs.values())
            self._runs.clear()
        for run in runs:
            run.abandoned.set()
        for run in runs:
            run.join()

    def reset(self) -> None:
        """End all programs and forget their files. The shelf is the caller's to clear."""
        self.close()
        shutil.rmtree(self._root, ignore_errors=True)

    def _run(self, context: Context, name: str) -> JobRun | None:
        with self._lock:
            return self._runs.get((context, name))

    def _clients(self, context: Context) -> tuple[S3Client, CloudWatchLogsClient]:
        # Clients may be shared between threads, but not made in two at once.
        with self._lock:
            aws = self._aws(context)
            return aws.s3, aws.logs

    def _directory(self, context: Context, name: str) -> Path:
        return self._root / context.account / context.region / name
