"""The clock of an emulated account, which a test can stop and move.

Labeling jobs, work teams and training records go by it: leases, the lifetime of tasks, idle streaming jobs,
and the times that are written. What moto dates (objects in S3, roles, queues) and what boto3 signs (presigned
addresses) keep the machine's time.

Over HTTP it is `POST /gtlabel/clock` with one of these, answered by `{"now", "frozen"}`:

    {"freeze": "2026-11-22T09:00:00+00:00"}    stand still at that moment
    {"freeze": null}                           stand still now
    {"advance": 3600}                          seconds forward, frozen or not
    {"reset": true}                            the machine's time again
    {}                                         only tell
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from gtlabel.errors import EmulatorError

_ACTIONS = ("freeze", "advance", "reset")


class Clock:
    """Tells the time; it can be frozen and moved, and is safe to ask from any thread.

    Args:
        real: the time of the machine.
    """

    def __init__(self, real: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._real = real
        self._lock = threading.Lock()
        self._frozen: datetime | None = None
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """The time."""
        with self._lock:
            return self._now()

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._frozen is not None

    def freeze(self, at: datetime | str | None = None) -> datetime:
        """Stand still, from now on or at some other moment, and return which.

        Raises:
            EmulatorError: if the moment is none, or of no time zone.
        """
        moment = None if at is None else moment_of(at)
        with self._lock:
            self._frozen = self._now() if moment is None else moment
            return self._frozen

    def advance(self, by: timedelta) -> datetime:
        """Move forward, frozen or not, and return the time that it is then.

        Raises:
            EmulatorError: if that is backward, or after the last day that can be written.
        """
        if by < timedelta():
            raise EmulatorError(
                "the clock only moves forward; freeze it at an earlier moment before the jobs"
            )
        with self._lock:
            try:
                now = self._now() + by
            except OverflowError:
                raise EmulatorError(f"the clock cannot move forward by {by}") from None
            if self._frozen is None:
                self._ahead += by
            else:
                self._frozen = now
            return now

    def reset(self) -> None:
        """Go with the machine's time again."""
        with self._lock:
            self._frozen = None
            self._ahead = timedelta()

    def _now(self) -> datetime:
        return self._real() + self._ahead if self._frozen is None else self._frozen


def moment_of(at: datetime | str) -> datetime:
    """A moment, or one that is written as ISO 8601, in UTC.

    Raises:
        EmulatorError: if it is none, or of no time zone.
    """
    try:
        moment = datetime.fromisoformat(at) if isinstance(at, str) else at
    except ValueError:
        raise EmulatorError(f"{at!r} is no moment; write it as 2026-11-22T09:00:00+00:00") from None
    if moment.tzinfo is None:
        raise EmulatorError(f"{at} could be in any time zone; write it as {moment.isoformat()}+00:00")
    return moment.astimezone(UTC)


def handle(clock: Clock, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer one request for `/gtlabel/clock`: the status and the JSON."""
    asked = [name for name in body if name in _ACTIONS]
    unknown = [name for name in body if name not in _ACTIONS]
    try:
        if unknown or len(asked) > 1:
            raise EmulatorError(f"ask a clock for one of {', '.join(_ACTIONS)}, not for {', '.join(body)}")
        if "freeze" in body:
            at = body["freeze"]
            if at is not None and not isinstance(at, str):
                raise EmulatorError(f"{at!r} is no moment; write it as 2026-11-22T09:00:00+00:00")
            clock.freeze(at)
        elif "advance" in body:
            clock.advance(_seconds(body["advance"]))
        elif body.get("reset"):
            clock.reset()
    except EmulatorError as error:
        return 400, {"error": str(error)}
    return 200, {"now": clock().isoformat(), "frozen": clock.frozen}


def _seconds(value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise EmulatorError(f"{value!r} is no number of seconds")
    try:
        return timedelta(seconds=value)
    except (OverflowError, ValueError):
        raise EmulatorError(f"the clock cannot move forward by {value} seconds") from None
