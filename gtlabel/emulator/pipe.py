"""Pipe mode: what a training program reads from its FIFOs, as SageMaker's platform would write it.

Each channel has one FIFO per epoch, `<channel>_<epoch>`, counted from 0; the next one is there before the
current one ends. What comes out of it are the values of the channel, each in a RecordIO record, or bare
(contract/training.md §4.1, §4.3).
"""

from __future__ import annotations

import errno
import logging
import os
import select
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Literal, Protocol

from gtlabel.emulator.epochs import Epoch, Tally
from gtlabel.emulator.manifest import Manifest
from gtlabel.emulator.pictures import Bucket, OpenFile
from gtlabel.errors import EmulatorError, GtlabelError
from gtlabel.recordio import pieces
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

_READER_POLL = 0.01  # seconds; a FIFO has no way to wait for a reader and for a cancellation at once
_ROOM_POLL = 200  # milliseconds between two looks at a cancellation while the pipe is full
# Written at once: enough that a call costs nothing beside it, and it stays in the processor's cache.
_BATCH = 1 << 17
# https://man7.org/linux/man-pages/man2/writev.2.html: a call takes 1,024 pieces; a record has two or three.
_MOST_VALUES = 400
# The largest that Linux lets everybody have (/proc/sys/fs/pipe-max-size).
_PIPE = 1 << 20


_Value = bytes | memoryview | OpenFile


@dataclass(frozen=True, slots=True)
class PipeChannel:
    """A channel that is fed from an augmented manifest.

    Attributes:
        manifest: its address, or its path where it is on this machine.
        attributes: what is streamed of each line, in this order.
        wrapper: what stands around each value: `RecordIO`, or nothing at all.
        seed: shuffles the lines anew for every epoch; without it they keep their order.
    """

    name: str
    manifest: S3Uri | str
    attributes: tuple[str, ...]
    wrapper: Literal["RecordIO", "None"] = "RecordIO"
    seed: int | None = None


class Source(Protocol):
    """What a channel consists of: entered once, then read again for every epoch."""

    def __enter__(self) -> Source: ...

    def __exit__(self, *_: object) -> None: ...

    def values(self, epoch: int) -> Generator[bytes | OpenFile | None]:
        """Yield what an epoch consists of, each value without what is wrapped around it.

        None may stand where the next one takes a while: those before it are handed on then. A file that is
        open is poured in, and closed.
        """


class Feeder:
    """Feeds one channel, epoch after epoch, until it is closed.

    A reader that closes early is content: the next epoch begins. What a reader cannot be blamed for - a
    picture that is missing, a line that is no record - ends the feeding; `error` says it, and the open
    FIFO is held so that the reader does not take half an epoch for a whole one.

    Args:
        s3: reads the manifest and the objects; not needed with a `source`.
        channel: what to feed.
        directory: where the FIFOs appear.
        copy: the file that the manifest is kept in while it is read again and again.
        source: what is fed, when it is not an augmented manifest in S3.
        limit: how many epochs there are; who wants another one gets nothing, and `exhausted` tells of it.

    Attributes:
        epochs: what became of each epoch that had a reader.

    Raises:
        EmulatorError: where there are no FIFOs.
    """

    def __init__(
        self,
        s3: S3Client | None,
        channel: PipeChannel,
        directory: Path,
        copy: Path,
        *,
        source: Source | None = None,
        limit: int | None = None,
    ) -> None:
        if not hasattr(os, "mkfifo"):
            raise EmulatorError(
                "Pipe mode needs named pipes, which Windows does not have; "
                "run the emulator on Linux, on macOS or in WSL"
            )
        if source is None:
            assert s3 is not None
            source = Manifest(Bucket(s3, channel.name), channel, copy)
        self.channel = channel
        self.error: str | None = None
        self.epochs: list[Epoch] = []
        self.exhausted = threading.Event()
        self._source = source
        self._directory = directory
        self._limit = limit
        self._tally: Tally | None = None
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
        self._settle()
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
            with self._source as source:
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
        self._settle()
        try:
            if epoch == self._limit:
                self.exhausted.set()
                self._closed.wait()
                return False
            return self._write(pipe, source, epoch)
        finally:
            if self._tally is not None:
                self._tally.watch(self._fifos[epoch])
            # In this order nobody can open the FIFO of an epoch that is over and wait for ever.
            self._take_away(epoch)
            os.close(pipe)

    def _settle(self) -> None:
        """Write down how much of the last epoch was read, now that its reader has turned away from it."""
        if self._tally is not None:
            self._tally.close()
            self._tally = None

    def _open(self, fifo: Path) -> int | None:
        """Wait for a reader; None when the feeder was closed before one came."""
        while not self._closed.is_set():
            try:
                pipe = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            else:
                _widen(pipe)
                return pipe
            self._closed.wait(_READER_POLL)
        return None

    def _write(self, pipe: int, source: Source, epoch: int) -> bool:
        tally = self._tally = Tally(pipe, epoch, max(1, len(self.channel.attributes)))
        self.epochs.append(tally.epoch)
        framed = self.channel.wrapper == "RecordIO"
        room = select.poll()
        room.register(pipe, select.POLLOUT)
        values = source.values(epoch)
        batch: list[_Value] = []
        size = 0
        try:
            for value in values:
                if value is not None:
                    batch.append(value)
                    size += len(value)
                    if size < _BATCH and len(batch) < _MOST_VALUES:
                        continue
                ready, batch, size = batch, [], 0
                if not self._push(pipe, room, ready, tally, framed=framed):
                    return False
            if not self._push(pipe, room, batch, tally, framed=framed):
                return False
            tally.epoch.complete = True
        except BrokenPipeError:
            return not self._closed.is_set()
        except GtlabelError as error:
            return self._hold(error, lambda: self._push(pipe, room, batch, tally, framed=framed))
        finally:
            values.close()
            _close(batch)
            tally.epoch.ended = monotonic()
        return True

    def _hold(self, error: GtlabelError, feed_rest: Callable[[], bool]) -> bool:
        """Feed what comes before a fault, and then nothing more until the feeder is closed; want no more."""
        try:
            feed_rest()
        except (BrokenPipeError, GtlabelError) as another:
            _log.debug("the rest of %s is not fed: %s", self.channel.name, another)
        self.error = str(error)
        self._closed.wait()
        return False

    def _push(
        self, pipe: int, room: select.poll, values: list[_Value], tally: Tally, *, framed: bool
    ) -> bool:
        """Write values; say no when the feeder was closed before the reader took them."""
        tally.add(values, framed=framed)
        rest = pieces(values) if framed else list(values)
        try:
            while rest:
                if self._closed.is_set():
                    return False
                try:
                    tally.written(_write_some(pipe, rest))
                except BlockingIOError:
                    tally.wait(lambda: room.poll(_ROOM_POLL))
        finally:
            _close(rest)
        return True


def _write_some(pipe: int, rest: list[_Value]) -> int:
    """Write what goes into a pipe at once, and take it off the list; return how many bytes that were.

    Raises:
        BlockingIOError: if the pipe is full.
        BrokenPipeError: if nobody reads any more.
        StorageError: if a file is not what it was.
    """
    first = rest[0]
    if isinstance(first, OpenFile):
        try:
            moved = first.pour(pipe)
        except (BlockingIOError, BrokenPipeError):
            raise
        except OSError as error:
            # Some file systems cannot do it.
            _log.debug("a file is read, because it cannot be poured: %s", error)
            rest[0] = first.remainder()
            return 0
        if not len(first):
            first.cancel()
            del rest[0]
        return moved
    texts: list[bytes | memoryview] = []
    for value in rest:
        if isinstance(value, OpenFile):
            break
        texts.append(value)
    left = written = os.writev(pipe, texts)
    done = 0
    while done < len(texts) and left >= len(texts[done]):
        left -= len(texts[done])
        done += 1
    if left:
        rest[done] = memoryview(texts[done])[left:]
    del rest[:done]
    return written


def _close(values: list[_Value]) -> None:
    """Close the files among values, those that were not poured to their end."""
    for value in values:
        if isinstance(value, OpenFile):
            value.cancel()


def _widen(pipe: int) -> None:
    """Give a pipe more room than the 64 kB that it has on Linux; elsewhere it grows by itself."""
    import fcntl

    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return
    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
    except OSError as error:
        # The user has many pipes already, or the machine allows less.
        _log.debug("a pipe stays as small as it is: %s", error)
