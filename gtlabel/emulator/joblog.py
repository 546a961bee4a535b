"""What a training program prints: kept in a file, sent to CloudWatch Logs, read for metrics."""

from __future__ import annotations

import logging
import math
import os
import re
import select
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic, time
from typing import IO, TYPE_CHECKING, Any

from gtlabel.training.curve import read_metric
from gtlabel.training.follow import LOG_GROUP
from gtlabel.training.image import REPOSITORY, parse_image

if TYPE_CHECKING:
    from types_boto3_logs import CloudWatchLogsClient
    from types_boto3_logs.type_defs import InputLogEventTypeDef

_log = logging.getLogger(__name__)

# Whatever a terminal or a JSON parser would stumble over.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

# What a line says of metrics: their names and the texts of their values.
Patterns = Callable[[str], Iterable[tuple[str, str]]]

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
_MOST_EVENTS = 10_000
_MOST_BYTES = 1_048_576
_EVENT_OVERHEAD = 26
_LONGEST_EVENT = 250_000
# Lines that are older or newer are refused; in milliseconds from now, with a little to spare.
_OLDEST, _NEWEST = 13 * 86_400_000, 7_000_000
_BETWEEN_BATCHES = 0.5  # seconds
# What one job may have there: the emulator keeps it in memory, as CloudWatch need not.
_MOST_SENT = 64 << 20


class CloudLog:
    """One stream of CloudWatch Logs, made when the first lines arrive.

    The log is there to be read, not to decide anything: when it cannot be written, the emulator's own log
    says so once, and the job goes on.

    Args:
        logs: the client.
        stream: the name of the stream.
        most: how many bytes are sent at most; a line says when there are more.
    """

    def __init__(self, logs: CloudWatchLogsClient, stream: str, most: int = _MOST_SENT) -> None:
        self._logs = logs
        self._stream = stream
        self._most = most
        self._made = False
        self._broken = False
        self._sent = 0
        self._latest = 0

    def put(self, events: list[InputLogEventTypeDef]) -> None:
        """Send lines, oldest first."""
        from botocore.exceptions import BotoCoreError, ClientError

        if self._broken:
            return
        try:
            self._make()
            for batch in _batches(self._affordable(events)):
                self._logs.put_log_events(logGroupName=LOG_GROUP, logStreamName=self._stream, logEvents=batch)
        except (BotoCoreError, ClientError) as error:
            self._broken = True
            _log.warning("the log %s of %s is not written any more: %s", self._stream, LOG_GROUP, error)

    def _affordable(self, events: list[InputLogEventTypeDef]) -> Iterator[InputLogEventTypeDef]:
        for event in events:
            if self._sent >= self._most:
                return
            # Whoever moves the clock back does not move lines before those that are there.
            self._latest = max(self._latest, _acceptable(event["timestamp"]))
            self._sent += _weight(event)
            if self._sent >= self._most:
                said = f"gtlabel: {self._most:,} bytes of this log are here; the rest is in its file only"
                yield {"timestamp": self._latest, "message": said}
                return
            yield {"timestamp": self._latest, "message": event["message"]}

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
        patterns: finds the metrics in a line.

    Attributes:
        last_line: the last line that is not empty, for a failure without another explanation.
        metrics: the last value of each metric and when it was printed, by name.
    """

    def __init__(
        self,
        stream: IO[bytes],
        file: Path,
        cloud: CloudLog,
        clock: Callable[[], datetime],
        patterns: Patterns | None = None,
    ) -> None:
        self.last_line = ""
        self.metrics: dict[str, tuple[float, datetime]] = {}
        self._stream = stream
        self._file = file
        self._cloud = cloud
        self._clock = clock
        self._patterns = patterns or built_in
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
        with _File(self._file) as file:
            while (piece := self._read()) is not None:
                file.write(piece)
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._take(line)
                if len(rest) > _LONGEST_EVENT:
                    self._take(rest)
                    rest = b""
                if monotonic() - self._sent >= _BETWEEN_BATCHES or len(self._events) >= _MOST_EVENTS:
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
            self.last_line = _CONTROL.sub("\ufffd", line.strip())
        for name, text in self._patterns(line):
            self._measure(name, text, now)
        # CloudWatch refuses empty lines; tabs arrive there as the log driver writes them (§1.7).
        message = line.replace("\t", "#011")[:_LONGEST_EVENT] or " "
        self._events.append({"timestamp": int(now.timestamp() * 1000), "message": message})

    def _measure(self, name: str, text: str, now: datetime) -> None:
        try:
            value = float(text)
        except ValueError:
            return
        if math.isfinite(value):
            self.metrics[name] = (value, now)

    def _send(self) -> None:
        if self._events and not self._silenced.is_set():
            self._cloud.put(self._events)
        self._events = []
        self._sent = monotonic()


def patterns(algorithm: Mapping[str, Any]) -> Patterns:
    """How the metrics of a job are found: as the built-in prints them, or as the request defines them.

    Args:
        algorithm: the request's `AlgorithmSpecification`.
    """
    image = parse_image(algorithm.get("TrainingImage", ""))
    if image is not None and image.repository == REPOSITORY:
        return built_in
    defined = [
        (metric["Name"], re.compile(metric["Regex"])) for metric in algorithm.get("MetricDefinitions", ())
    ]

    def find(line: str) -> Iterator[tuple[str, str]]:
        for name, regex in defined:
            match = regex.search(line)
            if match and match[1] is not None:
                yield name, match[1]

    return find


def built_in(line: str) -> Iterator[tuple[str, str]]:
    """The metric in a line of the built-in algorithm, such as `validation:accuracy`."""
    metric = read_metric(line)
    # What is none of a channel's is no metric to the service: how long an epoch took, for one.
    if metric is not None and ":" in metric.name:
        yield metric.name, str(metric.value)


class _File:
    """Where the lines are kept, as long as the disk takes them: the job does not depend on it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._broken = False

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, piece: bytes) -> None:
        if self._broken:
            return
        try:
            self._file.write(piece)
        except OSError as error:
            self._broken = True
            _log.warning("%s is not written any more: %s", self._path, error)


def _batches(events: Iterable[InputLogEventTypeDef]) -> list[list[InputLogEventTypeDef]]:
    """The events in portions that CloudWatch takes at once."""
    batches: list[list[InputLogEventTypeDef]] = [[]]
    size = 0
    for event in events:
        weight = _weight(event)
        if batches[-1] and (len(batches[-1]) == _MOST_EVENTS or size + weight > _MOST_BYTES):
            batches.append([])
            size = 0
        batches[-1].append(event)
        size += weight
    return [batch for batch in batches if batch]


def _acceptable(timestamp: int) -> int:
    """The time of a line, or the nearest that CloudWatch takes: the clock of an account may be far off."""
    now = int(time() * 1000)
    return max(now - _OLDEST, min(timestamp, now + _NEWEST))


def _weight(event: InputLogEventTypeDef) -> int:
    return len(event["message"].encode()) + _EVENT_OVERHEAD
