"""Sites: servers, a database, a bucket and people, ready for a shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bucket import Bucket
from clients import Line, Server, make_team, put_inputs, recruit
from postgres import Cluster
from shift import Shift, Slot

BUCKET = "shift"
# Where the jobs write, as the bucket names its objects.
PREFIX = f"{BUCKET}/out/"


@dataclass
class Site:
    """Servers on one database, and a bucket."""

    bucket: Bucket
    servers: list[Server]
    database: str
    _tokens: dict[str, str] = field(default_factory=dict)

    async def shift(self, slots: Sequence[Slot], **options: Any) -> Shift:
        """People for the slots, each slot's a team of their own, and the jobs that await them."""
        line = Line(self.servers[0].port)
        teams = {slot.number: await make_team(line, slot.group) for slot in slots}
        line.close()
        ports = [server.port for server in self.servers]
        return Shift(ports, self._tokens, teams, BUCKET, slots, **options)

    def open(self, slots: Sequence[Slot]) -> None:
        """Put the inputs there, let the people in, and start the servers."""
        sizes = {size for slot in slots for size in slot.images}
        for size in sizes:
            put_inputs(self.bucket.files.__setitem__, BUCKET, size, str(size))
        self._tokens = recruit(self.database, {slot.group: slot.workers for slot in slots})
        for server in self.servers:
            server.start()

    def close(self) -> None:
        """Stop everything; database and objects stay."""
        for server in self.servers:
            server.stop()
        self.bucket.stop()


def site(
    folder: Path, cluster: Cluster | None = None, state: Path | None = None, *, servers: int = 2
) -> Site:
    """One server on SQLite, or several on a database of the cluster.

    Args:
        folder: for all that the servers leave.
        cluster: the PostgreSQL to use, in a database that is called as the folder is.
        state: the folder of the server and its file, if it is to be elsewhere.
        servers: how many share a database of the cluster.
    """
    bucket = Bucket()
    folder.mkdir()
    if cluster is None:
        server = Server(state or folder / "state", bucket.url)
        server.log = folder / "server.log"
        return Site(bucket, [server], server.database)
    database = cluster.create(folder.name)
    numbers = range(1, servers + 1)
    sharing = [Server(folder / f"state-{number}", bucket.url, database) for number in numbers]
    return Site(bucket, sharing, database)
