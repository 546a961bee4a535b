"""Pipe mode: what a training program reads from its FIFOs, as SageMaker's platform would write it.

Each channel has one FIFO per epoch, `<channel>_<epoch>`, counted from 0; the next one is there before the
current one ends. An augmented manifest becomes, line by line and attribute by attribute, RecordIO records:
the object behind an attribute that ends in `-ref`, the text of any other (contract/training.md §4.1, §4.3).
"""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import select
import threading
from array import array
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gtlabel import storage
from gtlabel.errors import (
    EmulatorError,
    GtlabelError,
    ManifestError,
    ManifestLineError,
    StorageError,
    UriError,
)
from gtlabel.recordio import encode
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

_PREFETCHED = 8  # lines whose objects are on their way while another is being read
_READER_POLL = 0.01  # seconds; a FIFO has no way to wait for a reader and for a cancellation at once
_ROOM_POLL = 200  # milliseconds between two looks at a cancellation while the pipe is full


@dataclass(frozen=True, slots=True)
class PipeChannel:
    """A channel that is fed from an augmented manifest.

    Attributes:
        attributes: what is streamed of each line, in this order.
        wrapper: what stands around each value: `RecordIO`, or nothing at all.
        seed: shuffles the lines anew for every epoch; without it they keep their order.
    """

    name: str
    manifest: S3Uri
    attributes: tuple[str, ...]
    wrapper: Literal["RecordIO", "None"] = "RecordIO"
    seed: int | None = None


class Source(Protocol):
    """What a channel consists of: entered once, then read again for every epoch."""

    def __enter__(self) -> Source: ...

    def __exit__(self, *_: object) -> None: ...

    def values(self, epoch: int) -> Generator[bytes]:
        """Yield what an epoch consists of, each value without what is wrapped around it."""


class Feeder:
    """Feeds one channel, epoch after epoch, until it is closed.

    A reader that closes early is content: the next epoch begins. What a reader cannot be blamed for - a
    picture that is missing, a line that is no record - ends the feeding; `error` says it, and the open
    FIFO is held so that the reader does not take half an epoch for a whole one.

    Args:
        s3: reads the manifest and the objects.
        channel: what to feed.
        directory: where the FIFOs appear.
        copy: the file that the manifest is kept in while it is read again and again.
        source: what is fed, when it is not an augmented manifest.

    Raises:
        EmulatorError: where there are no FIFOs.
    """

    def __init__(
        self,
        s3: S3Client,
        channel: PipeChannel,
        directory: Path,
        copy: Path,
        *,
        source: Source | None = None,
    ) -> None:
        if not hasattr(os, "mkfifo"):
            raise EmulatorError(
                "Pipe mode needs named pipes, which Windows does not have; "
                "run the emulator on Linux, on macOS or in WSL"
            )
        self.channel = channel
        self.error: str | None = None
        self._s3 = s3
        self._directory = directory
        self._copy = copy
        self._source = source
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed {channel.name}", daemon=True)
        self._fifos: dict[int, Path] = {}
        for epoch in (0, 1):
            self._make(epoch)

    def start(self) -> None:
        """Begin to feed."""
        self._thread.start()

    def close(self) -> None:
        """Stop feeding and take the FIFOs away; a reader that is still there sees the end."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()
        for epoch in list(self._fifos):
            self._take_away(epoch)

    def _make(self, epoch: int) -> None:
        fifo = self._directory / f"{self.channel.name}_{epoch}"
        os.mkfifo(fifo)
        self._fifos[epoch] = fifo

    def _take_away(self, epoch: int) -> None:
        # The program may have tidied up behind itself.
        self._fifos.pop(epoch).unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            with self._source or _Manifest(self._s3, self.channel, self._copy) as source:
                epoch = 0
                while self._feed(source, epoch):
                    epoch += 1
        except GtlabelError as error:
            self.error = str(error)
        except Exception as error:  # noqa: BLE001 - the job must fail with whatever went wrong in this thread
            self.error = f"{self.channel.manifest}: {type(error).__name__}: {error}"

    def _feed(self, source: Source, epoch: int) -> bool:
        """Write one epoch; say whether another one is wanted."""
        try:
            if epoch + 1 not in self._fifos:
                self._make(epoch + 1)
            pipe = self._open(self._fifos[epoch])
        except FileNotFoundError:
            # The program took its FIFOs away: it wants no more, and its end will say whether that was right.
            _log.debug("the FIFOs of %s are gone", self.channel.name)
            return False
        if pipe is None:
            return False
        try:
            return self._write(pipe, source, epoch)
        finally:
            # In this order nobody can open the FIFO of an epoch that is over and wait for ever.
            self._take_away(epoch)
            os.close(pipe)

    def _open(self, fifo: Path) -> int | None:
        """Wait for a reader; None when the feeder was closed before one came."""
        while not self._closed.is_set():
            try:
                return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            self._closed.wait(_READER_POLL)
        return None

    def _write(self, pipe: int, source: Source, epoch: int) -> bool:
        room = select.poll()
        room.register(pipe, select.POLLOUT)
        values = source.values(epoch)
        try:
            for value in values:
                frame = encode(value) if self.channel.wrapper == "RecordIO" else value
                if not self._push(pipe, room, frame):
                    return False
        except BrokenPipeError:
            return not self._closed.is_set()
        except GtlabelError as error:
            self.error = str(error)
            self._closed.wait()
            return False
        finally:
            values.close()
        return True

    def _push(self, pipe: int, room: select.poll, frame: bytes) -> bool:
        """Write all of a frame; say no when the feeder was closed before the reader took it."""
        rest = memoryview(frame)
        while rest:
            if self._closed.is_set():
                return False
            if room.poll(_ROOM_POLL):
                try:
                    rest = rest[os.write(pipe, rest) :]
                except BlockingIOError:
                    continue
        return True


class _Manifest:
    """The lines of an augmented manifest, fetched once and kept on disk; in memory are their offsets."""

    def __init__(self, s3: S3Client, channel: PipeChannel, copy: Path) -> None:
        self._s3 = s3
        self._channel = channel
        self._copy = copy
        self._offsets = array("Q")
        self._numbers = array("Q")
        self._pool = ThreadPoolExecutor(_PREFETCHED, thread_name_prefix=f"fetch {channel.name}")

    def __enter__(self) -> _Manifest:
        try:
            self._fetch()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._copy.unlink(missing_ok=True)

    def _fetch(self) -> None:
        uri = self._channel.manifest
        with self._copy.open("wb") as copy:
            for number, line in enumerate(storage.read_lines(self._s3, uri), start=1):
                if line.strip():
                    self._offsets.append(copy.tell())
                    self._numbers.append(number)
                    copy.write(line + b"\n")
        if not self._offsets:
            raise ManifestError(f"{uri} has no line, and a channel without images cannot be trained on")

    def values(self, epoch: int) -> Generator[bytes]:
        """Yield what an epoch consists of, while the objects of the lines ahead are being fetched.

        Raises:
            ManifestLineError: when its turn comes, not before: what precedes it has been yielded.
        """
        ahead: deque[Future[list[bytes]]] = deque()
        try:
            for number, line in self._lines(epoch):
                ahead.append(self._pool.submit(self._values_of, number, line))
                if len(ahead) == _PREFETCHED:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()

    def _lines(self, epoch: int) -> Iterator[tuple[int, bytes]]:
        order: Sequence[int] = range(len(self._offsets))
        if self._channel.seed is not None:
            order = list(order)
            random.Random(f"{self._channel.seed}:{epoch}").shuffle(order)  # noqa: S311 - an order, not a secret
        with self._copy.open("rb") as copy:
            for position in order:
                copy.seek(self._offsets[position])
                yield self._numbers[position], copy.readline()

    def _values_of(self, number: int, line: bytes) -> list[bytes]:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise self._error(number, f"it is not JSON ({error})") from error
        if not isinstance(record, dict):
            raise self._error(number, f"it is not a JSON object but {type(record).__name__}")
        return [self._value(number, record, attribute) for attribute in self._channel.attributes]

    def _value(self, number: int, record: dict[str, Any], attribute: str) -> bytes:
        if attribute not in record:
            known = ", ".join(record) or "none"
            raise self._error(number, f"it has no attribute {attribute!r}; those it has: {known}")
        value = record[attribute]
        if attribute.endswith("-ref"):
            return self._object(number, attribute, value)
        return value.encode() if isinstance(value, str) else json.dumps(value).encode()

    def _object(self, number: int, attribute: str, value: Any) -> bytes:
        from botocore.exceptions import BotoCoreError

        if not isinstance(value, str):
            raise self._error(number, f"its {attribute!r} is not an S3 address but {json.dumps(value)}")
        try:
            return storage.read(self._s3, S3Uri(value))
        except (UriError, StorageError, BotoCoreError) as error:
            raise self._error(number, str(error)) from error

    def _error(self, number: int, reason: str) -> ManifestLineError:
        return ManifestLineError(self._channel.manifest, number, reason)
