"""A PostgreSQL for the tests of one process, and as many databases on it as they like."""

from __future__ import annotations

import atexit
import itertools
from contextlib import ExitStack
from functools import cache

from postgres import Cluster, cluster, programs
from programs import need

_numbers = itertools.count()


@cache
def server() -> Cluster:
    """The server, which starts when it is first asked for."""
    need(programs(), "PostgreSQL is the engine's other database; get it with: apt-get install postgresql")
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(cluster())


def new_database() -> str:
    """The URL of an empty database."""
    return server().create(f"engine_{next(_numbers)}")


@cache
def usual_database() -> str:
    """The URL of a database that one test after another uses and empties."""
    return new_database()
