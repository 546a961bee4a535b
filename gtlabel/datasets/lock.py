"""One run at a time for each dataset.

The lock is an object beside the dataset, `.gtlabel-lock`, that S3 lets only one of several writers make
(`If-None-Match`, https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html). Its holder
writes it anew all the time; one that was not written for a whole lease is a dead run's, and so is one of a
process on this machine that is no more. Whoever finds it dead replaces exactly that one (`If-Match`), so of
two finders one wins.

How old a lock is, S3's clock alone says: machines' clocks may differ by more than a lease.
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self

from gtlabel.errors import (
    DatasetInUseError,
    GtlabelError,
    ObjectChangedError,
    ObjectNotFoundError,
    StorageDeniedError,
)
from gtlabel.storage import explained
from gtlabel.uris import S3Uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

LOCK = ".gtlabel-lock"
LEASE = timedelta(minutes=5)
_FREE = b"{}\n"


@contextmanager
def locked(
    s3: S3Client, into: S3Uri, *, lease: timedelta = LEASE, break_lock: bool = False
) -> Iterator[Lock]:
    """Hold the dataset at an address for as long as the `with` lasts.

    Args:
        s3: the client; a thread of its own renews the lock with it.
        into: the dataset.
        lease: how long a lock that is not renewed counts as held.
        break_lock: take the lock whoever holds it.

    Raises:
        DatasetInUseError: if another run holds it.
    """
    lock = Lock(s3, into / LOCK, lease)
    lock.take(anyway=break_lock)
    over = threading.Event()

    def renew() -> None:
        while not over.wait(lease.total_seconds() / 3):
            lock.try_to_renew()

    keeper = threading.Thread(target=renew, name="dataset-lock", daemon=True)
    keeper.start()
    try:
        yield lock
    finally:
        over.set()
        keeper.join()
        lock.release()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A lock as S3 has it: who says what in it, and for how long it was not written."""

    etag: str
    facts: dict[str, Any]
    age: timedelta

    @property
    def is_free(self) -> bool:
        """Whether its holder gave it back and could not delete it."""
        return "token" not in self.facts

    def is_dead(self, lease: timedelta) -> bool:
        if self.age > lease:
            return True
        here = _Process.own()
        return (
            self.facts.get("place") == here.place
            and not _Process(
                here.place, int(self.facts.get("pid", 0)), str(self.facts.get("started", ""))
            ).lives
        )


class Lock:
    """A lock that this process holds, or held; `locked` makes one."""

    def __init__(self, s3: S3Client, uri: S3Uri, lease: timedelta) -> None:
        process = _Process.own()
        self._s3 = s3
        self._uri = uri
        self._lease = lease
        self._facts: dict[str, Any] = {
            "owner": _owner(),
            "place": process.place,
            "pid": process.pid,
            "started": process.started,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "token": token_hex(8),
            "renewed": 0,
        }
        self._etag: str | None = None
        self._one = threading.Lock()

    def take(self, *, anyway: bool = False) -> None:
        """Take it, if it is free or its holder is dead.

        Raises:
            DatasetInUseError: if another run holds it.
        """
        while True:
            if self._write(IfNoneMatch="*"):
                return
            seen = self._look()
            if seen is None:
                continue
            if not (anyway or seen.is_free or seen.is_dead(self._lease)):
                raise self._in_use(seen)
            if not seen.is_free:
                _log.warning("taking over %s from %s", self._uri, seen.facts.get("owner"))
            if self._write(IfMatch=seen.etag):
                return

    def check(self) -> None:
        """Renew it now; before whatever must not be done by two.

        Raises:
            DatasetInUseError: if another run has taken over, because this one was silent for too long.
        """
        with self._one:
            held = self._etag is not None and self._write(IfMatch=self._etag)
            if not held:
                self._etag = None
        if not held:
            seen = self._look()
            raise (
                self._in_use(seen)
                if seen
                else DatasetInUseError(self._uri.folder, "nobody any more: the lock was deleted", "just now")
            )

    def try_to_renew(self) -> None:
        """Renew it; whether it is still held, `check` says."""
        from botocore.exceptions import BotoCoreError

        try:
            self.check()
        except (GtlabelError, BotoCoreError) as error:
            _log.warning("the lock of %s was not renewed: %s", self._uri.folder, error)

    def release(self) -> None:
        """Give it back, if it is still held; a lock that cannot be given back ends with its lease."""
        from botocore.exceptions import BotoCoreError

        with self._one:
            if self._etag is None:
                return
            try:
                try:
                    with explained("s3:DeleteObject", self._uri):
                        self._s3.delete_object(Bucket=self._uri.bucket, Key=self._uri.key, IfMatch=self._etag)
                except StorageDeniedError:
                    # Who may write a dataset may not always delete; an empty lock is nobody's.
                    self._put(_FREE, IfMatch=self._etag)
            except (ObjectChangedError, ObjectNotFoundError):
                _log.warning("the lock of %s was taken over by another run", self._uri.folder)
            except (GtlabelError, BotoCoreError) as error:
                _log.warning("the lock of %s was not given back: %s", self._uri.folder, error)
            self._etag = None

    def _write(self, **condition: str) -> bool:
        self._facts["renewed"] += 1
        try:
            etag = self._put(json.dumps(self._facts, indent=2).encode() + b"\n", **condition)
        except (ObjectChangedError, ObjectNotFoundError):
            return False
        self._etag = etag
        return True

    def _put(self, body: bytes, **condition: Any) -> str:
        from botocore.exceptions import ClientError

        with explained("s3:PutObject", self._uri):
            while True:
                try:
                    answer = self._s3.put_object(
                        Bucket=self._uri.bucket,
                        Key=self._uri.key,
                        Body=body,
                        ContentType="application/json",
                        **condition,
                    )
                except ClientError as error:
                    # Two wrote at the same moment, and S3 asks this one to try again.
                    if error.response["Error"]["Code"] != "ConditionalRequestConflict":
                        raise
                else:
                    return answer["ETag"]

    def _look(self) -> _Seen | None:
        try:
            with explained("s3:GetObject", self._uri):
                answer = self._s3.get_object(Bucket=self._uri.bucket, Key=self._uri.key)
        except ObjectNotFoundError:
            return None
        try:
            facts = json.loads(answer["Body"].read())
        except ValueError:
            facts = {"token": "", "owner": "something that is no lock of ours"}
        told = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(told) if told else datetime.now(UTC)
        return _Seen(answer["ETag"], facts if isinstance(facts, dict) else {}, now - answer["LastModified"])

    def _in_use(self, seen: _Seen) -> DatasetInUseError:
        owner, since = seen.facts.get("owner", "somebody"), seen.facts.get("since", "an unknown time")
        return DatasetInUseError(self._uri.folder, str(owner), str(since))


@dataclass(frozen=True, slots=True)
class _Process:
    """A process such that no other is taken for it.

    Attributes:
        place: the machine, and the container on it, that the number means something in.
        pid: its number.
        started: when it was started, as the machine tells; numbers are used again.
    """

    place: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(_place(), pid, _started(pid))

    @property
    def lives(self) -> bool:
        """Whether it is still there; asked where it was started only."""
        if self.pid < 1:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return _started(self.pid) == self.started


def _place() -> str:
    # Two containers may have one name, and count their processes each for itself; a machine that was
    # started anew counts from the beginning.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        container = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        # Not Linux: there the name says enough.
        return socket.gethostname()
    return f"{socket.gethostname()} {boot} {container}"


def _started(pid: int) -> str:
    try:
        # The 22nd field; the second, the name in brackets, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _owner() -> str:
    try:
        user = getpass.getuser()
    # Raised where the user has no name, as in many containers; before Python 3.13 a KeyError.
    except (OSError, KeyError):
        user = "somebody"
    return f"{user} on {socket.gethostname()} (process {os.getpid()})"
