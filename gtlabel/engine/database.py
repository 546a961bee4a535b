"""What the engine asks of a database beyond SQL: to be opened safely, and to say what went wrong with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from gtlabel.errors import SettingsError, StoreError

# Under this name a connection remembers what its transaction has locked besides rows.
HELD = "gtlabel_held"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the database itself, and not with what was asked of it.

    Attributes:
        error: what to tell who asked.
        passing: whether the same transaction may well succeed when it is tried again.
        crossed: whether another transaction was in the way, so that smaller ones fare better.
    """

    error: StoreError
    passing: bool = False
    crossed: bool = False


class Database(ABC):
    """One database, open.

    Attributes:
        name: what to call it in an error.
        engine: where connections come from.
        writing: the same, for transactions that write.
        reading: the same, for transactions that only read.
        in_memory: whether there is only one connection, which all share.
        shared: whether other processes may write to it.
    """

    name: str
    engine: Engine
    writing: Engine
    reading: Engine
    in_memory = False
    shared = False

    @abstractmethod
    def fault(self, error: BaseException) -> Fault | None:
        """What an error says about the database; None if it is the fault of who asked."""

    def begin_making_tables(self, connection: Connection) -> None:  # noqa: B027 - most need nothing
        """Keep others from making the same tables meanwhile, until the transaction ends."""

    def lock_leases(self, connection: Connection, leases: list[str]) -> None:  # noqa: B027
        """Lock the tasks that leases are of, all in one order, until the transaction ends."""

    def leading(self) -> bool:
        """Whether this process, and no other, is to do what must be done once."""
        return True

    def must_be_there(self) -> None:  # noqa: B027 - a server has it
        """Have a transaction come to nothing when what it wrote could not be found again.

        Raises:
            DatabaseUnavailableError: if so.
        """

    def must_lead(self, connection: Connection) -> None:  # noqa: B027 - most lead always
        """Have a transaction come to nothing unless this process leads, and keep the lead until its end.

        Raises:
            LeadLostError: if this process does not lead, or does not any more.
        """

    def close(self) -> None:
        """Let go of it."""
        self.engine.dispose()


def open_database(url: str, *, guest: bool = False) -> Database:
    """The database at an SQLAlchemy URL.

    Args:
        url: the URL.
        guest: whether to open a file that another process may have.

    Raises:
        SettingsError: if it is no URL of a database that the engine knows.
        StoreError: if it cannot be had.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError(
            f"{url!r} is no address of a database; write sqlite:///FILE or postgresql://USER@HOST/NAME"
        ) from error
    kind = parsed.get_backend_name()
    if kind == "sqlite":
        from gtlabel.engine.sqlite import Sqlite

        return Sqlite(parsed, guest=guest)
    if kind in ("postgresql", "postgres"):
        from gtlabel.engine.postgres import Postgres

        return Postgres(parsed)
    raise SettingsError(f"the engine keeps nothing in {kind}; give it sqlite:///FILE or postgresql://…")


def driver_error(error: BaseException) -> BaseException:
    """What the driver raised, wherever SQLAlchemy wrapped it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig
    return error


def shown(url: URL) -> str:
    """A URL without its password."""
    return url.render_as_string(hide_password=True)
