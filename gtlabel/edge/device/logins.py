"""What the program may know and nobody may see: logins, which lie in files or in the environment.

An argument is seen by everybody on the device, and what a deployment sets by everybody who may read it; so a
setting only tells where a login lies.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from gtlabel.edge.device.arguments import CAMERA_LOGIN, Broker, Options, is_web
from gtlabel.edge.device.ending import WRONG_ARGUMENTS, RunError


@dataclass(frozen=True, slots=True)
class Login:
    """A user and a password, which is never printed."""

    user: str
    password: str = field(repr=False)


def camera_login(options: Options) -> Login | None:
    """Who logs in to the cameras of the web; None where nobody does.

    Raises:
        RunError: if the file cannot be read, or it holds something else.
    """
    if not any(map(is_web, options.cameras)):
        return None
    text = os.environ.get(CAMERA_LOGIN, "")
    if options.camera_login:
        text = _read(options.camera_login)
    user, colon, password = text.partition(":")
    if text and not (user and colon):
        # What is there is not repeated.
        place = options.camera_login or CAMERA_LOGIN
        raise RunError(f"what {place} holds is not user:password", WRONG_ARGUMENTS)
    return Login(user, password) if text else None


def broker(options: Options) -> Broker | None:
    """The broker with its user's password; that in a file goes before that in the environment.

    Raises:
        RunError: if the file cannot be read.
    """
    if not (options.mqtt and options.mqtt_password_file):
        return options.mqtt
    return replace(options.mqtt, password=_read(options.mqtt_password_file))


def _read(path: Path) -> str:
    """The text of a file without the end of its line."""
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RunError(
            f"{path} cannot be read by the user that this runs as: {reason}", WRONG_ARGUMENTS
        ) from error
    if not text:
        raise RunError(f"{path} is empty", WRONG_ARGUMENTS)
    return text
