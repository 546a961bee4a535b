"""What lets somebody in, in the database: tokens, invites and sessions, each found by its hash.

The functions write within a transaction of the caller's. An invite goes from `open` to `redeemed` or `void`
by one conditional update, so that two who redeem it at once, in two processes even, cannot both succeed.
Each function may run twice (see `Store.write_soon`): what it writes, it writes once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from hmac import compare_digest
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, bindparam, delete, insert, select, update

from gtlabel.engine.crewtables import invites, sessions, tokens
from gtlabel.engine.jobs import from_micros
from gtlabel.engine.statements import Prepared

_SECOND = 1_000_000
# contract/worker-ui.md 6.4.
INVITE_SECONDS = 72 * 3600
IDLE_SECONDS = 8 * 3600
SESSION_SECONDS = 7 * 24 * 3600
# A session is written to this often at most, for each request would cost a write.
_SEEN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Token:
    """What is known about a token besides what is secret in it.

    Attributes:
        id: its public part, by which it is revoked.
        used: about when it was used last, to the minute.
    """

    id: str
    label: str
    created: datetime
    used: datetime | None
    revoked: datetime | None


class Session(NamedTuple):
    """A session as the database has it."""

    worker: str
    opened: int
    seen: int


# Asked at every request of a browser.
_SESSION = Prepared(
    select(sessions.c.worker, sessions.c.opened, sessions.c.seen).where(
        sessions.c.digest == bindparam("digest")
    )
)


def digest(secret: str) -> str:
    """What is kept of something secret."""
    return sha256(secret.encode(errors="replace")).hexdigest()


def matches(secret: str, expected: str) -> bool:
    """Whether a secret has that digest; it takes as long either way."""
    return compare_digest(digest(secret), expected)


def add_token(connection: Connection, sub: str, public: str, secret: str, label: str, now: int) -> None:
    """Write a token down."""
    row = {"id": public, "worker": sub, "digest": digest(secret), "label": label, "created": now}
    _write_once(connection, tokens.c.id, row)


def read_tokens(connection: Connection, sub: str) -> list[Token]:
    """Somebody's tokens, oldest first."""
    rows = connection.execute(
        select(tokens).where(tokens.c.worker == sub).order_by(tokens.c.created, tokens.c.id)
    )
    return [
        Token(row.id, row.label, from_micros(row.created), _moment(row.used), _moment(row.revoked))
        for row in rows
    ]


def has_token(connection: Connection, sub: str, token: str) -> bool:
    """Whether somebody ever had a token of that public part or label."""
    named = select(tokens.c.id).where(
        tokens.c.worker == sub, (tokens.c.id == token) | (tokens.c.label == token)
    )
    return connection.execute(named).first() is not None


def revoke_tokens(connection: Connection, sub: str, now: int, token: str | None = None) -> int:
    """Make somebody's tokens worthless, or those of that public part or label; say how many were good."""
    good = update(tokens).where(tokens.c.worker == sub, tokens.c.revoked.is_(None))
    if token is not None:
        good = good.where((tokens.c.id == token) | (tokens.c.label == token))
    return connection.execute(good.values(revoked=now)).rowcount


def see_token(connection: Connection, public: str, now: int) -> None:
    """Write down that a token was used."""
    connection.execute(update(tokens).where(tokens.c.id == public).values(used=now))


def add_invite(connection: Connection, sub: str, secret: str, now: int) -> None:
    """Write an invite down; those that somebody had before are void."""
    void_invites(connection, sub, besides=digest(secret))
    row = {
        "digest": digest(secret),
        "worker": sub,
        "expires": now + INVITE_SECONDS * _SECOND,
        "state": "open",
    }
    _write_once(connection, invites.c.digest, row)


def void_invites(connection: Connection, sub: str, besides: str = "") -> None:
    """Take back the invites of somebody that nobody used."""
    mine = update(invites).where(
        invites.c.worker == sub, invites.c.state == "open", invites.c.digest != besides
    )
    connection.execute(mine.values(state="void"))


def redeem_invite(connection: Connection, secret: str, claim: str, now: int) -> tuple[str | None, str]:
    """Use an invite up; return whose it is, if it ever was one, and why it does not let them in.

    Args:
        connection: within a transaction.
        secret: the invite.
        claim: tells this attempt from all others, should it run twice.
        now: what time it is.
    """
    here = invites.c.digest == digest(secret)
    good = update(invites).where(here, invites.c.state == "open", invites.c.expires > now)
    connection.execute(good.values(state="redeemed", claim=digest(claim)))
    found = connection.execute(select(invites).where(here)).one_or_none()
    if found is None:
        return None, "this is no invite of ours; open the link exactly as it was sent"
    if found.claim == digest(claim):
        return found.worker, ""
    reasons = {
        "redeemed": "the invite was used before; ask the owner for a new one",
        "void": "the invite was taken back; use the newest one, or ask the owner for it",
        "open": "the invite is older than three days; ask the owner for a new one",
    }
    return found.worker, reasons[found.state]


def open_session(connection: Connection, sub: str, secret: str, now: int) -> None:
    """Write a session down, and forget those of everybody that are over."""
    over = (sessions.c.seen <= now - IDLE_SECONDS * _SECOND) | (
        sessions.c.opened <= now - SESSION_SECONDS * _SECOND
    )
    connection.execute(delete(sessions).where(over))
    row = {"digest": digest(secret), "worker": sub, "opened": now, "seen": now}
    _write_once(connection, sessions.c.digest, row)


def find_session(connection: Connection, secret: str, now: int) -> Session | None:
    """A session that is not over."""
    row = _SESSION.one(connection, digest=digest(secret))
    if row is None:
        return None
    session = Session(*row)
    idle, age = now - session.seen, now - session.opened
    return session if idle < IDLE_SECONDS * _SECOND and age < SESSION_SECONDS * _SECOND else None


def is_stale(session: Session, now: int) -> bool:
    """Whether it is time to write down that a session goes on."""
    return now - session.seen >= _SEEN_SECONDS * _SECOND


def see_session(connection: Connection, secret: str, now: int) -> None:
    """Write down that a session goes on."""
    connection.execute(update(sessions).where(sessions.c.digest == digest(secret)).values(seen=now))


def end_session(connection: Connection, secret: str) -> str | None:
    """End a session; return whose it was."""
    here = sessions.c.digest == digest(secret)
    sub: str | None = connection.execute(select(sessions.c.worker).where(here)).scalar()
    connection.execute(delete(sessions).where(here))
    return sub


def end_sessions(connection: Connection, sub: str) -> None:
    """End all sessions of somebody."""
    connection.execute(delete(sessions).where(sessions.c.worker == sub))


def _write_once(connection: Connection, key: Column[str], row: dict[str, Any]) -> None:
    if connection.execute(select(key).where(key == row[key.name])).first() is None:
        connection.execute(insert(key.table).values(row))


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)
