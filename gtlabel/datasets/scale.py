"""The work of consolidation on many machines: the same functions over shards, on a Ray cluster.

What takes hours with ten million pictures is reading and copying them, picture by picture: that is handed
out, a shard of addresses to each task, and so are manifests, a span of lines to each. All is put together
in the order of the shards, so nothing depends on how many machines there are, and results are those of one
process, byte for byte. The table of labels stays where consolidation was called: at a few hundred bytes a
picture it fits into one machine long after one machine has become too slow for the pictures.

Every task asks S3 by itself and with the credentials that boto3 finds on its machine; no secret is sent.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlsplit

from gtlabel.datasets.copying import WORKERS as COPIES
from gtlabel.datasets.copying import Progress, copy_missing
from gtlabel.datasets.gather import JobOutput, Part, read_part
from gtlabel.errors import GtlabelError, MissingExtraError
from gtlabel.images.groups import fingerprints_of
from gtlabel.images.listing import WORKERS as READERS
from gtlabel.manifests.choose import Choice
from gtlabel.manifests.chunks import read_chunks
from gtlabel.manifests.vocabulary import Vocabulary
from gtlabel.storage import read_range, stat

if TYPE_CHECKING:
    from types import TracebackType

    from types_boto3_s3 import S3Client

    from gtlabel.datasets.folders import Placement
    from gtlabel.images.fingerprints import Fingerprint
    from gtlabel.storage import StoredObject
    from gtlabel.uris import S3Uri

T = TypeVar("T")
R = TypeVar("R")

# Pictures and bytes of a manifest for a task: some seconds of work, so that starting it costs nothing and
# losing it little.
SHARD = 1_000
SPAN = 32 << 20
# Tasks that wait for each one that runs.
_AHEAD = 2
_STARTED_HERE = 2
_GZIP = b"\x1f\x8b\x08"
_STEP = 1 << 16
_OWN_NAMES = (".amazonaws.com", ".amazonaws.com.cn")


@dataclass(frozen=True, slots=True)
class Connection:
    """How a task finds the S3 that the caller uses: everything about a client but its credentials.

    Attributes:
        region: where requests go.
        endpoint_url: the address, if it is not AWS's own.
    """

    region: str | None
    endpoint_url: str | None

    @classmethod
    def of(cls, s3: S3Client) -> Connection:
        """The connection of a client."""
        address = s3.meta.endpoint_url
        own = (urlsplit(address).hostname or "").endswith(_OWN_NAMES)
        return cls(s3.meta.region_name, None if own else address)


class Cluster:
    """A Ray cluster: the one at `RAY_ADDRESS`, or two processes of this machine that end with the block.

    Where Ray was started already in this process, that is used and left running.

        with Cluster(s3) as cluster:
            cluster.copy_missing(placements, present)

    Args:
        s3: the client whose S3 the tasks are to use.
        processes: how many to start when there is no cluster yet.
        shard: how many pictures a task gets.
        span: how many bytes of a manifest a task gets; smaller manifests are read where this is.

    Raises:
        MissingExtraError: if Ray is not installed.
    """

    def __init__(
        self, s3: S3Client, *, processes: int = _STARTED_HERE, shard: int = SHARD, span: int = SPAN
    ) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError("spreading work over a Ray cluster (--engine ray)", "scale") from error
        self._ray: Any = ray
        self._s3 = s3
        self._connection = Connection.of(s3)
        self._processes = processes
        self._shard = shard
        self._span = span
        self._started = False

    def __enter__(self) -> Self:
        if self._ray.is_initialized():
            return self
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if os.environ.get("RAY_ADDRESS"):
            self._ray.init(**quiet)
        else:
            # Nothing is told to Ray's makers. It listens on all addresses of this machine, and asks for a
            # token that lies in the user's home: https://docs.ray.io/en/latest/ray-security/token-auth.html
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            self._ray.init(num_cpus=self._processes, include_dashboard=False, **quiet)
        self._started = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started:
            self._ray.shutdown()
            self._started = False

    def map(self, work: Callable[[Connection, T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield what a task makes of each item, in the order of the items.

        Items are taken as they are needed. A task that is lost with its machine is run again by Ray, so
        `work` has to bear that. When it raises, what waits is dropped.

        Args:
            work: a function that every machine can import.
            items: what tasks are about; large ones are sent once.
        """
        task = self._ray.remote(_told)
        room = max(1, int(self._ray.cluster_resources().get("CPU", 1))) * _AHEAD
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(task.remote(work, self._connection, item))
                if len(waiting) >= room:
                    yield _result(self._ray.get(waiting.popleft()))
            while waiting:
                yield _result(self._ray.get(waiting.popleft()))
        finally:
            for reference in waiting:
                self._ray.cancel(reference)

    def parts(
        self, output: JobOutput, vocabulary: Vocabulary, choice: Choice, chains: bool
    ) -> Iterator[Part | None] | None:
        """What `gtlabel.datasets.gather.gather` takes as `parts`, by tasks of some megabytes of lines.

        None for a manifest that is small, or packed and so cannot be entered in its middle.
        """
        manifest = output.manifest
        size = stat(self._s3, manifest).size
        if size <= self._span or read_range(self._s3, manifest, 0, len(_GZIP)) == _GZIP:
            return None
        spans = (
            _Span(output, vocabulary, choice, chains, start, min(start + self._span, size))
            for start in range(0, size, self._span)
        )
        return self.map(_part, spans)

    def fingerprints(self, images: Iterable[S3Uri]) -> Iterator[tuple[S3Uri, Fingerprint | str]]:
        """What `gtlabel.images.groups.fingerprints_of` yields, by tasks of a thousand pictures."""
        for shard in self.map(_fingerprints, _shards(images, self._shard)):
            yield from shard

    def copy_missing(
        self,
        placements: Sequence[Placement],
        present: Mapping[S3Uri, StoredObject],
        on_progress: Progress | None = None,
        *,
        workers: int = COPIES,
    ) -> int:
        """What `gtlabel.datasets.copying.copy_missing` does, by tasks of a thousand pictures.

        Args:
            placements: what goes where.
            present: what is there.
            on_progress: called with images done and in all, a shard at a time.
            workers: how many copies each task has under way at once.
        """
        done = copied = 0
        total = len(placements)
        shards = (
            (shard, {item.target: present[item.target] for item in shard if item.target in present})
            for shard in _shards(placements, self._shard)
        )
        sizes = deque(
            len(range(start, min(start + self._shard, total))) for start in range(0, total, self._shard)
        )
        for of_shard in self.map(partial(_copies, workers), shards):
            copied += of_shard
            done += sizes.popleft()
            if on_progress:
                on_progress(done, total)
        return copied


@dataclass(frozen=True, slots=True)
class _Span:
    """The lines of a manifest that begin between two bytes."""

    output: JobOutput
    vocabulary: Vocabulary
    choice: Choice
    chains: bool
    start: int
    end: int


def _part(connection: Connection, span: _Span) -> Part | None:
    lines = read_chunks((lines_between(_client(connection), span.output.manifest, span.start, span.end),), "")
    return read_part(lines, span.output, span.vocabulary, span.choice, span.chains)


def lines_between(s3: S3Client, manifest: S3Uri, start: int, end: int, step: int = _STEP) -> bytes:
    """The lines that begin between two bytes; the last one may go on behind them.

    Args:
        s3: the client.
        manifest: what to read; it is not packed.
        start: the first byte at which a line may begin.
        end: the byte behind the last one at which a line may begin.
        step: how many bytes are read at once behind that, until the last line ends.
    """
    # A line begins at `start` if another ends just before.
    before = max(0, start - 1)
    body = read_range(s3, manifest, before, end - before)
    if start:
        body = body.partition(b"\n")[2]
    while body and not body.endswith(b"\n"):
        more = read_range(s3, manifest, end, step)
        line, newline, _ = more.partition(b"\n")
        body += line + newline
        end += len(more)
        if not more:
            break
    return body


def _shards(items: Iterable[T], size: int) -> Iterator[list[T]]:
    taken = iter(items)
    while shard := list(islice(taken, size)):
        yield shard


@lru_cache(maxsize=8)
def _client(connection: Connection) -> S3Client:
    """The client of a process; making one takes as long as a thousand requests."""
    from gtlabel.aws import Aws

    return Aws(region=connection.region, endpoint_url=connection.endpoint_url).s3


def _fingerprints(connection: Connection, images: list[S3Uri]) -> list[tuple[S3Uri, Fingerprint | str]]:
    return list(fingerprints_of(_client(connection), images, READERS))


def _copies(
    workers: int, connection: Connection, shard: tuple[list[Placement], Mapping[S3Uri, StoredObject]]
) -> int:
    placements, present = shard
    return copy_missing(_client(connection), placements, present, workers)


@dataclass(frozen=True, slots=True)
class _Refused:
    """An error of ours on its way from another process."""

    kind: type[GtlabelError]
    sentence: str
    facts: Mapping[str, Any]


def _told(work: Callable[[Connection, T], R], connection: Connection, item: T) -> R | _Refused:
    """What a task makes of an item. Ray would wrap errors, and ours are made of other than sentences."""
    try:
        return work(connection, item)
    except GtlabelError as error:
        return _Refused(type(error), str(error), dict(vars(error)))


def _result(told: R | _Refused) -> R:
    if not isinstance(told, _Refused):
        return told
    error = told.kind.__new__(told.kind)
    error.args = (told.sentence,)
    vars(error).update(told.facts)
    raise error
