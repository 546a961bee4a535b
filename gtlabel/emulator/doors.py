"""The emulator's own doors below `/gtlabel/`, JSON in and out: over HTTP, and for a test in process.

worker/*    what a worker page says: see `gtlabel.portal.workers`
device/*    what a device asks: see `gtlabel.emulator.devices`
training    a spot machine is taken away: {"interrupt": JOB, "seconds", "region"}
clock       the time: see `gtlabel.emulator.clock`
human-task-ui/REGION/NAME  the template of a human task UI
invite      a link that lets somebody into the portal: {"name", "role"}
health      whether somebody is there
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from gtlabel.emulator import clock, devices, taskuis, vendors
from gtlabel.emulator.api import Context
from gtlabel.emulator.emulator import Emulator
from gtlabel.engine.roster import Role
from gtlabel.errors import GtlabelError
from gtlabel.portal import workers


def answer(emulator: Emulator, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Answer one request.

    Args:
        emulator: the account.
        path: what follows `/gtlabel/`.
        body: the request's JSON object.

    Returns:
        The HTTP status and the JSON to answer with.
    """
    kind, _, rest = path.partition("/")
    if kind == "health":
        return 200, {"status": "ok", "pid": os.getpid()}
    if kind == "worker":
        return workers.handle(emulator.board, rest, body)
    if kind == "device":
        return devices.handle(emulator.shelf, rest, body, clock=emulator.clock)
    if kind == "training":
        return _interrupt(emulator, body)
    if kind == "human-task-ui":
        return taskuis.handle(emulator.uis, rest)
    if kind == "vendor-team":
        return vendors.handle(vendors.Vendors(emulator.shelf), body)
    if kind == "invite":
        return _invite(emulator, body)
    if kind == "clock":
        answered = clock.handle(emulator.clock, body)
        # Who moved it finds done what became due.
        emulator.turn(wait=True)
        return answered
    return 404, {"error": f"there is nothing at /gtlabel/{path}"}


def _interrupt(emulator: Emulator, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    context = Context(region=str(body.get("region", Context().region)))
    name, seconds = str(body.get("interrupt", "")), body.get("seconds", 0)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        return 400, {"error": f"{seconds!r} is no number of seconds without a machine"}
    try:
        emulator.executor.interrupt(context, name, seconds)
    except GtlabelError as error:
        return 400, {"error": str(error)}
    return 200, {"interrupted": name}


def _invite(emulator: Emulator, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    if emulator.portal is None:
        return 409, {"error": "this emulator has no portal; start it without --no-portal"}
    try:
        link = emulator.portal.invite(str(body.get("name", "")), Role(body.get("role", "worker")))
    except ValueError:
        return 400, {"error": f"nobody can be a {body.get('role')!r}; a role is worker or owner"}
    except GtlabelError as error:
        return 400, {"error": str(error)}
    return 200, {"name": body.get("name"), "link": link, "portal": emulator.portal.url}
