"""The peer of load.py: the steps of a worker on sqlite3 behind uvicorn, as one writes it in an afternoon.

One connection, a lock, a commit for each step with its flush, Starlette's thread pool; no jobs, no people, no
consensus, nothing written to S3. It answers the same two requests of the workers' API.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import threading
import uuid
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_SCHEMA = """
create table images (id integer primary key, open integer not null);
create index images_open on images (id) where open > 0;
create table leases (id text primary key, image integer not null, worker text not null, answer text,
                     unique (image, worker));
"""
_NEXT = """
select id from images where open > 0
and not exists (select 1 from leases where image = images.id and worker = ?) order by id limit 1
"""


class Book:
    """Images, and who said what about them."""

    def __init__(self, file: Path, images: int) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma journal_mode=wal")
        self._connection.execute("pragma synchronous=full")
        self._connection.executescript(_SCHEMA)
        self._connection.execute("begin")
        self._connection.executemany("insert into images values (?, 3)", ((n,) for n in range(images)))
        self._connection.execute("commit")

    def step(self, worker: str, lease: str | None, answer: Any) -> dict[str, Any]:
        """Keep an answer, if there is one, and hand out the next image."""
        run = self._connection.execute
        with self._lock:
            run("begin immediate")
            if lease is not None:
                worker = run("select worker from leases where id = ?", (lease,)).fetchone()[0]
                run("update leases set answer = ? where id = ?", (json.dumps(answer), lease))
            row = run(_NEXT, (worker,)).fetchone()
            given: dict[str, Any] = {"lease": None}
            if row is not None:
                given = {"lease": uuid.uuid4().hex, "object": row[0]}
                run("insert into leases values (?, ?, ?, null)", (given["lease"], row[0], worker))
                run("update images set open = open - 1 where id = ?", (row[0],))
            run("commit")
        return given if lease is None else {"accepted": True, "next": given}


def main() -> None:
    """Serve until the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--images", type=int, required=True)
    given = parser.parse_args()
    book = Book(given.file, given.images)

    async def step(request: Request) -> JSONResponse:
        body = await request.json()
        asked = (body.get("worker", ""), body.get("lease"), body.get("answer"))
        return JSONResponse(await run_in_threadpool(book.step, *asked))

    routes = [Route("/gtlabel/worker/{action}", step, methods=["POST"])]
    config = uvicorn.Config(Starlette(routes=routes), port=given.port, log_level="warning", access_log=False)

    class Server(uvicorn.Server):
        async def startup(self, *arguments: Any, **options: Any) -> None:
            await super().startup(*arguments, **options)
            print("ready", flush=True)

    Server(config).run()


if __name__ == "__main__":
    main()
