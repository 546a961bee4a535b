"""The workers' API, as a worker's program uses it: with patience for a server that is started again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gtlabel.errors import EmulatorError, EmulatorNotReadyError

_TIMEOUT_SECONDS = 60
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# Nothing could be stored now; the same may be sent again.
_LATER = (503, 507)


class Patience:
    """How long everybody waits for a server that has answered before and does not now.

    Args:
        seconds: how long.
        over: set when nobody is to wait any longer.
        on_notice: told once of each time that they wait.
    """

    def __init__(self, seconds: float, over: threading.Event, on_notice: Callable[[str], None]) -> None:
        self.seconds = seconds
        self.over = over
        self._on_notice = on_notice
        self._lock = threading.Lock()
        self._answered = False
        self._waiting = False

    @property
    def answered(self) -> bool:
        """Whether the server has ever answered."""
        return self._answered

    def well(self) -> None:
        """The server answers."""
        if self._answered and not self._waiting:
            return
        with self._lock:
            if self._waiting:
                self._on_notice("it answers again")
            self._answered, self._waiting = True, False

    def notice(self, sentence: str) -> None:
        """Say why they wait, once."""
        with self._lock:
            if not self._waiting:
                self._waiting = True
                self._on_notice(sentence)


class WorkerClient:
    """One worker's connection.

    Args:
        url: where the API is, without `/gtlabel/worker`.
        patience: shared by all who talk to that server.
        token: says who the worker is, where the server asks for it.

    Attributes:
        unsure: whether the worker may hold tasks without knowing: at first, and after the server did
            something that it could not tell of any more. Whoever looks sets it back.
    """

    def __init__(self, url: str, patience: Patience, token: str | None = None) -> None:
        parts = urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._url = url
        self._base = parts.path.rstrip("/")
        self._connection = kind(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
        self._patience = patience
        self._headers = {"Content-Type": "application/json"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self.unsure = True

    def ask(self, action: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """Do something; None when the task is not in the worker's hands any more.

        That happens to people, too: a time limit passes, or the job is stopped.

        Raises:
            EmulatorError: with the server's sentence, if it is about anything else.
            EmulatorNotReadyError: if nothing answers, or not for too long.
        """
        status, answered = self._send(f"{self._base}/gtlabel/worker/{action}", json.dumps(body).encode())
        if status == 409:
            return None
        if status != 200:
            raise EmulatorError(str(answered.get("error", f"{action} was answered with status {status}")))
        return answered

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _send(self, path: str, content: bytes) -> tuple[int, dict[str, Any]]:
        """Send a request until it is answered; all of them may be sent twice."""
        until = None
        pause = _FIRST_PAUSE
        for attempt in range(1_000_000):
            try:
                status, answered = self._exchange(path, content)
                if status not in _LATER:
                    self._patience.well()
                    return status, answered
                reason = str(answered.get("error", f"it answers with status {status}"))
            except (OSError, HTTPException) as error:
                self._connection.close()
                reason = str(error) or type(error).__name__
                self.unsure = True
                if attempt == 0:
                    # A server may hang up between two requests.
                    continue
                if not self._patience.answered:
                    raise EmulatorNotReadyError(
                        f"no emulator answers at {self._url} ({reason}); start one with `gtlabel local up`"
                    ) from error
            except ValueError as error:
                raise EmulatorNotReadyError(
                    f"what answers at {self._url} is no emulator of gtlabel"
                ) from error
            until = until or time.monotonic() + self._patience.seconds
            self._patience.notice(f"{self._url}: {reason}; waiting up to {self._patience.seconds:g} seconds")
            if time.monotonic() > until or self._patience.over.wait(pause):
                raise EmulatorNotReadyError(
                    f"{self._url} did not answer for {self._patience.seconds:g} seconds ({reason}); "
                    "what was answered before is kept, so start the server and then this again"
                )
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise AssertionError  # pragma: no cover

    def _exchange(self, path: str, content: bytes) -> tuple[int, dict[str, Any]]:
        self._connection.request("POST", path, content, self._headers)
        response = self._connection.getresponse()
        body: dict[str, Any] = json.loads(response.read())
        return response.status, body


def read_tokens(paths: Iterable[Path]) -> dict[str, str]:
    """Read who the workers are and what lets them in.

    A file holds a name and a token in each line, or one token alone, of the worker it is named after.

    Raises:
        EmulatorError: if a file cannot be read, or a line is not of that form.
    """
    tokens: dict[str, str] = {}
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise EmulatorError(f"{path} cannot be read: {error}") from error
        found = [(n, line.strip()) for n, line in enumerate(lines, start=1) if line.strip()]
        for number, line in found:
            name, _, token = line.rpartition(" ")
            if len(found) == 1:
                name = name or path.stem
            if not name.strip():
                raise EmulatorError(f"{path}, line {number}: it needs a name, a space and a token")
            if name.strip() in tokens:
                raise EmulatorError(f"{path}, line {number}: {name.strip()!r} is there twice")
            tokens[name.strip()] = token
        if not found:
            raise EmulatorError(f"{path} names nobody; it needs a name and a token in each line")
    return tokens
