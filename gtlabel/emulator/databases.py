"""Where a server keeps what it knows, as those who open it know it; it costs no web server to ask."""

from __future__ import annotations

from pathlib import Path

from gtlabel.errors import EmulatorError


def database_url(state: Path | None, database: str | None) -> str:
    """The SQLAlchemy URL of a server's database.

    Args:
        state: the folder that everything survives in.
        database: an SQLAlchemy URL, instead of a file in that folder.

    Raises:
        EmulatorError: if what was given is no such URL.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if database is None:
        return f"sqlite:///{Path(state or '').absolute() / 'engine.sqlite'}"
    try:
        url = make_url(database)
    except (ArgumentError, ValueError):
        # What was given is not repeated, for there may be a password in it.
        raise EmulatorError(
            "what was given as --database is no URL of a database; "
            "write it as postgresql://user@host/name or sqlite:////folder/file"
        ) from None
    return url.render_as_string(hide_password=False)
