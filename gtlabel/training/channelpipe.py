"""One epoch of a channel in Pipe mode, as a stream that waits as AWS's own readers wait.

The FIFO of an epoch may come a moment after it is wanted, its writer a moment later, and the first picture
later still: contract/training.md §4.1.
"""

from __future__ import annotations

import io
import os
import select
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from gtlabel.errors import ChannelError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# As long as AWS's TensorFlow reader waits for a FIFO; the built-ins wait a minute for data.
PATIENCE = 120.0
_POLL = 0.02


def open_pipe(data: Path, channel: str, epoch: int, patience: float = PATIENCE) -> BinaryIO:
    """The stream of an epoch.

    Args:
        data: the directory of all channels.
        channel: its name.
        epoch: counted from 0.
        patience: how many seconds to wait for the FIFO, and for each piece of what comes out of it.

    Raises:
        ChannelError: if there is no FIFO in that time, or something else at its place.
    """
    path = data / f"{channel}_{epoch}"
    deadline = time.monotonic() + patience
    while True:
        try:
            # Without waiting for a writer, because one may never come.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            break
        except FileNotFoundError:
            if time.monotonic() >= deadline:
                raise ChannelError(
                    channel,
                    f"nothing appeared at {path} within {patience:g} s; "
                    "an epoch can be read once, in the order of the epochs",
                ) from None
        except OSError as error:
            raise ChannelError(channel, f"{path} cannot be opened: {error.strerror}") from error
        time.sleep(_POLL)
    if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ChannelError(channel, f"{path} is no FIFO, and the job says that the channel is in Pipe mode")
    return cast("BinaryIO", _Pipe(descriptor, path, channel, patience))


class _Pipe(io.RawIOBase):
    """The end of a FIFO that is read from."""

    def __init__(self, descriptor: int, path: Path, channel: str, patience: float) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._path = path
        self._channel = channel
        self._patience = patience
        self._begun = False
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLIN)

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def readinto(self, buffer: WriteableBuffer) -> int:
        deadline = time.monotonic() + self._patience
        while (left := deadline - time.monotonic()) > 0:
            if not self._ready.poll(left * 1000):
                break
            try:
                got = os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                continue
            if got or self._begun or not self._path.exists():
                self._begun = True
                return got
            # Some systems call a FIFO ended whose writer has not come yet.
            time.sleep(_POLL)
        raise ChannelError(
            self._channel,
            f"nothing came out of {self._path} for {self._patience:g} s; who feeds it is stuck or has ended",
        )
