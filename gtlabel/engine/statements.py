"""Statements that run thousands of times a second, given to the driver as ready text.

SQLAlchemy takes 40 to 70 µs to run even a statement it has compiled before, SQLite 5 to 10 of them; a
worker's step is a dozen statements. So these are compiled once for each kind of database, and their rows come
as the driver gives them. That is right for texts and numbers only, which is all the engine's tables hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.sql.base import Executable

_Run = Callable[[Any, dict[str, Any]], Any]


class Prepared:
    """A statement whose parameters are all named by `bindparam`.

    Args:
        statement: what to run.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._runs: dict[str, _Run] = {}

    def run(self, connection: Connection, **values: Any) -> Any:
        """Run it and return the driver's cursor."""
        run = self._runs.get(connection.dialect.name) or self._prepare(connection)
        return run(connection.connection.dbapi_connection, values)

    def one(self, connection: Connection, **values: Any) -> Any:
        """Its first row as a tuple, or None."""
        return self.run(connection, **values).fetchone()

    def all(self, connection: Connection, **values: Any) -> Any:
        """All its rows as tuples."""
        return self.run(connection, **values).fetchall()

    def _prepare(self, connection: Connection) -> _Run:
        compiled = self._statement.compile(dialect=connection.dialect)  # type: ignore[attr-defined]
        words = str(compiled)
        usual = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        order = compiled.positiontup

        def by_name(driver: Any, values: dict[str, Any]) -> Any:
            return driver.execute(words, {**usual, **values} if usual else values)

        def by_place(driver: Any, values: dict[str, Any]) -> Any:
            if usual:
                values = {**usual, **values}
            return driver.execute(words, [values[name] for name in order])

        run = by_name if order is None else by_place
        self._runs[connection.dialect.name] = run
        return run
