"""The checkpoints of a job: filled from S3 before its program starts, kept there while and after it runs.

So a job whose machine is taken away goes on where it was:
https://docs.aws.amazon.com/sagemaker/latest/dg/model-checkpoints.html. What a program deletes stays in S3.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gtlabel import storage
from gtlabel.emulator.container import files_below, place_below
from gtlabel.emulator.inputs import fetch
from gtlabel.errors import GtlabelError
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_PAUSE = 0.5  # seconds between two looks at the directory
_CHUNK = 1 << 20

_Look = dict[Path, tuple[int, int]]  # size and time of the last change, by file


class Checkpoints:
    """A directory that is kept in step with a prefix of S3, one way: what changes here is written there.

    While the program runs, a file is sent once it looks the same twice in a row: one that is still being
    written is not half of a checkpoint in S3. After the program all are sent that changed.

    Args:
        s3: the client.
        uri: the prefix.
        directory: the directory.
        name: the job's, for the thread.
    """

    def __init__(self, s3: S3Client, uri: S3Uri, directory: Path, name: str) -> None:
        self.error: str | None = None
        self._s3 = s3
        self._uri = uri
        self._directory = directory
        self._sent: _Look = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"checkpoints {name}", daemon=True)

    def fetch(self) -> None:
        """Fill the directory with what is in S3.

        Raises:
            GtlabelError: if that cannot be read, or belongs somewhere else.
            OSError: if it cannot be written.
        """
        base = self._uri if self._uri.key.endswith("/") or not self._uri.key else self._uri / ""
        for item in storage.list_objects(self._s3, base):
            path = place_below(self._directory, base, item.uri)
            if path is not None:
                fetch(self._s3, item.uri, path)
        self._sent = self._look()

    def start(self) -> None:
        """Begin to keep in S3 what changes."""
        self._thread.start()

    def close(self, *, silent: bool = False) -> None:
        """Send what changed last, and end.

        Args:
            silent: send nothing any more, because nobody may be there to receive it.
        """
        self._ended.set()
        self._thread.join()
        if not silent:
            self._guarded(lambda: self._send(self._look()))

    def _run(self) -> None:
        before: _Look = {}
        while not self._ended.wait(_PAUSE):
            now = self._look()
            self._guarded(partial(self._send, dict(now.items() & before.items())))
            before = now

    def _guarded(self, send: Callable[[], None]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            send()
        except (GtlabelError, OSError, BotoCoreError, ClientError) as error:
            self.error = f"the checkpoints cannot be kept at {self._uri}: {error}"

    def _look(self) -> _Look:
        found: _Look = {}
        for path in files_below(self._directory):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # the program has just replaced it
            found[path] = (status.st_size, status.st_mtime_ns)
        return found

    def _send(self, files: _Look) -> None:
        for path, state in files.items():
            if self._sent.get(path) == state:
                continue
            uri = self._uri / path.relative_to(self._directory).as_posix()
            try:
                with path.open("rb") as file:
                    pieces: Iterator[bytes] = iter(partial(file.read, _CHUNK), b"")
                    storage.write_chunks(self._s3, uri, pieces, "application/octet-stream")
            except FileNotFoundError:
                continue  # the program keeps only so many, and this was one too many
            self._sent[path] = state
