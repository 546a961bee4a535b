"""Which server is meant by commands about its people: its database, and where they find its portal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gtlabel.engine.crew import Crew


@contextmanager
def opened(
    context: typer.Context, state: Path | None, database: str | None, *, new: bool = False
) -> Iterator[tuple[Crew, str]]:
    """The people of the server that is meant, and the name that what is done to them is logged under."""
    from gtlabel.emulator.databases import database_url
    from gtlabel.emulator.state import prepare
    from gtlabel.engine.crew import Crew
    from gtlabel.engine.store import Store
    from gtlabel.errors import SettingsError, WorkerError

    state, database = _place(context, state, database)
    if state is None and database is None:
        raise SettingsError("say whose workers are meant: give --state or --database as to `gtlabel serve`")
    if database is None and state is not None:
        if not new and not state.is_dir():
            raise WorkerError(f"there is no folder {state}; give the --state of `gtlabel serve`")
        prepare(state)
    store = Store(database_url(state, database), guest=True)
    try:
        yield Crew(store), _operator()
    finally:
        store.close()


def _place(
    context: typer.Context, state: Path | None, database: str | None
) -> tuple[Path | None, str | None]:
    # What stands between `serve` and `worker` means the same.
    server = context.parent.parent.params if context.parent and context.parent.parent else {}
    return state or server.get("state"), database or server.get("database")


def address_of(context: typer.Context, url: str | None, state: Path | None, database: str | None) -> str:
    """Where people find the portal.

    Raises:
        SettingsError: if nobody told, and the server never did.
    """
    from gtlabel.emulator import doorway
    from gtlabel.emulator.databases import database_url
    from gtlabel.emulator.shelf import Shelf
    from gtlabel.errors import SettingsError

    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter(f"{url!r} does not begin with https:// or http://", param_hint="--url")
        return url
    shelf = Shelf(database_url(*_place(context, state, database)))
    try:
        known = doorway.remembered(shelf)
    finally:
        shelf.close()
    if known is None:
        raise SettingsError("the server was never started, so its address is not known; give it with --url")
    return known


def _operator() -> str:
    import getpass
    import os
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
