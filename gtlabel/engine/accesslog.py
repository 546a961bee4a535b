"""The access log: who did what to whom, and when. Lines are added, never changed, and hold nothing secret."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from gtlabel.engine.crewtables import access
from gtlabel.engine.jobs import from_micros

_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of the log.

    Attributes:
        who: who did it.
        what: `add`, `invite`, `redeem`, `sign in`, ...
        whom: whose access it is about.
    """

    at: datetime
    who: str
    what: str
    whom: str
    detail: str


def note(connection: Connection, now: int, who: str, what: str, whom: str, detail: str = "") -> None:
    """Add a line."""
    line = {"at": now, "who": who[:_LONGEST_NAME], "what": what, "whom": whom, "detail": detail}
    connection.execute(insert(access).values(line))


def read_log(connection: Connection, last: int) -> list[Logged]:
    """The end of the log, oldest line first."""
    rows = connection.execute(select(access).order_by(access.c.id.desc()).limit(last)).all()
    return [Logged(from_micros(row.at), row.who, row.what, row.whom, row.detail) for row in reversed(rows)]
