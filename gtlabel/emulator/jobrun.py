"""One training job on its way: data, program, log, artifact, and an end that depends on what really happened.

Whatever goes wrong ends in a status and a sentence, and leaves no FIFO, no process and no half of an
artifact behind: contract/training.md §4.2 and §7.6.
"""

from __future__ import annotations

import logging
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import OperationalError

from gtlabel import storage
from gtlabel.emulator.blame import line_meant
from gtlabel.emulator.checkpoints import Checkpoints
from gtlabel.emulator.container import HOST, Container, files_below, input_mode, packed, pipe_channel
from gtlabel.emulator.inputs import Objects, download
from gtlabel.emulator.joblog import CloudLog, JobLog, patterns
from gtlabel.emulator.jobrecord import (
    COMPLETED,
    INTERRUPTED,
    OUT_OF_TIME,
    OUT_OF_WAIT,
    STOPPED,
    JobRecord,
    Outcome,
)
from gtlabel.emulator.jobrules import DEFAULT_MAX_RUNTIME
from gtlabel.emulator.pipe import Feeder
from gtlabel.errors import GtlabelError, StorageError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_s3 import S3Client

_POLL = 0.05  # seconds between two looks at a running program
_HURRY = 3.0  # seconds that a program gets when the emulator itself ends
_PATIENCE = 1.0  # seconds until the end of a job is written down again that could not be
_SIGNALED = 128  # exit codes above are signals, as a shell counts

_log = logging.getLogger(__name__)

ABANDONED = Outcome.failed(
    "InternalServerError: the emulator ended while the job was running; create a job of another name"
)


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do.

    Attributes:
        request: the parameters of CreateTrainingJob.
        container: where the program runs.
        program: what is called, before its arguments.
        environment: what the program finds in its environment.
        output: where the artifacts go.
        grace: seconds that the program has to end by itself after SIGTERM.
    """

    request: Mapping[str, Any]
    container: Container
    program: Sequence[str]
    environment: Mapping[str, str]
    output: S3Uri
    grace: float

    def channels(self, *modes: str) -> list[Mapping[str, Any]]:
        """The channels that are read in one of these modes."""
        channels = self.request.get("InputDataConfig", ())
        return [channel for channel in channels if input_mode(self.request, channel) in modes]

    def limit(self, name: str) -> float | None:
        """A number of seconds among the stopping conditions."""
        found: int | None = (self.request.get("StoppingCondition") or {}).get(name)
        return found


class JobRun(threading.Thread):
    """Sees one job through, from its first step to its last.

    Args:
        record: what is known of the job.
        work: what there is to do.
        clients: the clients for the job's files and log.
        clock: the time that is written down.
    """

    def __init__(
        self,
        record: JobRecord,
        work: Work,
        clients: Callable[[], tuple[S3Client, CloudWatchLogsClient]],
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(name=f"training job {record.name}", daemon=True)
        self.stop_wanted = threading.Event()
        self.abandoned = threading.Event()
        self._record = record
        self._work = work
        self._container = work.container
        self._clients = clients
        self._clock = clock
        self._feeders: list[Feeder] = []
        self._checkpoints: Checkpoints | None = None
        # How long no machine is to be had, once this one has been taken away.
        self._away: float | None = None
        self._runtime = work.limit("MaxRuntimeInSeconds") or DEFAULT_MAX_RUNTIME
        self._deadline = monotonic() + self._runtime
        wait = work.limit("MaxWaitTimeInSeconds")
        self._wait_deadline = float("inf") if wait is None else monotonic() + wait

    def interrupt(self, away: float) -> None:
        """Take the machine away, and give another one after so many seconds."""
        self._away = away

    def run(self) -> None:
        """See it through."""
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
        if self.abandoned.is_set() and outcome.status == "Failed":
            # Whatever went wrong then did because nobody answers any more.
            outcome = ABANDONED
        ended = outcome
        try:
            # This makes room, where a full disk is what ended the job.
            self._container.clean()
        finally:
            while not self._noted(lambda: self._record.end(ended)) and not self.abandoned.wait(_PATIENCE):
                continue

    def _job(self) -> Outcome:
        s3, logs = self._clients()
        self._container.prepare(self._work.request)
        outcome = self._attempt(s3, logs)
        while outcome is INTERRUPTED:
            self._enter(INTERRUPTED.secondary, INTERRUPTED.message)
            # What is on the machine goes with it; checkpoints are in S3.
            self._container.prepare(self._work.request, again=True)
            outcome = self._wait_for_machine() or self._attempt(s3, logs)
        return self._upload(s3, outcome)

    def _attempt(self, s3: S3Client, logs: CloudWatchLogsClient) -> Outcome:
        """What comes of the job on one machine."""
        began = monotonic()
        self._deadline = began + self._runtime
        self._feeders.clear()
        try:
            self._download(s3)
            return self._must_end() or self._train(s3, logs)
        finally:
            self._runtime -= monotonic() - began

    def _wait_for_machine(self) -> Outcome | None:
        """Wait until there is a machine again; how the job ends if it ends before."""
        until = monotonic() + (self._away or 0)
        self._away = None
        while monotonic() < until:
            if self.abandoned.is_set():
                return ABANDONED
            if monotonic() >= self._wait_deadline:
                return OUT_OF_WAIT
            if self.stop_wanted.wait(min(_POLL, max(0.0, until - monotonic()))):
                return STOPPED
        self._enter("Starting", "Preparing the instances for training")
        return None

    def _enter(self, secondary: str, message: str) -> None:
        self._noted(lambda: self._record.enter(secondary, message))

    def _noted(self, write: Callable[[], None]) -> bool:
        """Write something down; a disk that is full for a while does not decide how the job ends."""
        try:
            write()
        except OperationalError as error:
            _log.warning(
                "the record of the training job %s cannot be written: %s", self._record.name, error.orig
            )
            return False
        return True

    def _must_end(self) -> Outcome | None:
        """How the job ends if it has to end now."""
        if self.abandoned.is_set():
            return ABANDONED
        failure = self._data_failed()
        if failure is not None:
            return failure
        if self.stop_wanted.is_set():
            return STOPPED
        if monotonic() >= min(self._deadline, self._wait_deadline):
            return OUT_OF_TIME if self._deadline < self._wait_deadline else OUT_OF_WAIT
        return INTERRUPTED if self._away is not None else None

    def _data_failed(self) -> Outcome | None:
        error = next((feeder.error for feeder in self._feeders if feeder.error), None)
        if error:
            return Outcome.failed(f"ClientError: Data download failed: {error}")
        if self._checkpoints and self._checkpoints.error:
            return Outcome.failed(f"ClientError: {self._checkpoints.error}")
        return None

    def _download(self, s3: S3Client) -> None:
        channels = self._work.channels("File", "FastFile")
        if self._work.channels("File"):
            self._enter("Downloading", "Downloading input data")
        for channel in channels:
            try:
                download(s3, self._work.request, channel, self._container.data, self._must_end)
            except GtlabelError as error:
                raise StorageError(f"Data download failed: {error}") from error
        config = self._work.request.get("CheckpointConfig")
        if config is not None:
            assert self._container.checkpoints is not None
            directory = self._container.checkpoints
            self._checkpoints = Checkpoints(s3, S3Uri(config["S3Uri"]), directory, self._record.name)
            try:
                self._checkpoints.fetch()
            except GtlabelError as error:
                raise StorageError(f"the checkpoints cannot be read: {error}") from error

    def _train(self, s3: S3Client, logs: CloudWatchLogsClient) -> Outcome:
        with ExitStack() as cleanup:
            for channel in self._work.channels("Pipe"):
                feeder = self._feeder(s3, channel)
                cleanup.callback(feeder.close)
                self._feeders.append(feeder)
                feeder.start()
            algorithm = self._work.request["AlgorithmSpecification"]
            arguments = algorithm.get("ContainerArguments") or ("train",)
            try:
                printed = self._container.start(self._work.program, self._work.environment, arguments)
            except OSError as error:
                return Outcome.failed(
                    f"AlgorithmError: {shlex.join(self._work.program)} cannot be started: {error}; "
                    "see --trainer of: gtlabel local up"
                )
            stream = f"{self._record.name}/{HOST}-{int(self._clock().timestamp() * 1000)}"
            cloud = CloudLog(logs, stream)
            log = JobLog(printed, self._container.log, cloud, self._clock, patterns(algorithm))
            cleanup.callback(lambda: log.close(silent=self.abandoned.is_set()))
            if self._checkpoints:
                checkpoints = self._checkpoints
                cleanup.callback(lambda: checkpoints.close(silent=self.abandoned.is_set()))
                checkpoints.start()
            # Whatever the program started and left behind goes with it.
            cleanup.callback(self._container.end)
            self._enter("Training", "Training image download completed. Training in progress.")
            code, early_end = self._follow(log)
        self._noted(lambda: self._record.measure(log.metrics))
        return early_end or self._data_failed() or self._judge(s3, code, log.last_line)

    def _feeder(self, s3: S3Client, channel: Mapping[str, Any]) -> Feeder:
        known = pipe_channel(channel)
        copy = self._container.scratch / f"{known.name}.manifest"
        source = channel["DataSource"]["S3DataSource"]
        whole = None if source["S3DataType"] == "AugmentedManifestFile" else Objects(s3, known, source)
        return Feeder(s3, known, self._container.data, copy, source=whole)

    def _follow(self, log: JobLog) -> tuple[int, Outcome | None]:
        """Wait for the program; its exit code, and how the job ends if it was made to end."""
        outcome: Outcome | None = None
        kill_at = float("inf")
        measured: dict[str, tuple[float, datetime]] = {}
        while (code := self._container.wait(_POLL)) is None:
            if log.metrics != measured:
                measured = dict(log.metrics)
                self._noted(partial(self._record.measure, measured))
            wanted = self._must_end()
            if wanted is not None and (outcome is None or (wanted is ABANDONED and outcome is not wanted)):
                outcome = wanted
                kill_at = monotonic() + (_HURRY if wanted is ABANDONED else self._work.grace)
                self._container.signal(signal.SIGTERM)
            elif monotonic() >= kill_at:
                self._container.signal(signal.SIGKILL)
        return code, outcome

    def _judge(self, s3: S3Client, code: int, last_line: str) -> Outcome:
        """How a job ended whose program ended by itself."""
        if code == 0:
            if files_below(self._container.model):
                return COMPLETED
            return Outcome.failed_with(
                "AlgorithmError: the program left no model; it must write its files into model/ "
                "below SAGEMAKER_BASE_DIR",
                code,
            )
        text = self._container.failure() or _killed(code, last_line) or "the program gave no reason"
        if not text.startswith(("AlgorithmError:", "ClientError:")):
            text = f"AlgorithmError: {text}"
        meant = line_meant(s3, self._work.channels("Pipe"), text)
        if meant:
            text = f"{text} ({meant})"
        return Outcome.failed_with(text, code)

    def _upload(self, s3: S3Client, outcome: Outcome) -> Outcome:
        """Send what the program left; of a job that failed only what it meant for people, not the model."""
        if self.abandoned.is_set():
            return ABANDONED
        leavings = {"output.tar.gz": self._container.output}
        if outcome.status != "Failed":
            leavings["model.tar.gz"] = self._container.model
        leavings = {name: directory for name, directory in leavings.items() if files_below(directory)}
        if leavings:
            self._enter("Uploading", "Uploading generated training model")
        key = self._work.request["OutputDataConfig"].get("KmsKeyId")
        for name, directory in leavings.items():
            try:
                storage.write_chunks(
                    s3, self._work.output / name, self._pieces(directory), "application/x-tar", kms_key=key
                )
            except (GtlabelError, OSError) as error:
                if outcome.status != "Failed":
                    raise
                # What made the job fail is what people need to know.
                _log.warning("%s of the failed job %s is lost: %s", name, self._record.name, error)
        return outcome

    def _pieces(self, directory: Path) -> Iterator[bytes]:
        for piece in packed(directory):
            if self.abandoned.is_set():
                raise StorageError("the emulator ended while the artifact was sent")
            yield piece


def _killed(code: int, last_line: str) -> str:
    """What is known of a program that said nothing about its failure."""
    if code <= _SIGNALED:
        return last_line
    try:
        name = signal.Signals(code - _SIGNALED).name
    except ValueError:
        return last_line
    memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    said = f"; the last it printed was: {last_line}" if last_line else ""
    return f"the program was ended by {name}{memory}{said}"
