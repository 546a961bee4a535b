"""A training job's log lines as they come, with its statuses and what it measures.

SageMaker sends what a program prints to CloudWatch Logs, one stream for each machine and each start, named
`JOB/algo-N-TIME`, in the group `/aws/sagemaker/TrainingJobs`:
https://docs.aws.amazon.com/sagemaker/latest/dg/logging-cloudwatch.html
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gtlabel.training.curve import Metric, read_metric
from gtlabel.training.jobs import ENDED, TrainingJob, wait_for_training_job
from gtlabel.training.patience import Patience, passes

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_sagemaker import SageMakerClient

LOG_GROUP = "/aws/sagemaker/TrainingJobs"

# Seconds that a line may be on its way after the job has ended.
_LATE = 3.0


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a training program printed.

    Attributes:
        time: when, to the millisecond.
        host: on which machine, such as `algo-1`.
        text: the line; tabs, which CloudWatch shows as `#011`, are tabs again.
    """

    time: datetime
    host: str
    text: str

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {"time": self.time.isoformat(timespec="milliseconds"), "host": self.host, "text": self.text}


class LogReader:
    """Reads a job's log on from where it was, each line once.

    Args:
        logs: the client.
        name: the job's name.
    """

    def __init__(self, logs: CloudWatchLogsClient, name: str) -> None:
        self._logs = logs
        self._prefix = f"{name}/"
        self._streams: dict[str, _Stream] = {}
        # What was read before another stream could not be: it is told next time.
        self._held: list[LogLine] = []

    def read(self) -> Iterator[LogLine]:
        """Yield what is new, of several machines in the order of time as far as it came together.

        Streams may appear at any time: when the machines are there, and again when spot capacity that was
        taken away has come back.

        Raises:
            ClientError: as the service refuses it; nothing is lost, and reading may go on later.
        """
        self._find()
        left = list(self._streams.values())
        while left:
            more = []
            for stream in left:
                lines, is_end = stream.read_page(self._logs)
                self._held += lines
                if not is_end:
                    more.append(stream)
            lines, self._held = sorted(self._held, key=lambda line: line.time), []
            yield from lines
            left = more

    def _find(self) -> None:
        try:
            pages = self._logs.get_paginator("describe_log_streams").paginate(
                logGroupName=LOG_GROUP, logStreamNamePrefix=self._prefix
            )
            for page in pages:
                for stream in page["logStreams"]:
                    name = stream["logStreamName"]
                    self._streams.setdefault(name, _Stream(name))
        except self._logs.exceptions.ResourceNotFoundException:
            # The group comes with the first job of the account that prints something.
            return


class _Stream:
    def __init__(self, name: str) -> None:
        self._name = name
        self._host = _host(name)
        self._token: str | None = None
        # Where to go on when a token is too old: at this time (ms), after so many lines of that time.
        self._last, self._known = 0, 0

    def read_page(self, logs: CloudWatchLogsClient) -> tuple[list[LogLine], bool]:
        """The next lines, and whether they are all there are now."""
        place: dict[str, Any] = {"nextToken": self._token} if self._token else {"startTime": self._last}
        try:
            answer = logs.get_log_events(
                logGroupName=LOG_GROUP, logStreamName=self._name, startFromHead=True, **place
            )
        except logs.exceptions.InvalidParameterException:
            if self._token is None:
                raise
            # A token is good for a day; a laptop may sleep longer than that.
            self._token = None
            return [], False
        skipped = 0 if self._token else self._known
        is_end = answer["nextForwardToken"] == self._token
        self._token = answer["nextForwardToken"]
        lines = []
        for event in answer["events"]:
            moment = event["timestamp"]
            if skipped and moment == self._last:
                skipped -= 1
                continue
            self._known = self._known + 1 if moment == self._last else 1
            self._last = moment
            text = event["message"].replace("#011", "\t").rstrip("\r\n")
            lines.append(LogLine(datetime.fromtimestamp(moment / 1000, UTC), self._host, text))
        return lines, is_end


def _host(stream: str) -> str:
    """The machine that a stream is of: `algo-1` of `sorter/algo-1-1700000000`."""
    name = stream.partition("/")[2]
    host, _, started = name.rpartition("-")
    return host if host and started.isdigit() else name


def follow_training_job(
    sagemaker: SageMakerClient,
    logs: CloudWatchLogsClient,
    name: str,
    *,
    on_line: Callable[[LogLine], None] | None = None,
    on_change: Callable[[TrainingJob], None] | None = None,
    on_metric: Callable[[Metric, LogLine], None] | None = None,
    on_look: Callable[[TrainingJob], None] | None = None,
    on_trouble: Callable[[Exception], None] | None = None,
    timeout: float | None = None,
    poll: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> TrainingJob:
    """Follow a job until it is completed, line by line, and return it.

    A job that runs or has ended already is followed from its first line on. The log is there to be read,
    not to decide anything: where it cannot be read, the job is followed without it.

    Args:
        sagemaker: the client.
        logs: the client of CloudWatch Logs.
        name: the job's name.
        on_line: called with each line of the log, once.
        on_change: called at the first look and whenever the status or a metric is another, after the lines
            that came before.
        on_metric: called with each number that a line tells, after `on_line`.
        on_look: called at every look, last.
        on_trouble: called once with the error when the log cannot be read.
        timeout: seconds after which to give up; the job goes on.
        poll: seconds between two looks.
        sleep: waits that many seconds.
        clock: tells the seconds passed.

    Raises:
        TrainingJobNotFoundError: if there is no such job.
        TrainingEndedError: if it failed, was stopped, or was not done in time.
    """
    ear = _Ear(LogReader(logs, name), on_line, on_metric, on_trouble, Patience(poll, clock), clock)
    seen: TrainingJob | None = None

    def look(job: TrainingJob) -> None:
        nonlocal seen
        # What was printed before a change stands before it.
        ear.listen()
        if job.status in ENDED:
            ear.listen_to_the_end(poll, sleep)
        if on_change is not None and job != seen:
            on_change(job)
        seen = job
        if on_look is not None:
            on_look(job)

    return wait_for_training_job(
        sagemaker, name, timeout=timeout, poll=poll, on_look=look, sleep=sleep, clock=clock
    )


class _Ear:
    """Tells what a log says, for as long as it may be read."""

    def __init__(
        self,
        reader: LogReader,
        on_line: Callable[[LogLine], None] | None,
        on_metric: Callable[[Metric, LogLine], None] | None,
        on_trouble: Callable[[Exception], None] | None,
        patience: Patience,
        clock: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._on_line = on_line
        self._on_metric = on_metric
        self._on_trouble = on_trouble
        self._patience = patience
        self._clock = clock
        self._again = 0.0
        self._deaf = False

    def listen(self) -> bool:
        """Tell the new lines; return whether another look may find more."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._deaf or self._clock() < self._again:
            return not self._deaf
        heard = False
        try:
            for line in self._reader.read():
                heard = True
                self._tell(line)
        except (BotoCoreError, ClientError) as error:
            self._bear(error)
            return not self._deaf
        self._patience.succeeded()
        return heard

    def listen_to_the_end(self, poll: float, sleep: Callable[[float], None]) -> None:
        """Tell the lines that come after the job has ended, until a look finds none."""
        more = not self._deaf
        while more:
            sleep(max(min(poll, _LATE), self._again - self._clock()))
            more = self.listen()

    def _tell(self, line: LogLine) -> None:
        if self._on_line is not None:
            self._on_line(line)
        if self._on_metric is not None:
            metric = read_metric(line.text)
            if metric is not None:
                self._on_metric(metric, line)

    def _bear(self, error: Exception) -> None:
        """Rest from a failure that passes; tell of any other once, and listen no more."""
        if passes(error) and self._patience.failed():
            self._again = self._clock() + self._patience.pause
            return
        self._deaf = True
        if self._on_trouble is not None:
            self._on_trouble(error)
