"""The people of a Ground Truth of one's own: who they are, what lets them in, and what was done to them.

Three things let somebody in, each of 256 random bits that are shown once and kept as a hash: a token, for
programs, until it is revoked; an invite, once, within three days; a session, until nobody used it for eight
hours, or for a week at most (contract/worker-ui.md 6.4).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_urlsafe
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from gtlabel.engine import entry
from gtlabel.engine.accesslog import Logged, note, read_log
from gtlabel.engine.crewtables import changes, metadata, workers
from gtlabel.engine.entry import Token
from gtlabel.engine.jobs import to_micros
from gtlabel.engine.roster import (
    Role,
    Roster,
    Worker,
    checked_email,
    checked_groups,
    checked_name,
    find_worker,
    leave_mark,
    refusal,
    worker_of,
)
from gtlabel.engine.store import Store
from gtlabel.errors import (
    InviteError,
    WorkerDeactivatedError,
    WorkerError,
    WorkerNameTakenError,
)

__all__ = ["Crew", "Logged", "Role", "Token", "Worker"]

_T = TypeVar("_T")

_LONGEST_LABEL = 64
# What a token begins with, so that programs which look for leaked ones can tell what they found.
_TOKEN = "gtl"  # noqa: S105 - not the secret part
# The last use of a token is written down this often at most, for it costs a write.
_USED_SECONDS = 60.0


class Crew:
    """Everybody who may come in.

    Every change is on disk when it returns, stands in the access log under the name given as `by`, and holds
    in every process on the same database about a second later.

    Args:
        store: the engine's.
        clock: what time it is.
        secrets: makes texts of 256 random bits that are fit for an address.
        ticks: seconds that only go forward.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        secrets: Callable[[], str] = lambda: token_urlsafe(32),
        *,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._ticks = ticks
        self._used: dict[str, float] = {}
        self._roster = Roster(store, ticks)
        store.ensure(metadata)
        # The only row of its table is there from the start, so that two changes at once cannot both add it.
        with suppress(IntegrityError):
            store.write(lambda connection: connection.execute(insert(changes).values(id=1, mark="")))

    def add(
        self,
        name: str,
        *,
        email: str = "",
        groups: Sequence[str] = (),
        role: Role = Role.WORKER,
        by: str = "owner",
    ) -> Worker:
        """Take somebody in; they get nothing yet that would let them in.

        Raises:
            WorkerNameTakenError: if somebody has the name, in any letter case, active or not.
            WorkerError: if the name, the address or a group is none.
        """
        row = {
            "sub": str(UUID(bytes=sha256(self._secrets().encode()).digest()[:16], version=4)),
            "name": checked_name(name),
            "folded": name.lower(),
            "email": checked_email(email),
            "groups": checked_groups(groups),
            "role": role.value,
            "active": True,
            "created": self._now(),
        }

        def take_in(connection: Connection) -> Worker:
            known = connection.execute(select(workers).where(workers.c.sub == row["sub"])).one_or_none()
            if known is not None:
                # This ran before, and the word that it was committed got lost.
                return worker_of(known)
            connection.execute(insert(workers).values(row))
            said = f"{role}, groups: {', '.join(groups) or 'none'}"
            note(connection, self._now(), by, "add", name, said)
            return find_worker(connection, name)

        try:
            return self._change(take_in)
        except IntegrityError as error:
            raise WorkerNameTakenError(name) from error

    def worker(self, name: str) -> Worker:
        """The one of that name, in any letter case.

        Raises:
            WorkerNotFoundError: if there is nobody; it says who is called nearly so.
        """
        with self._store.read() as connection:
            return find_worker(connection, name)

    def workers(self) -> list[Worker]:
        """Everybody, by name."""
        with self._store.read() as connection:
            return [worker_of(row) for row in connection.execute(select(workers).order_by(workers.c.folded))]

    def by_sub(self, sub: str) -> Worker | None:
        """Who somebody is, as of a second ago at most."""
        return self._roster.book().workers.get(sub)

    def by_name(self, name: str) -> Worker | None:
        """Who is called that, in exactly these letters, as of a second ago at most."""
        return next((one for one in self._roster.book().workers.values() if one.name == name), None)

    def refusal(self, sub: str, groups: Sequence[str]) -> str | None:
        """Why somebody may not work for a team that asks these groups; None if they may.

        As of a second ago at most; it costs microseconds.
        """
        return refusal(self.by_sub(sub), groups)

    def change(
        self,
        name: str,
        *,
        email: str | None = None,
        groups: Sequence[str] | None = None,
        role: Role | None = None,
        by: str = "owner",
    ) -> Worker:
        """Change what is given, and leave the rest.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
            WorkerError: if the address or a group is none.
        """
        values = {
            name: value
            for name, value in (
                ("email", None if email is None else checked_email(email)),
                ("groups", None if groups is None else checked_groups(groups)),
                ("role", None if role is None else role.value),
            )
            if value is not None
        }
        said = "; ".join(f"{field}: {value}" for field, value in values.items() if field != "email")
        return self._update(name, values, "change", by, said)

    def deactivate(self, name: str, *, by: str = "owner") -> Worker:
        """Keep somebody out until `activate`; what they answered stays.

        Sessions and invites end for good; tokens work again once they are active. What they hold goes to
        the others when a server looks next: see `gtlabel.engine.membership.call_back`.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
        """
        return self._update(name, {"active": False}, "deactivate", by)

    def activate(self, name: str, *, by: str = "owner") -> Worker:
        """Let somebody in again.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
        """
        return self._update(name, {"active": True}, "activate", by)

    def give_token(self, name: str, *, label: str = "", by: str = "owner") -> str:
        """Make a token for somebody's programs; it is never shown again.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
            WorkerError: if the label is none.
        """
        if len(label) > _LONGEST_LABEL or not label.isprintable():
            raise WorkerError(f"a token's label is one line of at most {_LONGEST_LABEL} characters")
        public, secret = sha256(self._secrets().encode()).hexdigest()[:12], self._secrets()

        def give(connection: Connection) -> str:
            worker = find_worker(connection, name)
            entry.add_token(connection, worker.sub, public, secret, label, self._now())
            note(connection, self._now(), by, "give token", worker.name, f"{public} {label}".rstrip())
            return f"{_TOKEN}_{public}_{secret}"

        return self._change(give)

    def tokens(self, name: str) -> list[Token]:
        """Somebody's tokens, oldest first, with those that were revoked.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
        """
        with self._store.read() as connection:
            return entry.read_tokens(connection, find_worker(connection, name).sub)

    def revoke(self, name: str, token: str | None = None, *, by: str = "owner") -> int:
        """Make tokens worthless, and say how many were still good.

        Args:
            name: whose.
            token: which one, by its public part or its label; without it, all.
            by: who does it.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
            WorkerError: if they never had that token.
        """

        def end(connection: Connection) -> int:
            worker = find_worker(connection, name)
            if token is not None and not entry.has_token(connection, worker.sub, token):
                listed = f"`gtlabel serve worker show {worker.name}` lists them"
                raise WorkerError(f"{worker.name} has no token {token!r}; {listed}")
            count = entry.revoke_tokens(connection, worker.sub, self._now(), token)
            note(connection, self._now(), by, "revoke", worker.name, f"{count} of {token or 'all tokens'}")
            return count

        return self._change(end)

    def holder(self, token: str) -> Worker | None:
        """Whose token it is, active or not; None if it is nobody's. As of a second ago at most."""
        public, secret = _split(token)
        book = self._roster.book()
        whose, expected = book.tokens.get(public, ("", ""))
        # Compared even when there is nothing to compare with, so that no one learns from the time it takes.
        if not entry.matches(secret, expected):
            return None
        if self._ticks() - self._used.get(public, -_USED_SECONDS) >= _USED_SECONDS:
            self._used[public] = self._ticks()
            self._store.write_soon(lambda connection: entry.see_token(connection, public, self._now()))
        return book.workers.get(whose)

    def account(self, token: str) -> str:
        """The public part of a token that is good, whatever its secret part is; else nothing."""
        public, _ = _split(token)
        return public if public in self._roster.book().tokens else ""

    def invite(self, name: str, *, by: str = "owner") -> str:
        """Make what lets somebody in once, within three days; earlier invites of theirs are void.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
            WorkerDeactivatedError: if they may not come in.
        """
        secret = self._secrets()

        def invited(connection: Connection) -> str:
            worker = _active(find_worker(connection, name))
            entry.add_invite(connection, worker.sub, secret, self._now())
            note(connection, self._now(), by, "invite", worker.name)
            return secret

        return self._store.write(invited)

    def redeem(self, invite: str) -> Worker:
        """Who was invited. The invite is used up, also for whoever asks at the same moment.

        Raises:
            InviteError: if it was used, is too old, was taken back, or was never given.
        """
        claim = self._secrets()

        def redeemed(connection: Connection) -> Worker | str:
            sub, reason = entry.redeem_invite(connection, invite, claim, self._now())
            row = connection.execute(select(workers).where(workers.c.sub == sub)).one_or_none()
            if row is None:
                return reason
            what = "refuse invite" if reason else "redeem"
            note(connection, self._now(), row.name, what, row.name, reason)
            return reason or worker_of(row)

        # Raised only now, because what is refused must stand in the log.
        outcome = self._store.write(redeemed)
        if isinstance(outcome, str):
            raise InviteError(outcome)
        return outcome

    def open_session(self, name: str) -> str:
        """Begin a session of somebody who showed who they are, and return its id, which is always a new one.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
            WorkerDeactivatedError: if they may not come in.
        """
        secret = self._secrets()

        def opened(connection: Connection) -> str:
            worker = _active(find_worker(connection, name))
            entry.open_session(connection, worker.sub, secret, self._now())
            note(connection, self._now(), worker.name, "sign in", worker.name)
            return secret

        return self._store.write(opened)

    def session(self, session: str) -> Worker | None:
        """Whose session it is; None if it is over. Asking keeps it from growing idle."""
        now = self._now()
        with self._store.read() as connection:
            found = entry.find_session(connection, session, now)
        worker = self._somebody(found.worker) if found else None
        if found is None or worker is None or not worker.active:
            return None
        if entry.is_stale(found, now):
            self._store.write_soon(lambda connection: entry.see_session(connection, session, now))
        return worker

    def close_session(self, session: str) -> None:
        """End a session; one that is over stays so."""

        def close(connection: Connection) -> None:
            sub = entry.end_session(connection, session)
            name = connection.execute(select(workers.c.name).where(workers.c.sub == sub)).scalar()
            if name is not None:
                note(connection, self._now(), name, "sign out", name)

        self._store.write(close)

    def sign_out(self, name: str, *, by: str = "owner") -> None:
        """End all that lets somebody in, everywhere: sessions, invites and tokens.

        Raises:
            WorkerNotFoundError: if there is nobody of that name.
        """

        def end(connection: Connection) -> None:
            worker = find_worker(connection, name)
            entry.end_sessions(connection, worker.sub)
            entry.void_invites(connection, worker.sub)
            entry.revoke_tokens(connection, worker.sub, self._now())
            note(connection, self._now(), by, "sign out everywhere", worker.name)

        self._change(end)

    def log(self, last: int = 1000) -> list[Logged]:
        """The end of the access log, oldest line first."""
        with self._store.read() as connection:
            return read_log(connection, last)

    def note(self, who: str, what: str, whom: str, detail: str = "") -> None:
        """Add a line to the access log, with nothing secret in it."""
        self._store.write(lambda connection: note(connection, self._now(), who, what, whom, detail))

    def clear(self) -> None:
        """Forget everybody, and what was done to them."""

        def empty(connection: Connection) -> None:
            for table in reversed(metadata.sorted_tables):
                if table is not changes:
                    connection.execute(table.delete())

        self._change(empty)

    def _now(self) -> int:
        return to_micros(self._clock())

    def _somebody(self, sub: str) -> Worker | None:
        """Who it is, even if another process took them in just now."""
        known = self.by_sub(sub)
        if known is not None:
            return known
        with self._store.read() as connection:
            row = connection.execute(select(workers).where(workers.c.sub == sub)).one_or_none()
        return None if row is None else worker_of(row)

    def _change(self, work: Callable[[Connection], _T]) -> _T:
        """Write what every process is to know soon."""
        mark = entry.digest(self._secrets())

        def changed(connection: Connection) -> _T:
            outcome = work(connection)
            leave_mark(connection, mark)
            return outcome

        outcome = self._store.write(changed)
        self._roster.forget()
        return outcome

    def _update(self, name: str, values: dict[str, Any], what: str, by: str, said: str = "") -> Worker:
        def updated(connection: Connection) -> Worker:
            worker = find_worker(connection, name)
            if values:
                connection.execute(update(workers).where(workers.c.sub == worker.sub).values(values))
            if not values.get("active", True):
                entry.end_sessions(connection, worker.sub)
                entry.void_invites(connection, worker.sub)
            note(connection, self._now(), by, what, worker.name, said)
            return find_worker(connection, name)

        return self._change(updated)


def _split(token: str) -> tuple[str, str]:
    """The public and the secret part of what may be a token; two empty texts for what cannot be one."""
    kind, _, rest = token.partition("_")
    public, _, secret = rest.partition("_")
    return (public, secret) if kind == _TOKEN else ("", "")


def _active(worker: Worker) -> Worker:
    if not worker.active:
        raise WorkerDeactivatedError(worker.name)
    return worker
