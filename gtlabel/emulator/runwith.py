"""Who runs a component, and what it may use: `runWith` of a deployment, as far as this machine can do it.

What it cannot do it refuses, since a program that was promised a limit is not run without it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gtlabel.errors import EdgeError


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine that runs a component in place of the device's own."""

    name: str
    home: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class RunWith:
    """What a deployment said of one component.

    Attributes:
        user: None is who runs the device.
        memory: in KB; None is no limit.
    """

    user: User | None = None
    memory: int | None = None


def read_run_with(value: Mapping[str, Any], *, weighs: bool) -> RunWith:
    """Check `runWith`, https://docs.aws.amazon.com/greengrass/v2/APIReference/API_ComponentRunWith.html.

    Args:
        value: what the deployment says.
        weighs: whether this system tells what a process holds in memory.

    Raises:
        EdgeError: if this device cannot do it.
    """
    limits = value.get("systemResourceLimits") or {}
    memory = limits.get("memory")
    if limits.get("cpus") is not None:
        raise EdgeError(
            "an emulated device cannot limit the CPUs of a component; leave systemResourceLimits.cpus out"
        )
    if memory is not None and not weighs:
        raise EdgeError(
            "this system does not tell what a program holds in memory; "
            "leave systemResourceLimits.memory out, or run the device on Linux"
        )
    name = value.get("posixUser")
    return RunWith(_user(str(name)) if name else None, int(memory) if memory else None)


def _user(text: str) -> User | None:
    """The user of `user` or `user:group`, each a name or a number; None for who runs the device."""
    import grp

    who, _, group = text.partition(":")
    try:
        entry = pwd.getpwuid(int(who)) if who.isdecimal() else pwd.getpwnam(who)
        gid = entry.pw_gid
        if group:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise EdgeError(f"this machine has no user or group for the posixUser {text!r}") from None
    if entry.pw_uid == os.geteuid() and gid == os.getegid():
        return None
    if os.geteuid() != 0:
        raise EdgeError(
            f"the device does not run as root and cannot run a program as {text}; start it as root, "
            "or leave posixUser out"
        )
    return User(entry.pw_name, entry.pw_dir, entry.pw_uid, gid)
