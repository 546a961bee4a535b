"""What moto remembers of people, roles, topics, queues, rules and logs, kept on disk.

moto has its services in memory. After each request that changed one of these, what moto then holds of the
service is written down, before the client hears of its success. What passes through them (messages, lines of
logs, how IoT's jobs go) is written down each second instead, and when the emulator ends: the second before a
kill is lost. Labeling and training jobs, answers, teams and objects are not here; they have stores of their
own.

What is written is a pickle (contract/moto.md 3): it fits one release of moto, and who can write one can run
programs in who reads it. So it is read only where nobody but this user can write, names only classes of moto
and plain data, and what cannot be read is set aside, for whoever wants to look, and not asked for again.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from gtlabel.emulator import moto, stacks
from gtlabel.errors import EmulatorError

_log = logging.getLogger(__name__)

# By the names of moto's modules. Whoever makes a stack makes things of all of them.
SERVICES = ("cloudformation", "cognitoidp", "events", "iam", "iot", "kms", "logs", "sns", "sqs")
# What stands in a pickle depends on this module, too.
_FORMAT = "1"
_PASSING = frozenset(
    {
        "ChangeMessageVisibility",
        "ChangeMessageVisibilityBatch",
        "DeleteMessage",
        "DeleteMessageBatch",
        "Publish",
        "PublishBatch",
        "PutEvents",
        "PutLogEvents",
        "ReceiveMessage",
        "SendMessage",
        "SendMessageBatch",
    }
)
_THROUGH = ("iot", "logs", "sns", "sqs")
_READING = ("Describe", "Filter", "Get", "List", "Simulate", "Test")
_READING_METHODS = ("GET", "HEAD", "OPTIONS")
_ATTEMPTS = 20
# SQLite's own files beside a database.
_ENDINGS = ("", "-wal", "-shm")
_SWEEP_SECONDS = 1.0
# Long queues are looked at less often: this share of the time at most.
_SWEEP_SHARE = 0.02
_SCHEMA = """
create table if not exists about (name text primary key, value text not null) without rowid;
create table if not exists backends (
    service text not null, account text not null, region text not null, content blob not null,
    primary key (service, account, region)
);
"""

Address = tuple[str, str, str]


class Memory:
    """The file that moto's services are kept in.

    Args:
        path: the file, in a folder that only this user can write to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._written: dict[Address, bytes] = {}
        self._silent: set[Address] = set()
        self._swept = time.monotonic()
        self._pause = _SWEEP_SECONDS
        self._connection: sqlite3.Connection | None = None

    def load(self) -> int:
        """Give moto back what it knew, before its first request; return of how many services.

        A file that cannot be read is set aside with a warning, and so is one that can be read in part.
        """
        states: dict[Address, dict[str, Any]] = {}
        problems = []
        try:
            _check_owner(self._path)
            for address, content in self._read():
                try:
                    states[address] = _unpickled(content)
                except Exception as error:  # noqa: BLE001 - said in the log; a pickle can fail in any way
                    problems.append(f"{address[0]}: {type(error).__name__}: {error}")
        except (sqlite3.Error, OSError, EmulatorError) as error:
            problems.append(str(error))
        if problems:
            self._set_aside(problems)
        for address, state in states.items():
            moto.backend(*address).__dict__.update(state)
        if problems:
            self.write()
        return len({service for service, _, _ in states})

    def note(self, service: str, method: str, operation: str, status: int) -> None:
        """Write down what a request changed. Call it before the answer is sent.

        Args:
            service: the name of moto's module.
            method: that of HTTP.
            operation: its name; empty in a service that goes by paths.
            status: that of the answer.
        """
        if service not in SERVICES or status >= 400 or operation in _PASSING:
            return
        if operation.startswith(_READING) if operation else method in _READING_METHODS:
            return
        self.write(SERVICES if service == "cloudformation" else (service,))

    def sweep(self) -> None:
        """Write down what passed through the services, if it is time to."""
        began = time.monotonic()
        if began - self._swept < self._pause:
            return
        self.write(_THROUGH)
        self._swept = time.monotonic()
        self._pause = max(_SWEEP_SECONDS, (self._swept - began) / _SWEEP_SHARE)

    def write(self, services: tuple[str, ...] = SERVICES) -> None:
        """Write down what moto holds of some services; what is as it was costs no write."""
        # From looking at moto until that is written nobody else may, or an older look could win.
        with self._lock:
            if self._connection is None:
                return
            changed = []
            for service in services:
                for account, region, backend in moto.backends(service):
                    address = (service, account, region)
                    content = self._content(address, backend)
                    digest = sha256(content or b"").digest()
                    if content is not None and self._written.get(address) != digest:
                        changed.append((*address, content))
                        self._written[address] = digest
            if changed:
                with self._connection as connection:
                    connection.execute("begin immediate")
                    connection.executemany("insert or replace into backends values (?, ?, ?, ?)", changed)

    def clear(self) -> None:
        """Forget everything; moto itself is reset by others."""
        with self._lock:
            self._written.clear()
            if self._connection is not None:
                self._connection.execute("delete from backends")

    def close(self) -> None:
        """Write everything down and let go of the file."""
        self.write()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _read(self) -> Iterator[tuple[Address, bytes]]:
        for *address, content in self._stamped().execute("select * from backends").fetchall():
            service, account, region = address
            yield (service, account, region), content

    def _stamped(self) -> sqlite3.Connection:
        """The open file, which says what wrote it.

        Raises:
            EmulatorError: if that was another moto.
        """
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        self._connection = connection
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        connection.executescript(_SCHEMA)
        about = dict(connection.execute("select name, value from about").fetchall())
        here = {"format": _FORMAT, "moto": moto.version()}
        if about not in ({}, here):
            raise EmulatorError(f"it was written with moto {about.get('moto')}, and this is {here['moto']}")
        connection.executemany("insert or replace into about values (?, ?)", here.items())
        return connection

    def _content(self, address: Address, backend: Any) -> bytes | None:
        """What moto holds, pickled; None when it cannot be, which is said once."""
        for _ in range(_ATTEMPTS):
            try:
                return _pickled(backend.__dict__)
            except RuntimeError:
                # Another request changed it meanwhile; it will be written down after that one once more.
                time.sleep(0.001)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                if address not in self._silent:
                    self._silent.add(address)
                    _log.warning("what moto holds of %s will not survive: %s", address[0], error)
                return None
        return None

    def _set_aside(self, problems: list[str]) -> None:
        if self._connection is not None:
            self._connection.close()
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = self._path.with_name(f"{self._path.name}.{moment}.aside")
        for ending in _ENDINGS:
            file = self._path.with_name(self._path.name + ending)
            if file.is_symlink() or file.exists():
                file.rename(aside.with_name(aside.name + ending))
        _log.warning(
            "some of the user pools, roles, topics, queues, rules and logs of the time before are gone: "
            "%s cannot be used (%s) and was set aside as %s",
            self._path,
            "; ".join(problems),
            aside.name,
        )
        self._stamped()


def _check_owner(path: Path) -> None:
    """Refuse what somebody else could have written.

    Raises:
        EmulatorError: if so.
    """
    for place in (path.parent, *(path.with_name(path.name + ending) for ending in _ENDINGS)):
        if not (place.is_symlink() or place.exists()):
            continue
        status = place.lstat()
        if place.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise EmulatorError(f"others than this user can write to {place}")


class _Pickler(pickle.Pickler):
    """Takes apart what pickles of moto's objects usually fail at."""

    def persistent_id(self, thing: Any) -> Any:
        if isinstance(thing, type):
            # The classes of a stack's resources are made at each start and cannot be found by a name.
            return next((("model", name) for name, model in stacks.models().items() if model is thing), None)
        address = moto.address_of(thing)
        return None if address is None else ("moto", *address)

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, _LOCKS):
            return _lock, (isinstance(thing, _LOCKS[1]),)
        if isinstance(thing, threading.Condition):
            return threading.Condition, ()
        if isinstance(thing, weakref.WeakValueDictionary):
            return _weak, (dict(thing),)
        if hasattr(thing, "private_bytes"):
            return _key, (_pem(thing),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    """Knows the classes of moto, plain data and nothing else."""

    def persistent_load(self, address: Any) -> Any:
        kind, *rest = address
        return stacks.models()[rest[0]] if kind == "model" else moto.at(tuple(rest))

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        # joserfc's are the keys that a user pool signs with.
        ours = module.startswith(("moto.", "joserfc.")) and isinstance(found, type)
        if not ours and (module, name) not in _PLAIN:
            raise EmulatorError(f"it asks for {module}.{name}, which is nothing that moto keeps")
        return found


def _pickled(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=5).dump(state)
    return buffer.getvalue()


def _unpickled(content: bytes) -> dict[str, Any]:
    state = _Unpickler(io.BytesIO(content)).load()
    if not isinstance(state, dict):
        raise EmulatorError("it holds something else than what moto keeps")
    return state


_LOCKS = (type(threading.Lock()), type(threading.RLock()))


def _lock(again: bool) -> Any:
    return threading.RLock() if again else threading.Lock()


def _weak(things: dict[Any, Any]) -> Any:
    return weakref.WeakValueDictionary(things)


def _pem(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return content


def _key(content: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(content, None)


_PLAIN = frozenset(
    {
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("collections", "deque"),
        ("copyreg", "_reconstructor"),
        ("gtlabel.emulator.stacks", "Made"),
        ("datetime", "datetime"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("re", "_compile"),
        ("threading", "Condition"),
        ("uuid", "UUID"),
        (__name__, "_key"),
        (__name__, "_lock"),
        (__name__, "_weak"),
    }
)
