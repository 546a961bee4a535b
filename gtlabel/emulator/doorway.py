"""The way into the portal: where it is, and who is let in first.

An invite is shown to whoever made it and to nobody else: no log gets one.
"""

from __future__ import annotations

from gtlabel.emulator.api import Context
from gtlabel.emulator.people import SEEDED_TEAM
from gtlabel.emulator.shelf import Shelf
from gtlabel.engine.crew import Crew, Role
from gtlabel.errors import WorkerNameTakenError

_KIND = "portal-address"
_NAME = "latest"
# What the first one in is called, until somebody is taken in under a name of their own.
OWNER = "owner"


def remember(shelf: Shelf, url: str) -> None:
    """Write down where people find the portal, for whoever makes invites from elsewhere."""
    shelf.put(Context(), _KIND, _NAME, {"url": url})


def remembered(shelf: Shelf) -> str | None:
    """Where the portal was when it was started last; None if it never was."""
    document = shelf.get(Context(), _KIND, _NAME)
    return None if document is None else str(document["url"])


def link(url: str, invite: str) -> str:
    """What somebody opens to come in."""
    return f"{url.rstrip('/')}/join/{invite}"


def first_invite(crew: Crew) -> str | None:
    """Take an owner in where there is nobody yet, and return their invite; None where there is somebody."""
    if crew.workers():
        return None
    try:
        crew.add(OWNER, groups=[SEEDED_TEAM], role=Role.OWNER, by="first start")
    except WorkerNameTakenError:
        # Another server on the same database was first.
        return None
    return crew.invite(OWNER, by="first start")


def owner_of(crew: Crew) -> str | None:
    """The name of somebody who may make invites in the portal; None if there is nobody."""
    found = (worker.name for worker in crew.workers() if worker.role is Role.OWNER and worker.active)
    return next(found, None)
