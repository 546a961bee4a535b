"""Runs training jobs on this machine as SageMaker's platform would run them on its own.

A job gets the directories, FIFOs and environment that a container gets, a process group of its own, and an
end that depends on what really happened: contract/training.md §4.2 and §7.6.
"""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from gtlabel import storage
from gtlabel.emulator.api import ApiError, Context
from gtlabel.emulator.container import (
    HOST,
    Container,
    end_orphan,
    files_below,
    input_mode,
    pack,
    pipe_channel,
    place_below,
)
from gtlabel.emulator.joblog import CloudLog, JobLog
from gtlabel.emulator.jobrecord import COMPLETED, KIND, OUT_OF_TIME, RUNNING, STOPPED, JobRecord, Outcome
from gtlabel.emulator.pipe import Feeder
from gtlabel.emulator.shelf import Shelf
from gtlabel.emulator.trainers import TRAINERS
from gtlabel.errors import GtlabelError, ObjectNotFoundError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_s3 import S3Client

    from gtlabel.aws import Aws

GRACE = 120.0  # seconds between SIGTERM and SIGKILL: what SageMaker gives
DEFAULT_MAX_RUNTIME = 86_400

_POLL = 0.05  # seconds between two looks at a running program
_HURRY = 3.0  # seconds that a program gets when the emulator itself ends

_log = logging.getLogger(__name__)

_ABANDONED = Outcome.failed(
    "InternalServerError: the emulator ended while the job was running; create a job of another name"
)


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
        self._aws = aws
        self._root = root
        self._shelf = shelf
        self._clock = clock
        self._grace = grace
        self._lock = threading.Lock()
        self._runs: dict[tuple[Context, str], _Run] = {}

    def start(self, context: Context, request: Mapping[str, Any], repository: str) -> str:
        """Start a job and return its ARN; a thread of its own sees it through.

        Raises:
            ApiError: `ResourceInUse` if there is a job of that name.
        """
        name = request["TrainingJobName"]
        record = self.record(context, name)
        output = S3Uri(request["OutputDataConfig"]["S3OutputPath"]) / name / "output"
        run = _Run(
            record,
            request,
            Container(self._directory(context, name)),
            self.trainers[repository],
            lambda: self._clients(context),
            {
                **request.get("Environment", {}),
                "TRAINING_JOB_NAME": name,
                "TRAINING_JOB_ARN": record.arn,
                "AWS_REGION": context.region,
            },
            output,
            self._clock,
            self._grace,
        )
        # Under the lock, so that whoever sees the record to stop the job finds the run as well.
        with self._lock:
            if not record.create(request, output / "model.tar.gz"):
                raise ApiError(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, "
                    f"and a training job with this name already exists ({record.arn})",
                )
            self._runs = {key: other for key, other in self._runs.items() if other.is_alive()}
            self._runs[context, name] = run
            run.start()
        return record.arn

    def stop(self, context: Context, name: str) -> str | None:
        """Ask a job to end; return the status it had, None if there is no such job."""
        before = self.record(context, name).stop()
        with self._lock:
            run = self._runs.get((context, name))
        if run is not None:
            run.stop_wanted.set()
        return before

    def record(self, context: Context, name: str) -> JobRecord:
        """The record of a job, whether there is one or not."""
        return JobRecord(self._shelf, context, name, self._clock)

    def recover(self) -> list[str]:
        """Fail the jobs that ran when an earlier emulator died, end their programs, return their names."""
        names = []
        for context, document in self._shelf.everywhere(KIND):
            if document["status"] not in RUNNING:
                continue
            name = document["request"]["TrainingJobName"]
            end_orphan(self._directory(context, name))
            Container(self._directory(context, name)).clean()
            self.record(context, name).end(_ABANDONED)
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

    def _clients(self, context: Context) -> tuple[S3Client, CloudWatchLogsClient]:
        # Clients may be shared between threads, but not made in two at once.
        with self._lock:
            aws = self._aws(context)
            return aws.s3, aws.logs

    def _directory(self, context: Context, name: str) -> Path:
        return self._root / context.account / context.region / name


class _Run(threading.Thread):
    """One job, from its first step to its last."""

    def __init__(
        self,
        record: JobRecord,
        request: Mapping[str, Any],
        container: Container,
        program: Sequence[str],
        clients: Callable[[], tuple[S3Client, CloudWatchLogsClient]],
        environment: Mapping[str, str],
        output: S3Uri,
        clock: Callable[[], datetime],
        grace: float,
    ) -> None:
        super().__init__(name=f"training job {record.name}", daemon=True)
        self.stop_wanted = threading.Event()
        self.abandoned = threading.Event()
        self._record = record
        self._request = request
        self._container = container
        self._program = program
        self._clients = clients
        self._environment = environment
        self._output = output
        self._clock = clock
        self._grace = grace
        self._feeders: list[Feeder] = []
        limit = request.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME)
        self._deadline = monotonic() + limit

    def run(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            outcome = self._job()
        except (GtlabelError, BotoCoreError, ClientError) as error:
            outcome = Outcome.failed(f"ClientError: {error}")
        except OSError as error:
            outcome = Outcome.failed(f"InternalServerError: {error}")
        except Exception as error:  # noqa: BLE001 - a thread that dies in silence leaves a job that never ends
            _log.exception("the training job %s", self._record.name)
            outcome = Outcome.failed(f"InternalServerError: {type(error).__name__}: {error}")
        self._container.clean()
        self._record.end(outcome)

    def _job(self) -> Outcome:
        s3, logs = self._clients()
        self._container.prepare(self._request)
        self._download(s3)
        outcome = self._must_end() or self._train(s3, logs)
        return _ABANDONED if self.abandoned.is_set() else self._upload(s3, outcome)

    def _must_end(self) -> Outcome | None:
        """How the job ends if it has to end now."""
        if self.abandoned.is_set():
            return _ABANDONED
        failure = self._feeding_failed()
        if failure is not None:
            return failure
        if self.stop_wanted.is_set():
            return STOPPED
        return OUT_OF_TIME if monotonic() >= self._deadline else None

    def _channels(self, *modes: str) -> list[Mapping[str, Any]]:
        channels = self._request.get("InputDataConfig", ())
        return [channel for channel in channels if input_mode(self._request, channel) in modes]

    def _download(self, s3: S3Client) -> None:
        channels = self._channels("File", "FastFile")
        if channels:
            self._record.enter("Downloading", "Downloading input data")
        for channel in channels:
            prefix = S3Uri(channel["DataSource"]["S3DataSource"]["S3Uri"])
            target = self._container.data / channel["ChannelName"]
            target.mkdir()
            for item in storage.list_objects(s3, prefix):
                if self._must_end():
                    return
                path = place_below(target, prefix, item.uri)
                if path is not None:
                    s3.download_file(item.uri.bucket, item.uri.key, str(path))
            if not files_below(target):
                raise ObjectNotFoundError(prefix)

    def _train(self, s3: S3Client, logs: CloudWatchLogsClient) -> Outcome:
        with ExitStack() as cleanup:
            for channel in map(pipe_channel, self._channels("Pipe")):
                copy = self._container.scratch / f"{channel.name}.manifest"
                feeder = Feeder(s3, channel, self._container.data, copy)
                cleanup.callback(feeder.close)
                self._feeders.append(feeder)
                feeder.start()
            printed = self._container.start(self._program, self._environment)
            stream = f"{self._record.name}/{HOST}-{int(self._clock().timestamp() * 1000)}"
            log = JobLog(printed, self._container.log, CloudLog(logs, stream), self._clock)
            cleanup.callback(lambda: log.close(silent=self.abandoned.is_set()))
            # Whatever the program started and left behind goes with it.
            cleanup.callback(self._container.signal, signal.SIGKILL)
            self._record.enter("Training", "Training image download completed. Training in progress.")
            code, early_end = self._follow(log)
        self._record.measure(log.metrics)
        return early_end or self._feeding_failed() or self._judge(code, log.last_line)

    def _follow(self, log: JobLog) -> tuple[int, Outcome | None]:
        """Wait for the program; its exit code, and how the job ends if it was made to end."""
        outcome: Outcome | None = None
        kill_at = float("inf")
        measured: dict[str, tuple[float, datetime]] = {}
        while (code := self._container.wait(_POLL)) is None:
            if log.metrics != measured:
                measured = dict(log.metrics)
                self._record.measure(measured)
            wanted = self._must_end()
            if wanted is not None and (outcome is None or (wanted is _ABANDONED and outcome is not wanted)):
                outcome = wanted
                kill_at = monotonic() + (_HURRY if wanted is _ABANDONED else self._grace)
                self._container.signal(signal.SIGTERM)
            elif monotonic() >= kill_at:
                self._container.signal(signal.SIGKILL)
        return code, outcome

    def _feeding_failed(self) -> Outcome | None:
        error = next((feeder.error for feeder in self._feeders if feeder.error), None)
        return Outcome.failed(f"ClientError: Data download failed: {error}") if error else None

    def _judge(self, code: int, last_line: str) -> Outcome:
        """How a job ended whose program ended by itself."""
        if code == 0:
            if files_below(self._container.model):
                return COMPLETED
            return Outcome.failed_with(
                "AlgorithmError: the program left no model; it must write its files into model/ "
                "below SAGEMAKER_BASE_DIR",
                code,
            )
        text = self._container.failure() or last_line or "the program gave no reason"
        if not text.startswith(("AlgorithmError:", "ClientError:")):
            text = f"AlgorithmError: {text}"
        return Outcome.failed_with(text, code)

    def _upload(self, s3: S3Client, outcome: Outcome) -> Outcome:
        """Send what the program left; of a job that failed only what it meant for people, not the model."""
        leavings = {"output.tar.gz": self._container.output}
        if outcome.status != "Failed":
            leavings["model.tar.gz"] = self._container.model
        leavings = {name: directory for name, directory in leavings.items() if files_below(directory)}
        if leavings:
            self._record.enter("Uploading", "Uploading generated training model")
        for name, directory in leavings.items():
            archive = self._container.scratch / name
            pack(directory, archive)
            try:
                storage.write(s3, self._output / name, archive.read_bytes())
            except GtlabelError as error:
                if outcome.status != "Failed":
                    raise
                # What made the job fail is what people need to know.
                _log.warning("%s of the failed job %s is lost: %s", name, self._record.name, error)
        return outcome
