"""What a training program prints: kept in a file, sent to CloudWatch Logs, read for metrics."""

from __future__ import annotations

import logging
import math
import os
import re
import select
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_logs.type_defs import InputLogEventTypeDef

LOG_GROUP = "/aws/sagemaker/TrainingJobs"

_log = logging.getLogger(__name__)

# The lines of the built-in algorithm (contract/training.md §1.7): `Epoch[2] Validation-accuracy=0.164062`.
_METRIC = re.compile(r"Epoch\[\d+\] (?P<channel>Train|Validation)-(?P<name>[\w-]+)=(?P<value>\S+)")

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_MOST_EVENTS = 10_000
_MOST_BYTES = 1_048_576
_EVENT_OVERHEAD = 26
_LONGEST_EVENT = 250_000
_BETWEEN_BATCHES = 1.0  # seconds


class CloudLog:
    """One stream of CloudWatch Logs, made when the first lines arrive.

    The log is there to be read, not to decide anything: when it cannot be written, the emulator's own log
    says so once, and the job goes on.
    """

    def __init__(self, logs: CloudWatchLogsClient, stream: str) -> None:
        self._logs = logs
        self._stream = stream
        self._made = False
        self._broken = False

    def put(self, events: list[InputLogEventTypeDef]) -> None:
        """Send lines, oldest first."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._broken:
            return
        try:
            self._make()
            for batch in _batches(events):
                self._logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=self._stream, logEvents=batch)
        except (BotoCoreError, ClientError) as error:
            self._broken = True
            _log.warning("the log %s of %s is not written any more: %s", self._stream, LOG_GROUP, error)

    def _make(self) -> None:
        if self._made:
            return
        try:
            self._logs.create_log_group(logGroupName=LOG_GROUP)
        except self._logs.exceptions.ResourceAlreadyExistsException:
            _log.debug("%s is there already", LOG_GROUP)
        self._logs.create_log_stream(logGroupName=LOG_GROUP, logStreamName=self._stream)
        self._made = True


class JobLog:
    """Reads what a program prints until it ends.

    Args:
        stream: the reading end of the program's output.
        file: where the lines are kept as they came.
        cloud: where they are sent.
        clock: stamps the lines.

    Attributes:
        last_line: the last line that is not empty, for a failure without another explanation.
        metrics: the last value of each metric and when it was printed, by name.
    """

    def __init__(self, stream: IO[bytes], file: Path, cloud: CloudLog, clock: Callable[[], datetime]) -> None:
        self.last_line = ""
        self.metrics: dict[str, tuple[float, datetime]] = {}
        self._stream = stream
        self._file = file
        self._cloud = cloud
        self._clock = clock
        self._ended = threading.Event()
        self._silenced = threading.Event()
        self._events: list[InputLogEventTypeDef] = []
        self._sent = monotonic()
        self._thread = threading.Thread(target=self._run, name=f"log {file}", daemon=True)
        self._thread.start()

    def close(self, *, silent: bool = False) -> None:
        """Read what is left and end.

        Args:
            silent: send nothing any more, because nobody may be there to receive it.
        """
        if silent:
            self._silenced.set()
        self._ended.set()
        self._thread.join()
        self._stream.close()

    def _run(self) -> None:
        rest = b""
        with self._file.open("ab") as file:
            while (piece := self._read()) is not None:
                file.write(piece)
                file.flush()
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take(line)
                if len(rest) > _LONGEST_EVENT:
                    self._take(rest)
                    rest = b""
                if monotonic() - self._sent >= _BETWEEN_BATCHES:
                    self._send()
        if rest:
            self._take(rest)
        self._send()

    def _read(self) -> bytes | None:
        """What the program printed within the next moment; None when there will be no more.

        After the program has ended, a grandchild that fled from its process group may hold the stream
        open; nobody waits for that one.
        """
        ready = select.poll()
        ready.register(self._stream, select.POLLIN)
        if ready.poll(100):
            return os.read(self._stream.fileno(), 1 << 16) or None
        return None if self._ended.is_set() else b""

    def _take(self, raw: bytes) -> None:
        now = self._clock()
        line = raw.decode(errors="replace").rstrip("\r")
        if line.strip():
            self.last_line = line.strip()
        match = _METRIC.search(line)
        if match:
            self._measure(match, now)
        # CloudWatch refuses empty lines; tabs arrive there as the log driver writes them (§1.7).
        message = line.replace("\t", "#011")[:_LONGEST_EVENT] or " "
        self._events.append({"timestamp": int(now.timestamp() * 1000), "message": message})

    def _measure(self, match: re.Match[str], now: datetime) -> None:
        try:
            value = float(match["value"])
        except ValueError:
            return
        if math.isfinite(value):
            self.metrics[f"{match['channel'].lower()}:{match['name']}"] = (value, now)

    def _send(self) -> None:
        if self._events and not self._silenced.is_set():
            self._cloud.put(self._events)
        self._events = []
        self._sent = monotonic()


def _batches(events: list[InputLogEventTypeDef]) -> list[list[InputLogEventTypeDef]]:
    """The events in portions that CloudWatch takes at once."""
    batches: list[list[InputLogEventTypeDef]] = [[]]
    size = 0
    for event in events:
        weight = len(event["message"].encode()) + _EVENT_OVERHEAD
        if batches[-1] and (len(batches[-1]) == _MOST_EVENTS or size + weight > _MOST_BYTES):
            batches.append([])
            size = 0
        batches[-1].append(event)
        size += weight
    return batches
