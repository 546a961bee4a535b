"""The team that a job asks, looked up at every lease, so it is remembered for a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from gtlabel.emulator.api import Context
from gtlabel.emulator.shelf import Shelf
from gtlabel.engine.jobs import Job

_FRESH_SECONDS = 1.0
_MOST_REMEMBERED = 1000


class TeamBook:
    """The work teams of an account's own, by the jobs that ask them.

    Args:
        shelf: where they are kept.
        ticks: seconds that only go forward.
    """

    def __init__(self, shelf: Shelf, ticks: Callable[[], float] = time.monotonic) -> None:
        self._shelf = shelf
        self._ticks = ticks
        self._read: dict[tuple[Context, str], tuple[float, dict[str, Any] | None]] = {}

    def of(self, job: Job) -> dict[str, Any] | None:
        """The team of a job, as of a second ago at most; None for that of a vendor, and one that is gone."""
        where = Context(job.key.account, job.key.region), arn_of(job)
        now = self._ticks()
        read, team = self._read.get(where, (now - _FRESH_SECONDS, None))
        if now - read < _FRESH_SECONDS:
            return team
        context, arn = where
        team = self._shelf.get(context, "workteam", arn.rpartition("/")[2])
        # The team of a vendor may be called like one of the account's own.
        if team is not None and team["WorkteamArn"] != arn:
            team = None
        if len(self._read) >= _MOST_REMEMBERED:
            self._read.clear()
        self._read[where] = now, team
        return team

    def clear(self) -> None:
        """Look again."""
        self._read.clear()


def arn_of(job: Job) -> str:
    """The ARN of the team that a job asks."""
    return job.spec.team or str(job.spec.request.get("HumanTaskConfig", {}).get("WorkteamArn", ""))
