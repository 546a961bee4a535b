"""Small objects are written to S3 by a process of its own.

boto3 takes a millisecond or two of CPU for each object, and of one process's threads only one computes at a
time: where a thousand answers come in a second, whoever answers workers would wait for whoever writes. So
objects go through a pipe to a child process that has the same credentials. What it cannot write is written
here as if there were no child, so that retries and errors are boto3's own.

The child ends with its parent, however that ends. It may still write what it was given before: what a job
writes is decided first, and whoever goes on with the job writes the same bytes to the same key.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_THREADS = 16
# Larger objects are few, and copying them twice is no gain.
_MOST_BYTES = 1 << 20
# A child that fails where its parent does not is left alone for a while.
_REST_SECONDS = 60.0
_REQUEST = {"Bucket", "Key", "Body", "ContentType"}


class Uploads:
    """A client of S3 whose `put_object` is carried out elsewhere; all else is the client's own.

    Threads may share it, and should: each call waits until its object is written.

    Args:
        client: gives the real client.
        profile: the AWS profile that the child uses; the usual one without it.
        region: the region of the client.
    """

    def __init__(self, client: Callable[[], S3Client], profile: str | None, region: str) -> None:
        self._client = client
        self._command = [sys.executable, "-m", __name__, profile or "", region]
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, Future[bool]] = {}
        self._count = 0
        self._rests_until = 0.0
        self._closed = False

    def __getattr__(self, name: str) -> Any:
        """Whatever else a client has."""
        return getattr(self._client(), name)

    def put_object(self, **request: Any) -> Any:
        """Write an object; it is whole there when this returns."""
        written = self._passed_on(request)
        if written:
            return {}
        done = self._client().put_object(**request)
        if written is False:
            with self._lock:
                self._rests_until = time.monotonic() + _REST_SECONDS
        return done

    def close(self) -> None:
        """End the child; what it was not done with is written here by those who wait for it."""
        with self._lock:
            self._closed = True
            child = self._child
        if child is not None and child.stdin is not None:
            with suppress(OSError):
                child.stdin.close()
            child.wait()

    def _passed_on(self, request: dict[str, Any]) -> bool | None:
        """Whether the child wrote it; None if it was not asked."""
        body = request.get("Body")
        if request.keys() != _REQUEST or not isinstance(body, bytes) or len(body) > _MOST_BYTES:
            return None
        written: Future[bool] = Future()
        with self._lock:
            if self._closed or time.monotonic() < self._rests_until:
                return None
            child = self._child or self._start()
            self._count += 1
            self._waiting[self._count] = written
            head = [self._count, len(body), request["Bucket"], request["Key"], request["ContentType"]]
            try:
                assert child.stdin is not None
                child.stdin.write(json.dumps(head).encode() + b"\n" + body)
                child.stdin.flush()
            except OSError:
                # It has ended; whoever reads what it says tells those who wait.
                self._waiting.pop(self._count, None)
                return False
        return written.result()

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._child = child
        threading.Thread(target=self._listen, args=(child,), name="uploads", daemon=True).start()
        return child

    def _listen(self, child: subprocess.Popen[bytes]) -> None:
        assert child.stdout is not None
        for line in child.stdout:
            number, outcome = line.split()
            with self._lock:
                written = self._waiting.pop(int(number), None)
            if written is not None:
                written.set_result(outcome == b"written")
        with self._lock:
            self._child = None
            left, self._waiting = self._waiting, {}
        for written in left.values():
            written.set_result(False)
        child.wait()


def main(profile: str, region: str, orders: IO[bytes], answers: IO[bytes]) -> None:
    """Be the child: write what comes in, and say of each whether it is written."""
    import boto3
    from botocore.config import Config

    # Ctrl-C is for the parent, who then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    session = boto3.Session(profile_name=profile or None)
    # The parent tries again, and knows better how.
    config = Config(retries={"mode": "standard", "total_max_attempts": 1}, max_pool_connections=_THREADS)
    s3 = session.client("s3", region_name=region, config=config)
    lock = threading.Lock()

    def put(number: int, bucket: str, key: str, kind: str, body: bytes) -> None:
        try:
            s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=kind)
            outcome = "written"
        except Exception:  # noqa: BLE001 - the parent does it again, and raises what is then raised
            outcome = "failed"
        with lock:
            answers.write(f"{number} {outcome}\n".encode())
            answers.flush()

    pool = ThreadPoolExecutor(_THREADS)
    while head := orders.readline():
        number, length, bucket, key, kind = json.loads(head)
        pool.submit(put, number, bucket, key, kind, orders.read(length))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.stdin.buffer, sys.stdout.buffer)
