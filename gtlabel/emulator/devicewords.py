"""What a device may say: the shape of each request of the device API, and of a thing's name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gtlabel.errors import EdgeError

STATES = ("NEW", "INSTALLED", "STARTING", "RUNNING", "STOPPING", "ERRORED", "BROKEN", "FINISHED")
STATUSES = ("QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")
# https://docs.aws.amazon.com/greengrass/v2/developerguide/troubleshooting.html, contract section 3.1
DETAILED = (
    "SUCCESSFUL",
    "FAILED_NO_STATE_CHANGE",
    "FAILED_ROLLBACK_NOT_REQUESTED",
    "FAILED_ROLLBACK_COMPLETE",
    "FAILED_UNABLE_TO_ROLLBACK",
    "REJECTED",
)
PLATFORM = ("os", "architecture", "runtime")
# https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html
_THING = re.compile("[a-zA-Z0-9:_-]{1,128}")
_ACCOUNT = re.compile("[0-9]{12}")
_REGION = re.compile("[a-z0-9-]{1,32}")
_MOST_LETTERS = 255


def check_thing(thing: str) -> None:
    """Refuse a name that no device can have, before anything is made for it.

    Raises:
        EdgeError: if it is no name of a thing.
    """
    if problem := thing_problem(thing):
        raise EdgeError(problem)


def thing_problem(thing: object) -> str:
    """Why something cannot be the name of a thing; empty when it can."""
    if isinstance(thing, str) and _THING.fullmatch(thing):
        return ""
    return (
        f"{thing!r} is no name of a thing; it takes 1 to 128 of the letters a-z, A-Z, 0-9, ':', '_' and '-'"
    )


def origin_problem(body: Mapping[str, Any]) -> str:
    """What is wrong with the thing, the account and the region that every request may name."""
    if problem := thing_problem(body.get("thing")):
        return problem
    for key, shape in (("account", _ACCOUNT), ("region", _REGION)):
        value = body.get(key)
        if value is not None and not (isinstance(value, str) and shape.fullmatch(value)):
            return f"{value!r} is no {key}"
    return ""


def platform_problem(body: Mapping[str, Any]) -> str:
    """What is wrong with a request to register."""
    platform = body.get("platform")
    if not isinstance(platform, Mapping) or not all(_is_word(platform.get(key)) for key in PLATFORM):
        return f"platform must tell {', '.join(PLATFORM)}"
    version = body.get("version")
    return "" if version is None or _is_word(version) else f"{version!r} is no version of a nucleus"


def report_problem(body: Mapping[str, Any]) -> str:
    """What is wrong with a report."""
    for key in ("deployment", "reason"):
        if not isinstance(body.get(key), str | None):
            return f"{key} must be a text"
    for key in ("errors", "errorTypes"):
        if not _is_list(body.get(key, []), str):
            return f"{key} must be a list of texts"
    status, detailed = body.get("status"), body.get("detailed")
    if body.get("deployment") and status not in STATUSES:
        return f"{status!r} is no status of a deployment; it is one of {', '.join(STATUSES)}"
    if detailed not in (None, *DETAILED):
        return f"{detailed!r} is no detailed status; it is one of {', '.join(DETAILED)}"
    components = body.get("components", [])
    if not _is_list(components, Mapping):
        return "components must be a list of objects, each with a name, a version and a state"
    return next((problem for item in components if (problem := _component_problem(item))), "")


def _component_problem(item: Mapping[str, Any]) -> str:
    if not _is_word(item.get("name")) or not _is_word(item.get("version")):
        return "each component has a name and a version"
    if item.get("state") not in STATES:
        return f"{item.get('state')!r} is no lifecycle state; it is one of {', '.join(STATES)}"
    return "" if isinstance(item.get("details"), str | None) else "the details of a component are a text"


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= _MOST_LETTERS


def _is_list(value: object, of: type) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and all(isinstance(each, of) for each in value)
    )
